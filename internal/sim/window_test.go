package sim

import (
	"fmt"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/ike"
)

// most is how many requests a host had unanswered at once, in all its IKE SAs.
func (s *scene) most(h *Host) int {
	most := 0
	for key, sa := range s.watch.sas {
		if key.host == h {
			most = max(most, sa.most)
		}
	}
	return most
}

// upCount is how many of the children are up at both ends.
func (s *scene) upCount(more int) int {
	n := min(s.a.Up(conn, child), s.b.Up(conn, child))
	for i := range more {
		n += min(s.a.Up(conn, moreName(i)), s.b.Up(conn, moreName(i)))
	}
	return n
}

// TestWindow brings many children up and rekeys them all, before and after the IKE SA got a successor, with windows of several sizes at
// the ends: as many requests as both ends agreed to are under way at once, and no more (RFC 7296 2.3).
//
// Cases: TestInitiatorRequestWindowSize.
func TestWindow(t *testing.T) {
	const more = 11
	for _, w := range []struct{ a, b, want int }{{0, 0, ike.DefaultWindow}, {1, 0, 1}, {0, 1, 1}, {3, 9, 3}, {9, 3, 3}, {ike.MaxWindow, ike.MaxWindow, more + 1}} {
		t.Run(fmt.Sprintf("%d and %d", w.a, w.b), func(t *testing.T) {
			t.Parallel()
			s := newScene(t, 1, func(a, b *side) { a.more, b.more, a.window, b.window = more, more, w.a, w.b })
			all := func() bool { return s.upCount(more) == more+1 }
			if !s.RunUntil(time.Minute, all) {
				t.Fatal("not all children come up")
			}
			if got := s.most(s.a); got != min(w.want, more) { // the first child comes with IKE_AUTH
				t.Errorf("a has %d requests under way at once, want %d", got, w.want)
			}
			for _, h := range []*Host{s.b, s.a} {
				// The successor begins with a window of one, and is told anew.
				h.Rekey(conn, "")
				s.Run(10 * time.Second)
				for _, sa := range s.watch.sas {
					sa.most = 0
				}
				h.Rekey(conn, child)
				for i := range more {
					h.Rekey(conn, moreName(i))
				}
				s.Run(20 * time.Second)
				if got := s.most(h); got != w.want {
					t.Errorf("%s has %d requests under way at once after a rekeying, want %d", h.Name, got, w.want)
				}
			}
			s.quiet()
			if !all() {
				t.Errorf("%d children are up", s.upCount(more))
			}
			s.wantEnd()
		})
	}
}

// TestWindowUnderLoss: requests and answers of one window get lost, come twice and overtake one another. Nothing is done twice, and in
// the end everything is there once.
func TestWindowUnderLoss(t *testing.T) {
	const more = 7
	for seed := range uint64(60) {
		s := newScene(t, seed, func(a, b *side) {
			a.more, b.more = more, more
			a.window, b.window = 1+int(seed%8), 1+int(seed/8)
			a.large, b.large = seed%3 == 0, seed%3 == 0
		})
		s.Link = Link{Latency: 10 * time.Millisecond, Jitter: time.Second, Loss: 0.3, Double: 0.2, MTU: 1280}
		s.Run(2 * time.Minute)
		for range 3 {
			for _, h := range []*Host{s.a, s.b} {
				for i := range more {
					if s.Rand().IntN(2) == 0 {
						h.Rekey(conn, moreName(i))
					}
				}
				h.Rekey(conn, []string{child, ""}[s.Rand().IntN(2)])
			}
			s.Run(time.Duration(s.Rand().IntN(60)) * time.Second)
		}
		s.Link = Link{Latency: 10 * time.Millisecond}
		s.Run(10 * time.Minute)
		s.quiet()
		if n := s.upCount(more); n != more+1 {
			t.Errorf("seed %d: %d children are up", seed, n)
		}
		s.wantEnd()
		if t.Failed() {
			return
		}
	}
}
