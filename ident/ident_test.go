package ident

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"
)

func mustParse(t testing.TB, text string) ID {
	t.Helper()
	id, err := Parse(text)
	if err != nil {
		t.Fatalf("Parse(%q): %v", text, err)
	}
	return id
}

func mustPattern(t testing.TB, text string) Pattern {
	t.Helper()
	p, err := ParsePattern(text)
	if err != nil {
		t.Fatalf("ParsePattern(%q): %v", text, err)
	}
	return p
}

func mustNew(t testing.TB, kind Kind, data string) ID {
	t.Helper()
	id, err := New(kind, []byte(data))
	if err != nil {
		t.Fatalf("New(%v, %q): %v", kind, data, err)
	}
	return id
}

// Cases: BUG-08.
func TestNewRefuses(t *testing.T) {
	for _, tt := range []struct {
		kind Kind
		data string
		want string
	}{
		{0, "foo", "ID_0 is not supported"},
		{4, "foo", "ID_4 is not supported"},
		{13, "foo", "ID_13 is not supported"}, // ID_NULL, RFC 7619
		{201, "foo", "ID_201 is not supported"},
		{IPv4, "abc", "ID_IPV4_ADDR of 3 bytes instead of 4"},
		{IPv4, "abcde", "ID_IPV4_ADDR of 5 bytes instead of 4"},
		{IPv6, "abcd", "ID_IPV6_ADDR of 4 bytes instead of 16"},
		{FQDN, "", "ID_FQDN without data"},
		{IPv4, "", "ID_IPV4_ADDR without data"},
		{KeyID, strings.Repeat("x", MaxLen+1), "longer than"},
	} {
		id, err := New(tt.kind, []byte(tt.data))
		if err == nil || !strings.Contains(err.Error(), tt.want) || !id.IsZero() {
			t.Errorf("New(%v, %.8q) = %v, %v; want error with %q", tt.kind, tt.data, id, err, tt.want)
		}
	}
}

func TestWire(t *testing.T) {
	for _, tt := range []struct{ text, wire string }{
		{"10.0.3.1", "01000000" + "0a000301"},
		{"@foo", "02000000" + "666f6f"},
		{"user@example.com", "03000000" + "75736572406578616d706c652e636f6d"},
		{"2001:db8::1", "05000000" + "20010db8000000000000000000000001"},
		{"CN=gw", "09000000" + "300d310b300906035504031302" + "6777"},
		{"asn1gn:#8203666f6f", "0a000000" + "8203666f6f"},
		{"keyid:hello", "0b000000" + "68656c6c6f"},
	} {
		want, _ := hex.DecodeString(tt.wire)
		id := mustParse(t, tt.text)
		if got := id.AppendWire([]byte{0xee}); !bytes.Equal(got[1:], want) || got[0] != 0xee {
			t.Errorf("%s on the wire is %x, want %x", tt.text, got, want)
		}
		want[1], want[3] = 0xff, 0x01 // reserved: ignored on receipt
		if got, err := ParseWire(want); err != nil || got != id {
			t.Errorf("ParseWire(%x) = %v, %v; want %v", want, got, err, id)
		}
		for n := range 5 {
			if _, err := ParseWire(want[:n]); err == nil {
				t.Errorf("ParseWire accepts the first %d bytes of %x", n, want)
			}
		}
	}
}

func TestIDOwnsItsBytes(t *testing.T) {
	data := []byte("foo")
	id, _ := New(FQDN, data)
	data[0] = 'x'
	id.Data()[1] = 'x'
	if id.String() != "@foo" {
		t.Errorf("the identity changed to %v", id)
	}
}

func TestAddr(t *testing.T) {
	for _, tt := range []struct{ addr, want string }{
		{"203.0.113.1", "203.0.113.1"},
		{"::ffff:203.0.113.1", "203.0.113.1"},
		{"2001:db8::1", "2001:db8::1"},
		{"fe80::1%eth0", "fe80::1"},
		{"0.0.0.0", "ipv4:0.0.0.0"},
		{"::", "ipv6:::"},
	} {
		id := FromAddr(netip.MustParseAddr(tt.addr))
		if id.String() != tt.want {
			t.Errorf("FromAddr(%s) = %v, want %s", tt.addr, id, tt.want)
		}
		if addr, ok := id.Addr(); !ok || addr != netip.MustParseAddr(tt.addr).Unmap().WithZone("") {
			t.Errorf("FromAddr(%s).Addr() = %v, %v", tt.addr, addr, ok)
		}
	}
	if id := FromAddr(netip.Addr{}); !id.IsZero() {
		t.Errorf("no address is %v", id)
	}
	if addr, ok := mustParse(t, "@203.0.113.1").Addr(); ok {
		t.Errorf("a name has the address %v", addr)
	}
}

func TestEqual(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{"@gw.Example.com", "@GW.example.COM", true},
		{"User@example.com", "user@EXAMPLE.com", true},
		{"keyid:Foo", "keyid:foo", false},
		{"CN=Foo", "CN=foo", false},
		{"@foo", "keyid:foo", false},
		{"@foo", "@foo.", false},
		{"@foo", "fqdn:#666f6f00", false}, // "foo\0": no truncation
		{"fqdn:#666f6f00", "fqdn:#666f6f", false},
		{"@k", "fqdn:\u212a", false},       // Kelvin sign: folds to k in Unicode, not in ASCII
		{"@foo@", "fqdn:#666f6f60", false}, // '@' and '`' differ by the case bit
		{"10.0.0.1", "::ffff:10.0.0.1", false},
	} {
		a, b := mustParse(t, tt.a), mustParse(t, tt.b)
		if a.Equal(b) != tt.want || b.Equal(a) != tt.want {
			t.Errorf("%v equals %v: %v, want %v", a, b, !tt.want, tt.want)
		}
	}
	if !(ID{}).Equal(ID{}) || (ID{}).Equal(mustParse(t, "@foo")) {
		t.Error("the zero ID equals itself only")
	}
}
