//go:build linux

package e2e

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Keys are what tshark needs to look inside of the packets.
type Keys struct {
	IKE []IKEKeys
	ESP []ESPKeys
	// Profile is a directory of Wireshark's with tables of further keys, under that of the scenario; "" for none.
	Profile string
}

// IKEKeys are the keys of an IKE SA. Algorithms have the names of the IANA registry with the key length, such as
// "AES_GCM_16-256", "AES_CBC-128", "HMAC_SHA2_256_128".
type IKEKeys struct {
	SPIi, SPIr             uint64
	Encr, Integ            string // Integ empty for an AEAD
	SKei, SKer, SKai, SKar []byte // for an AEAD SK_e includes the salt
}

// ESPKeys are the keys of one direction of a Child SA, with algorithms as in [IKEKeys].
type ESPKeys struct {
	SPI         uint32
	IPv6        bool // the packets' outer header
	Encr, Integ string
	EncrKey     []byte // for an AEAD with the salt
	IntegKey    []byte
}

// Frame is what tshark says of one packet.
type Frame struct {
	Number    int
	Protocols []string // "eth", "ip", "udp", "isakmp", ...
	Malformed bool
	BadICV    bool // IKE or ESP, and the integrity check failed
	// ESP, and the integrity check was made and succeeded. To find packets that are not intact ask for this: when
	// decryption yields nonsense tshark may stop before it mentions the check.
	GoodICV bool
	// Values of the fields that were asked for, by name. A field occurs as often as in the packet.
	Fields map[string][]string
}

// Has tells whether a protocol is in the packet.
func (f Frame) Has(protocol string) bool {
	return slices.Contains(f.Protocols, protocol)
}

// Frames are the packets of a capture in order.
type Frames []Frame

// Count is the number of packets for which f holds.
func (fs Frames) Count(f func(Frame) bool) (n int) {
	for _, frame := range fs {
		if f(frame) {
			n++
		}
	}
	return n
}

// Columns that Decode always asks for, before the caller's.
var columns = []string{
	"frame.number", "frame.protocols", "_ws.malformed", "isakmp.ikev2.integrity_checksum", "esp.icv_good", "esp.icv_bad",
}

// Decode lets tshark read the capture, after Stop, with the keys of its SAs, and returns these fields of every
// packet; their names are tshark's, such as "isakmp.exchangetype" or "esp.sequence".
func (c *Capture) Decode(keys Keys, fields ...string) (Frames, error) {
	args := []string{"-n", "-r", "/run/" + filepath.Base(c.Path),
		"-T", "fields", "-E", "separator=/t", "-E", "occurrence=a", "-E", "aggregator=,",
		"-o", "esp.enable_encryption_decode:TRUE", "-o", "esp.enable_authentication_check:TRUE"}
	for _, k := range keys.IKE {
		row, err := k.uat()
		if err != nil {
			return nil, err
		}
		args = append(args, "-o", "uat:ikev2_decryption_table:"+row)
	}
	for _, k := range keys.ESP {
		row, err := k.uat()
		if err != nil {
			return nil, err
		}
		args = append(args, "-o", "uat:esp_sa:"+row)
	}
	for _, field := range slices.Concat(columns, fields) {
		args = append(args, "-e", field)
	}
	env := []string{"HOME=/tmp"}
	if keys.Profile != "" {
		profile, err := filepath.Rel(filepath.Dir(c.Path), keys.Profile)
		if err != nil {
			return nil, err
		}
		env = append(env, "WIRESHARK_CONFIG_DIR=/run/"+profile)
	}
	tshark := Command{Path: "/usr/bin/tshark", Args: args, Env: env, Run: filepath.Dir(c.Path)}
	out, err := c.host.Run(tshark)
	if err != nil {
		return nil, err
	}
	return parseFrames(out, fields)
}

