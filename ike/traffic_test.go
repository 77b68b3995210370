package ike

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/natt"
	"github.com/culvert-vpn/culvert/suite"
	"github.com/culvert-vpn/culvert/ts"
)

func sel(text string) []ts.Selector { return ts.Resolve(testSpec(text)) }

// hostToHost makes the only child one for the traffic of the two ends, in transport mode.
func hostToHost(c *Config) {
	child := c.Connections[0].Children[0]
	child.Mode = Transport
	child.LocalTS, child.RemoteTS = testSpec("dynamic"), testSpec("dynamic")
	child.TFCPadding = TFCPathMTU
}

// lastInstall is the last half of a Child SA that was installed in a direction.
func (s *script) lastInstall(d Direction) Install {
	s.t.Helper()
	for _, e := range slices.Backward(s.all) {
		if in, ok := e.(Install); ok && in.Dir == d {
			return in
		}
	}
	s.t.Fatalf("nothing is installed: %v", s.texts())
	return Install{}
}

// childWith are payloads for a child with these selectors and notifies.
func (s *script) childWith(tsi, tsr string, kinds ...wire.NotifyType) []wire.Payload {
	list := s.childPayloads(1)
	list = append(list[:1:1], &wire.TS{Selectors: sel(tsi)}, &wire.TS{Responder: true, Selectors: sel(tsr)})
	for _, k := range kinds {
		list = append(list, &wire.Notify{Kind: k})
	}
	return list
}

// TestTransportResponder: RFC 7296 2.23.1. The peer, behind a NAT, names the address it has there, and an address of ours that a
// NAT has in front of us; they are replaced by what we see before the policy is looked up, and kept for the checksums.
func TestTransportResponder(t *testing.T) {
	for _, c := range []struct {
		name             string
		tsi, tsr         string
		ask              bool
		change           func(*Config)
		localNAT, remote bool // who is behind a NAT
		mode             Mode
		refused          bool
		original         [2]string
	}{
		{name: "no NAT", tsi: "192.0.2.2", tsr: "192.0.2.1", ask: true, mode: Transport, original: [2]string{"192.0.2.2", "192.0.2.1"}},
		{name: "client behind a NAT", tsi: "10.0.0.7", tsr: "192.0.2.1", ask: true, remote: true, mode: Transport, original: [2]string{"10.0.0.7", "192.0.2.1"}},
		{name: "both", tsi: "10.0.0.7", tsr: "198.51.100.9", ask: true, remote: true, localNAT: true, mode: Transport, original: [2]string{"10.0.0.7", "198.51.100.9"}},
		{name: "ports", tsi: "192.0.2.2[tcp]", tsr: "192.0.2.1[tcp/80]", ask: true, mode: Transport, original: [2]string{"192.0.2.2", "192.0.2.1"}},
		{name: "another address without a NAT", tsi: "10.0.0.7", tsr: "192.0.2.1", ask: true, refused: true},
		{name: "a network", tsi: "192.0.2.0/24", tsr: "192.0.2.1", ask: true},
		{name: "not asked for", tsi: "192.0.2.2", tsr: "192.0.2.1"},
		{name: "not configured", tsi: "192.0.2.2", tsr: "192.0.2.1", ask: true, change: func(c *Config) { c.Connections[0].Children[0].Mode = Tunnel }},
		{name: "not configured, with a NAT", tsi: "10.0.0.7", tsr: "192.0.2.1", ask: true, remote: true, refused: true,
			change: func(c *Config) { c.Connections[0].Children[0].Mode = Tunnel }},
		{name: "not configured, with a NAT and a policy for the true address", tsi: "10.0.0.7", tsr: "192.0.2.1", ask: true, remote: true,
			change: func(c *Config) {
				c.Connections[0].Children[0].Mode = Tunnel
				c.Connections[0].Children[0].RemoteTS = testSpec("10.0.0.0/24")
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScript(t, func(cfg *Config) {
				hostToHost(cfg)
				if c.change != nil {
					c.change(cfg)
				}
			})
			s.call()
			s.sa().nat = natt.Situation{Supported: true, LocalNAT: c.localNAT, RemoteNAT: c.remote}
			var kinds []wire.NotifyType
			if c.ask {
				kinds = []wire.NotifyType{wire.USE_TRANSPORT_MODE}
			}
			s.request(wire.IKE_AUTH, append(s.auth(s.id, s.secret), s.childWith(c.tsi, c.tsr, kinds...)...)...)
			_, got := s.want("answers IKE_AUTH", wire.IKE_AUTH, true)
			if c.refused {
				if got.notify(wire.TS_UNACCEPTABLE) == nil || s.installs() != 0 {
					t.Fatalf("not refused: %v, %v", got.notifies, s.texts())
				}
				return
			}
			in, out := s.lastInstall(In), s.lastInstall(Out)
			agreed := got.notify(wire.USE_TRANSPORT_MODE) != nil
			if agreed != (c.mode == Transport) || in.Mode != c.mode || out.Mode != c.mode {
				t.Fatalf("agreed: %v, installed in %v and %v mode", agreed, in.Mode, out.Mode)
			}
			if agreed != (got.notify(wire.ESP_TFC_PADDING_NOT_SUPPORTED) != nil) || agreed != (out.TFC == 0) {
				t.Errorf("padding: %v, %d", got.notifies, out.TFC)
			}
			if !slices.Equal(got.tsi.Selectors, in.Remote) || !slices.Equal(got.tsr.Selectors, in.Local) {
				t.Errorf("told are %v === %v, installed %v === %v", got.tsr.Selectors, got.tsi.Selectors, in.Local, in.Remote)
			}
			if c.mode == Tunnel {
				if in.Original != (Original{}) {
					t.Errorf("original addresses %v in tunnel mode", in.Original)
				}
				return
			}
			if want := (Original{netip.MustParseAddr(c.original[0]), netip.MustParseAddr(c.original[1])}); in.Original != want {
				t.Errorf("original addresses %v, want %v", in.Original, want)
			}
			if in.Remote[0].Start != s.path.Remote.Addr() || in.Local[0].Start != s.path.Local.Addr() {
				t.Errorf("selectors %v === %v are not those that we see", in.Local, in.Remote)
			}
		})
	}
}

