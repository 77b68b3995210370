package ike

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/suite"
	"github.com/culvert-vpn/culvert/ts"
)

// packetTo is a packet of a TCP flow from 10.1.0.1 to port 80 of an address.
func packetTo(dst string) ts.Packet {
	return ts.Packet{Src: netip.MustParseAddr("10.1.0.1"), Dst: netip.MustParseAddr(dst), Protocol: 6, SrcPort: 4000, DstPort: 80, HasPorts: true}
}

func list(selectors ...[]ts.Selector) []ts.Selector { return slices.Concat(selectors...) }

// wantAsk takes the next request for a Child SA, which must be for these selectors.
func (s *script) wantAsk(why string, x wire.Exchange, tsi, tsr []ts.Selector) wire.Header {
	s.t.Helper()
	h, c := s.want(why, x, false)
	if c.tsi == nil || !slices.Equal(c.tsi.Selectors, tsi) || !slices.Equal(c.tsr.Selectors, tsr) {
		s.t.Fatalf("%s: asks for %v === %v, want %v === %v", why, c.tsi, c.tsr, tsi, tsr)
	}
	return h
}

// grantPart answers a CREATE_CHILD_SA of the endpoint.
func (s *script) grantPart(h wire.Header, tsi, tsr string, kinds ...wire.NotifyType) {
	s.t.Helper()
	s.childIn[3]++
	l := s.newChild(suite.CURVE25519)
	l[0] = number([]suite.Proposal{one(testProposal(suite.ESP, testESP)[0], 0)}, slices.Clone(s.childIn))
	l = append(l[:3:3], &wire.TS{Selectors: sel(tsi)}, &wire.TS{Responder: true, Selectors: sel(tsr)})
	for _, k := range kinds {
		l = append(l, &wire.Notify{Kind: k})
	}
	s.answer(wire.CREATE_CHILD_SA, h.MessageID, l...)
}

// acquired lets the endpoint call because of a packet, and answers IKE_AUTH.
func acquired(t *testing.T, p ts.Packet, change func(*Config)) (*script, *content) {
	s := newScript(t, change)
	s.give(Acquire{Conn: "c", Child: "net", Packet: p})
	s.takeCall()
	_, c := s.want("authenticates", wire.IKE_AUTH, false)
	return s, c
}

// TestTrigger: the packet that asks for a child comes first in TSi and TSr, in IKE_AUTH and in CREATE_CHILD_SA (RFC 7296 2.9), but not
// when rekeying (2.9.2).
func TestTrigger(t *testing.T) {
	whole := list(sel("10.1.0.0/16"))
	for _, c := range []struct {
		name     string
		p        ts.Packet
		tsi, tsr []ts.Selector
	}{
		{"TCP", packetTo("10.2.0.7"), list(sel("10.1.0.1[tcp/4000]"), whole), list(sel("10.2.0.7[tcp/80]"), sel("10.2.0.0/16"))},
		{"ICMP, whose answer has another type", ts.Packet{Src: netip.MustParseAddr("10.1.0.1"), Dst: netip.MustParseAddr("10.2.0.7"), Protocol: 1, SrcPort: 0x800, DstPort: 0x800, HasPorts: true},
			list(sel("10.1.0.1[icmp]"), whole), list(sel("10.2.0.7[icmp]"), sel("10.2.0.0/16"))},
		{"a later fragment", ts.Packet{Src: netip.MustParseAddr("10.1.0.1"), Dst: netip.MustParseAddr("10.2.0.7"), Protocol: 17, Fragment: true},
			list(sel("10.1.0.1[udp]"), whole), list(sel("10.2.0.7[udp]"), sel("10.2.0.0/16"))},
		{"not of the policy", packetTo("10.3.0.7"), whole, sel("10.2.0.0/16")},
		{"none", ts.Packet{}, whole, sel("10.2.0.0/16")},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, ask := acquired(t, c.p, nil)
			if !slices.Equal(ask.tsi.Selectors, c.tsi) || !slices.Equal(ask.tsr.Selectors, c.tsr) {
				t.Fatalf("asks for %v === %v", ask.tsi.Selectors, ask.tsr.Selectors)
			}
			s.answer(wire.IKE_AUTH, 1, append(s.auth(s.id, s.secret), &wire.Notify{Kind: wire.TS_UNACCEPTABLE})...)
			s.pass(2 * backoffMin)
			s.give(Acquire{Conn: "c", Child: "net", Packet: c.p})
			h := s.wantAsk("asks again", wire.CREATE_CHILD_SA, c.tsi, c.tsr)
			s.grantPart(h, "10.1.0.0/16", "10.2.0.0/16")
			s.give(Rekey{Conn: "c", Child: "net"})
			s.wantAsk("rekeys", wire.CREATE_CHILD_SA, whole, sel("10.2.0.0/16"))
		})
	}
}

