package ike

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/suite"
)

// maxChildren bounds the Child SAs of one IKE SA that its peer asks for: enough for peers that want one for each pair of networks.
const maxChildren = 512

// answerChildAuth answers the part of IKE_AUTH that is about a child, if it has one.
func (sa *ikeSA) answerChildAuth(c *content) []wire.Payload {
	if c.isChildless() {
		return nil
	}
	payloads, child := sa.answerChild(c, sa.conn.Children, nil)
	if child != nil {
		child.event(ChildUp, child.traffic(), "")
	}
	return payloads
}

// answerNewChild answers CREATE_CHILD_SA with a new child (RFC 7296 1.3.1).
func (sa *ikeSA) answerNewChild(c *content) []wire.Payload {
	payloads, child := sa.answerChild(c, sa.conn.Children, nil)
	if child == nil {
		return payloads
	}
	if x, ok := find(sa, func(x *childExchange) bool { return x.old == nil && x.cfg == child.cfg && x.isFor(child) }); ok {
		x.theirs = child
	}
	child.event(ChildUp, child.traffic(), "")
	return payloads
}

// answerRekeyChild answers CREATE_CHILD_SA with REKEY_SA (RFC 7296 1.3.3).
func (sa *ikeSA) answerRekeyChild(c *content, old *childSA) []wire.Payload {
	k := sa.end.keeperOf(sa.conn)
	if old.deleting || old.isReplaced() || old.outdated && (k.isNegotiating(sa, old.cfg) || k.placeOf(old) != nil) {
		// We are trying to close it, or are about to: what takes its place is on its way, or there (RFC 7296 2.25.1).
		return notifyOf(wire.TEMPORARY_FAILURE)
	}
	payloads, child := sa.answerChild(c, []*Child{old.cfg}, old)
	if child == nil {
		return payloads
	}
	old.successor = child
	if x, ok := find(sa, func(x *childExchange) bool { return x.old == old }); ok {
		x.theirs = child
	}
	child.rekeyed(old)
	return payloads
}

// answerChild makes a Child SA of one of the policies, as a responder. old is the predecessor, if there is one. The child is
// nil if the payloads are a refusal.
func (sa *ikeSA) answerChild(c *content, policies []*Child, old *childSA) ([]wire.Payload, *childSA) {
	limit := maxChildren
	if old != nil {
		limit *= 2 // each of them may have a successor
	}
	if len(sa.children) >= limit {
		sa.event(ChildFailed, fmt.Sprintf("the peer asks for more than %d Child SAs", limit), "")
		return notifyOf(wire.NO_ADDITIONAL_SAS), nil
	}
	create := c.nonce != nil
	cfg, agreed := sa.agree(c, policies)
	if cfg == nil && len(sa.conn.Pools) > 0 && len(sa.loans) == 0 {
		sa.tell(ChildFailed, sa.addressWanted(c))
		return notifyOf(wire.FAILED_CP_REQUIRED), nil // RFC 7296 2.19
	}
	if cfg == nil {
		sa.tell(ChildFailed, sa.selectorsDiffer(c, policies))
		return notifyOf(wire.TS_UNACCEPTABLE), nil
	}
	ours := cfg.Proposals
	group := uint16(suite.KE_NONE)
	if !create {
		ours = withoutKE(ours)
	} else if c.ke != nil {
		group = c.ke.Group
	}
	offers, numbered := c.offers(suite.ESP, 4)
	if !create {
		offers = withoutKE(offers)
	}
	i, chosen, ok := suite.Choose(offers, ours, group)
	if !ok {
		sa.tell(ChildFailed, sa.noCommonESP(cfg, offers, ours))
		return notifyOf(wire.NO_PROPOSAL_CHOSEN), nil
	}
	out := binary.BigEndian.Uint32(numbered[i].SPI)
	if out < 256 {
		// Reserved (RFC 4303 2.1). It does not end the IKE SA, which INVALID_SYNTAX would.
		return notifyOf(wire.NO_PROPOSAL_CHOSEN), nil
	}
	in := sa.nonces
	if create {
		in = keyInput{nonceI: clone(c.nonce.Data), nonceR: sa.end.random(nonceLen)}
	}
	ke, refusal := sa.answerKE(c, chosen, &in)
	defer clear(in.shared)
	if refusal != nil {
		return []wire.Payload{refusal}, nil
	}
	keys, err := sa.keys.childKeys(chosen, in)
	if err != nil {
		return notifyOf(wire.NO_PROPOSAL_CHOSEN), nil
	}
	spi, ok := sa.end.cfg.Datapath.AllocSPI()
	if !ok {
		keys.wipe()
		sa.event(ChildFailed, errNoSPI.Error(), "")
		return notifyOf(wire.NO_ADDITIONAL_SAS), nil
	}
	child := &childSA{
		cfg: cfg, in: spi, out: out, proposal: chosen, local: agreed.local, remote: agreed.remote, nonceMin: lowest(in.nonceI, in.nonceR),
		mode: agreed.mode, original: agreed.original, tfc: c.tfcPadding(cfg, agreed.mode),
		seen: !create, // a peer without our answer to IKE_AUTH has no word to say about it
	}
	if old != nil {
		child.inheritActivity(old)
	}
	sa.newChild(child, keys, false, old != nil)
	child.noteMode("the peer did not ask for transport mode between its address and ours")
	list := []wire.Payload{&wire.SA{Proposals: []wire.Proposal{{Number: numbered[i].Number, SPI: spiBytes(spi), Proposal: chosen}}}}
	if create {
		list = append(list, &wire.Nonce{Data: in.nonceR})
	}
	if ke != nil {
		list = append(list, ke)
	}
	list = append(list, &wire.TS{Selectors: agreed.remote}, &wire.TS{Responder: true, Selectors: agreed.local})
	list = append(list, modeNotifies(agreed.mode)...)
	if agreed.more && old == nil {
		list = append(list, &wire.Notify{Kind: wire.ADDITIONAL_TS_POSSIBLE})
	}
	return list, child
}

