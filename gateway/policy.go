package gateway

import (
	"math"
	"net/netip"
	"reflect"
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
	p := &policies{datapath: d, byConfig: make(map[*ike.Child]*kept)}
	p.configure(conns, shunts)
	return p
}

// configure enters the traffic of these connections and shunts instead of that of former ones. What is carried by an SA stays as
// long as the SA.
func (p *policies) configure(conns []*ike.Connection, shunts []config.Shunt) {
	former, known := p.flows, p.byConfig
	for _, f := range former {
		f.configured = false
	}
	p.flows, p.children, p.byConfig, p.changed = nil, nil, make(map[*ike.Child]*kept), true
	for _, conn := range conns {
		for _, cfg := range conn.Children {
			k := known[cfg]
			if k == nil {
				k = &kept{conn: conn, cfg: cfg, ask: ike.Acquire{Conn: conn.Name, Child: cfg.Name}}
			}
			p.children = append(p.children, k)
			p.byConfig[cfg] = k
			local, remote := k.local(), k.remote()
			if len(local) == 0 || len(remote) == 0 {
				continue
			}
			f := findFlow(former, k, local, remote)
			if f == nil {
				f = &flow{child: k, local: local, remote: remote}
			}
			f.configured = true
			p.flows = append(p.flows, f)
		}
	}
	for _, f := range former {
		if !f.configured && len(f.stack) > 0 {
			p.flows = append(p.flows, f)
		}
	}
	p.linkBackups()
	p.configureShunts(shunts)
}

// configureShunts enters the shunts. Those that are the same go on counting.
func (p *policies) configureShunts(list []config.Shunt) {
	former := p.shunts
	p.shunts = nil
	for _, cfg := range list {
		s := &shunt{cfg: cfg}
		if i := slices.IndexFunc(former, func(old *shunt) bool { return reflect.DeepEqual(old.cfg, cfg) }); i >= 0 {
			s = former[i]
		}
		p.shunts = append(p.shunts, s)
		p.flows = append(p.flows, &flow{shunt: s, local: cfg.Local, remote: cfg.Remote, configured: true})
	}
}

// findFlow returns the flow of a child with these selectors, or nil.
func findFlow(list []*flow, k *kept, local, remote []ts.Selector) *flow {
	for _, f := range list {
		if f.child == k && slices.Equal(f.local, local) && slices.Equal(f.remote, remote) {
			return f
		}
	}
	return nil
}

// local is the traffic of our side, as far as it is known before the child is up.
func (k *kept) local() []ts.Selector {
	if len(k.conn.VIPs) > 0 {
		return ts.Resolve(k.cfg.LocalTS)
	}
	return ts.Resolve(k.cfg.LocalTS, only(k.conn.LocalAddrs)...)
}

// remote is the traffic of the peer's side. For a peer that gets an address of a pool it is the whole pool: what is sent there goes to
// nobody else.
func (k *kept) remote() []ts.Selector {
	if len(k.conn.Pools) == 0 {
		return ts.Resolve(k.cfg.RemoteTS, only(k.conn.RemoteAddrs)...)
	}
	list := ts.Resolve(k.cfg.RemoteTS)
	for _, spec := range k.cfg.RemoteTS {
		if !spec.Dynamic {
			continue
		}
		for _, p := range k.conn.Pools {
			s := spec.Sel
			s.Start, s.End = surround(p.First, p.Last)
			list = append(list, s)
		}
	}
	return list
}

// surround is the range of a pool, with the network and the broadcast address around it if there are such: one prefix instead of
// many.
func surround(first, last netip.Addr) (netip.Addr, netip.Addr) {
	before, behind := first.Prev(), last.Next()
	if !before.IsValid() || !behind.IsValid() {
		return first, last
	}
	if around := (ts.Selector{EndPort: 65535, Start: before, End: behind}); len(around.Prefixes()) == 1 {
		return before, behind
	}
	return first, last
}

// only returns the address that a list of addresses leaves no choice but to use, if there is one.
func only(list []netip.Prefix) []netip.Addr {
	if len(list) == 1 && list[0].IsSingleIP() {
		return []netip.Addr{list[0].Addr()}
	}
	return nil
}

// linkBackups chains the configured flows with equal selectors, in the order in which the table prefers them. Behind each comes what
// its own child had before, if that covers it: it goes on until it is replaced.
func (p *policies) linkBackups() {
	order := slices.DeleteFunc(slices.Clone(p.flows), func(f *flow) bool { return !f.configured })
	slices.SortStableFunc(order, func(a, b *flow) int { return b.child.cfg.Priority - a.child.cfg.Priority })
	for i, f := range order {
		var next *flow
		for _, g := range order[i+1:] {
			if slices.Equal(f.local, g.local) && slices.Equal(f.remote, g.remote) {
				next = g
				break
			}
		}
		for _, old := range p.flows {
			if !old.configured && old.child == f.child && ts.Subset(f.local, old.local) && ts.Subset(f.remote, old.remote) {
				old.next.Store(next)
				next = old
			}
		}
		f.next.Store(next)
	}
}

// add gives some traffic of a child to an SA, away from those that had it so far.
func (p *policies) add(cfg *ike.Child, local, remote []ts.Selector, sa *outboundSA) {
	k := p.byConfig[cfg]
	if k == nil {
		return
	}
	f := findFlow(p.flows, k, local, remote)
	if f == nil {
		f = &flow{child: k, local: local, remote: remote}
		p.flows = append(p.flows, f)
		p.changed = true
	}
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
