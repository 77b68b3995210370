package ike

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/natt"
)

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
	if s.order.len() != 1 || !s.sa().isCurrent() {
		t.Fatal("gave up within five minutes")
	}
	s.pass(longPatience)
	if s.order.len() != 0 {
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
