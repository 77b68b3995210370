package ike

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/culvert-vpn/culvert/ident"
	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/ts"
)

// Lender lends inner addresses to peers. Its methods are called from inside Handle and must not block.
type Lender interface {
	// Lend gives a peer an address of one of the pools of these names, tried in order, of the family of wish; if wish is not
	// unspecified, that one if possible. It returns the pool; ok is false if none is left. No two peers have an address at the
	// same time.
	Lend(now time.Time, pools []string, owner ident.ID, wish netip.Addr) (from string, addr netip.Addr, ok bool)
	// Return takes it back.
	Return(now time.Time, from string, addr netip.Addr)
}

// Pool is a range of addresses to lend, and what is told with them. All addresses are of one family, but for the servers and
// networks.
type Pool struct {
	Name string
	// First and Last address.
	First, Last netip.Addr
	// Netmask, of IPv4, is told as INTERNAL_IP4_NETMASK; invalid: none is.
	Netmask         netip.Addr
	DNS, NBNS, DHCP []netip.Addr
	// Domains are resolved by DNS (RFC 8598).
	Domains []string
	// Subnets are to be reached through us (RFC 7296 3.15.2). Excluded ones are not, for clients that know Cisco's Unity.
	Subnets, Excluded []netip.Prefix
}

// Overlaps reports whether two pools have an address in common.
func (p *Pool) Overlaps(other *Pool) bool {
	return p.First.BitLen() == other.First.BitLen() && !p.Last.Less(other.First) && !other.Last.Less(p.First)
}

// loan is an address that a peer has of us.
type loan struct {
	pool *Pool
	addr netip.Addr
}

// maxLoans is how many addresses of each family an IKE SA may have.
const maxLoans = 4

// answerConfig answers a CFG_REQUEST in IKE_AUTH. ok is false if the peer wants an address and there is none: then there is no
// child (RFC 7296 3.15.4).
func (sa *ikeSA) answerConfig(c *content) (payloads []wire.Payload, ok bool) {
	if c.cp == nil || c.cp.Kind != wire.CFG_REQUEST {
		return nil, true // nothing is sent to those who did not ask (RFC 7296 2.19)
	}
	reply := &wire.CP{Kind: wire.CFG_REPLY}
	asked := false
	for _, want := range c.cp.Attributes {
		if want.Type == wire.INTERNAL_IP4_ADDRESS || want.Type == wire.INTERNAL_IP6_ADDRESS {
			asked = true
			if addr, ok := sa.lend(want); ok {
				reply.Attributes = append(reply.Attributes, wire.AddrAttribute(want.Type, addr))
			}
		}
	}
	if asked && len(sa.loans) == 0 {
		sa.tell(ChildFailed, sa.noInnerAddress())
		return notifyOf(wire.INTERNAL_ADDRESS_FAILURE), false
	}
	if len(sa.loans) > 0 {
		sa.event(Assigned, fmt.Sprintf("%v has %s", sa.remoteID, sa.loansText()), "")
	}
	reply.Attributes = append(append(reply.Attributes, sa.poolAttributes(c.cp)...), versionAttributes(c.cp)...)
	return []wire.Payload{reply}, true
}

// lend finds an address for one attribute of a request.
func (sa *ikeSA) lend(want wire.Attribute) (netip.Addr, bool) {
	family := netip.IPv4Unspecified()
	if want.Type == wire.INTERNAL_IP6_ADDRESS {
		family = netip.IPv6Unspecified()
	}
	wish := family
	if a := want.Net.Addr(); a.IsValid() {
		wish = a
	}
	same := func(l loan) bool { return l.addr.BitLen() == family.BitLen() }
	held := len(slices.DeleteFunc(slices.Clone(sa.loans), func(l loan) bool { return !same(l) }))
	if held >= maxLoans || sa.end.cfg.Lender == nil || len(sa.conn.Pools) == 0 {
		return netip.Addr{}, false
	}
	if other := sa.end.otherWith(sa); wish == family && sa.conn.Unique == UniqueReplace && other != nil {
		// The address of the IKE SA that this one replaces.
		if i := slices.IndexFunc(other.loans, same); i >= 0 {
			wish = other.loans[i].addr
		}
	}
	if slices.ContainsFunc(sa.loans, func(l loan) bool { return l.addr == wish }) {
		wish = family
	}
	var names []string
	for _, p := range sa.conn.Pools {
		names = append(names, p.Name)
	}
	from, addr, ok := sa.end.cfg.Lender.Lend(sa.end.now, names, sa.remoteID, wish)
	if ok {
		sa.loans = append(sa.loans, loan{sa.conn.Pools[slices.Index(names, from)], addr})
	}
	return addr, ok
}

