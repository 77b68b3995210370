package ike

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/explain"
	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/suite"
)

// sent takes what the endpoint has sent, by the port of the peer.
func (s *script) sent() (at500, at4500 [][]byte) {
	for _, x := range s.sends {
		if x.Path.NATT {
			at4500 = append(at4500, x.Data)
		} else {
			at500 = append(at500, x.Data)
		}
	}
	s.sends = nil
	return at500, at4500
}

// wantCause checks that the last event of a kind has a cause, and returns its diagnosis.
func (s *script) wantCause(why string, kind EventKind, cause explain.Cause, words ...string) *explain.Diagnosis {
	s.t.Helper()
	for _, ev := range slices.Backward(s.events) {
		if ev.Kind != kind || ev.Diagnosis == nil {
			continue
		}
		d := ev.Diagnosis
		if d.Cause != cause || ev.Text != d.Text || ev.Remedy != d.Remedy() || len(d.Fixes) == 0 {
			s.t.Errorf("%s: %+v", why, ev)
		}
		for _, w := range words {
			if !strings.Contains(d.Text, w) && !slices.ContainsFunc(d.Compared, func(c explain.Compared) bool { return strings.Contains(c.What+" "+c.Sent, w) }) {
				s.t.Errorf("%s: %q is not in %+v", why, w, d)
			}
		}
		return d
	}
	s.t.Fatalf("%s: no event %v with a diagnosis in %q", why, kind, s.texts())
	return nil
}

// TestSilentAt500: a peer that stays silent at port 500 is called at 4500 as well, and what it answers there is taken, with a warning
// (RFC 7296 2.23).
func TestSilentAt500(t *testing.T) {
	s := newScript(t, nil)
	s.give(Initiate{Conn: "c"})
	s.pass(3500 * time.Millisecond)
	at500, at4500 := s.sent()
	if len(at500) != 3 || len(at4500) != 1 {
		t.Fatalf("%d messages to port 500, %d to port 4500", len(at500), len(at4500))
	}
	s.path = s.path.Float()
	s.sends = []Send{{Path: s.path, Data: at4500[0]}}
	s.takeCall()
	d := s.wantCause("warns", Warned, explain.Silent500, "none to 3 messages")
	if lines := strings.Join(d.Fixes[0].Lines, "\n"); !strings.Contains(lines, "remote_port = 4500") {
		t.Errorf("pastes %q", lines)
	}
	_, c := s.want("authenticates", wire.IKE_AUTH, false)
	s.childOut = c.sa.Proposals[0].SPI
	s.answer(wire.IKE_AUTH, 1, append(s.auth(s.id, s.secret), s.childPayloads(1)...)...)
	if s.installs() != 2 || s.sa().path != s.path || s.sa().nat.LocalNAT {
		t.Errorf("not established along %v: %v, %v", s.path, s.sa().path, s.texts())
	}
}

// TestSilentAt500Late: both calls may be answered. The first answer is the one.
func TestSilentAt500Late(t *testing.T) {
	s := newScript(t, nil)
	s.give(Initiate{Conn: "c"})
	s.pass(3500 * time.Millisecond)
	at500, _ := s.sent()
	s.sends = []Send{{Path: s.path, Data: at500[0]}}
	s.takeCall()
	s.want("goes on", wire.IKE_AUTH, false)
	s.send(wire.Header{SPIi: s.spiI, SPIr: 0xcccc, Major: 2, Exchange: wire.IKE_SA_INIT, Response: true}, &wire.Notify{Kind: wire.NO_PROPOSAL_CHOSEN})
	s.wantIdle("the other answer means nothing")
	if _, ok := s.sa().state.(*expectAuthReply); !ok {
		t.Errorf("now %v", s.sa().state)
	}
}

// TestSilentAt4500: IKE_AUTH is not answered, nor is the first message at that port.
func TestSilentAt4500(t *testing.T) {
	s := newScript(t, nil)
	s.give(Initiate{Conn: "c"})
	s.takeCall()
	s.pass(20 * time.Second)
	init := 0
	for _, x := range s.sends {
		if m, err := wire.Parse(x.Data); err == nil && x.Path.NATT && m.Header.Exchange == wire.IKE_SA_INIT && m.Header.SPIi == s.spiI {
			init++
		}
	}
	if init != firstAgain {
		t.Errorf("the first message went %d times to port 4500", init)
	}
	s.wantCause("explains", Failed, explain.Silent4500, "UDP port 4500", "answered at port 500", "none")
}

