package ike

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/suite"
	"github.com/culvert-vpn/culvert/ts"
)

// TestLowest: octet by octet, and a nonce that is the beginning of another is the lower one (RFC 7296 2.8.1).
func TestLowest(t *testing.T) {
	for _, c := range []struct{ low, high string }{
		{"a", "b"}, {"aa", "ab"}, {"a", "aa"}, {"", "\x00"}, {"\x01\xff\xff", "\x02"}, {"\x7f", "\x80"}, {"a", "a"},
	} {
		if got := lowest([]byte(c.low), []byte(c.high)); string(got) != c.low {
			t.Errorf("of %q and %q %q is the lowest", c.low, c.high, got)
		}
		if got := lowest([]byte(c.high), []byte(c.low)); string(got) != c.low {
			t.Errorf("of %q and %q %q is the lowest", c.high, c.low, got)
		}
	}
}

// grant is the peer's answer to a request for a child.
func (s *script) grant(nonce []byte) []wire.Payload {
	l := s.newChild(suite.CURVE25519)
	l[0] = number([]suite.Proposal{one(testProposal(suite.ESP, testESP)[0], 0)}, s.childIn)
	return append(l[:1:1], &wire.Nonce{Data: nonce}, l[2],
		&wire.TS{Selectors: ts.Resolve(testSpec("10.1.0.0/16"))}, &wire.TS{Responder: true, Selectors: ts.Resolve(testSpec("10.2.0.0/16"))})
}

// TestOldChildClosedByTheWrongEnd: who initiated the surviving successor closes the old child (RFC 7296 2.8, 2.8.1). A peer that
// closes it although that was up to us does no harm.
//
// Cases: child_rekey regular_responder_incorrect_delete; child_rekey collision_responder_incorrect_delete.
func TestOldChildClosedByTheWrongEnd(t *testing.T) {
	low, high := make([]byte, nonceLen), bytes.Repeat([]byte{255}, nonceLen)
	for name, crossing := range map[string]bool{"before the answer": false, "by the end that lost": true} {
		t.Run(name, func(t *testing.T) {
			s := called(t, nil)
			old := s.childIn
			s.give(Rekey{Conn: "c", Child: "net"})
			h, _ := s.want("rekeys", wire.CREATE_CHILD_SA, false)
			if crossing {
				l := s.newChild(suite.CURVE25519)
				l[1] = &wire.Nonce{Data: low}
				s.request(wire.CREATE_CHILD_SA, append([]wire.Payload{&wire.Notify{Protocol: suite.ESP, SPI: old, Kind: wire.REKEY_SA}}, l...)...)
				s.want("grants the crossing one", wire.CREATE_CHILD_SA, true)
			}
			theirs := s.childIn
			s.request(wire.INFORMATIONAL, &wire.Delete{Protocol: suite.ESP, SPIs: [][]byte{old}})
			_, c := s.want("answers the Delete", wire.INFORMATIONAL, true)
			if len(c.deletes) != 1 || !bytes.Equal(c.deletes[0].SPIs[0], s.childOut) {
				t.Errorf("answers %v", c.deletes)
			}
			s.answer(wire.CREATE_CHILD_SA, h.MessageID, s.grant(high)...)
			s.wantIdle("has nothing to close")
			ours := s.childIn
			if crossing {
				s.request(wire.INFORMATIONAL, &wire.Delete{Protocol: suite.ESP, SPIs: [][]byte{theirs}})
				s.want("answers the Delete of the loser", wire.INFORMATIONAL, true)
			}
			s.pass(drainTime)
			sa := s.sa()
			if len(sa.children) != 1 || sa.children[0].out != binary.BigEndian.Uint32(ours) || s.installs() != 2 {
				t.Errorf("%d children and %d halves are left; %v", len(sa.children), s.installs(), s.texts())
			}
		})
	}
}

