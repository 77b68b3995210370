package ts

import (
	"encoding/hex"
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

const (
	head6 = "20010db8000000000000000000000001 20010db8000000000000000000000002 # addresses\n"

	tcp4 = `45 b8 0028 0000 4000 40 06 0000 0a010001 0a020002  # IPv4, DSCP EF
		8000 01bb 00000001 00000000 5002 ffff 0000 0000     # TCP 32768 -> 443`
	options4 = `46 00 0020 0000 0000 40 11 0000 0a010001 0a020002 01010100  # IPv4 with 4 octets of options
		1111 2222 0008 0000                                  # UDP`
	echo4   = `45 00 001c 0000 0000 40 01 0000 0a010001 0a020002  0800 f7ff 0000 0000`
	first4  = `45 00 001c 0001 2000 40 11 0000 0a010001 0a020002  1111 2222 0010 0000  # more fragments`
	second4 = `45 00 001c 0001 0001 40 11 0000 0a010001 0a020002  1111 2222 3333 4444  # offset 8`
	esp4    = `45 00 001c 0000 0000 40 32 0000 0a010001 0a020002  11111111 22222222`
	udp6    = "6b8 00000 0008 11 40 " + head6 + "1111 2222 0008 0000"
	chain6  = "600 00000 0028 00 40 " + head6 + `
		2b 00 0000 00000000   # hop-by-hop -> routing
		3c 00 0000 00000000   # routing -> destination options
		2c 00 0000 00000000   # destination options -> fragment
		11 00 0001 00000001   # fragment, offset 0, more -> UDP
		1111 2222 0008 0000`
	later6    = "600 00000 0010 2c 40 " + head6 + "3c 00 0008 00000001  1111222233334444 # offset 8; next header says options"
	neighbor6 = "600 00000 0008 3a ff " + head6 + "87 00 0000 00000000"
	mobility6 = "600 00000 0008 87 40 " + head6 + "3b 00 05 00 0000 0000"
	none6     = "600 00000 0000 3b 40 " + head6
)

func TestParsePacket(t *testing.T) {
	a4, b4 := netip.MustParseAddr("10.1.0.1"), netip.MustParseAddr("10.2.0.2")
	a6, b6 := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
	for _, c := range []struct {
		name, hex string
		want      Packet
	}{
		{"TCP", tcp4, Packet{a4, b4, 6, 32768, 443, true, false, 20, 40, 0xb8}},
		{"IPv4 options", options4, Packet{a4, b4, 17, 0x1111, 0x2222, true, false, 24, 32, 0}},
		{"ICMP echo", echo4, Packet{a4, b4, 1, 0x0800, 0x0800, true, false, 20, 28, 0}},
		{"first fragment", first4, Packet{a4, b4, 17, 0x1111, 0x2222, true, false, 20, 28, 0}},
		{"second fragment", second4, Packet{a4, b4, 17, 0, 0, false, true, 20, 28, 0}},
		{"ESP has no ports", esp4, Packet{a4, b4, 50, 0, 0, false, false, 20, 28, 0}},
		{"UDP over IPv6", udp6, Packet{a6, b6, 17, 0x1111, 0x2222, true, false, 40, 48, 0xb8}},
		{"extension headers", chain6, Packet{a6, b6, 17, 0x1111, 0x2222, true, false, 72, 80, 0}},
		{"later IPv6 fragment", later6, Packet{a6, b6, 60, 0, 0, false, true, 48, 56, 0}},
		{"neighbour solicitation", neighbor6, Packet{a6, b6, 58, 0x8700, 0x8700, true, false, 40, 48, 0}},
		{"mobility header", mobility6, Packet{a6, b6, 135, 0x0500, 0x0500, true, false, 40, 48, 0}},
		{"no next header", none6, Packet{a6, b6, 59, 0, 0, false, false, 40, 40, 0}},
	} {
		b := unhex(t, c.hex)
		got, err := ParsePacket(b)
		if err != nil || got != c.want {
			t.Errorf("%s: %+v, %v; want %+v", c.name, got, err, c.want)
		}
		// Octets behind the packet change nothing; one octet less makes it impossible.
		if got, err := ParsePacket(append(b[:len(b):len(b)], 1, 2, 3)); err != nil || got != c.want {
			t.Errorf("%s with padding: %+v, %v", c.name, got, err)
		}
		for n := range b {
			if got, err := ParsePacket(b[:n:n]); err == nil {
				t.Errorf("%s cut to %d octets: %+v", c.name, n, got)
			}
		}
	}
}

// A packet too short for its ports is no fragment, but its ports cannot be seen.
func TestParsePacketPortsCutOff(t *testing.T) {
	p, err := ParsePacket(unhex(t, "45 00 0017 0000 0000 40 06 0000 0a010001 0a020002  000000"))
	if err != nil || p.HasPorts || p.Fragment {
		t.Errorf("%+v, %v", p, err)
	}
}

// Cases: VPNGW FPF_RUL_EXT.1.6.
func TestMatch(t *testing.T) {
	for _, c := range []struct {
		name, local, remote, packet string
		out, in                     bool // in: the packet as it is, coming in
	}{
		{"any", "10.1.0.0/16", "10.2.0.0/16", tcp4, true, false},
		{"the other way", "10.2.0.0/16", "10.1.0.0/16", tcp4, false, true},
		{"other family", "::/0", "::/0", tcp4, false, false},
		{"protocol", "10.1.0.0/16[tcp]", "10.2.0.0/16[tcp]", tcp4, true, false},
		{"other protocol", "10.1.0.0/16[udp]", "10.2.0.0/16", tcp4, false, false},
		{"remote port", "10.1.0.0/16[tcp]", "10.2.0.0/16[tcp/443]", tcp4, true, false},
		{"remote port coming in", "10.2.0.0/16[tcp/443]", "10.1.0.0/16", tcp4, false, true},
		{"local port is not it", "10.1.0.0/16[tcp/443]", "10.2.0.0/16", tcp4, false, false},
		{"first fragment shows ports", "10.1.0.0/16[udp]", "10.2.0.0/16[udp/8738]", first4, true, false},
		{"fragment, any port", "10.1.0.0/16[udp]", "10.2.0.0/16[udp]", second4, true, false},
		{"fragment, a port", "10.1.0.0/16[udp]", "10.2.0.0/16[udp/8738]", second4, false, false},
		{"fragment, every port but not ANY", "10.1.0.0/16[udp]", "10.2.0.0/16[udp/1-65535]", second4, false, false},
		{"fragment, opaque", "10.1.0.0/16[udp/opaque]", "10.2.0.0/16[udp/opaque]", second4, true, false},
		{"whole packet, opaque", "10.1.0.0/16[udp/opaque]", "10.2.0.0/16[udp/opaque]", first4, false, false},
		{"ESP, opaque", "10.1.0.0/16[esp/opaque]", "10.2.0.0/16[esp/opaque]", esp4, true, false},
		{"echo", "10.1.0.0/16[icmp/8]", "10.2.0.0/16[icmp/8]", echo4, true, false},
		{"echo may be sent", "10.1.0.0/16[icmp/8]", "10.2.0.0/16[icmp/opaque]", echo4, true, false},
		{"echo may only be received", "10.1.0.0/16[icmp/opaque]", "10.2.0.0/16[icmp/8]", echo4, false, false},
		{"echo comes in, may be received", "10.2.0.0/16[icmp/opaque]", "10.1.0.0/16[icmp/8]", echo4, false, true},
		{"echo comes in, may only be sent", "10.2.0.0/16[icmp/8]", "10.1.0.0/16[icmp/opaque]", echo4, false, false},
		{"other ICMP", "10.1.0.0/16[icmp]", "10.2.0.0/16[icmp/0]", echo4, false, false},
	} {
		p, err := ParsePacket(unhex(t, c.packet))
		if err != nil {
			t.Fatal(err)
		}
		local, remote := mustSels(t, c.local), mustSels(t, c.remote)
		if got := Match(local, remote, p, true); got != c.out {
			t.Errorf("%s, outbound: %v", c.name, got)
		}
		if got := Match(local, remote, p, false); got != c.in {
			t.Errorf("%s, inbound: %v", c.name, got)
		}
		local, remote = append(mustSels(t, "192.0.2.1"), local...), append(mustSels(t, "192.0.2.1"), remote...)
		if got := Match(local, remote, p, true); got != c.out {
			t.Errorf("%s, outbound, second of two: %v", c.name, got)
		}
	}
	if p, _ := ParsePacket(unhex(t, tcp4)); Match(nil, mustSels(t, "0.0.0.0/0"), p, true) || Match(mustSels(t, "0.0.0.0/0"), nil, p, true) {
		t.Error("no selectors match a packet")
	}
}

func TestParseAndMatchDoNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("allocations are not counted under the race detector")
	}
	var packets [][]byte
	for _, text := range []string{tcp4, second4, chain6, later6, none6, "45"} {
		packets = append(packets, unhex(t, text))
	}
	local, remote := mustSels(t, "::/0", "10.1.0.0/16[tcp]"), mustSels(t, "::/0", "10.2.0.0/16[tcp/443]")
	n := testing.AllocsPerRun(100, func() {
		for _, b := range packets {
			p, _ := ParsePacket(b)
			Match(local, remote, p, true)
			Match(local, remote, p, false)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Cases: BUG-11.
func FuzzParsePacket(f *testing.F) {
	for _, text := range []string{tcp4, options4, echo4, first4, second4, esp4, udp6, chain6, later6, neighbor6, mobility6, none6} {
		f.Add(unhex(f, text))
	}
	all := mustSels(f, "0.0.0.0/0", "::/0")
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParsePacket(b)
		if err != nil {
			if p != (Packet{}) {
				t.Fatalf("%v with %+v", err, p)
			}
			return
		}
		if p.HeaderLen < 20 || p.TotalLen < p.HeaderLen || len(b) < p.TotalLen {
			t.Fatalf("lengths %d, %d of %d", p.HeaderLen, p.TotalLen, len(b))
		}
		if p.Fragment && p.HasPorts {
			t.Fatalf("a later fragment with ports: %+v", p)
		}
		if !Match(all, all, p, true) || !Match(all, all, p, false) {
			t.Fatalf("any traffic does not include %+v", p)
		}
		// Nothing beyond the packet's end counts.
		if again, err := ParsePacket(b[:p.TotalLen:p.TotalLen]); err != nil || again != p {
			t.Fatalf("cut to its length: %+v, %v; was %+v", again, err, p)
		}
	})
}
