package ike

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/ts"
)

// What is taken of one CFG_REPLY beyond the addresses, of which there are no more than were asked for.
const (
	maxServers = 8
	maxSubnets = 64
	maxDomains = 64
)

// addressRetry is the least time until a peer that gave no address is called again: an address shortage does not end at once (RFC
// 7296 3.15.4).
const addressRetry = 3 * time.Minute

// Assignment is what a peer has assigned to us (RFC 7296 2.19). The zero Assignment is none.
type Assignment struct {
	// Addrs are our addresses on the inner network.
	Addrs []netip.Addr
	// DNS are the name servers there. If there are Domains, they are for these and all below them (RFC 8598), else for all
	// names.
	DNS     []netip.Addr
	Domains []string
	// Subnets are the networks behind the peer, as it says (RFC 7296 3.15.2). What enters the tunnel is up to the traffic
	// selectors.
	Subnets []netip.Prefix
}

// IsZero reports that nothing is assigned.
func (a Assignment) IsZero() bool { return len(a.Addrs) == 0 }

// Equal reports whether two assignments are the same.
func (a Assignment) Equal(o Assignment) bool {
	return slices.Equal(a.Addrs, o.Addrs) && slices.Equal(a.DNS, o.DNS) && slices.Equal(a.Domains, o.Domains) && slices.Equal(a.Subnets, o.Subnets)
}

// String is one line for people.
func (a Assignment) String() string {
	text := "the address " + listOf(a.Addrs)
	if len(a.DNS) > 0 {
		text += ", name servers " + listOf(a.DNS)
		if len(a.Domains) > 0 {
			text += " for " + strings.Join(a.Domains, ", ")
		}
	}
	if len(a.Subnets) > 0 {
		text += ", networks " + listOf(a.Subnets)
	}
	return text
}

func listOf[T fmt.Stringer](list []T) string {
	var words []string
	for _, x := range list {
		words = append(words, x.String())
	}
	return strings.Join(words, ", ")
}

// configRequest asks for addresses, and what goes with them; nil if none are wanted. Those that we had before are asked for again
// (RFC 7296 3.15.1).
func (sa *ikeSA) configRequest() []wire.Payload {
	if len(sa.conn.VIPs) == 0 {
		return nil
	}
	cp := &wire.CP{Kind: wire.CFG_REQUEST}
	had := slices.Clone(sa.end.keeperOf(sa.conn).lastAddrs)
	var v4, v6 bool
	for _, wish := range sa.conn.VIPs {
		if i := slices.IndexFunc(had, func(a netip.Addr) bool { return a.BitLen() == wish.BitLen() }); i >= 0 {
			wish = had[i]
			had = slices.Delete(had, i, i+1)
		}
		kind := wire.INTERNAL_IP4_ADDRESS
		if wish.Is6() {
			kind = wire.INTERNAL_IP6_ADDRESS
		}
		v4, v6 = v4 || wish.Is4(), v6 || wish.Is6()
		if wish.IsUnspecified() {
			cp.Attributes = append(cp.Attributes, wire.Attribute{Type: kind})
		} else {
			cp.Attributes = append(cp.Attributes, wire.AddrAttribute(kind, wish))
		}
	}
	if v4 {
		cp.Attributes = append(cp.Attributes, wire.Attribute{Type: wire.INTERNAL_IP4_DNS}, wire.Attribute{Type: wire.INTERNAL_IP4_SUBNET})
	}
	if v6 {
		cp.Attributes = append(cp.Attributes, wire.Attribute{Type: wire.INTERNAL_IP6_DNS})
	}
	if sa.conn.splitsTunnel() {
		// Trust anchors are not asked for, so that none are sent (RFC 8598 3.1): there is nobody to give them to.
		cp.Attributes = append(cp.Attributes, wire.Attribute{Type: wire.INTERNAL_DNS_DOMAIN})
	}
	return []wire.Payload{cp}
}

