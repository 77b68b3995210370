//go:build linux

package gateway

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
)

// pass makes the rules for traffic that may pass although policies that come later cover it. They are asked before all that leads
// into the tunnel, in the order of the policies: one that may pass leads past all of it, one that must not past the rest of
// them. Neighbours of one kind share a preference.
func (p *fibPlanner) pass() error {
	layer, kind := -1, false
	for _, policy := range p.relevant() {
		if layer < 0 || policy.Pass != kind {
			layer, kind = layer+1, policy.Pass
		}
		if layer >= prefSourced-prefPass {
			return fmt.Errorf("policies that pass alternate with others more than %d times: give up some of mode = pass", layer)
		}
		p.passRules(policy, layer)
	}
	if layer >= 0 {
		p.rule(fibRule{pref: prefSourced})
		p.rule(fibRule{pref: prefSourceless})
		if p.v6 {
			p.skipSourced()
		}
	}
	return nil
}

// passRules are the rules for a policy: for packets that have a source address, and for those of the host that have none yet, of
// which routing is asked again when they have one, or never.
func (p *fibPlanner) passRules(policy Policy, layer int) {
	rule := fibRule{pref: prefPass + layer, proto: policy.Protocol, sport: policy.LocalPorts, dport: policy.RemotePorts, jump: prefEnd}
	sourceless := rule
	sourceless.pref, sourceless.iif = prefPassLocal+layer, "lo"
	if !p.v6 {
		sourceless.from = netip.MustParsePrefix("0.0.0.0/32")
	}
	if !policy.Pass {
		rule.jump, sourceless.jump = prefSourced, prefSourceless
	}
	for _, remote := range policy.Remote {
		rule.to, sourceless.to = remote, remote
		for _, local := range policy.Local {
			rule.from = local
			p.rule(rule)
		}
		if p.decidesSourceless(policy, remote) {
			p.rule(sourceless)
		}
	}
}

// decidesSourceless reports whether a policy decides about packets to remote without a source address: one that passes if they
// usually leave from an address that it covers, or at least from none that must be protected; others if they get an address that they cover.
func (p *fibPlanner) decidesSourceless(policy Policy, remote netip.Prefix) bool {
	if !policy.Pass {
		return p.source(policy, remote, p.host.own(p.v6)).IsValid()
	}
	usual := p.usual(remote)
	if policy.coversSource(usual) {
		return true
	}
	return !slices.ContainsFunc(p.policies, func(o Policy) bool {
		return !o.Pass && o.coversSource(usual) && slices.ContainsFunc(o.Remote, remote.Overlaps)
	}) &&
		slices.ContainsFunc(p.host.own(p.v6), policy.coversSource)
}

func (p Policy) coversSource(a netip.Addr) bool {
	return slices.ContainsFunc(p.Local, func(l netip.Prefix) bool { return l.Contains(a) })
}

// relevant are the policies that pass, and those that come before one that does and share traffic with it, in their order. Ports are
// such as rules can name: where a policy's own cannot be, less of it passes.
func (p *fibPlanner) relevant() []Policy {
	var list, passing []Policy
	for _, policy := range slices.Backward(p.policies) {
		if !policy.Pass && !slices.ContainsFunc(passing, policy.meets) {
			continue
		}
		policy.LocalPorts, policy.RemotePorts = policy.LocalPorts.inRule(policy.Pass), policy.RemotePorts.inRule(policy.Pass)
		if policy.Pass {
			passing = append(passing, policy)
		}
		list = append(list, policy)
	}
	slices.Reverse(list)
	return list
}

// meets reports whether two policies may have traffic in common.
func (p Policy) meets(o Policy) bool {
	overlap := func(a, b []netip.Prefix) bool {
		return slices.ContainsFunc(a, func(x netip.Prefix) bool { return slices.ContainsFunc(b, x.Overlaps) })
	}
	return overlap(p.Local, o.Local) && overlap(p.Remote, o.Remote)
}

// inRule is the range as the kernel takes it in a rule: from 1 to 65534. narrow takes away what it does not know, otherwise the
// range becomes any.
func (r Ports) inRule(narrow bool) Ports {
	const last = math.MaxUint16 - 1
	switch {
	case r == Ports{} || r.First >= 1 && r.Last <= last:
		return r
	case narrow:
		return Ports{max(r.First, 1), min(r.Last, last)}
	}
	return Ports{}
}
