package sim

import (
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/ike"
)

// TestTwins: both ends ask for the same child at the same time, and rekey what comes of it while they do not know yet which of the two
// Child SAs stays, as a window of several requests allows (RFC 7296 2.3, 2.8.1). There is one in the end, at both ends.
func TestTwins(t *testing.T) {
	seeds := uint64(300)
	if testing.Short() || raceDetector {
		seeds = 30
	}
	for seed := range seeds {
		s := newScene(t, seed, func(a, b *side) {
			a.more, b.more, a.start, b.start = 1, 1, ike.Trap, ike.Trap
			a.window, b.window = ike.MaxWindow, ike.MaxWindow
		})
		s.Run(time.Second)
		s.a.Initiate(conn, child)
		s.up()
		hosts := []*Host{s.a, s.b}
		lot := func(most time.Duration) time.Duration { return time.Duration(s.Rand().Int64N(int64(most))) }
		s.Link = Link{Latency: 10 * time.Millisecond, Jitter: 500 * time.Millisecond, Loss: 0.2, Double: 0.1}
		for range 4 {
			for _, h := range hosts {
				s.After(lot(200*time.Millisecond), func() { h.Initiate(conn, moreName(0)) })
			}
			for range 8 {
				h := hosts[s.Rand().IntN(2)]
				s.After(lot(3*time.Second), func() { h.Rekey(conn, moreName(0)) })
			}
			if s.chance(0.3) {
				s.After(lot(3*time.Second), func() { hosts[s.Rand().IntN(2)].Rekey(conn, "") })
			}
			s.Run(lot(20 * time.Second))
			hosts[s.Rand().IntN(2)].Terminate(conn, moreName(0))
			s.Run(lot(10 * time.Second))
		}
		s.Link = Link{Latency: 20 * time.Millisecond}
		for _, h := range hosts {
			h.Initiate(conn, "")
		}
		s.wantUp()
		for _, h := range hosts {
			if n := h.Up(conn, moreName(0)); n != 1 {
				t.Errorf("%s has %d of the other child, want 1", h.Name, n)
			}
		}
		s.wantEnd()
		if t.Failed() || s.Err() != nil {
			t.Fatalf("seed %d", seed)
		}
	}
}