// splitsTunnel reports whether some traffic stays outside: only then may the peer name domains of its own (RFC 8598 2).
func (c *Connection) splitsTunnel() bool {
	for _, child := range c.Children {
		for _, s := range child.RemoteTS {
			if all := wholeFamily(s.Sel.Start); !s.Dynamic && s.Sel.Start == all.Start && s.Sel.End == all.End {
				return false
			}
		}
	}
	return true
}

// wholeFamily is every address of the family of a.
func wholeFamily(a netip.Addr) ts.Selector {
	if a.Is4() {
		return ts.FromPrefix(netip.PrefixFrom(netip.IPv4Unspecified(), 0))
	}
	return ts.FromPrefix(netip.PrefixFrom(netip.IPv6Unspecified(), 0))
}

// localSelectors are what LocalTS stands for: `dynamic` is the addresses that we were assigned; until then, any that may be
// assigned (RFC 7296 2.19); without such, our address.
func (sa *ikeSA) localSelectors(specs []ts.Spec) []ts.Selector {
	switch {
	case len(sa.conn.VIPs) == 0 || !sa.origin.called && sa.isEstablished():
		return ts.Resolve(specs, sa.path.Local.Addr())
	case len(sa.origin.assigned) > 0:
		return ts.Resolve(specs, sa.origin.assigned...)
	}
	var all []ts.Selector
	for _, spec := range specs {
		if !spec.Dynamic {
			all = append(all, spec.Sel)
			continue
		}
		for _, wish := range sa.conn.VIPs {
			s, whole := spec.Sel, wholeFamily(wish)
			s.Start, s.End = whole.Start, whole.End
			if !slices.Contains(all, s) {
				all = append(all, s)
			}
		}
	}
	return all
}

// takeAssignment takes the CFG_REPLY in the answer to IKE_AUTH. It reports false, and has told why, if we have no address after
// that: then the IKE SA is of no use (RFC 7296 3.15.4).
func (sa *ikeSA) takeAssignment(c *content) bool {
	if len(sa.conn.VIPs) == 0 {
		return true
	}
	a := sa.readAssignment(c.cp)
	if a.IsZero() {
		text := "the peer assigns no address: it sends no CFG_REPLY"
		switch {
		case c.notify(wire.INTERNAL_ADDRESS_FAILURE) != nil:
			text = "the peer has no address for us: INTERNAL_ADDRESS_FAILURE"
		case c.cp != nil:
			text = "the peer assigns no address of the kind that vips asks for"
		}
		sa.tell(Failed, sa.noAssignment(text))
		k := sa.end.keeperOf(sa.conn)
		k.failed(text)
		k.notYet = later(k.notYet, sa.end.now.Add(addressRetry+sa.end.jitter(addressRetry/4)))
		return false
	}
	sa.origin.assigned = a.Addrs
	for _, wish := range sa.conn.VIPs {
		if !slices.ContainsFunc(a.Addrs, func(got netip.Addr) bool { return got.BitLen() == wish.BitLen() }) {
			sa.event(Warned, fmt.Sprintf("the peer assigns no address for %v", wish), "give the connection a pool of this family on the peer, or remove it from vips")
			break
		}
	}
	sa.event(Assigned, "the peer assigns us "+a.String(), sa.uncovered(a))
	sa.end.keeperOf(sa.conn).assign(a)
	return true
}

