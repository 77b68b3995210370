//go:build linux

package e2e

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// section is a node of what swanctl --pretty prints:
//
//	name {
//	  key = value
//	  key = [
//	    item
//	  ]
//	}
type section struct {
	name     string
	values   map[string]string
	lists    map[string][]string
	sections []*section
}

// parsePretty reads the whole output; what it printed stands in the sections of the one returned.
func parsePretty(text string) (*section, error) {
	root := &section{values: map[string]string{}, lists: map[string][]string{}}
	open := []*section{root}
	list := "" // the key of the list we are inside of
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		now := open[len(open)-1]
		key, value, assigns := strings.Cut(line, " = ")
		switch {
		case line == "":
		case list != "" && line == "]":
			list = ""
		case list != "":
			now.lists[list] = append(now.lists[list], line)
		case line == "}" && len(open) > 1:
			open = open[:len(open)-1]
		case strings.HasSuffix(line, " {") && !assigns:
			s := &section{name: strings.TrimSuffix(line, " {"), values: map[string]string{}, lists: map[string][]string{}}
			now.sections = append(now.sections, s)
			open = append(open, s)
		case assigns && value == "[":
			list = key
		case assigns:
			now.values[key] = value
		case strings.HasSuffix(line, " ="): // an empty value
		default:
			return nil, fmt.Errorf("swanctl printed %q", line)
		}
	}
	if len(open) != 1 || list != "" {
		return nil, fmt.Errorf("swanctl's output ends inside of %q", open[len(open)-1].name)
	}
	return root, nil
}

// number reads a value; absent ones are 0.
func (s *section) number(key string, base, bits int, err *error) uint64 {
	text, ok := s.values[key]
	if !ok {
		return 0
	}
	n, e := strconv.ParseUint(text, base, bits)
	if e != nil && *err == nil {
		*err = fmt.Errorf("swanctl printed %s = %q", key, text)
	}
	return n
}

// endpoint reads an address and a port; it is zero while charon has none.
func (s *section) endpoint(key string, err *error) netip.AddrPort {
	addr, e := netip.ParseAddr(s.values[key+"-host"])
	if e != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(addr, uint16(s.number(key+"-port", 10, 16, err)))
}

// parseSAs reads what swanctl --list-sas --pretty prints.
func parseSAs(text string) (sas []SA, err error) {
	root, err := parsePretty(text)
	if err != nil {
		return nil, err
	}
	for _, event := range root.sections {
		if event.name != "list-sa event" {
			continue
		}
		for _, s := range event.sections {
			sa := SA{
				Connection: s.name,
				ID:         s.number("uniqueid", 10, 64, &err),
				State:      s.values["state"],
				Initiator:  s.values["initiator"] == "yes",
				SPIi:       s.number("initiator-spi", 16, 64, &err),
				SPIr:       s.number("responder-spi", 16, 64, &err),
				Local:      s.endpoint("local", &err),
				Remote:     s.endpoint("remote", &err),
				LocalID:    s.values["local-id"],
				RemoteID:   s.values["remote-id"],
				LocalNAT:   s.values["nat-local"] == "yes",
				RemoteNAT:  s.values["nat-remote"] == "yes",
				Proposal:   s.proposal(),
			}
			for _, children := range s.sections {
				for _, c := range children.sections {
					sa.Children = append(sa.Children, c.child(&err))
				}
			}
			sas = append(sas, sa)
		}
	}
	return sas, err
}

func (s *section) child(err *error) Child {
	return Child{
		Name:       s.values["name"],
		ID:         s.number("uniqueid", 10, 64, err),
		State:      s.values["state"],
		UDP:        s.values["encap"] == "yes",
		SPIIn:      uint32(s.number("spi-in", 16, 32, err)),
		SPIOut:     uint32(s.number("spi-out", 16, 32, err)),
		LocalTS:    s.lists["local-ts"],
		RemoteTS:   s.lists["remote-ts"],
		BytesIn:    s.number("bytes-in", 10, 64, err),
		BytesOut:   s.number("bytes-out", 10, 64, err),
		PacketsIn:  s.number("packets-in", 10, 64, err),
		PacketsOut: s.number("packets-out", 10, 64, err),
		ESN:        s.values["esn"] == "1" || s.values["esn"] == "yes",
		Proposal:   s.proposal(),
	}
}

// proposal writes the algorithms of an SA, which charon names as the IANA registry does, as swanctl.conf would.
func (s *section) proposal() string {
	var words []string
	for _, key := range []string{"encr-alg", "integ-alg", "prf-alg", "dh-group"} {
		if name := s.values[key]; name != "" {
			word := strings.NewReplacer("AES_CBC", "aes%", "AES_GCM_", "aes%gcm", "AES_CCM_", "aes%ccm",
				"AES_CTR", "aes%ctr", "PRF_AES128_", "prfaes", "AES_XCBC_96", "aesxcbc", "AES_CMAC_96", "aescmac", "CHACHA20_POLY1305", "chacha20poly1305",
				"PRF_HMAC_", "prf", "HMAC_", "", "SHA1_96", "sha1", "SHA2_256_128", "sha256", "SHA2_384_192", "sha384",
				"SHA2_512_256", "sha512", "SHA2_", "sha", "CURVE_25519", "x25519", "CURVE_448", "x448",
				"1024_160", "1024s160", "2048_224", "2048s224", "2048_256", "2048s256", "_", "").Replace(name)
			words = append(words, strings.ToLower(strings.Replace(word, "%", s.values["encr-keysize"], 1)))
		}
	}
	if esn := s.values["esn"]; esn == "1" || esn == "yes" {
		words = append(words, "esn")
	}
	return strings.Join(words, "-")
}
