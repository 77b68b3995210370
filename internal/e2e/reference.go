//go:build linux

package e2e

import (
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
)

// Translation is what stands between a gateway and the internet.
type Translation int

const (
	Direct     Translation = iota // the gateway has the public address itself
	OneToOne                      // a NAT that maps the public address to the gateway's private one, as in a cloud
	Masquerade                    // a NAT that hides the gateways behind the public address, on random ports
)

// Plan chooses a variant of the reference topology.
type Plan struct {
	A, B Translation
	C    bool // a third gateway, behind the same NAT as B, which must be Masquerade
	Fate Fate // what happens to frames between A's side and the internet; nil: they arrive
}

// Reference is the network of the reference case. Drawn with Plan{B: OneToOne}:
//
//	A.Client         A.Host                  Router                  B.NAT              B.Host        B.Client
//	clientA ------- gwA -------------------- internet -------------- natB ------------- gwB ---------- clientB
//	10.103.0.2      10.103.0.1               203.0.113.254           192.0.2.10         172.16.0.1     10.104.0.2
//	                203.0.113.1              192.0.2.254             172.16.0.254       10.104.0.1
//
// With another translation in front of A, a box natA (203.0.113.1 outside, 172.17.0.254 inside) stands between gwA
// (then 172.17.0.1) and the internet; without one in front of B, gwB is 192.0.2.10 itself. A third gateway gwC is
// 172.16.0.2, with 10.105.0.0/24 behind it.
//
// All hosts also have IPv6: sites fd00:103::/64, fd00:104::/64, fd00:105::/64; gateways 2001:db8:a::1 and
// 2001:db8:b::1, or behind a NAT box 2001:db8:a1::1 and 2001:db8:b1::1 (gwC: ...::2), because the box routes IPv6
// and does not translate it.
//
// The internet knows no route to private addresses: what leaves a gateway in clear is lost.
type Reference struct {
	Net    *Net
	Router *Host
	A, B   *Gateway
	C      *Gateway // nil without Plan.C
}

// Gateway is one gateway of the reference topology with what belongs to it.
type Gateway struct {
	Host   *Host
	Client *Host // a machine on the site, its default route through the gateway
	NAT    *Host // nil if Direct
	Uplink *Link // the last cable before the internet
	Local  netip.Addr
	Public netip.Addr   // what the internet sees of Local
	Local6 netip.Addr   // not translated
	Site   netip.Prefix // the network behind the gateway, whose first address is the gateway's
	Site6  netip.Prefix
}

// side is the addressing of one side of the reference topology. Networks are /24 and /64; the text of one lacks the
// host's number.
type side struct {
	name            string
	public, router  string // addresses of the gateway (or its NAT) and the internet, in one network
	inside          string // network behind the NAT
	outer6, inside6 string // the same two for IPv6
}

var (
	sideA = side{"A", "203.0.113.1", "203.0.113.254", "172.17.0.", "2001:db8:a::", "2001:db8:a1::"}
	sideB = side{"B", "192.0.2.10", "192.0.2.254", "172.16.0.", "2001:db8:b::", "2001:db8:b1::"}
)

// NewReference builds the reference topology.
func NewReference(t T, plan Plan) *Reference {
	t.Helper()
	n := NewNet(t)
	r := &Reference{Net: n, Router: n.Router("internet")}
	r.A = n.gateway("A", "10.103.0.", "fd00:103::")
	r.connect(r.A, sideA, plan.A, plan.Fate)
	r.B = n.gateway("B", "10.104.0.", "fd00:104::")
	r.connect(r.B, sideB, plan.B, nil)
	if plan.C {
		if plan.B != Masquerade {
			t.Fatalf("a third gateway needs B to be Masquerade: it shares B's public address")
		}
		r.C = n.gateway("C", "10.105.0.", "fd00:105::")
		r.C.NAT, r.C.Uplink = r.B.NAT, r.B.Uplink
		r.C.behind(sideB, "2")
	}
	return r
}

// gateway adds a gateway and a client on the site behind it.
func (n *Net) gateway(name, site, site6 string) *Gateway {
	n.t.Helper()
	g := &Gateway{
		Host:   n.Router("gw" + name),
		Client: n.Host("client" + name),
		Site:   netip.MustParsePrefix(site + "0/24"),
		Site6:  netip.MustParsePrefix(site6 + "/64"),
	}
	n.Link(g.Client, []string{site + "2/24", site6 + "2/64"}, g.Host, []string{site + "1/24", site6 + "1/64"})
	g.Client.Route("default", site+"1")
	g.Client.Route("default6", site6+"1")
	return g
}

// connect joins the gateway to the internet, through a NAT box if there is to be one.
func (r *Reference) connect(g *Gateway, s side, translation Translation, fate Fate) {
	r.Net.t.Helper()
	edge := g.Host
	if translation != Direct {
		g.NAT = r.Net.Router("nat" + s.name)
		edge = g.NAT
	}
	g.Public = netip.MustParseAddr(s.public)
	here := []string{s.public + "/24", s.outer6 + "1/64"}
	there := []string{s.router + "/24", s.outer6 + "ffff/64"}
	if fate != nil {
		g.Uplink = r.Net.Line(edge, here, r.Router, there, fate)
	} else {
		g.Uplink = r.Net.Link(edge, here, r.Router, there)
	}
	edge.Route("default", s.router)
	edge.Route("default6", s.outer6+"ffff")

	switch translation {
	case Direct:
		g.Local, g.Local6 = g.Public, netip.MustParseAddr(s.outer6+"1")
		return
	case OneToOne:
		g.NAT.NAT1to1(netip.MustParseAddr(s.inside+"1"), g.Public)
	case Masquerade:
		g.NAT.Masquerade(r.Router)
	}
	r.Router.Route(s.inside6+"/64", s.outer6+"1")
	g.behind(s, "1")
}

// behind joins the gateway to its NAT box, as the given number in the network inside.
func (g *Gateway) behind(s side, number string) {
	n := g.NAT.net
	n.t.Helper()
	g.Local, g.Local6 = netip.MustParseAddr(s.inside+number), netip.MustParseAddr(s.inside6+number)
	g.Public = netip.MustParseAddr(s.public)
	natAddr, natAddr6, length, length6 := s.inside+"254", s.inside6+"ffff", "/24", "/64"
	if number != "1" {
		// The second cable into the same network: the box reaches just this one address through it.
		natAddr, natAddr6, length, length6 = s.inside+"253", s.inside6+"fffe", "/32", "/128"
	}
	n.Link(g.Host, []string{g.Local.String() + "/24", g.Local6.String() + "/64"},
		g.NAT, []string{natAddr + length, natAddr6 + length6})
	g.Host.Route("default", natAddr)
	g.Host.Route("default6", natAddr6)
	if number != "1" {
		g.NAT.adjoin(g.Host, g.Local, g.Local6)
	}
}

// adjoin makes single addresses of a neighbour known that are in no network of the cable to it.
func (h *Host) adjoin(neighbour *Host, addrs ...netip.Addr) {
	h.net.t.Helper()
	link, err := h.Netlink().LinkByName(neighbour.Name)
	Must(h.net.t, err)
	for _, a := range addrs {
		dst := &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}
		route := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: dst, Scope: netlink.SCOPE_LINK}
		Must(h.net.t, h.Netlink().RouteReplace(route))
	}
}
