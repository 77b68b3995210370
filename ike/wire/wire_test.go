package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/culvert-vpn/culvert/suite"
)

func TestHeader(t *testing.T) {
	b := hx(`0102030405060708 1112131415161718  # SPIs
	         29 25 25 ff                        # Notify, version 2.5, INFORMATIONAL, all flags set
	         00000009 00000024                  # Message ID, length
	         00000008 00004000                  # N(INITIAL_CONTACT)`)
	want := Header{SPIi: 0x0102030405060708, SPIr: 0x1112131415161718, Next: TypeNOTIFY, Major: 2, Minor: 5,
		Exchange: INFORMATIONAL, Initiator: true, Version: true, Response: true, MessageID: 9, Length: 36}
	h, err := ParseHeader(b)
	if err != nil || h != want {
		t.Fatalf("ParseHeader = %+v, %v, want %+v", h, err, want)
	}
	m, err := Parse(b)
	if err != nil || m.Header != want || !reflect.DeepEqual(m.Payloads, []Payload{&Notify{Kind: INITIAL_CONTACT}}) {
		t.Fatalf("Parse = %+v, %v", m, err)
	}
	// What may not be sent is not: minor version, V flag, reserved flags.
	b[17], b[19] = 0x20, 0x28
	if got := AppendMessage([]byte("x"), h, m.Payloads); !bytes.Equal(got[1:], b) {
		t.Errorf("AppendMessage = %x, want %x", got[1:], b)
	}
}

func TestHeaderOnly(t *testing.T) {
	h := Header{SPIi: 1, Exchange: INFORMATIONAL, Response: true, MessageID: 3}
	b := AppendMessage(nil, h, nil)
	if want := hx("0000000000000001 0000000000000000 00 20 25 20 00000003 0000001c"); !bytes.Equal(b, want) {
		t.Fatalf("AppendMessage = %x, want %x", b, want)
	}
	m, err := Parse(b)
	if err != nil || len(m.Payloads) != 0 || m.Encrypted != nil {
		t.Fatalf("Parse = %+v, %v", m, err)
	}
	for _, length := range []uint32{0, 27, 29, 1 << 31} {
		binary.BigEndian.PutUint32(b[24:], length)
		if _, err := ParseHeader(b); !isSyntax(err, 0) {
			t.Errorf("length field %d: %v", length, err)
		}
	}
}

func isSyntax(err error, payload PayloadType) bool {
	var s *SyntaxError
	return errors.As(err, &s) && s.Payload == payload
}

func TestSpecimens(t *testing.T) {
	for _, s := range specimens {
		t.Run(s.name, func(t *testing.T) {
			wire := hx(s.hex)
			got, err := ParsePayloads(s.want.Type(), wire)
			if err != nil || !reflect.DeepEqual(got, []Payload{s.want}) {
				t.Fatalf("ParsePayloads = %+v, %v, want %+v", got, err, s.want)
			}
			sent := wire
			if s.sent != "" {
				sent = hx(s.sent)
			}
			if b := appendChain(nil, got); !bytes.Equal(b, sent) {
				t.Errorf("appended\n%x, want\n%x", b, sent)
			}
			again, err := ParsePayloads(s.want.Type(), sent)
			if err != nil || !reflect.DeepEqual(again, got) {
				t.Errorf("parsed again: %+v, %v", again, err)
			}
		})
	}
}

// All payloads in one message: the chain is followed, and cut anywhere it is an error.
//
// Cases: BUG-05.
func TestChainTruncated(t *testing.T) {
	first, payloads := chain(specimens)
	whole := message(first, payloads)
	m, err := Parse(whole)
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Payloads) != len(specimens) {
		t.Fatalf("%d payloads, want %d", len(m.Payloads), len(specimens))
	}
	for i, s := range specimens {
		if !reflect.DeepEqual(m.Payloads[i], s.want) {
			t.Errorf("%s: %+v", s.name, m.Payloads[i])
		}
	}
	for n := range len(whole) {
		b := slices.Clone(whole[:n])
		if _, err := Parse(b); !isAnySyntax(err) {
			t.Fatalf("cut at %d: %v", n, err)
		}
		if n >= HeaderLen { // with the Length field mended
			putMessageLength(b)
			if _, err := Parse(b); !isAnySyntax(err) {
				t.Fatalf("cut at %d, length mended: %v", n, err)
			}
		}
	}
}

