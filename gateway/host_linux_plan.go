//go:build linux

package gateway

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// Preferences of the rules, between those of the table local (0) and main (32766):
//
//	4300  fwmark Mark/markMask        goto 4504         the tunnel's own datagrams pass by all of it
//	4301  from LOCAL to REMOTE ...    goto 4504, 4400   what may pass, and what must not (host_linux_pass.go)
//	4400  from ::/1, from 8000::/1    goto 4503         IPv6 packets that have a source address already
//	4401  to REMOTE ..., iif lo       goto 4504, 4502   as 4301, for those that have none
//	4502  from 0.0.0.0/32, iif lo     lookup 45000      the host's own packets without a source address yet
//	4503  from LOCAL                  lookup 45001...   packets that a policy covers by their source
//	4504  nop                                           what falls through goes on to the rules of others
//
// A rule is chosen by the source, so a policy that covers everything (0.0.0.0/0) on the far side does not swallow what
// the host itself sends from an address that no policy names. One table for each local prefix keeps policies apart:
// if only one of two networks has its Internet traffic tunnelled, the other one's goes its usual way.
//
// Packets without a source address: routing decides before the address is chosen (a ping, a datagram of an unconnected
// socket). If the host has an address inside the local prefixes, such a packet to a remote prefix is given that one,
// and the tunnel; else it goes its usual way. IPv4 can match the unspecified source; in IPv6 a rule with a source
// matches only packets that have one, hence the two halves which jump over it.
const (
	prefMark       = 4300
	prefPass       = 4301
	prefSourced    = 4400
	prefPassLocal  = 4401
	prefSourceless = 4502
	prefLocal      = 4503
	prefEnd        = 4504
)

// markMask are the bits of a packet's mark that are compared with Mark; the others are left to their users, some of whom
// mark every packet on its way out, ours too.
const markMask = 0x30ff

// ruleOrder is that in which rules are added; they are removed in the reverse order. The jumps of prefMark stand before
// anything leads into the tunnel, so that its own datagrams never do, and a jump is not there before its target. What keeps traffic
// from passing is there before what lets it pass.
func ruleOrder(r fibRule) int {
	switch {
	case r.pref == prefEnd:
		return 0
	case r.table == 0 && r.jump == 0: // a target
		return 1
	case r.pref == prefMark:
		return 2
	case r.pref == prefLocal:
		return prefEnd + 1
	case r.pref == prefSourced:
		return prefEnd + 2
	case r.pref == prefSourceless:
		return prefEnd + 3
	}
	return r.pref
}

// Metrics of the routes in our tables. For each remote prefix there is one into the device, and behind it one that
// refuses: it is what is left when the device is gone with a process that was killed, so that nothing leaves in clear.
// It refuses with ICMP "host unreachable": that tells applications at once, and does not end established connections
// (RFC 1122 4.2.3.9), which go on when the tunnel is back.
//
// Prefixes of our own inside a remote prefix (10.1.0.0/16 inside 0.0.0.0/0) are thrown back to the other rules: what
// local networks send each other is no traffic for the tunnel. Apart from them a remote prefix takes everything, also
// what the host is connected to directly: a policy that says 0.0.0.0/0 means it.
const (
	metricDevice = 100
	metricRefuse = 200
	metricThrow  = 300
)

// linkScope has the destinations that exist on one link only: limited broadcast, link-local (and cloud metadata
// services), multicast. They are never tunnelled by a policy that merely includes them.
var linkScope = [...]netip.Prefix{
	netip.MustParsePrefix("255.255.255.255/32"),
	netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("224.0.0.0/4"),
	netip.MustParsePrefix("fe80::/10"),
	netip.MustParsePrefix("ff00::/8"),
}

// fibRule and fibRoute are what is ours in the kernel, comparable.
type fibRule struct {
	v6    bool
	pref  int
	from  netip.Prefix // zero: any source
	to    netip.Prefix // zero: any destination
	proto uint8        // 0: any
	sport Ports        // zero: any
	dport Ports
	iif   string
	mark  uint32 // 0: any
	mask  uint32 // of mark
	table int    // 0: none
	jump  int    // preference to go to, 0: none. With neither table nor jump the rule does nothing
}

type fibRoute struct {
	table  int
	dst    netip.Prefix
	kind   int // unix.RTN_UNICAST, RTN_UNREACHABLE, RTN_THROW
	metric int
	device int        // interface index; 0 unless RTN_UNICAST
	src    netip.Addr // of packets that have no source address yet; zero: as usual
}

// fib is a set of rules and routes: those in the kernel, or those wanted.
type fib struct {
	rules  map[fibRule]bool
	routes map[fibRoute]bool
}

func newFIB() fib { return fib{rules: map[fibRule]bool{}, routes: map[fibRoute]bool{}} }

