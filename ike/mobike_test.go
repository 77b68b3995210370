package ike

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/natt"
	"github.com/culvert-vpn/culvert/suite"
)

// The endpoint is 192.0.2.1, the peer 192.0.2.2; these are where they move to.
var (
	ourSecond   = netip.MustParseAddr("192.0.2.11")
	theirSecond = netip.MustParseAddr("192.0.2.12")
)

func withMOBIKE(c *Config) { c.Connections[0].MOBIKE = true }

// mobileCalled establishes an IKE SA with MOBIKE that the peer began: the peer decides.
func mobileCalled(t *testing.T, extra ...wire.Payload) *script {
	t.Helper()
	s := newScript(t, withMOBIKE)
	s.give(Addresses{Local: []netip.Addr{s.path.Local.Addr()}})
	s.call()
	payloads := append(s.auth(s.id, s.secret), s.childPayloads(1)...)
	s.request(wire.IKE_AUTH, append(append(payloads, notifyOf(wire.MOBIKE_SUPPORTED)...), extra...)...)
	_, c := s.want("answers IKE_AUTH", wire.IKE_AUTH, true)
	if c.notify(wire.MOBIKE_SUPPORTED) == nil || s.sa().mob == nil {
		t.Fatalf("no MOBIKE: %v, %v", c.notifies, s.texts())
	}
	return s
}

// mobileCalling establishes an IKE SA with MOBIKE that the endpoint began: it decides.
func mobileCalling(t *testing.T, extra ...wire.Payload) *script {
	t.Helper()
	s := newScript(t, withMOBIKE)
	s.give(Addresses{Local: []netip.Addr{s.path.Local.Addr()}})
	s.give(Initiate{Conn: "c"})
	s.takeCall()
	_, c := s.want("authenticates", wire.IKE_AUTH, false)
	if c.notify(wire.MOBIKE_SUPPORTED) == nil {
		t.Fatalf("no MOBIKE in IKE_AUTH: %v", c.notifies)
	}
	payloads := append(s.auth(s.id, s.secret), s.childPayloads(1)...)
	s.answer(wire.IKE_AUTH, 1, append(append(payloads, notifyOf(wire.MOBIKE_SUPPORTED)...), extra...)...)
	if s.sa().mob == nil || s.installs() != 2 {
		t.Fatalf("no MOBIKE: %v", s.texts())
	}
	return s
}

// move takes the endpoint to its other address.
func (s *script) moveUs() {
	s.t.Helper()
	s.give(Addresses{Local: []netip.Addr{ourSecond}})
	s.surveyed(natt.Path{Local: netip.AddrPortFrom(ourSecond, 4500), Remote: s.path.Remote, NATT: true})
}

// surveyed answers the last Survey.
func (s *script) surveyed(paths ...natt.Path) {
	s.t.Helper()
	for _, e := range slices.Backward(s.all) {
		if x, ok := e.(Survey); ok {
			s.give(Surveyed{IKE: x.IKE, Paths: paths})
			return
		}
	}
	s.t.Fatal("nobody asks for paths")
}

// trafficTo is where the Child SAs send, as the datapath was told last.
func (s *script) trafficTo() natt.Path {
	for _, e := range slices.Backward(s.all) {
		switch e := e.(type) {
		case Repath:
			return e.Path
		case Install:
			return e.Path
		}
	}
	return natt.Path{}
}

// lastPath is where the endpoint sent its last message along.
func (s *script) lastPath() natt.Path {
	for _, e := range slices.Backward(s.all) {
		if x, ok := e.(Send); ok {
			return x.Path
		}
	}
	return natt.Path{}
}

// update is the peer's UPDATE_SA_ADDRESSES.
func (s *script) update(extra ...wire.Payload) {
	s.t.Helper()
	back := natt.Path{Local: s.path.Remote, Remote: s.path.Local}
	list := append(notifyOf(wire.UPDATE_SA_ADDRESSES), natHashes(s.spiI, s.spiR, back)...)
	s.request(wire.INFORMATIONAL, append(list, extra...)...)
}

// wantCheck takes a COOKIE2 request of the endpoint and answers it.
func (s *script) wantCheck(why string) {
	s.t.Helper()
	h, c := s.want(why, wire.INFORMATIONAL, false)
	n := c.notify(wire.COOKIE2)
	if n == nil || len(n.Data) < 8 || len(n.Data) > 64 {
		s.t.Fatalf("%s: COOKIE2 is %v", why, n)
	}
	s.answer(wire.INFORMATIONAL, h.MessageID, n)
}