func isAnySyntax(err error) bool {
	var s *SyntaxError
	return errors.As(err, &s) && s.Reason != "" && s.Error() != ""
}

// The body cut at every length with the payload length mended, and one byte too long.
//
// Cases: BUG-05.
func TestBodyTruncated(t *testing.T) {
	for _, s := range specimens {
		wire := hx(s.hex)
		for n := payloadHeaderLen; n < len(wire); n++ {
			b := slices.Clone(wire[:n])
			putLength(b)
			_, err := ParsePayloads(s.want.Type(), b)
			if short := !s.goodAt(n - payloadHeaderLen); short && !isSyntax(err, s.want.Type()) || !short && err != nil {
				t.Errorf("%s cut to a body of %d: %v", s.name, n-payloadHeaderLen, err)
			}
		}
		switch s.want.(type) {
		case *SA, *TS, *Delete:
			b := append(slices.Clone(wire), 0)
			putLength(b)
			if _, err := ParsePayloads(s.want.Type(), b); !isSyntax(err, s.want.Type()) {
				t.Errorf("%s with a byte more: %v", s.name, err)
			}
		}
	}
}

// Cases: BUG-05; TestMalformedMessages; set_ike_version.
func TestMalformed(t *testing.T) {
	for _, c := range []struct {
		name   string
		first  PayloadType
		hex    string
		reason string // a part of it
	}{
		{"payload length 3", TypeVENDOR, "00 00 0003", "shorter than the payload header"},
		{"payload length 0", TypeVENDOR, "00 00 0000", "shorter than the payload header"},
		{"payload length beyond the end", TypeVENDOR, "00 00 0005", "cut short"},
		{"chain beyond the end", TypeVENDOR, "2b 00 0004", "cut short"},
		{"bytes after the chain", TypeVENDOR, "00 00 0004 00", "after the last payload"},
		{"bytes and no payload", TypeNone, "00", "after the last payload"},
		{"a payload announced and none there", TypeVENDOR, "", "cut short"},
		{"SK inside SK", TypeSK, "00 00 0004", "inside another"},
		{"SA without proposals", TypeSA, "00 00 0004", "cut short"},
		{"proposal length 3", TypeSA, "00 00 0014  00 00 0003 01010001 00000008 04000013", "shorter than its header"},
		{"proposal longer than the SA", TypeSA, "00 00 0014  00 00 0011 01010001 00000008 04000013", "cut short"},
		{"proposal shorter than the SA", TypeSA, "00 00 0015  00 00 0010 01010001 00000008 04000013 00", "after the last"},
		{"bad proposal mark", TypeSA, "00 00 0014  03 00 0010 01010001 00000008 04000013", "bad mark"},
		{"missing proposal", TypeSA, "00 00 0014  02 00 0010 01010001 00000008 04000013", "is missing"},
		{"bad transform mark", TypeSA, "00 00 0014  00 00 0010 01010001 02000008 04000013", "bad mark"},
		{"missing transform", TypeSA, "00 00 0014  00 00 0010 01010001 03000008 04000013", "is missing"},
		{"fewer transforms than announced", TypeSA, "00 00 0014  00 00 0010 01010002 00000008 04000013", "number of transforms"},
		{"a long transform counted twice", TypeSA, "00 00 001c  00 00 0018 01010002 00000010 04000013 00050004 01020304", "number of transforms"},
		{"more transforms than announced", TypeSA, "00 00 001c  00 00 0018 01010001 03000008 04000013 00000008 04000013", "number of transforms"},
		{"no transforms", TypeSA, "00 00 000c  00 00 0008 01010000", "without transforms"},
		{"attribute cut", TypeSA, "00 00 0016  00 00 0012 01010001 0000000a 04000013 800e", "cut short"},
		{"TLV attribute too long", TypeSA, "00 00 0018  00 00 0014 01010001 0000000c 04000013 00050001", "cut short"},
		{"IKE SPI of 4", TypeSA, "00 00 0018  00 00 0014 01010401 01020304 00000008 04000013", "SPI size"},
		{"ESP SPI of 8", TypeSA, "00 00 001c  00 00 0018 01030801 0102030405060708 00000008 05000000", "SPI size"},
		{"ESP without SPI", TypeSA, "00 00 0014  00 00 0010 01030001 00000008 05000000", "SPI size"},
		{"proposal number 0", TypeSA, "00 00 0014  00 00 0010 00010001 00000008 04000013", "out of order"},
		{"proposal number twice", TypeSA, "00 00 0024  02 00 0010 01010001 00000008 04000013  00 00 0010 01010001 00000008 04000013", "out of order"},
		{"KE without data", TypeKE, "00 00 0008  00130000", "no key exchange data"},
		{"nonce of 15", TypeNONCE, "00 00 0013  000102030405060708090a0b0c0d0e", "nonce"},
		{"notify SPI beyond the end", TypeNOTIFY, "00 00 000a  00 03 4009 0102", "cut short"},
		{"notify ESP SPI of 8", TypeNOTIFY, "00 00 0010  03 08 4009 0102030405060708", "SPI size"},
		{"delete IKE with SPI", TypeDELETE, "00 00 0010  01 08 0001 0102030405060708", "deletion of an IKE SA"},
		{"delete IKE with a number", TypeDELETE, "00 00 0008  01 00 0001", "deletion of an IKE SA"},
		{"delete IKE with trailing bytes", TypeDELETE, "00 00 0009  01 00 0000 00", "longer than its content"},
		{"delete ESP with SPI size 0", TypeDELETE, "00 00 0008  03 00 ffff", "SPI size"},
		{"delete ESP with too few", TypeDELETE, "00 00 000c  03 04 0002 01020304", "number of SPIs"},
		{"delete ESP with too many", TypeDELETE, "00 00 0010  03 04 0001 01020304 01020304", "number of SPIs"},
		{"delete of an unknown protocol", TypeDELETE, "00 00 000c  07 04 0001 01020304", "unknown protocol"},
		{"TS with fewer than announced", TypeTSi, "00 00 0018  02 000000  07 00 0010 0000ffff 0a000000 0a0000ff", "cut short"},
		{"TS with more than announced", TypeTSi, "00 00 0018  00 000000  07 00 0010 0000ffff 0a000000 0a0000ff", "longer than its content"},
		{"selector length 3", TypeTSi, "00 00 000c  01 000000  63 00 0003", "shorter than its header"},
		{"IPv4 selector of 40", TypeTSi, "00 00 0030  01 000000  07 00 0028 0000ffff" + strings.Repeat("00", 32), "does not fit its type"},
		{"IPv6 selector of 16", TypeTSi, "00 00 0018  01 000000  08 00 0010 0000ffff 0a000000 0a0000ff", "does not fit its type"},
		{"range backwards", TypeTSi, "00 00 0018  01 000000  07 00 0010 0000ffff 0a0000ff 0a000000", "not a range"},
		{"CP cut short", TypeCP, "00 00 0007  010000", "cut short"},
		{"attribute header cut", TypeCP, "00 00 000a  01000000 0001", "cut short"},
		{"attribute beyond the end", TypeCP, "00 00 000f  02000000 0001 0004 0a0000", "cut short"},
		{"IPv4 address of 3 bytes", TypeCP, "00 00 000f  02000000 0001 0003 0a0000", "does not fit its type"},
		{"IPv6 server of 17 bytes", TypeCP, "00 00 001d  02000000 000a 0011 20010db8000000000000000000000005 40", "does not fit its type"},
		{"IPv4 subnet of 5 bytes", TypeCP, "00 00 0011  02000000 000d 0005 0a000000 08", "does not fit its type"},
		{"ports backwards", TypeTSi, "00 00 0018  01 000000  07 00 0010 00020001 0a000000 0a0000ff", "not a range"},
	} {
		_, err := ParsePayloads(c.first, hx(c.hex))
		if !isAnySyntax(err) || !strings.Contains(err.Error(), c.reason) {
			t.Errorf("%s: %v, want an error with %q", c.name, err, c.reason)
		}
	}
}

