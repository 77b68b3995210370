package ike

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/natt"
	"github.com/culvert-vpn/culvert/suite"
	"github.com/culvert-vpn/culvert/ts"
)

// TestRepeatedRequest: a request is carried out once and answered as often as it comes, always with the same bytes, to
// where it came from (RFC 7296 2.1, 2.11).
//
// Cases: corrupt_encrypted.
func TestRepeatedRequest(t *testing.T) {
	s := called(t, nil)
	request := s.request(wire.CREATE_CHILD_SA, s.newChild(suite.CURVE25519)...)
	first := s.sends[0]
	s.want("grants a child", wire.CREATE_CHILD_SA, true)
	installs := s.installs()
	s.path.Remote = netip.MustParseAddrPort("192.0.2.2:7777")
	s.deliver(request)
	if len(s.sends) != 1 || !bytes.Equal(s.sends[0].Data, first.Data) || s.sends[0].Path != s.path {
		t.Error("answers a repeated request from its cache")
	}
	if s.installs() != installs || s.sa().path == s.path {
		t.Error("a repeated request changes something")
	}
	s.sends = nil
	s.path.Remote = first.Path.Remote
	s.request(wire.INFORMATIONAL)
	s.want("is alive", wire.INFORMATIONAL, true)
	s.deliver(request)
	s.wantIdle("forgets the answer when the next request came")
}

// TestOutsideTheWindow: requests out of order are dropped, and not decrypted before (RFC 7296 2.3).
func TestOutsideTheWindow(t *testing.T) {
	s := called(t, nil)
	for _, id := range []uint32{0, s.nextID + 1, s.nextID + 100, 1<<32 - 1} {
		s.deliver(s.seal(wire.INFORMATIONAL, id, false, &wire.Delete{Protocol: suite.IKE}))
		s.wantIdle("drops what is outside the window")
	}
	s.request(wire.INFORMATIONAL)
	s.want("is alive", wire.INFORMATIONAL, true)
}

// newChild asks for another child, with a key exchange.
func (s *script) newChild(group uint16) []wire.Payload {
	s.t.Helper()
	ke, err := suite.NewKE(group)
	if err != nil {
		s.t.Fatal(err)
	}
	private, public, err := ke.Offer(s.rand)
	if err != nil {
		s.t.Fatal(err)
	}
	s.private = private
	s.childIn = binary.BigEndian.AppendUint32(nil, binary.BigEndian.Uint32(s.childIn)+1)
	nonce := make([]byte, 32)
	s.rand.Read(nonce)
	mine, other := ts.Resolve(testSpec("10.2.0.0/16")), ts.Resolve(testSpec("10.1.0.0/16"))
	return []wire.Payload{number(testProposal(suite.ESP, testESP), s.childIn), &wire.Nonce{Data: nonce}, &wire.KE{Group: group, Data: public},
		&wire.TS{Selectors: mine}, &wire.TS{Responder: true, Selectors: other}}
}

