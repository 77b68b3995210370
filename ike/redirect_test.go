package ike

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/ident"
	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/natt"
)

const (
	gatewayA = "192.0.2.2" // whom the endpoint calls
	gatewayC = "192.0.2.7"
)

func followed(c *Config) { c.Connections[0].FollowRedirects, c.Connections[0].DPDDelay = true, 0 }

// redirectTo is a REDIRECT to an address or a name.
func redirectTo(host string, nonce []byte) *wire.Notify {
	g := wire.Gateway{Name: host}
	if a, err := netip.ParseAddr(host); err == nil {
		g = wire.Gateway{Addr: a}
	}
	return &wire.Notify{Kind: wire.REDIRECT, Data: append(wire.AppendGateway(nil, g), nonce...)}
}

// at lets the peer be another one.
func (s *script) at(host string) {
	s.elsewhere = true
	s.path = natt.Path{Local: netip.AddrPortFrom(s.path.Local.Addr(), 500), Remote: netip.AddrPortFrom(netip.MustParseAddr(host), 500)}
}

// wantAt checks that the tunnel is up with a gateway, and with no other.
func (s *script) wantAt(host string) {
	s.t.Helper()
	sa := s.keepers[0].current()
	if sa == nil || sa.path.Remote.Addr().String() != host || s.installs() != 2 {
		s.t.Fatalf("not up with %s, %d halves are installed: %v", host, s.installs(), s.texts())
	}
}

// letGo takes the Delete of the IKE SA with the old gateway, and answers it.
func (s *script) letGo(old script) {
	s.t.Helper()
	s.wantIdle("lets go too early")
	s.pass(settleTime)
	path := s.path
	s.beside(old, func() {
		s.path = old.path
		h, c := s.want("deletes the old IKE SA", wire.INFORMATIONAL, false)
		if !c.deletesIKE() || h.SPIi != old.spiI {
			s.t.Errorf("%+v instead of a Delete of the old IKE SA", c)
		}
		s.answer(wire.INFORMATIONAL, h.MessageID)
	})
	s.path = path
	s.pass(drainTime)
}

// wantCall takes an IKE_SA_INIT to a host, and leaves the peer there with what it needs to answer.
func (s *script) wantCall(host string) *content {
	s.t.Helper()
	if len(s.sends) > 0 && s.sends[0].Path.Remote.Addr().String() != host {
		s.t.Fatalf("calls %v instead of %s", s.sends[0].Path.Remote, host)
	}
	h, c := s.want("calls "+host, wire.IKE_SA_INIT, false)
	s.at(host)
	s.initiator, s.spiI, s.spiR, s.nonceI = false, h.SPIi, 0, clone(c.nonce.Data)
	return c
}

// deflect answers IKE_SA_INIT with a REDIRECT.
func (s *script) deflect(n *wire.Notify) {
	s.t.Helper()
	s.send(s.header(wire.IKE_SA_INIT, 0, true), n)
}

// serve answers the call that comes next, up to IKE_AUTH and the child.
func (s *script) serve(host string) {
	s.t.Helper()
	s.at(host)
	s.takeCall()
	_, c := s.want("authenticates", wire.IKE_AUTH, false)
	s.childIn = []byte{0, 0, 9, s.childIn[3] + 1}
	s.childOut = c.sa.Proposals[0].SPI
	s.answer(wire.IKE_AUTH, 1, append(s.auth(s.id, s.secret), s.childPayloads(1)...)...)
}

// redirectedFrom is the data of REDIRECTED_FROM with an IPv4 address.
func redirectedFrom(host string) []byte {
	return wire.AppendGateway(nil, wire.Gateway{Addr: netip.MustParseAddr(host)})
}

