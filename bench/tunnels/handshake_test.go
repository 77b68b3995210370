package main

import (
	"crypto/rand"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/natt"
)

// pair is the hub's endpoint and its spokes, with nothing between them.
type pair struct {
	hub    *ike.Endpoint
	spokes []*spoke
	next   uint32
	now    time.Time
	busy   time.Duration // of the hub
	up     int
}

func newPair() *pair {
	c := parse(hubConfig(0))
	p := &pair{next: 1000, now: time.Unix(1e9, 0)}
	p.hub = ike.New(ike.Config{Rand: rand.Reader, Datapath: spis{&p.next}, Secrets: c.Secrets, Connections: c.Connections})
	return p
}

// handshake sets up one more.
func (p *pair) handshake(s *spoke) {
	p.now = p.now.Add(time.Millisecond)
	queue := slices.Clone(s.call(p.now))
	for len(queue) > 0 {
		var answers []ike.Effect
		for _, x := range queue {
			if m, ok := x.(ike.Send); ok {
				began := time.Now()
				effects := p.hub.Handle(p.now, ike.Datagram{Path: turned(m), Data: slices.Clone(m.Data)})
				p.busy += time.Since(began)
				answers = append(answers, effects...)
			}
		}
		queue = nil
		for _, x := range answers {
			switch x := x.(type) {
			case ike.Send:
				t := turned(x)
				queue = append(queue, s.Handle(p.now, ike.Datagram{Path: t, Data: slices.Clone(x.Data)})...)
			case ike.Install:
				if x.Dir == ike.Out {
					p.up++
				}
			case ike.Event:
				if x.Kind == ike.Failed || x.Kind == ike.ChildFailed || x.Kind == ike.Dropped {
					panic(fmt.Sprint(x.Text, x.Remedy))
				}
			}
		}
	}
}

func turned(m ike.Send) (p natt.Path) {
	p = m.Path
	p.Local, p.Remote = p.Remote, p.Local
	return p
}

func (p *pair) fill(n int) {
	for len(p.spokes) < n {
		i := len(p.spokes)
		s := newSpoke(i, netip.AddrPortFrom(outer(i), 500), netip.MustParseAddrPort("10.0.0.1:500"), &p.next)
		p.spokes = append(p.spokes, s)
		p.handshake(s)
	}
}

func BenchmarkHandshake(b *testing.B) {
	for _, n := range []int{0, 1000, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			p := newPair()
			p.fill(n)
			var fresh []*spoke
			for i := range b.N {
				fresh = append(fresh, newSpoke(n+i, netip.AddrPortFrom(outer(n+i), 500), netip.MustParseAddrPort("10.0.0.1:500"), &p.next))
			}
			p.busy, p.up = 0, 0
			b.ReportAllocs()
			b.ResetTimer()
			for _, s := range fresh {
				p.handshake(s)
			}
			b.ReportMetric(float64(p.busy.Nanoseconds())/float64(b.N), "hub-ns/op")
			if p.up != b.N {
				b.Fatalf("%d of %d are up", p.up, b.N)
			}
		})
	}
}
