package gateway

import (
	"cmp"
	"encoding/binary"
	"maps"
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
// publishes a new table when flows come or go; when only the SA of a flow changes, the table stays. Peers come and go by the thousand:
// what a flow costs that was agreed upon with one of them does not depend on how many others there are.
type policies struct {
	datapath *datapath
	children []*kept
	shunts   []*shunt
	byConfig map[*ike.Child]*kept
	// flows are those of the configuration, in its order; agreed those that are there as long as an SA carries them. bySelectors finds
	// both, but for shunts.
	flows       []*flow
	agreed      map[*flow]bool
	bySelectors map[trafficKey]*flow
	made        int64 // counts what was agreed upon

	// table has all flows; changed: it was not published yet. exposed: the host was not told yet what it has to protect.
	table            *ts.Table[*flow]
	changed, exposed bool
	// apart are the agreed flows that the host has to be told of. With passing, those are all, for traffic may pass beside them.
	apart   map[*flow]bool
	passing bool
}

// trafficKey names a flow by its child and its selectors.
type trafficKey struct {
	child         *kept
	local, remote string
}

func keyOf(k *kept, local, remote []ts.Selector) trafficKey {
	return trafficKey{k, selectorBytes(local), selectorBytes(remote)}
}

// selectorBytes are the same for the same selectors only.
func selectorBytes(list []ts.Selector) string {
	b := make([]byte, 0, 16*len(list))
	for _, s := range list {
		b = append(b, s.Protocol, byte(s.Start.BitLen()))
		b = binary.BigEndian.AppendUint16(b, s.StartPort)
		b = binary.BigEndian.AppendUint16(b, s.EndPort)
		b = append(append(b, s.Start.AsSlice()...), s.End.AsSlice()...)
	}
	return string(b)
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
	former, known := p.bySelectors, p.byConfig
	p.flows, p.children = nil, nil
	p.byConfig, p.bySelectors = make(map[*ike.Child]*kept), make(map[trafficKey]*flow)
	for _, f := range former {
		f.configured, f.assigned = false, false
	}
	for _, k := range known {
		k.flows = nil
	}
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
			f := former[keyOf(k, local, remote)]
			if f == nil {
				f = &flow{child: k, local: local, remote: remote}
			}
			p.enter(f)
		}
	}
	for key, f := range former {
		if !f.configured && len(f.stack) > 0 {
			p.bySelectors[key] = f
		}
	}
	p.configureShunts(shunts)
	p.rebuild()
	p.linkBackups()
}

// enter makes a flow one of the configuration.
func (p *policies) enter(f *flow) {
	f.configured = true
	p.flows = append(p.flows, f)
	p.bySelectors[keyOf(f.child, f.local, f.remote)] = f
	f.child.flows = append(f.child.flows, f)
}

// rebuild makes the table of all flows.
func (p *policies) rebuild() {
	p.agreed, p.apart = make(map[*flow]bool), make(map[*flow]bool)
	p.changed, p.exposed, p.passing = true, true, slices.ContainsFunc(p.flows, (*flow).passes)
	entries := make([]ts.Entry[*flow], 0, len(p.bySelectors))
	for i, f := range p.flows {
		f.order = int64(i)
		entries = append(entries, f.entry())
	}
	p.table = ts.NewTable(entries)
	others := maps.Clone(p.bySelectors)
	maps.DeleteFunc(others, func(_ trafficKey, f *flow) bool { return f.configured })
	for _, f := range slices.SortedFunc(maps.Values(others), func(a, b *flow) int { return cmp.Compare(b.order, a.order) }) {
		p.agree(f)
	}
}

// agree enters a flow that was agreed upon with a peer. Of such the latest comes first; it is as specific as what it was narrowed from,
// or more, so it comes before that anyway.
func (p *policies) agree(f *flow) {
	if f.order >= 0 {
		p.made++
		f.order = -p.made
	}
	p.agreed[f] = true
	p.table, p.changed = p.table.With(f.entry()), true
	if p.passing || !f.child.covers(f) {
		p.apart[f], p.exposed = true, true
	}
}