// TestRedirectInit: the first request says REDIRECT_SUPPORTED, the answer sends us to another gateway, and that one is called with
// REDIRECTED_FROM (RFC 5685 3, 9.1 to 9.3); be it named by a DNS name. What it has to prove is the same.
func TestRedirectInit(t *testing.T) {
	for name, to := range map[string]string{"IPv4": gatewayC, "name": "c.example.org"} {
		t.Run(name, func(t *testing.T) {
			s := newScript(t, followed)
			s.dns = map[string]string{"c.example.org": gatewayC}
			s.give(Initiate{Conn: "c"})
			n := s.wantCall(gatewayA).notify(wire.REDIRECT_SUPPORTED)
			if n == nil || n.Protocol != 0 || len(n.SPI) != 0 || len(n.Data) != 0 {
				t.Fatalf("announces %+v", n)
			}
			s.deflect(redirectTo(to, s.nonceI))
			s.wantEvent("tells", Redirected, gatewayA+" sends us to "+to)
			s.at(gatewayC)
			s.theirFirst = s.sends[0].Data
			m, _ := wire.Parse(s.theirFirst)
			c, _ := collect(m.Payloads)
			if n := c.notify(wire.REDIRECTED_FROM); n == nil || n.Protocol != 0 || len(n.SPI) != 0 || string(n.Data) != string(redirectedFrom(gatewayA)) {
				t.Errorf("REDIRECTED_FROM is %+v", n)
			}
			if c.notify(wire.REDIRECT_SUPPORTED) != nil {
				t.Error("REDIRECT_SUPPORTED besides REDIRECTED_FROM")
			}
			s.serve(gatewayC)
			s.wantAt(gatewayC)
			if info := s.Snapshot()[0]; info.RedirectedBy.String() != gatewayA {
				t.Errorf("status says %v", info.RedirectedBy)
			}
		})
	}
}

// TestRedirectIgnored: what does not show our nonce is dropped without a word, and the true answer is waited for (RFC 5685 3); so is
// what is malformed, and every redirect if we did not say that we can be redirected.
func TestRedirectIgnored(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Config)
		notify func(s *script) *wire.Notify
		why    string
	}{
		"another nonce": {followed, func(s *script) *wire.Notify { return redirectTo(gatewayC, make([]byte, 32)) }, "REDIRECT with another nonce than ours"},
		"no nonce":      {followed, func(s *script) *wire.Notify { return redirectTo(gatewayC, nil) }, "REDIRECT with another nonce than ours"},
		"part of the nonce": {followed, func(s *script) *wire.Notify { return redirectTo(gatewayC, s.nonceI[:16]) },
			"REDIRECT with another nonce than ours"},
		"malformed":     {followed, func(s *script) *wire.Notify { return &wire.Notify{Kind: wire.REDIRECT, Data: []byte{1, 9, 1}} }, "malformed REDIRECT"},
		"not supported": {nil, func(s *script) *wire.Notify { return redirectTo(gatewayC, s.nonceI) }, "REDIRECT that was not asked for"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScript(t, c.change)
			s.give(Initiate{Conn: "c"})
			first := s.sends[0]
			call := s.wantCall(gatewayA)
			if announced := call.notify(wire.REDIRECT_SUPPORTED) != nil; announced != (c.change != nil) {
				t.Errorf("REDIRECT_SUPPORTED: %v", announced)
			}
			s.deflect(c.notify(s))
			s.wantEvent("drops it", Dropped, c.why)
			s.wantIdle("goes nowhere")
			s.sends = append(s.sends, first)
			s.serve(gatewayA)
			if s.installs() != 2 {
				t.Fatalf("not up: %v", s.texts())
			}
		})
	}
}

// TestRedirectRefused: nobody is sent where no gateway can be, nor to an address that remote_addrs does not allow (RFC 5685 3: the Peer
// Authorization Database decides), be it that of a name. Whom we call is no limit by itself.
func TestRedirectRefused(t *testing.T) {
	limit := func(list ...string) func(*Config) {
		return func(c *Config) {
			followed(c)
			for _, text := range list {
				c.Connections[0].RemoteAddrs = append(c.Connections[0].RemoteAddrs, netip.MustParsePrefix(text))
			}
		}
	}
	for name, c := range map[string]struct {
		change func(*Config)
		to     string
		why    string // none: it is followed
	}{
		"only the peer":         {limit(gatewayA + "/32"), gatewayC, ""},
		"within the network":    {limit(gatewayA+"/32", "192.0.2.0/24"), gatewayC, ""},
		"outside":               {limit(gatewayA+"/32", "198.51.100.0/24"), gatewayC, "which remote_addrs does not allow / add 192.0.2.7 to remote_addrs"},
		"name outside":          {limit("192.0.2.0/24"), "out.example.org", "which remote_addrs does not allow; add 203.0.113.9"},
		"name of this host":     {followed, "loop.example.org", "where no gateway can be"},
		"unknown name":          {followed, "nowhere.example.org", "ParseAddr"},
		"loopback":              {followed, "127.0.0.1", "where no gateway can be"},
		"loopback in IPv6":      {followed, "::ffff:127.0.0.1", "where no gateway can be"},
		"multicast":             {followed, "224.0.0.1", "where no gateway can be"},
		"broadcast":             {followed, "255.255.255.255", "where no gateway can be"},
		"any":                   {followed, "::", "where no gateway can be"},
		"link-local":            {followed, "fe80::1", "where no gateway can be"},
		"an address of its own": {followed, "192.0.2.1", "which is this host"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScript(t, c.change)
			s.dns = map[string]string{"out.example.org": "203.0.113.9", "loop.example.org": "127.0.0.1"}
			s.give(Addresses{Local: []netip.Addr{netip.MustParseAddr("192.0.2.1")}})
			s.give(Initiate{Conn: "c"})
			s.wantCall(gatewayA)
			s.deflect(redirectTo(c.to, s.nonceI))
			if c.why == "" {
				s.wantCall(c.to)
				return
			}
			s.wantEvent("tells why", Failed, c.why)
			s.wantIdle("calls nobody at once")
			s.pass(2 * time.Second)
			if s.wantCall(gatewayA).notify(wire.REDIRECTED_FROM) != nil {
				t.Error("REDIRECTED_FROM to the configured gateway")
			}
		})
	}
}

