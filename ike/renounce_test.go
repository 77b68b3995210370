package ike

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/explain"
	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/suite"
)

// TestRenounce: an IKE SA that is not wanted any more while its IKE_AUTH is unanswered is deleted when the answer comes, whatever
// that is worth: the peer believes that it is up (RFC 7296 1.4.1, 2.21.2).
func TestRenounce(t *testing.T) {
	for name, c := range map[string]struct {
		answer  func(s *script) []wire.Payload
		deletes bool
	}{
		"established":    {func(s *script) []wire.Payload { return append(s.auth(s.id, s.secret), s.childPayloads(1)...) }, true},
		"a wrong secret": {func(s *script) []wire.Payload { return s.auth(s.id, testSecrets(s.t, "terces")) }, true},
		"no child": {func(s *script) []wire.Payload {
			return append(s.auth(s.id, s.secret), notifyOf(wire.TS_UNACCEPTABLE)...)
		}, true},
		"refused":          {func(s *script) []wire.Payload { return notifyOf(wire.AUTHENTICATION_FAILED) }, false},
		"not to be read":   {func(s *script) []wire.Payload { return append(s.auth(s.id, s.secret), s.auth(s.id, s.secret)...) }, true},
		"nothing of worth": {func(s *script) []wire.Payload { return nil }, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScript(t, nil)
			s.give(Initiate{Conn: "c"})
			s.takeCall()
			s.want("authenticates", wire.IKE_AUTH, false)
			s.give(Terminate{Conn: "c"})
			s.wantIdle("waits for the answer")
			if len(s.held) != 0 {
				t.Error("an SPI is held")
			}
			s.give(Terminate{Conn: "c"})
			s.answer(wire.IKE_AUTH, 1, c.answer(s)...)
			if !c.deletes {
				s.wantIdle("has nothing to delete")
				if s.order.len() > 0 {
					t.Errorf("is kept: %v", s.texts())
				}
				return
			}
			h, got := s.want("deletes", wire.INFORMATIONAL, false)
			if h.MessageID != 2 || !got.deletesIKE() {
				t.Errorf("message %d is no Delete", h.MessageID)
			}
			s.request(wire.CREATE_CHILD_SA, s.newChild(suite.CURVE25519)...)
			s.wantIdle("hears nothing else")
			s.answer(wire.INFORMATIONAL, 2)
			s.wantEvent("tells", Closed, "the operator closed it")
			s.pass(lingerTime)
			if s.order.len() > 0 || s.installs() != 0 || len(s.held) != 0 {
				t.Errorf("something is left: %v", s.texts())
			}
		})
	}
}

// TestRenounceSilence: without an answer there is nobody to tell.
func TestRenounceSilence(t *testing.T) {
	s := newScript(t, nil)
	s.give(Initiate{Conn: "c"})
	s.takeCall()
	s.give(Terminate{Conn: "c"})
	s.give(Initiate{Conn: "c"})
	if s.order.len() != 2 {
		t.Fatalf("the next attempt waits for the end of the one before it: %v", s.texts())
	}
	s.give(Terminate{Conn: "c"})
	s.pass(time.Minute)
	if s.order.len() > 0 {
		t.Errorf("is kept: %v", s.texts())
	}
}

// TestHeldChildOfThePeer: a child that the peer makes of a policy that is down by order lives, and is rekeyed as any other; one that the
// operator closes while it is rekeyed has no successor.
func TestHeldChildOfThePeer(t *testing.T) {
	s := called(t, nil)
	s.give(Terminate{Conn: "c", Child: "net"})
	h, _ := s.want("closes the child", wire.INFORMATIONAL, false)
	s.answer(wire.INFORMATIONAL, h.MessageID)
	s.pass(drainTime)
	s.request(wire.CREATE_CHILD_SA, s.newChild(suite.CURVE25519)...)
	s.want("grants the peer's", wire.CREATE_CHILD_SA, true)

	rekey := func() wire.Header {
		s.give(Rekey{Conn: "c", Child: "net"})
		h, _ := s.want("rekeys it", wire.CREATE_CHILD_SA, false)
		return h
	}
	s.answer(wire.CREATE_CHILD_SA, rekey().MessageID, s.grant(make([]byte, nonceLen))...)
	h, _ = s.want("closes the old one", wire.INFORMATIONAL, false)
	s.answer(wire.INFORMATIONAL, h.MessageID)
	s.wantIdle("and not the new one")
	s.pass(drainTime)
	if list := s.sa().children; len(list) != 1 || list[0].deleting {
		t.Fatalf("%d children: %v", len(list), s.texts())
	}

	h = rekey()
	s.give(Terminate{Conn: "c", Child: "net"})
	s.answer(wire.CREATE_CHILD_SA, h.MessageID, s.grant(make([]byte, nonceLen))...)
	for range 2 {
		h, _ := s.want("closes both", wire.INFORMATIONAL, false)
		s.answer(wire.INFORMATIONAL, h.MessageID)
	}
	s.pass(drainTime)
	if n := len(s.sa().children); n != 0 {
		t.Errorf("%d children are left", n)
	}
}

