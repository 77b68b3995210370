//go:build linux

package e2e

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// watchClear captures A's uplink. What it returns ends the capture and tells of packets of the tunnelled networks in it:
// those in clear that belong into the tunnel, and the numbers of those that do not, and of ESP.
func watchClear(t *testing.T, ref *Reference) func() (leaked []int, outside, esp int) {
	t.Helper()
	wire := ref.Net.Capture(ref.A.Uplink)
	return func() (leaked []int, outside, esp int) {
		t.Helper()
		Must(t, wire.Stop())
		frames, err := wire.Decode(Keys{}, "ip.src", "ip.dst")
		Must(t, err)
		within := func(f Frame, site netip.Prefix) bool { // also in a packet that an ICMP error quotes
			return slices.ContainsFunc(append(f.Fields["ip.src"], f.Fields["ip.dst"]...), func(a string) bool {
				addr, err := netip.ParseAddr(a)
				return err == nil && site.Contains(addr)
			})
		}
		for _, f := range frames {
			switch {
			case within(f, ref.B.Site):
				leaked = append(leaked, f.Number)
			case within(f, ref.A.Site):
				outside++
			case f.Has("esp"):
				esp++
			}
		}
		return leaked, outside, esp
	}
}

// TestRobustFailClosed sends traffic that a policy covers while there is no SA for it, in every way this can come about.
// Nothing of it is seen outside in clear, and traffic that no policy covers is not disturbed.
//
// Cases: BUG-30; SGW.I.1.1.3.8; VPNGW FPF_RUL_EXT.1.1.
func TestRobustFailClosed(t *testing.T) {
	t.Parallel()
	ref := NewReference(t, Plan{})
	ref.Router.Route(ref.A.Site.String(), ref.A.Public.String()) // so that what is not tunnelled is answered
	internet := netip.MustParseAddr("203.0.113.254")
	inspect := watchClear(t, ref)
	// Trap is not configured: nothing but an order brings the child up.
	a := NewCulvert(ref.A.Host, with(referenceA, "remote_addrs = 192.0.2.10\ndpd_delay = 1s", ""))
	b := NewStrongSwan(ref.B.Host, referenceB)

	dropped := func() uint64 {
		conn, err := a.Connection("site")
		Must(t, err)
		return conn.Children[0].DroppedNoSA
	}
	// shut sends covered traffic of the site and of the gateway itself, which must not get through, and some that is not.
	shut := func(when string) {
		t.Helper()
		for _, h := range []*Host{ref.A.Client, ref.A.Host} {
			from := h.Addr()
			ping, err := h.Ping(ref.B.Client.Addr(), Ping{Count: 5, From: from, Patience: never})
			Must(t, err)
			if ping.Received != 0 {
				t.Errorf("%s: %v", when, ping)
			}
		}
		ping, err := ref.A.Client.Ping(internet, Ping{Count: 3})
		if err != nil || ping.Lost() != 0 {
			t.Errorf("%s: traffic that no policy covers: %v, %v", when, ping, err)
		}
	}
	counted := func(when string, do func(string)) {
		t.Helper()
		before := dropped()
		do(when)
		status, err := a.Status()
		Must(t, err)
		if after := dropped(); after < before+10 || status.Drops["out-no-sa"] < after {
			t.Errorf("%s: %d drops were counted for the child, %v in all, want 10 more than %d", when, after, status.Drops, before)
		}
	}

	Must(t, a.Start())
	counted("before the child is up", shut)
	Must(t, b.Start(), a.Initiate("net"))
	flows(t, ref.A.Client, ref.B.Client, soon)
	ping, err := ref.A.Client.Ping(internet, Ping{Count: 3})
	if err != nil || ping.Lost() != 0 {
		t.Errorf("while the tunnel is up, traffic that no policy covers: %v, %v", ping, err)
	}
	Must(t, a.Terminate("site"))
	counted("after down", shut)

	Must(t, a.Initiate("net"))
	flows(t, ref.A.Client, ref.B.Client, soon)
	Must(t, b.Terminate("site"))
	await(t, a, func(sas []SA) bool { return len(sas) == 0 })
	counted("after the peer closed it", shut)

	Must(t, a.Initiate("net"))
	flows(t, ref.A.Client, ref.B.Client, soon)
	Must(t, b.Kill())
	shut("with a dead peer")

	Must(t, a.Kill())
	shut("after kill -9")
	if left := leftovers(t, ref.A.Host); len(left) == 0 {
		t.Errorf("after kill -9 nothing keeps the traffic in")
	}
	pinger, err := ref.A.Client.StartPing(ref.B.Client.Addr(), Ping{Interval: time.Millisecond, Patience: never})
	Must(t, err, a.Start())
	eventually(soon, func() bool { return pinger.Result().Sent >= 100 })
	if r := pinger.Stop(); r.Received != 0 || r.Sent < 100 {
		t.Errorf("during the restart: %v", r)
	}
	counted("after the restart", shut)

	// Traffic to the dead peer is not what the capture is for: it ends before the daemon does, after which it may leave.
	leaked, outside, esp := inspect()
	if len(leaked) > 0 {
		t.Errorf("packets %v of the capture are traffic of the tunnel in clear\n%s", leaked[:min(10, len(leaked))], tails(a))
	}
	if outside < 40 || esp < 6 {
		t.Errorf("the capture has only %d packets in clear that may be and %d of ESP: it is blind", outside, esp)
	}
	Must(t, a.Stop())
	if left := leftovers(t, ref.A.Host); len(left) > 0 {
		t.Errorf("a clean end leaves behind:\n%s", strings.Join(left, "\n"))
	}
}

