package sim

import (
	"fmt"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/ike/wire"
)

// wishes are the requests that can cross: what one end wants of the other.
var wishes = []struct {
	name string
	do   func(*Host)
	// down: the child is closed by it.
	down bool
}{
	{"rekey the child", func(h *Host) { h.Rekey(conn, child) }, false},
	{"rekey the IKE SA", func(h *Host) { h.Rekey(conn, "") }, false},
	{"close the child", func(h *Host) { h.Terminate(conn, child) }, true},
	{"close the IKE SA", func(h *Host) { h.Terminate(conn, "") }, true},
	{"close and create the child", func(h *Host) { h.Terminate(conn, child); h.Initiate(conn, child) }, false},
	{"reboot", func(h *Host) { h.Reboot() }, true},
}

// TestPairs walks all pairs of requests that cross, at several distances in time, without loss and with the first message of
// each kind lost (RFC 7296 2.8.1, 2.8.2, 2.25). In the end both ends agree.
//
// Cases: crossing-streams-01..24; ikev2-child-rekey-06; inbound/outbound.
func TestPairs(t *testing.T) {
	for _, a := range wishes {
		for _, b := range wishes {
			t.Run(a.name+" x "+b.name, func(t *testing.T) {
				t.Parallel()
				for lose := range 8 {
					collide(t, lose, a.do, b.do, a.down || b.down)
				}
			})
		}
	}
}

// collide lets both ends act within one round trip. Of the messages after that, those whose bit is set in lose are lost.
func collide(t *testing.T, lose int, a, b func(*Host), down bool) {
	for distance := range 5 {
		s := newScene(t, uint64(lose*5+distance), func(a, b *side) { a.start, b.start = ike.Trap, ike.Trap })
		s.Run(time.Second)
		s.a.Initiate(conn, child)
		s.up()
		sent := 0
		s.Lose = func(d *Datagram) bool {
			sent++
			return sent <= 3 && lose&(1<<(sent-1)) != 0
		}
		a(s.a)
		s.Run(time.Duration(distance) * 10 * time.Millisecond)
		b(s.b)
		s.Run(10 * time.Minute)
		s.quiet()
		if s.a.Up(conn, child) != s.b.Up(conn, child) || !down && s.a.Up(conn, child) != 1 {
			t.Errorf("lost %03b, %d ms apart: %d and %d Child SAs", lose, distance*10, s.a.Up(conn, child), s.b.Up(conn, child))
		}
		s.wantEnd()
		if t.Failed() {
			return
		}
	}
}

// hold keeps datagrams back while it is on, and lets them go in their order when it is off.
type hold struct {
	s    *scene
	held []Datagram
}

// holdAnswers holds the answers that h sends to one kind of exchange.
func (s *scene) holdAnswers(h *Host, kind wire.Exchange) *hold {
	return s.holdFrom(h, func(d *Datagram) bool { return d.IKE.Exchange == kind && d.IKE.Response })
}

// holdFrom holds back what a host sends and what is chosen.
func (s *scene) holdFrom(h *Host, which func(*Datagram) bool) *hold {
	x := &hold{s: s}
	s.Lose = func(d *Datagram) bool {
		if d.From == h && d.IsIKE() && which(d) {
			x.held = append(x.held, *d)
			return true
		}
		return false
	}
	return x
}

func (x *hold) release() {
	x.s.Lose = nil
	for _, d := range x.held {
		x.s.After(0, func() { x.s.arrive(d) })
	}
}

// TestDelayedAnswer delays the answer to a request until after what follows from it at the other end arrived.
//
// Cases: ikev2-child-rekey-06; inbound/outbound.
func TestDelayedAnswer(t *testing.T) {
	for _, c := range []struct {
		name  string
		first func(*scene)
		then  func(*scene)
		up    int
	}{
		{"delete of the old child overtakes the answer to our rekeying",
			func(s *scene) { s.a.Rekey(conn, child); s.b.Rekey(conn, child) }, func(*scene) {}, 1},
		{"rekeying of a child that we do not know yet",
			func(s *scene) { s.a.Initiate(conn, child) }, func(s *scene) { s.b.Rekey(conn, child) }, 1},
		{"delete of a child that we do not know yet",
			func(s *scene) { s.a.Initiate(conn, child) }, func(s *scene) { s.b.Terminate(conn, child) }, 0},
		{"the peer's successor of the IKE SA is used before our own is answered",
			func(s *scene) { s.a.Rekey(conn, ""); s.b.Rekey(conn, "") }, func(s *scene) { s.b.Rekey(conn, child) }, 1},
		{"closing a child while its rekeying is under way",
			func(s *scene) { s.a.Rekey(conn, child) }, func(s *scene) { s.a.Terminate(conn, child) }, 0},
		{"closing a child while it is asked for",
			func(s *scene) { s.a.Initiate(conn, child) }, func(s *scene) { s.a.Terminate(conn, child) }, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			for seed := range uint64(10) {
				s := newScene(t, seed, func(a, b *side) { a.start, b.start = ike.Trap, ike.Trap })
				s.Run(time.Second)
				s.a.Initiate(conn, child)
				s.up()
				if c.up == 0 || c.name == "rekeying of a child that we do not know yet" {
					s.a.Terminate(conn, child)
					s.Run(20 * time.Second)
				}
				x := s.holdAnswers(s.b, wire.CREATE_CHILD_SA)
				c.first(s)
				s.Run(500 * time.Millisecond)
				c.then(s)
				s.Run(time.Second)
				x.release()
				s.Run(20 * time.Second)
				s.quiet()
				if a, b := s.a.Up(conn, child), s.b.Up(conn, child); a != b || a != c.up {
					t.Errorf("seed %d: %d and %d Child SAs, want %d", seed, a, b, c.up)
				}
				s.wantEnd()
				if t.Failed() {
					return
				}
			}
		})
	}
}

// TestBothStart: both ends call at the same moment, and one IKE SA is left.
//
// Cases: crossing-streams-01..24.
func TestBothStart(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			s := newScene(t, seed, func(a, b *side) { b.start = ike.Start })
			if seed%2 == 1 {
				s.Link = Link{Latency: 20 * time.Millisecond, Jitter: time.Duration(seed) * 20 * time.Millisecond, Loss: 0.3, Double: 0.1}
			}
			s.Run(time.Minute)
			s.Link = Link{Latency: 20 * time.Millisecond}
			s.Run(3 * time.Minute)
			s.wantUp()
			if n := len(s.a.Snapshot()) + len(s.b.Snapshot()); n != 2 {
				t.Errorf("%d ends of IKE SAs, want 2", n)
			}
			s.wantEnd()
		})
	}
}
