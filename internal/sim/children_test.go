package sim

import (
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/ike"
)

// TestTransport: transport mode between the two ends, with and without NAT boxes in front of either, from either side, through
// rekeying. That each end knows the addresses of the other is checked with every packet (RFC 7296 2.23.1).
func TestTransport(t *testing.T) {
	for _, c := range []struct {
		name string
		nat  func(*scene)
	}{
		{"no NAT", func(*scene) {}},
		{"client behind a NAT", func(s *scene) { s.Masquerade("198.51.100.7", time.Minute, s.a) }},
		{"server behind a NAT", func(s *scene) { s.OneToOne(addrB, s.b); s.b.Addr = privateB }},
		{"both behind a NAT", func(s *scene) {
			s.Masquerade("198.51.100.7", time.Minute, s.a)
			s.OneToOne(addrB, s.b)
			s.b.Addr = privateB
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScene(t, 3, func(a, b *side) { a.transport, b.transport, b.peer = true, true, "" })
			c.nat(s)
			s.up()
			flows := s.Traffic(conn, child, 100*time.Millisecond, s.a, s.b)
			for _, h := range []*Host{s.a, s.b, s.a, s.b} {
				h.Rekey(conn, child)
				s.Run(5 * time.Second)
				h.Rekey(conn, "")
				s.Run(5 * time.Second)
			}
			s.StopTraffic()
			s.Run(time.Second)
			for _, h := range []*Host{s.a, s.b} {
				sa, _ := h.Current(conn)
				if len(sa.Children) == 0 || sa.Children[0].Mode != ike.Transport {
					t.Errorf("%s is not in transport mode: %+v", h.Name, sa.Children)
				}
			}
			for _, f := range flows {
				if f.Sent == 0 || f.Arrived != f.Sent {
					t.Errorf("%d of %d packets of %s arrived", f.Arrived, f.Sent, f.From.Name)
				}
			}
			s.wantUp()
			s.wantEnd()
		})
	}
}

// TestInactivity: a child that nobody uses is closed, the IKE SA stays, and a packet brings the child back. Traffic in one
// direction alone keeps it up, and new keys are no traffic.
//
// Cases: VPNGW FTA_SSL.3.
func TestInactivity(t *testing.T) {
	const limit = 10 * time.Minute
	for _, start := range []ike.Action{ike.Trap, ike.Start} {
		s := newScene(t, 5, func(a, _ *side) { a.start, a.inactivity = start, limit })
		s.a.Initiate(conn, child)
		s.RunUntil(time.Minute, func() bool { return s.a.Up(conn, child) == 1 })
		for _, h := range []*Host{s.a, s.b} {
			s.Traffic(conn, child, time.Minute, h)
			s.Run(5 * limit)
			s.StopTraffic()
			s.Run(limit / 2)
			h.Rekey(conn, child)
			h.Rekey(conn, "")
			s.Run(limit/2 - 2*time.Minute)
			if s.a.Up(conn, child) != 1 {
				t.Errorf("the child is closed before its time, %s having sent last", h.Name)
			}
			s.Run(limit/8 + 3*time.Minute)
			if s.a.Up(conn, child) != 0 || s.b.Up(conn, child) != 0 {
				t.Errorf("the child stays up although nothing was sent for %v, %s having sent last", limit, h.Name)
			}
			s.Run(time.Hour)
			if _, ok := s.a.Current(conn); !ok || s.a.Up(conn, child) != 0 {
				t.Error("the child came back by itself, or the IKE SA is gone")
			}
			s.a.Give(ike.Acquire{Conn: conn, Child: child})
			s.Run(time.Minute)
			s.wantUp()
		}
		s.wantEnd()
	}
}

// TestParts: one end has one policy for what the other one has two for. The answer says that there is more (ADDITIONAL_TS_POSSIBLE), so
// that there come to be two Child SAs, which are rekeyed each for itself, and come back after an outage (RFC 7296 2.9).
func TestParts(t *testing.T) {
	for seed := range uint64(20) {
		s := newScene(t, seed, func(_, b *side) { b.halves, b.peer = true, "" })
		s.Link = Link{Latency: 10 * time.Millisecond, Jitter: 100 * time.Millisecond, Loss: 0.1}
		both := func() bool {
			return s.a.Up(conn, child) == 2 && s.b.Up(conn, child) == 1 && s.b.Up(conn, otherHalf) == 1
		}
		if !s.RunUntil(2*time.Minute, both) {
			t.Fatalf("seed %d: %d Child SAs, and %d and %d", seed, s.a.Up(conn, child), s.b.Up(conn, child), s.b.Up(conn, otherHalf))
		}
		for range 6 {
			switch s.Rand().IntN(4) {
			case 0:
				s.a.Rekey(conn, child)
			case 1:
				s.b.Rekey(conn, otherHalf)
			case 2:
				s.a.Rekey(conn, "")
			case 3:
				s.b.Reboot()
			}
			s.Run(time.Duration(s.Rand().IntN(60)) * time.Second)
		}
		s.Link = Link{Latency: 10 * time.Millisecond}
		s.Run(10 * time.Minute)
		if !both() {
			t.Errorf("seed %d: in the end %d Child SAs, and %d and %d", seed, s.a.Up(conn, child), s.b.Up(conn, child), s.b.Up(conn, otherHalf))
		}
		s.quiet()
		s.wantEnd()
	}
}