// TestTransportInitiator: RFC 7296 2.23.1. What the peer names are the addresses that it sees.
func TestTransportInitiator(t *testing.T) {
	for _, c := range []struct {
		name             string
		tsi, tsr         string
		agree            bool
		localNAT, remote bool
		good             bool
	}{
		{"no NAT", "192.0.2.1", "192.0.2.2", true, false, false, true},
		{"we are behind a NAT", "203.0.113.5", "192.0.2.2", true, true, false, true},
		{"both are", "203.0.113.5", "10.9.9.9", true, true, true, true},
		{"narrowed to ports", "192.0.2.1", "192.0.2.2[tcp/22]", true, false, false, true},
		{"declined", "192.0.2.1", "192.0.2.2", false, false, false, true},
		{"other addresses without a NAT", "203.0.113.5", "192.0.2.2", true, false, false, false},
		{"a network", "192.0.2.1", "192.0.2.0/24", true, false, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScript(t, hostToHost)
			s.give(Initiate{Conn: "c"})
			s.takeCall()
			s.sa().nat = natt.Situation{Supported: true, LocalNAT: c.localNAT, RemoteNAT: c.remote}
			_, ask := s.want("authenticates", wire.IKE_AUTH, false)
			if ask.notify(wire.USE_TRANSPORT_MODE) == nil || !slices.Equal(ask.tsi.Selectors, sel("192.0.2.1")) || !slices.Equal(ask.tsr.Selectors, sel("192.0.2.2")) {
				t.Fatalf("asks for %v === %v, %v", ask.tsi.Selectors, ask.tsr.Selectors, ask.notifies)
			}
			var kinds []wire.NotifyType
			if c.agree {
				kinds = []wire.NotifyType{wire.USE_TRANSPORT_MODE}
			}
			s.answer(wire.IKE_AUTH, 1, append(s.auth(s.id, s.secret), s.childWith(c.tsi, c.tsr, kinds...)...)...)
			if !c.good {
				if s.installs() != 0 {
					t.Error("installed")
				}
				_, next := s.want("deletes what it does not take", wire.INFORMATIONAL, false)
				if len(next.deletes) != 1 {
					t.Errorf("%v", next.deletes)
				}
				return
			}
			in, out := s.lastInstall(In), s.lastInstall(Out)
			if (in.Mode == Transport) != c.agree || (out.TFC == 0) != c.agree {
				t.Errorf("installed in %v mode, padded to %d", in.Mode, out.TFC)
			}
			if !c.agree {
				s.wantEvent("the user is told", Warned, "tunnel mode", "mode = transport")
				return
			}
			if want := (Original{sel(c.tsr)[0].Start, sel(c.tsi)[0].Start}); in.Original != want {
				t.Errorf("original addresses %v, want %v", in.Original, want)
			}
			if in.Local[0].Start != s.path.Local.Addr() || in.Remote[0].Start != s.path.Remote.Addr() || in.Remote[0].EndPort != sel(c.tsr)[0].EndPort {
				t.Errorf("selectors %v === %v", in.Local, in.Remote)
			}
		})
	}
}

