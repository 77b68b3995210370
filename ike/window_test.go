package ike

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/suite"
	"github.com/culvert-vpn/culvert/ts"
)

// windowOf is a SET_WINDOW_SIZE.
func windowOf(n uint32) *wire.Notify {
	return &wire.Notify{Kind: wire.SET_WINDOW_SIZE, Data: binary.BigEndian.AppendUint32(nil, n)}
}

// withWindow gives the connection a window, and some children that are not asked for.
func withWindow(n, children int) func(*Config) {
	return func(c *Config) {
		c.Connections[0].Window = n
		c.Connections[0].DPDDelay = 0
		first := c.Connections[0].Children[0]
		for i := range children {
			next := *first
			next.Name = fmt.Sprint("more-", i)
			next.LocalTS, next.RemoteTS = testSpec(fmt.Sprintf("10.3.%d.0/24", i)), testSpec(fmt.Sprintf("10.4.%d.0/24", i))
			c.Connections[0].Children = append(c.Connections[0].Children, &next)
		}
	}
}

// ids are the numbers of what was sent since, which must be requests.
func (s *script) ids() []uint32 {
	s.t.Helper()
	var list []uint32
	for len(s.sends) > 0 {
		h, err := wire.ParseHeader(s.sends[0].Data)
		if err != nil || h.Response {
			s.t.Fatalf("sends %v, %v", h, err)
		}
		list, s.sends = append(list, h.MessageID), s.sends[1:]
	}
	return list
}

func (s *script) wantIDs(why string, want ...uint32) {
	s.t.Helper()
	if got := s.ids(); !slices.Equal(got, want) {
		s.t.Errorf("%s: requests %v are sent, want %v", why, got, want)
	}
}

// TestWindowAnnounced: SET_WINDOW_SIZE is four octets in IKE_AUTH, of either role; a window of one is not announced (RFC 7296 2.3).
func TestWindowAnnounced(t *testing.T) {
	for n, want := range map[int][]byte{0: {0, 0, 0, DefaultWindow}, 1: nil, 7: {0, 0, 0, 7}, 1000: {0, 0, 0, MaxWindow}} {
		s := newScript(t, withWindow(n, 0))
		s.call()
		s.request(wire.IKE_AUTH, append(s.auth(s.id, s.secret), s.childPayloads(1)...)...)
		_, answer := s.want("answers IKE_AUTH", wire.IKE_AUTH, true)

		s = newScript(t, withWindow(n, 0))
		s.give(Initiate{Conn: "c"})
		s.takeCall()
		_, request := s.want("authenticates", wire.IKE_AUTH, false)
		for _, c := range []*content{answer, request} {
			var got []byte
			if notify := c.notify(wire.SET_WINDOW_SIZE); notify != nil {
				got = notify.Data
			}
			if !bytes.Equal(got, want) {
				t.Errorf("window %d: %x is announced, want %x", n, got, want)
			}
		}
	}
}

// TestWindowHonoured: no more requests than the peer takes are under way: X waits for the answers to all up to X-N (RFC 7296 2.3).
//
// Cases: TestInitiatorRequestWindowSize.
func TestWindowHonoured(t *testing.T) {
	s := called(t, withWindow(5, 8))
	s.give(Initiate{Conn: "c"})
	s.wantIDs("the peer promised nothing", 0)
	s.request(wire.INFORMATIONAL, windowOf(3))
	s.want("answers", wire.INFORMATIONAL, true)
	s.wantIDs("the peer takes three", 1, 2)
	s.answer(wire.CREATE_CHILD_SA, 2, &wire.Notify{Kind: wire.NO_ADDITIONAL_SAS})
	s.wantIDs("0 is not answered")
	s.answer(wire.CREATE_CHILD_SA, 1, &wire.Notify{Kind: wire.NO_ADDITIONAL_SAS})
	s.answer(wire.CREATE_CHILD_SA, 1, &wire.Notify{Kind: wire.NO_ADDITIONAL_SAS})
	s.wantIDs("0 is still not answered")
	s.wantEvent("an answer counts once", Dropped, "answer to no request")
	s.answer(wire.CREATE_CHILD_SA, 0, &wire.Notify{Kind: wire.NO_ADDITIONAL_SAS})
	s.wantIDs("all are answered", 3, 4, 5)

	// What is not answered is repeated, and nothing else.
	s.answer(wire.CREATE_CHILD_SA, 4, &wire.Notify{Kind: wire.NO_ADDITIONAL_SAS})
	s.pass(s.cfg.Retransmit.Timeout)
	s.wantIDs("repeats two", 3, 5)

	// The peer takes more than we ask at once.
	s.request(wire.INFORMATIONAL, windowOf(1<<32-1))
	s.want("answers", wire.INFORMATIONAL, true)
	s.wantIDs("five, as configured", 6, 7)
}

