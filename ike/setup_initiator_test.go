package ike

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/suite"
)

// TestAuthReplyFailures: whatever is wrong with the answer to IKE_AUTH, the peer is told in an exchange of its own, the operator
// why, and the attempt is repeated later.
//
// Cases: BUG-03.
func TestAuthReplyFailures(t *testing.T) {
	for _, c := range []struct {
		name  string
		alter func(s *script, list []wire.Payload) []wire.Payload
		told  wire.NotifyType // 0: nothing, the peer refused
		words []string
	}{
		{"another secret", func(s *script, _ []wire.Payload) []wire.Payload { return s.auth(s.id, testSecrets(s.t, "terces")) },
			wire.AUTHENTICATION_FAILED, []string{"another secret"}},
		{"another identity", func(s *script, _ []wire.Payload) []wire.Payload { return s.auth(testID("@somebody"), s.secret) },
			wire.AUTHENTICATION_FAILED, []string{"@somebody", "expects @peer", "remote.id"}},
		{"no AUTH", func(s *script, l []wire.Payload) []wire.Payload { return l[:1] }, wire.INVALID_SYNTAX, []string{"without AUTH"}},
		{"a refusal", func(*script, []wire.Payload) []wire.Payload { return notifyOf(wire.AUTHENTICATION_FAILED) },
			0, []string{"AUTHENTICATION_FAILED", "@us", "its log says which"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScript(t, func(c *Config) { c.Connections[0].Children[0].StartAction = Start })
			s.takeCall()
			s.want("authenticates", wire.IKE_AUTH, false)
			s.answer(wire.IKE_AUTH, 1, c.alter(s, s.auth(s.id, s.secret))...)
			s.wantEvent("explains", Failed, c.words...)
			s.wantEvent("tries again", Retrying)
			if c.told != 0 {
				h, content := s.want("tells the peer", wire.INFORMATIONAL, false)
				if content.notify(c.told) == nil || h.MessageID != 2 {
					t.Errorf("told %v in message %d", content.notifies, h.MessageID)
				}
				s.answer(wire.INFORMATIONAL, 2)
			}
			if s.installs() != 0 || len(s.Snapshot()) != 0 {
				t.Errorf("something is up: %v", s.Snapshot())
			}
			s.give(Tick{})
			if len(s.held) != 0 {
				t.Error("an SPI is held")
			}
			s.sends = nil
			s.path.NATT, s.path.Local, s.path.Remote = false, netip.MustParseAddrPort("192.0.2.1:500"), netip.MustParseAddrPort("192.0.2.2:500")
			s.pass(backoffMin * 2)
			s.want("calls again", wire.IKE_SA_INIT, false)
		})
	}
}

// TestChildRefusedInAuth: the IKE SA stays, and the child is tried again (RFC 7296 2.21.2).
//
// Cases: SGW.I.1.1.6.12.
func TestChildRefusedInAuth(t *testing.T) {
	s := newScript(t, nil)
	s.give(Initiate{Conn: "c"})
	s.takeCall()
	s.want("authenticates", wire.IKE_AUTH, false)
	s.answer(wire.IKE_AUTH, 1, append(s.auth(s.id, s.secret), notifyOf(wire.TS_UNACCEPTABLE)...)...)
	s.wantEvent("is up", Established)
	s.wantEvent("explains", ChildFailed, "TS_UNACCEPTABLE", "local_ts")
	s.wantIdle("does not insist at once")
	s.pass(2 * backoffMin)
	s.want("tries again", wire.CREATE_CHILD_SA, false)
}

// TestDetours: COOKIE and INVALID_KE_PAYLOAD as initiator (RFC 7296 2.6, 1.2, 2.6.1).
//
// Cases: BUG-15; SGW.I.1.1.5.1; SGW.I.1.1.5.2; SGW.I.1.1.5.3; SGW.I.1.1.6.11; add_notify.
func TestDetours(t *testing.T) {
	s := newScript(t, nil)
	s.give(Initiate{Conn: "c"})
	h, first := s.want("calls", wire.IKE_SA_INIT, false)
	if first.ke.Group != suite.CURVE25519 {
		t.Fatalf("group %d", first.ke.Group)
	}
	s.spiI = h.SPIi
	refuse := func(kind wire.NotifyType, data []byte) {
		s.send(s.header(wire.IKE_SA_INIT, 0, true), &wire.Notify{Kind: kind, Data: data})
	}
	refuse(wire.COOKIE, []byte("biscuit"))
	if m, _ := wire.Parse(s.sends[0].Data); m.Payloads[0].Type() != wire.TypeNOTIFY {
		t.Error("the cookie does not stand first")
	}
	h2, second := s.want("repeats with the cookie", wire.IKE_SA_INIT, false)
	if string(second.notify(wire.COOKIE).Data) != "biscuit" || h2.SPIi != h.SPIi || h2.MessageID != 0 ||
		!bytes.Equal(second.nonce.Data, first.nonce.Data) || !bytes.Equal(second.ke.Data, first.ke.Data) {
		t.Error("more than the cookie changed")
	}
	refuse(wire.COOKIE, []byte("biscuit"))
	s.wantIdle("does not answer twice to an answer that came twice")
	refuse(wire.INVALID_KE_PAYLOAD, []byte{0, suite.MODP2048})
	s.wantIdle("ignores a group that was not offered")
	refuse(wire.INVALID_KE_PAYLOAD, []byte{0})
	refuse(wire.COOKIE, nil)
	refuse(wire.COOKIE, make([]byte, 65))
	s.wantIdle("ignores what is malformed")
	refuse(wire.INVALID_KE_PAYLOAD, []byte{0, suite.ECP256})
	_, third := s.want("takes the other group", wire.IKE_SA_INIT, false)
	if third.ke.Group != suite.ECP256 || string(third.notify(wire.COOKIE).Data) != "biscuit" || !bytes.Equal(third.nonce.Data, first.nonce.Data) {
		t.Error("not the same request with another group")
	}
	if !reflect.DeepEqual(third.sa, first.sa) {
		t.Error("not all suites are proposed again (RFC 7296 1.2)")
	}
	for i := range 20 {
		refuse(wire.COOKIE, binary.BigEndian.AppendUint32(nil, uint32(i)))
	}
	if len(s.sends) > maxDetours {
		t.Errorf("%d cookies are taken", len(s.sends))
	}
	s.wantEvent("gives up", Failed, "keeps asking")
}