// TestRekeyIKEWrongGroup: the peer wants another group for the successor of the IKE SA, and gets it if it was offered, at once (RFC
// 7296 1.3).
//
// Cases: ike_rekey regular.
func TestRekeyIKEWrongGroup(t *testing.T) {
	for name, c := range map[string]struct {
		group uint16
		again bool
	}{
		"offered": {suite.ECP256, true}, "not offered": {suite.ECP521, false}, "the same": {suite.CURVE25519, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := called(t, nil)
			s.give(Rekey{Conn: "c"})
			h, _ := s.want("rekeys", wire.CREATE_CHILD_SA, false)
			s.answer(wire.CREATE_CHILD_SA, h.MessageID, &wire.Notify{Kind: wire.INVALID_KE_PAYLOAD, Data: binary.BigEndian.AppendUint16(nil, c.group)})
			if !c.again {
				s.wantIdle("does not ask at once")
				return
			}
			_, again := s.want("rekeys again", wire.CREATE_CHILD_SA, false)
			if again.ke == nil || again.ke.Group != c.group {
				t.Errorf("offers %+v", again.ke)
			}
		})
	}
}

// TestReplaced: an IKE SA that the peer rekeyed answers what would need it to live on with TEMPORARY_FAILURE, and is closed by the
// peer (RFC 7296 2.8.2).
//
// Cases: SGW.I.1.2.4.6.
func TestReplaced(t *testing.T) {
	for name, w := range theirWishes {
		if w.wish == theyDeleteChild {
			continue // the children are with the successor
		}
		t.Run(name, func(t *testing.T) {
			e := newEncounter(t)
			e.request(wire.CREATE_CHILD_SA, e.successor()...)
			if e.sa.successor == nil {
				t.Fatal("no successor")
			}
			e.sends = nil
			w.ask(e)
			want := "TEMPORARY_FAILURE"
			if w.wish == theyDeleteIKE || w.wish == numWishes {
				want = "as usual"
			}
			if got := e.verdict(w.wish); got != want {
				t.Errorf("answered %q, want %q", got, want)
			}
			if e.sa.isGone() != (w.wish == theyDeleteIKE) {
				t.Errorf("gone: %v", e.sa.isGone())
			}
		})
	}
}

// TestClosedWhileRekeyed: the peer closes the child that we are rekeying, and then knows nothing of it (RFC 7296 2.25). A child that
// is to be up comes back.
func TestClosedWhileRekeyed(t *testing.T) {
	for name, refusal := range map[string]wire.NotifyType{
		"it is gone": wire.CHILD_SA_NOT_FOUND, "the peer is busy": wire.TEMPORARY_FAILURE, "another error": wire.NO_PROPOSAL_CHOSEN,
	} {
		t.Run(name, func(t *testing.T) {
			s := calling(t, func(c *Config) { c.Connections[0].Children[0].StartAction = Start })
			s.give(Rekey{Conn: "c", Child: "net"})
			h, _ := s.want("rekeys", wire.CREATE_CHILD_SA, false)
			s.request(wire.INFORMATIONAL, &wire.Delete{Protocol: suite.ESP, SPIs: [][]byte{s.childIn}})
			s.want("answers the Delete", wire.INFORMATIONAL, true)
			s.pass(backoffMax / 20)
			s.sends = nil // what it repeats meanwhile
			s.answer(wire.CREATE_CHILD_SA, h.MessageID, &wire.Notify{Protocol: suite.ESP, SPI: s.childOut, Kind: refusal})
			s.pass(2 * retryAfter)
			if _, c := s.want("asks for the child", wire.CREATE_CHILD_SA, false); c.notify(wire.REKEY_SA) != nil {
				t.Error("rekeys what is gone")
			}
		})
	}
}