// TestChildRequests: what a peer may ask of an established IKE SA, and what it gets.
//
// Cases: BUG-07; SGW.I.1.2.6.9; TestResponderRekey; ikev2-unknown-payload-01..03; corrupt_encrypted.
func TestChildRequests(t *testing.T) {
	selectors := func(a, b string) func(*script) []wire.Payload {
		return func(s *script) []wire.Payload {
			l := s.newChild(suite.CURVE25519)
			return append(l[:3:3], &wire.TS{Selectors: ts.Resolve(testSpec(a))}, &wire.TS{Responder: true, Selectors: ts.Resolve(testSpec(b))})
		}
	}
	rekey := func(spi func(*script) []byte, p suite.Protocol) func(*script) []wire.Payload {
		return func(s *script) []wire.Payload {
			old := spi(s)
			return append([]wire.Payload{&wire.Notify{Protocol: p, SPI: old, Kind: wire.REKEY_SA}}, s.newChild(suite.CURVE25519)...)
		}
	}
	for _, c := range []struct {
		name   string
		ask    func(*script) []wire.Payload
		answer wire.NotifyType // 0: granted
		closed bool            // the IKE SA ends with it
	}{
		{"a child", func(s *script) []wire.Payload { return s.newChild(suite.CURVE25519) }, 0, false},
		{"narrower selectors", selectors("10.2.3.0/24", "10.1.0.0/16"), 0, false},
		{"wider selectors", selectors("0.0.0.0/0", "0.0.0.0/0"), 0, false},
		{"selectors elsewhere", selectors("10.9.0.0/16", "10.1.0.0/16"), wire.TS_UNACCEPTABLE, false},
		{"another group", func(s *script) []wire.Payload {
			l := s.newChild(suite.ECP521)
			l[0] = number(testProposal(suite.ESP, "aes128gcm16-ecp256-ecp521"), s.childIn)
			return l
		}, wire.INVALID_KE_PAYLOAD, false},
		{"no common algorithm", func(s *script) []wire.Payload {
			l := s.newChild(suite.CURVE25519)
			l[0] = number(testProposal(suite.ESP, "aes256-sha512-x25519"), s.childIn)
			return l
		}, wire.NO_PROPOSAL_CHOSEN, false},
		{"a reserved SPI", func(s *script) []wire.Payload {
			l := s.newChild(suite.CURVE25519)
			l[0] = number(testProposal(suite.ESP, testESP), []byte{0, 0, 0, 255})
			return l
		}, wire.NO_PROPOSAL_CHOSEN, false},
		{"a bad public value", func(s *script) []wire.Payload {
			l := s.newChild(suite.CURVE25519)
			l[2] = &wire.KE{Group: suite.CURVE25519, Data: make([]byte, 32)}
			return l
		}, wire.INVALID_SYNTAX, true},
		{"rekeying a child", rekey(func(s *script) []byte { return s.childIn }, suite.ESP), 0, false},
		{"rekeying what is not there", rekey(func(*script) []byte { return []byte{1, 2, 3, 4} }, suite.ESP), wire.CHILD_SA_NOT_FOUND, false},
		{"rekeying by our SPI instead of theirs", rekey(func(s *script) []byte { return s.childOut }, suite.ESP), wire.CHILD_SA_NOT_FOUND, false},
		{"rekeying AH", rekey(func(s *script) []byte { return s.childIn }, suite.AH), wire.CHILD_SA_NOT_FOUND, false},
		{"no SA payload", func(s *script) []wire.Payload { return s.newChild(suite.CURVE25519)[1:] }, wire.INVALID_SYNTAX, true},
		{"no nonce", func(s *script) []wire.Payload { l := s.newChild(suite.CURVE25519); return append(l[:1:1], l[2:]...) }, wire.INVALID_SYNTAX, true},
		{"no selectors", func(s *script) []wire.Payload { return s.newChild(suite.CURVE25519)[:3] }, wire.INVALID_SYNTAX, true},
		{"nothing", func(*script) []wire.Payload { return nil }, wire.INVALID_SYNTAX, true},
		{"an unknown critical payload", func(s *script) []wire.Payload {
			return append(s.newChild(suite.CURVE25519), &wire.Unknown{Kind: 200, Critical: true})
		}, wire.UNSUPPORTED_CRITICAL_PAYLOAD, false},
		{"an IKE SA with the SPI 0", func(s *script) []wire.Payload {
			l := s.newChild(suite.CURVE25519)
			return append([]wire.Payload{number(testProposal(suite.IKE, testIKE), make([]byte, 8))}, l[1:3]...)
		}, wire.INVALID_SYNTAX, true},
		{"an IKE SA without KE", func(s *script) []wire.Payload {
			l := s.newChild(suite.CURVE25519)
			return append([]wire.Payload{number(testProposal(suite.IKE, testIKE), []byte("12345678"))}, l[1])
		}, wire.INVALID_SYNTAX, true},
		{"an IKE SA of another group", func(s *script) []wire.Payload {
			l := s.newChild(suite.ECP521)
			return append([]wire.Payload{number(testProposal(suite.IKE, "aes128gcm16-prfsha256-ecp256-ecp521"), []byte("12345678"))}, l[1:3]...)
		}, wire.INVALID_KE_PAYLOAD, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := called(t, nil)
			sa, installs, held := s.sa(), s.installs(), len(s.held)
			s.request(wire.CREATE_CHILD_SA, c.ask(s)...)
			_, got := s.want("answers", wire.CREATE_CHILD_SA, true)
			s.give(Tick{})
			switch {
			case c.answer == 0 && (got.sa == nil || s.installs() <= installs):
				t.Errorf("not granted: %v, %v", got.notifies, s.texts())
			case c.answer != 0 && (got.notify(c.answer) == nil || len(got.notifies) != 1 || got.sa != nil):
				t.Errorf("answered %v, want %v", got.notifies, c.answer)
			case c.answer != 0 && !c.closed && (s.installs() != installs || len(s.held) != held):
				t.Error("a refusal changes something")
			case c.closed != sa.isGone() || c.closed && (s.installs() != 0 || len(s.held) != 0):
				t.Errorf("closed: %v, want %v", sa.isGone(), c.closed)
			}
			if c.closed {
				s.wantEvent("tells", Failed)
			}
		})
	}
}

