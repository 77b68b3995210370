package ike

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"github.com/culvert-vpn/culvert/ident"
	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/suite"
)

// at500 takes the peer back to where first messages come from.
func (s *script) at500() {
	s.path.NATT = false
	s.path.Local, s.path.Remote = netip.MustParseAddrPort("192.0.2.1:500"), netip.MustParseAddrPort("192.0.2.2:500")
}

// TestGroupPingPong: a peer that asks for another key exchange again and again, or for none, is not obeyed without end (RFC 7296 1.3).
//
// Cases: BUG-15.
func TestGroupPingPong(t *testing.T) {
	for name, c := range map[string]struct {
		child  string
		groups []uint16
	}{
		"child, NONE":    {"net", []uint16{suite.KE_NONE}},
		"child, two":     {"net", []uint16{suite.ECP256, suite.CURVE25519}},
		"IKE SA, two":    {"", []uint16{suite.ECP256, suite.CURVE25519}},
		"IKE SA, NONE":   {"", []uint16{suite.KE_NONE}},
		"child, strange": {"net", []uint16{99}},
	} {
		t.Run(name, func(t *testing.T) {
			s := calling(t, func(c *Config) {
				c.Connections[0].Children[0].Proposals = testProposal(suite.ESP, "aes128gcm16-x25519-ecp256-none")
			})
			s.give(Rekey{Conn: "c", Child: c.child})
			for n := 0; len(s.sends) > 0; n++ {
				if n == 3 {
					t.Fatal("asks without a pause")
				}
				h, _ := s.want("rekeys", wire.CREATE_CHILD_SA, false)
				group := binary.BigEndian.AppendUint16(nil, c.groups[n%len(c.groups)])
				s.answer(wire.CREATE_CHILD_SA, h.MessageID, &wire.Notify{Kind: wire.INVALID_KE_PAYLOAD, Data: group})
			}
		})
	}
}

// TestEAPRefused: a peer that asks for EAP by leaving out AUTH made no mistake of syntax (RFC 7296 2.16).
func TestEAPRefused(t *testing.T) {
	s := newScript(t, nil)
	s.call()
	s.request(wire.IKE_AUTH, append(s.auth(s.id, s.secret)[:1], s.childPayloads(1)...)...)
	s.wantNotify("refuses", wire.IKE_AUTH, wire.AUTHENTICATION_FAILED)
	s.wantEvent("tells why", Failed, "EAP", "pre-shared key")
	if s.installs() != 0 || len(s.Snapshot()) != 0 {
		t.Error("something is up")
	}
}

// TestKeepAsks: with unique = keep the first IKE SA is asked for a sign of life when a second one is refused, or a peer that was
// restarted would be shut out for ever.
func TestKeepAsks(t *testing.T) {
	s := called(t, func(c *Config) { c.Connections[0].Unique = UniqueKeep })
	first := s.sa()
	s.at500()
	s.path.Remote = netip.MustParseAddrPort("192.0.2.9:500") // elsewhere: at the same address it would be set up anew
	s.spiI, s.spiR = 0xcccc, 0
	s.first = s.send(s.header(wire.IKE_SA_INIT, 0, false), s.initPayloads(testProposal(suite.IKE, testIKE), suite.CURVE25519, 1)...)
	h, c := s.want("answers IKE_SA_INIT", wire.IKE_SA_INIT, true)
	s.spiR, s.nonceR = h.SPIr, slices.Clone(c.nonce.Data)
	s.derive(c.ke.Data)
	s.nextID = 1
	s.request(wire.IKE_AUTH, append(s.auth(s.id, s.secret), s.childPayloads(1)...)...)
	s.wantNotify("refuses the second", wire.IKE_AUTH, wire.AUTHENTICATION_FAILED)
	if len(s.sends) != 1 || !first.isAsking() {
		t.Fatal("the first is not asked")
	}
	s.pass(s.cfg.Retransmit.wait(1) * 32)
	if !first.removed {
		t.Error("the first is still there")
	}
}

// TestInitialContactToAny: two connections to one peer whose identity is not configured do not drop each other (RFC 7296 2.4).
func TestInitialContactToAny(t *testing.T) {
	s := newScript(t, func(c *Config) {
		one := *c.Connections[0]
		one.RemoteID = ident.Pattern{}
		two, child := one, *one.Children[0]
		two.Name, two.Children = "d", []*Child{&child}
		c.Connections = []*Connection{&one, &two}
	})
	for i, conn := range []string{"c", "d"} {
		s.at500()
		s.give(Initiate{Conn: conn})
		s.takeCall()
		_, c := s.want("authenticates", wire.IKE_AUTH, false)
		if got := c.notify(wire.INITIAL_CONTACT) != nil; got != (i == 0) {
			t.Errorf("INITIAL_CONTACT of connection %s: %v", conn, got)
		}
		s.answer(wire.IKE_AUTH, 1, append(s.auth(s.id, s.secret), s.childPayloads(1)...)...)
	}
}

