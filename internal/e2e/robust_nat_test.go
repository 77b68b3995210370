//go:build linux

package e2e

import (
	"net/netip"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/natt"
)

// TestRobustRebinding has a NAT that forgets its mappings while the tunnel is in use. The IKE SA stays, traffic goes on,
// and the side in front of the NAT knows the new path.
func TestRobustRebinding(t *testing.T) {
	t.Parallel()
	for _, m := range matches {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			ref := NewReference(t, Plan{B: Masquerade})
			// Without mobike strongSwan follows, as RFC 7296 2.23 has it. What is lost tells B to ask for a sign of life, by
			// which strongSwan finds out; Culvert does from the first packet of ESP.
			const settings = "mobike = no\ndpd_delay = 2s"
			a, b := m.start(t, ref, with(referenceA, settings, ""), with(referenceB, settings, ""))
			sa := settled(t, a, b, soon, nil)
			pinger, err := ref.B.Client.StartPing(ref.A.Client.Addr(), Ping{Interval: 20 * time.Millisecond})
			Must(t, err)
			answers(t, pinger, 20)
			for range 3 {
				before := sa.Remote
				ref.B.NAT.ForgetMappings()
				sa = settled(t, a, b, soon, func(sa SA) bool { return sa.Remote != before })
				if sa.Remote.Addr() != ref.B.Public || !sa.RemoteNAT {
					t.Errorf("the new path leads to %v, behind a NAT: %v", sa.Remote, sa.RemoteNAT)
				}
				answers(t, pinger, 20)
				flows(t, ref.A.Client, ref.B.Client, soon)
			}
			if now := settled(t, a, b, soon, nil); now.SPIi != sa.SPIi || now.Children[0].SPIIn != sa.Children[0].SPIIn {
				t.Errorf("the SAs were set up anew:\n%+v\n%+v", sa, now)
			}
			ping := pinger.Stop()
			if !m.strongA && ping.LongestGap() > 50 {
				t.Errorf("%v, longest gap %d, although Culvert follows at once\n%s", ping, ping.LongestGap(), tails(a, b))
			}
			if c, ok := a.(*Culvert); ok && logged(c, "path-changed") < 3 {
				t.Errorf("the log tells of %d new paths, want 3\n%s", logged(c, "path-changed"), tails(a))
			}
		})
	}
}

// TestRobustRebindingIdle has a NAT that forgets its mappings while nothing is sent. B's probe reaches A from elsewhere;
// A follows, so that the first packet from A's site arrives.
//
// Cases: ikev2-mobike-08-nat-expire-liveness-*.
func TestRobustRebindingIdle(t *testing.T) {
	t.Parallel()
	ref := NewReference(t, Plan{B: Masquerade})
	a, b := matches[2].start(t, ref, referenceA, with(referenceB, "dpd_delay = 1s", ""))
	before := settled(t, a, b, soon, nil)
	ref.B.NAT.ForgetMappings()
	after := settled(t, a, b, soon, func(sa SA) bool { return sa.Remote != before.Remote })
	if after.SPIi != before.SPIi {
		t.Errorf("the IKE SA was set up anew")
	}
	ping, err := ref.A.Client.Ping(ref.B.Client.Addr(), Ping{Count: 3})
	if err != nil || ping.Lost() != 0 {
		t.Errorf("%v, %v\n%s", ping, err, tails(a, b))
	}
}

// TestRobustTwoBehindOneNAT has two gateways behind the same address, which both call A.
func TestRobustTwoBehindOneNAT(t *testing.T) {
	t.Parallel()
	ref := NewReference(t, Plan{B: Masquerade, C: true})
	confA, confC := withSiteC(referenceA, referenceB)
	a := NewCulvert(ref.A.Host, confA)
	b, c := NewCulvert(ref.B.Host, referenceB), NewCulvert(ref.C.Host, confC)
	Must(t, a.Start(), b.Start(), c.Start(), b.Initiate("net"), c.Initiate("net"))
	both := func() {
		t.Helper()
		flows(t, ref.A.Client, ref.B.Client, soon)
		flows(t, ref.A.Client, ref.C.Client, soon)
	}
	both()
	ref.B.NAT.ForgetMappings()
	for _, g := range []*Gateway{ref.B, ref.C} { // each shows A its new place
		ping, err := g.Client.Ping(ref.A.Client.Addr(), Ping{Count: 20, Interval: 50 * time.Millisecond, Patience: sure})
		if err != nil || ping.Lost() > 10 {
			t.Errorf("%s: %v, %v\n%s", g.Host.Name, ping, err, tails(a, b, c))
		}
	}
	both()
	sas, err := a.SAs()
	Must(t, err)
	seen := map[netip.AddrPort]string{}
	for _, sa := range sas {
		seen[sa.Remote] = sa.RemoteID
	}
	if len(sas) != 2 || len(seen) != 2 {
		t.Errorf("A has %d IKE SAs with %v, want one with each of two places\n%s", len(sas), seen, tails(a))
	}
}

// withSiteC adds to the configuration of A a connection with a third gateway, and makes that one's out of that of B.
func withSiteC(confA, confB string) (both, confC string) {
	const siteC = `
connections {
	siteC : connections.site {
		remote {
			id = @bar
		}
		children {
			net {
				remote_ts = 10.105.0.0/24
			}
		}
	}
}
secrets {
	ike-bar {
		id-1 = @bar
		secret = "asdfgh"
	}
}
`
	return confA + siteC, edit(confB, "@foo", "@bar", "qwerty", "asdfgh", "10.104.0.0/24", "10.105.0.0/24")
}

// TestRobustKeepalive looks for keepalives on the wire (RFC 3948 2.3) while nothing else is sent: those of a gateway
// behind a NAT are there, and a gateway that has a public address sends none.
func TestRobustKeepalive(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		b    Translation
		m    match
	}{
		{"behind a NAT, to strongSwan", OneToOne, matches[0]},
		{"behind a NAT, to Culvert", Masquerade, matches[2]},
		{"public, to strongSwan", Direct, matches[0]},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ref := NewReference(t, Plan{B: test.b})
			wire := ref.Net.Capture(ref.A.Uplink)
			a, b := test.m.start(t, ref, with(referenceA, "dpd_delay = 0", ""), with(referenceB, "dpd_delay = 0", ""))
			time.Sleep(2*natt.KeepaliveInterval + natt.KeepaliveInterval/2)
			flows(t, ref.A.Client, ref.B.Client, soon)
			Must(t, wire.Stop())
			frames, err := wire.Decode(Keys{}, "ip.src", "udp.length", "udp.dstport")
			Must(t, err)
			from := func(addr netip.Addr) int {
				return frames.Count(func(f Frame) bool {
					return len(f.Fields["ip.src"]) == 1 && f.Fields["ip.src"][0] == addr.String() && f.number(t, "udp.length") == 8+1
				})
			}
			fromA, fromB := from(ref.A.Public), from(ref.B.Public)
			// Two intervals have passed: one keepalive at least on a slow machine, and no more than one in a quarter of it.
			if behind := test.b != Direct; behind != (fromB > 0) || fromB > 10 {
				t.Errorf("B, behind a NAT: %v, sent %d keepalives\n%s", behind, fromB, tails(a, b))
			}
			if !test.m.strongA && fromA > 0 {
				t.Errorf("A, which is not behind a NAT, sent %d keepalives\n%s", fromA, tails(a, b))
			}
		})
	}
}
