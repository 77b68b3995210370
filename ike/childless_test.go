package ike

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"

	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/suite"
)

// childless sets the key of the connection.
func childless(how Childless) func(*Config) {
	return func(c *Config) { c.Connections[0].Childless = how }
}

// takeCallAnnouncing answers IKE_SA_INIT as a responder that takes IKE_AUTH without a child.
func (s *script) takeCallAnnouncing() {
	s.t.Helper()
	s.childless = true
	s.takeCall()
}

// TestChildlessCall: a caller leaves the child away if it is to and the responder has announced that it takes that, and not otherwise
// (RFC 6023 3); one that insists gives up, and says why.
//
// Cases: childless.
func TestChildlessCall(t *testing.T) {
	for _, c := range []struct {
		how       Childless
		announced bool
		child     bool
		fails     bool
	}{
		{ChildlessAllow, true, true, false}, {ChildlessNever, true, true, false},
		{ChildlessPrefer, true, false, false}, {ChildlessForce, true, false, false},
		{ChildlessAllow, false, true, false}, {ChildlessNever, false, true, false},
		{ChildlessPrefer, false, true, false}, {ChildlessForce, false, false, true},
	} {
		t.Run(fmt.Sprintf("%d, announced %v", c.how, c.announced), func(t *testing.T) {
			s := newScript(t, childless(c.how))
			s.give(Initiate{Conn: "c"})
			s.childless = c.announced
			s.takeCall()
			if c.fails {
				s.wantIdle("goes on")
				s.wantEvent("explains", Failed, "without a child", "childless = allow", "childless = prefer")
				s.wantEvent("tries again", Retrying)
				return
			}
			_, got := s.want("authenticates", wire.IKE_AUTH, false)
			if got.isChildless() == c.child {
				t.Errorf("IKE_AUTH: %+v", got)
			}
			for _, kind := range []wire.NotifyType{wire.USE_TRANSPORT_MODE, wire.CHILDLESS_IKEV2_SUPPORTED} {
				if got.notify(kind) != nil {
					t.Errorf("IKE_AUTH has %v", kind)
				}
			}
		})
	}
}

// TestChildlessFirstChild: the children of an IKE SA that came up without any are negotiated at once, the first with a key exchange of
// its own (RFC 7296 1.3.1).
func TestChildlessFirstChild(t *testing.T) {
	s := newScript(t, func(c *Config) {
		childless(ChildlessForce)(c)
		c.Connections[0].Children[0].StartAction = Start
	})
	s.takeCallAnnouncing()
	s.want("authenticates", wire.IKE_AUTH, false)
	s.answer(wire.IKE_AUTH, 1, s.auth(s.id, s.secret)...)
	s.wantEvent("is up", Established)
	h, c := s.want("asks for the child", wire.CREATE_CHILD_SA, false)
	if shapeChild.check(c) != nil || c.ke == nil || c.ke.Group != suite.CURVE25519 {
		t.Fatalf("asks for %+v", c)
	}
	s.answer(wire.CREATE_CHILD_SA, h.MessageID, s.grant(make([]byte, nonceLen))...)
	s.wantEvent("the child is up", ChildUp)
	if s.installs() != 2 {
		t.Errorf("%d halves are installed: %v", s.installs(), s.texts())
	}
}

// TestChildlessByPacket: the packet that brought the IKE SA up comes first in the selectors of its first child (RFC 7296 2.9).
func TestChildlessByPacket(t *testing.T) {
	s := newScript(t, childless(ChildlessPrefer))
	p := packetTo("10.2.0.6")
	s.give(Acquire{Conn: "c", Child: "net", Packet: p})
	s.takeCallAnnouncing()
	s.want("authenticates", wire.IKE_AUTH, false)
	s.answer(wire.IKE_AUTH, 1, s.auth(s.id, s.secret)...)
	_, c := s.want("asks for the child", wire.CREATE_CHILD_SA, false)
	if c.tsi == nil || len(c.tsi.Selectors) != 2 || c.tsi.Selectors[0].Start != p.Src {
		t.Errorf("asks for %+v", c.tsi)
	}
}

// TestChildlessAddress: the inner address is assigned in IKE_AUTH, and the first child, in CREATE_CHILD_SA, is for it (RFC 6023 5).
func TestChildlessAddress(t *testing.T) {
	s := newScript(t, func(c *Config) {
		childless(ChildlessPrefer)(c)
		c.Connections[0].VIPs = []netip.Addr{netip.IPv4Unspecified()}
		c.Connections[0].Children[0].LocalTS = testSpec("dynamic")
	})
	s.give(Initiate{Conn: "c"})
	s.takeCallAnnouncing()
	if _, c := s.want("authenticates", wire.IKE_AUTH, false); c.cp == nil || c.cp.Kind != wire.CFG_REQUEST || !c.isChildless() {
		t.Fatalf("IKE_AUTH: %+v", c)
	}
	s.answer(wire.IKE_AUTH, 1, append(s.auth(s.id, s.secret), &wire.CP{Kind: wire.CFG_REPLY, Attributes: []wire.Attribute{ip4("10.9.0.5")}})...)
	_, c := s.want("asks for the child", wire.CREATE_CHILD_SA, false)
	if want := netip.MustParseAddr("10.9.0.5"); len(c.tsi.Selectors) != 1 || c.tsi.Selectors[0].Start != want || c.tsi.Selectors[0].End != want {
		t.Errorf("asks for %v", c.tsi.Selectors)
	}
}

