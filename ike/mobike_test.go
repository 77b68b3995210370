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