// Offsets in errors are counted from the start of the message.
func TestErrorPlace(t *testing.T) {
	b := message(TypeVENDOR, hx("28 00 0006 0102   00 00 0005 00")) // V, nonce of one byte
	_, err := Parse(b)
	want := &SyntaxError{Payload: TypeNONCE, Offset: HeaderLen + 6 + 4, Reason: "nonce not of 16 to 256 bytes"}
	if !reflect.DeepEqual(err, error(want)) {
		t.Fatalf("%#v, want %#v", err, want)
	}
	if got := err.Error(); got != "malformed No payload at offset 38: nonce not of 16 to 256 bytes" {
		t.Error(got)
	}
}

func TestNonceBounds(t *testing.T) {
	for n, good := range map[int]bool{0: false, 15: false, 16: true, 256: true, 257: false} {
		b := appendChain(nil, []Payload{&Nonce{Data: make([]byte, n)}})
		if _, err := ParsePayloads(TypeNONCE, b); (err == nil) != good {
			t.Errorf("nonce of %d: %v", n, err)
		}
	}
}

func TestCritical(t *testing.T) {
	vendor, unknown := &Vendor{Data: []byte("a")}, &Unknown{Kind: 99, Body: []byte("b")}
	b := AppendMessage(nil, Header{}, []Payload{vendor, unknown})
	m, err := Parse(b)
	if err != nil || !reflect.DeepEqual(m.Payloads, []Payload{vendor, unknown}) {
		t.Fatalf("not critical: %v, %v", m, err)
	}
	b[HeaderLen+5+1] = 0x7f // the reserved bits of the payload header, which are ignored (RFC 7296 3.2)
	if _, err = Parse(b); err != nil {
		t.Errorf("not critical, reserved bits: %v", err)
	}
	unknown.Critical = true
	b = AppendMessage(nil, Header{}, []Payload{vendor, unknown})
	_, err = Parse(b)
	var u *UnknownCritical
	if !errors.As(err, &u) || u.Type != 99 || u.Error() != "unsupported critical payload PAYLOAD_99" {
		t.Errorf("critical: %v", err)
	}
	// The header can still be read, for the answer.
	if _, err := ParseHeader(b); err != nil {
		t.Error(err)
	}
}

