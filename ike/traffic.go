package ike

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/ts"
)

// traffic is what a policy is for, or a Child SA carries: from any of local to any of remote.
type traffic struct{ local, remote []ts.Selector }

// trafficOf is what a policy is for.
func (sa *ikeSA) trafficOf(cfg *Child) traffic {
	return traffic{local: sa.localSelectors(cfg.LocalTS), remote: sa.remoteSelectors(cfg.RemoteTS)}
}

// within reports whether o carries all of it.
func (t traffic) within(o traffic) bool {
	return ts.Subset(t.local, o.local) && ts.Subset(t.remote, o.remote)
}

// narrow is what of it a policy allows (RFC 7296 2.9).
func (t traffic) narrow(policy traffic) (narrowed traffic, ok bool) {
	narrowed = traffic{local: ts.Narrow(t.local, policy.local), remote: ts.Narrow(t.remote, policy.remote)}
	return narrowed, len(narrowed.local) > 0 && len(narrowed.remote) > 0
}

// choosePolicy finds the child whose selectors meet those of the peer, and narrows: one that needs no narrowing before one that
// contains the first selectors of the peer, which are those of the packet that it has (RFC 7296 2.9), before any other. more is
// true if another one would allow what this one does not.
func (sa *ikeSA) choosePolicy(asked traffic, policies []*Child) (best *Child, narrowed traffic, more bool) {
	bestFit := 0
	for _, p := range policies {
		t, ok := asked.narrow(sa.trafficOf(p))
		if !ok {
			continue
		}
		fit := 1
		switch first := (traffic{local: asked.local[:1], remote: asked.remote[:1]}); {
		case asked.within(t):
			fit = 3
		case first.within(t):
			fit = 2
		}
		if fit > bestFit {
			best, narrowed, bestFit = p, t, fit
		}
	}
	for _, p := range policies {
		if t, ok := asked.narrow(sa.trafficOf(p)); ok && !t.within(narrowed) {
			more = true
		}
	}
	return best, narrowed, more
}

// between narrows the traffic of a policy to that of the two ends of the IKE SA, which is what transport mode can carry (RFC 7296
// 2.23.1). ok is false if nothing is left.
func (sa *ikeSA) between(t traffic) (narrowed traffic, ok bool) {
	narrowed = traffic{local: onlyAt(t.local, sa.path.Local.Addr()), remote: onlyAt(t.remote, sa.path.Remote.Addr())}
	return narrowed, len(narrowed.local) > 0 && len(narrowed.remote) > 0
}

// onlyAt is what the selectors say of one address, in their order.
func onlyAt(list []ts.Selector, addr netip.Addr) (at []ts.Selector) {
	for _, s := range list {
		if both, ok := s.Intersect(ts.FromAddr(addr)); ok && !slices.Contains(at, both) {
			at = append(at, both)
		}
	}
	return at
}

// seenHere puts the addresses that we see in the place of those that the peer named, where a NAT has changed them. ok is false
// if the selectors are not those of the two ends, as transport mode demands (RFC 7296 2.23.1).
func (sa *ikeSA) seenHere(t traffic) (seen traffic, original Original, ok bool) {
	local, remote := sa.path.Local.Addr().Unmap(), sa.path.Remote.Addr().Unmap()
	src, single := onlyAddr(t.remote)
	dst, singleToo := onlyAddr(t.local)
	if !single || !singleToo || src != remote && !sa.nat.RemoteNAT || dst != local && !sa.nat.LocalNAT {
		return traffic{}, Original{}, false
	}
	return traffic{local: withAddr(t.local, local), remote: withAddr(t.remote, remote)}, Original{Src: src, Dst: dst}, true
}

// unlessOccupied agrees to a policy, but not if another peer has some of the traffic already: who came last would get what is for
// the other (RFC 3948 5.1, 5.2).
func (sa *ikeSA) unlessOccupied(cfg *Child, a agreement) (*Child, agreement) {
	if cfg == nil {
		return nil, agreement{}
	}
	other := sa.occupant(cfg, a)
	if other == nil {
		return cfg, a
	}
	sa.event(Warned, fmt.Sprintf("the peer %v has some of the traffic %v === %v already", other.remoteID, a.local, a.remote),
		"the peers of a connection need selectors that do not overlap, and those behind one NAT, in transport mode, ports of their own")
	return nil, agreement{}
}

// occupant is another peer that has some of the traffic, or nil: of the same policy, which peers share whose connection is for many, or in
// transport mode of any, because all peers behind one NAT have one address. Several policies for the same traffic are backups of each
// other.
func (sa *ikeSA) occupant(cfg *Child, a agreement) *ikeSA {
	var first *ikeSA
	for c := range sa.end.carried.Overlapping(a.remote) {
		other := c.sa
		if c.gone || c.mode != a.mode || c.cfg != cfg && a.mode != Transport || first != nil && first.number <= other.number || other.remoteID.Equal(sa.remoteID) {
			continue
		}
		if _, meet := a.narrow(traffic{local: c.local, remote: c.remote}); meet {
			first = other
		}
	}
	return first
}

// onlyAddr is the one address that all of the selectors are about.
func onlyAddr(list []ts.Selector) (addr netip.Addr, ok bool) {
	for i, s := range list {
		if s.Start != s.End || i > 0 && s.Start != addr {
			return netip.Addr{}, false
		}
		addr = s.Start
	}
	return addr, addr.IsValid()
}

// withAddr are the selectors for another address.
func withAddr(list []ts.Selector, addr netip.Addr) []ts.Selector {
	list = slices.Clone(list)
	for i := range list {
		list[i].Start, list[i].End = addr, addr
	}
	return list
}

// modeNotifies ask for transport mode, or agree to it. In it the length of a packet is not told by what it carries, so
// that padding could not be told from it (RFC 7296 1.3.1, RFC 4303 2.7).
func modeNotifies(m Mode) []wire.Payload {
	if m != Transport {
		return nil
	}
	return []wire.Payload{&wire.Notify{Kind: wire.USE_TRANSPORT_MODE}, &wire.Notify{Kind: wire.ESP_TFC_PADDING_NOT_SUPPORTED}}
}

// tfcPadding is how far packets of a child may be padded, after what the peer said (RFC 7296 1.3.1).
func (c *content) tfcPadding(cfg *Child, m Mode) int {
	if m == Transport || c.notify(wire.ESP_TFC_PADDING_NOT_SUPPORTED) != nil {
		return 0
	}
	return cfg.TFCPadding
}

// noteMode tells if a child is not in the mode that was configured for it: transport mode needs both ends.
func (c *childSA) noteMode(why string) {
	if c.cfg.Mode == Transport && c.mode != Transport {
		c.event(Warned, "the child is in tunnel mode: "+why, "set mode = transport on both sides")
	}
}
