package sim

import (
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/ike/wire"
)

// TestPeersAnswer is the other half of a collision: how the peer, done already or not, answers the request that met its own.
//
// Cases: SGW.I.1.2.6.4; SGW.I.1.2.6.6; child_rekey collision_delayed_request; child_rekey collision_delayed_request_more;
// child_rekey collision_delete; child_rekey collision_delete_drop_rekey; child_rekey collision_ike_rekey; child_rekey
// collision_ike_delete; ike_rekey collision_dropped_request; ike_rekey collision_delayed_request; ike_rekey collision_delete;
// child_create collision_ike_rekey; child_delete regular; child_delete collision_ike_rekey; ike_delete.
func TestPeersAnswer(t *testing.T) {
	find := func(name string) mischief {
		for _, m := range mischiefs {
			if m.name == name {
				return m
			}
		}
		panic(name)
	}
	const none = "nothing"
	for _, c := range []struct {
		name     string
		ours     act
		theirs   act
		mischief string
		want     string
	}{
		{"rekeying a child that the peer has rekeyed and is closing", rekeyChild, rekeyChild, "our request late", refused},
		{"rekeying a child that the peer has rekeyed and closed", rekeyChild, rekeyChild, "our request very late", unknown},
		{"rekeying a child that the peer has closed", rekeyChild, deleteChild, "our request lost", unknown},
		{"rekeying a child that the peer is closing", rekeyChild, deleteChild, "crossing", refused},
		{"rekeying a child while the peer rekeys the IKE SA", rekeyChild, rekeyIKE, "crossing", refused},
		{"rekeying a child while the peer closes the IKE SA", rekeyChild, deleteIKE, "crossing", refused},
		{"creating a child while the peer rekeys the IKE SA", createChild, rekeyIKE, "crossing", refused},
		{"rekeying an IKE SA that the peer has rekeyed and is closing", rekeyIKE, rekeyIKE, "our request late", refused},
		{"rekeying an IKE SA that the peer has rekeyed and closed", rekeyIKE, rekeyIKE, "our request very late", none},
		{"rekeying an IKE SA that the peer is closing", rekeyIKE, deleteIKE, "crossing", refused},
		{"rekeying an IKE SA that the peer has closed", rekeyIKE, deleteIKE, "our request lost", none},
		{"rekeying an IKE SA while the peer closes a child", rekeyIKE, deleteChild, "crossing", refused},
		{"closing a child that the peer has closed", deleteChild, deleteChild, "our request lost", noDelete},
		{"closing a child while the peer rekeys the IKE SA", deleteChild, rekeyIKE, "crossing", usual},
		{"closing an IKE SA that the peer is closing", deleteIKE, deleteIKE, "crossing", usual},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(8) {
				theirs := column{c.theirs, child}
				if c.ours.name == createChild.name {
					theirs.child = ""
				}
				m := meet(t, seed, c.ours, theirs, find(c.mischief))
				m.Run(time.Minute)
				got := none
				if l := m.answerTo(m.ours); l != nil {
					got = l.verdict(m.ours)
				}
				if got != c.want {
					t.Errorf("seed %d: the peer answers %q, want %q", seed, got, c.want)
				}
				m.settled(c.ours, theirs)
				if t.Failed() {
					return
				}
			}
		})
	}
}

// TestBeforeTheDelete: a rekeyed the child, and what happens at b before it gets the Delete of the old one.
//
// Cases: SGW.I.1.2.3.8; child_rekey regular_responder_ignore_soft_expire; child_rekey regular_responder_handle_hard_expire;
// child_rekey regular_responder_delete.
func TestBeforeTheDelete(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(s *scene, old, new uint32)
		up   int
		down int // reports of a child that went down, at each end
	}{
		{"the soft limit of the old child", func(s *scene, old, _ uint32) { s.b.Give(ike.Expiring{SPI: old}) }, 1, 0},
		{"the hard limit of the old child", func(s *scene, old, _ uint32) { s.b.Give(ike.Expiring{SPI: old, Hard: true}) }, 1, 0},
		{"the soft limit of the new child", func(s *scene, _, new uint32) { s.b.Give(ike.Expiring{SPI: new}) }, 1, 0},
		{"the hard limit of the new child", func(s *scene, _, new uint32) { s.b.Give(ike.Expiring{SPI: new, Hard: true}) }, 0, 1},
		{"an order to close the child", func(s *scene, _, _ uint32) { s.b.Terminate(conn, child) }, 0, 1},
		{"an order to close the IKE SA", func(s *scene, _, _ uint32) { s.b.Terminate(conn, "") }, 0, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(4) {
				s := bothIdle(t, seed)
				old := s.b.inbound(child)
				held := s.holdFrom(s.a, func(d *Datagram) bool { return d.IKE.Exchange == wire.INFORMATIONAL && !d.IKE.Response })
				s.a.Rekey(conn, child)
				s.Run(time.Second)
				if len(held.held) == 0 || s.b.inbound(child) == old {
					t.Fatal("no Delete of the old child")
				}
				c.do(s, old, s.b.inbound(child))
				s.Run(time.Second)
				held.release()
				s.Run(20 * time.Second)
				s.wantChildren(c.up)
				for _, h := range []*Host{s.a, s.b} {
					if n := h.Seen(ike.ChildDown); n != c.down {
						t.Errorf("seed %d: %s reports %d children that went down, want %d", seed, h.Name, n, c.down)
					}
				}
				s.wantEnd()
				if t.Failed() {
					return
				}
			}
		})
	}
}