// TestNullIdentity: an identity that is none is not even "any".
//
// Cases: BUG-08.
func TestNullIdentity(t *testing.T) {
	for _, raw := range [][]byte{{13, 0, 0, 0}, {201, 0, 0, 0, 'x'}, {2, 0, 0, 0}, {1, 0, 0, 0, 192, 0, 2}} {
		s := newScript(t, func(c *Config) { c.Connections[0].RemoteID = ident.Pattern{} })
		s.give(Initiate{Conn: "c"})
		s.takeCall()
		s.want("authenticates", wire.IKE_AUTH, false)
		signed := s.keys.signed(append(slices.Clone(s.first), s.nonceI...), s.keys.pr, raw)
		auth := &wire.Auth{Method: wire.AuthSharedKey, Data: s.secret.Lookup(s.id, testID("@us"))[0].Auth(s.keys.prf, signed)}
		s.answer(wire.IKE_AUTH, 1, append([]wire.Payload{&wire.ID{Responder: true, Raw: raw}, auth}, s.childPayloads(1)...)...)
		if s.installs() != 0 {
			t.Errorf("identity %x is accepted", raw)
		}
		s.wantEvent("tells why", Failed, "unknown type")
	}
}

// TestNoBusyLoop: whatever a peer closes over and over is not asked for again in the same moment.
func TestNoBusyLoop(t *testing.T) {
	for name, end := range map[string]func(*script){
		"cannot read our request": func(s *script) {
			s.give(Rekey{Conn: "c", Child: "net"})
			h, _ := s.want("rekeys", wire.CREATE_CHILD_SA, false)
			s.answer(wire.CREATE_CHILD_SA, h.MessageID, &wire.Notify{Kind: wire.INVALID_SYNTAX})
		},
		"does not accept our AUTH": func(s *script) {
			s.request(wire.INFORMATIONAL, &wire.Notify{Kind: wire.AUTHENTICATION_FAILED})
			s.want("answers", wire.INFORMATIONAL, true)
		},
		"sends a malformed request": func(s *script) {
			s.request(wire.CREATE_CHILD_SA, &wire.Nonce{Data: make([]byte, 32)})
			s.wantNotify("answers", wire.CREATE_CHILD_SA, wire.INVALID_SYNTAX)
		},
		"closes the child": func(s *script) {
			s.request(wire.INFORMATIONAL, &wire.Delete{Protocol: suite.ESP, SPIs: [][]byte{s.childIn}})
			s.want("answers", wire.INFORMATIONAL, true)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScript(t, func(c *Config) { c.Connections[0].Children[0].StartAction = Start })
			s.takeCall()
			s.want("authenticates", wire.IKE_AUTH, false)
			s.answer(wire.IKE_AUTH, 1, append(s.auth(s.id, s.secret), s.childPayloads(1)...)...)
			end(s)
			s.wantIdle("waits")
			s.pass(2 * backoffMin)
			if len(s.sends) == 0 {
				t.Error("does not ask again")
			}
		})
	}
}

// TestClosedChildMovesNothing: packets of a closed child that are still on their way do not turn the address back.
func TestClosedChildMovesNothing(t *testing.T) {
	s := called(t, nil)
	s.request(wire.INFORMATIONAL, &wire.Delete{Protocol: suite.ESP, SPIs: [][]byte{s.childIn}})
	before, moved := s.sa().path, s.sa().path
	moved.Remote = netip.MustParseAddrPort("198.51.100.9:4500")
	s.give(Moved{SPI: binary.BigEndian.Uint32(s.childOut), Path: moved})
	if s.sa().path != before {
		t.Error("it moved the IKE SA")
	}
}

// TestManyChildren: a peer gets many Child SAs, not any number.
func TestManyChildren(t *testing.T) {
	s := called(t, func(c *Config) {
		c.Connections[0].Children[0].Proposals = testProposal(suite.ESP, "aes128gcm16")
	})
	n := 1
	for ; n <= maxChildren; n++ {
		s.childIn = binary.BigEndian.AppendUint32(nil, uint32(0x10000+n))
		s.request(wire.CREATE_CHILD_SA, append(s.childPayloads(1), &wire.Nonce{Data: make([]byte, 32)})...)
		_, c := s.want("answers", wire.CREATE_CHILD_SA, true)
		if c.sa == nil {
			break
		}
	}
	if n != maxChildren || len(s.sa().children) != maxChildren {
		t.Errorf("refused number %d", n+1)
	}
	s.wantEvent("tells", ChildFailed, "Child SAs")
}

// TestManySuccessors: the same for a peer that rekeys and never closes what was replaced.
//
// Cases: TestResponderRekeyRepeat.
func TestManySuccessors(t *testing.T) {
	s := called(t, func(c *Config) {
		c.Connections[0].Children[0].Proposals = testProposal(suite.ESP, "aes128gcm16")
	})
	for n := range 3 * maxChildren {
		rekey := &wire.Notify{Protocol: suite.ESP, SPI: s.childIn, Kind: wire.REKEY_SA}
		s.childIn = binary.BigEndian.AppendUint32(nil, uint32(0x10000+n))
		s.request(wire.CREATE_CHILD_SA, append(s.childPayloads(1), rekey, &wire.Nonce{Data: make([]byte, 32)})...)
		if _, c := s.want("answers", wire.CREATE_CHILD_SA, true); c.sa == nil {
			break
		}
	}
	if n := len(s.sa().children); n != 2*maxChildren {
		t.Errorf("%d Child SAs", n)
	}
}
