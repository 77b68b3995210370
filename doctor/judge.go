package doctor

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"github.com/culvert-vpn/culvert/explain"
	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/natt"
	"github.com/culvert-vpn/culvert/suite"
)

// judge tells what the first answer says, and asks on where that is needed.
func (v *visit) judge(ctx context.Context, o outcome) {
	a := o.answer
	v.facts.Fragmentation = a.has(wire.IKEV2_FRAGMENTATION_SUPPORTED)
	for _, n := range a.notifies {
		v.facts.Notifies = append(v.facts.Notifies, n.String())
	}
	v.facts.Vendors = a.vendors
	switch {
	case a.version1:
		v.say("version", Failure, explain.IKEv1Only, "the peer speaks IKEv1 only", fixesOf(explain.IKEv1Only)...)
		return
	case a.redirected:
		v.say("redirect", Note, "", "the peer sends us to another gateway (RFC 5685), which was not asked")
		return
	case a.refused != 0:
		v.facts.Refused = a.refused.String()
		v.refused(ctx, a)
	default:
		v.facts.Proposal = a.chosen.String()
		v.accepted(a)
	}
	v.sizes(ctx, o)
}

// accepted tells of an answer that goes on.
func (v *visit) accepted(a *answer) {
	v.say("proposal", OK, "", "the peer accepts "+a.chosen.String())
	v.situation(a)
	if v.facts.Fragmentation {
		v.say("fragmentation", OK, "", "the peer takes large messages in fragments (RFC 7383)")
	} else {
		v.say("fragmentation", Note, "", "the peer does not take IKE messages in fragments (RFC 7383): large ones depend on a path that carries IP fragments")
	}
	var also []string
	for _, known := range []struct {
		wire.NotifyType
		text string
	}{
		{wire.CHILDLESS_IKEV2_SUPPORTED, "IKE SAs without a child (RFC 6023)"},
		{wire.MULTIPLE_AUTH_SUPPORTED, "several authentications (RFC 4739)"},
		{wire.SIGNATURE_HASH_ALGORITHMS, "digital signatures (RFC 7427)"},
		{wire.INTERMEDIATE_EXCHANGE_SUPPORTED, "intermediate exchanges (RFC 9242)"},
		{wire.USE_PPK, "post-quantum preshared keys (RFC 8784)"},
		{wire.IKEV2_MESSAGE_ID_SYNC_SUPPORTED, "failover of clusters (RFC 6311)"},
	} {
		if a.has(known.NotifyType) {
			also = append(also, known.text)
		}
	}
	text := "the peer "
	if len(a.vendors) > 0 {
		text += "calls itself " + words(a.vendors)
	} else {
		text += "does not say what it is"
	}
	if also != nil {
		text += ", and knows " + words(also)
	}
	if a.detours > 0 {
		text += "; it asked for " + count(a.detours, "other request")
	}
	v.say("product", Note, "", text)
}

// situation tells who is behind a NAT.
func (v *visit) situation(a *answer) {
	v.facts.NAT, v.facts.LocalNAT, v.facts.RemoteNAT = a.nat.String(), a.nat.LocalNAT, a.nat.RemoteNAT
	if !a.nat.Supported {
		v.say("nat", Failure, explain.NoEncapsulation, "the peer does not do NAT traversal, and Culvert carries ESP in UDP only", fixesOf(explain.NoEncapsulation)...)
		return
	}
	text := a.nat.String()
	if !a.nat.LocalNAT {
		v.say("nat", OK, "", text)
		return
	}
	public := netip.Addr{}
	if cloud := v.report.Cloud; cloud != nil {
		for _, m := range cloud.Addresses {
			if m.Public.IsValid() && a.seen(m.Public, a.local.Port()) {
				public = m.Public
				text += fmt.Sprintf("; the peer sees %v as %v, as the cloud says", m.Private, public)
			}
		}
	}
	id, problem := v.identityBehindNAT(v.conn, v.way.local)
	if problem == "" {
		v.say("nat", OK, "", fmt.Sprintf("%s; we are known as %v all the same", text, id))
		return
	}
	// The cloud's own check has printed this already if it knew.
	var fixes []explain.Fix
	if !public.IsValid() {
		fixes = []explain.Fix{v.fixHere(v.conn, id, false), v.fixOfPeer(v.conn, id, public)}
	}
	v.say("nat", Warning, explain.UnknownIdentity, text+", and "+problem, fixes...)
}

