package inet

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
)

func packet4(t testing.TB, protocol byte, n int) []byte {
	t.Helper()
	pkt := append(unhex(t, "45 00 0000 1234 4000 40 00 0000 0a010001 0a020002"), make([]byte, n-20)...)
	binary.BigEndian.PutUint16(pkt[2:], uint16(n))
	pkt[9], pkt[20] = protocol, 8
	return pkt
}

func packet6(t testing.TB, protocol byte, n int) []byte {
	t.Helper()
	pkt := append(unhex(t, "60000000 0000 00 40"+addrs6), make([]byte, n-40)...)
	binary.BigEndian.PutUint16(pkt[4:], uint16(n-40))
	pkt[6], pkt[40] = protocol, 128
	return pkt
}

var (
	gateway4 = netip.MustParseAddr("10.1.0.254")
	gateway6 = netip.MustParseAddr("2001:db8::fe")
)

func TestFragNeededGolden(t *testing.T) {
	orig := packet4(t, ProtoUDP, 80)
	got := AppendPacketTooBig([]byte("before"), orig, 72, gateway4)
	want := append([]byte("before"), unhex(t, `
		45 c0 006c 0000 4000 40 01 24d1 0a0100fe 0a010001  # IPv4: TOS c0, 108 octets, DF, TTL 64, ICMP
		03 04 0918 0000 0048                               # fragmentation needed, MTU 72`)...)
	want = append(want, orig...)
	checkSums(t, got[6:])
	if !bytes.Equal(got, want) {
		t.Errorf("\n%x, want\n%x", got, want)
	}
}

func TestPacketTooBigGolden(t *testing.T) {
	orig := packet6(t, ProtoUDP, 1400)
	got := AppendPacketTooBig(nil, orig, 1300, gateway6)
	checkSums(t, got)
	want := unhex(t, `
		6c000000 04d8 3a 40                                # IPv6: traffic class c0, 1240 octets, ICMPv6, hop limit 64
		20010db80000000000000000000000fe 20010db8000000000000000000000001
		02 00 4562 00000514                                # Packet Too Big, MTU 1300`)
	want = append(want, orig[:1280-48]...)
	if !bytes.Equal(got, want) {
		t.Errorf("\n%x, want\n%x", got, want)
	}
}

// checkSums verifies the checksums of an ICMP message word by word.
func checkSums(t *testing.T, pkt []byte) {
	t.Helper()
	h, err := Parse(pkt)
	if err != nil || h.Total != len(pkt) {
		t.Fatalf("%+v, %v of %d octets", h, err, len(pkt))
	}
	message := pkt[h.Len:]
	if h.Src.Is4() {
		if sum := slowSum(pkt[:h.Len]); sum != 0xffff {
			t.Errorf("the IPv4 header sums to %04x", sum)
		}
	} else {
		pseudo := append(bytes.Clone(pkt[8:40]), 0, 0, byte(len(message)>>8), byte(len(message)), 0, 0, 0, ProtoICMPv6)
		message = append(pseudo, message...)
	}
	if sum := slowSum(message); sum != 0xffff {
		t.Errorf("the ICMP message sums to %04x", sum)
	}
}

func TestPacketTooBigMTUAndLength(t *testing.T) {
	for _, c := range []struct {
		name    string
		orig    []byte
		src     netip.Addr
		mtu     int
		wantMTU uint32 // 0: no message
		length  int
	}{
		{"quotes at most 576", packet4(t, ProtoTCP, 1500), gateway4, 1400, 1400, 576},
		{"quotes at most 1280", packet6(t, ProtoTCP, 1500), gateway6, 1400, 1400, 1280},
		{"with padding behind", append(packet4(t, ProtoTCP, 100), make([]byte, 900)...), gateway4, 80, 80, 128},
		{"IPv4 no less than 68", packet4(t, ProtoTCP, 100), gateway4, 10, 68, 128},
		{"IPv6 no less than 1280", packet6(t, ProtoTCP, 1300), gateway6, 576, 1280, 1280},
		{"negative", packet4(t, ProtoTCP, 100), gateway4, -1, 68, 128},
		{"fits", packet4(t, ProtoTCP, 100), gateway4, 100, 0, 0},
		{"fits the least IPv6 MTU", packet6(t, ProtoTCP, 1280), gateway6, 1000, 0, 0},
	} {
		got := AppendPacketTooBig(nil, c.orig, c.mtu, c.src)
		if c.wantMTU == 0 {
			if len(got) != 0 {
				t.Errorf("%s: %x", c.name, got)
			}
			continue
		}
		checkSums(t, got)
		h, _ := Parse(got)
		if mtu := binary.BigEndian.Uint32(got[h.Len+4:]); mtu != c.wantMTU || len(got) != c.length {
			t.Errorf("%s: MTU %d in %d octets, want %d in %d", c.name, mtu, len(got), c.wantMTU, c.length)
		}
		if h.Dst != netip.AddrFrom4([4]byte{10, 1, 0, 1}) && h.Dst != netip.MustParseAddr("2001:db8::1") {
			t.Errorf("%s: sent to %v", c.name, h.Dst)
		}
	}
}

