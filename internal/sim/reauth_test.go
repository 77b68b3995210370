package sim

import (
	"fmt"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/ike/wire"
)

// both lets the two hosts send under both children.
func (s *scene) both(every time.Duration) []*Flow {
	return append(s.Traffic(conn, child, every, s.a, s.b), s.Traffic(conn, other, every, s.a, s.b)...)
}

// upBoth lets the two establish with both children.
func (s *scene) upBoth() {
	s.t.Helper()
	s.up()
	if !s.RunUntil(time.Minute, func() bool { return s.a.Up(conn, other) == 1 && s.b.Up(conn, other) == 1 }) {
		s.t.Fatal("the second child does not come up")
	}
	s.Run(10 * time.Second)
}

// wantBoth checks that both children are up at both ends, once.
func (s *scene) wantBoth() {
	s.t.Helper()
	s.wantUp()
	for _, h := range []*Host{s.a, s.b} {
		if n := h.Up(conn, other); n != 1 {
			s.t.Errorf("%s has %d second Child SAs, want 1", h.Name, n)
		}
	}
}

// TestReauthWithoutLoss: whoever sets the IKE SA up anew, and whatever the other end does with a second IKE SA of the same peer, no
// packet is lost, and one Child SA of each policy is left (RFC 7296 2.8.3).
func TestReauthWithoutLoss(t *testing.T) {
	who := map[string]func(a, b *side){
		"the caller":    func(a, _ *side) { a.reauth = 2 * time.Minute },
		"the called":    func(_, b *side) { b.reauth = 2 * time.Minute },
		"cannot call":   func(_, b *side) { b.reauth, b.peer = 2*time.Minute, "" },
		"both at once":  func(a, b *side) { a.reauth, b.reauth = 2*time.Minute, 2*time.Minute },
		"both, by turn": func(a, b *side) { a.reauth, b.reauth = 2*time.Minute, 3*time.Minute },
	}
	for name, change := range who {
		for _, unique := range []ike.Unique{ike.UniqueNo, ike.UniqueNever, ike.UniqueKeep, ike.UniqueReplace} {
			for _, jitter := range []time.Duration{0, 300 * time.Millisecond} {
				t.Run(fmt.Sprintf("%s, unique %d, jitter %v", name, unique, jitter), func(t *testing.T) {
					s := newScene(t, 20, func(a, b *side) {
						change(a, b)
						a.unique, b.unique, a.second, b.second = unique, unique, true, true
					})
					s.Link.Jitter = jitter
					if name == "cannot call" {
						s.Masquerade("198.51.100.7", time.Minute, s.a)
					}
					s.upBoth()
					flows := s.both(7 * time.Millisecond)
					s.Run(7*time.Minute - 30*time.Second)
					s.wantNoLoss(flows)
					if n := min(s.a.Seen(ike.Established), s.b.Seen(ike.Established)); n < 4 {
						t.Errorf("%d IKE SAs in seven minutes", n)
					}
					if n := s.a.Seen(ike.ChildDown) + s.b.Seen(ike.ChildDown); n > 0 {
						t.Errorf("%d times a child is said to be down", n)
					}
					s.b.Rekey(conn, "")
					s.Run(30 * time.Second)
					for range 3 { // one moment at which nothing is under way
						s.Run(20 * time.Second)
					}
					if a, b := s.a.Up(conn, child), s.b.Up(conn, other); a != 1 || b != 1 {
						t.Errorf("%d and %d Child SAs, want 1", a, b)
					}
					s.wantEnd()
				})
			}
		}
	}
}

