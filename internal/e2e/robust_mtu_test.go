//go:build linux

package e2e

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"
)

// narrow makes the way between the gateways carry no more than 1280 bytes, at a place that neither of them sees, and
// keeps them from being told.
func narrow(ref *Reference) {
	ref.B.Uplink.SetMTU(1280) // between the NAT box and the internet
	ref.Router.DropICMP()
	ref.B.NAT.DropICMP()
}

// TestRobustNarrowPath has a black hole for path MTU discovery between two gateways: large packets pass all the same,
// whether they may be fragmented or not.
//
// Cases: Ipsec.Conf.2.1.5; Ipsec.Conf.1.2.5.
func TestRobustNarrowPath(t *testing.T) {
	t.Parallel()
	ref := NewReference(t, Plan{B: OneToOne})
	narrow(ref)
	a, b := matches[2].start(t, ref, referenceA, referenceB)
	for _, way := range [][2]*Host{{ref.A.Client, ref.B.Client}, {ref.B.Client, ref.A.Client}} {
		from, to := way[0], way[1]
		for _, test := range []Ping{
			{Size: 1200}, {Size: 1280, DF: true}, {Size: 1400}, {Size: 1400, DF: true}, {Size: 1500}, {Size: 4000}, {Size: 20000},
		} {
			test.Count = 5
			ping, err := from.Ping(to.Addr(), test)
			if err != nil || ping.Lost() != 0 {
				t.Errorf("%s: %d bytes, DF %v: %v, %v\n%s", from.Name, test.Size, test.DF, ping, err, tails(a, b))
			}
		}
		transfer, err := from.Transfer(to, to.Addr(), 4<<20)
		if err != nil || !transfer.Intact() || transfer.Bytes != 4<<20 {
			t.Errorf("%s: %v, %v\n%s", from.Name, transfer, err, tails(a, b))
		}
	}
}

// TestRobustNarrowPathToStrongSwan sends much from Culvert's site over the same path; what comes back is small, because
// strongSwan's datagrams must not be fragmented and would be lost.
func TestRobustNarrowPathToStrongSwan(t *testing.T) {
	t.Parallel()
	for _, m := range matches[:2] {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			ref := NewReference(t, Plan{B: OneToOne})
			narrow(ref)
			a, b := m.start(t, ref, referenceA, referenceB)
			from, to := ref.B.Client, ref.A.Client
			if m.strongB {
				from, to = to, from
			}
			transfer, err := from.Transfer(to, to.Addr(), 4<<20)
			if err != nil || !transfer.Intact() || transfer.Bytes != 4<<20 {
				t.Errorf("%v, %v\n%s", transfer, err, tails(a, b))
			}
			for _, size := range []int{1380, 3000} {
				received := oneWay(t, from, to, size, 20)
				if received != 20 {
					t.Errorf("of 20 datagrams of %d bytes %d arrived\n%s", size, received, tails(a, b))
				}
			}
		})
	}
}

// oneWay sends UDP datagrams of a size, in bytes of the IP packet, one after the other, and counts those that arrive.
func oneWay(t *testing.T, from, to *Host, size, count int) (received int) {
	t.Helper()
	server := listenUDP(t, to, netip.AddrPortFrom(to.Addr(), 0))
	client := listenUDP(t, from, netip.AddrPortFrom(from.Addr(), 0))
	target := server.LocalAddr().(*net.UDPAddr).AddrPort()
	buf := make([]byte, size)
	for range count {
		if _, err := client.WriteToUDPAddrPort(make([]byte, size-28), target); err != nil {
			t.Fatal(err)
		}
		Must(t, server.SetReadDeadline(time.Now().Add(sure/4)))
		if n, _, err := server.ReadFromUDPAddrPort(buf); err == nil && n == size-28 {
			received++
		}
	}
	return received
}

