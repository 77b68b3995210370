package wire

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/culvert-vpn/culvert/suite"
)

// longInner is content that takes several fragments of a few hundred bytes.
func longInner() []Payload {
	var list []Payload
	for n := range 20 {
		list = append(list, &Notify{Kind: COOKIE2, Data: bytes.Repeat([]byte{byte(n)}, 40+n)})
	}
	return list
}

// N(INITIAL_CONTACT) and V("abcdef") in fragments of 73 bytes at most, protected by AES-GCM with a key of 01 bytes under 7 and 8.
var goldenFragments = []string{
	`0000000000000001 0000000000000002 35 20 23 08 00000001 00000049
	 29 00 002d 0001 0002  0000000000000007  37fb0791203dba80aed868350b 1460ba13dc4971c440610fd6142ccb28`,
	`0000000000000001 0000000000000002 35 20 23 08 00000001 00000043
	 00 00 0027 0002 0002  0000000000000008  35b83b347a9b31 9fefc9b9f0954e8719c1d4808fe1b87e`,
}

func TestFragmentsGolden(t *testing.T) {
	c := testCipher(aesGCM, suite.Transform{})
	inner := []Payload{&Notify{Kind: INITIAL_CONTACT}, &Vendor{Data: []byte("abcdef")}}
	got := AppendFragments([][]byte{{1}}, sealedHeader, inner, c, 7, 73)
	if len(got) != 3 || !bytes.Equal(got[0], []byte{1}) {
		t.Fatalf("%d elements", len(got))
	}
	for i, want := range goldenFragments {
		if !bytes.Equal(got[i+1], hx(want)) {
			t.Errorf("fragment %d is\n%x, want\n%x", i+1, got[i+1], hx(want))
		}
	}
}

// join opens fragments in order and parses what they hold.
func join(t *testing.T, list [][]byte, c suite.Cipher) []Payload {
	t.Helper()
	var content []byte
	var first PayloadType
	for i, msg := range list {
		m, err := Parse(msg)
		if err != nil {
			t.Fatal(err)
		}
		f := m.Fragment
		if f == nil || m.Encrypted != nil || len(m.Payloads) != 0 || int(f.Number) != i+1 || int(f.Total) != len(list) {
			t.Fatalf("fragment %d of %d is %v", i+1, len(list), m)
		}
		if i == 0 {
			first = f.Next
		} else if f.Next != TypeNone {
			t.Fatalf("fragment %d announces %v", i+1, f.Next)
		}
		chunk, err := OpenFragment(msg, m, c)
		if err != nil {
			t.Fatal(err)
		}
		content = append(content, chunk...)
	}
	payloads, err := ParsePayloads(first, content)
	if err != nil {
		t.Fatal(err)
	}
	return payloads
}

// Whatever the size: none is longer, each but the last is as long as it can be, and together they are what was split.
func TestFragmentsOfEverySize(t *testing.T) {
	for _, s := range allSuites {
		c := testCipher(s[0], s[1])
		least := HeaderLen + fragmentHeaderLen + c.IVLen() + c.TagLen() + max(c.BlockLen(), 2)
		for size := 0; size < 2000; size += 1 + size/50 {
			list := AppendFragments(nil, sealedHeader, longInner(), c, 1, size)
			for i, b := range list {
				if len(b) > max(size, least) {
					t.Fatalf("%v: %d bytes, want %d at most", s[0], len(b), size)
				}
				if i < len(list)-1 && len(b)+c.BlockLen() <= size {
					t.Fatalf("%v: %d bytes, although %d would be possible", s[0], len(b), size)
				}
			}
			if got := join(t, list, c); !reflect.DeepEqual(got, longInner()) {
				t.Fatalf("%v, size %d: %v", s[0], size, got)
			}
		}
		if list := AppendFragments(nil, sealedHeader, nil, c, 1, 100); len(list) != 1 || len(join(t, list, c)) != 0 {
			t.Errorf("nothing became %d fragments", len(list))
		}
	}
}

// No two fragments have an initialisation vector in common.
func TestFragmentVectors(t *testing.T) {
	for _, s := range allSuites {
		c := testCipher(s[0], s[1])
		seen := make(map[string]bool)
		for _, b := range AppendFragments(nil, sealedHeader, longInner(), c, 9, 150) {
			iv := string(must(Parse(b)).Fragment.Body[:c.IVLen()])
			if seen[iv] {
				t.Fatalf("%v: %x twice", s[0], iv)
			}
			seen[iv] = true
		}
	}
}

// Every bit of a fragment is protected, its numbers and what stands in front of it included.
func TestFragmentTampered(t *testing.T) {
	for _, s := range allSuites {
		c := testCipher(s[0], s[1])
		sealed := AppendFragments(nil, sealedHeader, longInner(), c, 1, 300)[1]
		for bit := range len(sealed) * 8 {
			msg := slices.Clone(sealed)
			msg[bit/8] ^= 1 << (bit % 8)
			m, err := Parse(msg)
			if err != nil || m.Fragment == nil {
				continue
			}
			if chunk, err := OpenFragment(msg, m, c); !errors.Is(err, suite.ErrIntegrity) || chunk != nil {
				t.Fatalf("%v, bit %d: %x, %v", s[0], bit, chunk, err)
			}
		}
	}
}