// TestForgottenSuccessor: of two successors of an IKE SA the peer's loses, and the peer forgets it without a Delete (RFC 7296 2.8.2).
// What is left of it here goes within a minute, with the usual schedule, although the peer answers nothing under it.
func TestForgottenSuccessor(t *testing.T) {
	s := called(t, func(c *Config) { c.Retransmit = DefaultRetransmit })
	e := &encounter{script: s, sa: s.sa(), same: s.childIn}
	s.give(Rekey{Conn: "c"})
	h, _ := s.want("rekeys", wire.CREATE_CHILD_SA, false)
	theirs, ours := e.successor(), e.successor()
	theirs[1] = &wire.Nonce{Data: make([]byte, nonceLen)} // the lowest
	s.request(wire.CREATE_CHILD_SA, theirs...)
	s.want("grants the peer's successor", wire.CREATE_CHILD_SA, true)
	ours[0] = number([]suite.Proposal{one(testProposal(suite.IKE, testIKE)[0], 0)}, []byte("87654321"))
	s.answer(wire.CREATE_CHILD_SA, h.MessageID, ours...)
	h, _ = s.want("closes the predecessor", wire.INFORMATIONAL, false)
	s.answer(wire.INFORMATIONAL, h.MessageID)
	if s.order.len() != 3 {
		t.Fatalf("%d IKE SAs, want the old one and two successors: %v", s.order.len(), s.texts())
	}
	s.pass(time.Minute)
	if list := s.Snapshot(); len(list) != 1 || !list[0].Current || len(list[0].Children) != 1 {
		t.Errorf("after a minute there is %+v", list)
	}
	if len(s.sends) != 1+unusedTries {
		t.Errorf("the Delete was sent %d times", len(s.sends))
	}
}

// TestSuccessorNotHereYet: the peer rekeys the successor that it granted us, before its answer is here. Told CHILD_SA_NOT_FOUND, it
// would destroy the child that we use when the answer comes, so it is told to try again (RFC 7296 2.25).
func TestSuccessorNotHereYet(t *testing.T) {
	s := called(t, nil)
	s.give(Rekey{Conn: "c", Child: "net"})
	h, _ := s.want("rekeys", wire.CREATE_CHILD_SA, false)
	made := []byte{9, 8, 7, 6}
	early := append([]wire.Payload{&wire.Notify{Protocol: suite.ESP, SPI: made, Kind: wire.REKEY_SA}}, s.newChild(suite.CURVE25519)...)
	s.request(wire.CREATE_CHILD_SA, early...)
	if _, c := s.want("puts the peer off", wire.CREATE_CHILD_SA, true); c.notify(wire.TEMPORARY_FAILURE) == nil {
		t.Fatal("does not answer TEMPORARY_FAILURE")
	}
	answer := s.newChild(suite.CURVE25519)
	answer[0] = number([]suite.Proposal{one(testProposal(suite.ESP, testESP)[0], 0)}, made)
	answer[3] = &wire.TS{Selectors: ts.Resolve(testSpec("10.1.0.0/16"))}
	answer[4] = &wire.TS{Responder: true, Selectors: ts.Resolve(testSpec("10.2.0.0/16"))}
	s.answer(wire.CREATE_CHILD_SA, h.MessageID, answer...)
	s.want("closes the old one", wire.INFORMATIONAL, false)
	s.request(wire.CREATE_CHILD_SA, early...)
	if _, c := s.want("grants the successor of the successor", wire.CREATE_CHILD_SA, true); c.sa == nil {
		t.Errorf("refuses it: %v", s.texts())
	}
}