// TestRedirectAuth: a redirect in the answer to IKE_AUTH counts when the AUTH beside it is right; the IKE SA is deleted (RFC 5685 6).
func TestRedirectAuth(t *testing.T) {
	authenticated := func(t *testing.T, change func(*Config)) *script {
		s := newScript(t, change)
		s.give(Initiate{Conn: "c"})
		s.takeCall()
		s.want("authenticates", wire.IKE_AUTH, false)
		return s
	}
	t.Run("right", func(t *testing.T) {
		s := authenticated(t, followed)
		s.answer(wire.IKE_AUTH, 1, append(s.auth(s.id, s.secret), redirectTo(gatewayC, nil))...)
		s.wantEvent("tells", Redirected, gatewayC)
		slices.SortStableFunc(s.sends, func(a, b Send) int { return b.Path.Remote.Addr().Compare(a.Path.Remote.Addr()) })
		s.sends[0], s.sends[1] = s.sends[1], s.sends[0]
		h, c := s.want("deletes the IKE SA", wire.INFORMATIONAL, false)
		if !c.deletesIKE() {
			t.Errorf("%+v instead of a Delete", c)
		}
		s.answer(wire.INFORMATIONAL, h.MessageID)
		s.serve(gatewayC)
		s.wantAt(gatewayC)
		if len(s.held) != 1 {
			t.Errorf("%d SPIs are lent", len(s.held))
		}
	})
	t.Run("wrong secret", func(t *testing.T) {
		s := authenticated(t, followed)
		s.answer(wire.IKE_AUTH, 1, append(s.auth(s.id, testSecrets(t, "another")), redirectTo(gatewayC, nil))...)
		_, c := s.want("complains", wire.INFORMATIONAL, false)
		if c.notify(wire.AUTHENTICATION_FAILED) == nil {
			t.Errorf("%v instead of AUTHENTICATION_FAILED", c.notifies)
		}
		s.pass(time.Second / 2)
		s.wantIdle("goes nowhere")
	})
	t.Run("not supported", func(t *testing.T) {
		s := authenticated(t, nil)
		s.answer(wire.IKE_AUTH, 1, append(append(s.auth(s.id, s.secret), redirectTo(gatewayC, nil)), s.childPayloads(1)...)...)
		if s.installs() != 2 {
			t.Errorf("not up: %v", s.texts())
		}
	})
	t.Run("out of bounds", func(t *testing.T) {
		s := authenticated(t, followed)
		s.answer(wire.IKE_AUTH, 1, append(s.auth(s.id, s.secret), redirectTo("127.0.0.1", nil))...)
		s.wantEvent("tells why", Failed, "where no gateway can be")
		h, c := s.want("deletes the IKE SA", wire.INFORMATIONAL, false)
		if !c.deletesIKE() {
			t.Errorf("%+v instead of a Delete", c)
		}
		s.answer(wire.INFORMATIONAL, h.MessageID)
		s.pass(2 * time.Second)
		s.wantCall(gatewayA)
	})
}

// TestRedirectSession: in INFORMATIONAL the gateway sends us away: it gets an empty answer (RFC 5685 5), the new gateway is called while the
// tunnel goes on, and then the old IKE SA is deleted.
func TestRedirectSession(t *testing.T) {
	s := calling(t, followed)
	s.request(wire.INFORMATIONAL, redirectTo(gatewayC, nil))
	if _, c := s.want("answers", wire.INFORMATIONAL, true); len(c.notifies) > 0 {
		t.Errorf("answers with %v", c.notifies)
	}
	old := *s
	s.serve(gatewayC)
	if n := s.installs(); n != 4 {
		t.Fatalf("%d halves are installed, want those of both: %v", n, s.texts())
	}
	s.letGo(old)
	s.wantAt(gatewayC)
	for _, ev := range s.events {
		if ev.Kind == ChildDown {
			t.Error("a child is said to be down")
		}
	}
}