// Cases: BUG-06.
func TestParseFragment(t *testing.T) {
	for _, x := range []struct {
		name, payload string
		want          string // the summary, or the error
	}{
		{"first", "21 00 000c 0001 0002 aabbccdd", "IKE_AUTH request 7 [SKF(1/2)]"},
		{"the most", "00 00 000c ffff ffff aabbccdd", "IKE_AUTH request 7 [SKF(65535/65535)]"},
		{"without body", "00 00 0008 0002 0002", "IKE_AUTH request 7 [SKF(2/2)]"},
		{"critical", "21 80 0008 0001 0001", "IKE_AUTH request 7 [SKF(1/1)]"},
		{"number 0", "21 00 0008 0000 0002", "malformed SKF payload at offset 36: fragment number not from 1 to the number of fragments"},
		{"total 0", "21 00 0008 0001 0000", "malformed SKF payload at offset 36: fragment number not from 1 to the number of fragments"},
		{"both 0", "21 00 0008 0000 0000", "malformed SKF payload at offset 36: fragment number not from 1 to the number of fragments"},
		{"number above total", "21 00 0008 0003 0002", "malformed SKF payload at offset 36: fragment number not from 1 to the number of fragments"},
		{"no total", "21 00 0006 0001", "malformed SKF payload at offset 34: cut short"},
		{"no number", "21 00 0004", "malformed SKF payload at offset 32: cut short"},
		{"bytes behind", "21 00 0008 0001 0002 00", "malformed SKF payload at offset 36: bytes after the Encrypted payload"},
		{"SK behind", "2e 00 0008 0001 0002 00 00 0004", "malformed SKF payload at offset 36: bytes after the Encrypted payload"},
	} {
		got := ""
		if m, err := Parse(message(TypeSKF, hx(x.payload))); err != nil {
			got = err.Error()
			checkError(t, err, HeaderLen+len(hx(x.payload)))
		} else {
			got = m.String()
		}
		if got != x.want {
			t.Errorf("%s: %s, want %s", x.name, got, x.want)
		}
	}
	// As many payloads in front of it as a chain may have, and one more.
	for n := MaxPayloads - 1; n <= MaxPayloads; n++ {
		front := bytes.Repeat(hx("4d 00 0004"), n)
		front[len(front)-4] = byte(TypeSKF)
		m, err := Parse(message(77, append(front, hx("21 00 0008 0001 0002")...)))
		if ok := n < MaxPayloads; (err == nil) != ok || ok && len(m.Payloads) != n {
			t.Errorf("%d payloads before SKF: %v, %v", n, m, err)
		}
	}
}

// Neither SK nor SKF can stand inside either, and neither is opened as the other.
func TestFragmentsDoNotMix(t *testing.T) {
	c := testCipher(aesGCM, suite.Transform{})
	for _, kind := range []PayloadType{TypeSK, TypeSKF} {
		var syntax *SyntaxError
		if _, err := ParsePayloads(kind, hx("00 00 0008 0001 0001")); !errors.As(err, &syntax) || syntax.Payload != kind {
			t.Errorf("%v inside: %v", kind, err)
		}
	}
	sk := AppendSealed(nil, sealedHeader, longInner(), c, 1)
	skf := AppendFragments(nil, sealedHeader, longInner(), c, 2, 300)[0]
	if _, err := OpenFragment(sk, must(Parse(sk)), c); err != ErrNotSealed {
		t.Errorf("SK opened as SKF: %v", err)
	}
	if _, err := OpenSealed(skf, must(Parse(skf)), c); err != ErrNotSealed {
		t.Errorf("SKF opened as SK: %v", err)
	}
	// Pad Length is checked as in SK.
	h := sealedHeader
	h.Next = TypeSKF
	b := append(h.append(nil), hx("29 00 0000 0001 0001")...)
	b = append(append(b, make([]byte, c.IVLen())...), 1, 2, 3) // Pad Length 3 of 2
	b = append(b, make([]byte, c.TagLen())...)
	putLength(b[HeaderLen:])
	putMessageLength(b)
	c.Seal(b, HeaderLen+fragmentHeaderLen, 3, false)
	if _, err := OpenFragment(b, must(Parse(b)), c); fmt.Sprint(err) != "malformed SKF payload at offset 46: pad length exceeds the content" {
		t.Errorf("padding beyond the content: %v", err)
	}
}

// FuzzFragments splits what it is given as it is opened, and opens it as it is.
//
// Cases: BUG-06.
func FuzzFragments(f *testing.F) {
	var ciphers []suite.Cipher
	for _, s := range allSuites {
		ciphers = append(ciphers, testCipher(s[0], s[1]))
	}
	for i := range ciphers {
		f.Add(uint8(i), uint16(100+i), []byte("content"))
		f.Add(uint8(i), uint16(0), AppendFragments(nil, sealedHeader, longInner(), ciphers[i], 1, 400)[0])
	}
	for _, golden := range goldenFragments {
		f.Add(uint8(0), uint16(80), hx(golden))
	}
	f.Fuzz(func(t *testing.T, which uint8, size uint16, data []byte) {
		c := ciphers[int(which)%len(ciphers)]
		if m, err := Parse(data); err == nil && m.Fragment != nil {
			msg := slices.Clone(data)
			if chunk, err := OpenFragment(msg, m, c); err == nil && len(chunk) >= len(m.Fragment.Body) {
				t.Fatalf("%d bytes became %d", len(m.Fragment.Body), len(chunk))
			}
		}
		if len(data) > 4096 {
			return
		}
		inner := []Payload{&Vendor{Data: data}}
		if len(data) == 0 {
			inner = []Payload{&Vendor{}}
		}
		list := AppendFragments(nil, sealedHeader, inner, c, 1, int(size))
		if got := join(t, list, c); !reflect.DeepEqual(got, inner) {
			t.Fatalf("%v became %v", inner, got)
		}
	})
}
