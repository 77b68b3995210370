//go:build linux

package e2e

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// mobileAddr is where a gateway is on its second way to the internet.
const mobileAddr = "198.51.100.10"

// mobile gives a gateway a second way to the internet, over a router of its own, which it takes when the first one is gone. The
// router may hide it behind 198.18.0.1.
func (r *Reference) mobile(g *Gateway, hidden bool) {
	r.Net.t.Helper()
	router := r.Net.Router("mobile")
	r.Net.Link(g.Host, []string{mobileAddr + "/24"}, router, []string{"198.51.100.254/24"})
	r.Net.Link(router, []string{"198.18.0.1/30"}, r.Router, []string{"198.18.0.2/30"})
	router.Route("default", "198.18.0.2")
	if hidden {
		router.Masquerade(r.Router)
	} else {
		r.Router.Route("198.51.100.0/24", "198.18.0.1")
	}
	for _, h := range []*Host{r.A.Host, r.B.Host} {
		h.Sysctl("net/ipv6/conf/all/disable_ipv6", "1") // it would be one more way
	}
	everything := &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}
	Must(r.Net.t, g.Host.Netlink().RouteAdd(&netlink.Route{Dst: everything, Gw: netip.MustParseAddr("198.51.100.254").AsSlice(), Priority: 100}))
}

// pull pulls the cable of a gateway's first way to the internet.
func (g *Gateway) pull() {
	if g.NAT != nil {
		newLink(g.Host, g.NAT).SetUp(false)
		return
	}
	g.Uplink.SetUp(false)
}

// unaddress takes the address of a gateway's first way to the internet.
func (g *Gateway) unaddress(addr string) {
	g.Host.net.t.Helper()
	link, err := g.Host.Netlink().LinkByName("internet")
	Must(g.Host.net.t, err)
	a, err := netlink.ParseAddr(addr)
	Must(g.Host.net.t, err, g.Host.Netlink().AddrDel(link, a))
}

// TestRobustMOBIKE changes where a gateway is under a running tunnel, with MOBIKE (RFC 4555). The IKE SA stays, and between two
// Culverts the Child SA; only what falls into the change is lost, and both ends know who is behind a NAT afterwards.
func TestRobustMOBIKE(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		plan   Plan
		change func(*Reference)
		seenA  string // where B sees A
		seenB  string // where A sees B
		hidden bool   // B is behind a NAT afterwards
	}{
		{"another address of who called", Plan{}, func(r *Reference) { r.B.Host.Move("internet", "192.0.2.10/24", "192.0.2.11/24") },
			"203.0.113.1", "192.0.2.11", false},
		{"another address of who was called", Plan{}, func(r *Reference) { r.A.Host.Move("internet", "203.0.113.1/24", "203.0.113.2/24") },
			"203.0.113.2", "192.0.2.10", false},
		{"interface down", Plan{}, func(r *Reference) { r.B.pull() }, "203.0.113.1", mobileAddr, false},
		{"out of a NAT", Plan{B: Masquerade}, func(r *Reference) { r.B.pull() }, "203.0.113.1", mobileAddr, false},
		{"from IPv4 to IPv6", Plan{}, func(r *Reference) { r.B.unaddress("192.0.2.10/24") }, "2001:db8:a::1", "2001:db8:b::1", false},
		{"into a NAT", Plan{}, func(r *Reference) { r.B.pull() }, "203.0.113.1", "198.18.0.1", true},
	} {
		for _, m := range matches {
			t.Run(test.name+"/"+m.name, func(t *testing.T) {
				t.Parallel()
				ref := NewReference(t, test.plan)
				toIPv6 := strings.Contains(test.seenB, ":")
				if !toIPv6 {
					ref.mobile(ref.B, test.hidden)
				}
				wire := ref.Net.Capture(ref.A.Uplink)
				a, b := m.start(t, ref, edit(referenceA, "local_addrs = 203.0.113.1\n", "\n"), referenceB)
				before := settled(t, a, b, soon, nil)
				pinger, err := ref.B.Client.StartPing(ref.A.Client.Addr(), Ping{Interval: 20 * time.Millisecond})
				Must(t, err)
				answers(t, pinger, 20)
				test.change(ref)
				answers(t, pinger, 50)
				seen := func(p Peer, remote string) (SA, bool) {
					sas, err := p.SAs()
					return first(sas), err == nil && len(sas) == 1 && sas[0].Remote.Addr().String() == remote
				}
				if !eventually(soon, func() bool {
					_, okA := seen(a, test.seenB)
					_, okB := seen(b, test.seenA)
					return okA && okB
				}) {
					atA, _ := seen(a, test.seenB)
					atB, _ := seen(b, test.seenA)
					t.Errorf("the gateways see each other elsewhere than at %s and %s:\n%+v\n%+v", test.seenA, test.seenB, atA, atB)
				}
				// strongSwan forces encapsulation in a way that hides whether there is a NAT. With kernel-libipsec it cannot move a
				// Child SA, and rekeys it.
				onlyCulvert := !m.strongA && !m.strongB
				after := settled(t, a, b, soon, func(sa SA) bool { return !onlyCulvert || sa.RemoteNAT == test.hidden })
				if after.SPIi != before.SPIi || onlyCulvert && after.Children[0].SPIIn != before.Children[0].SPIIn {
					t.Errorf("the SAs were set up anew:\n%+v\n%+v", before, after)
				}
				answers(t, pinger, 20)
				ping := pinger.Stop()
				for _, p := range []Peer{a, b} {
					if _, ok := p.(*StrongSwan); ok {
						t.Logf("addresses that strongSwan tells of: %d", strings.Count(p.Log(), "N(ADD_4_ADDR)"))
					}
				}
				t.Logf("%v, longest gap %d at 20 ms", ping, ping.LongestGap())
				if ping.LongestGap() > 500 || t.Failed() {
					t.Errorf("%v, longest gap %d\n%s", ping, ping.LongestGap(), tails(a, b))
				}
				flows(t, ref.A.Client, ref.B.Client, soon)
				alone(t, a, b)
				Must(t, wire.Stop())
				for _, peer := range []Peer{a, b} {
					if gateway, ok := peer.(*Culvert); ok {
						// strongSwan does not decide when who was called moves: it goes along with what comes from there.
						follows := m.strongB && test.seenA != "203.0.113.1" && !toIPv6
						readMOBIKE(t, wire, gateway, netip.MustParseAddr(test.seenB), netip.MustParseAddr(test.seenA), !follows)
						break
					}
				}
			})
		}
	}
}