// TestReauthOldStays: while the new IKE SA cannot be set up the old one carries on, until its time is over, and it is tried again
// and again.
func TestReauthOldStays(t *testing.T) {
	var old uint64
	s := newScene(t, 21, func(a, b *side) { a.reauth, a.second, b.second = 10*time.Minute, true, true })
	lost := true
	s.Lose = func(d *Datagram) bool {
		h, err := wire.ParseHeader(d.Data[min(4, len(d.Data)):])
		return lost && d.esp == nil && old != 0 && err == nil && h.SPIi != old
	}
	s.upBoth()
	sa, _ := s.a.Current(conn)
	old = sa.SPIi
	flows := s.both(100 * time.Millisecond)
	s.Run(60 * time.Minute)
	if n := s.a.Seen(ike.Retrying); n < 10 || s.a.Seen(ike.Established) != 1 {
		t.Errorf("%d attempts", n)
	}
	lost = false
	s.Run(4 * time.Minute)
	s.wantNoLoss(flows)
	if n := s.a.Seen(ike.Established); n != 2 {
		t.Errorf("%d IKE SAs, want 2", n)
	}
	s.wantBoth()

	lost, old = true, 0
	sa, _ = s.a.Current(conn)
	old = sa.SPIi
	s.Run(70 * time.Minute)
	if n := s.a.Up(conn, child) + s.b.Up(conn, child); n > 0 {
		t.Error("it lives for longer than it may")
	}
	s.wantEnd()
}

// TestReauthBreakBeforeMake sets the IKE SA up anew from time to time, the old one being deleted first.
func TestReauthBreakBeforeMake(t *testing.T) {
	s := newScene(t, 22, func(a, _ *side) { a.reauth, a.breakFirst = 10*time.Minute, true })
	s.up()
	s.Run(65 * time.Minute)
	if n := s.a.Seen(ike.Established); n != 7 {
		t.Errorf("%d IKE SAs in 65 minutes, want 7", n)
	}
	if n := s.a.Seen(ike.ChildDown); n != 6 {
		t.Errorf("%d times the child went down, want 6", n)
	}
	s.wantUp()
	s.wantEnd()
}

// TestReauthRekeyed: new keys of the IKE SA do not put reauthentication off.
func TestReauthRekeyed(t *testing.T) {
	s := newScene(t, 23, func(a, _ *side) { a.reauth = 20 * time.Minute })
	s.up()
	for range 7 {
		s.Run(3 * time.Minute)
		s.a.Rekey(conn, "")
	}
	if n := s.a.Seen(ike.Established); n != 2 {
		t.Errorf("%d IKE SAs in 21 minutes, want 2", n)
	}
	s.wantUp()
	s.wantEnd()
}

// TestReauthCrossing: what the other end wants at the same time does not get in the way, in whatever order the messages cross.
func TestReauthCrossing(t *testing.T) {
	wishes := map[string]func(s *scene, h *Host){
		"reauthenticate": func(_ *scene, h *Host) { h.Give(ike.Reauth{Conn: conn}) },
		"rekey IKE":      func(_ *scene, h *Host) { h.Rekey(conn, "") },
		"rekey child":    func(_ *scene, h *Host) { h.Rekey(conn, child) },
		"delete child": func(s *scene, h *Host) {
			h.Terminate(conn, other)
			s.After(time.Minute, func() { h.Initiate(conn, other) })
		},
		"delete all": func(s *scene, h *Host) {
			h.Terminate(conn, "")
			s.After(time.Minute, func() { h.Initiate(conn, "") })
		},
	}
	for name, do := range wishes {
		for _, unique := range []ike.Unique{ike.UniqueNo, ike.UniqueKeep, ike.UniqueReplace} {
			t.Run(fmt.Sprintf("%s, unique %d", name, unique), func(t *testing.T) {
				for offset := -140 * time.Millisecond; offset <= 140*time.Millisecond; offset += 20 * time.Millisecond {
					for seed := range uint64(2) {
						s := newScene(t, seed, func(a, b *side) {
							a.second, b.second, a.unique, b.unique = true, true, unique, unique
						})
						s.upBoth()
						var flows []*Flow
						if name[0] == 'r' {
							flows = s.both(9 * time.Millisecond)
						}
						h := []*Host{s.a, s.b}[seed%2]
						s.After(max(0, offset), func() { s.a.Give(ike.Reauth{Conn: conn}) })
						s.After(max(0, -offset), func() { do(s, h) })
						s.Run(20 * time.Second)
						if flows != nil {
							s.wantNoLoss(flows)
						}
						s.Run(2 * time.Minute)
						s.wantBoth()
						s.wantEnd()
						if t.Failed() {
							t.Fatalf("offset %v, seed %d", offset, seed)
						}
					}
				}
			})
		}
	}
}