// TestWindowNeverShrinks: RFC 7296 2.3.
func TestWindowNeverShrinks(t *testing.T) {
	s := called(t, withWindow(5, 8))
	s.request(wire.INFORMATIONAL, windowOf(4))
	for _, n := range []*wire.Notify{windowOf(2), windowOf(0), {Kind: wire.SET_WINDOW_SIZE, Data: []byte{0, 9}}, {Kind: wire.SET_WINDOW_SIZE}} {
		s.request(wire.INFORMATIONAL, n)
	}
	s.wantEvent("does not shrink", Warned, "smaller", "stays at 4")
	s.wantEvent("is malformed", Warned, "no size")
	s.sends = nil
	s.give(Initiate{Conn: "c"})
	s.wantIDs("four", 0, 1, 2, 3)
}

// TestWindowOfTheirs: within the window requests are taken in any order, each once; what is repeated gets the same bytes as long as the
// peer may not have the answer; what is outside is dropped (RFC 7296 2.1, 2.3).
//
// Cases: TestInitiatorRequestWindowSize.
func TestWindowOfTheirs(t *testing.T) {
	const size = 3
	s := called(t, withWindow(size, 0))
	requests, answers := make(map[uint32][]byte), make(map[uint32][]byte)
	for id := range uint32(9) {
		requests[id] = s.seal(wire.INFORMATIONAL, id, false)
	}
	ask := func(id uint32, want string) {
		t.Helper()
		events := len(s.events)
		s.deliver(requests[id])
		switch {
		case want == "dropped":
			if len(s.sends) > 0 || len(s.events) != events+1 || s.events[events].Kind != Dropped {
				t.Errorf("request %d is not dropped: %q", id, s.texts()[events:])
			}
		case len(s.sends) != 1:
			t.Fatalf("request %d: %d answers, %q", id, len(s.sends), s.texts()[events:])
		case want == "answered":
			answers[id] = s.sends[0].Data
		case !bytes.Equal(s.sends[0].Data, answers[id]):
			t.Errorf("request %d is answered in two ways", id)
		}
		s.sends = nil
	}
	ask(5, "dropped") // IKE_AUTH was 1
	ask(4, "answered")
	ask(4, "repeated")
	ask(3, "answered")
	ask(5, "dropped") // 2 is missing
	ask(4, "repeated")
	ask(2, "answered")
	ask(2, "repeated")
	ask(1, "dropped")
	ask(8, "dropped")
	ask(7, "answered")
	ask(3, "dropped") // whoever sends 7 has the answers up to 4
	ask(4, "dropped")
	ask(5, "answered")
	ask(6, "answered")
	for _, id := range []uint32{5, 6, 7} {
		ask(id, "repeated")
	}
	ask(8, "answered")
	ask(5, "dropped")
}

// TestWindowEffects: a request out of order has its effect once, however often it comes.
func TestWindowEffects(t *testing.T) {
	s := called(t, withWindow(3, 2))
	create := func(id uint32, n int) []byte {
		list := s.newChild(suite.CURVE25519)
		return s.seal(wire.CREATE_CHILD_SA, id, false, append(list[:3:3],
			&wire.TS{Selectors: ts.Resolve(testSpec(fmt.Sprintf("10.4.%d.0/24", n)))}, &wire.TS{Responder: true, Selectors: ts.Resolve(testSpec(fmt.Sprintf("10.3.%d.0/24", n)))})...)
	}
	second, first := create(3, 1), create(2, 0)
	for range 2 {
		for _, b := range [][]byte{second, first} {
			s.deliver(b)
			s.want("grants", wire.CREATE_CHILD_SA, true)
		}
	}
	if n := len(s.sa().children); n != 3 {
		t.Errorf("%d children, want 3", n)
	}
}

// grantSuccessor answers the request for a successor of the IKE SA; from now on the peer speaks in that.
func (s *script) grantSuccessor() {
	s.t.Helper()
	h, c := s.want("rekeys the IKE SA", wire.CREATE_CHILD_SA, false)
	list, spi := s.newChild(suite.CURVE25519), []byte("peer-spi")
	chosen := one(testProposal(suite.IKE, testIKE)[0], 0)
	nonce := list[1].(*wire.Nonce).Data
	in := keyInput{nonceI: c.nonce.Data, nonceR: nonce, spiI: binary.BigEndian.Uint64(c.sa.Proposals[0].SPI), spiR: binary.BigEndian.Uint64(spi)}
	shared, err := s.private.Finish(c.ke.Data)
	if err != nil {
		s.t.Fatal(err)
	}
	in.shared = shared
	s.answer(wire.CREATE_CHILD_SA, h.MessageID, number([]suite.Proposal{chosen}, spi), list[1], list[2])
	if s.keys, err = deriveKeys(chosen, in.rekeySeed(s.keys), in, false, nil); err != nil {
		s.t.Fatal(err)
	}
	s.initiator, s.spiI, s.spiR, s.nextID = false, in.spiI, in.spiR, 0
}

