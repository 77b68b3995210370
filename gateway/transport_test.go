package gateway

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/culvert-vpn/culvert/internal/inet"
	"github.com/culvert-vpn/culvert/tun"
	"github.com/culvert-vpn/culvert/udp/udptest"
)

// transport makes the child of a configuration one for the traffic between the gateways themselves.
func transport(conf string) string {
	return replace(conf, "local_ts = 10.103.0.0/24", "mode = transport", "remote_ts = 10.104.0.0/24", "",
		"local_ts = 10.104.0.0/24", "mode = transport", "remote_ts = 10.103.0.0/24", "")
}

// remade is a packet as it comes out of transport mode: with a header of its own, between these addresses.
func remade(packet []byte, from, to netip.Addr) []byte {
	header := ip4Header
	next := packet[9]
	if from.Is6() {
		header, next = ip6Header, packet[6]
	}
	payload := slices.Clone(packet[header:])
	if at := map[byte]int{inet.ProtoTCP: 16, inet.ProtoUDP: 6}[next]; at != 0 {
		payload[at], payload[at+1] = 0, 0
		binary.BigEndian.PutUint16(payload[at:], ^inet.Fold(inet.Add(inet.AddPseudo(0, from, to, next, len(payload)), payload)))
	}
	return append(inet.AppendHeader(nil, from, to, next, packet[1], len(payload)), payload...)
}

// RFC 7296 2.23.1, RFC 3948 3.1.2: each host sees the other one at the address that the NAT shows, and checksums are right there.
func TestTransportThroughNAT(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, _ := pair(t, transport(confA), transport(confB))
		b.up()
		a.up()
		for _, s := range []*site{a, b} {
			if mode := s.g.Status().Connections[0].IKE[0].Children[0].Mode; mode != "transport" {
				t.Errorf("the child is in %s mode", mode)
			}
		}
		request := ping(addrB, addrA, "from host to host")
		b.send(request)
		a.wants(remade(request, public, addrA))
		reply := ping(addrA, public, "and back")
		reply[1] = 0xb8 // DSCP and ECN are those of the outer header
		binary.BigEndian.PutUint16(reply[10:], 0)
		binary.BigEndian.PutUint16(reply[10:], inet.Checksum(reply[:ip4Header]))
		a.send(reply)
		b.wants(remade(reply, addrA, addrB))

		segments := ipPacket(addrB, addrA, inet.ProtoTCP, tcp(flagACK, 1, 0, bytes.Repeat([]byte("segment "), 500)))
		super := tun.Super{
			Packet: slices.Clone(segments), GSO: tun.GSOTCP4, HdrLen: 40, SegmentSize: 1300, NeedsChecksum: true, ChecksumStart: 20, ChecksumOffset: tcpChecksum,
		}
		binary.BigEndian.PutUint16(super.Packet[20+tcpChecksum:], inet.Fold(inet.AddPseudo(0, addrB, addrA, inet.ProtoTCP, len(segments)-20)))
		if err := b.queue.Send(super); err != nil {
			t.Fatal(err)
		}
		got := a.received()
		if len(got) != 4 {
			t.Fatalf("%d segments arrived, want 4", len(got))
		}
		for i := range got {
			piece := make([]byte, 1400)
			// What cut the superpacket again, into which they were joined, has numbered them.
			if want := remade(piece[:super.Cut(i, piece)], public, addrA); !bytes.Equal(got[i][12:], want[12:]) || inet.Checksum(got[i][:20]) != 0 {
				t.Errorf("segment %d\n got %x\nwant %x", i, got[i][:60], want[:60])
			}
		}
		finish(t, b, a)
	})
}

// RFC 4303 3.3.4: transport mode is for whole datagrams, and it has no place for what belongs in front of ESP.
func TestTransportRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, _ := pair(t, transport(confA), transport(confB))
		b.up()
		a.up()
		first, later, options := ping(addrB, addrA, "first"), ping(addrB, addrA, "later12"), ping(addrB, addrA, "options")
		first[6], later[6], later[7] = 0x20, 0, 185
		options = append(append([]byte{0x46}, options[1:20]...), append([]byte{1, 1, 1, 0}, options[20:]...)...)
		binary.BigEndian.PutUint16(options[2:], uint16(len(options)))
		first = append(first, 0, 0, 0) // a multiple of eight
		binary.BigEndian.PutUint16(first[2:], uint16(len(first)))
		for _, p := range [][]byte{first, later, options} {
			b.send(p)
		}
		a.wantsNothing()
		if fragments, headers := b.drops(DropFragment), b.drops(DropHeader); fragments != 2 || headers != 1 {
			t.Errorf("%s = %d, %s = %d", DropFragment, fragments, DropHeader, headers)
		}
		finish(t, b, a)
	})
}

func TestTransportIPv6(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a6, b6 := netip.MustParseAddr("2001:db8::a"), netip.MustParseAddr("2001:db8::b")
		network := udptest.NewNetwork()
		a := start(t, network, a6, transport(confA))
		synctest.Wait()
		b := start(t, network, b6, replace(transport(confB), "remote_addrs = 203.0.113.1", "remote_addrs = 2001:db8::a"))
		b.up()
		a.up()
		packet := ping(b6, a6, "from host to host")
		b.send(packet)
		a.wants(remade(packet, b6, a6))
		options := ipPacket(b6, a6, inet.ProtoHopByHop, append([]byte{17, 0, 1, 4, 0, 0, 0, 0}, packet[40:]...))
		b.send(options)
		a.wantsNothing()
		if n := b.drops(DropHeader); n != 1 {
			t.Errorf("%s = %d", DropHeader, n)
		}
		finish(t, b, a)
	})
}

// A host that is not asked for transport mode, or does not know it, gets tunnel mode (RFC 7296 1.3.1).
func TestTransportDeclined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct{ a, b func(string) string }{
			{transport, func(s string) string { return replace(transport(s), "mode = transport", "") }},
			{func(s string) string { return replace(transport(s), "mode = transport", "") }, transport},
		} {
			// Without a NAT, so that both see the same selectors.
			network := udptest.NewNetwork()
			a := start(t, network, addrA, c.a(confA))
			synctest.Wait()
			b := start(t, network, public, c.b(confB))
			b.up()
			a.up()
			packet := ping(public, addrA, "in a tunnel")
			b.send(packet)
			a.wants(packet)
			finish(t, b, a)
		}
	})
}

// RFC 4303 2.7: every packet on the wire is as long as the longest.
func TestTFCPadding(t *testing.T) {
	for _, c := range []struct {
		padding string
		same    bool
	}{{"0", false}, {"700", false}, {"1400", true}, {"mtu", true}} {
		synctest.Test(t, func(t *testing.T) {
			a, b, box := pair(t, confA, replace(confB, "start_action = start", "start_action = start\ntfc_padding = "+c.padding))
			b.up()
			a.up()
			box.mu.Lock()
			before := len(box.seen)
			box.mu.Unlock()
			for _, text := range []string{"", "short", string(make([]byte, 600)), string(make([]byte, 1372))} {
				packet := ping(hostB, hostA, text)
				b.send(packet)
				a.wants(packet)
			}
			lengths := map[int]bool{}
			box.mu.Lock()
			for _, datagram := range box.seen[before:] {
				lengths[len(datagram)] = true
			}
			box.mu.Unlock()
			if len(lengths) == 1 != c.same {
				t.Errorf("tfc_padding = %s: datagrams of %v bytes", c.padding, lengths)
			}
			finish(t, b, a)
		})
	}
}