// TestRobustMOBIKERebinding has a NAT that forgets its mappings while a tunnel with MOBIKE is in use. Nothing that the caller sends can
// tell it, but the sign of life that it asks for (RFC 4555 3.8). A Culvert that was called follows ESP at once.
func TestRobustMOBIKERebinding(t *testing.T) {
	t.Parallel()
	for _, m := range matches {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			ref := NewReference(t, Plan{B: Masquerade})
			const settings = "dpd_delay = 2s"
			a, b := m.start(t, ref, with(referenceA, settings, ""), with(referenceB, settings, ""))
			sa := settled(t, a, b, soon, nil)
			pinger, err := ref.B.Client.StartPing(ref.A.Client.Addr(), Ping{Interval: 20 * time.Millisecond})
			Must(t, err)
			answers(t, pinger, 20)
			for range 3 {
				before := sa.Remote
				ref.B.NAT.ForgetMappings()
				after := settled(t, a, b, soon, func(sa SA) bool { return sa.Remote != before })
				if after.SPIi != sa.SPIi || after.Remote.Addr() != ref.B.Public {
					t.Errorf("the IKE SA was set up anew, or leads elsewhere:\n%+v\n%+v", sa, after)
				}
				sa = after
				answers(t, pinger, 20)
				flows(t, ref.A.Client, ref.B.Client, soon)
			}
			ping := pinger.Stop()
			t.Logf("%v, longest gap %d at 20 ms", ping, ping.LongestGap())
			if !m.strongA && ping.LongestGap() > 50 || t.Failed() {
				t.Errorf("%v, longest gap %d\n%s", ping, ping.LongestGap(), tails(a, b))
			}
		})
	}
}

func first(sas []SA) SA {
	if len(sas) == 0 {
		return SA{}
	}
	return sas[0]
}

// Notify types of RFC 4555, as tshark prints them.
const (
	mobikeSupported   = "16396"
	updateSAAddresses = "16400"
	cookie2           = "16401"
)

// readMOBIKE has tshark find on A's cable what RFC 4555 wants there: both ends say in IKE_AUTH at port 4500 that they support it
// (3.2, 3.3), and B says with UPDATE_SA_ADDRESSES from where it is now that this is its address (3.5).
func readMOBIKE(t *testing.T, wire *Capture, from *Culvert, b, a netip.Addr, updates bool) {
	t.Helper()
	frames, err := wire.Decode(Keys{Profile: from.Keylog()}, "isakmp.exchangetype", "isakmp.notify.msgtype", "ip.src", "ip.dst", "ipv6.src", "ipv6.dst", "udp.dstport")
	Must(t, err)
	said := func(notify, exchange string, fits func(Frame) bool) int {
		return frames.Count(func(f Frame) bool {
			return slices.Contains(f.Fields["isakmp.notify.msgtype"], notify) && slices.Contains(f.Fields["isakmp.exchangetype"], exchange) &&
				!f.Malformed && fits(f)
		})
	}
	is := func(f Frame, field, value string) bool {
		return len(f.Fields[field]) == 1 && f.Fields[field][0] == value
	}
	if n := said(mobikeSupported, "35", func(f Frame) bool { return !is(f, "udp.dstport", "500") }); n < 2 {
		t.Errorf("MOBIKE_SUPPORTED stands in %d messages of IKE_AUTH past port 500, want 2", n)
	}
	family := "ip"
	if b.Is6() {
		family = "ipv6"
	}
	update := func(f Frame) bool { return is(f, family+".src", b.String()) && is(f, family+".dst", a.String()) }
	if updates && said(updateSAAddresses, "37", update) == 0 {
		t.Errorf("no UPDATE_SA_ADDRESSES from %v to %v on the wire", b, a)
	}
	t.Logf("messages with COOKIE2: %d", said(cookie2, "37", func(Frame) bool { return true }))
}