// TestWindowOfSuccessor: a new IKE SA begins with one request at a time, and both ends announce anew, in an exchange of its own (RFC 7296 2.3).
func TestWindowOfSuccessor(t *testing.T) {
	s := called(t, withWindow(5, 4))
	s.request(wire.INFORMATIONAL, windowOf(4))
	s.sends = nil
	old := s.keys
	s.give(Rekey{Conn: "c"})
	s.grantSuccessor()
	next := s.order.at(1)
	if next.win.size > 1 {
		t.Fatalf("a window of %d without a word", next.win.size)
	}
	successor := s.keys
	s.keys = old
	_, c := s.want("closes the old one", wire.INFORMATIONAL, false)
	if !c.deletesIKE() {
		t.Fatal("no Delete")
	}
	s.keys = successor
	h, c := s.want("announces", wire.INFORMATIONAL, false)
	if n := c.notify(wire.SET_WINDOW_SIZE); h.MessageID != 0 || n == nil || !bytes.Equal(n.Data, []byte{0, 0, 0, 5}) {
		t.Fatalf("message %d announces %v", h.MessageID, c.notifies)
	}
	s.give(Initiate{Conn: "c"})
	s.wantIDs("waits for the answer")
	s.answer(wire.INFORMATIONAL, 0, windowOf(3))
	s.wantIDs("the peer takes three", 1, 2, 3)
}

// TestWindowAsked: whoever did not begin the rekeying announces in the answer.
func TestWindowAsked(t *testing.T) {
	s := called(t, withWindow(5, 0))
	s.request(wire.INFORMATIONAL, windowOf(4))
	_, c := s.want("answers", wire.INFORMATIONAL, true)
	if c.notify(wire.SET_WINDOW_SIZE) != nil {
		t.Error("announces what it has announced")
	}
	s.sa().win.in.size = 0 // as in a successor
	s.request(wire.INFORMATIONAL, windowOf(4))
	_, c = s.want("answers", wire.INFORMATIONAL, true)
	if n := c.notify(wire.SET_WINDOW_SIZE); n == nil || n.Data[3] != 5 {
		t.Error("does not announce")
	}
}

// TestWindowClash: a request of the peer is measured against all that is under way, not only the first or the last of it (RFC 7296 2.25).
func TestWindowClash(t *testing.T) {
	for _, order := range [][]string{{"net", "more-0"}, {"more-0", "net"}} {
		e := newEncounter(t)
		e.cfg.Connections[0].Window = 5
		e.request(wire.INFORMATIONAL, windowOf(3))
		e.sends = nil
		e.begin(&alive{})
		for _, name := range order {
			if name == "net" {
				e.give(Terminate{Conn: "c", Child: "net"})
			} else {
				e.give(Rekey{Conn: "c", Child: "next"})
			}
		}
		e.wantIDs("all at once", 0, 1, 2)
		for theirs, want := range map[string]string{
			"delete child, same": "no Delete", "rekey child, same": "TEMPORARY_FAILURE", "rekey IKE SA": "TEMPORARY_FAILURE", "liveness": "as usual", "rekey child, another": "as usual",
		} {
			if theirs == "delete child, same" {
				continue // last: it ends the child
			}
			theirWishes[theirs].ask(e)
			if got := e.verdict(theirWishes[theirs].wish); got != want {
				t.Errorf("%v, %s: answered %q, want %q", order, theirs, got, want)
			}
		}
		theirWishes["delete child, same"].ask(e)
		if got := e.verdict(theyDeleteChild); got != "no Delete" {
			t.Errorf("%v: the Delete that crosses ours is answered %q", order, got)
		}
	}
}

// TestWindowAlone: a rekeying of the IKE SA waits for everything before it, and everything waits for it; the Delete of a child waits for
// its rekeying; the Delete of the IKE SA waits for no answer that does not matter any more.
func TestWindowAlone(t *testing.T) {
	s := called(t, withWindow(5, 4))
	s.request(wire.INFORMATIONAL, windowOf(5))
	s.sends = nil
	s.give(Rekey{Conn: "c", Child: "net"})
	s.give(Rekey{Conn: "c"})
	s.wantIDs("rekeys the child", 0)
	s.answer(wire.CREATE_CHILD_SA, 0, &wire.Notify{Kind: wire.NO_ADDITIONAL_SAS})
	s.wantIDs("rekeys the IKE SA", 1)
	s.give(Rekey{Conn: "c", Child: "net"})
	s.wantIDs("waits")
	s.answer(wire.CREATE_CHILD_SA, 1, &wire.Notify{Kind: wire.NO_ADDITIONAL_SAS})
	s.wantIDs("rekeys the child", 2)
	s.give(Terminate{Conn: "c", Child: "net"})
	s.wantIDs("waits")
	s.give(Terminate{Conn: "c"})
	_, c := s.want("closes", wire.INFORMATIONAL, false)
	if !c.deletesIKE() {
		t.Error("no Delete of the IKE SA")
	}
}