// TestMOBIKENegotiation: both have to support it, RFC 4555 3.2.
func TestMOBIKENegotiation(t *testing.T) {
	s := newScript(t, withMOBIKE)
	s.call()
	s.request(wire.IKE_AUTH, append(s.auth(s.id, s.secret), s.childPayloads(1)...)...)
	if _, c := s.want("answers", wire.IKE_AUTH, true); c.notify(wire.MOBIKE_SUPPORTED) != nil || s.sa().mob != nil {
		t.Error("MOBIKE with a peer that does not support it")
	}
	s = newScript(t, nil)
	s.call()
	s.request(wire.IKE_AUTH, append(append(s.auth(s.id, s.secret), s.childPayloads(1)...), notifyOf(wire.MOBIKE_SUPPORTED)...)...)
	if _, c := s.want("answers", wire.IKE_AUTH, true); c.notify(wire.MOBIKE_SUPPORTED) != nil || s.sa().mob != nil {
		t.Error("MOBIKE although the connection does not want it")
	}
	s.update()
	if _, c := s.want("answers", wire.INFORMATIONAL, true); len(c.notifies) > 0 {
		t.Errorf("an update without MOBIKE is answered with %v", c.notifies)
	}
}

// TestMOBIKEAddressesInAuth: the addresses of both ends but the one in use, and the one of the protected network, RFC 4555 3.4.
func TestMOBIKEAddressesInAuth(t *testing.T) {
	s := newScript(t, withMOBIKE)
	six := netip.MustParseAddr("2001:db8::1")
	s.give(Addresses{Local: []netip.Addr{s.path.Local.Addr(), ourSecond, netip.MustParseAddr("10.1.0.1"), six}})
	s.call()
	six2 := netip.MustParseAddr("2001:db8::2")
	payloads := append(append(s.auth(s.id, s.secret), s.childPayloads(1)...), notifyOf(wire.MOBIKE_SUPPORTED)...)
	payloads = append(payloads, addressNotifies([]netip.Addr{theirSecond, six2, netip.MustParseAddr("127.0.0.1")})...)
	payloads = append(payloads, &wire.Notify{Kind: wire.ADDITIONAL_IP4_ADDRESS, Data: []byte{1, 2, 3}})
	s.request(wire.IKE_AUTH, payloads...)
	_, c := s.want("answers", wire.IKE_AUTH, true)
	if list, _ := readAddresses(c); !slices.Equal(list, []netip.Addr{ourSecond, six}) {
		t.Errorf("we tell of %v", list)
	}
	if m := s.sa().mob; !slices.Equal(m.theirs, []netip.Addr{theirSecond, six2}) {
		t.Errorf("the peer's are %v", m.theirs)
	}
}

// TestMOBIKEWeMove: the Child SAs follow at once, the peer is told with NAT detection and COOKIE2, and what was unanswered is
// repeated from there, byte by byte (RFC 4555 3.5).
func TestMOBIKEWeMove(t *testing.T) {
	s := mobileCalling(t)
	s.give(Rekey{Conn: "c", Child: "net"})
	before := s.sends[0]
	s.sends = nil
	s.moveUs()
	if got := s.trafficTo().Local.Addr(); got != ourSecond {
		t.Errorf("ESP leaves from %v", got)
	}
	if again := s.sends[0]; string(again.Data) != string(before.Data) || again.Path.Local.Addr() != ourSecond {
		t.Errorf("the unanswered request goes along %v, the same: %v", again.Path, string(again.Data) == string(before.Data))
	}
	s.sends = s.sends[1:]
	s.wantIdle("the window is closed")
	s.answer(wire.CREATE_CHILD_SA, 2, notifyOf(wire.TEMPORARY_FAILURE)...)
	h, c := s.want("tells", wire.INFORMATIONAL, false)
	for _, kind := range []wire.NotifyType{wire.UPDATE_SA_ADDRESSES, wire.NAT_DETECTION_SOURCE_IP, wire.NAT_DETECTION_DESTINATION_IP, wire.COOKIE2, wire.NO_ADDITIONAL_ADDRESSES} {
		if c.notify(kind) == nil {
			t.Errorf("no %v in the update", kind)
		}
	}
	if got := s.lastPath(); got.Local.Addr() != ourSecond {
		t.Errorf("the update leaves from %v", got)
	}
	s.path.Local = netip.AddrPortFrom(ourSecond, 4500)
	s.answer(wire.INFORMATIONAL, h.MessageID, append(natHashes(s.spiI, s.spiR, natt.Path{Local: s.path.Remote, Remote: netip.MustParseAddrPort("198.51.100.7:20000")}), c.notify(wire.COOKIE2))...)
	if !s.sa().nat.LocalNAT {
		t.Error("the NAT that the peer sees is not noticed")
	}
	s.wantEvent("tells", PathChanged, "192.0.2.11")
}

