package inet

import (
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
	"testing"
)

// unhex reads hex with blanks and #-comments to the end of line.
func unhex(t testing.TB, text string) []byte {
	t.Helper()
	var clean strings.Builder
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		clean.WriteString(strings.Join(strings.Fields(line), ""))
	}
	b, err := hex.DecodeString(clean.String())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const addrs6 = "20010db8000000000000000000000001 20010db8000000000000000000000002\n"

func TestParseErrors(t *testing.T) {
	const addrs4 = "0a010001 0a020002"
	extensions := func(n int) string {
		return "60000000 " + hex.EncodeToString([]byte{0, byte(8 * n)}) + "3c40" + addrs6 +
			strings.Repeat("3c00 000000000000", n-1) + "3b00 000000000000"
	}
	for _, c := range []struct {
		name, hex string
		want      error
	}{
		{"empty", "", ErrShort},
		{"version 0", "00", ErrVersion},
		{"version 5", "55 00 0014 0000 0000 40 06 0000" + addrs4, ErrVersion},
		{"IPv4 cut", "45 00 0014 0000 0000 40 06 0000 0a010001 0a0200", ErrShort},
		{"IPv4 header of 16", "44 00 0014 0000 0000 40 06 0000" + addrs4, ErrLength},
		{"IPv4 total below header", "45 00 0013 0000 0000 40 06 0000" + addrs4, ErrLength},
		{"IPv4 total below options", "46 00 0017 0000 0000 40 06 0000" + addrs4 + "01010101", ErrLength},
		{"IPv4 total beyond", "45 00 0015 0000 0000 40 06 0000" + addrs4, ErrShort},
		{"IPv4 options beyond", "4f 00 0014 0000 0000 40 06 0000" + addrs4, ErrLength},
		{"IPv4 fragment without payload", "45 00 0014 0000 0001 40 11 0000" + addrs4, ErrFragment},
		{"IPv4 first fragment, odd", "45 00 0018 0000 2000 40 06 0000" + addrs4 + "00500050", ErrFragment},
		{"IPv4 fragment over TCP flags", "45 00 001c 0000 0001 40 06 0000" + addrs4 + "0000000000000000", ErrFragment},
		{"IPv4 fragment beyond 64 KiB", "45 00 001c 0000 1fff 40 11 0000" + addrs4 + "0000000000000000", ErrFragment},
		{"IPv6 cut", "60000000 0000 3b 40" + addrs6[:61], ErrShort},
		{"IPv6 payload beyond", "60000000 0001 3b 40" + addrs6, ErrShort},
		{"IPv6 extension cut", "60000000 0007 00 40" + addrs6 + "3b0000000000 00", ErrShort},
		{"IPv6 extension beyond", "60000000 0008 00 40" + addrs6 + "3b01000000000000", ErrShort},
		{"IPv6 fragment cut", "60000000 0007 2c 40" + addrs6 + "3b000000000000", ErrShort},
		{"IPv6 two fragment headers", "60000000 0018 2c 40" + addrs6 + "2c000001 00000000 11000001 00000000 0000000000000000", ErrFragment},
		{"IPv6 fragment without payload", "60000000 0008 2c 40" + addrs6 + "11000008 00000000", ErrFragment},
		{"IPv6 extensions, just enough", extensions(MaxExtensions - 1), nil},
		{"IPv6 extensions, too many", extensions(MaxExtensions + 1), ErrExtensions},
	} {
		h, err := Parse(unhex(t, c.hex))
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %+v, %v; want %v", c.name, h, err, c.want)
		}
	}
}

func TestParseFields(t *testing.T) {
	h, err := Parse(unhex(t, "45 b9 0024 0000 600a 40 11 0000 0a010001 0a020002 00112233 44556677 8899aabb ccddeeff"))
	want := Header{
		Src: netip.MustParseAddr("10.1.0.1"), Dst: netip.MustParseAddr("10.2.0.2"), Protocol: ProtoUDP, TOS: 0xb9,
		Len: 20, Total: 36, FragmentOffset: 80, More: true, DontFragment: true,
	}
	if err != nil || h != want || h.First() {
		t.Errorf("%+v, %v; want %+v", h, err, want)
	}
	h, err = Parse(unhex(t, "6b900000 0010 2c 40"+addrs6+"11000009 00000000 0011223344556677"))
	want = Header{
		Src: netip.MustParseAddr("2001:db8::1"), Dst: netip.MustParseAddr("2001:db8::2"), Protocol: ProtoUDP, TOS: 0xb9,
		Len: 48, Total: 56, FragmentOffset: 8, More: true, DontFragment: true,
	}
	if err != nil || h != want || h.First() {
		t.Errorf("%+v, %v; want %+v", h, err, want)
	}
}
