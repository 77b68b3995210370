package wire

import (
	"bytes"
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"github.com/culvert-vpn/culvert/suite"
)

// seedMessages adds every specimen in a message of its own, all of them in one, and the captures.
func seedMessages(f *testing.F) {
	for _, s := range specimens {
		f.Add(message(s.want.Type(), hx(s.hex)))
	}
	first, payloads := chain(specimens)
	f.Add(message(first, payloads))
	for _, s := range allSuites {
		f.Add(AppendSealed(nil, sealedHeader, []Payload{&Delete{Protocol: suite.IKE}}, testCipher(s[0], s[1]), 1))
		for _, b := range AppendFragments(nil, sealedHeader, longInner(), testCipher(s[0], s[1]), 1, 200) {
			f.Add(b)
		}
	}
	for _, name := range captures {
		if exists(vectorPath(name)) {
			for _, b := range captured(f, name) {
				f.Add(b)
			}
		}
	}
}

// Cases: BUG-05; BUG-11.
func FuzzParse(f *testing.F) {
	seedMessages(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		before := slices.Clone(b)
		m, err := Parse(b)
		if !bytes.Equal(b, before) {
			t.Fatal("Parse changed the message")
		}
		if err != nil {
			checkError(t, err, len(b))
			return
		}
		if e := m.Encrypted; e != nil {
			if !bytes.Equal(b[e.Offset:], e.Body) {
				t.Fatal("the Encrypted payload does not end the message")
			}
			return
		}
		if f := m.Fragment; f != nil {
			if !bytes.Equal(b[f.Offset:], f.Body) || f.Number == 0 || f.Number > f.Total {
				t.Fatalf("fragment %d of %d, not at the end or impossible", f.Number, f.Total)
			}
			return
		}
		again, err := Parse(AppendMessage(nil, m.Header, m.Payloads))
		if err != nil || !reflect.DeepEqual(again.Payloads, m.Payloads) {
			t.Fatalf("%v came back as %v, %v", m, again, err)
		}
		if again.String() != m.String() {
			t.Fatalf("%v, then %v", m, again)
		}
	})
}

// checkError checks that err is one of the two that parsing may return, and that its offset is in the message.
func checkError(t *testing.T, err error, length int) {
	t.Helper()
	var syntax *SyntaxError
	var critical *UnknownCritical
	switch {
	case errors.As(err, &syntax):
		if syntax.Offset < 0 || syntax.Offset > max(length, 24) {
			t.Fatalf("offset %d in %d bytes", syntax.Offset, length)
		}
	case !errors.As(err, &critical):
		t.Fatalf("error %T: %v", err, err)
	}
}

// Cases: BUG-05.
func FuzzParsePayloads(f *testing.F) {
	for _, s := range specimens {
		f.Add(byte(s.want.Type()), hx(s.hex))
	}
	first, payloads := chain(specimens)
	f.Add(byte(first), payloads)
	f.Fuzz(func(t *testing.T, first byte, b []byte) {
		payloads, err := ParsePayloads(PayloadType(first), b)
		if err != nil {
			checkError(t, err, len(b))
			return
		}
		for _, p := range payloads {
			checkPayload(t, p)
		}
		roundTrip(t, payloads)
	})
}

// checkPayload checks what the types promise of a parsed payload.
func checkPayload(t *testing.T, p Payload) {
	switch p := p.(type) {
	case *SA:
		if n := len(p.Proposals); n == 0 || n > MaxProposals {
			t.Fatalf("%d proposals", n)
		}
		for i, q := range p.Proposals {
			if n := len(q.Transforms); n == 0 || n > MaxTransforms || q.Number != p.Proposals[0].Number+uint8(i) {
				t.Fatalf("proposal %d: %+v", i, q)
			}
		}
	case *KE:
		if len(p.Data) == 0 {
			t.Fatal("KE without data")
		}
	case *ID:
		if len(p.Raw) < 4 || !p.ID.IsZero() && uint8(p.ID.Kind()) != p.Raw[0] {
			t.Fatalf("ID %v of %x", p.ID, p.Raw)
		}
	case *Nonce:
		if len(p.Data) < MinNonce || len(p.Data) > MaxNonce {
			t.Fatalf("nonce of %d", len(p.Data))
		}
	case *Delete:
		for _, spi := range p.SPIs {
			if len(spi) != 4 || p.Protocol == suite.IKE {
				t.Fatalf("%+v", p)
			}
		}
	case *CP:
		if len(p.Attributes) > MaxAttributes {
			t.Fatalf("%d attributes", len(p.Attributes))
		}
		for _, a := range p.Attributes {
			if a.Type > 0x7fff || a.Net != (netip.Prefix{}) && (!a.Net.IsValid() || a.Data != nil) {
				t.Fatalf("attribute %+v", a)
			}
		}
	case *TS:
		for _, s := range p.Selectors {
			if s.Valid() != nil {
				t.Fatalf("selector %v", s)
			}
		}
	}
}

// FuzzOpenSealed opens what it is given as it is, and what it is given sealed as the content of SK.
//
// Cases: BUG-05.
func FuzzOpenSealed(f *testing.F) {
	for _, s := range specimens {
		for i := range allSuites {
			f.Add(uint8(i), byte(s.want.Type()), append(hx(s.hex), 0))
		}
	}
	var ciphers []suite.Cipher
	for _, s := range allSuites {
		ciphers = append(ciphers, testCipher(s[0], s[1]))
		f.Add(uint8(0), byte(TypeSK), AppendSealed(nil, sealedHeader, nil, ciphers[len(ciphers)-1], 1))
	}
	f.Fuzz(func(t *testing.T, which uint8, first byte, plain []byte) {
		c := ciphers[int(which)%len(ciphers)]
		if m, err := Parse(plain); err == nil && m.Encrypted != nil {
			OpenSealed(slices.Clone(plain), m, c)
		}
		if len(plain) > 4096 {
			return
		}
		plain = plain[:len(plain)-len(plain)%c.BlockLen()]
		msg := seal(PayloadType(first), plain, c)
		m, err := Parse(msg)
		if err != nil {
			t.Fatal(err)
		}
		payloads, err := OpenSealed(msg, m, c)
		if err != nil {
			checkError(t, err, len(msg))
			return
		}
		inner := plain[:len(plain)-1-int(plain[len(plain)-1])]
		want, err := ParsePayloads(PayloadType(first), inner)
		if err != nil || !reflect.DeepEqual(payloads, want) {
			t.Fatalf("opened %v, parsed %v, %v", payloads, want, err)
		}
	})
}