// Cases: BUG-04.
func TestEncryptedIsLast(t *testing.T) {
	notify := hx("2e 00 0008 00 00 4000")
	sk := hx("29 00 0006 abcd")
	m, err := Parse(message(TypeNOTIFY, slices.Concat(notify, sk)))
	if err != nil {
		t.Fatal(err)
	}
	if want := (&Encrypted{Next: TypeNOTIFY, Offset: HeaderLen + 12, Body: hx("abcd")}); !reflect.DeepEqual(m.Encrypted, want) {
		t.Errorf("Encrypted = %+v, want %+v", m.Encrypted, want)
	}
	if !reflect.DeepEqual(m.Payloads, []Payload{&Notify{Kind: INITIAL_CONTACT}}) {
		t.Errorf("payloads in the clear = %v", m.Payloads)
	}
	if _, err := Parse(message(TypeSK, slices.Concat(sk, notify))); !isSyntax(err, TypeSK) {
		t.Errorf("a payload after SK: %v", err)
	}
}

// Cases: BUG-05; corrupt_encrypted.
func TestLimits(t *testing.T) {
	many := slices.Repeat([]Payload{&Vendor{}}, MaxPayloads)
	if _, err := Parse(AppendMessage(nil, Header{}, many)); err != nil {
		t.Errorf("%d payloads: %v", MaxPayloads, err)
	}
	if _, err := Parse(AppendMessage(nil, Header{}, append(many, &Vendor{}))); !isSyntax(err, TypeVENDOR) {
		t.Errorf("%d payloads: %v", MaxPayloads+1, err)
	}
	transforms := func(n int) []suite.Transform {
		return slices.Repeat([]suite.Transform{{Type: suite.TypeKE, ID: 31}}, n)
	}
	sa := &SA{}
	for n := range MaxProposals {
		sa.Proposals = append(sa.Proposals, Proposal{Number: uint8(n + 1),
			Proposal: suite.Proposal{Protocol: suite.IKE, Transforms: transforms(MaxTransforms)}})
	}
	parse := func() error {
		_, err := ParsePayloads(TypeSA, appendChain(nil, []Payload{sa}))
		return err
	}
	if err := parse(); err != nil {
		t.Errorf("the largest SA: %v", err)
	}
	sa.Proposals = append(sa.Proposals, Proposal{Number: MaxProposals + 1,
		Proposal: suite.Proposal{Protocol: suite.IKE, Transforms: transforms(1)}})
	if err := parse(); err == nil || !strings.Contains(err.Error(), "too many proposals") {
		t.Errorf("too many proposals: %v", err)
	}
	sa.Proposals = sa.Proposals[:1]
	sa.Proposals[0].Transforms = transforms(MaxTransforms + 1)
	if err := parse(); err == nil || !strings.Contains(err.Error(), "too many transforms") {
		t.Errorf("too many transforms: %v", err)
	}
	cp := &CP{Attributes: make([]Attribute, MaxAttributes)}
	parse = func() error {
		_, err := ParsePayloads(TypeCP, appendChain(nil, []Payload{cp}))
		return err
	}
	if err := parse(); err != nil {
		t.Errorf("%d attributes: %v", MaxAttributes, err)
	}
	cp.Attributes = append(cp.Attributes, Attribute{})
	if err := parse(); err == nil || !strings.Contains(err.Error(), "too many attributes") {
		t.Errorf("too many attributes: %v", err)
	}
}