// TestUnauthenticatedErrors: an error that anybody may have sent does not stop the attempt: a true answer may follow (RFC 7296
// 2.21.1).
//
// Cases: BUG-16; add_notify.
func TestUnauthenticatedErrors(t *testing.T) {
	for _, kind := range []wire.NotifyType{wire.NO_PROPOSAL_CHOSEN, wire.INVALID_SYNTAX, wire.AUTHENTICATION_FAILED, wire.INVALID_MAJOR_VERSION, 8000} {
		t.Run(kind.String(), func(t *testing.T) {
			for _, follows := range []bool{true, false} {
				s := newScript(t, nil)
				s.give(Initiate{Conn: "c"})
				h, _ := wire.ParseHeader(s.sends[0].Data)
				s.spiI = h.SPIi
				s.send(s.header(wire.IKE_SA_INIT, 0, true), &wire.Notify{Kind: kind})
				s.wantEvent("tells", Warned, kind.String())
				if follows {
					s.takeCall()
					s.want("goes on with the true answer", wire.IKE_AUTH, false)
					continue
				}
				s.pass(afterError + time.Second)
				s.wantEvent("gives up in the end", Failed, kind.String())
			}
		})
	}
}

// TestBadInitAnswers: an answer to IKE_SA_INIT that is not to the point is ignored; a true one may follow.
//
// Cases: BUG-01; SGW.I.1.1.6.9; set_ike_version.
func TestBadInitAnswers(t *testing.T) {
	chosen := one(testProposal(suite.IKE, testIKE)[0], 0)
	for name, alter := range map[string]func(s *script, l []wire.Payload) []wire.Payload{
		"no nonce": func(_ *script, l []wire.Payload) []wire.Payload { return append(l[:2:2], l[3:]...) },
		"another proposal": func(s *script, _ []wire.Payload) []wire.Payload {
			return s.initPayloads([]suite.Proposal{one(testProposal(suite.IKE, "aes256-sha1-x25519")[0], 0)}, suite.CURVE25519, 1)
		},
		"another number": func(s *script, _ []wire.Payload) []wire.Payload {
			return s.initPayloads([]suite.Proposal{chosen}, suite.CURVE25519, 2)
		},
		"two groups": func(s *script, _ []wire.Payload) []wire.Payload {
			return s.initPayloads(testProposal(suite.IKE, testIKE), suite.CURVE25519, 1)
		},
		"another group": func(s *script, _ []wire.Payload) []wire.Payload {
			return s.initPayloads([]suite.Proposal{chosen}, suite.ECP256, 1)
		},
		"zeros": func(_ *script, l []wire.Payload) []wire.Payload {
			l[1] = &wire.KE{Group: suite.CURVE25519, Data: make([]byte, 32)}
			return l
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScript(t, nil)
			s.give(Initiate{Conn: "c"})
			call := s.sends
			h, _ := wire.ParseHeader(call[0].Data)
			s.sends, s.spiI, s.spiR = nil, h.SPIi, 0xbbbb
			s.send(s.header(wire.IKE_SA_INIT, 0, true), alter(s, s.initPayloads([]suite.Proposal{chosen}, suite.CURVE25519, 1))...)
			s.wantIdle("ignores it")
			s.wantEvent("tells", Dropped, "IKE_SA_INIT")
			s.sends = call
			s.takeCall()
			s.want("goes on with the true answer", wire.IKE_AUTH, false)
		})
	}
}

// TestSilence: an attempt that nobody answers ends, with what to look at.
//
// Cases: SGW.I.1.1.2.1; SGW.I.1.1.3.3.
func TestSilence(t *testing.T) {
	s := newScript(t, nil)
	s.give(Initiate{Conn: "c"})
	s.pass(15 * time.Second)
	at500, at4500 := s.sent()
	if len(at500) != 4 || len(at4500) != 2 {
		t.Errorf("%d transmissions to port 500, want 4, and %d to 4500, want 2", len(at500), len(at4500))
	}
	for _, list := range [][][]byte{at500, at4500} {
		for _, b := range list[1:] {
			if !bytes.Equal(b, list[0]) {
				t.Error("a retransmission differs")
			}
		}
	}
	s.wantEvent("explains", Failed, "no answer", "500 and 4500")

	s = newScript(t, nil)
	s.give(Initiate{Conn: "c"})
	s.takeCall()
	s.pass(15 * time.Second)
	s.wantEvent("explains", Failed, "no answer to IKE_AUTH", "4500")
	s.give(Tick{})
	if len(s.held) > 0 {
		t.Error("an SPI is held")
	}
}