// poolAttributes tell what goes with the addresses, asked for or not (RFC 7296 2.19), but for domains, which are for those who
// know them (RFC 8598 3.1).
func (sa *ikeSA) poolAttributes(request *wire.CP) []wire.Attribute {
	domains := slices.ContainsFunc(request.Attributes, func(a wire.Attribute) bool { return a.Type == wire.INTERNAL_DNS_DOMAIN })
	var list []wire.Attribute
	var seen []*Pool
	add := func(a wire.Attribute) {
		if !slices.ContainsFunc(list, func(o wire.Attribute) bool {
			return o.Type == a.Type && o.Net == a.Net && string(o.Data) == string(a.Data)
		}) {
			list = append(list, a)
		}
	}
	addrs := func(v4, v6 wire.AttributeType, servers []netip.Addr) {
		for _, a := range servers {
			kind := v4
			if a.Is6() {
				kind = v6
			}
			add(wire.AddrAttribute(kind, a))
		}
	}
	for _, l := range sa.loans {
		p := l.pool
		if slices.Contains(seen, p) {
			continue
		}
		seen = append(seen, p)
		if p.Netmask.IsValid() {
			add(wire.AddrAttribute(wire.INTERNAL_IP4_NETMASK, p.Netmask))
		}
		addrs(wire.INTERNAL_IP4_DNS, wire.INTERNAL_IP6_DNS, p.DNS)
		addrs(wire.INTERNAL_IP4_NBNS, 0, p.NBNS)
		addrs(wire.INTERNAL_IP4_DHCP, wire.INTERNAL_IP6_DHCP, p.DHCP)
		for _, s := range p.Subnets {
			kind := wire.INTERNAL_IP4_SUBNET
			if s.Addr().Is6() {
				kind = wire.INTERNAL_IP6_SUBNET
			}
			add(wire.Attribute{Type: kind, Net: s})
		}
		for _, s := range p.Excluded {
			add(wire.UnityLocalLAN(s))
		}
		if domains && len(p.DNS) > 0 {
			for _, d := range p.Domains {
				add(wire.Attribute{Type: wire.INTERNAL_DNS_DOMAIN, Data: []byte(d)})
			}
		}
	}
	return list
}

// supported are the attributes that we know what to do with, for SUPPORTED_ATTRIBUTES.
var supported = [...]wire.AttributeType{
	wire.INTERNAL_IP4_ADDRESS, wire.INTERNAL_IP4_NETMASK, wire.INTERNAL_IP4_DNS, wire.INTERNAL_IP4_NBNS, wire.INTERNAL_IP4_DHCP,
	wire.APPLICATION_VERSION, wire.INTERNAL_IP6_ADDRESS, wire.INTERNAL_IP6_DNS, wire.INTERNAL_IP6_DHCP, wire.INTERNAL_IP4_SUBNET,
	wire.SUPPORTED_ATTRIBUTES, wire.INTERNAL_IP6_SUBNET, wire.INTERNAL_DNS_DOMAIN,
}

// versionAttributes answer what may be asked without asking for an address. Our version is kept to ourselves: the string is empty
// (RFC 7296 2.20).
func versionAttributes(request *wire.CP) []wire.Attribute {
	var list []wire.Attribute
	has := func(t wire.AttributeType) bool {
		return slices.ContainsFunc(request.Attributes, func(a wire.Attribute) bool { return a.Type == t })
	}
	if has(wire.APPLICATION_VERSION) {
		list = append(list, wire.Attribute{Type: wire.APPLICATION_VERSION})
	}
	if has(wire.SUPPORTED_ATTRIBUTES) {
		var numbers []byte
		for _, t := range supported {
			numbers = append(numbers, byte(t>>8), byte(t))
		}
		list = append(list, wire.Attribute{Type: wire.SUPPORTED_ATTRIBUTES, Data: numbers})
	}
	return list
}

// answerVersion answers a CFG_REQUEST outside of IKE_AUTH (RFC 7296 2.20): addresses are lent there only. CFG_SET is ignored, as
// it may be (RFC 7296 3.15.1).
func answerVersion(cp *wire.CP) []wire.Payload {
	if cp == nil || cp.Kind != wire.CFG_REQUEST {
		return nil
	}
	return []wire.Payload{&wire.CP{Kind: wire.CFG_REPLY, Attributes: versionAttributes(cp)}}
}

// remoteSelectors are what RemoteTS stands for: `dynamic` is the addresses that the peer has of us, or else where it is.
func (sa *ikeSA) remoteSelectors(specs []ts.Spec) []ts.Selector {
	if len(sa.loans) == 0 {
		return ts.Resolve(specs, sa.path.Remote.Addr())
	}
	return ts.Resolve(specs, sa.lent()...)
}

// lent are the addresses that the peer has of us.
func (sa *ikeSA) lent() []netip.Addr {
	var list []netip.Addr
	for _, l := range sa.loans {
		list = append(list, l.addr)
	}
	return list
}

func (sa *ikeSA) loansText() string {
	text := ""
	for i, l := range sa.loans {
		if i > 0 {
			text += ", "
		}
		text += fmt.Sprintf("%v of pool %s", l.addr, l.pool.Name)
	}
	return text
}

// repay gives back what the peer has of us: its IKE SA is gone, and has no successor.
func (sa *ikeSA) repay() {
	for _, l := range sa.loans {
		sa.end.cfg.Lender.Return(sa.end.now, l.pool.Name, l.addr)
	}
	sa.loans = nil
}