// TestRedirectSessionElsewhere: what else may become of a redirect in INFORMATIONAL.
func TestRedirectSessionElsewhere(t *testing.T) {
	t.Run("the old gateway does not wait", func(t *testing.T) {
		// RFC 5685 5: it may delete the SAs by itself. All children are set up with the new one.
		s := calling(t, followed)
		s.request(wire.INFORMATIONAL, redirectTo(gatewayC, nil))
		s.want("answers", wire.INFORMATIONAL, true)
		call := s.sends[0]
		s.sends = nil
		s.request(wire.INFORMATIONAL, &wire.Delete{Protocol: 1})
		s.want("answers the Delete", wire.INFORMATIONAL, true)
		s.wantIdle("one call is enough")
		s.sends = append(s.sends, call)
		s.serve(gatewayC)
		s.pass(time.Minute)
		s.wantIdle("nothing is missing")
		if s.installs() != 2 {
			t.Errorf("not up: %v", s.texts())
		}
	})
	t.Run("the new gateway is silent", func(t *testing.T) {
		// The tunnel stays, and the old gateway is asked what is to become of it.
		s := calling(t, followed)
		s.request(wire.INFORMATIONAL, redirectTo(gatewayC, nil))
		s.want("answers", wire.INFORMATIONAL, true)
		s.wantCall(gatewayC)
		s.pass(17 * time.Second)
		s.wantEvent("tells", Retrying, "no answer from "+gatewayC, "the present one stays")
		for len(s.sends) > 0 && s.sends[0].Path.Remote.Addr().String() == gatewayC {
			s.sends = s.sends[1:]
		}
		if s.installs() != 2 {
			t.Errorf("the tunnel is down: %v", s.texts())
		}
		if s.sends[0].Path.Remote.Addr().String() != gatewayA {
			t.Errorf("calls %v", s.sends[0].Path)
		}
	})
	t.Run("a name without an address", func(t *testing.T) {
		s := calling(t, followed)
		s.request(wire.INFORMATIONAL, redirectTo("nowhere.example.org", nil))
		s.want("answers", wire.INFORMATIONAL, true)
		s.wantEvent("tells", Retrying, "ParseAddr", "the present one stays")
		if s.installs() != 2 {
			t.Errorf("the tunnel is down: %v", s.texts())
		}
	})
	t.Run("break before make", func(t *testing.T) {
		s := calling(t, func(c *Config) { followed(c); c.Connections[0].BreakBeforeMake = true })
		s.request(wire.INFORMATIONAL, redirectTo(gatewayC, nil))
		s.want("answers", wire.INFORMATIONAL, true)
		h, c := s.want("deletes the old IKE SA", wire.INFORMATIONAL, false)
		if !c.deletesIKE() || s.installs() != 0 {
			t.Errorf("%+v instead of a Delete", c)
		}
		s.answer(wire.INFORMATIONAL, h.MessageID)
		s.serve(gatewayC)
		if s.installs() != 2 {
			t.Errorf("not up: %v", s.texts())
		}
	})
	for name, c := range map[string]struct {
		begin  func(*testing.T, func(*Config)) *script
		change func(*Config)
		notify *wire.Notify
		why    string
	}{
		// RFC 5685 10: only the original responder can redirect the original initiator.
		"the peer has called": {called, followed, redirectTo(gatewayC, nil), "although we did not say that we can be redirected"},
		"not supported":       {calling, nil, redirectTo(gatewayC, nil), "although we did not say that we can be redirected"},
		"malformed":           {calling, followed, &wire.Notify{Kind: wire.REDIRECT, Data: []byte{3, 1, '.'}}, "malformed REDIRECT"},
		"out of bounds":       {calling, followed, redirectTo("::1", nil), "where no gateway can be"},
	} {
		t.Run(name, func(t *testing.T) {
			s := c.begin(t, c.change)
			s.request(wire.INFORMATIONAL, c.notify)
			s.want("answers all the same", wire.INFORMATIONAL, true)
			s.wantEvent("tells", Warned, c.why)
			s.pass(time.Second)
			s.wantIdle("stays")
			if s.installs() != 2 {
				t.Error("the tunnel is down")
			}
		})
	}
}