// TestMOBIKESecondMove: the answer to an update that another change has overtaken means nothing (RFC 4555 3.5).
func TestMOBIKESecondMove(t *testing.T) {
	s := mobileCalling(t)
	s.moveUs()
	h, c := s.want("tells", wire.INFORMATIONAL, false)
	third := netip.MustParseAddr("192.0.2.13")
	s.give(Addresses{Local: []netip.Addr{third}})
	s.surveyed(natt.Path{Local: netip.AddrPortFrom(third, 4500), Remote: s.path.Remote, NATT: true})
	s.sends = nil
	s.answer(wire.INFORMATIONAL, h.MessageID, c.notify(wire.COOKIE2), &wire.Notify{Kind: wire.UNACCEPTABLE_ADDRESSES})
	h, c = s.want("tells again", wire.INFORMATIONAL, false)
	if c.notify(wire.UPDATE_SA_ADDRESSES) == nil || s.lastPath().Local.Addr() != third {
		t.Errorf("the second update goes along %v", s.lastPath())
	}
	s.path.Local = netip.AddrPortFrom(third, 4500)
	s.answer(wire.INFORMATIONAL, h.MessageID, c.notify(wire.COOKIE2))
	if s.sa().path.Local.Addr() != third || s.trafficTo().Local.Addr() != third {
		t.Errorf("we are at %v, ESP leaves from %v", s.sa().path, s.trafficTo())
	}
	s.wantIdle("all is told")
}

// TestMOBIKEUnacceptable: another path is tried, and when none is left the old one stays (RFC 4555 3.5).
func TestMOBIKEUnacceptable(t *testing.T) {
	s := mobileCalling(t)
	ours, third := s.path.Local.Addr(), netip.MustParseAddr("192.0.2.13")
	s.give(Addresses{Local: []netip.Addr{third, ourSecond, ours}})
	s.surveyed(natt.Path{Local: netip.AddrPortFrom(third, 4500), Remote: s.path.Remote, NATT: true})
	for _, want := range []netip.Addr{third, ourSecond} {
		h, c := s.want("tells", wire.INFORMATIONAL, false)
		if got := s.lastPath().Local.Addr(); got != want {
			t.Errorf("%v is tried, want %v", got, want)
		}
		s.answer(wire.INFORMATIONAL, h.MessageID, c.notify(wire.COOKIE2), &wire.Notify{Kind: wire.UNACCEPTABLE_ADDRESSES})
	}
	if s.sa().path.Local.Addr() != ours || s.trafficTo().Local.Addr() != ours {
		t.Errorf("we are at %v, ESP leaves from %v", s.sa().path, s.trafficTo())
	}
	s.wantEvent("tells", Warned, "does not accept the path")
}

// TestMOBIKEWrongCookie2: the IKE SA MUST be closed (RFC 4555 3.7).
func TestMOBIKEWrongCookie2(t *testing.T) {
	for name, answer := range map[string][]wire.Payload{
		"none": nil, "another": {&wire.Notify{Kind: wire.COOKIE2, Data: make([]byte, 16)}},
	} {
		t.Run(name, func(t *testing.T) {
			s := mobileCalling(t)
			s.moveUs()
			h, _ := s.want("tells", wire.INFORMATIONAL, false)
			s.answer(wire.INFORMATIONAL, h.MessageID, answer...)
			if _, c := s.want("closes", wire.INFORMATIONAL, false); !c.deletesIKE() {
				t.Error("the IKE SA is not closed")
			}
		})
	}
}

// TestMOBIKEPeerMoves: the IKE SA follows at once, the Child SAs when the peer has answered at its new address (RFC 4555 3.5,
// 3.7). What we have asked goes on to there.
func TestMOBIKEPeerMoves(t *testing.T) {
	s := mobileCalled(t)
	old := s.path
	s.give(Rekey{Conn: "c", Child: "net"})
	s.sends = nil
	s.path.Remote = netip.AddrPortFrom(theirSecond, 4500)
	cookie := &wire.Notify{Kind: wire.COOKIE2, Data: []byte("12345678")}
	s.update(cookie)
	if again, _ := s.want("repeats its request", wire.CREATE_CHILD_SA, false); again.MessageID != 0 {
		t.Error("another request")
	}
	_, c := s.want("answers", wire.INFORMATIONAL, true)
	if n := c.notify(wire.COOKIE2); n == nil || string(n.Data) != "12345678" || c.notify(wire.NAT_DETECTION_DESTINATION_IP) == nil {
		t.Errorf("the answer is %v", c.notifies)
	}
	if s.trafficTo() != old {
		t.Errorf("ESP goes to %v, which nobody has proved", s.trafficTo())
	}
	s.answer(wire.CREATE_CHILD_SA, 0, notifyOf(wire.TEMPORARY_FAILURE)...)
	s.wantCheck("asks for a proof")
	if s.trafficTo() != s.path {
		t.Errorf("ESP goes to %v", s.trafficTo())
	}
	s.wantEvent("tells", PathChanged, "192.0.2.12")
}