// TestManySelectors: the packet's selectors must not be one too many for the payload.
func TestManySelectors(t *testing.T) {
	_, ask := acquired(t, packetTo("10.2.0.7"), func(c *Config) {
		child := c.Connections[0].Children[0]
		for n := range ts.MaxSelectors - 1 {
			other := testSpec("10.9.0.0/24")[0]
			other.Sel.Start = netip.AddrFrom4([4]byte{10, 9, byte(n), 0})
			other.Sel.End = other.Sel.Start
			child.RemoteTS = append(child.RemoteTS, other)
		}
	})
	if n := len(ask.tsr.Selectors); n != ts.MaxSelectors {
		t.Errorf("%d selectors", n)
	}
}

// TestAdditionalPossible: a responder whose policies divide what was asked for gives one part, and says that there is more (RFC 7296
// 2.9). Asked for the rest it says no more.
func TestAdditionalPossible(t *testing.T) {
	s := newScript(t, func(c *Config) {
		first := c.Connections[0].Children[0]
		second := *first
		first.LocalTS, second.LocalTS = testSpec("10.1.0.0/24"), testSpec("10.1.1.0/24")
		second.Name = "other"
		c.Connections[0].Children = append(c.Connections[0].Children, &second)
	})
	s.call()
	s.request(wire.IKE_AUTH, append(s.auth(s.id, s.secret), s.childWith("10.2.0.0/16", "10.1.0.0/16")...)...)
	_, c := s.want("answers IKE_AUTH", wire.IKE_AUTH, true)
	if !slices.Equal(c.tsr.Selectors, sel("10.1.0.0/24")) || c.notify(wire.ADDITIONAL_TS_POSSIBLE) == nil {
		t.Errorf("%v, %v", c.tsr.Selectors, c.notifies)
	}
	for _, more := range []struct {
		tsr, want string
		flag      bool
	}{{"10.1.1.0-10.1.255.255", "10.1.1.0/24", false}, {"10.1.1.0/24", "10.1.1.0/24", false}, {"10.1.0.128-10.1.1.127", "10.1.0.128/25", true}} {
		l := s.newChild(suite.CURVE25519)
		s.request(wire.CREATE_CHILD_SA, append(l[:3:3], &wire.TS{Selectors: sel("10.2.0.0/16")}, &wire.TS{Responder: true, Selectors: sel(more.tsr)})...)
		_, c = s.want("answers", wire.CREATE_CHILD_SA, true)
		if c.tsr == nil || !slices.Equal(c.tsr.Selectors, sel(more.want)) || (c.notify(wire.ADDITIONAL_TS_POSSIBLE) != nil) != more.flag {
			t.Errorf("%s: %v, %v", more.tsr, c.tsr, c.notifies)
		}
	}
}

// TestFirstChoice: the first selectors, which are those of a packet, decide between policies that each allow a part (RFC 7296 2.9).
func TestFirstChoice(t *testing.T) {
	s := newScript(t, func(c *Config) {
		first := c.Connections[0].Children[0]
		second := *first
		first.LocalTS, second.LocalTS = testSpec("10.1.0.0/24"), testSpec("10.1.1.0/24")
		second.Name = "other"
		c.Connections[0].Children = append(c.Connections[0].Children, &second)
	})
	s.call()
	ask := s.childPayloads(1)[:1:1]
	ask = append(ask, &wire.TS{Selectors: list(sel("10.2.0.7[tcp/5]"), sel("10.2.0.0/16"))}, &wire.TS{Responder: true, Selectors: list(sel("10.1.1.9[tcp/80]"), sel("10.1.0.0/16"))})
	s.request(wire.IKE_AUTH, append(s.auth(s.id, s.secret), ask...)...)
	if _, c := s.want("answers IKE_AUTH", wire.IKE_AUTH, true); !slices.Equal(c.tsr.Selectors, sel("10.1.1.0/24")) {
		t.Errorf("%v", c.tsr.Selectors)
	}
}