// TestChildNotFoundYet: the peer rekeyed a child, and does not know the successor, which we rekey at once: it has not got our answer yet.
// The successor stays, and is rekeyed later. When the peer was seen to use it, it is dropped (RFC 7296 2.25).
func TestChildNotFoundYet(t *testing.T) {
	for name, seen := range map[string]bool{"not seen": false, "in use": true} {
		t.Run(name, func(t *testing.T) {
			s := called(t, nil)
			rekey := &wire.Notify{Protocol: suite.ESP, SPI: s.childIn, Kind: wire.REKEY_SA}
			s.request(wire.CREATE_CHILD_SA, append([]wire.Payload{rekey}, s.newChild(suite.CURVE25519)...)...)
			_, c := s.want("grants the successor", wire.CREATE_CHILD_SA, true)
			made := c.sa.Proposals[0].SPI
			if seen {
				s.give(Used{SPI: binary.BigEndian.Uint32(made)})
			}
			s.give(Rekey{Conn: "c", Child: "net"})
			begin, asked := s.now, 0
			for asked = 0; len(s.sends) > 0 && s.now.Sub(begin) < 2*lingerTime; asked++ {
				h, c := s.want("rekeys it", wire.CREATE_CHILD_SA, false)
				if n := c.notify(wire.REKEY_SA); n == nil || !bytes.Equal(n.SPI, made) {
					t.Fatalf("names %v", n)
				}
				s.answer(wire.CREATE_CHILD_SA, h.MessageID, &wire.Notify{Protocol: suite.ESP, SPI: made, Kind: wire.CHILD_SA_NOT_FOUND})
				for end := s.now.Add(2 * retryAfter); len(s.sends) == 0 && s.now.Before(end); {
					s.pass(100 * time.Millisecond)
				}
			}
			s.wantEvent("gives it up", ChildDown, "does not know it")
			if took := s.now.Sub(begin); asked == 1 != seen || took > lingerTime+4*retryAfter {
				t.Errorf("gives it up after %d questions in %v", asked, took)
			}
		})
	}
}

// TestChildNotFoundThen: as before, and the peer has its child when its answer, which it repeats, arrives at last. The child stays: the
// peer uses it. Asked again, the peer knows what it says.
//
// Cases: BUG-25.
func TestChildNotFoundThen(t *testing.T) {
	s := called(t, nil)
	rekey := &wire.Notify{Protocol: suite.ESP, SPI: s.childIn, Kind: wire.REKEY_SA}
	s.request(wire.CREATE_CHILD_SA, append([]wire.Payload{rekey}, s.newChild(suite.CURVE25519)...)...)
	_, c := s.want("grants the successor", wire.CREATE_CHILD_SA, true)
	made := c.sa.Proposals[0].SPI
	unknown := &wire.Notify{Protocol: suite.ESP, SPI: made, Kind: wire.CHILD_SA_NOT_FOUND}

	s.give(Rekey{Conn: "c", Child: "net"})
	h, _ := s.want("rekeys it", wire.CREATE_CHILD_SA, false)
	s.request(wire.INFORMATIONAL, &wire.Delete{Protocol: suite.ESP, SPIs: [][]byte{rekey.SPI}})
	s.want("answers the Delete of the old one", wire.INFORMATIONAL, true)
	s.answer(wire.CREATE_CHILD_SA, h.MessageID, unknown)
	if list := s.Snapshot()[0].Children; !slices.ContainsFunc(list, func(c ChildInfo) bool { return c.State == "up" }) {
		t.Errorf("it is down: %+v", list)
	}
	s.pass(2 * retryAfter)
	h, c = s.want("rekeys it again", wire.CREATE_CHILD_SA, false)
	if n := c.notify(wire.REKEY_SA); n == nil || !bytes.Equal(n.SPI, made) {
		t.Fatalf("names %v", n)
	}
	s.answer(wire.CREATE_CHILD_SA, h.MessageID, unknown)
	s.wantEvent("gives it up", ChildDown, "does not know it")
}