func parseFrames(out string, fields []string) (frames Frames, err error) {
	for line := range strings.Lines(out) {
		cells := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(cells) != len(columns)+len(fields) {
			return nil, fmt.Errorf("tshark printed %q", line)
		}
		f := Frame{
			Protocols: strings.Split(cells[1], ":"),
			Malformed: cells[2] != "",
			BadICV:    cells[3] != "" || isSet(cells[5]),
			GoodICV:   isSet(cells[4]),
			Fields:    map[string][]string{},
		}
		if f.Number, err = strconv.Atoi(cells[0]); err != nil {
			return nil, fmt.Errorf("tshark printed %q", line)
		}
		for i, field := range fields {
			if cell := cells[len(columns)+i]; cell != "" {
				f.Fields[field] = strings.Split(cell, ",")
			}
		}
		frames = append(frames, f)
	}
	return frames, nil
}

func isSet(cell string) bool { return cell == "1" || cell == "True" }

// tsharkNames translates names of the IANA registry into tshark's, for IKE and for ESP. tshark 4.0 cannot decrypt
// ChaCha20-Poly1305 in either.
var tsharkNames = map[string][2]string{
	"AES_CBC-128":       {"AES-CBC-128 [RFC3602]", "AES-CBC [RFC3602]"},
	"AES_CBC-192":       {"AES-CBC-192 [RFC3602]", "AES-CBC [RFC3602]"},
	"AES_CBC-256":       {"AES-CBC-256 [RFC3602]", "AES-CBC [RFC3602]"},
	"AES_GCM_16-128":    {"AES-GCM-128 with 16 octet ICV [RFC5282]", "AES-GCM with 16 octet ICV [RFC4106]"},
	"AES_GCM_16-192":    {"AES-GCM-192 with 16 octet ICV [RFC5282]", "AES-GCM with 16 octet ICV [RFC4106]"},
	"AES_GCM_16-256":    {"AES-GCM-256 with 16 octet ICV [RFC5282]", "AES-GCM with 16 octet ICV [RFC4106]"},
	"HMAC_SHA1_96":      {"HMAC_SHA1_96 [RFC2404]", "HMAC-SHA-1-96 [RFC2404]"},
	"HMAC_SHA2_256_128": {"HMAC_SHA2_256_128 [RFC4868]", "HMAC-SHA-256-128 [RFC4868]"},
	"HMAC_SHA2_384_192": {"HMAC_SHA2_384_192 [RFC4868]", "HMAC-SHA-384-192 [RFC4868]"},
	"HMAC_SHA2_512_256": {"HMAC_SHA2_512_256 [RFC4868]", "HMAC-SHA-512-256 [RFC4868]"},
	"":                  {"NONE [RFC4306]", "NULL"},
}

func tsharkName(name string, esp int) (string, error) {
	names, ok := tsharkNames[name]
	if !ok {
		return "", fmt.Errorf("tshark cannot decode %s", name)
	}
	return names[esp], nil
}

// uat is the row of tshark's table of IKE SAs.
func (k IKEKeys) uat() (string, error) {
	encr, err := tsharkName(k.Encr, 0)
	if err != nil {
		return "", err
	}
	integ, err := tsharkName(k.Integ, 0)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%016x,%016x,%x,%x,%q,%x,%x,%q", k.SPIi, k.SPIr, k.SKei, k.SKer, encr, k.SKai, k.SKar, integ), nil
}

// uat is the row of tshark's table of ESP SAs.
func (k ESPKeys) uat() (string, error) {
	encr, err := tsharkName(k.Encr, 1)
	if err != nil {
		return "", err
	}
	integ, err := tsharkName(k.Integ, 1)
	if err != nil {
		return "", err
	}
	family := "IPv4"
	if k.IPv6 {
		family = "IPv6"
	}
	integKey := ""
	if len(k.IntegKey) > 0 {
		integKey = fmt.Sprintf("0x%x", k.IntegKey)
	}
	return fmt.Sprintf(`%q,"*","*","0x%08x",%q,"0x%x",%q,%q`, family, k.SPI, encr, k.EncrKey, integ, integKey), nil
}