// TestRobustMSS looks at the SYNs that arrive on the far site: they announce no more than the tunnel carries.
func TestRobustMSS(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		uplink int // the MTU of the gateways' own cables, which they know
		m      match
	}{
		{"1500, Culvert calls Culvert", 1500, matches[2]},
		{"1400, Culvert calls Culvert", 1400, matches[2]},
		{"1500, Culvert calls strongSwan", 1500, matches[0]},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ref := NewReference(t, Plan{})
			ref.A.Uplink.SetMTU(test.uplink)
			ref.B.Uplink.SetMTU(test.uplink)
			a, b := test.m.start(t, ref, referenceA, referenceB)
			status, err := b.(*Culvert).Connection("site")
			Must(t, err)
			most := status.IKE[0].Children[0].MTU - 40 // IPv4 and TCP headers
			if most > test.uplink-100 || most < test.uplink-140 {
				t.Fatalf("the tunnel carries packets of %d bytes over a cable of %d", most+40, test.uplink)
			}
			captures := map[*Host]*Capture{}
			for _, g := range []*Gateway{ref.A, ref.B} {
				captures[g.Client] = ref.Net.Capture(newLink(g.Client, g.Host))
			}
			for _, way := range [][2]*Host{{ref.A.Client, ref.B.Client}, {ref.B.Client, ref.A.Client}} {
				transfer, err := way[0].Transfer(way[1], way[1].Addr(), 1<<16)
				if err != nil || !transfer.Intact() {
					t.Errorf("%v, %v\n%s", transfer, err, tails(a, b))
				}
			}
			for client, capture := range captures {
				Must(t, capture.Stop())
				frames, err := capture.Decode(Keys{}, "ip.src", "tcp.flags.syn", "tcp.options.mss_val")
				Must(t, err)
				syns := 0
				for _, f := range frames {
					mss := f.number(t, "tcp.options.mss_val")
					if mss == 0 || f.Fields["ip.src"][0] == client.Addr().String() {
						continue // no SYN, or one that the tunnel has not seen yet
					}
					syns++
					if mss > most || mss < most-100 {
						t.Errorf("a SYN on the way to %s announces %d, want %d", client.Name, mss, most)
					}
				}
				if syns < 2 {
					t.Errorf("%d SYNs came to %s, want one of a call and one of an answer", syns, client.Name)
				}
			}
		})
	}
}

// TestRobustPacketTooBig sends packets that must not be fragmented and are too big for the tunnel: the sender learns
// how big they may be, and those pass without fragments outside.
//
// Cases: Ipsec.Conf.2.1.4.
func TestRobustPacketTooBig(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		uplink int
	}{{"as wide as the device", 1500}, {"narrower than the device", 1360}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ref := NewReference(t, Plan{})
			ref.A.Uplink.SetMTU(test.uplink)
			a, b := matches[2].start(t, ref, referenceA, referenceB)
			status, err := a.(*Culvert).Status()
			Must(t, err)
			want := min(status.MTU, status.Connections[0].IKE[0].Children[0].MTU)
			if want < test.uplink-100 || want > test.uplink-60 {
				t.Errorf("the tunnel over a cable of %d carries packets of %d bytes", test.uplink, want)
			}
			ping := func(size int) PingResult {
				t.Helper()
				r, err := ref.A.Client.Ping(ref.B.Client.Addr(), Ping{Size: size, DF: true, Count: 3, Patience: never})
				Must(t, err)
				return r
			}
			// A packet is lost, and the answer to it tells how big the next one may be. The device may be wider than the tunnel,
			// so that it takes two steps.
			size := 1480
			if !eventually(soon, func() bool {
				if ping(size).Received > 0 {
					return true
				}
				routes, err := ref.A.Client.Netlink().RouteGet(ref.B.Client.Addr().AsSlice())
				Must(t, err)
				if len(routes) == 1 && routes[0].MTU > 0 {
					size = min(size, routes[0].MTU)
				}
				return false
			}) || size != want {
				t.Errorf("the sender learned that its packets may be %d bytes long, want %d\n%s", size, want, tails(a, b))
			}
			if r := ping(want + 1); !errors.Is(r.Err, syscall.EMSGSIZE) {
				t.Errorf("a packet one byte longer: %v", r)
			}
			if test.uplink < 1500 && drops(t, a)["out-too-big"] == 0 {
				t.Errorf("no packet was counted as too big: %v", drops(t, a))
			}
			wire := ref.Net.Capture(ref.A.Uplink)
			if r, err := ref.A.Client.Ping(ref.B.Client.Addr(), Ping{Size: want, DF: true, Count: 10}); err != nil || r.Lost() != 0 {
				t.Errorf("%d bytes: %v, %v\n%s", want, r, err, tails(a, b))
			}
			Must(t, wire.Stop())
			frames, err := wire.Decode(Keys{}, "ip.len", "ip.flags.mf", "ip.frag_offset")
			Must(t, err)
			longest := 0
			for _, f := range frames {
				longest = max(longest, f.number(t, "ip.len"))
				if mf := f.Fields["ip.flags.mf"]; len(mf) > 0 && (mf[0] == "1" || mf[0] == "True") || f.number(t, "ip.frag_offset") != 0 {
					t.Errorf("packet %d of the capture is a fragment", f.Number)
				}
			}
			if longest < want+28 {
				t.Errorf("the longest packet of the capture has %d bytes", longest)
			}
		})
	}
}

// drops are the packets that a culvert daemon has not passed on, by reason.
func drops(t *testing.T, p Peer) map[string]uint64 {
	t.Helper()
	status, err := p.(*Culvert).Status()
	Must(t, err)
	return status.Drops
}