// TestTwinClosedEarly: both ends ask for a child, and the peer closes ours, which lost, before we know it (RFC 7296 2.8.1). The order to
// bring the child up that came after one to close it, and so the peer's, is still there then.
func TestTwinClosedEarly(t *testing.T) {
	s := called(t, nil)
	s.request(wire.INFORMATIONAL, &wire.Delete{Protocol: suite.ESP, SPIs: [][]byte{s.childIn}})
	s.want("answers", wire.INFORMATIONAL, true)
	s.give(Initiate{Conn: "c", Child: "net"})
	ours, _ := s.want("asks for the child", wire.CREATE_CHILD_SA, false)
	s.request(wire.CREATE_CHILD_SA, s.newChild(suite.CURVE25519)...)
	s.want("grants the peer's", wire.CREATE_CHILD_SA, true)
	granted := s.grant(make([]byte, nonceLen))
	s.request(wire.INFORMATIONAL, &wire.Delete{Protocol: suite.ESP, SPIs: [][]byte{s.childIn}})
	s.want("answers", wire.INFORMATIONAL, true)
	s.give(Terminate{Conn: "c", Child: "net"})
	s.give(Initiate{Conn: "c", Child: "net"})
	s.wantIdle("the window is one request")

	s.answer(wire.CREATE_CHILD_SA, ours.MessageID, granted...)
	h, c := s.want("closes the peer's", wire.INFORMATIONAL, false)
	if len(c.deletes) != 1 {
		t.Fatalf("%d Deletes", len(c.deletes))
	}
	s.answer(wire.INFORMATIONAL, h.MessageID)
	s.pass(2 * backoffMin)
	s.want("asks for the child again", wire.CREATE_CHILD_SA, false)
}

// TestSuccessorClosedEarly: the peer closes the successor of a child before we know it, and the child itself is closed by order already.
// The order to bring it up that came after that is still there then.
func TestSuccessorClosedEarly(t *testing.T) {
	s := called(t, nil)
	s.give(Rekey{Conn: "c", Child: "net"})
	rekey, _ := s.want("rekeys", wire.CREATE_CHILD_SA, false)
	s.give(Terminate{Conn: "c", Child: "net"})
	s.give(Initiate{Conn: "c", Child: "net"})
	s.wantIdle("the Delete waits for the answer")
	granted := s.grant(make([]byte, nonceLen))
	s.request(wire.INFORMATIONAL, &wire.Delete{Protocol: suite.ESP, SPIs: [][]byte{s.childIn}})
	s.want("answers", wire.INFORMATIONAL, true)
	s.answer(wire.CREATE_CHILD_SA, rekey.MessageID, granted...)
	h, c := s.want("closes the old one", wire.INFORMATIONAL, false)
	if len(c.deletes) != 1 {
		t.Fatalf("%d Deletes", len(c.deletes))
	}
	s.answer(wire.INFORMATIONAL, h.MessageID)
	s.pass(2 * backoffMin)
	s.want("asks for the child again", wire.CREATE_CHILD_SA, false)
}

// crossed establishes a child with a window of two requests, which both ends rekey: ours is under way, and the peer's, with this nonce, has
// been granted. It returns the number of ours and the peer's SPI of the old child.
func crossed(t *testing.T, nonce []byte) (s *script, ours uint32, old []byte) {
	t.Helper()
	s = called(t, withWindow(2, 0))
	s.request(wire.INFORMATIONAL, windowOf(2))
	s.want("answers", wire.INFORMATIONAL, true)
	s.give(Rekey{Conn: "c", Child: "net"})
	h, _ := s.want("rekeys", wire.CREATE_CHILD_SA, false)
	old = s.childIn
	theirs := s.newChild(suite.CURVE25519)
	theirs[1] = &wire.Nonce{Data: nonce}
	s.request(wire.CREATE_CHILD_SA, append([]wire.Payload{&wire.Notify{Protocol: suite.ESP, SPI: old, Kind: wire.REKEY_SA}}, theirs...)...)
	s.want("grants the peer's", wire.CREATE_CHILD_SA, true)
	return s, h.MessageID, old
}