// without returns what is in s and not in o.
func (s fib) without(o fib) fib {
	rest := newFIB()
	for r := range s.rules {
		if !o.rules[r] {
			rest.rules[r] = true
		}
	}
	for r := range s.routes {
		if !o.routes[r] {
			rest.routes[r] = true
		}
	}
	return rest
}

// withoutReplaced returns what is left of s when fresh was added: a route replaces the one of the same destination and
// metric. To remove the old one all the same would take the new one away: IPv6 does not compare source addresses.
func (s fib) withoutReplaced(fresh fib) fib {
	type place struct {
		table, metric int
		dst           netip.Prefix
	}
	replaced := map[place]bool{}
	for r := range fresh.routes {
		replaced[place{r.table, r.metric, r.dst}] = true
	}
	rest := fib{rules: s.rules, routes: map[fibRoute]bool{}}
	for r := range s.routes {
		if !replaced[place{r.table, r.metric, r.dst}] {
			rest.routes[r] = true
		}
	}
	return rest
}

// hostAddresses is what a plan asks of the host.
type hostAddresses interface {
	// own lists the host's addresses.
	own(v6 bool) []netip.Addr
	// usual is the source address the host would take for dst if there were no policies; invalid if there is no route.
	usual(dst netip.Addr) netip.Addr
	// assigned are those of own that peers have assigned.
	assigned() []netip.Addr
}

// fibPlanner draws up the state that the policies of one address family ask for.
type fibPlanner struct {
	host     hostAddresses
	v6       bool
	device   int // interface index; 0: the device is gone
	policies []Policy
	locals   []netip.Prefix       // of all policies, and the link scopes
	tables   map[netip.Prefix]int // of local prefixes
	used     map[int]bool         // tables
	next     int                  // table that may be free; those before it are not
	want     fib
}

// planFIB is the state that the policies ask for. A local prefix that has a table in the present state keeps it, and
// no table in use is given to another one, so that at no time a rule leads into the table of another prefix.
func planFIB(host hostAddresses, device int, have fib, policies []Policy) (fib, error) {
	want := newFIB()
	var errs []error
	for _, v6 := range []bool{false, true} {
		p := fibPlanner{host: host, v6: v6, device: device, policies: ofFamily(policies, v6), want: want}
		if len(p.policies) == 0 {
			continue
		}
		p.takeOver(have)
		errs = append(errs, p.plan())
	}
	return want, errors.Join(errs...)
}

func (p *fibPlanner) takeOver(have fib) {
	p.tables, p.used = map[netip.Prefix]int{}, map[int]bool{firstTable: true}
	p.next = firstTable
	for r := range have.rules {
		if r.v6 == p.v6 && r.table != 0 {
			p.used[r.table] = true
			if r.pref == prefLocal {
				p.tables[fromAll(r.from, p.v6)] = r.table
			}
		}
	}
	for r := range have.routes {
		if r.dst.Addr().Is6() == p.v6 {
			p.used[r.table] = true
		}
	}
}

