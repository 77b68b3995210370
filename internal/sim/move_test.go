package sim

import (
	"net/netip"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/natt"
)

// Where the hosts move to: outside of any NAT box.
var (
	elsewhereA = netip.MustParseAddr("198.51.100.20")
	elsewhereB = netip.MustParseAddr("198.51.100.30")
)

func withMOBIKE(a, b *side) { a.mobike, b.mobike = true, true }

// wantFlow checks that traffic passes in both directions.
func (s *scene) wantFlow() {
	s.t.Helper()
	flows := s.Traffic(conn, child, 100*time.Millisecond, s.a, s.b)
	s.Run(5 * time.Second)
	s.StopTraffic()
	s.Run(time.Second)
	for _, f := range flows {
		if f.Arrived < f.Sent-5 || f.Sent < 40 {
			s.t.Errorf("of %d packets from %s %d arrived", f.Sent, f.From.Name, f.Arrived)
		}
	}
}

// TestMove moves one end under traffic, then the other one, then both at once, and home again. The SAs stay, and little is lost
// (RFC 4555 3.5, 3.6). Who moves while nobody is behind a NAT is found whatever its role.
func TestMove(t *testing.T) {
	for _, called := range []bool{false, true} {
		s := newScene(t, 1, withMOBIKE)
		s.up()
		before := s.a.Snapshot()[0]
		flows := s.Traffic(conn, child, 20*time.Millisecond, s.a, s.b)
		s.Run(time.Second)
		h, to, home := s.a, elsewhereA, s.a.Addr
		if called {
			h, to, home = s.b, elsewhereB, s.b.Addr
		}
		for _, addr := range []netip.Addr{to, home} {
			h.Move(nil, addr)
			s.Run(5 * time.Second)
			if got := h.Snapshot()[0].Path.Local.Addr(); got != addr {
				t.Errorf("the IKE SA is at %v, want %v", got, addr)
			}
		}
		s.StopTraffic()
		s.Run(time.Second)
		for _, f := range flows {
			if lost := f.Sent - f.Arrived; lost > 20 { // 400 ms in two moves
				t.Errorf("%d of %d packets from %s are lost", lost, f.Sent, f.From.Name)
			}
		}
		after := s.a.Snapshot()[0]
		if after.SPIi != before.SPIi || len(after.Children) != 1 || after.Children[0].In != before.Children[0].In {
			t.Errorf("the SAs were set up anew: %+v", after)
		}
		s.quiet()
		s.wantEnd()
	}
}

// TestMoveNAT lets the caller leave its NAT box and come back (RFC 4555 2.3, 3.5): both ends know afterwards.
func TestMoveNAT(t *testing.T) {
	s := newScene(t, 2, withMOBIKE)
	s.a.Addr = netip.MustParseAddr("172.17.0.1")
	box := s.Masquerade("198.51.100.7", time.Minute, s.a)
	s.up()
	spi := s.a.Snapshot()[0].SPIi
	for _, hidden := range []bool{true, false, true} {
		if hidden {
			s.a.Move(box, netip.MustParseAddr("172.17.0.1"))
		} else {
			s.a.Move(nil, elsewhereA)
		}
		s.Run(5 * time.Second)
		a, b := s.a.Snapshot()[0], s.b.Snapshot()[0]
		if a.SPIi != spi || a.NAT.LocalNAT != hidden || b.NAT.RemoteNAT != hidden {
			t.Errorf("hidden %v: %+v, %+v", hidden, a.NAT, b.NAT)
		}
		keepalives := 0
		s.Lose = func(d *Datagram) bool {
			if len(d.Data) == 1 && d.Data[0] == natt.KeepaliveByte {
				keepalives++
			}
			return false
		}
		s.Run(time.Minute)
		s.Lose = nil
		if (keepalives > 0) != hidden {
			t.Errorf("hidden %v: %d keepalives in a minute", hidden, keepalives)
		}
		s.wantFlow()
	}
	s.quiet()
	s.wantEnd()
}

// TestMoveWhileAsking moves an end while a request of either is unanswered, whatever it is about: it goes on from there (RFC 4555
// 3.5), and both ends agree in the end.
func TestMoveWhileAsking(t *testing.T) {
	for _, w := range wishes {
		for seed := range uint64(24) {
			s := newScene(t, seed, func(a, b *side) {
				withMOBIKE(a, b)
				a.start, b.start = ike.Trap, ike.Trap
			})
			s.Run(time.Second)
			s.a.Initiate(conn, child)
			s.up()
			asks, moves := s.a, s.a
			if seed&1 == 1 {
				asks = s.b
			}
			if seed&2 == 2 {
				moves = s.b
			}
			w.do(asks)
			s.Run(time.Duration(seed/4) * 10 * time.Millisecond)
			moves.Move(nil, map[*Host]netip.Addr{s.a: elsewhereA, s.b: elsewhereB}[moves])
			s.Run(10 * time.Minute)
			s.quiet()
			if a, b := s.a.Up(conn, child), s.b.Up(conn, child); a != b || !w.down && a != 1 {
				t.Errorf("%s, seed %d: %d and %d Child SAs", w.name, seed, a, b)
			}
			if !w.down {
				s.wantFlow()
			}
			s.wantEnd()
			if t.Failed() {
				return
			}
		}
	}
}