// TestWinnerClosed: our successor loses against the peer's (RFC 7296 2.8.1), which we have closed by order before we know that. The peer
// has our successor, and waits for us to close it; what is wanted since is asked for anew.
func TestWinnerClosed(t *testing.T) {
	s, ours, old := crossed(t, bytes.Repeat([]byte{255}, nonceLen))
	s.request(wire.INFORMATIONAL, &wire.Delete{Protocol: suite.ESP, SPIs: [][]byte{old}})
	s.want("answers", wire.INFORMATIONAL, true)
	s.give(Terminate{Conn: "c", Child: "net"})
	h, _ := s.want("closes the peer's", wire.INFORMATIONAL, false)
	s.answer(wire.INFORMATIONAL, h.MessageID)
	s.give(Initiate{Conn: "c", Child: "net"})
	s.answer(wire.CREATE_CHILD_SA, ours, s.grant(make([]byte, nonceLen))...)
	h, c := s.want("closes its own", wire.INFORMATIONAL, false)
	if len(c.deletes) != 1 {
		t.Fatalf("%d Deletes", len(c.deletes))
	}
	s.answer(wire.INFORMATIONAL, h.MessageID)
	s.pass(2 * backoffMin)
	if _, c := s.want("asks anew", wire.CREATE_CHILD_SA, false); c.notify(wire.REKEY_SA) != nil {
		t.Error("as a rekeying")
	}
}

// TestLoserNotRekeyed: the peer's successor was to be rekeyed when the peer has time (RFC 7296 2.25), and loses against ours meanwhile
// (2.8.1). It is the peer's to close, and not rekeyed.
func TestLoserNotRekeyed(t *testing.T) {
	s, ours, _ := crossed(t, make([]byte, nonceLen))
	s.give(Rekey{Conn: "c", Child: "net"})
	h, _ := s.want("rekeys the peer's", wire.CREATE_CHILD_SA, false)
	s.answer(wire.CREATE_CHILD_SA, h.MessageID, notifyOf(wire.TEMPORARY_FAILURE)...)
	s.answer(wire.CREATE_CHILD_SA, ours, s.grant(bytes.Repeat([]byte{255}, nonceLen))...)
	h, _ = s.want("closes the old one", wire.INFORMATIONAL, false)
	s.answer(wire.INFORMATIONAL, h.MessageID)
	s.pass(3 * retryAfter)
	s.wantIdle("it lost")
}

// TestTwinRekeyed: both ends ask for a child, the peer's loses, and we are rekeying it when we learn that (RFC 7296 2.3, 2.8.1). What
// comes of the rekeying is closed too.
func TestTwinRekeyed(t *testing.T) {
	low, high := make([]byte, nonceLen), bytes.Repeat([]byte{255}, nonceLen)
	s := called(t, withWindow(2, 0))
	s.request(wire.INFORMATIONAL, windowOf(2), &wire.Delete{Protocol: suite.ESP, SPIs: [][]byte{s.childIn}})
	s.want("answers", wire.INFORMATIONAL, true)
	s.give(Initiate{Conn: "c", Child: "net"})
	ours, _ := s.want("asks for the child", wire.CREATE_CHILD_SA, false)
	theirs := s.newChild(suite.CURVE25519)
	theirs[1] = &wire.Nonce{Data: low}
	s.request(wire.CREATE_CHILD_SA, theirs...)
	s.want("grants the peer's", wire.CREATE_CHILD_SA, true)
	s.give(Rekey{Conn: "c", Child: "net"})
	rekey, _ := s.want("rekeys it", wire.CREATE_CHILD_SA, false)

	s.answer(wire.CREATE_CHILD_SA, ours.MessageID, s.grant(high)...)
	stays := s.childIn
	s.answer(wire.CREATE_CHILD_SA, rekey.MessageID, s.grant(high)...)
	for len(s.sends) > 0 {
		h, c := s.want("closes", wire.INFORMATIONAL, false)
		if len(c.deletes) != 1 {
			t.Fatalf("%d Deletes", len(c.deletes))
		}
		s.answer(wire.INFORMATIONAL, h.MessageID)
	}
	s.pass(drainTime)
	if sa := s.sa(); len(sa.children) != 1 || sa.children[0].out != binary.BigEndian.Uint32(stays) || s.installs() != 2 {
		t.Errorf("%d children and %d halves are left; %v", len(sa.children), s.installs(), s.texts())
	}
}