func (p *fibPlanner) plan() error {
	for _, scope := range linkScope {
		if scope.Addr().Is6() == p.v6 {
			p.locals = append(p.locals, scope)
		}
	}
	remotes := map[netip.Prefix]map[netip.Prefix]bool{} // by local prefix
	for _, policy := range p.policies {
		if policy.Pass {
			continue
		}
		for _, local := range policy.Local {
			if remotes[local] == nil {
				remotes[local] = map[netip.Prefix]bool{}
				p.locals = append(p.locals, local)
			}
			for _, remote := range policy.Remote {
				remotes[local][remote] = true
			}
		}
	}
	slices.SortFunc(p.locals, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
	for _, local := range p.locals {
		if remotes[local] == nil {
			continue // a link scope
		}
		table, err := p.table(local)
		if err != nil {
			return err
		}
		p.rule(fibRule{pref: prefLocal, from: local, table: table})
		for remote := range remotes[local] {
			p.protect(table, remote, netip.Addr{})
		}
		p.throw(table, remotes[local])
	}
	p.sourceless()
	if err := p.pass(); err != nil {
		return err
	}
	p.rule(fibRule{pref: prefMark, mark: Mark, mask: markMask, jump: prefEnd})
	p.rule(fibRule{pref: prefEnd})
	return nil
}

// table is the one of a local prefix, kept or the first free.
func (p *fibPlanner) table(local netip.Prefix) (int, error) {
	if t, ok := p.tables[local]; ok {
		return t, nil
	}
	for p.used[p.next] {
		p.next++
	}
	if t := p.next; t <= lastTable {
		p.used[t], p.tables[local] = true, t
		return t, nil
	}
	return 0, fmt.Errorf("more than %d different local prefixes cannot be routed: summarize them", lastTable-firstTable)
}

// sourceless routes what the host itself sends without a source address.
func (p *fibPlanner) sourceless() {
	own, remotes := p.host.own(p.v6), map[netip.Prefix]bool{}
	for _, policy := range p.policies {
		if policy.Pass {
			continue
		}
		for _, remote := range policy.Remote {
			src := p.source(policy, remote, own)
			if src.IsValid() && !remotes[remote] {
				remotes[remote] = true
				p.protect(firstTable, remote, src)
			}
		}
	}
	if len(remotes) == 0 {
		return
	}
	p.throw(firstTable, remotes)
	if p.v6 {
		p.skipSourced()
		p.rule(fibRule{pref: prefSourceless, iif: "lo", table: firstTable})
		return
	}
	p.rule(fibRule{pref: prefSourceless, from: netip.MustParsePrefix("0.0.0.0/32"), iif: "lo", table: firstTable})
}

// skipSourced leads IPv6 packets that have a source address past the rules for those that have none.
func (p *fibPlanner) skipSourced() {
	p.rule(fibRule{pref: prefSourced, from: netip.MustParsePrefix("::/1"), jump: prefLocal})
	p.rule(fibRule{pref: prefSourced, from: netip.MustParsePrefix("8000::/1"), jump: prefLocal})
}

// source is the address by which packets of the host to remote are covered by the policy; invalid: they are not.
// An address that a peer has assigned is for this and nothing else. A wide remote prefix stands for "the Internet": it takes the
// host's own packets only if the address they leave from
// usually is a covered one, not because the host has an address in the local network as well.
func (p *fibPlanner) source(policy Policy, remote netip.Prefix, own []netip.Addr) netip.Addr {
	covered := func(a netip.Addr) bool {
		return slices.ContainsFunc(policy.Local, func(l netip.Prefix) bool { return l.Contains(a) })
	}
	i := slices.IndexFunc(own, covered)
	if i < 0 {
		return netip.Addr{}
	}
	for _, a := range p.host.assigned() {
		if slices.Contains(own, a) && covered(a) {
			return a
		}
	}
	if usual := p.usual(remote); covered(usual) {
		return usual
	}
	if wide(remote) {
		return netip.Addr{}
	}
	return own[i]
}

// usual is the address that packets of the host to remote usually leave from.
func (p *fibPlanner) usual(remote netip.Prefix) netip.Addr {
	switch {
	case !wide(remote):
		return p.host.usual(remote.Addr())
	case p.v6: // an address that only a default route leads to: outside of what RFC 4291 2.4 gives out, RFC 1112 4
		return p.host.usual(netip.MustParseAddr("4000::1"))
	}
	return p.host.usual(netip.MustParseAddr("240.0.0.1"))
}

// protect is the pair of routes of a remote prefix.
func (p *fibPlanner) protect(table int, remote netip.Prefix, src netip.Addr) {
	if p.device != 0 {
		p.want.routes[fibRoute{table, remote, unix.RTN_UNICAST, metricDevice, p.device, src}] = true
	}
	p.want.routes[fibRoute{table, remote, unix.RTN_UNREACHABLE, metricRefuse, 0, netip.Addr{}}] = true
}

// throw hands what is local inside of a remote prefix back to the other rules. What is inside lies together in the
// sorted locals.
func (p *fibPlanner) throw(table int, remotes map[netip.Prefix]bool) {
	for remote := range remotes {
		i, _ := slices.BinarySearchFunc(p.locals, remote.Addr(), func(l netip.Prefix, a netip.Addr) int { return l.Addr().Compare(a) })
		for ; i < len(p.locals) && remote.Contains(p.locals[i].Addr()); i++ {
			if local := p.locals[i]; local.Bits() > remote.Bits() && !remotes[local] {
				p.want.routes[fibRoute{table, local, unix.RTN_THROW, metricThrow, 0, netip.Addr{}}] = true
			}
		}
	}
}

func (p *fibPlanner) rule(r fibRule) {
	r.v6 = p.v6
	// How the kernel tells it.
	if r.from.IsValid() && r.from.Bits() == 0 {
		r.from = netip.Prefix{}
	}
	if r.to.IsValid() && r.to.Bits() == 0 {
		r.to = netip.Prefix{}
	}
	p.want.rules[r] = true
}

// fromAll is the reverse of what rule does to a source prefix.
func fromAll(from netip.Prefix, v6 bool) netip.Prefix {
	switch {
	case from.IsValid():
		return from
	case v6:
		return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
}

// ofFamily returns the part of the policies that is about one address family, prefixes in canonical form.
func ofFamily(policies []Policy, v6 bool) []Policy {
	pick := func(prefixes []netip.Prefix) (out []netip.Prefix) {
		for _, prefix := range prefixes {
			if prefix.Addr().Is4In6() && prefix.Bits() >= 96 {
				prefix = netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits()-96)
			}
			if prefix.IsValid() && prefix.Addr().Is6() == v6 {
				out = append(out, prefix.Masked())
			}
		}
		return out
	}
	var out []Policy
	for _, policy := range policies {
		local, remote := pick(policy.Local), pick(policy.Remote)
		if len(local) > 0 && len(remote) > 0 {
			policy.Local, policy.Remote = local, remote
			out = append(out, policy)
		}
	}
	return out
}