// TestBothMove: both ends move at the same moment, and neither can tell the other one where it was told to be. Each has another
// address that the other one knows, so they find each other (RFC 4555 3.6), without that they begin anew.
func TestBothMove(t *testing.T) {
	secondA, secondB := netip.MustParseAddr("198.51.100.21"), netip.MustParseAddr("198.51.100.31")
	for _, known := range []bool{true, false} {
		s := newScene(t, 3, withMOBIKE)
		homeA, homeB := s.a.Addr, s.b.Addr
		if known {
			s.a.Others, s.b.Others = []netip.Addr{secondA}, []netip.Addr{secondB}
		}
		s.up()
		spi := s.a.Snapshot()[0].SPIi
		s.a.Move(nil, secondA)
		s.b.Move(nil, secondB)
		s.Run(2 * time.Minute)
		if known {
			if got := s.a.Snapshot()[0]; got.SPIi != spi || got.Path.Remote.Addr() != secondB {
				t.Errorf("a is at %v in %x, was in %x", got.Path, got.SPIi, spi)
			}
			s.wantFlow()
		}
		s.a.Move(nil, homeA)
		s.b.Move(nil, homeB)
		s.Run(12 * time.Minute)
		s.wantUp()
		s.wantFlow()
		s.wantEnd()
	}
}

// TestSilentPath breaks one of two ways between the ends without a word: the caller finds the other one before it takes the peer
// for dead (RFC 4555 3.10).
func TestSilentPath(t *testing.T) {
	second := netip.MustParseAddr("198.51.100.31")
	s := newScene(t, 4, func(a, b *side) { withMOBIKE(a, b); a.dpd = 10 * time.Second })
	s.b.Others = []netip.Addr{second}
	s.up()
	spi := s.a.Snapshot()[0].SPIi
	home := s.b.Addr
	s.Lose = func(d *Datagram) bool { return d.Dst.Addr() == home || d.Src.Addr() == home }
	s.Run(40 * time.Second)
	got := s.a.Snapshot()
	if len(got) != 1 || got[0].SPIi != spi || got[0].Path.Remote.Addr() != second {
		t.Fatalf("a has %+v", got)
	}
	s.wantFlow()
	s.wantEnd()
}

// TestMoveTwice moves the caller again before the peer has answered the first time, with the answers late: the last place counts.
func TestMoveTwice(t *testing.T) {
	for seed := range uint64(20) {
		s := newScene(t, seed, withMOBIKE)
		s.up()
		x := s.holdAnswers(s.b, wire.INFORMATIONAL)
		s.a.Move(nil, elsewhereA)
		s.Run(time.Duration(seed) * 20 * time.Millisecond)
		s.a.Move(nil, elsewhereA.Next())
		s.Run(500 * time.Millisecond)
		x.release()
		s.Run(20 * time.Second)
		for _, h := range []*Host{s.a, s.b} {
			p := h.Snapshot()[0].Path
			if h == s.b && p.Remote.Addr() != elsewhereA.Next() || h == s.a && p.Local.Addr() != elsewhereA.Next() {
				t.Errorf("seed %d: %s uses %v", seed, h.Name, p)
			}
		}
		s.wantFlow()
		s.wantEnd()
	}
}

// TestMoveWithoutMOBIKE: the caller begins anew at once, the called one is followed (RFC 7296 2.23).
func TestMoveWithoutMOBIKE(t *testing.T) {
	s := newScene(t, 5, func(_, b *side) { b.peer = "" })
	s.up()
	s.a.Move(nil, elsewhereA)
	if !s.RunUntil(2*time.Second, func() bool {
		list := s.a.Snapshot()
		return s.a.Up(conn, child) == 1 && len(list) > 0 && list[len(list)-1].Path.Local.Addr() == elsewhereA
	}) {
		t.Error("the tunnel is not set up anew from the new address")
	}
	s.Run(10 * time.Second)
	s.wantFlow()
	s.b.Move(nil, elsewhereB)
	s.Run(2 * time.Second)
	s.wantFlow()
}

// TestNATReaddressed: the box in front of the caller gets another address. ESP shows it to the called end at once (RFC 4555 3.8).
func TestNATReaddressed(t *testing.T) {
	s := newScene(t, 6, withMOBIKE)
	s.a.Addr = netip.MustParseAddr("172.17.0.1")
	box := s.Masquerade("198.51.100.7", time.Minute, s.a)
	s.up()
	s.Traffic(conn, child, 100*time.Millisecond, s.a)
	s.Run(time.Second)
	box.Readdress("198.51.100.8")
	s.Run(time.Second)
	s.StopTraffic()
	s.wantFlow()
	s.wantEnd()
}