// TestMOBIKEWrongProof: who cannot answer at the new address gets no traffic there.
func TestMOBIKEWrongProof(t *testing.T) {
	s := mobileCalled(t)
	old := s.path
	s.path.Remote = netip.AddrPortFrom(theirSecond, 4500)
	s.update()
	s.want("answers", wire.INFORMATIONAL, true)
	h, _ := s.want("asks for a proof", wire.INFORMATIONAL, false)
	s.answer(wire.INFORMATIONAL, h.MessageID, &wire.Notify{Kind: wire.COOKIE2, Data: []byte("12345678")})
	if s.trafficTo() != old {
		t.Errorf("ESP went to %v", s.trafficTo())
	}
	if _, c := s.want("closes", wire.INFORMATIONAL, false); !c.deletesIKE() {
		t.Error("the IKE SA is not closed")
	}
}

// TestMOBIKEAnotherPort: a NAT's new mapping at the same address needs no proof.
func TestMOBIKEAnotherPort(t *testing.T) {
	s := mobileCalled(t)
	s.path.Remote = netip.AddrPortFrom(s.path.Remote.Addr(), 20001)
	s.update()
	s.want("answers", wire.INFORMATIONAL, true)
	s.wantIdle("asks nothing")
	if s.trafficTo() != s.path {
		t.Errorf("ESP goes to %v", s.trafficTo())
	}
}

// TestMOBIKEOnlyUpdatesMove: no other message of IKE changes where the peer is (RFC 4555 3.8), so that paths can be tested.
func TestMOBIKEOnlyUpdatesMove(t *testing.T) {
	s := mobileCalled(t)
	old := s.path
	s.path.Remote = netip.AddrPortFrom(theirSecond, 4500)
	s.request(wire.INFORMATIONAL)
	s.want("answers", wire.INFORMATIONAL, true)
	if s.lastPath() != s.path {
		t.Errorf("the answer goes to %v, not to where the request came from", s.lastPath())
	}
	if s.sa().path != old || s.trafficTo() != old {
		t.Errorf("the peer is believed to be at %v and %v", s.sa().path, s.trafficTo())
	}
}

// TestMOBIKEForbiddenAddress: RFC 4555 3.5, UNACCEPTABLE_ADDRESSES.
func TestMOBIKEForbiddenAddress(t *testing.T) {
	s := mobileCalled(t)
	s.sa().conn.RemoteAddrs = []netip.Prefix{netip.MustParsePrefix("192.0.2.2/32")}
	old := s.path
	s.path.Remote = netip.AddrPortFrom(theirSecond, 4500)
	s.update()
	s.wantNotify("refuses", wire.INFORMATIONAL, wire.UNACCEPTABLE_ADDRESSES)
	if s.sa().path != old {
		t.Errorf("the peer is believed to be at %v", s.sa().path)
	}
}

// TestMOBIKENoNATsAllowed: the addresses in NO_NATS_ALLOWED must be those of the packet (RFC 4555 3.9), in IKE_AUTH too.
func TestMOBIKENoNATsAllowed(t *testing.T) {
	s := mobileCalled(t)
	back := func() natt.Path { return natt.Path{Local: s.path.Remote, Remote: s.path.Local} }
	right := &wire.Notify{Kind: wire.NO_NATS_ALLOWED, Data: addressesOf(back())}
	if len(right.Data) != 12 {
		t.Errorf("%d bytes, want 12 (RFC 4555 4.2.6)", len(right.Data))
	}
	s.update(right)
	if _, c := s.want("answers", wire.INFORMATIONAL, true); c.notify(wire.UNEXPECTED_NAT_DETECTED) != nil {
		t.Error("a NAT is seen where there is none")
	}
	s.path.Remote = netip.AddrPortFrom(theirSecond, 4500)
	s.update(right)
	s.wantNotify("refuses", wire.INFORMATIONAL, wire.UNEXPECTED_NAT_DETECTED)
	s.request(wire.INFORMATIONAL, append(notifyOf(wire.NO_ADDITIONAL_ADDRESSES), right)...)
	s.wantNotify("refuses", wire.INFORMATIONAL, wire.UNEXPECTED_NAT_DETECTED)

	a := newScript(t, withMOBIKE)
	a.call()
	payloads := append(append(a.auth(a.id, a.secret), a.childPayloads(1)...), notifyOf(wire.MOBIKE_SUPPORTED)...)
	a.request(wire.IKE_AUTH, append(payloads, &wire.Notify{Kind: wire.NO_NATS_ALLOWED, Data: make([]byte, 12)})...)
	a.wantNotify("refuses", wire.IKE_AUTH, wire.UNEXPECTED_NAT_DETECTED)
}