// refused tells of an error, and asks what the peer would accept.
func (v *visit) refused(ctx context.Context, a *answer) {
	offered := strings.Join(writtenProposals(v.conn.Proposals), ", ")
	switch a.refused {
	case wire.NO_PROPOSAL_CHOSEN, wire.INVALID_KE_PAYLOAD:
	default:
		v.say("proposal", Failure, "", fmt.Sprintf("the peer refuses the first message: %v", a.refused))
		return
	}
	rest(ctx, pause)
	remote := netip.AddrPortFrom(v.facts.Address, v.facts.Ports[0])
	o := v.send(ctx, remote, everything())
	switch {
	case o.answer == nil:
		v.say("proposal", Failure, explain.NoProposal, fmt.Sprintf("the peer refuses %s, and does not say what it would accept", offered), fixesOf(explain.NoProposal)...)
	case o.answer.refused != 0:
		v.say("proposal", Failure, explain.NoConnection, fmt.Sprintf("the peer refuses %s, and everything else that Culvert can do: it is likely to have no connection for calls from here (%v), "+
			"which strongSwan refuses with the same error", offered, o.answer.refused), fixesOf(explain.NoConnection)...)
	default:
		v.facts.Accepts = o.answer.chosen.String()
		v.situation(o.answer)
		v.facts.Fragmentation, v.facts.Vendors = o.answer.has(wire.IKEV2_FRAGMENTATION_SUPPORTED), o.answer.vendors
		v.say("proposal", Failure, explain.NoProposal, describeRefusal(v.conn.Proposals, o.answer.chosen), v.proposalFixes(o.answer.chosen)...)
	}
}

// describeRefusal puts the nearest change in words.
func describeRefusal(offers []suite.Proposal, accepted suite.Proposal) string {
	best, differs := nearest(offers, accepted)
	text := fmt.Sprintf("the peer refuses %s; it accepts %v", strings.Join(writtenProposals(offers), ", "), accepted)
	switch {
	case len(differs) == 0:
		return text // it told two stories
	case len(offers) > 1:
		return text + fmt.Sprintf(", which differs from the nearest offer, %v, in %s", best, words(differs))
	}
	return text + ", which differs in " + words(differs)
}

// proposalFixes are the two ways to agree. The stronger is not always on this side.
func (v *visit) proposalFixes(accepted suite.Proposal) []explain.Fix {
	ours := v.conn.Proposals
	fix := explain.Fix{Side: explain.Here, Text: "offer what the peer accepts as well"}
	for _, t := range accepted.Transforms {
		if w := t.Weakness(); w != "" {
			fix.Text += fmt.Sprintf(" (%v is weak: %s)", t, w)
		}
	}
	fix.Lines = explain.Lines([]string{explain.SetList("proposals", append(writtenProposals(ours), accepted.String()))}, "connections", v.conn.Name)
	best, _ := nearest(ours, accepted)
	return []explain.Fix{fix, {Side: explain.Peer, Text: "accept what is offered here",
		Lines: explain.Lines([]string{explain.SetList("proposals", []string{best.String()})}, "connections", v.conn.Name)}}
}

// offerSingly asks about each proposal.
func (v *visit) offerSingly(ctx context.Context) {
	remote := netip.AddrPortFrom(v.facts.Address, v.facts.Ports[0])
	for _, proposal := range v.conn.Proposals[:min(len(v.conn.Proposals), maxSingly)] {
		rest(ctx, pause)
		f := OfferFacts{Proposal: proposal.String()}
		f.Accepted, f.Text = v.offer(ctx, remote, proposal)
		v.facts.Offers = append(v.facts.Offers, f)
		what := "refuses"
		if f.Accepted {
			what = "accepts"
		}
		text := fmt.Sprintf("by itself, the peer %s %s", what, f.Proposal)
		if f.Text != "" {
			text += ": " + f.Text
		}
		v.say("offer", Note, "", text)
	}
}