// TestNumbersEnd: before the message numbers begin anew there is a successor, and without it the IKE SA is closed (RFC 7296 2.2).
func TestNumbersEnd(t *testing.T) {
	ours := called(t, withWindow(1, 0))
	ours.sa().win.nextID = softNumber - 1
	ours.sa().enqueue(&alive{})
	theirs := called(t, withWindow(1, 0))
	theirs.sa().win.in.next, theirs.nextID = softNumber-1, softNumber-1
	theirs.request(wire.INFORMATIONAL)
	theirs.want("answers", wire.INFORMATIONAL, true)
	ours.touch(ours.sa())
	ours.give(Tick{})
	ours.want("asks", wire.INFORMATIONAL, false)
	ours.answer(wire.INFORMATIONAL, softNumber-1)
	for _, s := range []*script{ours, theirs} {
		_, c := s.want("rekeys", wire.CREATE_CHILD_SA, false)
		if c.sa.Proposals[0].Protocol != suite.IKE {
			t.Error("not the IKE SA")
		}
	}

	ours = called(t, withWindow(1, 0))
	ours.sa().win.nextID = hardNumber
	ours.sa().enqueue(&alive{})
	theirs = called(t, withWindow(1, 0))
	theirs.sa().win.in.next, theirs.nextID = hardNumber-1, hardNumber-1
	theirs.request(wire.INFORMATIONAL)
	theirs.want("answers", wire.INFORMATIONAL, true)
	ours.touch(ours.sa())
	ours.give(Tick{})
	for _, s := range []*script{ours, theirs} {
		_, c := s.want("closes", wire.INFORMATIONAL, false)
		if !c.deletesIKE() || s.installs() != 0 {
			t.Errorf("goes on: %v", s.texts())
		}
		s.wantEvent("says why", Closed, "numbers are used up")
	}

	// The last number of all is not taken: after it they would begin anew.
	in := inbox{size: 3, next: 1<<32 - 2}
	for id, want := range map[uint32]bool{1<<32 - 3: false, 1<<32 - 2: true, 1<<32 - 1: false, 0: false, 1: false} {
		if in.takes(id) != want {
			t.Errorf("number %d: %v", id, !want)
		}
	}
}

// TestWindowOfFragments: several messages of one window come in fragments at once, requests and answers (RFC 7383 2.6).
func TestWindowOfFragments(t *testing.T) {
	s := calledInFragments(t, FragmentationYes)
	s.cfg.Connections[0].Window = 3
	s.sa().win.in.size = 3
	var parts [][][]byte
	for id := range uint32(3) {
		parts = append(parts, s.split(wire.INFORMATIONAL, 2+id, false, 300, notes(6, 100)...))
	}
	for i := range parts[0] {
		for n := range parts {
			if i < len(parts[0])-1 {
				s.deliver(parts[n][i])
			}
		}
	}
	s.wantIdle("waits for the rest of all")
	if n := len(s.sa().fragments.partial); n != 3 {
		t.Errorf("%d messages are kept, want 3", n)
	}
	for _, n := range []int{1, 2, 0} {
		s.deliver(parts[n][len(parts[n])-1])
		if h, _ := s.want("answers what is complete", wire.INFORMATIONAL, true); h.MessageID != uint32(2+n) {
			t.Errorf("answers %d, want %d", h.MessageID, 2+n)
		}
	}
	if n := len(s.sa().fragments.partial); n != 0 {
		t.Errorf("%d messages are left", n)
	}
	outside := s.split(wire.INFORMATIONAL, 8, false, 300, notes(6, 100)...)
	s.deliver(outside[0])
	if n := len(s.sa().fragments.partial); n != 0 {
		t.Error("keeps a fragment outside of the window")
	}
}

// TestTheirWindowMissed: INVALID_MESSAGE_ID of the peer is told (RFC 7296 2.3).
func TestTheirWindowMissed(t *testing.T) {
	s := called(t, nil)
	s.request(wire.INFORMATIONAL, &wire.Notify{Kind: wire.INVALID_MESSAGE_ID, Data: []byte{0, 0, 1, 2}})
	s.want("answers", wire.INFORMATIONAL, true)
	s.wantEvent("tells", Warned, "message 258")
}