// readAssignment takes what is of use of a CFG_REPLY. What is unknown, or not what was asked for, is ignored (RFC 7296 3.15.1).
func (sa *ikeSA) readAssignment(cp *wire.CP) Assignment {
	var a Assignment
	if cp == nil || cp.Kind != wire.CFG_REPLY {
		return a
	}
	open := slices.Clone(sa.conn.VIPs)
	for _, attr := range cp.Attributes {
		addr := attr.Net.Addr()
		switch attr.Type {
		case wire.INTERNAL_IP4_ADDRESS, wire.INTERNAL_IP6_ADDRESS:
			i := slices.IndexFunc(open, func(wish netip.Addr) bool { return wish.BitLen() == addr.BitLen() })
			if i >= 0 && addr.IsGlobalUnicast() && !slices.Contains(a.Addrs, addr) {
				open = slices.Delete(open, i, i+1)
				a.Addrs = append(a.Addrs, addr)
			}
		case wire.INTERNAL_IP4_DNS, wire.INTERNAL_IP6_DNS:
			if addr.IsGlobalUnicast() {
				a.DNS = include(a.DNS, addr, maxServers)
			}
		case wire.INTERNAL_IP4_SUBNET, wire.INTERNAL_IP6_SUBNET:
			if attr.Net.IsValid() {
				a.Subnets = include(a.Subnets, attr.Net.Masked(), maxSubnets)
			}
		case wire.INTERNAL_DNS_DOMAIN:
			if name := strings.ToLower(strings.TrimSuffix(string(attr.Data), ".")); isDomain(name) && sa.conn.splitsTunnel() {
				a.Domains = include(a.Domains, name, maxDomains)
			}
		}
	}
	if len(a.DNS) == 0 {
		a.Domains = nil // RFC 8598 3.2: nobody is named to resolve them
	}
	return a
}

// include adds what is not there yet, up to a limit.
func include[T comparable](list []T, x T, limit int) []T {
	if len(list) >= limit || slices.Contains(list, x) {
		return list
	}
	return append(list, x)
}

// isDomain reports whether a name without the last dot is one of DNS, in letters, digits, hyphens and underscores. The root is
// none: it would stand for all names.
func isDomain(name string) bool {
	if name == "" || len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		odd := func(r rune) bool { return r != '-' && r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') }
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' || strings.ContainsFunc(label, odd) {
			return false
		}
	}
	return true
}

// uncovered is a remedy for servers and networks of the peer that no child reaches (RFC 7296 3.15.2).
func (sa *ikeSA) uncovered(a Assignment) string {
	var remote []ts.Selector
	for _, child := range sa.conn.Children {
		remote = append(remote, sa.remoteSelectors(child.RemoteTS)...)
	}
	var out []string
	for _, server := range a.DNS {
		if !ts.Subset([]ts.Selector{ts.FromAddr(server)}, remote) {
			out = append(out, server.String())
		}
	}
	for _, subnet := range a.Subnets {
		if !ts.Subset([]ts.Selector{ts.FromPrefix(subnet)}, remote) {
			out = append(out, subnet.String())
		}
	}
	if len(out) == 0 {
		return ""
	}
	return "no child leads to " + strings.Join(out, ", ") + ": to reach it through the tunnel, add it to remote_ts"
}

// assign tells what the connection has now. It is kept while the connection is to come back, so that its traffic does not take
// another way meanwhile.
func (k *keeper) assign(a Assignment) {
	if !a.IsZero() {
		k.lastAddrs = a.Addrs
	}
	if !k.assigned.Equal(a) {
		k.assigned = a
		k.end.emit(Assign{Conn: k.conn, Assignment: a})
	}
}

// unassign gives up what was assigned when the connection is down, and nothing asks for it.
func (k *keeper) unassign() {
	if k.assigned.IsZero() {
		return
	}
	waits := slices.ContainsFunc(k.children, func(c *keptChild) bool {
		return c.keep || c.once || c.cfg.StartAction == Trap && !c.held
	})
	// An outdated IKE SA, which is not the current one, still carries what is sent from the address.
	if k.resting || !waits && !k.lives() {
		k.assign(Assignment{})
	}
}

// lives reports whether an IKE SA is up.
func (k *keeper) lives() bool {
	for sa := range k.sas.all() {
		if sa.isCurrent() {
			return true
		}
	}
	return false
}

// isInner reports whether a peer has assigned an address to us.
func (e *Endpoint) isInner(a netip.Addr) bool {
	return slices.ContainsFunc(e.keepers, func(k *keeper) bool { return slices.Contains(k.assigned.Addrs, a) })
}