func TestPacketTooBigIsNotAlwaysSent(t *testing.T) {
	change := func(pkt []byte, at int, octets ...byte) []byte {
		copy(pkt[at:], octets)
		return pkt
	}
	for _, c := range []struct {
		name string
		orig []byte
		src  netip.Addr
		want bool
	}{
		{"UDP", packet4(t, ProtoUDP, 1500), gateway4, true},
		{"echo request", packet4(t, ProtoICMP, 1500), gateway4, true},
		{"ICMP unreachable", change(packet4(t, ProtoICMP, 1500), 20, 3), gateway4, false},
		{"ICMP source quench", change(packet4(t, ProtoICMP, 1500), 20, 4), gateway4, false},
		{"ICMP redirect", change(packet4(t, ProtoICMP, 1500), 20, 5), gateway4, false},
		{"ICMP time exceeded", change(packet4(t, ProtoICMP, 1500), 20, 11), gateway4, false},
		{"ICMP parameter problem", change(packet4(t, ProtoICMP, 1500), 20, 12), gateway4, false},
		{"first fragment", change(packet4(t, ProtoUDP, 1500), 6, 0x20), gateway4, true},
		{"later fragment", change(packet4(t, ProtoUDP, 1500), 6, 0x00, 0x09), gateway4, false},
		{"from 0.0.0.0", change(packet4(t, ProtoUDP, 1500), 12, 0, 0, 0, 0), gateway4, false},
		{"from loopback", change(packet4(t, ProtoUDP, 1500), 12, 127), gateway4, false},
		{"from multicast", change(packet4(t, ProtoUDP, 1500), 12, 224), gateway4, false},
		{"from class E", change(packet4(t, ProtoUDP, 1500), 12, 250), gateway4, false},
		{"to multicast", change(packet4(t, ProtoUDP, 1500), 16, 224), gateway4, false},
		{"to broadcast", change(packet4(t, ProtoUDP, 1500), 16, 255, 255, 255, 255), gateway4, false},
		{"other family", packet4(t, ProtoUDP, 1500), gateway6, false},
		{"cut", packet4(t, ProtoUDP, 1500)[:1400], gateway4, false},
		{"no source to send from", packet4(t, ProtoUDP, 1500), netip.Addr{}, false},
		{"IPv6 UDP", packet6(t, ProtoUDP, 1500), gateway6, true},
		{"IPv6 echo request", packet6(t, ProtoICMPv6, 1500), gateway6, true},
		{"ICMPv6 error", change(packet6(t, ProtoICMPv6, 1500), 40, 1), gateway6, false},
		{"ICMPv6 redirect", change(packet6(t, ProtoICMPv6, 1500), 40, 137), gateway6, false},
		{"IPv6 to multicast", change(packet6(t, ProtoUDP, 1500), 24, 0xff, 0x0e), gateway6, true},
		{"IPv6 from ::", change(packet6(t, ProtoUDP, 1500), 8, make([]byte, 16)...), gateway6, false},
	} {
		got := AppendPacketTooBig([]byte{7}, c.orig, 1400, c.src)
		if (len(got) > 1) != c.want || got[0] != 7 {
			t.Errorf("%s: %x", c.name, got)
		}
		// An error never answers an error.
		if c.want {
			if again := AppendPacketTooBig(nil, got[1:], 68, c.src); again != nil {
				t.Errorf("%s: an error answers an error: %x", c.name, again)
			}
		}
	}
}

func FuzzPacketTooBig(f *testing.F) {
	f.Add(packet4(f, ProtoUDP, 100), 72)
	f.Add(packet4(f, ProtoICMP, 100), 72)
	f.Add(packet6(f, ProtoICMPv6, 1400), 1300)
	f.Fuzz(func(t *testing.T, orig []byte, mtu int) {
		for _, src := range []netip.Addr{gateway4, gateway6} {
			got := AppendPacketTooBig(nil, orig, mtu, src)
			if got == nil {
				continue
			}
			checkSums(t, got)
			if h, _ := Parse(got); h.Src != src || len(got) > maxError6 || src.Is4() && len(got) > maxError4 {
				t.Fatalf("%+v, %d octets", h, len(got))
			}
		}
	})
}
