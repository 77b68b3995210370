package config

import (
	"slices"

	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/ts"
)

// checkInner looks at inner addresses: those asked for, and those lent.
func (b *builder) checkInner(c *ike.Connection, at placed) {
	dynamic := func(specs func(*ike.Child) []ts.Spec) bool {
		return slices.ContainsFunc(c.Children, func(child *ike.Child) bool {
			return slices.ContainsFunc(specs(child), func(s ts.Spec) bool { return s.Dynamic })
		})
	}
	if len(c.VIPs) > 0 {
		if c.RemoteHost == "" {
			b.warn(at.vips, "remote_addrs = ADDRESS", "vips of connection %s: addresses are asked for when this side calls, and remote_addrs names nobody to call", c.Name)
		}
		if len(c.Children) > 0 && !dynamic(func(child *ike.Child) []ts.Spec { return child.LocalTS }) {
			b.warn(at.vips, "local_ts = dynamic", "vips of connection %s: no child is for the addresses that the peer will assign", c.Name)
		}
	}
	if len(c.Pools) == 0 {
		return
	}
	if len(c.Children) > 0 && !dynamic(func(child *ike.Child) []ts.Spec { return child.RemoteTS }) {
		b.warn(at.pools, "remote_ts = dynamic", "pools of connection %s: no child is for the address that a peer gets; each peer would have all of remote_ts to itself", c.Name)
	}
	for _, p := range c.Pools {
		if !p.First.IsValid() {
			continue
		}
		lent := ts.Selector{EndPort: 65535, Start: p.First, End: p.Last}
		for i, child := range c.Children {
			for _, l := range child.LocalTS {
				if both, ok := l.Sel.Intersect(lent); ok && !l.Dynamic && !wholeFamily(l.Sel) {
					b.warn(at.localTS[i], "", "pool %s lends addresses of local_ts of child %s (%v): hosts there look for them on their own network, and Culvert does not answer for them", p.Name, child.Name, both)
				}
			}
		}
	}
}

// wholeFamily reports whether a selector is for all addresses.
func wholeFamily(s ts.Selector) bool {
	return s.Start.IsUnspecified() && !s.End.Next().IsValid()
}

// checkPoolsUsed warns of pools that nobody gets an address of.
func (b *builder) checkPoolsUsed() {
	for i, p := range b.config.Pools {
		if !slices.ContainsFunc(b.config.Connections, func(c *ike.Connection) bool { return slices.Contains(c.Pools, p) }) {
			b.warn(b.pools[i], "pools = "+p.Name+" in a connection", "pool %s is not used", p.Name)
		}
	}
}