// TestNarrowing: what a peer gets is within our policy, and what we ask for is what we take (RFC 7296 2.9).
//
// Cases: SGW.I.1.1.7.1; ikev2-child-rekey-10-impair-rekey-*-subnet/supernet.
func TestNarrowing(t *testing.T) {
	s := called(t, nil)
	l := s.newChild(suite.CURVE25519)
	wide := ts.Resolve(testSpec("0.0.0.0/0"))
	s.request(wire.CREATE_CHILD_SA, append(l[:3:3], &wire.TS{Selectors: wide}, &wire.TS{Responder: true, Selectors: wide})...)
	_, c := s.want("answers", wire.CREATE_CHILD_SA, true)
	if got := c.tsi.Selectors; len(got) != 1 || got[0] != ts.Resolve(testSpec("10.2.0.0/16"))[0] {
		t.Errorf("TSi is narrowed to %v", got)
	}

	for name, c := range map[string]struct {
		tsi, tsr string
		good     bool
	}{
		"the same": {"10.1.0.0/16", "10.2.0.0/16", true}, "narrower": {"10.1.1.0/24", "10.2.0.0/17", true},
		"wider": {"10.0.0.0/8", "10.2.0.0/16", false}, "exchanged": {"10.2.0.0/16", "10.1.0.0/16", false},
	} {
		t.Run("granted "+name, func(t *testing.T) {
			s := calling(t, nil)
			s.give(Rekey{Conn: "c", Child: "net"})
			h, _ := s.want("rekeys", wire.CREATE_CHILD_SA, false)
			l := s.newChild(suite.CURVE25519)
			l[0] = number([]suite.Proposal{one(testProposal(suite.ESP, testESP)[0], 0)}, s.childIn)
			s.answer(wire.CREATE_CHILD_SA, h.MessageID, append(l[:3:3], &wire.TS{Selectors: ts.Resolve(testSpec(c.tsi))},
				&wire.TS{Responder: true, Selectors: ts.Resolve(testSpec(c.tsr))})...)
			if got := s.installs() == 4; got != c.good {
				t.Errorf("taken: %v; %v", got, s.texts())
			}
			_, next := s.want("deletes the old one, or the one that it does not take", wire.INFORMATIONAL, false)
			if len(next.deletes) != 1 || bytes.Equal(next.deletes[0].SPIs[0], s.childOut) != c.good {
				t.Errorf("deletes %v", next.deletes)
			}
		})
	}
}