// TestAdditionalAsked: an initiator that is told of more asks for it at once if it keeps the child up, as often as it is told, and does
// not take the same twice; each part is rekeyed for itself.
func TestAdditionalAsked(t *testing.T) {
	s := newScript(t, func(c *Config) { c.Connections[0].Children[0].StartAction = Start })
	s.takeCall()
	s.want("authenticates", wire.IKE_AUTH, false)
	s.answer(wire.IKE_AUTH, 1, append(s.auth(s.id, s.secret), s.childWith("10.1.0.0/16", "10.2.1.0/24", wire.ADDITIONAL_TS_POSSIBLE)...)...)
	rest := list(sel("10.2.0.0/24"), sel("10.2.2.0-10.2.255.255"))
	h := s.wantAsk("asks for the rest", wire.CREATE_CHILD_SA, sel("10.1.0.0/16"), rest)
	s.grantPart(h, "10.1.0.0/16", "10.2.2.0/24", wire.ADDITIONAL_TS_POSSIBLE)
	h = s.wantAsk("asks for the rest", wire.CREATE_CHILD_SA, sel("10.1.0.0/16"), list(sel("10.2.0.0/24"), sel("10.2.3.0-10.2.255.255")))
	s.grantPart(h, "10.1.0.0/16", "10.2.3.0/24")
	s.wantIdle("there is no more")
	if n := s.installs(); n != 6 {
		t.Errorf("%d halves installed", n)
	}
	s.give(Rekey{Conn: "c", Child: "net"})
	h = s.wantAsk("rekeys the first", wire.CREATE_CHILD_SA, sel("10.1.0.0/16"), sel("10.2.1.0/24"))
	s.grantPart(h, "10.1.0.0/16", "10.2.1.0/24")

	// What a packet wants that no part carries is asked for as well, and what is no news is given back.
	s.sends = nil
	s = newScript(t, func(c *Config) { c.Connections[0].Children[0].StartAction = Start })
	s.takeCall()
	s.want("authenticates", wire.IKE_AUTH, false)
	s.answer(wire.IKE_AUTH, 1, append(s.auth(s.id, s.secret), s.childWith("10.1.0.0/16", "10.2.1.0/24", wire.ADDITIONAL_TS_POSSIBLE)...)...)
	h = s.wantAsk("asks for the rest", wire.CREATE_CHILD_SA, sel("10.1.0.0/16"), rest)
	s.answer(wire.CREATE_CHILD_SA, h.MessageID, &wire.Notify{Kind: wire.TS_UNACCEPTABLE})
	s.wantIdle("there is no more")
	packet := packetTo("10.2.9.9")
	s.give(Acquire{Conn: "c", Child: "net", Packet: packet})
	asked := [2][]ts.Selector{list(sel("10.1.0.1[tcp/4000]"), sel("10.1.0.0/16")), list(sel("10.2.9.9[tcp/80]"), sel("10.2.0.0/16"))}
	h = s.wantAsk("a packet asks", wire.CREATE_CHILD_SA, asked[0], asked[1])
	s.grantPart(h, "10.1.0.0/16", "10.2.9.0/24")
	s.give(Acquire{Conn: "c", Child: "net", Packet: packetTo("10.2.9.10")})
	s.wantIdle("that one is carried now")
}

// TestNothingNew: a peer that answers with what there is already, again and again, is asked less and less often.
func TestNothingNew(t *testing.T) {
	s, _ := acquired(t, packetTo("10.2.1.1"), nil)
	s.answer(wire.IKE_AUTH, 1, append(s.auth(s.id, s.secret), s.childWith("10.1.0.0/16", "10.2.1.0/24", wire.ADDITIONAL_TS_POSSIBLE)...)...)
	s.wantIdle("on demand only")
	asks := 0
	for range 10 * 60 {
		s.give(Acquire{Conn: "c", Child: "net", Packet: packetTo("10.2.9.9")})
		for len(s.sends) > 0 {
			m, _ := wire.Parse(slices.Clone(s.sends[0].Data))
			if m.Header.Exchange == wire.CREATE_CHILD_SA {
				h, _ := s.want("asks", wire.CREATE_CHILD_SA, false)
				asks++
				s.grantPart(h, "10.1.0.0/16", "10.2.1.0/24", wire.ADDITIONAL_TS_POSSIBLE)
				continue
			}
			h, c := s.want("gives it back", wire.INFORMATIONAL, false)
			if len(c.deletes) != 1 {
				t.Fatal("no Delete")
			}
			s.answer(wire.INFORMATIONAL, h.MessageID)
		}
		s.pass(time.Second)
	}
	if asks < 5 || asks > 30 {
		t.Errorf("asked %d times in ten minutes", asks)
	}
	if n := s.installs(); n > 4 {
		t.Errorf("%d halves are left", n)
	}
}