// TestChildlessAnswer: a responder announces that it takes IKE_AUTH without a child, with protocol 1 and no SPI (RFC 6023 3, 4), takes
// it, and answers it without one; and with one if it was asked for one. With `never` it does neither, and refuses it; with `force` it
// refuses one with a child.
//
// Cases: childless.
func TestChildlessAnswer(t *testing.T) {
	for _, how := range []Childless{ChildlessAllow, ChildlessPrefer, ChildlessForce, ChildlessNever} {
		for _, child := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d, child %v", how, child), func(t *testing.T) {
				s := newScript(t, childless(how))
				s.call()
				announced := bytes.Contains(s.theirFirst, []byte{0, 8, 1, 0, 0x40, 0x22}) // 16418
				if announced != (how != ChildlessNever) {
					t.Errorf("announced: %v", announced)
				}
				list := s.auth(s.id, s.secret)
				if child {
					list = append(list, s.childPayloads(1)...)
				}
				s.request(wire.IKE_AUTH, list...)
				_, c := s.want("answers", wire.IKE_AUTH, true)
				if how == ChildlessForce && child || how == ChildlessNever && !child {
					if c.notify(wire.INVALID_SYNTAX) == nil || c.auth != nil || s.installs() != 0 {
						t.Errorf("answers %+v", c)
					}
					s.wantEvent("explains", Failed, "child", "childless = ")
					s.pass(halfOpenTime)
					if s.order.len() != 0 {
						t.Error("the IKE SA is kept")
					}
					return
				}
				if c.auth == nil || c.isChildless() == child || !s.sa().isCurrent() {
					t.Fatalf("answers %+v", c)
				}
				if child {
					return
				}
				s.request(wire.CREATE_CHILD_SA, s.newChild(suite.CURVE25519)...)
				if _, c = s.want("grants the child", wire.CREATE_CHILD_SA, true); c.ke == nil || s.installs() != 2 {
					t.Errorf("the child: %+v", c)
				}
			})
		}
	}
}

// TestChildlessHalf: what says something of a child, and not enough, is neither.
func TestChildlessHalf(t *testing.T) {
	for left := range 3 {
		s := newScript(t, nil)
		s.call()
		child := s.childPayloads(1)
		s.request(wire.IKE_AUTH, append(s.auth(s.id, s.secret), append(child[:left:left], child[left+1:]...)...)...)
		s.wantNotify("refuses", wire.IKE_AUTH, wire.INVALID_SYNTAX)
		s.wantEvent("explains", Failed, "child in IKE_AUTH without")
	}
}

// TestChildlessBesideNever: it is announced only if every connection that the peer may mean takes it: which one that is, IKE_SA_INIT does
// not tell, and who was told so must not be refused (RFC 6023 3).
func TestChildlessBesideNever(t *testing.T) {
	s := newScript(t, func(c *Config) {
		other := *c.Connections[0]
		other.Name, other.RemoteID, other.Childless = "other", testPattern("@other"), ChildlessNever
		c.Connections = append(c.Connections, &other)
	})
	s.call()
	s.request(wire.IKE_AUTH, s.auth(s.id, s.secret)...)
	s.wantNotify("refuses", wire.IKE_AUTH, wire.INVALID_SYNTAX)
	s.wantEvent("explains", Failed, "was not announced", "one of the connections for its address")
}

// TestChildlessRefused: the answer INVALID_SYNTAX to IKE_AUTH ends the IKE SA at the peer, though its AUTH stands beside (RFC 7296 2.21.2):
// so does a peer that wants no child in IKE_AUTH.
//
// Cases: childless.
func TestChildlessRefused(t *testing.T) {
	s := newScript(t, func(c *Config) { c.Connections[0].Children[0].StartAction = Start })
	s.takeCallAnnouncing()
	s.want("authenticates", wire.IKE_AUTH, false)
	s.answer(wire.IKE_AUTH, 1, append(s.auth(s.id, s.secret), &wire.Notify{Kind: wire.INVALID_SYNTAX})...)
	s.wantEvent("explains", Failed, "INVALID_SYNTAX", "childless")
	s.wantIdle("there is nothing to delete")
	if s.order.len() != 0 || len(s.held) != 0 {
		t.Errorf("something is kept: %v", s.texts())
	}
}

// TestChildlessReauth: the new IKE SA comes up without a child as well, gets those of the old one, and only then the old one is deleted.
func TestChildlessReauth(t *testing.T) {
	s := calling(t, nil)
	s.order.at(0).conn.Childless = ChildlessPrefer
	old := *s
	s.give(Reauth{Conn: "c"})
	s.takeCallAnnouncing()
	s.want("authenticates anew", wire.IKE_AUTH, false)
	s.answer(wire.IKE_AUTH, 1, s.auth(s.id, s.secret)...)
	h, c := s.want("asks for the child", wire.CREATE_CHILD_SA, false)
	if c.ke == nil || s.installs() != 2 {
		t.Fatalf("asks for %+v, %d halves are installed", c, s.installs())
	}
	s.wantIdle("the old one is deleted too early")
	s.answer(wire.CREATE_CHILD_SA, h.MessageID, s.grant(make([]byte, nonceLen))...)
	s.wantEvent("tells", Reauthenticated)
	s.pass(settleTime)
	s.beside(old, func() {
		if _, c := s.want("deletes the old one", wire.INFORMATIONAL, false); !c.deletesIKE() {
			t.Errorf("%v instead of a Delete of the old IKE SA", c)
		}
	})
}