// What is allocated stays in proportion to the input.
func TestAllocation(t *testing.T) {
	deletes := &Delete{Protocol: suite.ESP, SPIs: slices.Repeat([][]byte{{1, 2, 3, 4}}, 16000)}
	hostile := map[string]struct {
		first PayloadType
		b     []byte
	}{
		"deletes":         {TypeDELETE, appendChain(nil, []Payload{deletes})},
		"claimed SPIs":    {TypeDELETE, hx("00 00 0008 03 04 ffff")},
		"claimed TS":      {TypeTSi, hx("00 00 0008 ff 000000")},
		"claimed in SA":   {TypeSA, hx("00 00 000c 02 00 0008 01 01 00 ff")},
		"empty payloads":  {TypeVENDOR, bytes.Repeat(hx("2b 00 0004"), 10000)},
		"many transforms": {TypeSA, slices.Concat(hx("00 00 f008 00 00 f004 01 01 00 01"), bytes.Repeat(hx("03 00 0008 04 00 001f"), 0xf000/8-1))},
	}
	for name, h := range hostile {
		const runs = 100
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range runs {
			ParsePayloads(h.first, h.b)
		}
		runtime.ReadMemStats(&after)
		if per := int(after.TotalAlloc-before.TotalAlloc) / runs; per > 2048+12*len(h.b) {
			t.Errorf("%s: %d bytes allocated for %d", name, per, len(h.b))
		}
	}
}

func TestAppendPanics(t *testing.T) {
	for name, p := range map[string]Payload{
		"payload too long":   &Vendor{Data: make([]byte, 65532)},
		"attribute too long": &CP{Attributes: []Attribute{{Data: make([]byte, 65536)}}},
		"SPI too long":       &Notify{SPI: make([]byte, 256)},
		"SPI of a delete":    &Delete{Protocol: suite.ESP, SPIs: [][]byte{make([]byte, 8)}},
		"SPI of an IKE SA":   &Delete{Protocol: suite.IKE, SPIs: [][]byte{make([]byte, 8)}},
		"too many to delete": &Delete{Protocol: suite.ESP, SPIs: slices.Repeat([][]byte{make([]byte, 4)}, 1<<14)},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			AppendMessage(nil, Header{}, []Payload{p})
		})
	}
	AppendMessage(nil, Header{}, []Payload{&Vendor{Data: make([]byte, 65531)}})
}