// counting is a datapath that says how many packets came.
type counting struct {
	*script
	received map[uint32]uint64
}

func (c *counting) Received(spi uint32) uint64 { return c.received[spi] }

// TestProbeAfterRekey: that a replaced child is gone is no sign of life; packets under its successor are (RFC 7296 2.4).
func TestProbeAfterRekey(t *testing.T) {
	const delay = 20 * time.Second
	var count *counting
	s := called(t, func(c *Config) {
		c.Connections[0].DPDDelay = delay
		count = &counting{c.Datapath.(*script), make(map[uint32]uint64)}
		c.Datapath = count
	})
	old := s.sa().children[0].in
	count.received[old] = 100
	s.pass(delay)
	s.wantIdle("hears packets")
	s.give(Rekey{Conn: "c", Child: "net"})
	h, _ := s.want("rekeys", wire.CREATE_CHILD_SA, false)
	s.answer(wire.CREATE_CHILD_SA, h.MessageID, s.grant(make([]byte, nonceLen))...)
	s.want("closes the old one", wire.INFORMATIONAL, false)
	s.answer(wire.INFORMATIONAL, h.MessageID+1)
	s.pass(delay)
	s.want("asks for a sign of life: the old child is gone, that is all", wire.INFORMATIONAL, false)
	s.answer(wire.INFORMATIONAL, h.MessageID+2)
	count.received[s.sa().children[0].in] = 1
	s.pass(delay + time.Second)
	s.wantIdle("hears packets again")
}

// TestAnotherVersion: a peer that answers with another major version is told of, and why nothing comes up; anybody may have sent that, so
// a true answer is waited for (RFC 7296 2.5, 2.21.1).
func TestAnotherVersion(t *testing.T) {
	for version, cookie := range map[byte]uint64{0x10: 0, 0x11: 7, 0x30: 0} {
		s := newScript(t, nil)
		s.give(Initiate{Conn: "c"})
		first := s.sends[0].Data
		answer := wire.AppendMessage(nil, wire.Header{SPIi: s.sa().spiI, SPIr: cookie, Exchange: 5, MessageID: 9}, notifyOf(5))
		answer[17] = version
		there := s.path
		s.path.Remote = netip.MustParseAddrPort("192.0.2.99:500")
		s.deliver(answer)
		s.path = there
		for _, ev := range s.events {
			if ev.Kind == Warned {
				t.Errorf("version %#x: believes somebody else: %q", version, s.texts())
			}
		}
		s.deliver(answer)
		s.wantCause("tells", Warned, explain.IKEv1Only, fmt.Sprintf("in IKEv%d", version>>4))
		s.sends = []Send{{Data: first}}
		s.pass(afterError)
		s.wantCause("says why it is not up", Failed, explain.IKEv1Only, fmt.Sprintf("in IKEv%d", version>>4))

		s = newScript(t, nil)
		s.give(Initiate{Conn: "c"})
		answer = wire.AppendMessage(nil, wire.Header{SPIi: s.sa().spiI, SPIr: cookie, Exchange: 5, MessageID: 9}, notifyOf(5))
		answer[17] = version
		s.deliver(answer)
		s.takeCall()
		s.want("goes on with a true answer", wire.IKE_AUTH, false)
	}
}
