package wire

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/culvert-vpn/culvert/suite"
)

// vectorPath is where a published test vector is if it is there: in shared/vectors beside the repository.
func vectorPath(name string) string {
	dir, err := os.Getwd()
	for err == nil && !exists(filepath.Join(dir, "go.mod")) && dir != filepath.Dir(dir) {
		dir = filepath.Dir(dir)
	}
	return filepath.Join(filepath.Dir(dir), "shared", "vectors", name)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// vectors returns the path of a published test vector, and skips the test without it.
func vectors(t testing.TB, name string) string {
	t.Helper()
	path := vectorPath(name)
	if !exists(path) {
		t.Skipf("no test vector %s", name)
	}
	return path
}

// captured returns the IKE messages of a classic pcap file: UDP port 500, and 4500 with the non-ESP marker.
func captured(t testing.TB, name string) [][]byte {
	t.Helper()
	file, err := os.ReadFile(vectors(t, name))
	if err != nil {
		t.Fatal(err)
	}
	if len(file) < 24 {
		t.Fatal("not a capture")
	}
	var order binary.ByteOrder = binary.LittleEndian
	if order.Uint32(file) != 0xa1b2c3d4 {
		order = binary.BigEndian
	}
	if order.Uint32(file) != 0xa1b2c3d4 {
		t.Fatal("not a classic capture")
	}
	link := order.Uint32(file[20:]) & 0xffff
	var messages [][]byte
	for file = file[24:]; len(file) >= 16; {
		n := int(order.Uint32(file[8:]))
		frame := file[16:min(16+n, len(file))]
		file = file[16+len(frame):]
		if m := ikeOf(frame, link); m != nil {
			messages = append(messages, m)
		}
	}
	return messages
}

// ikeOf returns the IKE message in an unfragmented IPv4 frame, or nil.
func ikeOf(frame []byte, link uint32) []byte {
	head, ok := map[uint32]int{0: 4, 1: 14, 101: 0}[link] // BSD loopback, Ethernet, raw IP
	if !ok || len(frame) < head+20 {
		return nil
	}
	ip := frame[head:]
	udp := int(ip[0]&0x0f) * 4
	if ip[0]>>4 != 4 || ip[9] != 17 || binary.BigEndian.Uint16(ip[6:])&0x3fff != 0 || len(ip) < udp+8 {
		return nil
	}
	src, dst := binary.BigEndian.Uint16(ip[udp:]), binary.BigEndian.Uint16(ip[udp+2:])
	length := int(binary.BigEndian.Uint16(ip[udp+4:]))
	if length < 8 || length > len(ip)-udp {
		return nil
	}
	data := ip[udp+8 : udp+length]
	if src == 4500 || dst == 4500 {
		data, ok = bytes.CutPrefix(data, []byte{0, 0, 0, 0})
		if !ok {
			return nil
		}
	} else if src != 500 && dst != 500 {
		return nil
	}
	return data
}

// captures are all files with IKE in them; some are hostile or IKEv1.
var captures = []string{
	"tcpdump/ikev2four.pcap", "tcpdump/ikev2-id-normal.pcap", "tcpdump/ikev2-id-short.pcap",
	"tcpdump/ikev2pI2.pcap", "tcpdump/isakmp4500.pcap", "tcpdump/ISAKMP_sa_setup.pcap",
	"tcpdump/isakmp-3948-oobr-2.pcap", "tcpdump/isakmp-delete-segfault.pcap",
	"tcpdump/isakmp-identification-segfault.pcap", "tcpdump/isakmp-ikev1_n_print-oobr.pcap",
	"tcpdump/isakmp-pointer-loop.pcap", "tcpdump/isakmp-rfc3948-oobr.pcap",
	"tcpdump/isakmp-various-oobr.pcap", "tcpdump/isakmpv1-attr-oobr.pcap",
	"tcpdump/ikev1_id_ipv6_addr_subnet-oobr.pcap",
	"zeek/ukncsc-ikev2.pcap", "suricata-verify/IKEv2_SA_INIT_2-8-weak.pcap",
}

// Messages of IKEv2 peers, byte for byte: what they hold, and that it is appended as it came.
func TestCaptures(t *testing.T) {
	const (
		natd = " N(NAT_DETECTION_SOURCE_IP) N(NAT_DETECTION_DESTINATION_IP)"
		frag = " N(IKEV2_FRAGMENTATION_SUPPORTED) N(SIGNATURE_HASH_ALGORITHMS)"
	)
	for name, want := range map[string][]string{
		"tcpdump/ikev2four.pcap": {
			"IKE_SA_INIT request 0 [SA KE No" + natd + "]",
			"IKE_SA_INIT response 0 [N(COOKIE)]",
			"IKE_SA_INIT request 0 [N(COOKIE) SA KE No" + natd + "]",
			"IKE_SA_INIT response 0 [SA KE No" + natd + "]",
			"IKE_AUTH request 1 [SK]", "IKE_AUTH response 1 [SK]",
			"CREATE_CHILD_SA request 2 [SK]", "CREATE_CHILD_SA request 3 [SK]",
			"CREATE_CHILD_SA response 2 [SK]", "CREATE_CHILD_SA response 3 [SK]",
			"CREATE_CHILD_SA request 4 [SK]", "CREATE_CHILD_SA request 5 [SK]",
			"CREATE_CHILD_SA response 4 [SK]", "CREATE_CHILD_SA response 5 [SK]",
			"CREATE_CHILD_SA request 6 [SK]", "CREATE_CHILD_SA request 7 [SK]",
			"CREATE_CHILD_SA response 6 [SK]", "CREATE_CHILD_SA response 7 [SK]",
			"CREATE_CHILD_SA request 8 [SK]", "CREATE_CHILD_SA response 8 [SK]",
			"INFORMATIONAL request 0 [SK]",
		},
		"zeek/ukncsc-ikev2.pcap": {
			"IKE_SA_INIT request 0 [SA KE No" + natd + frag + " N(REDIRECT_SUPPORTED)]",
			"IKE_SA_INIT response 0 [N(INVALID_KE_PAYLOAD)]",
			"IKE_SA_INIT request 0 [SA KE No" + natd + frag + " N(REDIRECT_SUPPORTED)]",
			"IKE_SA_INIT response 0 [SA KE No" + natd + frag + " N(CHILDLESS_IKEV2_SUPPORTED) N(MULTIPLE_AUTH_SUPPORTED)]",
			"IKE_AUTH request 1 [SKF(1/2)]", "IKE_AUTH request 1 [SKF(2/2)]", "IKE_AUTH response 1 [SK]",
		},
		"suricata-verify/IKEv2_SA_INIT_2-8-weak.pcap": {"IKE_SA_INIT request 0 [No KE SA]"},
		// Made by hand: bytes follow the last payload, and an identity without the fixed fields.
		"tcpdump/ikev2-id-normal.pcap": {"malformed message at offset 37: bytes after the last payload"},
		"tcpdump/ikev2-id-short.pcap":  {"malformed IDi payload at offset 32: cut short"},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for i, b := range captured(t, name) {
				m, err := Parse(b)
				if err != nil {
					got = append(got, err.Error())
					continue
				}
				got = append(got, m.String())
				if again := AppendMessage(nil, m.Header, m.Payloads); m.Encrypted == nil && m.Fragment == nil && !bytes.Equal(again, b) {
					t.Errorf("message %d appended:\n%x, was\n%x", i, again, b)
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

// The content of one offer, as tcpdump prints it.
func TestCapturedOffer(t *testing.T) {
	m, err := Parse(captured(t, "tcpdump/ikev2four.pcap")[0])
	if err != nil {
		t.Fatal(err)
	}
	want := suite.Proposal{Protocol: suite.IKE, Transforms: []suite.Transform{
		{Type: suite.TypeENCR, ID: 12, KeyBits: 128}, {Type: suite.TypeENCR, ID: 12, KeyBits: 256},
		{Type: suite.TypeENCR, ID: 12, KeyBits: 192}, {Type: suite.TypeENCR, ID: 3},
		{Type: suite.TypePRF, ID: 2}, {Type: suite.TypePRF, ID: 1}, {Type: suite.TypePRF, ID: 4},
		{Type: suite.TypeINTEG, ID: 2}, {Type: suite.TypeINTEG, ID: 1}, {Type: suite.TypeINTEG, ID: 5},
		{Type: suite.TypeKE, ID: 2}, {Type: suite.TypeKE, ID: 14}}}
	sa := m.Payloads[0].(*SA)
	if len(sa.Proposals) != 1 || !reflect.DeepEqual(sa.Proposals[0], Proposal{Number: 1, Proposal: want}) {
		t.Errorf("SA = %+v", sa)
	}
	if ke := m.Payloads[1].(*KE); ke.Group != 2 || len(ke.Data) != 128 {
		t.Errorf("KE of group %d, %d bytes", ke.Group, len(ke.Data))
	}
	if nonce := m.Payloads[2].(*Nonce); len(nonce.Data) != 32 || !bytes.HasPrefix(nonce.Data, hx("6128ebd023a864e94a7f")) {
		t.Errorf("nonce = %x", nonce.Data)
	}
}

// Whatever a capture holds, hostile or of IKEv1: an error, or payloads that survive a round trip.
//
// Cases: BUG-04; BUG-11.
func TestCapturesRoundTrip(t *testing.T) {
	for _, name := range captures {
		for i, b := range captured(t, name) {
			if m, err := Parse(b); err == nil {
				roundTrip(t, m.Payloads)
			} else if !isAnySyntax(err) {
				t.Errorf("%s, message %d: %v", name, i, err)
			}
		}
	}
}

// roundTrip checks that payloads that were parsed are parsed again from what they are appended as.
func roundTrip(t *testing.T, payloads []Payload) {
	t.Helper()
	b := appendChain(nil, payloads)
	again, err := ParsePayloads(firstType(payloads), b)
	if err != nil || !reflect.DeepEqual(again, payloads) {
		t.Fatalf("%v came back as %v, %v", payloads, again, err)
	}
	if twice := appendChain(nil, again); !bytes.Equal(twice, b) {
		t.Fatalf("appended twice:\n%x\n%x", b, twice)
	}
}
