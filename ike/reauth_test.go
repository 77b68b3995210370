package ike

import (
	"fmt"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/psk"
	"github.com/culvert-vpn/culvert/suite"
)

// beside lets the peer speak under the keys and the SPIs of another IKE SA than the current one.
func (s *script) beside(other script, do func()) {
	current := *s
	s.keys, s.spiI, s.spiR, s.initiator = other.keys, other.spiI, other.spiR, other.initiator
	do()
	s.keys, s.spiI, s.spiR, s.initiator = current.keys, current.spiI, current.spiR, current.initiator
}

// renewal lets the endpoint call for a new IKE SA next to the one that is up, and answers up to IKE_AUTH, with a secret.
func (s *script) renewal(secret *psk.Store) *content {
	s.t.Helper()
	s.takeCall()
	_, c := s.want("authenticates anew", wire.IKE_AUTH, false)
	s.childIn = []byte{0, 0, 9, s.childIn[3] + 1}
	s.answer(wire.IKE_AUTH, 1, append(s.auth(s.id, secret), s.childPayloads(1)...)...)
	return c
}

// TestReauthMakeBeforeBreak: the new IKE SA comes first, without INITIAL_CONTACT, which would end the old one (RFC 7296 2.4), and
// without REKEY_SA; then the old one is deleted, and its inbound half goes last (2.8.3).
func TestReauthMakeBeforeBreak(t *testing.T) {
	s := calling(t, nil)
	old, oldSA := *s, s.sa()
	oldSA.reauthenticateBy(s.now.Add(time.Hour))
	s.give(Tick{})
	s.pass(time.Hour - time.Second)
	s.wantIdle("reauthenticates too early")
	s.pass(time.Second)
	c := s.renewal(s.secret)
	if c.notify(wire.INITIAL_CONTACT) != nil || c.notify(wire.REKEY_SA) != nil {
		t.Errorf("IKE_AUTH carries %v", c.notifies)
	}
	if n := s.installs(); n != 4 {
		t.Fatalf("%d halves are installed, want 4: %v", n, s.texts())
	}
	s.wantEvent("tells", Reauthenticated)
	s.wantIdle("deletes the old one while packets are on their way")
	s.pass(settleTime)
	s.beside(old, func() {
		h, c := s.want("deletes the old one", wire.INFORMATIONAL, false)
		if !c.deletesIKE() || h.SPIi != old.spiI {
			t.Errorf("%v instead of a Delete of the old IKE SA", c)
		}
		s.answer(wire.INFORMATIONAL, h.MessageID)
	})
	if n := s.installs(); n != 3 {
		t.Errorf("%d halves are installed, want the new ones and the old inbound one", n)
	}
	s.pass(drainTime)
	if n := s.installs(); n != 2 {
		t.Errorf("%d halves are installed, want 2", n)
	}
	for _, ev := range s.events {
		if ev.Kind == ChildDown {
			t.Error("a child is said to be down")
		}
	}
}

// TestReauthWrongSecret: a peer whose secret is another one by now is told so, its IKE SA that was set up with the old secret lives on
// to its end, and the next attempt follows.
func TestReauthWrongSecret(t *testing.T) {
	s := calling(t, func(c *Config) { c.Connections[0].ReauthTime, c.Connections[0].OverTime = time.Hour, 10*time.Minute })
	old := s.sa()
	s.pass(time.Hour)
	s.renewal(testSecrets(t, "another"))
	s.wantEvent("tells why", Failed, "has another secret than we have for it")
	s.wantEvent("tells what follows", Retrying, "attempt 1 to set the IKE SA up anew failed", "the present one stays for 10m0s")
	h, c := s.want("tells the peer", wire.INFORMATIONAL, false)
	if c.notify(wire.AUTHENTICATION_FAILED) == nil {
		t.Errorf("%v instead of AUTHENTICATION_FAILED", c.notifies)
	}
	s.answer(wire.INFORMATIONAL, h.MessageID)
	s.at500()
	if !old.isCurrent() || s.installs() != 2 {
		t.Error("the old one is gone")
	}
	s.pass(2 * backoffMin)
	s.takeCall()
	s.pass(10 * time.Minute)
	if old.isCurrent() {
		t.Error("the old one outlives its time")
	}
}