// offer asks about one proposal.
func (v *visit) offer(ctx context.Context, remote netip.AddrPort, proposal suite.Proposal) (accepted bool, text string) {
	l, err := v.open(remote)
	if err != nil {
		return false, err.Error()
	}
	defer l.Close()
	p, err := single(v.Rand, pathOf(l.Local(), remote), proposal)
	if err != nil {
		return false, err.Error()
	}
	v.facts.Probes++
	o := v.ask(ctx, l, p, firstWait, v.Patience)
	switch {
	case o.answer == nil:
		return false, "no answer"
	case o.answer.refused == 0:
		return true, "with " + o.answer.chosen.String()
	case o.answer.refused == wire.INVALID_KE_PAYLOAD:
		return p.offers(o.answer.wants) && o.answer.wants != p.group, "with " + suite.Transform{Type: suite.TypeKE, ID: o.answer.wants}.String()
	}
	return false, o.answer.refused.String()
}

// sizes tells how long packets may be.
func (v *visit) sizes(ctx context.Context, o outcome) {
	port := v.facts.Ports[len(v.facts.Ports)-1] // where ESP will go, if it answers
	remote := netip.AddrPortFrom(v.facts.Address, port)
	l, err := v.open(remote)
	if err != nil {
		v.say("packet-size", Unknown, "", err.Error())
		return
	}
	defer l.Close()
	ask := func(size int) (*probe, error) {
		p, err := newProbe(v.Rand, pathOf(l.Local(), remote), []suite.Proposal{nobodys(suite.CURVE25519)})
		if err == nil {
			p.size = size
		}
		return p, err
	}
	top := sizes[0]
	if v.way.mtu > 0 {
		top = min(top, v.way.mtu)
	}
	r, err := v.measure(ctx, l, ask, top, v.length, o.trip)
	v.facts.Probes += r.probes
	if err != nil {
		v.say("packet-size", Unknown, "", fmt.Sprintf("how long packets may be cannot be found out: %v", err))
		return
	}
	v.facts.Arrives, v.facts.Lost = r.arrives, r.lost
	v.checks = append(v.checks, judgeReach(v.conn.Name, v.facts.Address, v.way, r))
}

// judgeReach puts it in words. That packets get smaller on the way is no fault; that nobody says so is one.
func judgeReach(conn string, peer netip.Addr, w way, r reach) Check {
	c := Check{ID: "packet-size", Group: Peer, Connection: conn, Result: OK, Text: fmt.Sprintf("packets of %d bytes arrive at the peer in one piece", r.arrives)}
	if r.lost == 0 {
		return c
	}
	c.Text = fmt.Sprintf("packets of up to %d bytes arrive at the peer in one piece, and of %d bytes do not", r.arrives, r.lost)
	if r.icmp != nil {
		c.Result, c.Text = Note, c.Text+fmt.Sprintf(": %v", r.icmp)
		return c
	}
	c.Result, c.Cause = Warning, explain.MTUBlackHole
	c.Text += "; no router says so, and long packets vanish"
	route := fmt.Sprintf("ip route replace %v dev %s mtu %d", peer, w.device, r.arrives)
	if w.gateway.IsValid() {
		route = fmt.Sprintf("ip route replace %v via %v dev %s mtu %d", peer, w.gateway, w.device, r.arrives)
	}
	c.Fixes = append([]explain.Fix{here("tell this host how long packets to the peer may be: Culvert then makes its packets fit", route)}, fixesOf(explain.MTUBlackHole)...)
	return c
}

// natPort says which of our ports a request leaves from.
func natPort(remote netip.AddrPort) uint16 {
	if remote.Port() == natt.Port {
		return natt.Port
	}
	return natt.PortNATT
}