// TestBlackHole: at port 4500 the first message is answered, a longer one is not; and what follows when a shorter one is not.
func TestBlackHole(t *testing.T) {
	for _, long := range []bool{true, false} {
		s := newScript(t, func(c *Config) {
			if long {
				large(c)
			}
			c.Connections[0].Fragmentation = FragmentationNo
		})
		s.give(Initiate{Conn: "c"})
		s.takeCall()
		if !long { // an answer that is longer than what follows
			s.sa().sounding.first.datagrams[0] = append(s.sa().sounding.first.datagrams[0], make([]byte, 2000)...)
		}
		s.pass(3500 * time.Millisecond)
		at500, _ := s.sent()
		if len(at500) > 0 {
			t.Error("something is sent to port 500")
		}
		s.send(wire.Header{SPIi: s.spiI, SPIr: 0xcccc, Major: 2, Exchange: wire.IKE_SA_INIT, Response: true}, &wire.Notify{Kind: wire.COOKIE, Data: []byte("x")})
		s.wantIdle("it is a sign of life and no more")
		s.pass(20 * time.Second)
		if !long {
			s.wantCause("explains", Failed, explain.SilentPeer, "keeps silent about IKE_AUTH")
			continue
		}
		d := s.wantCause("explains", Failed, explain.MTUBlackHole, "fragmentation")
		if len(d.Fixes[0].Lines) == 0 || d.Fixes[0].Side != explain.Here {
			t.Errorf("%+v", d.Fixes)
		}
	}
}

// TestOtherAddress: an answer from an address that was not called is told of. What follows goes where it was called.
func TestOtherAddress(t *testing.T) {
	s := newScript(t, nil)
	s.give(Initiate{Conn: "c"})
	called := s.path
	s.path.Remote = netip.MustParseAddrPort("192.0.2.77:500")
	s.takeCall()
	s.wantCause("warns", Warned, explain.OtherAddress, "192.0.2.2 was called", "192.0.2.77 answers")
	s.path = called
	s.pass(20 * time.Second)
	for _, x := range s.sends {
		if x.Path.Remote.Addr() != called.Remote.Addr() {
			t.Errorf("sent to %v", x.Path.Remote)
		}
	}
	d := s.wantCause("explains", Failed, explain.OtherAddress, "no answer to IKE_AUTH", "192.0.2.77")
	if lines := strings.Join(d.Fixes[0].Lines, "\n"); !strings.Contains(lines, "remote_addrs = 192.0.2.77") {
		t.Errorf("pastes %q", lines)
	}
}

// TestUnreached: what ICMP says explains the end of a call, and does not bring it about.
func TestUnreached(t *testing.T) {
	for _, why := range []Obstacle{HostUnreachable, NetUnreachable, PortClosed, Prohibited} {
		s := newScript(t, nil)
		s.give(Initiate{Conn: "c"})
		s.pass(1500 * time.Millisecond)
		var probes []Probe
		for _, e := range s.all {
			if p, ok := e.(Probe); ok {
				probes = append(probes, p)
			}
		}
		if len(probes) != 1 || probes[0].Path != s.path {
			t.Fatalf("asked %v", probes)
		}
		in := Unreached{IKE: probes[0].IKE, Remote: s.path.Remote, By: netip.MustParseAddr("192.0.2.9"), Why: why}
		s.give(Unreached{IKE: 4711, Remote: s.path.Remote, Why: why})
		for range 10 {
			s.give(in)
		}
		s.give(Unreached{IKE: in.IKE, Remote: netip.MustParseAddrPort("192.0.2.99:500"), Why: why})
		if n := len(s.sa().sounding.refusals); n != 1 {
			t.Errorf("%d are remembered", n)
		}
		sends := len(s.sends)
		s.pass(10 * time.Second)
		if len(s.sends) <= sends {
			t.Error("it gave up")
		}
		s.pass(10 * time.Second)
		s.wantCause("explains", Failed, explain.Unreachable, "192.0.2.9", in.String())
	}
}

