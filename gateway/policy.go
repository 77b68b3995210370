package gateway

import (
	"math"
	"net/netip"
	"slices"

	"github.com/culvert-vpn/culvert/config"
	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/internal/inet"
	"github.com/culvert-vpn/culvert/ts"
)

// policies says which flow a packet belongs to, and which SA carries a flow. The control goroutine owns it, and
// publishes a new table when flows come or go; when only the SA of a flow changes, the table stays.
type policies struct {
	datapath *datapath
	children []*kept
	shunts   []*shunt
	byConfig map[*ike.Child]*kept
	// flows in the order of their making: those of the configuration first.
	flows   []*flow
	changed bool
}

// newPolicies enters the traffic of every configured child, as far as it is known before the child is up: `dynamic` may
// stand for any address then.
func newPolicies(d *datapath, conns []*ike.Connection, shunts ...config.Shunt) *policies {
	p := &policies{datapath: d, byConfig: make(map[*ike.Child]*kept), changed: true}
	for _, conn := range conns {
		for _, cfg := range conn.Children {
			k := &kept{conn: conn, cfg: cfg}
			p.children = append(p.children, k)
			p.byConfig[cfg] = k
			local, remote := ts.Resolve(cfg.LocalTS, only(conn.LocalAddrs)...), ts.Resolve(cfg.RemoteTS, only(conn.RemoteAddrs)...)
			if len(local) > 0 && len(remote) > 0 {
				p.flows = append(p.flows, &flow{child: k, local: local, remote: remote, configured: true})
			}
		}
	}
	p.linkBackups()
	for _, cfg := range shunts {
		s := &shunt{cfg: cfg}
		p.shunts = append(p.shunts, s)
		p.flows = append(p.flows, &flow{shunt: s, local: cfg.Local, remote: cfg.Remote, configured: true})
	}
	return p
}

// only returns the address that a list of addresses leaves no choice but to use, if there is one.
func only(list []netip.Prefix) []netip.Addr {
	if len(list) == 1 && list[0].IsSingleIP() {
		return []netip.Addr{list[0].Addr()}
	}
	return nil
}

// linkBackups chains the configured flows with equal selectors, in the order in which the table prefers them.
func (p *policies) linkBackups() {
	order := slices.Clone(p.flows)
	slices.SortStableFunc(order, func(a, b *flow) int { return b.child.cfg.Priority - a.child.cfg.Priority })
	for i, f := range order {
		for _, g := range order[i+1:] {
			if slices.Equal(f.local, g.local) && slices.Equal(f.remote, g.remote) {
				f.next = g
				break
			}
		}
	}
}

// add gives some traffic of a child to an SA, away from those that had it so far.
func (p *policies) add(cfg *ike.Child, local, remote []ts.Selector, sa *outboundSA) {
	k := p.byConfig[cfg]
	if k == nil {
		return
	}
	i := slices.IndexFunc(p.flows, func(f *flow) bool {
		return f.child == k && slices.Equal(f.local, local) && slices.Equal(f.remote, remote)
	})
	if i < 0 {
		i = len(p.flows)
		p.flows = append(p.flows, &flow{child: k, local: local, remote: remote})
		p.changed = true
	}
	f := p.flows[i]
	f.stack = append(f.stack, sa)
	f.current.Store(sa)
	sa.flow = f
}

// remove takes an SA out of use; the one that was installed last of those that remain goes on.
func (p *policies) remove(sa *outboundSA) {
	f := sa.flow
	if f == nil {
		return
	}
	f.stack = slices.DeleteFunc(f.stack, func(o *outboundSA) bool { return o == sa })
	if len(f.stack) > 0 {
		f.current.Store(f.stack[len(f.stack)-1])
		return
	}
	f.current.Store(nil)
	if !f.configured {
		p.flows = slices.DeleteFunc(p.flows, func(o *flow) bool { return o == f })
		p.changed = true
	}
}

// up reports whether some traffic of a child is carried.
func (p *policies) up(k *kept) bool {
	return slices.ContainsFunc(p.flows, func(f *flow) bool { return f.child == k && len(f.stack) > 0 })
}

// publish makes the forwarders use the flows as they are now. It returns what the host has to protect, and false if
// nothing has changed.
func (p *policies) publish() ([]Policy, bool) {
	if !p.changed {
		return nil, false
	}
	p.changed = false
	// Of what was agreed upon with peers the latest comes first; it is as specific as what it was narrowed from, or more,
	// so it comes before that anyway.
	var entries []ts.Entry[*flow]
	for _, f := range slices.Backward(p.flows) {
		if !f.configured {
			entries = append(entries, f.entry())
		}
	}
	for _, f := range p.flows {
		if f.configured {
			entries = append(entries, f.entry())
		}
	}
	table := ts.NewTable(entries)
	p.datapath.policies.Store(table)
	return p.protected(table), true
}

// protected is what the host has to protect. Where traffic may pass, it is told each pair of selectors, in the order of the
// table, to route packets as the table would.
func (p *policies) protected(table *ts.Table[*flow]) []Policy {
	var list []Policy
	if !slices.ContainsFunc(p.flows, (*flow).passes) {
		for _, f := range p.flows {
			list = append(list, Policy{Local: prefixes(f.local), Remote: prefixes(f.remote)})
		}
		return list
	}
	for r := range table.Rules() {
		list = append(list, Policy{
			Local: r.Local.Prefixes(), Remote: r.Remote.Prefixes(), Pass: r.Value.passes(),
			Protocol: r.Local.Protocol | r.Remote.Protocol, LocalPorts: portsOf(r.Local), RemotePorts: portsOf(r.Remote),
		})
	}
	return list
}

// portsOf are the ports of a selector, any if it has none: of ICMP they are type and code.
func portsOf(s ts.Selector) Ports {
	any := s.StartPort == 0 && s.EndPort == math.MaxUint16
	if any || s.StartPort > s.EndPort || s.Protocol == inet.ProtoICMP || s.Protocol == inet.ProtoICMPv6 {
		return Ports{}
	}
	return Ports{s.StartPort, s.EndPort}
}

// Policies is the traffic that a gateway with this configuration protects from its start, see Advice.
func Policies(cfg *config.Config) []Policy {
	list, _ := newPolicies(&datapath{}, cfg.Connections, cfg.Shunts...).publish()
	return slices.DeleteFunc(list, func(p Policy) bool { return p.Pass })
}

func (f *flow) entry() ts.Entry[*flow] {
	return ts.Entry[*flow]{Local: f.local, Remote: f.remote, Priority: f.priority(), Value: f}
}

func (f *flow) priority() int {
	if f.shunt != nil {
		return f.shunt.cfg.Priority
	}
	return f.child.cfg.Priority
}

// prefixes are the addresses of selectors, each once.
func prefixes(list []ts.Selector) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		for _, p := range s.Prefixes() {
			if !slices.Contains(out, p) {
				out = append(out, p)
			}
		}
	}
	return out
}