// TestRobustLeftBehind kills a daemon and starts it with another policy: what the first one left is gone, and what is
// not covered any more goes its own way.
//
// Cases: BUG-30.
func TestRobustLeftBehind(t *testing.T) {
	t.Parallel()
	ref := NewReference(t, Plan{})
	ref.A.Host.Route(ref.B.Site.String(), "203.0.113.254")
	ref.Router.Route(ref.B.Site.String(), ref.B.Public.String())
	ref.Router.Route(ref.A.Site.String(), ref.A.Public.String())
	through := func() PingResult {
		t.Helper()
		ping, err := ref.A.Client.Ping(ref.B.Client.Addr(), Ping{Count: 3, Patience: never})
		Must(t, err)
		return ping
	}
	if ping := through(); ping.Lost() != 0 {
		t.Fatalf("without a tunnel: %v", ping)
	}
	a := NewCulvert(ref.A.Host, referenceA)
	Must(t, a.Start())
	if ping := through(); ping.Received != 0 {
		t.Errorf("in spite of the policy: %v", ping)
	}
	Must(t, a.Kill())
	if ping := through(); ping.Received != 0 {
		t.Errorf("after kill -9: %v", ping)
	}
	Must(t, a.Configure(edit(referenceA, "10.104.0.0/24", "10.99.0.0/24")), a.Start())
	if ping := through(); ping.Lost() != 0 {
		t.Errorf("no policy covers it any more: %v\n%s", ping, strings.Join(leftovers(t, ref.A.Host), "\n"))
	}
	left := strings.Join(leftovers(t, ref.A.Host), "\n")
	if strings.Contains(left, "10.104.0.0/24") || !strings.Contains(left, "10.99.0.0/24") {
		t.Errorf("the routes are not those of the new policy:\n%s", left)
	}
	Must(t, a.Stop())
	if left := leftovers(t, ref.A.Host); len(left) > 0 {
		t.Errorf("a clean end leaves behind:\n%s", strings.Join(left, "\n"))
	}
	if ping := through(); ping.Lost() != 0 {
		t.Errorf("after the end: %v", ping)
	}
}

// TestRobustPartOfSite has selectors that do not contain the gateway's own address.
func TestRobustPartOfSite(t *testing.T) {
	t.Parallel()
	for _, m := range matches {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			ref := NewReference(t, Plan{B: OneToOne})
			confA, confB := referenceA, referenceB
			for _, g := range []struct {
				site, part string
				strong     bool // strongSwan needs an address of its own inside
			}{{"10.103.0.0/24", "10.103.0.2/32", m.strongA}, {"10.104.0.0/24", "10.104.0.2/31", m.strongB}} {
				if !g.strong {
					confA, confB = edit(confA, g.site, g.part), edit(confB, g.site, g.part)
				}
			}
			a, b := m.start(t, ref, confA, confB)
			for _, way := range [][2]*Host{{ref.A.Client, ref.B.Client}, {ref.B.Client, ref.A.Client}} {
				ping, err := way[0].Ping(way[1].Addr(), Ping{Count: 20})
				if err != nil || ping.Lost() != 0 {
					t.Errorf("%v, %v\n%s", ping, err, tails(a, b))
				}
				transfer, err := way[0].Transfer(way[1], way[1].Addr(), 1<<18)
				if err != nil || !transfer.Intact() {
					t.Errorf("%v, %v\n%s", transfer, err, tails(a, b))
				}
			}
		})
	}
}
