package gateway

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/culvert-vpn/culvert/internal/inet"
	"github.com/culvert-vpn/culvert/ts"
)

// randomEntries are policies between few networks, with ports or by addresses alone.
func randomEntries(r *rand.Rand, flows []*flow, narrow bool) []ts.Entry[*flow] {
	selector := func() ts.Selector {
		s := ts.FromPrefix(netip.PrefixFrom(randomHost(r, false), []int{0, 8, 24, 30, 32}[r.IntN(5)]))
		if r.IntN(4) == 0 {
			s = ts.FromPrefix(netip.PrefixFrom(randomHost(r, true), []int{0, 64, 126, 128}[r.IntN(4)]))
		}
		if narrow && r.IntN(2) == 0 {
			s.Protocol, s.StartPort, s.EndPort = inet.ProtoUDP, uint16(r.IntN(3)), uint16(3+r.IntN(3))
		}
		return s
	}
	var entries []ts.Entry[*flow]
	for _, f := range flows {
		entries = append(entries, ts.Entry[*flow]{
			Local: []ts.Selector{selector(), selector()}, Remote: []ts.Selector{selector(), selector()}, Priority: r.IntN(2), Value: f,
		})
	}
	return entries
}

// randomHost is one of 64, in IPv6 an IPv4-mapped one now and then.
func randomHost(r *rand.Rand, is6 bool) netip.Addr {
	a := netip.AddrFrom4([4]byte{10, byte(r.IntN(4)), 0, byte(r.IntN(16))})
	if !is6 {
		return a
	}
	b := a.As16()
	if r.IntN(2) == 0 {
		b[0] = 0xfd
	}
	return netip.AddrFrom16(b)
}

// The cache says what the table says, whatever it has seen before, with tables that follow one another while packets wait.
func TestFlowCacheAgainstTable(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	c := newFlowCache()
	flows := make([]*flow, 8)
	for i := range flows {
		flows[i] = &flow{order: int64(i)}
	}
	found, missed := 0, 0
	for round := range 300 {
		table := ts.NewTable(randomEntries(r, flows, round%2 == 0))
		for range 1 + r.IntN(20) {
			c.use(table)
			packets, at := make([]ts.Packet, 64), make([]cacheable, 64)
			for i := range packets {
				is6 := r.IntN(3) == 0
				p := ts.Packet{Src: randomHost(r, is6), Dst: randomHost(r, is6), Protocol: []byte{0, inet.ProtoUDP, inet.ProtoTCP}[r.IntN(3)]}
				if p.Protocol != 0 && r.IntN(4) > 0 {
					p.SrcPort, p.DstPort, p.HasPorts = uint16(r.IntN(6)), uint16(r.IntN(6)), true
				}
				packets[i], at[i] = p, c.prepare(&p)
			}
			for i := range packets {
				want, _ := table.Lookup(&packets[i])
				if got := c.lookup(&packets[i], &at[i]); got != want {
					t.Fatalf("%+v: flow %v, want %v", packets[i], got, want)
				}
				if want == nil {
					missed++
				} else {
					found++
				}
			}
		}
	}
	if found < 10000 || missed < 10000 {
		t.Errorf("only %d packets had a flow, and %d none", found, missed)
	}
}

// The cache grows as far as it has to for what it is asked, and no further than it may.
func TestFlowCacheGrows(t *testing.T) {
	remote := ts.FromPrefix(netip.MustParsePrefix("10.0.0.0/8"))
	table := ts.NewTable([]ts.Entry[*flow]{{Local: []ts.Selector{remote}, Remote: []ts.Selector{remote}, Value: &flow{}}})
	src := netip.MustParseAddr("10.1.0.1")
	for _, x := range []struct{ hosts, least, most int }{
		{1, minFlowSets, minFlowSets},
		{100, minFlowSets, 4 * minFlowSets},
		{10000, maxFlowSets / 4, maxFlowSets},
		{500000, maxFlowSets, maxFlowSets},
	} {
		c := newFlowCache()
		c.use(table)
		for range 3 {
			for i := range x.hosts {
				p := ts.Packet{Src: src, Dst: netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})}
				at := c.prepare(&p)
				if c.lookup(&p, &at) == nil {
					t.Fatalf("%v has no flow", p.Dst)
				}
			}
		}
		if n := len(c.sets); n < x.least || n > x.most {
			t.Errorf("%d hosts: %d sets, want %d to %d", x.hosts, n, x.least, x.most)
		}
	}
}