// agreement is what a Child SA that the peer asks for will carry, and how.
type agreement struct {
	traffic
	mode     Mode
	original Original
	more     bool // other traffic was asked for that would be allowed in another Child SA
}

// agree finds the policy for what the peer asks for: one for transport mode if it asks for that, with the addresses that we
// see, or else any with the addresses as they are (RFC 7296 2.23.1).
func (sa *ikeSA) agree(c *content, policies []*Child) (*Child, agreement) {
	asked := traffic{local: c.tsr.Selectors, remote: c.tsi.Selectors}
	if c.notify(wire.USE_TRANSPORT_MODE) != nil {
		transport := slices.DeleteFunc(slices.Clone(policies), func(p *Child) bool { return p.Mode != Transport })
		if seen, original, ok := sa.seenHere(asked); ok {
			if cfg, t, more := sa.choosePolicy(seen, transport); cfg != nil {
				return sa.unlessOccupied(cfg, agreement{t, Transport, original, more})
			}
		}
	}
	cfg, t, more := sa.choosePolicy(asked, policies)
	return sa.unlessOccupied(cfg, agreement{traffic: t, more: more})
}

// answerKE answers the key exchange of a chosen proposal, if it has one, and puts the shared secret into in.
func (sa *ikeSA) answerKE(c *content, chosen suite.Proposal, in *keyInput) (*wire.KE, *wire.Notify) {
	t, ok := chosen.Get(suite.TypeKE)
	if !ok || t.ID == suite.KE_NONE {
		return nil, nil
	}
	if c.ke == nil || c.ke.Group != t.ID {
		return nil, &wire.Notify{Kind: wire.INVALID_KE_PAYLOAD, Data: binary.BigEndian.AppendUint16(nil, t.ID)}
	}
	ke, err := suite.NewKE(t.ID)
	if err != nil {
		return nil, &wire.Notify{Kind: wire.NO_PROPOSAL_CHOSEN}
	}
	public, shared, err := ke.Answer(sa.end.cfg.Rand, c.ke.Data)
	if err != nil {
		return nil, sa.complain(errors.New("an invalid public value"))
	}
	in.shared = shared
	return &wire.KE{Group: t.ID, Data: public}, nil
}