// TestMOBIKENewestWins: of two updates that arrive in the wrong order the newest counts (RFC 4555 3.5).
func TestMOBIKENewestWins(t *testing.T) {
	early, late := time.Unix(1, 0), time.Unix(2, 0)
	for _, c := range []struct {
		x, y   occasion
		before bool
	}{
		{occasion{early, 5}, occasion{early, 6}, true},
		{occasion{early, 6}, occasion{early, 5}, false},
		{occasion{early, 5}, occasion{early, 5}, false},
		{occasion{early, 9}, occasion{late, 0}, true},
		{occasion{late, 0}, occasion{early, 9}, false},
	} {
		if c.x.before(c.y) != c.before {
			t.Errorf("%v before %v: %v", c.x, c.y, !c.before)
		}
	}
	s := mobileCalled(t)
	old := s.path
	s.sa().mob.lastUpdate = occasion{s.sa().established, 100}
	s.path.Remote = netip.AddrPortFrom(theirSecond, 4500)
	s.update()
	s.want("answers all the same", wire.INFORMATIONAL, true)
	if s.sa().path != old {
		t.Error("an old update counted")
	}
}

// TestMOBIKESearch: when the path is silent, the request goes along the others too, and we stay on the one by which the answer
// came (RFC 4555 3.10). As it went to several addresses, a further request proves that the peer is there (3.7).
func TestMOBIKESearch(t *testing.T) {
	s := mobileCalling(t, addressNotifies([]netip.Addr{theirSecond})...)
	old := s.path
	other := natt.Path{Local: s.path.Local, Remote: netip.AddrPortFrom(theirSecond, 4500), NATT: true}
	s.sa().enqueue(&alive{})
	s.touch(s.sa())
	s.give(Tick{})
	first, _ := s.want("asks", wire.INFORMATIONAL, false)
	s.pass(time.Second)
	s.surveyed(old, other)
	s.sends = nil
	s.pass(2 * time.Second)
	var paths []natt.Path
	for _, x := range s.sends {
		paths = append(paths, x.Path)
	}
	if !slices.Equal(paths, []natt.Path{old, other}) {
		t.Fatalf("the request goes along %v", paths)
	}
	s.sends = nil
	s.path = other
	s.answer(wire.INFORMATIONAL, first.MessageID)
	if s.sa().path != other || s.trafficTo() != old {
		t.Errorf("we use %v, and ESP %v before the address is proved", s.sa().path, s.trafficTo())
	}
	h, c := s.want("decides", wire.INFORMATIONAL, false)
	if c.notify(wire.UPDATE_SA_ADDRESSES) == nil {
		t.Fatalf("no update but %v", c.notifies)
	}
	s.answer(wire.INFORMATIONAL, h.MessageID, c.notify(wire.COOKIE2))
	if s.trafficTo() != other {
		t.Errorf("ESP goes along %v", s.trafficTo())
	}
}

// TestMOBIKEPeerLeaves: the end that we called says from another address that the one in use is gone, and we go there (RFC 4555
// 3.5, 3.6).
func TestMOBIKEPeerLeaves(t *testing.T) {
	s := mobileCalling(t)
	old := s.path
	s.path.Remote = netip.AddrPortFrom(theirSecond, 4500)
	s.request(wire.INFORMATIONAL, addressNotifies([]netip.Addr{old.Remote.Addr()})...)
	s.want("answers", wire.INFORMATIONAL, true)
	s.wantIdle("the address in use is still there")
	s.request(wire.INFORMATIONAL, notifyOf(wire.NO_ADDITIONAL_ADDRESSES)...)
	s.want("answers", wire.INFORMATIONAL, true)
	h, c := s.want("decides", wire.INFORMATIONAL, false)
	if c.notify(wire.UPDATE_SA_ADDRESSES) == nil || s.lastPath() != s.path || s.trafficTo() != old {
		t.Fatalf("%v along %v, ESP along %v", c.notifies, s.lastPath(), s.trafficTo())
	}
	s.answer(wire.INFORMATIONAL, h.MessageID, c.notify(wire.COOKIE2))
	if s.trafficTo() != s.path {
		t.Errorf("ESP goes along %v", s.trafficTo())
	}
}

