package ts

import (
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
)

func TestParseSpec(t *testing.T) {
	sel := func(proto uint8, startPort, endPort uint16, start, end string) Spec {
		s := Selector{Protocol: proto, StartPort: startPort, EndPort: endPort}
		s.Start, s.End = netip.MustParseAddr(start), netip.MustParseAddr(end)
		return Spec{Sel: s}
	}
	dynamic := func(proto uint8, start, end uint16) Spec {
		return Spec{Dynamic: true, Sel: Selector{Protocol: proto, StartPort: start, EndPort: end}}
	}
	for _, c := range []struct {
		text string
		want Spec
		back string // what String writes
	}{
		{"10.1.0.0/16", sel(0, 0, 65535, "10.1.0.0", "10.1.255.255"), "10.1.0.0/16"},
		{" 10.1.2.3/16 ", sel(0, 0, 65535, "10.1.0.0", "10.1.255.255"), "10.1.0.0/16"},
		{"10.1.2.3", sel(0, 0, 65535, "10.1.2.3", "10.1.2.3"), "10.1.2.3/32"},
		{"0.0.0.0/0", sel(0, 0, 65535, "0.0.0.0", "255.255.255.255"), "0.0.0.0/0"},
		{"::/0", sel(0, 0, 65535, "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), "::/0"},
		{"2001:db8::/32", sel(0, 0, 65535, "2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"), "2001:db8::/32"},
		{"10.0.0.1-10.0.0.9", sel(0, 0, 65535, "10.0.0.1", "10.0.0.9"), "10.0.0.1-10.0.0.9"},
		{"10.0.0.0 - 10.0.0.7", sel(0, 0, 65535, "10.0.0.0", "10.0.0.7"), "10.0.0.0/29"},
		{"2001:db8::1-2001:db8::9", sel(0, 0, 65535, "2001:db8::1", "2001:db8::9"), "2001:db8::1-2001:db8::9"},
		{"dynamic", dynamic(0, 0, 65535), "dynamic"},
		{"dynamic[gre]", dynamic(47, 0, 65535), "dynamic[gre]"},
		{"dynamic[udp/l2f]", dynamic(17, 1701, 1701), "dynamic[udp/1701]"},
		{"10.1.0.0/16[tcp/http]", sel(6, 80, 80, "10.1.0.0", "10.1.255.255"), "10.1.0.0/16[tcp/80]"},
		{"10.1.0.0/16[tcp/http-alt]", sel(6, 8080, 8080, "10.1.0.0", "10.1.255.255"), "10.1.0.0/16[tcp/8080]"},
		{"10.1.0.0/16[TCP/80-90]", sel(6, 80, 90, "10.1.0.0", "10.1.255.255"), "10.1.0.0/16[tcp/80-90]"},
		{"10.1.0.0/16 [ tcp / 80 - 90 ]", sel(6, 80, 90, "10.1.0.0", "10.1.255.255"), "10.1.0.0/16[tcp/80-90]"},
		{"10.1.0.0/16[17]", sel(17, 0, 65535, "10.1.0.0", "10.1.255.255"), "10.1.0.0/16[udp]"},
		{"10.1.0.0/16[253/7]", sel(253, 7, 7, "10.1.0.0", "10.1.255.255"), "10.1.0.0/16[253/7]"},
		{"10.1.0.0/16[tcp/]", sel(6, 0, 65535, "10.1.0.0", "10.1.255.255"), "10.1.0.0/16[tcp]"},
		{"10.1.0.0/16[/53]", sel(0, 53, 53, "10.1.0.0", "10.1.255.255"), "10.1.0.0/16[/53]"},
		{"10.1.0.0/16[%any/53]", sel(0, 53, 53, "10.1.0.0", "10.1.255.255"), "10.1.0.0/16[/53]"},
		{"10.1.0.0/16[any]", sel(0, 0, 65535, "10.1.0.0", "10.1.255.255"), "10.1.0.0/16"},
		{"10.1.0.0/16[tcp/%any]", sel(6, 0, 65535, "10.1.0.0", "10.1.255.255"), "10.1.0.0/16[tcp]"},
		{"10.1.0.0/16[udp/opaque]", sel(17, 65535, 0, "10.1.0.0", "10.1.255.255"), "10.1.0.0/16[udp/opaque]"},
		{"10.1.0.0/16[/opaque]", sel(0, 65535, 0, "10.1.0.0", "10.1.255.255"), "10.1.0.0/16[/opaque]"},
		{"0.0.0.0/0[icmp/8]", sel(1, 0x0800, 0x08ff, "0.0.0.0", "255.255.255.255"), "0.0.0.0/0[icmp/8]"},
		{"0.0.0.0/0[icmp/2048]", sel(1, 0x0800, 0x0800, "0.0.0.0", "255.255.255.255"), "0.0.0.0/0[icmp/8(0)]"},
		{"0.0.0.0/0[icmp/3(4)]", sel(1, 0x0304, 0x0304, "0.0.0.0", "255.255.255.255"), "0.0.0.0/0[icmp/3(4)]"},
		{"0.0.0.0/0[icmp/3(1)-3(4)]", sel(1, 0x0301, 0x0304, "0.0.0.0", "255.255.255.255"), "0.0.0.0/0[icmp/3(1)-3(4)]"},
		{"0.0.0.0/0[icmp/0-8]", sel(1, 0, 0x08ff, "0.0.0.0", "255.255.255.255"), "0.0.0.0/0[icmp/0-8]"},
		{"0.0.0.0/0[icmp/0-255]", sel(1, 0, 65535, "0.0.0.0", "255.255.255.255"), "0.0.0.0/0[icmp]"},
		{"::/0[icmpv6/128]", sel(58, 0x8000, 0x80ff, "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), "::/0[ipv6-icmp/128]"},
		{"::/0[mh/5]", sel(135, 0x0500, 0x0500, "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), "::/0[mobility-header/5]"},
		{"::/0[mh/0(7)]", sel(135, 7, 7, "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), "::/0[mobility-header/0(7)]"},
	} {
		got, err := ParseSpec(c.text)
		if err != nil || got != c.want {
			t.Errorf("ParseSpec(%q) = %+v, %v; want %+v", c.text, got, err, c.want)
			continue
		}
		if got.String() != c.back {
			t.Errorf("%q is written back as %q, want %q", c.text, got.String(), c.back)
		}
	}
}

func TestParseSpecErrors(t *testing.T) {
	for text, want := range map[string]string{
		"":                         "neither an IP address",
		"%dynamic":                 "neither an IP address",
		"10.0.0/8":                 "neither an IP address",
		"10.0.0.0/33":              "prefix length from 0 to 32",
		"::/129":                   "prefix length from 0 to 128",
		"10.0.0.0/-1":              "neither an IP address", // read as a range
		"10.0.0.0/":                "prefix length",
		"10.0.0.9-10.0.0.1":        "ends before it begins",
		"10.0.0.1-::1":             "address family",
		"10.0.0.1-10.0.0.2-":       "neither an IP address",
		"fe80::1%eth0":             "zone",
		"10.0.0.0/8[":              "closing ]",
		"10.0.0.0/8[tcp":           "closing ]",
		"10.0.0.0/8[]":             "nothing stands between",
		"10.0.0.0/8[/]":            "nothing stands",
		"10.0.0.0/8[foo]":          `unknown protocol "foo"`,
		"10.0.0.0/8[256]":          `unknown protocol "256"`,
		"10.0.0.0/8[tcp/65536]":    "port from 0 to 65535",
		"10.0.0.0/8[tcp/foo]":      "service name",
		"10.0.0.0/8[tcp/90-80]":    "ends before it begins",
		"10.0.0.0/8[tcp/80-foo]":   "service name",
		"10.0.0.0/8[tcp/-80]":      "service name",
		"10.0.0.0/8[icmp/8(256)]":  "type(code)",
		"10.0.0.0/8[icmp/8(0]":     "type(code)",
		"10.0.0.0/8[icmp/http]":    "neither a port",
		"10.0.0.0/8[tcp/80]x":      "closing ]",
		"10.0.0.0/8[tcp/opaque-1]": "service name",
	} {
		got, err := ParseSpec(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseSpec(%q) = %v, %v; want an error with %q", text, got, err, want)
		}
		if got != (Spec{}) {
			t.Errorf("ParseSpec(%q) fails and returns %v", text, got)
		}
	}
}

// Every valid selector is read back from its own text.
func TestTextRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for range 20000 {
		s := randomSelector(r)
		s.Protocol = []uint8{0, 1, 6, 58, 135, 200}[r.IntN(6)]
		if r.IntN(2) == 0 {
			a, b := uint16(r.Uint32())>>r.IntN(16), uint16(r.Uint32())>>r.IntN(16)
			s.StartPort, s.EndPort = min(a, b), max(a, b)
		}
		got, err := ParseSpec(s.String())
		if err != nil || got.Sel != s {
			t.Fatalf("%#v is written %q and read %#v, %v", s, s.String(), got.Sel, err)
		}
	}
}

func TestStringOfInvalid(t *testing.T) {
	if got := (Selector{EndPort: 65535}).String(); got != "invalid" {
		t.Errorf("%q", got)
	}
	mixed := Selector{Start: netip.MustParseAddr("1.2.3.4"), End: netip.MustParseAddr("::1"), EndPort: 65535}
	if got := mixed.String(); got != "1.2.3.4-::1" {
		t.Errorf("%q", got)
	}
}

func FuzzParseSpec(f *testing.F) {
	for _, text := range []string{
		"10.1.0.0/16[tcp/http]", "dynamic[gre]", "10.0.0.1-10.0.0.9", "2001:db8::/32[/53]", "[%any/opaque]",
		"::ffff:1.2.3.4/120[icmp/3(1)-3(4)]", "0.0.0.0/0[icmp/2048]", "::/0[mh/0(7)]", "10.0.0.0/8[tcp/80-90]",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		spec, err := ParseSpec(text)
		if err != nil {
			return
		}
		if !spec.Dynamic {
			if err := spec.Sel.Valid(); err != nil {
				t.Fatalf("%q gives %#v: %v", text, spec.Sel, err)
			}
		}
		back, err := ParseSpec(spec.String())
		if err != nil || back != spec {
			t.Fatalf("%q is %#v, written %q, read %#v, %v", text, spec, spec.String(), back, err)
		}
	})
}
