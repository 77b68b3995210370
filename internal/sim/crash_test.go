package sim

import (
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/ike"
)

// recovery is how long it takes until traffic flows again after b, which cannot call, has restarted.
func recovery(t *testing.T, seed uint64, traffic bool, link Link, change func(a, b *side)) time.Duration {
	t.Helper()
	s := newScene(t, seed, func(a, b *side) {
		b.peer, a.retransmit = "", ike.DefaultRetransmit
		if change != nil {
			change(a, b)
		}
	})
	s.Link = link
	s.up()
	if traffic {
		s.Traffic(conn, child, 100*time.Millisecond, s.a)
	}
	s.Run(time.Minute)
	s.b.Reboot()
	begin := s.now
	if !s.RunUntil(10*time.Minute, func() bool { return s.b.Up(conn, child) == 1 && s.a.Up(conn, child) == 1 }) {
		t.Fatalf("seed %d: does not come back", seed)
	}
	took := s.now.Sub(begin)
	s.Link = Link{Latency: 20 * time.Millisecond}
	s.StopTraffic()
	s.wantUp()
	s.wantEnd()
	return took
}

// TestCrashDetection: a host that has restarted is found out by its token at the first packet that it gets, or else at the next sign of life; without
// tokens after all retransmissions (RFC 6290).
func TestCrashDetection(t *testing.T) {
	link := Link{Latency: 20 * time.Millisecond}
	none := func(a, _ *side) { a.noTokens = true }
	for _, c := range []struct {
		name     string
		traffic  bool
		change   func(a, b *side)
		from, to time.Duration
	}{
		{"with traffic", true, nil, 0, 2 * time.Second},
		{"idle", false, nil, 0, 32 * time.Second},
		{"with traffic, no tokens", true, none, 165 * time.Second, 170 * time.Second},
		{"idle, no tokens", false, none, 165 * time.Second, 200 * time.Second},
		{"idle, one end does not make tokens", false, func(_, b *side) { b.noTokens = true }, 165 * time.Second, 200 * time.Second},
	} {
		for seed := range uint64(5) {
			if took := recovery(t, seed, c.traffic, link, c.change); took < c.from || took > c.to {
				t.Errorf("%s, seed %d: %v, want %v to %v", c.name, seed, took, c.from, c.to)
			}
		}
	}
	// Loss costs retransmissions, no more.
	for seed := range uint64(20) {
		if took := recovery(t, seed, true, Link{Latency: 20 * time.Millisecond, Jitter: 100 * time.Millisecond, Loss: 0.2, Double: 0.1}, nil); took > 90*time.Second {
			t.Errorf("with loss, seed %d: %v", seed, took)
		}
	}
}

// TestCrashDetectionAfterRekey: the successors of an IKE SA have tokens too, whoever rekeyed it (RFC 6290 4.3).
func TestCrashDetectionAfterRekey(t *testing.T) {
	for _, both := range []bool{false, true} {
		for n := range 2 {
			s := newScene(t, uint64(n), func(_, b *side) { b.peer = "" })
			s.up()
			hosts := []*Host{s.a, s.b}
			if both {
				s.a.Rekey(conn, "")
			}
			hosts[n].Rekey(conn, "")
			s.Run(time.Minute)
			s.Traffic(conn, child, 100*time.Millisecond, s.a)
			s.b.Reboot()
			s.Run(3 * time.Second)
			if s.b.Up(conn, child) != 1 {
				t.Errorf("rekeyed by %s, both %v: not found out", hosts[n].Name, both)
			}
			s.StopTraffic()
			s.wantUp()
			s.wantEnd()
		}
	}
}