// TestMOBIKEWeLeave: called, we tell the peer from another address when the one in use is gone, and send from there (RFC 4555
// 3.5, 3.6). The peer decides what becomes of it.
func TestMOBIKEWeLeave(t *testing.T) {
	s := mobileCalled(t)
	s.moveUs()
	h, c := s.want("tells", wire.INFORMATIONAL, false)
	if c.notify(wire.NO_ADDITIONAL_ADDRESSES) == nil || c.notify(wire.UPDATE_SA_ADDRESSES) != nil {
		t.Errorf("we tell %v", c.notifies)
	}
	if s.lastPath().Local.Addr() != ourSecond || s.trafficTo().Local.Addr() != ourSecond {
		t.Errorf("IKE leaves from %v, ESP from %v", s.lastPath(), s.trafficTo())
	}
	s.answer(wire.INFORMATIONAL, h.MessageID)
	s.wantIdle("all is told")
}

// TestMOBIKEAddressesChange: what the peer knows of our addresses is kept up to date (RFC 4555 3.6).
func TestMOBIKEAddressesChange(t *testing.T) {
	for name, s := range map[string]*script{"called": mobileCalled(t), "calling": mobileCalling(t)} {
		for range 2 { // the second time nothing is new
			s.give(Addresses{Local: []netip.Addr{s.path.Local.Addr(), ourSecond}})
			if name == "calling" {
				s.surveyed(s.path)
			}
		}
		h, c := s.want(name+": tells", wire.INFORMATIONAL, false)
		if list, _ := readAddresses(c); !slices.Equal(list, []netip.Addr{ourSecond}) || c.notify(wire.UPDATE_SA_ADDRESSES) != nil {
			t.Errorf("%s: we tell %v", name, c.notifies)
		}
		s.answer(wire.INFORMATIONAL, h.MessageID)
		s.wantIdle(name + ": all is told")
	}
}

// TestMOBIKEMapping: behind a NAT a sign of life tells whether the mapping changed, and the peer is told so (RFC 4555 3.8).
func TestMOBIKEMapping(t *testing.T) {
	s := mobileCalling(t)
	sa := s.sa()
	sa.nat.LocalNAT = true
	ask := func(seen string) {
		t.Helper()
		sa.enqueue(&alive{})
		s.touch(sa)
		s.give(Tick{})
		h, c := s.want("asks", wire.INFORMATIONAL, false)
		if c.notify(wire.NAT_DETECTION_SOURCE_IP) == nil {
			t.Fatal("no NAT detection")
		}
		s.answer(wire.INFORMATIONAL, h.MessageID, natHashes(s.spiI, s.spiR, natt.Path{Local: s.path.Remote, Remote: netip.MustParseAddrPort(seen)})...)
	}
	for _, mapping := range []string{"198.51.100.7:20000", "198.51.100.7:20001"} {
		ask(mapping)
		h, c := s.want("tells", wire.INFORMATIONAL, false)
		if c.notify(wire.UPDATE_SA_ADDRESSES) == nil {
			t.Errorf("we tell %v", c.notifies)
		}
		s.answer(wire.INFORMATIONAL, h.MessageID, append(natHashes(s.spiI, s.spiR, natt.Path{Local: s.path.Remote, Remote: netip.MustParseAddrPort(mapping)}), c.notify(wire.COOKIE2))...)
		ask(mapping)
		s.wantIdle("nothing changed")
	}
}

// TestMOBIKEDetectionOnRequest: NAT detection in a request is answered with NAT detection (RFC 4555 3.8).
func TestMOBIKEDetectionOnRequest(t *testing.T) {
	s := mobileCalled(t)
	s.request(wire.INFORMATIONAL, natHashes(s.spiI, s.spiR, natt.Path{Local: s.path.Remote, Remote: s.path.Local})...)
	_, c := s.want("answers", wire.INFORMATIONAL, true)
	n, want := c.notify(wire.NAT_DETECTION_DESTINATION_IP), natt.Hash(s.spiI, s.spiR, s.path.Remote)
	if n == nil || string(n.Data) != string(want[:]) || c.notify(wire.NAT_DETECTION_SOURCE_IP) == nil {
		t.Errorf("the answer is %v", c.notifies)
	}
}

