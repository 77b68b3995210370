package ident

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode"
)

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		text string
		kind Kind
		data string
		out  string // String, "" if the same as text
	}{
		{"@foo", FQDN, "foo", ""},
		{"foo", FQDN, "foo", "@foo"},
		{"gw.example.com", FQDN, "gw.example.com", "@gw.example.com"},
		{"fqdn:foo", FQDN, "foo", "@foo"},
		{"FQDN:foo", FQDN, "foo", "@foo"},
		{"dns:foo", FQDN, "foo", "@foo"},
		{"{2}:foo", FQDN, "foo", "@foo"},
		{"{2}:#666f6f", FQDN, "foo", "@foo"},
		{"@user@host", FQDN, "user@host", ""},
		{"fqdn:@foo", FQDN, "@foo", ""},
		{"fqdn:#2366", FQDN, "#f", "fqdn:#2366"},
		{"fqdn:#2a2e78", FQDN, "*.x", ""},
		{"fqdn:a=b", FQDN, "a=b", ""},
		{"@%any", FQDN, "%any", ""},
		{"@10.0.0.1", FQDN, "10.0.0.1", ""},
		{"@10.0.0.0/8", FQDN, "10.0.0.0/8", ""},
		{"user@example.com", RFC822, "user@example.com", ""},
		{"@@user@host", RFC822, "user@host", "user@host"},
		{"@@foo", RFC822, "foo", ""},
		{"@@#00", RFC822, "#00", ""},
		{"email:foo", RFC822, "foo", "@@foo"},
		{"userfqdn:foo", RFC822, "foo", "@@foo"},
		{"rfc822:a=b@c", RFC822, "a=b@c", ""},
		{"203.0.113.1", IPv4, "\xcb\x00\x71\x01", ""},
		{"ipv4:203.0.113.1", IPv4, "\xcb\x00\x71\x01", "203.0.113.1"},
		{"ipv4:#cb007101", IPv4, "\xcb\x00\x71\x01", "203.0.113.1"},
		{"{1}:203.0.113.1", IPv4, "\xcb\x00\x71\x01", "203.0.113.1"},
		{"10.0.0.1/32", IPv4, "\x0a\x00\x00\x01", "10.0.0.1"},
		{"ipv4:0.0.0.0", IPv4, "\x00\x00\x00\x00", ""},
		{"2001:DB8::1", IPv6, "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01", "2001:db8::1"},
		{"ipv6:::", IPv6, strings.Repeat("\x00", 16), ""},
		{"::ffff:1.2.3.4", IPv6, strings.Repeat("\x00", 10) + "\xff\xff\x01\x02\x03\x04", ""},
		{"keyid:hello", KeyID, "hello", ""},
		{"@#68656c6c6f", KeyID, "hello", "keyid:hello"},
		{"@#68:65:6C:6c:6f", KeyID, "hello", "keyid:hello"},
		{"keyid:#00ff", KeyID, "\x00\xff", "@#00ff"},
		{"tunnel:7", KeyID, "tunnel:7", "keyid:tunnel:7"},
		{"aa:bb:cc:dd:ee:ff", KeyID, "aa:bb:cc:dd:ee:ff", "keyid:aa:bb:cc:dd:ee:ff"},
		{"keyid:*", KeyID, "*", ""},
		{"keyid: x ", KeyID, " x ", ""},
		{"asn1gn:#8203666f6f", GN, "\x82\x03foo", ""},
	} {
		id, err := Parse(tt.text)
		if err != nil || id.Kind() != tt.kind || string(id.Data()) != tt.data {
			t.Errorf("Parse(%q) = %v %q, %v; want %v %q", tt.text, id.Kind(), id.Data(), err, tt.kind, tt.data)
			continue
		}
		want := tt.out
		if want == "" {
			want = tt.text
		}
		if id.String() != want {
			t.Errorf("Parse(%q).String() = %q, want %q", tt.text, id, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		// What only a pattern may say.
		{"", "more than one"}, {"%any", "more than one"}, {"%any6", "more than one"}, {"*", "more than one"},
		{"0.0.0.0", "more than one"}, {"::", "more than one"}, {"0.0.0.0/0", "more than one"},
		{"*.example.com", "more than one"}, {"@*.example.com", "more than one"}, {"*@example.com", "more than one"},
		{"10.0.0.0/8", "more than one"}, {"10.0.0.1-10.0.0.9", "more than one"},
		// What nobody may say.
		{"@", "ID_FQDN without data"}, {"@@", "ID_RFC822_ADDR without data"}, {"@#", "ID_KEY_ID without data"},
		{"@#6", "hex"}, {"@#xy", "hex"}, {"fqdn:", "without data"}, {"{201}:foo", "ID_201 is not supported"},
		{"ipv4:foo", "not the address"}, {"ipv4:2001:db8::1", "not the address"}, {"ipv6:10.0.0.1", "not the address"},
		{"ipv4:#0a0000", "3 bytes instead of 4"}, {"asn1gn:foo", "hex"},
		{"foo\n", "invisible"}, {"fo\x00o", "invisible"}, {"foo\u200b", "invisible"}, {"fo\u00a0o", "invisible"},
		{"\x1b[31mfoo", "invisible"}, {"f\xffoo", "invisible"}, {"\u202efoo", "invisible"},
		{"192.168.1.999", "not a valid IPv4"}, {"192.168.1.1.1", "not a valid IPv4"}, {"192.168.01.1", "not a valid IPv4"},
		{"10.0.0.0/33", "not a valid prefix"}, {"2001:db8::/129", "not a valid prefix"},
		{"10.0.0.9-10.0.0.1", "from low to high"}, {"10.0.0.1-2001:db8::1", "from low to high"},
		{"fe80::1%eth0", "zone"}, {"%defaultroute", "unknown keyword"},
		{"fqdn:^vpn[0-9]+$", "regular expression"}, {"^vpn[0-9]+$", "regular expression"},
		{"gw*.example.com", "wildcard"}, {"*foo", "wildcard"}, {"*.*.example.com", "wildcard"}, {"user@*.com", "wildcard"},
		{"@@*.example.com", "wildcard"}, {"*.", "wildcard"}, {"*@", "wildcard"},
		{"CN", ""}, {"CNN=foo", `unknown attribute "CNN"`}, {"C=CH, foo", `" foo" has no =`}, {"CN=", "no value"},
		{"CN=*", "wildcards in distinguished names"}, {`CN="foo`, "quote"}, {"Zm9v==", "unknown attribute"}, {"C=CH,", "no ="},
	} {
		id, err := Parse(tt.text)
		if tt.want == "" { // a name after all
			if err != nil || id.Kind() != FQDN {
				t.Errorf("Parse(%q) = %v, %v; want a name", tt.text, id, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Parse(%q) = %v, %v; want error with %q", tt.text, id, err, tt.want)
		} else if !printable(err.Error()) {
			t.Errorf("Parse(%q): unprintable error %q", tt.text, err)
		}
	}
}

func TestDistinguishedNames(t *testing.T) {
	for _, tt := range []struct{ text, out string }{
		{"C=CH, O=Example, CN=gw", ""},
		{"asn1dn:C=CH, CN=gw", "C=CH, CN=gw"},
		{"/C=CH/O=Example/CN=gw", "C=CH, O=Example, CN=gw"},
		{"c=CH,cn=gw", "C=CH, CN=gw"},
		{`O="Example, Inc.", CN=gw`, ""},
		{`CN=" x "`, ""},
		{"CN=Zoë", ""},
		{"E=admin@example.com, DC=example, DC=com", ""},
		{"emailAddress=a@b", "E=a@b"},
		{"CN=a=b:c", ""},
	} {
		id := mustParse(t, tt.text)
		want := tt.out
		if want == "" {
			want = tt.text
		}
		if id.Kind() != DN || id.String() != want {
			t.Errorf("Parse(%q) = %v %q, want %q", tt.text, id.Kind(), id, want)
		}
	}
	for _, der := range []string{
		"3000",                           // no attributes
		"300d310b300906035504030c026777", // CN=gw as UTF8String: has a text, but not one that leads back here
		"3000ff",
		"30",
		"301831163009060355040313026777300906035504061302434" + "8", // CN=gw+C=CH in one set
		"300d310b300906035504031302670a",                            // CN="g\n"
	} {
		id := mustParse(t, "asn1dn:#"+der)
		if got := id.String(); got != "asn1dn:#"+der {
			t.Errorf("asn1dn:#%s prints as %q", der, got)
		}
	}
}

// mean are pieces that have a meaning somewhere in the text form.
var mean = []string{
	"@", "#", "*", "*.", ":", "=", ",", "/", "-", "%any", "::", "0.0.0.0", "10.0.0.1", "2001:db8::1", "CN=", "C=CH, ", "fqdn:",
	"keyid:", "asn1dn:", "ipv4:", "{2}:", "^", "$", "\"", " ", "\x00", "\n", "\x7f", "\x1b", "\xff", "é", "\u202e", "foo", ".", "6f", "A",
}

// TestStringReadsBack is the promise of String for identities made of everything that could confuse Parse.
//
// Cases: BUG-22.
func TestStringReadsBack(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		var data string
		for range 1 + rng.IntN(4) {
			data += mean[rng.IntN(len(mean))]
		}
		for _, kind := range []Kind{FQDN, RFC822, DN, GN, KeyID} {
			checkReadsBack(t, mustNew(t, kind, data))
		}
		ip := make([]byte, 16)
		for i := range ip {
			ip[i] = byte(rng.Uint32() & rng.Uint32() & rng.Uint32())
		}
		checkReadsBack(t, mustNew(t, IPv4, string(ip[:4])))
		checkReadsBack(t, mustNew(t, IPv6, string(ip)))
	}
}

func checkReadsBack(t *testing.T, id ID) {
	t.Helper()
	text := id.String()
	if back, err := Parse(text); err != nil || back != id {
		t.Fatalf("%v %q prints as %q, which reads as %v %q, %v", id.Kind(), id.Data(), text, back.Kind(), back.Data(), err)
	}
	if strings.ContainsFunc(text, func(r rune) bool { return r == unicode.ReplacementChar || unicode.IsControl(r) || !unicode.IsPrint(r) }) {
		t.Fatalf("%v %q prints as %q", id.Kind(), id.Data(), text)
	}
	if p, err := ParsePattern(text); err != nil || p.Match(id) != Exact {
		t.Fatalf("pattern %q does not match its identity: %v", text, err)
	}
}

func TestMarshal(t *testing.T) {
	got, err := json.Marshal(map[string]any{"id": mustParse(t, "@foo"), "any": ID{}, "pattern": mustPattern(t, "*.example.com")})
	if want := `{"any":"%any","id":"@foo","pattern":"*.example.com"}`; err != nil || string(got) != want {
		t.Errorf("JSON is %s, %v; want %s", got, err, want)
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{
		"@foo", "foo", "user@host", "@@x", "@#00ff", "203.0.113.1", "2001:db8::1", "tunnel:7", "C=CH, CN=gw", `/C=CH/O="a/b"`,
		"asn1dn:#3000", "asn1gn:#8203666f6f", "keyid:#41", "{11}:x", "%any", "*.example.com", "10.0.0.0/8", "\x00",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		id, err := Parse(text)
		if err == nil {
			checkReadsBack(t, id)
		} else if !id.IsZero() || !printable(err.Error()) {
			t.Errorf("Parse(%q) = %v, %q", text, id, err)
		}
	})
}

func FuzzParseWire(f *testing.F) {
	for _, text := range []string{"@foo", "user@host", "203.0.113.1", "2001:db8::1", "C=CH, CN=gw", "asn1gn:#8203666f6f", "@#00ff", "fqdn:#0a"} {
		f.Add(mustParse(f, text).AppendWire(nil))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		id, err := ParseWire(body)
		if err != nil {
			return
		}
		checkReadsBack(t, id)
		if again, err := ParseWire(id.AppendWire(nil)); err != nil || again != id {
			t.Errorf("%v comes back from the wire as %v, %v", id, again, err)
		}
		for _, want := range []string{"@foo", "user@host", "203.0.113.1", "*.example.com", "10.0.0.0/8", "C=CH, CN=gw"} {
			if hint, _ := NearMiss(mustPattern(t, want), id); !printable(hint) {
				t.Errorf("hint %q", hint)
			}
		}
	})
}