// TestFellSilent: a peer that does not answer any more may be told apart, too.
func TestFellSilent(t *testing.T) {
	for _, icmp := range []bool{true, false} {
		s := calling(t, func(c *Config) { c.Connections[0].DPDDelay = 10 * time.Second })
		s.pass(12 * time.Second)
		want := explain.SilentPeer
		if icmp {
			s.give(Unreached{IKE: s.sa().spi(), Remote: s.path.Remote, By: s.path.Remote.Addr(), Why: PortClosed})
			want = explain.Unreachable
		}
		s.pass(30 * time.Second)
		s.wantCause("explains", Failed, want, "does not answer any more")
	}
}

// TestCalledByIKEv1: whoever calls with IKEv1 is told of, within limits, and gets no answer.
func TestCalledByIKEv1(t *testing.T) {
	s := newScript(t, nil)
	call := func(x wire.Exchange) []byte {
		b := wire.AppendMessage(nil, wire.Header{SPIi: 7, Exchange: x}, []wire.Payload{&wire.Nonce{Data: make([]byte, 32)}})
		b[17] = 0x10
		return b
	}
	for _, x := range []wire.Exchange{mainMode, aggressiveMode} {
		s.events = nil
		s.deliver(call(x))
		d := s.wantCause("tells", Failed, explain.IKEv1Only, "IKEv1")
		if !slices.Equal(d.Connections, []string{"c"}) {
			t.Errorf("about %v", d.Connections)
		}
		s.wantIdle("IKEv1 has no such answer")
	}
	s.events = nil
	for range 1000 {
		s.deliver(call(mainMode))
	}
	told := 0
	for _, ev := range s.events {
		if ev.Kind == Failed {
			told++
		}
	}
	if told > 20 {
		t.Errorf("a flood is told of %d times", told)
	}
	s.events = nil
	s.deliver(call(wire.Exchange(5))) // Informational
	for _, ev := range s.events {
		if ev.Kind == Failed {
			t.Errorf("%v", ev)
		}
	}
}

// TestNoEncapsulation: a peer without NAT detection is told apart in either role.
func TestNoEncapsulation(t *testing.T) {
	s := newScript(t, nil)
	s.give(Initiate{Conn: "c"})
	h, c := s.want("calls", wire.IKE_SA_INIT, false)
	s.spiI, s.spiR, s.nonceI = h.SPIi, 0xbbbb, slices.Clone(c.nonce.Data)
	payloads := s.initPayloads([]suite.Proposal{one(testProposal(suite.IKE, testIKE)[0], 0)}, c.ke.Group, 1)
	s.send(s.header(wire.IKE_SA_INIT, 0, true), slices.DeleteFunc(payloads, isNATDetection)...)
	s.wantCause("explains", Failed, explain.NoEncapsulation, "no NAT detection")
}

func isNATDetection(p wire.Payload) bool {
	n, ok := p.(*wire.Notify)
	return ok && (n.Kind == wire.NAT_DETECTION_SOURCE_IP || n.Kind == wire.NAT_DETECTION_DESTINATION_IP)
}

// TestBegunOnly: a peer that has called and does not go on is told of, unless it went on with the call that it made to the other port.
func TestBegunOnly(t *testing.T) {
	for _, both := range []bool{false, true} {
		s := newScript(t, nil)
		s.call()
		if both {
			first := s.first
			s.path = s.path.Float()
			s.deliver(first)
			s.want("answers the other call", wire.IKE_SA_INIT, true)
		}
		s.events = nil
		s.pass(halfOpenTime / 2)
		if both { // the second one goes on
			for sa := range s.order.all() {
				if sa.path.NATT {
					sa.timers[timerGiveUp] = s.now.Add(time.Hour)
				}
			}
		}
		s.pass(halfOpenTime)
		if !both {
			d := s.wantCause("tells", Failed, explain.Silent4500, "did not go on to IKE_AUTH")
			if !slices.Equal(d.Connections, []string{"c"}) {
				t.Errorf("about %v", d.Connections)
			}
			continue
		}
		for _, ev := range s.events {
			if ev.Kind == Failed {
				t.Errorf("tells %+v", ev)
			}
		}
	}
}