// TestMOBIKEStrays: ESP from elsewhere. Another port of the same address is followed (RFC 4555 3.8), another address has to prove
// itself, and neither is a sign of life (3.12).
func TestMOBIKEStrays(t *testing.T) {
	s := mobileCalled(t)
	spi := s.sa().children[0].in
	s.path.Remote = netip.AddrPortFrom(s.path.Remote.Addr(), 20001)
	s.give(Moved{SPI: spi, Path: s.path})
	if s.trafficTo() != s.path || s.sa().path != s.path {
		t.Errorf("the new mapping is not followed: %v", s.trafficTo())
	}
	old := s.path
	s.path.Remote = netip.AddrPortFrom(theirSecond, 4500)
	s.give(Moved{SPI: spi, Path: s.path})
	if s.trafficTo() != old || !s.sa().mob.strayed {
		t.Errorf("ESP goes to %v without a proof", s.trafficTo())
	}
	if s.lastPath() != s.path {
		t.Errorf("the proof is asked for at %v", s.lastPath())
	}
	s.wantCheck("asks for a proof")
	if s.trafficTo() != s.path || s.sa().path != s.path {
		t.Errorf("ESP goes to %v", s.trafficTo())
	}
	// Without an answer the window opens all the same: the request goes to where the peer is known to be, and proves nothing.
	old = s.path
	s.pass(checkInterval)
	stranger := natt.Path{Local: old.Local, Remote: netip.MustParseAddrPort("203.0.113.9:4500"), NATT: true}
	s.give(Moved{SPI: spi, Path: stranger})
	s.pass(time.Second)
	if s.lastPath() != old {
		t.Errorf("the request is repeated to %v only", s.lastPath())
	}
	s.wantCheck("asks for a proof")
	if s.trafficTo() != old {
		t.Errorf("ESP goes to %v, whose proof went to two places", s.trafficTo())
	}
}

// TestMOBIKECrossesRekey: the IKE SA is rekeyed by the peer while our update is under way; what comes of that holds for the
// successor.
func TestMOBIKECrossesRekey(t *testing.T) {
	s := mobileCalling(t)
	old := s.sa()
	s.moveUs()
	h, c := s.want("tells", wire.INFORMATIONAL, false)
	list := s.newChild(suite.CURVE25519)
	s.request(wire.CREATE_CHILD_SA, append([]wire.Payload{number(testProposal(suite.IKE, testIKE), []byte("12345678"))}, list[1:3]...)...)
	s.want("accepts", wire.CREATE_CHILD_SA, true)
	next := old.heir()
	if next == old || next.mob != old.mob || next.path.Local.Addr() != ourSecond {
		t.Fatalf("the successor is at %v", next.path)
	}
	s.path.Local = netip.AddrPortFrom(ourSecond, 4500)
	s.answer(wire.INFORMATIONAL, h.MessageID, append(natHashes(s.spiI, s.spiR, natt.Path{Local: s.path.Remote, Remote: netip.MustParseAddrPort("198.51.100.7:20000")}), c.notify(wire.COOKIE2))...)
	if !next.nat.LocalNAT {
		t.Error("the successor does not know of the NAT")
	}
}

// TestMOBIKEPatience: the end that does not decide asks for five minutes at least (RFC 4555 3.11).
func TestMOBIKEPatience(t *testing.T) {
	s := newScript(t, func(c *Config) { withMOBIKE(c); c.Retransmit = DefaultRetransmit })
	s.call()
	s.request(wire.IKE_AUTH, append(append(s.auth(s.id, s.secret), s.childPayloads(1)...), notifyOf(wire.MOBIKE_SUPPORTED)...)...)
	s.sends = nil
	s.sa().enqueue(&alive{})
	s.touch(s.sa())
	s.give(Tick{})
	s.pass(longPatience)
	if len(s.order) != 1 || !s.sa().isCurrent() {
		t.Fatal("gave up within five minutes")
	}
	s.pass(longPatience)
	if len(s.order) != 0 {
		t.Error("never gives up")
	}
}

// TestLocalAddressGone: without MOBIKE the IKE SA is set up anew at once from another address; if the peer cannot be called, it
// goes on from there.
func TestLocalAddressGone(t *testing.T) {
	s := calling(t, nil)
	s.give(Addresses{Local: []netip.Addr{s.path.Local.Addr()}})
	s.moveUs()
	if from := s.sends[0].Path.Local.Addr(); from != ourSecond {
		t.Errorf("the IKE SA is closed from %v", from)
	}
	if _, c := s.want("closes", wire.INFORMATIONAL, false); !c.deletesIKE() {
		t.Errorf("the IKE SA is not closed")
	}
	s.want("calls", wire.IKE_SA_INIT, false)

	s = called(t, func(c *Config) { c.Connections[0].RemoteHost = "" })
	s.give(Addresses{Local: []netip.Addr{s.path.Local.Addr()}})
	s.moveUs()
	s.want("asks for a sign of life", wire.INFORMATIONAL, false)
	if s.trafficTo().Local.Addr() != ourSecond || s.lastPath().Local.Addr() != ourSecond {
		t.Errorf("ESP leaves from %v", s.trafficTo())
	}
}

// TestAddressGoneWhileCalling: an attempt from an address that is gone is given up for another one.
func TestAddressGoneWhileCalling(t *testing.T) {
	s := newScript(t, withMOBIKE)
	s.give(Addresses{Local: []netip.Addr{s.path.Local.Addr()}})
	s.give(Initiate{Conn: "c"})
	s.want("calls", wire.IKE_SA_INIT, false)
	s.path.Local = netip.AddrPortFrom(ourSecond, 500)
	s.give(Addresses{Local: []netip.Addr{ourSecond}})
	s.want("calls anew", wire.IKE_SA_INIT, false)
	if s.lastPath().Local.Addr() != ourSecond {
		t.Errorf("calls from %v", s.lastPath())
	}
}