// TestInformational: Deletes of all kinds, and signs of life (RFC 7296 1.4).
//
// Cases: BUG-07; TestInitiatorKeepaliveMsg.
func TestInformational(t *testing.T) {
	del := func(p suite.Protocol, spis ...[]byte) wire.Payload { return &wire.Delete{Protocol: p, SPIs: spis} }
	for _, c := range []struct {
		name   string
		ask    func(*script) []wire.Payload
		delete bool // the answer names our SPI
		halves int
		closed bool
	}{
		{"nothing", func(*script) []wire.Payload { return nil }, false, 2, false},
		{"a child", func(s *script) []wire.Payload { return []wire.Payload{del(suite.ESP, s.childIn)} }, true, 1, false},
		{"a child twice", func(s *script) []wire.Payload { return []wire.Payload{del(suite.ESP, s.childIn, s.childIn)} }, true, 1, false},
		{"a child by our SPI", func(s *script) []wire.Payload { return []wire.Payload{del(suite.ESP, s.childOut)} }, false, 2, false},
		{"an unknown child", func(*script) []wire.Payload { return []wire.Payload{del(suite.ESP, []byte{9, 9, 9, 9})} }, false, 2, false},
		{"AH", func(s *script) []wire.Payload { return []wire.Payload{del(suite.AH, s.childIn)} }, false, 2, false},
		{"the IKE SA", func(*script) []wire.Payload { return []wire.Payload{del(suite.IKE)} }, false, 0, true},
		{"everything", func(s *script) []wire.Payload { return []wire.Payload{del(suite.ESP, s.childIn), del(suite.IKE)} }, false, 0, true},
		{"an unknown notify", func(*script) []wire.Payload { return notifyOf(9999) }, false, 2, false},
		{"AUTHENTICATION_FAILED", func(*script) []wire.Payload { return notifyOf(wire.AUTHENTICATION_FAILED) }, false, 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := called(t, nil)
			sa := s.sa()
			request := s.request(wire.INFORMATIONAL, c.ask(s)...)
			first := s.sends[0].Data
			_, got := s.want("answers", wire.INFORMATIONAL, true)
			if c.delete && (len(got.deletes) != 1 || len(got.deletes[0].SPIs) != 1 || !bytes.Equal(got.deletes[0].SPIs[0], s.childOut)) ||
				!c.delete && len(got.deletes) > 0 {
				t.Errorf("answers %v", got.deletes)
			}
			if s.installs() != c.halves || sa.isGone() != c.closed {
				t.Errorf("%d halves are left, closed: %v", s.installs(), sa.isGone())
			}
			s.deliver(request)
			if len(s.sends) != 1 || !bytes.Equal(s.sends[0].Data, first) {
				t.Error("answers a repeated request from its cache, even when the IKE SA is closed")
			}
			s.sends = nil
			s.pass(drainTime)
			if c.delete && s.installs() != 0 {
				t.Error("the inbound half stays")
			}
			if c.closed {
				if sa.keys.d != nil {
					t.Error("SK_d outlives the IKE SA")
				}
				s.pass(lingerTime)
				if s.order.len()+len(s.sas)+len(s.initial)+len(s.children) > 0 || sa.keys.in != nil {
					t.Error("something is left")
				}
			}
		})
	}
}

// TestMalformedAnswer: the states of the two ends may differ after it, so the IKE SA is closed (RFC 7296 2.21.3).
func TestMalformedAnswer(t *testing.T) {
	s := called(t, nil)
	s.give(Rekey{Conn: "c", Child: "net"})
	h, _ := s.want("rekeys", wire.CREATE_CHILD_SA, false)
	s.answer(wire.INFORMATIONAL, h.MessageID)
	s.wantIdle("ignores the answer of another exchange")
	s.answer(wire.CREATE_CHILD_SA, h.MessageID, &wire.Nonce{Data: make([]byte, 16)}, &wire.Nonce{Data: make([]byte, 16)})
	_, c := s.want("closes the IKE SA", wire.INFORMATIONAL, false)
	if !c.deletesIKE() {
		t.Error("no Delete")
	}
	if s.installs() != 0 {
		t.Error("children stay")
	}
}

// TestInvalidSyntaxAnswer: the peer closed the IKE SA with it, and so do we, without a Delete (RFC 7296 2.21.3).
func TestInvalidSyntaxAnswer(t *testing.T) {
	for _, child := range []string{"", "net"} {
		s := called(t, nil)
		sa := s.sa()
		s.give(Rekey{Conn: "c", Child: child})
		h, _ := s.want("rekeys", wire.CREATE_CHILD_SA, false)
		s.answer(wire.CREATE_CHILD_SA, h.MessageID, notifyOf(wire.INVALID_SYNTAX)...)
		s.wantIdle("does not answer an answer")
		s.wantEvent("tells", Failed)
		s.give(Tick{})
		if !sa.isGone() || s.installs() != 0 || len(s.held) != 0 {
			t.Error("something is left")
		}
	}
}

