package ike

import (
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/suite"
)

// stageScript is an endpoint with an IKE SA in a role and a stage.
type stageScript struct {
	name  string
	role  role
	stage stage
	reach func(*testing.T) *script
}

// stages are all that there are, in all the roles that each can have.
var stages = []stageScript{
	{"no IKE SA", nobody, absent, func(t *testing.T) *script {
		// The peer has one, from before we lost ours.
		s := called(t, nil)
		s.sa().remove()
		return s
	}},
	{"calling, IKE_SA_INIT sent", initiator, initSent, func(t *testing.T) *script {
		s := newScript(t, nil)
		s.give(Initiate{Conn: "c"})
		h, c := s.want("calls", wire.IKE_SA_INIT, false)
		s.spiI, s.nonceI = h.SPIi, slices.Clone(c.nonce.Data)
		// Keys that the peer cannot have yet.
		s.spiR = 0xbbbb
		s.initPayloads(testProposal(suite.IKE, testIKE), suite.CURVE25519, 1)
		s.derive(c.ke.Data)
		return s
	}},
	{"called, IKE_SA_INIT answered", responder, initAnswered, func(t *testing.T) *script {
		s := newScript(t, nil)
		s.call()
		return s
	}},
	{"calling, IKE_AUTH sent", initiator, authSent, func(t *testing.T) *script {
		s := newScript(t, nil)
		s.give(Initiate{Conn: "c"})
		s.takeCall()
		s.want("authenticates", wire.IKE_AUTH, false)
		return s
	}},
	{"calling, up", initiator, up, func(t *testing.T) *script { return calling(t, nil) }},
	{"called, up", responder, up, func(t *testing.T) *script { return called(t, nil) }},
	{"called, up, with a question under way", responder, up, func(t *testing.T) *script {
		s := called(t, nil)
		s.sa().enqueue(&alive{})
		s.touch(s.sa())
		s.give(Tick{})
		s.want("asks", wire.INFORMATIONAL, false)
		return s
	}},
	{"calling, closing", initiator, closing, func(t *testing.T) *script {
		s := calling(t, nil)
		s.give(Terminate{Conn: "c"})
		s.want("deletes", wire.INFORMATIONAL, false)
		return s
	}},
	{"called, closing", responder, closing, func(t *testing.T) *script {
		s := called(t, nil)
		s.give(Terminate{Conn: "c"})
		s.want("deletes", wire.INFORMATIONAL, false)
		return s
	}},
	{"calling, rejecting", initiator, rejecting, func(t *testing.T) *script {
		s := newScript(t, nil)
		s.give(Initiate{Conn: "c"})
		s.takeCall()
		s.want("authenticates", wire.IKE_AUTH, false)
		s.answer(wire.IKE_AUTH, 1, s.auth(s.id, testSecrets(t, "terces"))...)
		s.want("tells", wire.INFORMATIONAL, false)
		return s
	}},
	{"calling, closed", initiator, closed, func(t *testing.T) *script { return closedByPeer(calling(t, nil)) }},
	{"called, closed", responder, closed, func(t *testing.T) *script { return closedByPeer(called(t, nil)) }},
	{"called, refused", responder, closed, func(t *testing.T) *script {
		s := newScript(t, nil)
		s.call()
		s.request(wire.IKE_AUTH, s.auth(s.id, testSecrets(t, "terces"))...)
		s.want("refuses", wire.IKE_AUTH, true)
		return s
	}},
}

func closedByPeer(s *script) *script {
	s.request(wire.INFORMATIONAL, &wire.Delete{Protocol: suite.IKE})
	s.want("confirms", wire.INFORMATIONAL, true)
	return s
}

