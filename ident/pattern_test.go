package ident

import (
	"math/rand/v2"
	"net/netip"
	"testing"
)

func TestPatternText(t *testing.T) {
	for _, tt := range []struct{ text, out string }{
		{"", "%any"}, {"*", "%any"}, {"%any", ""}, {"%any6", "%any"}, {"0.0.0.0", "%any"}, {"::", "%any"},
		{"@foo", ""}, {"ipv4:0.0.0.0", ""}, {"fqdn:#2a2e78", ""},
		{"*.example.com", ""}, {"@*.example.com", "*.example.com"}, {"fqdn:*.example.com", "*.example.com"},
		{"*@example.com", ""}, {"email:*@example.com", "*@example.com"}, {"rfc822:*@a=b", ""}, {"fqdn:*.a@b", ""}, {"fqdn:*.a:b", ""},
		{"10.0.0.0/8", ""}, {"10.1.2.3/8", "10.0.0.0/8"}, {"0.0.0.0/0", ""}, {"::/0", ""}, {"2001:db8::/32", ""},
		{"ipv4net:10.0.0.0/8", "10.0.0.0/8"}, {"ipv4range:10.0.0.1-10.0.0.9", "10.0.0.1-10.0.0.9"}, {"ipv6net:::/0", "::/0"},
		{"10.0.0.1-10.0.0.9", ""}, {"10.0.0.0-10.0.0.255", "10.0.0.0/24"}, {"10.0.0.1-10.0.0.1", "10.0.0.1"}, {"10.0.0.1/32", "10.0.0.1"},
		{"2001:db8::1-2001:db8::9", ""}, {"::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "::/0"},
	} {
		p := mustPattern(t, tt.text)
		want := tt.out
		if want == "" {
			want = tt.text
		}
		if p.String() != want {
			t.Errorf("ParsePattern(%q) prints as %q, want %q", tt.text, p, want)
		}
		if back := mustPattern(t, p.String()); back != p {
			t.Errorf("%q reads back as %#v, want %#v", p, back, p)
		}
	}
}

// Cases: FCS_IPSEC_EXT.1.14.
func TestMatch(t *testing.T) {
	for _, tt := range []struct {
		pattern string
		yes, no []string
	}{
		{"@foo", []string{"@foo", "@FOO"}, []string{"keyid:foo", "@@foo", "@foo.", "fqdn:#666f6f00", "@fo", "@foobar"}},
		{"*.example.com", []string{"@a.example.com", "@a.b.Example.COM"},
			[]string{"@example.com", "fqdn:.example.com", "@aexample.com", "keyid:a.example.com", "x@a.example.com", "@a.example.com.", "@a.example.org",
				"fqdn:#61002e6578616d706c652e636f6d" /* "a\0.example.com" */}},
		{"*@example.com", []string{"user@example.com", "a@b@EXAMPLE.com"}, []string{"rfc822:@example.com", "user@a.example.com", "@user@example.com"}},
		{"10.0.0.0/8", []string{"10.0.0.0", "10.255.255.255"}, []string{"11.0.0.0", "9.255.255.255", "@10.0.0.1", "::ffff:10.0.0.1", "2001:db8::1"}},
		{"10.0.0.1-10.0.0.9", []string{"10.0.0.1", "10.0.0.9"}, []string{"ipv4:10.0.0.0", "10.0.0.10"}},
		{"2001:db8::/32", []string{"2001:db8::", "2001:db8:ffff::1"}, []string{"2001:db9::", "10.0.0.1"}},
		{"0.0.0.0/0", []string{"203.0.113.1", "ipv4:0.0.0.0"}, []string{"2001:db8::1", "@foo"}},
		{"CN=gw", []string{"/CN=gw"}, []string{"CN=gw, C=CH", "keyid:gw", "CN=GW", "asn1dn:#300d310b300906035504030c026777"}},
		{"%any", []string{"@foo", "10.0.0.1", "::ffff:10.0.0.1", "CN=gw"}, nil},
	} {
		p := mustPattern(t, tt.pattern)
		for _, text := range tt.yes {
			if p.Match(mustParse(t, text)) == NoMatch {
				t.Errorf("%v does not match %s", p, text)
			}
		}
		for _, text := range tt.no {
			if p.Match(mustParse(t, text)) != NoMatch {
				t.Errorf("%v matches %s", p, text)
			}
		}
		if got := p.Match(ID{}) != NoMatch; got != p.IsAny() {
			t.Errorf("%v matches the zero ID: %v", p, got)
		}
	}
}

func TestSpecificity(t *testing.T) {
	for _, tt := range []struct {
		id       string
		patterns []string // from general to special
	}{
		{"10.1.2.3", []string{"@foo", "%any", "0.0.0.0/0", "10.0.0.0/8", "10.1.0.0-10.2.255.255", "10.1.0.0/16", "10.1.2.2-10.1.2.4", "10.1.2.2/31", "10.1.2.3"}},
		{"2001:db8::1", []string{"0.0.0.0/0", "%any", "::/0", "2001:db8::/32", "2001:db8::/127", "2001:db8::1"}},
		{"@gw.eu.example.com", []string{"*@example.com", "%any", "*.com", "*.example.com", "*.eu.example.com", "@GW.eu.example.com"}},
	} {
		last := NoMatch - 1
		for _, text := range tt.patterns {
			got := mustPattern(t, text).Match(mustParse(t, tt.id))
			if got <= last {
				t.Errorf("%s matches %s with %d, not above %d", text, tt.id, got, last)
			}
			last = got
		}
		if last != Exact {
			t.Errorf("%s: the literal has %d, want Exact", tt.id, last)
		}
	}
	longest := Pattern{form: wildcard, id: ID{FQDN, string(make([]byte, MaxLen))}}
	if partMatch+Specificity(len(longest.id.data)) >= Exact {
		t.Error("a wildcard can be as specific as a literal")
	}
}

// TestPrefixesAgainstNetip checks prefixes against net/netip's own idea of containment.
func TestPrefixesAgainstNetip(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	draw := func(size int) netip.Addr {
		b := make([]byte, size)
		for i := range b {
			b[i] = byte(rng.Uint32() & rng.Uint32() & rng.Uint32())
		}
		b[0] |= 1
		a, _ := netip.AddrFromSlice(b)
		return a
	}
	for range 5000 {
		size := 4 << (2 * rng.IntN(2))
		base := draw(size)
		prefix := netip.PrefixFrom(base, rng.IntN(size*8+1)).Masked()
		p := mustPattern(t, prefix.String())
		near, _ := netip.AddrFromSlice(base.AsSlice())
		for _, a := range []netip.Addr{near, near.Next(), draw(size), prefix.Addr(), prefix.Addr().Prev()} {
			if !a.IsValid() {
				continue
			}
			want := prefix.Contains(a)
			if p.IsAny() { // "0.0.0.0/0" is not %any; only text without a length is
				t.Fatalf("%v became %v", prefix, p)
			}
			if got := p.Match(literalAddr(a)) != NoMatch; got != want {
				t.Fatalf("%v matches %v: %v, netip says %v", p, a, got, want)
			}
		}
	}
}

func TestLiteral(t *testing.T) {
	id := mustParse(t, "@foo")
	if got, ok := Literal(id).ID(); !ok || got != id || Literal(id).IsAny() {
		t.Errorf("Literal(%v) holds %v, %v", id, got, ok)
	}
	if p := Literal(ID{}); !p.IsAny() || p != (Pattern{}) {
		t.Errorf("the literal of no identity is %v", p)
	}
	for _, text := range []string{"%any", "*.example.com", "10.0.0.0/8"} {
		if id, ok := mustPattern(t, text).ID(); ok {
			t.Errorf("%s is the identity %v", text, id)
		}
	}
}

func FuzzParsePattern(f *testing.F) {
	for _, text := range []string{
		"%any", "*.example.com", "*@example.com", "@*.a@b", "rfc822:*@a=b", "10.0.0.0/8", "10.0.0.1-10.0.0.9", "2001:db8::/32",
		"::-::1", "ipv4net:1.2.3.0/24", "::ffff:1.2.3.4/100", "::ffff:1.2.3.4-::ffff:1.2.3.9", "@foo", "^x$", "CN=*",
	} {
		f.Add(text, []byte("a.example.com"))
	}
	f.Fuzz(func(t *testing.T, text string, data []byte) {
		p, err := ParsePattern(text)
		if err != nil {
			if p != (Pattern{}) || !printable(err.Error()) {
				t.Fatalf("ParsePattern(%q) = %v, %q", text, p, err)
			}
			return
		}
		if back, err := ParsePattern(p.String()); err != nil || back != p || !printable(p.String()) {
			t.Fatalf("%q prints as %q, which reads as %#v, %v; want %#v", text, p, back, err, p)
		}
		for _, kind := range []Kind{FQDN, RFC822, KeyID, DN, IPv4, IPv6} {
			id, err := New(kind, data)
			if err != nil {
				continue
			}
			hint, ok := NearMiss(p, id)
			if ok != (hint != "") || ok && p.Match(id) != NoMatch || !printable(hint) {
				t.Fatalf("NearMiss(%v, %v) = %q, %v", p, id, hint, ok)
			}
			if _, literal := p.ID(); !literal && p.Match(id) == Exact {
				t.Fatalf("%v matches %v exactly", p, id)
			}
		}
	})
}