// TestTemporaryFailure: no retry at once, some over minutes, and the IKE SA is closed in the end (RFC 7296 2.25).
func TestTemporaryFailure(t *testing.T) {
	for _, child := range []string{"", "net"} {
		s := called(t, nil)
		s.give(Rekey{Conn: "c", Child: child})
		tries := 0
		for begin := s.now; ; tries++ {
			h, c := s.want("asks", wire.CREATE_CHILD_SA, false)
			if c.nonce == nil {
				t.Fatal("no nonce")
			}
			s.answer(wire.CREATE_CHILD_SA, h.MessageID, notifyOf(wire.TEMPORARY_FAILURE)...)
			if len(s.sends) > 0 {
				if d := s.now.Sub(begin); d < time.Minute || d > 10*time.Minute || tries != maxTemporary {
					t.Errorf("gives up after %v and %d tries", d, tries)
				}
				break
			}
			asked := s.now
			for len(s.sends) == 0 && s.now.Sub(asked) < time.Minute {
				s.pass(100 * time.Millisecond)
			}
			if d := s.now.Sub(asked); d < retryAfter || d > 2*retryAfter+time.Second {
				t.Fatalf("asks again after %v", d)
			}
		}
		_, c := s.want("closes the IKE SA", wire.INFORMATIONAL, false)
		if !c.deletesIKE() {
			t.Error("no Delete")
		}
	}
}

// TestChildNotFound: the child is dropped without a Delete and asked for anew (RFC 7296 2.25).
//
// Cases: child_rekey regular_responder_lost_sa.
func TestChildNotFound(t *testing.T) {
	for name, start := range map[string]Action{"kept up": Start, "not kept up": None} {
		t.Run(name, func(t *testing.T) {
			s := called(t, func(c *Config) { c.Connections[0].Children[0].StartAction = start; c.Connections[0].RemoteHost = "" })
			s.give(Rekey{Conn: "c", Child: "net"})
			h, c := s.want("rekeys", wire.CREATE_CHILD_SA, false)
			n := c.notify(wire.REKEY_SA)
			if n == nil || !bytes.Equal(n.SPI, s.childOut) || n.Protocol != suite.ESP {
				t.Fatalf("names %v", n)
			}
			s.answer(wire.CREATE_CHILD_SA, h.MessageID, &wire.Notify{Protocol: suite.ESP, SPI: n.SPI, Kind: wire.CHILD_SA_NOT_FOUND})
			s.pass(time.Minute)
			_, c = s.want("asks for a new child", wire.CREATE_CHILD_SA, false)
			if c.notify(wire.REKEY_SA) != nil {
				t.Error("rekeys what is not there")
			}
		})
	}
}

// TestFollow: a host in front of a peer behind a NAT follows a new request, and never to port 500 (RFC 7296 2.23).
//
// Cases: BUG-29.
func TestFollow(t *testing.T) {
	s := called(t, nil)
	s.path.Remote = netip.MustParseAddrPort("192.0.2.2:7777")
	s.request(wire.INFORMATIONAL)
	s.wantEvent("tells", PathChanged, "192.0.2.2:7777")
	repath := 0
	for _, e := range s.all {
		if r, ok := e.(Repath); ok && r.Path == s.path && len(r.Pairs) == 1 {
			repath++
		}
	}
	if repath != 1 || s.sends[0].Path != s.path {
		t.Error("the children or the answer do not go to the new address")
	}
	s.sends = nil
	at := s.path
	s.path = natt.Path{Local: netip.MustParseAddrPort("192.0.2.1:500"), Remote: netip.MustParseAddrPort("192.0.2.2:500")}
	s.request(wire.INFORMATIONAL)
	if s.sa().path != at {
		t.Error("follows back to port 500")
	}
}

// TestShutdown: everybody is told, nobody is waited for long, and nothing is left.
func TestShutdown(t *testing.T) {
	for name, answers := range map[string]bool{"answered": true, "unanswered": false} {
		t.Run(name, func(t *testing.T) {
			s := called(t, nil)
			s.give(Shutdown{})
			h, c := s.want("says goodbye", wire.INFORMATIONAL, false)
			if !c.deletesIKE() || s.installs() != 0 {
				t.Error("no Delete, or children stay")
			}
			if answers {
				s.answer(wire.INFORMATIONAL, h.MessageID)
			} else {
				s.pass(5 * time.Second)
			}
			if !s.Idle() {
				t.Error("not done")
			}
			s.pass(lingerTime)
			s.give(Tick{})
			if _, waits := s.Deadline(); waits || s.order.len()+len(s.sas)+len(s.initial)+len(s.children)+len(s.held)+len(s.halfOpen.of) > 0 {
				t.Error("something is left")
			}
		})
	}
}
