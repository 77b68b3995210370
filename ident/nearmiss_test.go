package ident

import (
	"strings"
	"testing"
)

func TestNearMiss(t *testing.T) {
	for _, tt := range []struct {
		want, got string
		hint      string // contained in the hint; "" for no hint
	}{
		// Same text, other type.
		{"@foo", "keyid:foo", "the type (ID_KEY_ID, not ID_FQDN)"},
		{"keyid:foo", "@foo", "the type (ID_FQDN, not ID_KEY_ID)"},
		{"@foo", "@@foo", "the type (ID_RFC822_ADDR, not ID_FQDN)"},
		{"user@example.com", "@user@example.com", "the type (ID_FQDN, not ID_RFC822_ADDR)"},
		{"203.0.113.1", "@203.0.113.1", "the type (ID_FQDN, not ID_IPV4_ADDR)"},
		{"@203.0.113.1", "203.0.113.1", "the type (ID_IPV4_ADDR, not ID_FQDN)"},
		{"2001:db8::1", "keyid:2001:db8::1", "the type (ID_KEY_ID, not ID_IPV6_ADDR)"},
		{"CN=gw", "keyid:CN=gw", "the type (ID_KEY_ID, not ID_DER_ASN1_DN)"},
		// Small things.
		{"@foo", "fqdn:@foo", "an @ in front"},
		{"keyid:@foo", "keyid:foo", "an @ in front"},
		{"@foo", "keyid:@foo", "the type (ID_KEY_ID, not ID_FQDN) and an @ in front"},
		{"keyid:Foo", "keyid:foo", "upper and lower case"},
		{"@Foo", "keyid:foo", "the type (ID_KEY_ID, not ID_FQDN) and upper and lower case"},
		{"@gw.example.com", "@gw.example.com.", "difference is a dot at the end"},
		{"@Gw.example.com.", "@gw.example.com", "difference is a dot at the end"},
		{"@foo", "@foo ", "difference is white space"},
		{"@foo", "fqdn:#666f6f0a", "difference is white space"},
		{"@gw1.example.com", "@gw.example.com", "a single character"},
		{"@gateway", "@gatewya", "a single character"},
		{"@gateway", "@gatewax", "a single character"},
		{"@gateway", "@gatewxz", ""},
		{"@gateway", "keyid:gatewax", ""},
		{"@ab", "@ac", ""},
		{"203.0.113.1", "203.0.113.11", "a single character"},
		{"CN=gw", "asn1dn:#300d310b300906035504030c026777", "another encoding; configure asn1dn:#300d310b300906035504030c026777"},
		// Addresses that nobody chose.
		{"192.0.2.10", "172.16.0.1", "private address of a gateway behind a NAT"},
		{"192.0.2.10", "100.64.0.1", "private address of a gateway behind a NAT"},
		{"192.0.2.0/24", "172.16.0.1", "private address of a gateway behind a NAT"},
		{"2001:db8::1", "fd00::1", "private address of a gateway behind a NAT"},
		{"172.16.0.1", "192.0.2.10", "only known behind the NAT"},
		{"172.16.0.1", "10.9.8.7", ""},
		{"@foo", "172.16.0.1", "set a local id on it that fits @foo"},
		{"*.example.com", "172.16.0.1", "set a local id on it that fits *.example.com"},
		// Wildcards and ranges.
		{"*.example.com", "@example.com", "does not cover the name after its asterisk itself"},
		{"*.example.com", "keyid:a.example.com", "the type (ID_KEY_ID, not ID_FQDN)"},
		{"*.example.com", "@a.example.com.", "a dot at the end or white space"},
		{"*@example.com", "@user@example.com", "the type (ID_FQDN, not ID_RFC822_ADDR)"},
		{"*.example.com", "@a.example.org", ""},
		{"10.0.0.0/8", "@10.1.2.3", "the type (ID_FQDN, not ID_IPV4_ADDR)"},
		{"10.0.0.0/8", "@foo", ""},
		// Nothing to say.
		{"@foo", "@bar", ""},
		{"@foo", "@foo", ""},
		{"%any", "@foo", ""},
		{"@foo", "asn1gn:#8203666f6f", ""},
	} {
		want, got := mustPattern(t, tt.want), mustParse(t, tt.got)
		hint, ok := NearMiss(want, got)
		if ok != (tt.hint != "") || !strings.Contains(hint, tt.hint) {
			t.Errorf("NearMiss(%v, %v) = %q, %v; want %q", want, got, hint, ok, tt.hint)
		}
		if ok && (!strings.Contains(hint, got.String()) || !strings.Contains(hint, want.String())) {
			t.Errorf("hint %q does not name both sides", hint)
		}
	}
	if hint, ok := NearMiss(mustPattern(t, "@foo"), ID{}); ok {
		t.Errorf("no identity nearly matches: %q", hint)
	}
}

// TestOneEdit compares with the definition: every string one edit away, and no other.
func TestOneEdit(t *testing.T) {
	const alphabet = "ab"
	var all []string
	for n, level := 0, []string{""}; n <= 4; n++ {
		all = append(all, level...)
		var next []string
		for _, s := range level {
			for _, c := range alphabet {
				next = append(next, s+string(c))
			}
		}
		level = next
	}
	for _, a := range all {
		near := map[string]bool{a: true}
		for i := range len(a) + 1 {
			for _, c := range alphabet {
				near[a[:i]+string(c)+a[i:]] = true
				if i < len(a) {
					near[a[:i]+string(c)+a[i+1:]] = true
				}
			}
			if i < len(a) {
				near[a[:i]+a[i+1:]] = true
			}
			if i+1 < len(a) {
				near[a[:i]+string(a[i+1])+string(a[i])+a[i+2:]] = true
			}
		}
		for _, b := range all {
			if oneEdit(a, b) != near[b] {
				t.Errorf("oneEdit(%q, %q) = %v", a, b, !near[b])
			}
		}
	}
}