// TestRedirectLoop: two gateways send us to each other, as in libreswan's ikev2-redirect-03-*-loop. After five redirects within five minutes
// (RFC 5685 7) the configured gateway is called after a wait, and not told that we can be redirected, so that it has to serve us
// (RFC 5685 3); when the time is over it is told so again.
//
// Cases: ikev2-redirect-03-*-loop.
func TestRedirectLoop(t *testing.T) {
	s := newScript(t, followed)
	s.give(Initiate{Conn: "c"})
	at, other := gatewayA, gatewayC
	for range maxRedirects {
		s.wantCall(at)
		s.deflect(redirectTo(other, s.nonceI))
		at, other = other, at
	}
	s.wantCall(at)
	s.deflect(redirectTo(other, s.nonceI))
	s.wantEvent("tells", Failed, "after 5 redirects within 5m0s", "in circles")
	s.wantIdle("waits")
	s.pass(2 * time.Second)
	c := s.wantCall(gatewayA)
	if c.notify(wire.REDIRECT_SUPPORTED) != nil || c.notify(wire.REDIRECTED_FROM) != nil {
		t.Fatal("says that it can be redirected")
	}
	s.deflect(redirectTo(gatewayC, s.nonceI))
	s.wantEvent("does not go there", Dropped, "REDIRECT that was not asked for")
	s.pass(redirectPeriod + 2*backoffMax)
	m, _ := wire.Parse(s.sends[len(s.sends)-1].Data)
	if c, _ := collect(m.Payloads); c.notify(wire.REDIRECT_SUPPORTED) == nil {
		t.Error("does not follow redirects any more")
	}
}

// TestRedirectLoopSession: the limit holds for redirects of authenticated gateways too (RFC 5685 7): the tunnel stays where it is.
//
// Cases: ikev2-redirect-03-*-loop.
func TestRedirectLoopSession(t *testing.T) {
	s := calling(t, followed)
	at, other := gatewayA, gatewayC
	for range maxRedirects {
		s.request(wire.INFORMATIONAL, redirectTo(other, nil))
		s.want("answers", wire.INFORMATIONAL, true)
		old := *s
		s.serve(other)
		s.letGo(old)
		s.nextID = 0
		at, other = other, at
	}
	s.request(wire.INFORMATIONAL, redirectTo(other, nil))
	s.want("answers", wire.INFORMATIONAL, true)
	s.wantEvent("tells", Warned, "after 5 redirects within 5m0s")
	s.wantIdle("stays")
	s.wantAt(at)
}

// TestRedirectEntry: with the new gateway the same entry of the Peer Authorization Database counts (RFC 5685 3): if the peer has no identity in
// the configuration, the secret is that of the address that was called first.
func TestRedirectEntry(t *testing.T) {
	secrets := testSecrets(t, "of the first", gatewayA)
	if err := secrets.Add("ike-other", []byte("of the second"), []ident.Pattern{testPattern(gatewayC)}); err != nil {
		t.Fatal(err)
	}
	s := newScript(t, func(c *Config) {
		followed(c)
		c.Connections[0].RemoteID, c.Secrets = testPattern("%any"), secrets
	})
	s.give(Initiate{Conn: "c"})
	s.wantCall(gatewayA)
	s.deflect(redirectTo(gatewayC, s.nonceI))
	s.at(gatewayC)
	s.takeCall()
	_, c := s.want("authenticates", wire.IKE_AUTH, false)
	body := testID("@us").AppendWire(nil)
	signed := s.keys.signed(append(slices.Clone(s.theirFirst), s.nonceR...), s.keys.pi, body)
	if want := testSecrets(t, "of the first").Lookup(testID("@us"), s.id)[0].Auth(s.keys.prf, signed); string(want) != string(c.auth.Data) {
		t.Error("another secret")
	}
}

// TestRedirectNowhere: when the gateway that we were sent to does not serve us, the configured one is called next, and not told that we can be
// redirected: or it would send us there for as long as the other one is down.
func TestRedirectNowhere(t *testing.T) {
	for name, to := range map[string]string{"silent": gatewayC, "unknown": "nowhere.example.org", "not allowed": "127.0.0.1"} {
		s := newScript(t, followed)
		s.give(Initiate{Conn: "c"})
		s.wantCall(gatewayA)
		s.deflect(redirectTo(to, s.nonceI))
		if to == gatewayC {
			s.wantCall(gatewayC)
			s.pass(15 * time.Second)
			s.sends = nil
		}
		s.pass(2 * time.Second)
		c := s.wantCall(gatewayA)
		if c.notify(wire.REDIRECT_SUPPORTED) != nil || c.notify(wire.REDIRECTED_FROM) != nil {
			t.Errorf("%s: then calls with %v", name, c.notifies)
		}
	}
}
