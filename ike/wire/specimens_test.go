package wire

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strings"

	"github.com/culvert-vpn/culvert/ident"
	"github.com/culvert-vpn/culvert/suite"
	"github.com/culvert-vpn/culvert/ts"
)

// hx reads annotated hex: white space and everything from # to the end of a line is ignored.
func hx(text string) []byte {
	var digits strings.Builder
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		for _, field := range strings.Fields(line) {
			digits.WriteString(field)
		}
	}
	b, err := hex.DecodeString(digits.String())
	if err != nil {
		panic(err)
	}
	return b
}

// specimen is a payload as it is on the wire, alone in its chain, and what it means.
type specimen struct {
	name string
	hex  string // generic payload header and body
	want Payload
	// fixed is the length of the shortest good body that starts like this one. Tests cut the body and
	// mend the payload length: below fixed that must be an error.
	fixed int
	// sent is the hex that want is appended as, if not what was received.
	sent string
}

// goodAt reports whether the first n bytes of the body are a good body: a Configuration payload ends behind any attribute.
func (s specimen) goodAt(n int) bool {
	end := s.fixed
	if cp, ok := s.want.(*CP); ok {
		body := hx(s.hex)[payloadHeaderLen:]
		for range cp.Attributes {
			if end >= n {
				break
			}
			end += 4 + int(binary.BigEndian.Uint16(body[end+2:]))
		}
		return end == n
	}
	return n >= end
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

var specimens = []specimen{{
	name: "SA of IKE, two proposals",
	hex: `00 00 0054          # no next payload, not critical, 84 bytes
	      02 00 002c          # more proposals follow, 44 bytes
	      01 01 00 04         # number 1, IKE, no SPI, 4 transforms
	      03 00 000c 01 00 000c  800e 0100   # ENCR_AES_CBC, Key Length 256
	      03 00 0008 02 00 0005              # PRF_HMAC_SHA2_256
	      03 00 0008 03 00 000c              # AUTH_HMAC_SHA2_256_128
	      00 00 0008 04 00 001f              # curve25519, the last
	      00 00 0024          # last proposal, 36 bytes
	      02 01 00 03         # number 2, IKE, no SPI, 3 transforms
	      03 00 000c 01 00 0014  800e 0080   # ENCR_AES_GCM_16, Key Length 128
	      03 00 0008 02 00 0005
	      00 00 0008 04 00 001f`,
	want: &SA{Proposals: []Proposal{
		{Number: 1, Proposal: suite.Proposal{Protocol: suite.IKE, Transforms: []suite.Transform{
			{Type: suite.TypeENCR, ID: 12, KeyBits: 256}, {Type: suite.TypePRF, ID: 5},
			{Type: suite.TypeINTEG, ID: 12}, {Type: suite.TypeKE, ID: 31}}}},
		{Number: 2, Proposal: suite.Proposal{Protocol: suite.IKE, Transforms: []suite.Transform{
			{Type: suite.TypeENCR, ID: 20, KeyBits: 128}, {Type: suite.TypePRF, ID: 5},
			{Type: suite.TypeKE, ID: 31}}}},
	}},
	fixed: 80,
}, {
	name: "SA of ESP, the answer to proposal 2",
	hex: `00 00 0024
	      00 00 0020
	      02 03 04 02  c0ffee01              # number 2, ESP, SPI of 4 bytes
	      03 00 000c 01 00 0014  800e 0100
	      00 00 0008 05 00 0000              # No Extended Sequence Numbers`,
	want: &SA{Proposals: []Proposal{{Number: 2, SPI: hx("c0ffee01"), Proposal: suite.Proposal{
		Protocol: suite.ESP, Transforms: []suite.Transform{
			{Type: suite.TypeENCR, ID: 20, KeyBits: 256}, {Type: suite.TypeESN}}}}}},
	fixed: 32,
}, {
	name: "SA with transforms that must not be chosen",
	hex: `00 7f 0075          # reserved bits of the payload header set
	      00 ff 0071          # reserved byte set
	      01 01 08 08  0102030405060708      # a rekeying IKE SA has an SPI
	      03 ff 000c 01 ff 000c  800e 0080   # reserved bytes set
	      03 00 000d 01 00 000c  0005 0001 aa        # an unknown attribute, TLV
	      03 00 0010 01 00 000c  800e 0080 8012 0001 # Key Length and an unknown one
	      03 00 000c 01 00 000c  000e 0000           # Key Length in TLV form, empty
	      03 00 000c 01 00 000c  800e 0000           # Key Length 0
	      03 00 0010 01 00 000c  800e 0080 800e 0100 # Key Length twice
	      03 00 0008 09 00 0007                      # a Transform Type from the future
	      00 00 0008 04 00 001f`,
	want: &SA{Proposals: []Proposal{{Number: 1, SPI: hx("0102030405060708"), Proposal: suite.Proposal{
		Protocol: suite.IKE, Transforms: []suite.Transform{
			{Type: suite.TypeENCR, ID: 12, KeyBits: 128},
			{Type: suite.TypeENCR, ID: UnusableTransform}, {Type: suite.TypeENCR, ID: UnusableTransform},
			{Type: suite.TypeENCR, ID: UnusableTransform}, {Type: suite.TypeENCR, ID: UnusableTransform},
			{Type: suite.TypeENCR, ID: UnusableTransform},
			{Type: 9, ID: 7}, {Type: suite.TypeKE, ID: 31}}}}}},
	fixed: 113,
	sent: `00 00 0058  00 00 0054  01 01 08 08  0102030405060708
	       03 00 000c 01 00 000c  800e 0080
	       03 00 0008 01 00 ffff  03 00 0008 01 00 ffff  03 00 0008 01 00 ffff
	       03 00 0008 01 00 ffff  03 00 0008 01 00 ffff
	       03 00 0008 09 00 0007  00 00 0008 04 00 001f`,
}, {
	name:  "KE",
	hex:   `00 00 000b  0013 ffff  a1a2a3    # group 19, reserved set, key exchange data`,
	want:  &KE{Group: 19, Data: hx("a1a2a3")},
	fixed: 5,
	sent:  `00 00 000b  0013 0000  a1a2a3`,
}, {
	name:  "IDi, FQDN",
	hex:   `00 00 000b  02 000000  666f6f    # ID_FQDN, reserved, foo`,
	want:  &ID{ID: must(ident.New(ident.FQDN, []byte("foo"))), Raw: hx("02000000 666f6f")},
	fixed: 4,
}, {
	name:  "IDr, address of a wrong length",
	hex:   `00 00 000b  01 000000  c00002`,
	want:  &ID{Responder: true, Raw: hx("01000000 c00002")},
	fixed: 4,
}, {
	name:  "IDr, ID_NULL",
	hex:   `00 00 0008  0d 000000`,
	want:  &ID{Responder: true, Raw: hx("0d000000")},
	fixed: 4,
}, {
	name:  "IDi, reserved bytes set",
	hex:   `00 00 000c  01 0a0b0c  c0000201`,
	want:  &ID{ID: ident.FromAddr(addr("192.0.2.1")), Raw: hx("010a0b0c c0000201")},
	fixed: 4,
}, {
	name:  "CERT",
	hex:   `00 00 0007  04  3000             # X.509 certificate`,
	want:  &Cert{Body: hx("04 3000")},
	fixed: 1,
}, {
	name:  "CERTREQ",
	hex:   `00 00 0005  04`,
	want:  &CertReq{Body: hx("04")},
	fixed: 1,
}, {
	name:  "AUTH",
	hex:   `00 80 000c  02 010203  aabbccdd  # critical, which is ignored; shared key; reserved set`,
	want:  &Auth{Method: AuthSharedKey, Data: hx("aabbccdd")},
	fixed: 4,
	sent:  `00 00 000c  02 000000  aabbccdd`,
}, {
	name:  "Nonce",
	hex:   `00 00 0014  000102030405060708090a0b0c0d0e0f`,
	want:  &Nonce{Data: hx("000102030405060708090a0b0c0d0e0f")},
	fixed: 16,
}, {
	name:  "N(COOKIE)",
	hex:   `00 00 000b  01 00 4006  c00c1e  # Protocol ID IKE means nothing without an SPI`,
	want:  &Notify{Kind: COOKIE, Data: hx("c00c1e")},
	fixed: 4,
	sent:  `00 00 000b  00 00 4006  c00c1e`,
}, {
	name:  "N(REKEY_SA)",
	hex:   `00 00 000c  03 04 4009  c0ffee01 # ESP, SPI of 4 bytes`,
	want:  &Notify{Protocol: suite.ESP, SPI: hx("c0ffee01"), Kind: REKEY_SA},
	fixed: 8,
}, {
	name:  "D of the IKE SA",
	hex:   `00 00 0008  01 00 0000`,
	want:  &Delete{Protocol: suite.IKE},
	fixed: 4,
}, {
	name:  "D of Child SAs",
	hex:   `00 00 0010  03 04 0002  c0ffee01 c0ffee02`,
	want:  &Delete{Protocol: suite.ESP, SPIs: [][]byte{hx("c0ffee01"), hx("c0ffee02")}},
	fixed: 12,
}, {
	name:  "V",
	hex:   `00 00 0008  76656e64`,
	want:  &Vendor{Data: []byte("vend")},
	fixed: 0,
}, {
	name: "TSi",
	hex: `00 00 0040  02 000000
	      07 06 0010  01bb 01bb  0a670000 0a6700ff   # TCP 443, 10.103.0.0 to 10.103.0.255
	      08 00 0028  0000 ffff                      # any, 2001:db8:: to 2001:db8::ff
	         20010db8000000000000000000000000 20010db80000000000000000000000ff`,
	want: &TS{Selectors: []ts.Selector{
		{Protocol: 6, StartPort: 443, EndPort: 443, Start: addr("10.103.0.0"), End: addr("10.103.0.255")},
		{EndPort: 65535, Start: addr("2001:db8::"), End: addr("2001:db8::ff")}}},
	fixed: 60,
}, {
	name: "TSr with types not known",
	hex: `00 00 0024  03 ffffff
	      0a 00 0008  6c61626c                       # TS_SECLABEL
	      07 00 0010  ffff 0000  c0000201 c0000201   # OPAQUE ports
	      ff 00 0004`,
	want: &TS{Responder: true, Selectors: []ts.Selector{
		{StartPort: 65535, Start: addr("192.0.2.1"), End: addr("192.0.2.1")}}},
	fixed: 32,
	sent:  `00 00 0018  01 000000  07 00 0010  ffff 0000  c0000201 c0000201`,
}, {
	name: "CP(CFG_REQUEST)",
	hex: `00 00 0049  01 000000
	      0001 0000                           # INTERNAL_IP4_ADDRESS, any
	      0001 0004  0a0b0001                 # 10.11.0.1 again
	      0008 0011  20010db8000000000000000000000005 40
	      0003 0000  000a 0000                # DNS servers of both families
	      8019 0000                           # INTERNAL_DNS_DOMAIN; the reserved bit is set
	      001a 0000                           # INTERNAL_DNSSEC_TA
	      0007 0000  000e 0000                # APPLICATION_VERSION, SUPPORTED_ATTRIBUTES
	      7fff 0004  deadbeef`,
	want: &CP{Kind: CFG_REQUEST, Attributes: []Attribute{
		{Type: INTERNAL_IP4_ADDRESS},
		{Type: INTERNAL_IP4_ADDRESS, Net: netip.MustParsePrefix("10.11.0.1/32")},
		{Type: INTERNAL_IP6_ADDRESS, Net: netip.MustParsePrefix("2001:db8::5/64")},
		{Type: INTERNAL_IP4_DNS}, {Type: INTERNAL_IP6_DNS}, {Type: INTERNAL_DNS_DOMAIN}, {Type: INTERNAL_DNSSEC_TA},
		{Type: APPLICATION_VERSION}, {Type: SUPPORTED_ATTRIBUTES}, {Type: 0x7fff, Data: hx("deadbeef")}}},
	sent: `00 00 0049  01 000000
	       0001 0000  0001 0004 0a0b0001  0008 0011 20010db8000000000000000000000005 40  0003 0000  000a 0000
	       0019 0000  001a 0000  0007 0000  000e 0000  7fff 0004 deadbeef`,
	fixed: 4,
}, {
	name: "CP(CFG_REPLY)",
	hex: `00 00 0093  02 000000
	      0001 0004  0a0b0001  0002 0004  ffffff00   # 10.11.0.1, 255.255.255.0
	      0003 0004  0a0b0035  0004 0004  0a0b0036  0006 0004  0a0b0037   # DNS, NBNS, DHCP
	      0008 0011  20010db8000000000000000000000005 80
	      000a 0010  20010db8000000000000000000000035
	      000d 0008  0a670000 ffff0000               # INTERNAL_IP4_SUBNET 10.103.0.0/16
	      000f 0011  20010db8000100000000000000000000 30
	      0019 000c  636f72702e6578616d706c65        # corp.example
	      001a 0005  a9f1 08 02 b6                   # its trust anchor`,
	want: &CP{Kind: CFG_REPLY, Attributes: []Attribute{
		{Type: INTERNAL_IP4_ADDRESS, Net: netip.MustParsePrefix("10.11.0.1/32")},
		{Type: INTERNAL_IP4_NETMASK, Net: netip.MustParsePrefix("255.255.255.0/32")},
		{Type: INTERNAL_IP4_DNS, Net: netip.MustParsePrefix("10.11.0.53/32")},
		{Type: INTERNAL_IP4_NBNS, Net: netip.MustParsePrefix("10.11.0.54/32")},
		{Type: INTERNAL_IP4_DHCP, Net: netip.MustParsePrefix("10.11.0.55/32")},
		{Type: INTERNAL_IP6_ADDRESS, Net: netip.MustParsePrefix("2001:db8::5/128")},
		{Type: INTERNAL_IP6_DNS, Net: netip.MustParsePrefix("2001:db8::35/128")},
		{Type: INTERNAL_IP4_SUBNET, Net: netip.MustParsePrefix("10.103.0.0/16")},
		{Type: INTERNAL_IP6_SUBNET, Net: netip.MustParsePrefix("2001:db8:1::/48")},
		{Type: INTERNAL_DNS_DOMAIN, Data: []byte("corp.example")},
		{Type: INTERNAL_DNSSEC_TA, Data: hx("a9f1 08 02 b6")}}},
	fixed: 4,
}, {
	name: "CP(CFG_REPLY) with values that mean nothing",
	hex: `00 00 0041  02 0a0b0c
	      000d 0008  0a670000 ff00ff00               # a netmask with holes
	      0008 0011  20010db8000000000000000000000005 81 # a prefix length of 129
	      0008 0010  20010db8000000000000000000000005    # no prefix length at all
	      0001 0000`,
	want: &CP{Kind: CFG_REPLY, Attributes: []Attribute{
		{Type: INTERNAL_IP4_SUBNET, Data: hx("0a670000 ff00ff00")},
		{Type: INTERNAL_IP6_ADDRESS, Data: hx("20010db8000000000000000000000005 81")},
		{Type: INTERNAL_IP6_ADDRESS, Net: netip.MustParsePrefix("2001:db8::5/128")},
		{Type: INTERNAL_IP4_ADDRESS}}},
	sent: `00 00 0042  02 000000
	       000d 0008 0a670000 ff00ff00  0008 0011 20010db8000000000000000000000005 81
	       0008 0011 20010db8000000000000000000000005 80  0001 0000`,
	fixed: 4,
}, {
	name:  "EAP",
	hex:   `00 00 0008  03 01 0004           # Success`,
	want:  &EAP{Body: hx("03010004")},
	fixed: 4,
}, {
	name:  "a payload from the future",
	hex:   `00 00 0006  abcd`,
	want:  &Unknown{Kind: 77, Body: hx("abcd")},
	fixed: 0,
}, {
	name:  "an IKEv1 payload",
	hex:   `00 00 0004`,
	want:  &Unknown{Kind: 5},
	fixed: 0,
}}

// chain puts payloads of the given types and bytes one behind the other; each must be alone in its chain.
func chain(list []specimen) (first PayloadType, b []byte) {
	for i, s := range list {
		p := hx(s.hex)
		if i+1 < len(list) {
			p[0] = byte(list[i+1].want.Type())
		}
		b = append(b, p...)
	}
	return list[0].want.Type(), b
}

// message puts an IKE header in front of a chain.
func message(first PayloadType, payloads []byte) []byte {
	h := Header{SPIi: 0x0102030405060708, SPIr: 0x1112131415161718, Next: first, Exchange: IKE_AUTH, MessageID: 7,
		Initiator: true, Length: uint32(HeaderLen + len(payloads))}
	return append(h.append(nil), payloads...)
}