// disagree takes it out.
func (p *policies) disagree(f *flow) {
	delete(p.agreed, f)
	delete(p.bySelectors, keyOf(f.child, f.local, f.remote))
	p.table, p.changed = p.table.Without(f.entry()), true
	if p.apart[f] {
		delete(p.apart, f)
		p.exposed = true
	}
}

// covers reports whether a flow of the configuration says all that the host has to know of the traffic.
func (k *kept) covers(f *flow) bool {
	return slices.ContainsFunc(k.flows, func(o *flow) bool {
		return slices.Equal(f.local, o.local) && ts.Subset(f.remote, o.remote) && !slices.ContainsFunc(prefixes(o.remote), wide)
	})
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
			if !p.First.IsValid() { // it is named, and not there yet
				continue
			}
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
	former := make(map[*kept][]*flow)
	for _, f := range p.byAge(p.agreed) {
		former[f.child] = append(former[f.child], f)
	}
	order := slices.DeleteFunc(slices.Clone(p.flows), func(f *flow) bool { return f.shunt != nil })
	slices.SortStableFunc(order, func(a, b *flow) int { return b.priority() - a.priority() })
	next := make(map[trafficKey]*flow) // by selectors alone
	for _, f := range slices.Backward(order) {
		selectors := keyOf(nil, f.local, f.remote)
		behind := next[selectors]
		next[selectors] = f
		for _, old := range former[f.child] {
			if ts.Subset(f.local, old.local) && ts.Subset(f.remote, old.remote) {
				old.next.Store(behind)
				behind = old
			}
		}
		f.next.Store(behind)
	}
}

// byAge are flows that were agreed upon, the oldest first.
func (p *policies) byAge(set map[*flow]bool) []*flow {
	return slices.SortedFunc(maps.Keys(set), func(a, b *flow) int { return cmp.Compare(b.order, a.order) })
}

// add gives some traffic of a child to an SA, away from those that had it so far.
func (p *policies) add(cfg *ike.Child, local, remote []ts.Selector, sa *outboundSA) {
	k := p.byConfig[cfg]
	if k == nil {
		return
	}
	key := keyOf(k, local, remote)
	f := p.bySelectors[key]
	if f == nil {
		f = &flow{child: k, local: local, remote: remote}
		p.bySelectors[key] = f
		p.agree(f)
	}
	f.push(sa)
}

// push gives the flow to an SA.
func (f *flow) push(sa *outboundSA) {
	if len(f.stack) == 0 {
		f.child.carried++
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
	f.child.carried--
	f.current.Store(nil)
	if !f.configured {
		p.disagree(f)
	}
}

// up reports whether some traffic of a child is carried.
func (p *policies) up(k *kept) bool { return k.carried > 0 }

// publish makes the forwarders use the flows as they are now.
func (p *policies) publish() {
	if p.changed {
		p.changed = false
		p.datapath.policies.Store(p.table)
	}
}

// expose returns what the host has to protect, and false if that has not changed since.
func (p *policies) expose() ([]Policy, bool) {
	if !p.exposed {
		return nil, false
	}
	p.exposed = false
	return p.protected(), true
}

// protected is what the host has to protect. Where traffic may pass, it is told each pair of selectors, in the order of the
// table, to route packets as the table would.
func (p *policies) protected() []Policy {
	var list []Policy
	if !p.passing {
		for _, f := range slices.Concat(p.flows, p.byAge(p.apart)) {
			list = append(list, Policy{Local: prefixes(f.local), Remote: prefixes(f.remote)})
		}
		return list
	}
	for r := range p.table.Rules() {
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
	list, _ := newPolicies(&datapath{}, cfg.Connections, cfg.Shunts...).expose()
	return slices.DeleteFunc(list, func(p Policy) bool { return p.Pass })
}

func (f *flow) entry() ts.Entry[*flow] {
	return ts.Entry[*flow]{Local: f.local, Remote: f.remote, Priority: f.priority(), Order: f.order, Value: f}
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