// TestMOBIKEPinned: the addresses that the configuration names are used as long as one of them is there.
func TestMOBIKEPinned(t *testing.T) {
	s := newScript(t, func(c *Config) {
		withMOBIKE(c)
		c.Connections[0].LocalAddrs = []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("192.0.2.13/32")}
	})
	ours, third := s.path.Local.Addr(), netip.MustParseAddr("192.0.2.13")
	s.give(Addresses{Local: []netip.Addr{ours, ourSecond}})
	s.give(Initiate{Conn: "c"})
	s.takeCall()
	_, c := s.want("authenticates", wire.IKE_AUTH, false)
	if list, _ := readAddresses(c); len(list) > 0 {
		t.Errorf("we tell of %v", list)
	}
	s.answer(wire.IKE_AUTH, 1, append(append(s.auth(s.id, s.secret), s.childPayloads(1)...), notifyOf(wire.MOBIKE_SUPPORTED)...)...)
	byHost := natt.Path{Local: netip.AddrPortFrom(ourSecond, 4500), Remote: s.path.Remote, NATT: true}
	for _, step := range []struct {
		have []netip.Addr
		want netip.Addr
	}{
		{[]netip.Addr{ourSecond, ours}, ours}, // although the host prefers the other one
		{[]netip.Addr{ourSecond, third}, third},
		{[]netip.Addr{ourSecond}, ourSecond}, // none of those that are named is left
	} {
		s.give(Addresses{Local: step.have})
		s.surveyed(byHost)
		if got := s.sa().path.Local.Addr(); got != step.want {
			t.Errorf("with %v we are at %v, want %v", step.have, got, step.want)
		}
	}
}

// TestMOBIKEGuess: when the address in use leads nowhere any more, all others are tried at once, and the one by which an answer came
// has to prove itself (RFC 4555 3.5, 3.7, 3.10).
func TestMOBIKEGuess(t *testing.T) {
	deaf := netip.MustParseAddr("192.0.2.99")
	s := mobileCalling(t, addressNotifies([]netip.Addr{deaf, theirSecond})...)
	old := s.path
	s.give(Addresses{Local: []netip.Addr{ourSecond}})
	path := func(remote netip.Addr) natt.Path {
		return natt.Path{Local: netip.AddrPortFrom(ourSecond, 4500), Remote: netip.AddrPortFrom(remote, 4500), NATT: true}
	}
	s.surveyed(path(deaf), path(theirSecond)) // there is no route to where it was
	if len(s.sends) != 2 || s.sends[0].Path != path(deaf) || s.sends[1].Path != path(theirSecond) {
		t.Fatalf("%d messages, the first along %v", len(s.sends), s.lastPath())
	}
	h, c := s.want("decides", wire.INFORMATIONAL, false)
	s.sends = nil
	s.path = path(theirSecond)
	s.answer(wire.INFORMATIONAL, h.MessageID, c.notify(wire.COOKIE2))
	if s.trafficTo() != old {
		t.Errorf("ESP goes to %v without a proof", s.trafficTo())
	}
	h, c = s.want("decides again", wire.INFORMATIONAL, false)
	s.wantIdle("nowhere else")
	s.answer(wire.INFORMATIONAL, h.MessageID, c.notify(wire.COOKIE2))
	if s.trafficTo() != path(theirSecond) {
		t.Errorf("ESP goes to %v", s.trafficTo())
	}
}

// TestMOBIKECookie2InDelete: any INFORMATIONAL request may have a COOKIE2, which its recipient MUST copy (RFC 4555 3.7, 4.2.5).
func TestMOBIKECookie2InDelete(t *testing.T) {
	for length, copied := range map[int]bool{7: false, 8: true, 64: true, 65: false} {
		s := mobileCalled(t)
		cookie := &wire.Notify{Kind: wire.COOKIE2, Data: make([]byte, length)}
		s.request(wire.INFORMATIONAL, cookie)
		_, c := s.want("answers", wire.INFORMATIONAL, true)
		if got := c.notify(wire.COOKIE2); (got != nil) != copied || copied && len(got.Data) != length {
			t.Errorf("%d octets come back as %v", length, got)
		}
		s.request(wire.INFORMATIONAL, &wire.Delete{Protocol: suite.IKE}, cookie)
		if _, c = s.want("answers", wire.INFORMATIONAL, true); (c.notify(wire.COOKIE2) != nil) != copied {
			t.Errorf("%d octets with a Delete: %v", length, c.notifies)
		}
	}
}