// TestReauthDespiteOther: what is to be set up anew at a time of its own, be it after an attempt that failed or when the peer has had its
// time to do it, is set up anew then, although the IKE SA is rekeyed or another configuration is loaded meanwhile.
func TestReauthDespiteOther(t *testing.T) {
	for name, meanwhile := range map[string]func(s *script){
		"rekeyed": func(s *script) {
			e := &encounter{script: s, sa: s.order.at(0), same: s.childIn}
			s.request(wire.CREATE_CHILD_SA, e.successor()...)
			if _, c := s.want("grants a successor", wire.CREATE_CHILD_SA, true); c.sa == nil {
				s.t.Fatalf("%v", c.notifies)
			}
			s.request(wire.INFORMATIONAL, &wire.Delete{Protocol: suite.IKE})
			s.want("answers the Delete", wire.INFORMATIONAL, true)
		},
		"reconfigured": func(s *script) {
			s.reconfigure(func(c *Config) { c.Connections[0].OverTime = 10 * time.Minute })
		},
	} {
		t.Run(name+" after an attempt", func(t *testing.T) {
			s := calling(t, nil)
			old := *s
			s.give(Reauth{Conn: "c"})
			s.renewal(testSecrets(t, "another"))
			h, _ := s.want("tells the peer", wire.INFORMATIONAL, false)
			s.answer(wire.INFORMATIONAL, h.MessageID)
			s.at500()
			s.beside(old, func() { meanwhile(s) })
			s.wantIdle("it is too early")
			s.pass(2 * backoffMin)
			s.takeCall()
		})
		t.Run(name+" while the peer has its time", func(t *testing.T) {
			s := called(t, nil)
			s.sa().awaitPeer()
			meanwhile(s)
			s.pass(replacedTime - time.Second)
			s.wantIdle("it is too early")
			s.pass(time.Second)
			s.want("calls", wire.IKE_SA_INIT, false)
		})
	}
}

// TestReauthHeld: the answer to a peer that sets its IKE SA up anew may come late, so the old Child SA is sent under until the peer is
// seen to use the new one, or has had the time to.
func TestReauthHeld(t *testing.T) {
	again := func(t *testing.T) (s *script, old script) {
		s = called(t, nil)
		s.at500()
		old = *s
		s.initiator, s.spiI, s.spiR = true, 0xcccc, 0
		s.first = s.send(s.header(wire.IKE_SA_INIT, 0, false), s.initPayloads(testProposal(suite.IKE, testIKE), suite.CURVE25519, 1)...)
		h, c := s.want("answers IKE_SA_INIT", wire.IKE_SA_INIT, true)
		s.spiR, s.nonceR = h.SPIr, clone(c.nonce.Data)
		s.derive(c.ke.Data)
		s.nextID, s.childIn = 1, []byte{0, 0, 9, 10}
		s.request(wire.IKE_AUTH, append(s.auth(s.id, s.secret), s.childPayloads(1)...)...)
		if n := s.installs(); n != 3 {
			t.Fatalf("%d halves are installed, want 3", n)
		}
		s.want("answers IKE_AUTH", wire.IKE_AUTH, true)
		return s, old
	}
	t.Run("used", func(t *testing.T) {
		s, _ := again(t)
		for sa := range s.order.all() {
			for _, c := range sa.children {
				s.give(Used{SPI: c.in})
			}
		}
		if n := s.installs(); n != 4 {
			t.Errorf("%d halves are installed, want 4", n)
		}
	})
	t.Run("late", func(t *testing.T) {
		s, _ := again(t)
		s.pass(heldTime)
		if n := s.installs(); n != 4 {
			t.Errorf("%d halves are installed, want 4", n)
		}
	})
	// The peer may stop to receive under the old one when it has the answer to its Delete: what was sent under it goes first.
	for _, repeated := range []bool{false, true} {
		t.Run(fmt.Sprintf("deleted, repeated %v", repeated), func(t *testing.T) {
			s, old := again(t)
			s.beside(old, func() {
				s.nextID = old.nextID
				request := s.request(wire.INFORMATIONAL, &wire.Delete{Protocol: suite.IKE})
				if n := s.installs(); n != 3 {
					t.Errorf("%d halves are installed, want both new ones and the old inbound one", n)
				}
				s.wantIdle("answers while packets are on their way")
				if repeated {
					s.deliver(request)
				} else {
					s.pass(answerTime - 1)
					s.wantIdle("answers while packets are on their way")
					if s.Idle() {
						t.Error("the answer is not waited for")
					}
					s.pass(1)
				}
				s.want("answers the Delete", wire.INFORMATIONAL, true)
				s.pass(answerTime)
				s.wantIdle("answers again")
			})
		})
	}
}