// permitted says in words of RFC 7296 what is to be done with a message, without looking at the table.
func permitted(st stageScript, x wire.Exchange, response, enc bool, id, theirs uint32, answered bool, out *request) act {
	established := st.stage == up || st.stage == closing
	later := x == wire.CREATE_CHILD_SA || x == wire.INFORMATIONAL
	ofIKE := later || x == wire.IKE_AUTH
	switch {
	case st.stage == absent && !response && enc && ofIKE:
		return unknown // 2.21.4
	case st.stage == absent && !response && !enc && x == wire.INFORMATIONAL:
		return suspect // 1.5
	case st.stage == absent && !response && !enc && x == wire.IKE_SA_INIT && id == 0:
		return begin // 1.2
	case st.stage == absent:
		return drop
	case response && enc == (x != wire.IKE_SA_INIT) && out != nil && id == out.id && x == out.kind:
		return take // 2.1: to the one request that is unanswered
	case response && !enc && later && st.stage == up:
		return suspect // 2.21.4
	case response && !enc && x == wire.INFORMATIONAL && st.stage == closing:
		return suspect // RFC 6290 3
	case response:
		return drop // 2.21.1
	case st.stage == initAnswered && x == wire.IKE_SA_INIT && !enc && id == 0,
		st.stage == initAnswered && x == wire.IKE_AUTH && enc && id == 1,
		established && later && enc && id == theirs:
		return take
	case (established || st.stage == closed) && answered && enc && id == theirs-1 && (later || x == wire.IKE_AUTH && st.role == responder):
		return repeat // 2.1
	}
	return drop
}

// TestAdmission gives every message to an IKE SA in every role and stage, all of them authentic where that can be, and compares
// what happens with what RFC 7296 says. A message that is dropped leaves no trace but the event that tells of it.
//
// Cases: BUG-02; BUG-04; BUG-31; ikev2-intermediate-05; corrupt_encrypted.
func TestAdmission(t *testing.T) {
	exchanges := []wire.Exchange{0, wire.IKE_SA_INIT, wire.IKE_AUTH, wire.CREATE_CHILD_SA, wire.INFORMATIONAL, 38, 43, 255}
	seen := make(map[stage]bool)
	acts := make(map[act]int)
	for _, st := range stages {
		seen[st.stage] = true
		t.Run(st.name, func(t *testing.T) {
			for _, x := range exchanges {
				for _, response := range []bool{false, true} {
					for _, enc := range []bool{false, true} {
						for _, id := range []uint32{0, 1, 2, 3, 4, 7, 1 << 31, 1<<32 - 1} {
							acts[admitOne(t, st, x, response, enc, id)]++
						}
					}
				}
				if t.Failed() {
					return
				}
			}
		})
	}
	for st := range numStages {
		if !seen[st] {
			t.Errorf("stage %d is not reached", st)
		}
	}
	for _, a := range []act{drop, begin, take, repeat, suspect, unknown} {
		if acts[a] == 0 {
			t.Errorf("act %d is not reached", a)
		}
	}
}

// stateOf is what must not change: everything but the events that were told.
func stateOf(s *script) string {
	text := fmt.Sprint(len(s.sas), len(s.initial), s.halfOpen.all, len(s.children), len(s.held), s.installs(), s.Wishes())
	for sa := range s.order.all() {
		text += fmt.Sprint(sa.state, sa.path, sa.timers, sa.heard, sa.win.in.next, sa.win.nextID, len(sa.win.queue), len(sa.children), sa.keys != nil && sa.keys.iv > 0)
		if sa.keys != nil {
			text += fmt.Sprint(sa.keys.iv)
		}
	}
	return text
}

