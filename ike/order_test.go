package ike

import (
	"slices"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/suite"
)

func keepUp(c *Config) { c.Connections[0].Children[0].StartAction = Start }

// What is terminated by its number stays down if it was to be kept up, and what packets bring up they bring up again.
func TestTerminateSA(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*Config)
		child  bool
		held   bool
	}{
		{"an IKE SA that is kept up", keepUp, false, true},
		{"a child that is kept up", keepUp, true, true},
		{"an IKE SA that packets bring up", nil, false, false},
		{"a child that packets bring up", nil, true, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := calling(t, test.change)
			info := s.Snapshot()[0]
			in := TerminateSA{ID: info.ID}
			if test.child {
				in.Child = info.Children[0].ID
			}
			s.give(TerminateSA{ID: info.ID + 1})
			s.give(TerminateSA{ID: info.ID, Child: info.Children[0].ID + 1})
			s.wantIdle("there is no such SA")
			s.give(in)
			h, c := s.want("deletes", wire.INFORMATIONAL, false)
			if len(c.deletes) != 1 {
				t.Fatalf("the request holds %v", c)
			}
			s.answer(wire.INFORMATIONAL, h.MessageID)
			if s.Exists(in.ID, in.Child) {
				t.Error("it is there")
			}
			if w := s.Wishes()[0]; w.Held != test.held || w.Wanted || w.Trapped == test.held {
				t.Errorf("what is wanted of the child: %+v", w)
			}
			s.pass(time.Hour)
			before := len(s.sends)
			s.give(Acquire{Conn: "c", Child: "net"})
			if again := len(s.sends) > before; again == test.held {
				t.Errorf("a packet brings it up: %v", again)
			}
		})
	}
}

// By force an IKE SA is gone at once, and the peer is told.
func TestTerminateSAForce(t *testing.T) {
	s := called(t, nil)
	id := s.Snapshot()[0].ID
	s.give(TerminateSA{ID: id, Force: true})
	if _, c := s.want("deletes", wire.INFORMATIONAL, false); len(c.deletes) != 1 {
		t.Error("the peer is not told")
	}
	if s.Exists(id, 0) {
		t.Error("it is there")
	}
	s.wantEvent("is closed", Closed, "the operator closed it")
}

// What calls in vain does not call any more.
func TestTerminateSACalling(t *testing.T) {
	s := newScript(t, keepUp)
	s.want("calls", wire.IKE_SA_INIT, false)
	s.give(TerminateSA{ID: s.Snapshot()[0].ID})
	s.pass(time.Hour)
	s.wantIdle("the operator does not want it")
	if w := s.Wishes()[0]; !w.Held {
		t.Errorf("what is wanted of the child: %+v", w)
	}
}

// A child of another IKE SA carries the same: it goes on, and nothing is withheld.
func TestRekeySA(t *testing.T) {
	s := called(t, nil)
	info := s.Snapshot()[0]
	s.give(RekeySA{ID: info.ID + 1})
	s.wantIdle("there is no such SA")
	s.give(RekeySA{ID: info.ID, Child: info.Children[0].ID})
	h, c := s.want("rekeys the child", wire.CREATE_CHILD_SA, false)
	if c.notify(wire.REKEY_SA) == nil {
		t.Error("no REKEY_SA")
	}
	if !s.Snapshot()[0].Children[0].Rekeying || s.Snapshot()[0].Asking[0] != TaskRekeyChild {
		t.Errorf("%+v", s.Snapshot()[0])
	}
	s.answer(wire.CREATE_CHILD_SA, h.MessageID, &wire.Notify{Kind: wire.NO_ADDITIONAL_SAS})
	s.sends = nil
	s.give(RekeySA{ID: info.ID})
	if _, c := s.want("rekeys the IKE SA", wire.CREATE_CHILD_SA, false); c.notify(wire.REKEY_SA) != nil {
		t.Error("it is the child again")
	}
	if s.Snapshot()[0].Asking[0] != TaskRekey {
		t.Errorf("%+v", s.Snapshot()[0].Asking)
	}
}

// The operator decides whether packets bring a child up.
func TestIntercept(t *testing.T) {
	s := newScript(t, nil)
	calls := func() bool {
		before := len(s.sends)
		s.give(Acquire{Conn: "c", Child: "net"})
		return len(s.sends) > before
	}
	s.give(Intercept{Conn: "c", Child: "net"})
	if s.Wishes()[0].Trapped || calls() {
		t.Error("a packet brings it up although none shall")
	}
	s.give(Intercept{Conn: "c", Child: "net", On: true})
	if !s.Wishes()[0].Trapped || !calls() {
		t.Error("no packet brings it up")
	}
}

// A peer that called, and takes redirects, is told where to go; the IKE SA stays until it is there (RFC 5685 5). No other is told.
//
// Rules: RFC 5685 3-1, 3-2, 5-1, 5-2, 9.2-1, 9.2-2, 9.2-5.
func TestRedirectSA(t *testing.T) {
	for name, test := range map[string]struct {
		said []wire.Payload
		told bool
	}{
		"one that takes redirects":   {notifyOf(wire.REDIRECT_SUPPORTED), true},
		"one that was redirected":    {[]wire.Payload{&wire.Notify{Kind: wire.REDIRECTED_FROM, Data: wire.AppendGateway(nil, wire.Gateway{Name: "old.example.com"})}}, true},
		"one that does not say that": {nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScript(t, nil)
			s.initiator, s.spiI, s.spiR = true, 0xaaaa, 0
			s.first = s.send(s.header(wire.IKE_SA_INIT, 0, false), append(s.initPayloads(testProposal(suite.IKE, testIKE), suite.CURVE25519, 1), test.said...)...)
			h, c := s.want("answers IKE_SA_INIT", wire.IKE_SA_INIT, true)
			s.spiR, s.nonceR = h.SPIr, slices.Clone(c.nonce.Data)
			s.derive(c.ke.Data)
			s.nextID = 1
			s.request(wire.IKE_AUTH, append(s.auth(s.id, s.secret), s.childPayloads(1)...)...)
			s.want("answers IKE_AUTH", wire.IKE_AUTH, true)
			info := s.Snapshot()[0]
			if info.Redirectable != test.told {
				t.Errorf("redirectable: %v", info.Redirectable)
			}
			to := wire.Gateway{Name: "gw2.example.com"}
			s.give(RedirectSA{ID: info.ID, To: to})
			if !test.told {
				s.wantIdle("it did not say that it takes redirects")
				return
			}
			h, c = s.want("tells the peer", wire.INFORMATIONAL, false)
			n := c.notify(wire.REDIRECT)
			if n == nil {
				t.Fatal("no REDIRECT")
			}
			if g, nonce, ok := wire.ParseRedirect(n.Data); !ok || g != to || nonce != nil || n.Protocol != 0 || n.SPI != nil {
				t.Errorf("REDIRECT to %v, nonce %x, %+v", g, nonce, n)
			}
			s.answer(wire.INFORMATIONAL, h.MessageID)
			s.wantEvent("is told of", Redirected, "gw2.example.com")
			s.wantIdle("the peer closes it")
			if !s.Exists(info.ID, 0) {
				t.Error("it is gone before the peer is elsewhere")
			}
		})
	}
}