// TestNotOfferedTransport: a peer cannot choose what was not offered.
func TestNotOfferedTransport(t *testing.T) {
	s := newScript(t, func(c *Config) {
		hostToHost(c)
		c.Connections[0].Children[0].Mode = Tunnel
	})
	s.give(Initiate{Conn: "c"})
	s.takeCall()
	if _, ask := s.want("authenticates", wire.IKE_AUTH, false); len(ask.notifies) != 1 {
		t.Errorf("offers %v", ask.notifies)
	}
	s.answer(wire.IKE_AUTH, 1, append(s.auth(s.id, s.secret), s.childWith("192.0.2.1", "192.0.2.2", wire.USE_TRANSPORT_MODE)...)...)
	if s.installs() != 0 {
		t.Error("installed")
	}
	s.wantEvent("the user is told", ChildFailed, "transport mode, which was not offered")
}

// TestTransportPolicy: what transport mode cannot carry is asked for in tunnel mode.
func TestTransportPolicy(t *testing.T) {
	s := newScript(t, func(c *Config) { c.Connections[0].Children[0].Mode = Transport })
	s.give(Initiate{Conn: "c"})
	s.takeCall()
	if _, ask := s.want("authenticates", wire.IKE_AUTH, false); ask.notify(wire.USE_TRANSPORT_MODE) != nil || !slices.Equal(ask.tsi.Selectors, sel("10.1.0.0/16")) {
		t.Errorf("asks for %v, %v", ask.tsi.Selectors, ask.notifies)
	}
}

// TestTFCNotSupported: a peer that does not take padding gets none (RFC 7296 1.3.1), in either role.
func TestTFCNotSupported(t *testing.T) {
	pad := func(c *Config) { c.Connections[0].Children[0].TFCPadding = 1000 }
	for _, c := range []struct {
		kinds []wire.NotifyType
		want  int
	}{{nil, 1000}, {[]wire.NotifyType{wire.ESP_TFC_PADDING_NOT_SUPPORTED}, 0}} {
		s := newScript(t, pad)
		s.call()
		s.request(wire.IKE_AUTH, append(s.auth(s.id, s.secret), s.childWith("10.2.0.0/16", "10.1.0.0/16", c.kinds...)...)...)
		if out := s.lastInstall(Out); out.TFC != c.want || s.lastInstall(In).TFC != 0 {
			t.Errorf("%v: padded to %d, want %d", c.kinds, out.TFC, c.want)
		}
		s = newScript(t, pad)
		s.give(Initiate{Conn: "c"})
		s.takeCall()
		s.want("authenticates", wire.IKE_AUTH, false)
		s.answer(wire.IKE_AUTH, 1, append(s.auth(s.id, s.secret), s.childWith("10.1.0.0/16", "10.2.0.0/16", c.kinds...)...)...)
		if out := s.lastInstall(Out); out.TFC != c.want {
			t.Errorf("initiator, %v: padded to %d, want %d", c.kinds, out.TFC, c.want)
		}
	}
}

// TestNonFirstFragments: a peer may ask to send fragments that are not the first under selectors with ports. We decline by saying
// nothing, and the child is made all the same (RFC 7296 1.3.1, RFC 4301 7).
func TestNonFirstFragments(t *testing.T) {
	s := called(t, nil)
	s.request(wire.CREATE_CHILD_SA, append(s.newChild(suite.CURVE25519), &wire.Notify{Kind: wire.NON_FIRST_FRAGMENTS_ALSO})...)
	_, c := s.want("answers", wire.CREATE_CHILD_SA, true)
	if c.sa == nil || c.notify(wire.NON_FIRST_FRAGMENTS_ALSO) != nil || s.installs() != 4 {
		t.Errorf("%v, %v", c.notifies, s.texts())
	}
	// One who agrees to what was not asked for changes nothing.
	s = newScript(t, nil)
	s.give(Initiate{Conn: "c"})
	s.takeCall()
	if _, ask := s.want("authenticates", wire.IKE_AUTH, false); ask.notify(wire.NON_FIRST_FRAGMENTS_ALSO) != nil {
		t.Error("asks for it")
	}
	s.answer(wire.IKE_AUTH, 1, append(s.auth(s.id, s.secret), s.childWith("10.1.0.0/16", "10.2.0.0/16", wire.NON_FIRST_FRAGMENTS_ALSO)...)...)
	if s.installs() != 2 {
		t.Errorf("not installed: %v", s.texts())
	}
}
