package sim

import (
	"flag"
	"fmt"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/ike"
)

var (
	oneSeed  = flag.Int64("seed", -1, "run this seed of TestSeeds only, and draw it")
	allSeeds = flag.Int("seeds", 1000, "how many seeds TestSeeds runs")
)

// TestSeeds lets both ends do what they like over a bad network, and checks that they agree in the end.
func TestSeeds(t *testing.T) {
	if *oneSeed >= 0 {
		if s := disorder(t, uint64(*oneSeed)); !t.Failed() {
			s.draw()
		}
		return
	}
	n := *allSeeds
	if testing.Short() {
		n = min(n, 100)
	}
	const shards = 8
	for shard := range shards {
		t.Run(fmt.Sprint("shard ", shard), func(t *testing.T) {
			t.Parallel()
			for seed := shard; seed < n; seed += shards {
				t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { disorder(t, uint64(seed)) })
			}
		})
	}
}

// disorder is ten minutes of operations by lot over a network that loses, doubles and reorders, with a NAT box that forgets; and
// then rest.
func disorder(t *testing.T, seed uint64) *scene {
	s := disorderly(t, seed)
	s.Link = Link{Latency: 10 * time.Millisecond, Jitter: 500 * time.Millisecond, Loss: 0.2, Double: 0.1, MTU: 1280}
	s.Traffic(conn, child, 700*time.Millisecond, s.a, s.b)
	forget := time.Duration(s.Rand().IntN(500)) * time.Second
	s.After(forget, func() {
		for _, n := range s.nats {
			n.Rebind()
		}
	})
	for range 40 {
		s.Run(time.Duration(s.Rand().IntN(30_000)) * time.Millisecond)
		h := []*Host{s.a, s.b}[s.Rand().IntN(2)]
		s.operate(h, s.Rand().IntN(operations))
	}
	s.rest()
	return s
}

// disorderly is the reference case, or one of the others, by the seed. In every second four of them messages are large.
func disorderly(t *testing.T, seed uint64) *scene {
	s := newScene(t, seed, func(a, b *side) {
		a.large, b.large = seed%8 >= 4, seed%8 >= 4
		switch seed % 4 {
		case 0: // both call
			b.start = ike.Start
		case 1, 2: // the caller is behind a NAT box, or both are
			a.closeAction, b.peer, b.start = ike.Start, "", ike.Trap
		case 3: // the child is for one group only, and there are limits
			a.ike, b.ike = []string{"aes128gcm16-prfsha256-x25519-ecp256"}, []string{"aes128gcm16-prfsha256-ecp256"}
			a.soft.Packets, b.soft.Time, b.hard.Time = 100, 2*time.Minute, 3*time.Minute
		}
	})
	switch seed % 4 {
	case 1:
		s.Masquerade("198.51.100.7", time.Minute, s.a)
	case 2:
		s.Masquerade("198.51.100.7", time.Minute, s.a)
		s.OneToOne(addrB, s.b)
		s.b.Addr = privateB
	}
	return s
}

// operations is how many operations there are.
const operations = 7

// operate lets a host do one of several things.
func (s *scene) operate(h *Host, operation int) {
	switch operation {
	case 0, 1:
		h.Rekey(conn, child)
	case 2, 3:
		h.Rekey(conn, "")
	case 4:
		h.Terminate(conn, child)
		s.After(time.Duration(s.Rand().IntN(20_000))*time.Millisecond, func() { h.Initiate(conn, child) })
	case 5:
		h.Give(ike.Acquire{Conn: conn, Child: child})
	case 6:
		// Both at once, or nearly.
		for _, o := range []*Host{s.a, s.b} {
			what := []string{child, ""}[s.Rand().IntN(2)]
			s.After(time.Duration(s.Rand().IntN(100))*time.Millisecond, func() { o.Rekey(conn, what) })
		}
	}
}

// rest ends all mischief and checks what is left: one child, and after the end nothing.
func (s *scene) rest() {
	s.t.Helper()
	s.Link = Link{Latency: 20 * time.Millisecond}
	s.Run(30 * time.Second)
	s.a.Initiate(conn, child)
	s.StopTraffic()
	s.Run(12 * time.Minute)
	s.wantUp()
	s.wantEnd()
}