// TestBeforeTheAnswer: b answered a's rekeying of the child, and what b does before that answer arrives.
//
// Cases: child_rekey collision_delayed_response_delete; child_rekey collision_delete_delayed_response.
func TestBeforeTheAnswer(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(s *scene, old, new uint32)
		up   int
	}{
		{"the new child is closed", func(s *scene, _, new uint32) { s.b.Give(ike.Expiring{SPI: new, Hard: true}) }, 0},
		{"the old child is closed", func(s *scene, old, _ uint32) { s.b.Give(ike.Expiring{SPI: old, Hard: true}) }, 1},
		{"both are closed", func(s *scene, _, _ uint32) { s.b.Terminate(conn, child) }, 0},
		{"the new child is rekeyed", func(s *scene, _, new uint32) { s.b.Give(ike.Expiring{SPI: new}) }, 1},
		{"the IKE SA is rekeyed", func(s *scene, _, _ uint32) { s.b.Rekey(conn, "") }, 1},
		{"the IKE SA is closed", func(s *scene, _, _ uint32) { s.b.Terminate(conn, "") }, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(4) {
				s := bothIdle(t, seed)
				old := s.b.inbound(child)
				held := s.holdFrom(s.b, func(d *Datagram) bool { return d.IKE.Exchange == wire.CREATE_CHILD_SA && d.IKE.Response })
				s.a.Rekey(conn, child)
				s.Run(time.Second)
				if len(held.held) == 0 || s.b.inbound(child) == old {
					t.Fatal("no answer")
				}
				c.do(s, old, s.b.inbound(child))
				s.Run(time.Second)
				held.release()
				s.Run(20 * time.Second)
				s.wantChildren(c.up)
				s.wantEnd()
				if t.Failed() {
					return
				}
			}
		})
	}
}

// TestDeleteUnanswered: the peer vanishes between the rekeying of the child and the Delete of the old one. One child went down.
//
// Cases: child_rekey regular_delete_timeout.
func TestDeleteUnanswered(t *testing.T) {
	s := bothIdle(t, 1)
	s.Lose = func(d *Datagram) bool { return d.IKE.Exchange == wire.INFORMATIONAL }
	s.a.Rekey(conn, child)
	s.Run(5 * time.Minute)
	if n, m := s.a.Seen(ike.ChildRekeyed), s.a.Seen(ike.ChildDown); n != 1 || m != 1 {
		t.Errorf("%d times rekeyed, %d times down, want 1 and 1", n, m)
	}
}

// TestDuplicate: an order to bring up what is up asks the peer for nothing.
//
// Cases: child_create duplicate.
func TestDuplicate(t *testing.T) {
	s := bothIdle(t, 1)
	s.Lose = func(d *Datagram) bool {
		if d.IsIKE() {
			t.Errorf("%s sends %v", d.From.Name, d.IKE.Exchange)
		}
		return false
	}
	s.a.Initiate(conn, child)
	s.b.Initiate(conn, child)
	s.Run(5 * time.Second)
	s.Lose = nil
	s.wantChildren(1)
}

// TestBothWrongGroup: both ends rekey the child at the same time, and each has to try again with the group that the other wants.
//
// Cases: child_rekey collision_ke_invalid.
func TestBothWrongGroup(t *testing.T) {
	for name, wait := range map[string]time.Duration{"both at once": 0, "one tries again while the peer is closing": 30 * time.Millisecond, "one tries again very late": time.Second} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(16) {
				s := newScene(t, seed, func(a, b *side) {
					a.start, b.start, a.dpd, b.dpd = ike.Trap, ike.Trap, -1, -1
					a.esp, b.esp = []string{"aes128gcm16-x25519-ecp384"}, []string{"aes128gcm16-ecp256-ecp384"}
				})
				s.Run(time.Second)
				s.a.Initiate(conn, child)
				s.up()
				old, requests := s.a.inbound(child), 0
				s.Lose = func(d *Datagram) bool {
					if d.From == s.a && d.IKE.Exchange == wire.CREATE_CHILD_SA && !d.IKE.Response {
						if requests++; requests == 2 && wait > 0 {
							late := *d
							s.After(wait+s.Link.Latency, func() { s.arrive(late) })
							return true
						}
					}
					return false
				}
				s.a.Rekey(conn, child)
				s.b.Rekey(conn, child)
				s.Run(20 * time.Second)
				if requests < 2 {
					t.Fatal("the group was right at once")
				}
				s.wantChildren(1)
				if s.a.inbound(child) == old {
					t.Error("the child has no successor")
				}
				s.wantEnd()
				if t.Failed() {
					return
				}
			}
		})
	}
}

// bothIdle is the reference case with the child up, where nothing happens by itself.
func bothIdle(t *testing.T, seed uint64) *scene {
	t.Helper()
	s := newScene(t, seed, func(a, b *side) { a.start, b.start, a.dpd, b.dpd = ike.Trap, ike.Trap, -1, -1 })
	s.Run(time.Second)
	s.a.Initiate(conn, child)
	s.up()
	return s
}

// wantChildren lets everything settle and checks how many Child SAs both ends have.
func (s *scene) wantChildren(n int) {
	s.t.Helper()
	s.quiet()
	if a, b := s.a.Up(conn, child), s.b.Up(conn, child); a != n || b != n {
		s.t.Errorf("%d and %d Child SAs, want %d", a, b, n)
	}
}