// admitOne gives one message, and returns what the table says.
func admitOne(t *testing.T, st stageScript, x wire.Exchange, response, enc bool, id uint32) act {
	t.Helper()
	s := st.reach(t)
	s.give(Tick{}) // SPIs are given back when the endpoint is called again
	var sa *ikeSA
	if st.stage != absent {
		sa = s.sa()
	}
	if sa.stage() != st.stage || sa.role() != st.role {
		t.Fatalf("is in stage %d and role %d", sa.stage(), sa.role())
	}
	h := s.header(x, id, response)
	if x == wire.IKE_SA_INIT && !response {
		h.SPIr = 0
	}
	// What would do the most harm, if it were heard.
	payloads := []wire.Payload{&wire.Delete{Protocol: suite.IKE}}
	data := wire.AppendMessage(nil, h, append(payloads, notifyOf(wire.INVALID_SYNTAX)...))
	if enc {
		s.keys.iv++
		data = wire.AppendSealed(nil, h, payloads, s.keys.out, s.keys.iv)
	}
	if st.stage == initAnswered && x == wire.IKE_SA_INIT && !response && !enc && id == 0 {
		data = s.first
		s.path.NATT, s.path.Local, s.path.Remote = false, s.sa().path.Local, s.sa().path.Remote
	}
	parsed, err := wire.ParseHeader(data)
	if err != nil {
		t.Fatal(err)
	}
	var theirs uint32
	var answered bool
	var out *request
	if sa != nil {
		theirs, answered = sa.win.in.next, len(sa.win.in.answers) > 0
		if sa.isAsking() {
			out = sa.win.out[0]
		}
	}
	want := permitted(st, x, response, enc, id, theirs, answered, out)
	found := s.find(Datagram{Path: s.path, Data: data}, parsed)
	if found != nil && found != sa {
		t.Fatal("found another IKE SA")
	}
	got, why := admit(found, parsed)
	what := fmt.Sprintf("%v %d, answer %v, sealed %v", x, id, response, enc)
	if found == nil && sa != nil {
		// Not addressed to it, as with a first message that names an IKE SA which is the peer's answer: it must not reach it.
		if want == take || want == repeat || want == suspect {
			t.Errorf("%s: the IKE SA is not found", what)
		}
		want = got
	}
	if got != want || (got == drop) != (why != "") {
		t.Errorf("%s: act %d %q, want %d", what, got, why, want)
	}
	before, events := stateOf(s), len(s.events)
	s.sends = nil
	s.deliver(data)
	switch got {
	case drop:
		if len(s.sends) > 0 || stateOf(s) != before || len(s.events) != events+1 || s.events[events].Kind != Dropped || s.events[events].Text != why {
			t.Errorf("%s: sends %d messages, tells %q\nbefore %s\nafter  %s", what, len(s.sends), s.texts()[events:], before, stateOf(s))
		}
	case repeat:
		if len(s.sends) != 1 || !reflect.DeepEqual([][]byte{s.sends[0].Data}, sa.win.in.answer(id).datagrams) || stateOf(s) != before {
			t.Errorf("%s: is not repeated", what)
		}
	case unknown:
		if len(s.sends) != 1 || stateOf(s) != before {
			t.Errorf("%s: sends %d messages", what, len(s.sends))
		}
	case suspect:
		// A Delete is no such hint.
		if len(s.sends) != 0 || stateOf(s) != before {
			t.Errorf("%s: a clear message changes something", what)
		}
	}
	return got
}

// TestSecondAuth: a second IKE_AUTH with the next number, and the first with other bytes under its number, make no second IKE SA.
//
// Cases: BUG-02.
func TestSecondAuth(t *testing.T) {
	s := called(t, nil)
	before := stateOf(s)
	for _, id := range []uint32{2, 3} {
		s.deliver(s.seal(wire.IKE_AUTH, id, false, append(s.auth2(), s.childPayloads(1)...)...))
		s.wantIdle("takes one IKE_AUTH")
	}
	if stateOf(s) != before {
		t.Error("something changed")
	}
}

// auth2 is what an IKE_AUTH request carries, when the keys for a true AUTH are gone.
func (s *script) auth2() []wire.Payload {
	body := s.id.AppendWire(nil)
	return []wire.Payload{&wire.ID{ID: s.id, Raw: body}, &wire.Auth{Method: wire.AuthSharedKey, Data: make([]byte, 32)}}
}
