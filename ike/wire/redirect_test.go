package wire

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
)

// TestParseRedirect: the two addresses and the name of RFC 5685 9.2, with and without the nonce, and what is none of them.
func TestParseRedirect(t *testing.T) {
	nonce := strings.Repeat("n", 32)
	long := strings.Repeat(strings.Repeat("a", 63)+".", 3) + strings.Repeat("a", 61)
	for name, c := range map[string]struct {
		data, want, nonce string
	}{
		"IPv4":              {"\x01\x04\xc0\x00\x02\x07", "192.0.2.7", ""},
		"IPv4 and nonce":    {"\x01\x04\xc0\x00\x02\x07" + nonce, "192.0.2.7", nonce},
		"IPv6":              {"\x02\x10\x20\x01\x0d\xb8" + strings.Repeat("\x00", 11) + "\x07", "2001:db8::7", ""},
		"IPv4 in IPv6":      {"\x02\x10" + strings.Repeat("\x00", 10) + "\xff\xff\xc0\x00\x02\x07", "192.0.2.7", ""},
		"name":              {"\x03\x0evpn.example.de" + nonce, "vpn.example.de", nonce},
		"name with a dot":   {"\x03\x0fvpn.example.de.", "vpn.example.de", ""},
		"longest name":      {"\x03\xfd" + long, long, ""},
		"empty":             {"", "", ""},
		"no length":         {"\x01", "", ""},
		"cut short":         {"\x01\x04\xc0\x00\x02", "", ""},
		"IPv4 of 5":         {"\x01\x05\xc0\x00\x02\x07\x00", "", ""},
		"IPv6 of 4":         {"\x02\x04\xc0\x00\x02\x07", "", ""},
		"type 0":            {"\x00\x04\xc0\x00\x02\x07", "", ""},
		"type 4":            {"\x04\x04\xc0\x00\x02\x07", "", ""},
		"no name":           {"\x03\x00", "", ""},
		"dot":               {"\x03\x01.", "", ""},
		"two dots":          {"\x03\x04a..b", "", ""},
		"too long a name":   {"\x03\xfe" + long + "a", "", ""},
		"too long a label":  {"\x03\x40" + strings.Repeat("a", 64), "", ""},
		"address as a name": {"\x03\x09192.0.2.7", "", ""},
		"half an address":   {"\x03\x05127.1", "", ""},
		"IPv6 as a name":    {"\x03\x03::1", "", ""},
		"line break":        {"\x03\x03a\nb", "", ""},
		"not ASCII":         {"\x03\x02\xc3\xa4", "", ""},
		"NUL":               {"\x03\x02a\x00", "", ""},
		"hyphen":            {"\x03\x02-a", "", ""},
		"too long a nonce":  {"\x01\x04\xc0\x00\x02\x07" + strings.Repeat("n", 257), "", ""},
	} {
		g, n, ok := ParseRedirect([]byte(c.data))
		if ok != (c.want != "") || ok && (g.String() != c.want || string(n) != c.nonce) {
			t.Errorf("%s: %v, %q, %v", name, g, n, ok)
		}
	}
}

// TestAppendGateway is against the figures of RFC 5685 9.2, 9.3.
func TestAppendGateway(t *testing.T) {
	for want, g := range map[string]Gateway{
		"\x01\x04\xc0\x00\x02\x07":                                       {Addr: netip.MustParseAddr("192.0.2.7")},
		"\x02\x10\x20\x01\x0d\xb8" + strings.Repeat("\x00", 11) + "\x07": {Addr: netip.MustParseAddr("2001:db8::7")},
		"\x03\x0evpn.example.de":                                         {Name: "vpn.example.de"},
	} {
		if got := AppendGateway(nil, g); string(got) != want {
			t.Errorf("%v: %x, want %x", g, got, want)
		}
	}
}

func FuzzParseRedirect(f *testing.F) {
	for _, s := range []string{"\x01\x04\xc0\x00\x02\x07", "\x02\x10" + strings.Repeat("\x20", 16) + strings.Repeat("n", 16), "\x03\x0evpn.example.de"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		g, nonce, ok := ParseRedirect(data)
		if !ok {
			if g != (Gateway{}) || nonce != nil {
				t.Fatalf("%v, %x of what is none", g, nonce)
			}
			return
		}
		if !bytes.HasSuffix(data, nonce) || (g.Name == "") != g.Addr.IsValid() || len(g.Name) > maxName {
			t.Fatalf("%+v, %x", g, nonce)
		}
		if _, err := netip.ParseAddr(g.String()); (err == nil) != g.Addr.IsValid() {
			t.Fatalf("%+v looks otherwise", g)
		}
		again, rest, ok := ParseRedirect(AppendGateway(nil, g))
		if !ok || again != g || rest != nil {
			t.Fatalf("%v came back as %v, %x, %v", g, again, rest, ok)
		}
	})
}