// TestSinglePairRequired: a peer that wants a Child SA for each pair of addresses gets requests for those that packets have (RFC 7296
// 2.9), be it in IKE_AUTH or in CREATE_CHILD_SA; the refusal is no failure to be repeated.
func TestSinglePairRequired(t *testing.T) {
	for _, start := range []Action{Trap, Start} {
		s := newScript(t, func(c *Config) { c.Connections[0].Children[0].StartAction = start })
		if start == Trap {
			s.give(Acquire{Conn: "c", Child: "net", Packet: packetTo("10.2.0.7")})
		}
		s.takeCall()
		s.want("authenticates", wire.IKE_AUTH, false)
		s.answer(wire.IKE_AUTH, 1, append(s.auth(s.id, s.secret), &wire.Notify{Kind: wire.SINGLE_PAIR_REQUIRED})...)
		s.wantEvent("the user is told", Warned, "pair of addresses")
		if start == Start {
			s.pass(10 * time.Minute)
			s.wantIdle("there is no packet")
			s.give(Acquire{Conn: "c", Child: "net", Packet: packetTo("10.2.0.7")})
		}
		h := s.wantAsk("asks for the pair", wire.CREATE_CHILD_SA, sel("10.1.0.1"), sel("10.2.0.7"))
		s.grantPart(h, "10.1.0.1", "10.2.0.7")
		s.give(Acquire{Conn: "c", Child: "net", Packet: packetTo("10.2.0.8")})
		h = s.wantAsk("asks for another pair", wire.CREATE_CHILD_SA, sel("10.1.0.1"), sel("10.2.0.8"))
		s.answer(wire.CREATE_CHILD_SA, h.MessageID, &wire.Notify{Kind: wire.SINGLE_PAIR_REQUIRED})
		s.wantIdle("a peer that is not content with a pair is not asked at once")
		if n := s.installs(); n != 2 {
			t.Errorf("%d halves", n)
		}
		s.give(Rekey{Conn: "c", Child: "net"})
		_, c := s.want("rekeys", wire.CREATE_CHILD_SA, false)
		if c.notify(wire.REKEY_SA) == nil {
			t.Errorf("asks for %v", c.tsi.Selectors)
		}
	}
}

// TestActions: what close_action and dpd_action say is done when the peer closes the child, or the IKE SA, or vanishes: nothing, wait
// for a packet, or set it up again.
func TestActions(t *testing.T) {
	for _, end := range []string{"child", "IKE SA", "vanished"} {
		for _, action := range []Action{None, Trap, Start} {
			s := called(t, func(c *Config) {
				child := c.Connections[0].Children[0]
				child.StartAction, c.Connections[0].DPDDelay = None, time.Minute
				if end == "vanished" {
					child.DPDAction = action
				} else {
					child.CloseAction = action
				}
			})
			switch end {
			case "child":
				s.request(wire.INFORMATIONAL, &wire.Delete{Protocol: suite.ESP, SPIs: [][]byte{s.childIn}})
				s.want("answers", wire.INFORMATIONAL, true)
			case "IKE SA":
				s.request(wire.INFORMATIONAL, &wire.Delete{Protocol: suite.IKE})
				s.want("answers", wire.INFORMATIONAL, true)
			case "vanished":
				s.pass(time.Minute + s.cfg.Retransmit.wait(1)*32)
			}
			s.sends = nil
			s.pass(20 * time.Second)
			wanted := len(s.sends) > 0 || len(s.Snapshot()) > 0 && !s.Snapshot()[0].Current
			if wanted != (action == Start) {
				t.Errorf("%s, action %d: set up again: %v", end, action, wanted)
			}
			if action == Start {
				continue
			}
			s.sends = nil
			s.give(Acquire{Conn: "c", Child: "net", Packet: packetTo("10.2.0.7")})
			s.pass(5 * time.Second)
			if asked := len(s.sends) > 0; asked != (action == Trap) {
				t.Errorf("%s, action %d: a packet brings it up: %v", end, action, asked)
			}
		}
	}
}

// TestKeepAndInitialContact: unique = keep refuses a second IKE SA, but not of a peer that says it has no other (RFC 7296 2.4).
func TestKeepAndInitialContact(t *testing.T) {
	s := called(t, func(c *Config) { c.Connections[0].Unique = UniqueKeep })
	first := s.sa()
	s.at500()
	s.spiI, s.spiR = 0xcccc, 0
	s.first = s.send(s.header(wire.IKE_SA_INIT, 0, false), s.initPayloads(testProposal(suite.IKE, testIKE), suite.CURVE25519, 1)...)
	h, c := s.want("answers IKE_SA_INIT", wire.IKE_SA_INIT, true)
	s.spiR, s.nonceR = h.SPIr, slices.Clone(c.nonce.Data)
	s.derive(c.ke.Data)
	s.nextID = 1
	s.request(wire.IKE_AUTH, append(append(s.auth(s.id, s.secret), s.childPayloads(1)...), &wire.Notify{Kind: wire.INITIAL_CONTACT})...)
	if _, c := s.want("answers", wire.IKE_AUTH, true); c.auth == nil || !first.removed || s.installs() != 2 {
		t.Errorf("%v, the first is there: %v", c.notifies, !first.removed)
	}
}
