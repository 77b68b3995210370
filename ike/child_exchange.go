package ike

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/suite"
	"github.com/culvert-vpn/culvert/ts"
)

// childOffer is what an initiator offers for a Child SA.
type childOffer struct {
	cfg       *Child
	spi       uint32
	proposals []suite.Proposal
	asked     traffic
	mode      Mode
	nonce     []byte // nil in IKE_AUTH, which uses those of IKE_SA_INIT
	group     uint16
	private   suite.KEPrivate
	public    []byte
	outdated  bool // the configuration has changed since
}

// newOffer makes an offer for some traffic of a child; create is false in IKE_AUTH, which carries neither nonce nor key exchange (RFC 7296 1.2). group
// overrides the first key exchange of the proposals.
func (sa *ikeSA) newOffer(cfg *Child, t traffic, create bool, group uint16) (*childOffer, error) {
	o := &childOffer{cfg: cfg, asked: t, proposals: cfg.Proposals}
	if cfg.Mode == Transport {
		if narrowed, ok := sa.between(t); ok {
			o.asked, o.mode = narrowed, Transport
		}
	}
	if !create {
		o.proposals = withoutKE(cfg.Proposals)
	} else if err := o.newKey(sa, group); err != nil {
		return nil, err
	}
	spi, ok := sa.end.cfg.Datapath.AllocSPI()
	if !ok {
		o.release(sa)
		return nil, errNoSPI
	}
	o.spi = spi
	return o, nil
}

func withoutKE(list []suite.Proposal) []suite.Proposal {
	out := make([]suite.Proposal, len(list))
	for i, p := range list {
		out[i] = p.WithoutKE()
	}
	return out
}

// newKey draws the nonce and, if the proposals have a key exchange, a private key.
func (o *childOffer) newKey(sa *ikeSA, group uint16) error {
	o.nonce = sa.end.random(nonceLen)
	if o.group = group; group == 0 {
		o.group = firstGroup(o.proposals)
	}
	if o.group == suite.KE_NONE {
		return nil
	}
	ke, err := suite.NewKE(o.group)
	if err != nil {
		return err
	}
	o.private, o.public, err = ke.Offer(sa.end.cfg.Rand)
	return err
}

// payloads of the offer (RFC 7296 1.2, 1.3.1).
func (o *childOffer) payloads(create bool) []wire.Payload {
	list := []wire.Payload{number(o.proposals, spiBytes(o.spi))}
	if create {
		list = append(list, &wire.Nonce{Data: o.nonce})
		if o.private != nil {
			list = append(list, &wire.KE{Group: o.group, Data: o.public})
		}
	}
	list = append(list, &wire.TS{Selectors: o.asked.local}, &wire.TS{Responder: true, Selectors: o.asked.remote})
	return append(list, modeNotifies(o.mode)...)
}

// announce tells of a child that we asked for.
func (c *childSA) announce() {
	c.event(ChildUp, c.traffic(), "")
	c.noteMode("the traffic is not that of the two ends alone, or the peer does not agree to transport mode")
}

// release gives back what the offer holds.
func (o *childOffer) release(sa *ikeSA) {
	if o.private != nil {
		o.private.Zero()
		o.private = nil
	}
	if o.spi != 0 {
		sa.end.cfg.Datapath.FreeSPI(o.spi)
		o.spi = 0
	}
}

// accept makes a Child SA of the answer to an offer, which must choose from it and may narrow it (RFC 7296 2.9, 3.3.6).
func (o *childOffer) accept(sa *ikeSA, c *content, in keyInput) (*childSA, childKeys, error) {
	p, ok := c.chosen(o.proposals, suite.ESP, 4)
	if !ok {
		return nil, childKeys{}, errors.New("the peer chose a proposal that was not offered")
	}
	out := binary.BigEndian.Uint32(p.SPI)
	if out < 256 {
		return nil, childKeys{}, errors.New("the peer chose a reserved SPI")
	}
	agreed, err := o.agreed(sa, c)
	if err != nil {
		return nil, childKeys{}, err
	}
	if t, chosen := p.Get(suite.TypeKE); chosen && t.ID != suite.KE_NONE {
		if c.ke == nil || o.private == nil || t.ID != o.group || c.ke.Group != o.group {
			return nil, childKeys{}, errors.New("the peer chose another key exchange than was offered")
		}
		shared, err := o.private.Finish(c.ke.Data)
		if err != nil {
			return nil, childKeys{}, fmt.Errorf("the peer's public value is invalid: %w", err)
		}
		in.shared = shared
		defer clear(shared)
	}
	keys, err := sa.keys.childKeys(p.Proposal, in)
	if err != nil {
		return nil, childKeys{}, err
	}
	child := &childSA{
		cfg: o.cfg, in: o.spi, out: out, proposal: p.Proposal, local: agreed.local, remote: agreed.remote, nonceMin: lowest(in.nonceI, in.nonceR),
		mode: agreed.mode, original: agreed.original, tfc: c.tfcPadding(o.cfg, agreed.mode), more: agreed.more, asked: o.asked,
	}
	o.spi = 0
	o.release(sa)
	return child, keys, nil
}

// agreed is what the peer chose of the traffic that was offered. If it does not agree to transport mode, the Child SA is in tunnel
// mode (RFC 7296 1.3.1); in transport mode the addresses are those that we see (2.23.1).
func (o *childOffer) agreed(sa *ikeSA, c *content) (agreement, error) {
	a := agreement{traffic: traffic{local: c.tsi.Selectors, remote: c.tsr.Selectors}, more: c.notify(wire.ADDITIONAL_TS_POSSIBLE) != nil}
	if c.notify(wire.USE_TRANSPORT_MODE) != nil {
		if o.mode != Transport {
			return a, errors.New("the peer chose transport mode, which was not offered")
		}
		seen, original, ok := sa.seenHere(a.traffic)
		if !ok {
			return a, errors.New("the peer chose transport mode for other addresses than those of the two ends")
		}
		a.traffic, a.mode, a.original = seen, Transport, original
	}
	if len(a.local) == 0 || len(a.remote) == 0 || !a.within(o.asked) {
		return a, errors.New("the peer chose traffic selectors that were not offered")
	}
	if len(sa.conn.VIPs) > 0 {
		// The offer was for any address that we might be assigned.
		if a.local = ts.Narrow(a.local, sa.localSelectors(o.cfg.LocalTS)); len(a.local) == 0 {
			return a, errors.New("the peer chose traffic selectors without the address that it assigned to us")
		}
	}
	return a, nil
}

// finishAuth takes the part of the IKE_AUTH answer that is about the child. Its failure leaves the IKE SA up (RFC 7296
// 2.21.2).
func (o *childOffer) finishAuth(sa *ikeSA, c *content) {
	k := sa.end.keeperOf(sa.conn)
	if r := c.refusal(); r != nil {
		o.release(sa)
		if r.Kind == wire.SINGLE_PAIR_REQUIRED && k.wantPairs(sa, o.cfg) {
			return
		}
		k.childRefused(sa, o.cfg, r.Kind, false)
		return
	}
	if err := shapeChildAuth.check(c); err != nil {
		o.release(sa)
		k.childFailed(sa, o.cfg, "the peer's answer has no child: "+err.Error(), "")
		return
	}
	if o.outdated {
		sa.disown(o)
		k.changed()
		return
	}
	child, keys, err := o.accept(sa, c, sa.nonces)
	if err != nil {
		k.childFailed(sa, o.cfg, err.Error(), "")
		sa.disown(o)
		return
	}
	sa.newChild(child, keys, true, false)
	child.announce()
	k.entered(sa, nil, child)
}

// disown deletes at the peer what we could not accept of its answer.
func (sa *ikeSA) disown(o *childOffer) {
	sa.enqueue(&disown{spi: o.spi})
	o.spi = 0
	o.release(sa)
}

// disown deletes a Child SA that exists at the peer only. It holds the SPI until then.
type disown struct{ spi uint32 }

func (*disown) kind() wire.Exchange { return wire.INFORMATIONAL }
func (x *disown) request(*ikeSA) ([]wire.Payload, bool) {
	return []wire.Payload{&wire.Delete{Protocol: suite.ESP, SPIs: [][]byte{spiBytes(x.spi)}}}, true
}
func (x *disown) reply(sa *ikeSA, _ *content) { x.abandon(sa) }
func (x *disown) abandon(sa *ikeSA)           { sa.end.cfg.Datapath.FreeSPI(x.spi) }
func (*disown) clash(w wish, _ *childSA) verdict {
	if w == theyRekeyIKE {
		return refuse
	}
	return accept
}

// childExchange negotiates a Child SA in CREATE_CHILD_SA: a new one, or the successor of old (RFC 7296 1.3.1, 1.3.3).
type childExchange struct {
	cfg *Child
	old *childSA
	// instead of this one, which is outdated, a new one is negotiated.
	instead *childSA
	offer   *childOffer
	group   uint16 // what INVALID_KE_PAYLOAD asked for
	tries   int
	// theirs is what the peer negotiated meanwhile: the successor of old or, without old, a child of the same policy.
	theirs *childSA
	// part is what a further child of the policy is for, nil if it is for all of it.
	part *part
	// early: old was not known to be at the peer when we asked. Its answer, which it repeats as it was, may be older than old is there.
	early bool
	// closed are SPIs that the peer deleted although we know no child of theirs yet.
	closed []uint32
}

// maxClosed bounds what a peer can make us remember of children that it closed before we knew them.
const maxClosed = 64

// closedEarly notes that the peer closed a child before its answer, which makes the child, arrived here. Nobody knows which
// of the answers that is.
func (sa *ikeSA) closedEarly(out uint32) {
	for any := range sa.underWay() {
		if x, ok := any.(*childExchange); ok && len(x.closed) < maxClosed {
			x.closed = append(x.closed, out)
		}
	}
}

func (*childExchange) kind() wire.Exchange { return wire.CREATE_CHILD_SA }

func (x *childExchange) request(sa *ikeSA) ([]wire.Payload, bool) {
	if !sa.isCurrent() || !x.needed(sa) {
		return nil, false
	}
	var err error
	if x.offer, err = sa.newOffer(x.cfg, x.traffic(sa), true, x.group); err != nil {
		sa.end.keeperOf(sa.conn).childFailed(sa, x.cfg, err.Error(), "")
		return nil, false
	}
	payloads := x.offer.payloads(true)
	if x.old != nil {
		x.early = !x.old.seen
		// The SPI that the sender of the notify expects to receive on (RFC 7296 1.3.3).
		rekey := &wire.Notify{Protocol: suite.ESP, SPI: spiBytes(x.old.in), Kind: wire.REKEY_SA}
		payloads = append([]wire.Payload{rekey}, payloads...)
	}
	return payloads, true
}

// needed reports whether what was wanted when the exchange joined the queue is still missing, and configured: what the keeper replaces
// is not rekeyed, nor is what lost against its twin.
func (x *childExchange) needed(sa *ikeSA) bool {
	k := sa.end.keeperOf(sa.conn)
	switch {
	case x.old != nil:
		return !x.old.gone && !x.old.deleting && !x.old.isReplaced() && !x.old.outdated && !x.old.redundant
	case k.keptOf(x.cfg) == nil || k.isHeld(x.cfg):
		return false
	case x.instead != nil:
		return !x.instead.gone && k.placeOf(x.instead) == nil
	case x.part != nil:
		return x.part.within(sa.trafficOf(x.cfg)) && x.part.needed(k, x.cfg)
	}
	return k.lacks(sa, x.cfg)
}

// traffic is what is asked for: for a successor at least what the old one carries (RFC 7296 2.9.2).
func (x *childExchange) traffic(sa *ikeSA) traffic {
	k := sa.end.keeperOf(sa.conn)
	switch {
	case x.part != nil:
		return x.part.traffic
	case x.old == nil:
		return k.ask(sa, x.cfg)
	case k.isDivided(x.cfg):
		return x.old.carries()
	}
	return sa.trafficOf(x.cfg)
}

// abandon: the keeper waited for what comes of the exchange.
func (x *childExchange) abandon(sa *ikeSA) {
	sa.end.keeperOf(sa.conn).changed()
	if x.offer != nil {
		x.offer.release(sa)
		x.offer = nil
	}
}

// clash: RFC 7296 2.25.1. A Delete of the child that we rekey is answered as usual, as is its rekeying: redundant
// successors are closed later, by their nonces.
func (x *childExchange) clash(w wish, _ *childSA) verdict {
	if w == theyRekeyIKE {
		return refuse
	}
	return accept
}

// excludes: the Delete of a child and its rekeying may pass one another on their way.
func (x *childExchange) excludes(other exchange) bool {
	d, ok := other.(*deleteChildren)
	return ok && x.old != nil && slices.Contains(d.children, x.old)
}

func (x *childExchange) reply(sa *ikeSA, c *content) {
	if r := c.refusal(); r != nil {
		x.refused(sa, r)
		return
	}
	k := sa.end.keeperOf(sa.conn)
	if x.offer.outdated {
		sa.disown(x.offer)
		k.changed()
		if x.old != nil {
			x.old.startRekey()
		}
		return
	}
	if err := shapeChild.check(c); err != nil {
		k.childFailed(sa, x.cfg, err.Error(), "")
		sa.disown(x.offer)
		x.retryRekey(sa)
		return
	}
	in := keyInput{nonceI: x.offer.nonce, nonceR: c.nonce.Data}
	child, keys, err := x.offer.accept(sa, c, in)
	if err != nil {
		k.childFailed(sa, x.cfg, err.Error(), "")
		sa.disown(x.offer)
		x.retryRekey(sa)
		return
	}
	x.offer = nil
	if slices.Contains(x.closed, child.out) {
		keys.wipe()
		sa.end.cfg.Datapath.FreeSPI(child.in)
		x.wasClosed(k)
		return
	}
	child.nonceMin = clone(child.nonceMin)
	// Of a policy that is down by order the peer may have made a child since: that one is rekeyed as any other.
	unwanted := k.isHeld(x.cfg) && (x.old == nil || x.old.deleting)
	if x.old == nil {
		x.enter(sa, child, keys)
	} else {
		x.settle(sa, child, keys)
	}
	if unwanted {
		child.closeWith("the operator closed it")
	}
}

// wasClosed is called when the peer closed the child before its answer arrived here. That is its end if it was the only one: it may
// have lost against its twin, and what it was to replace may have ended or be ending, which have ends of their own.
func (x *childExchange) wasClosed(k *keeper) {
	k.changed()
	old := x.old
	if x.theirs == nil && (old == nil || !old.gone && !old.deleting && !old.isReplaced()) {
		k.childClosed(x.cfg)
	}
	if old != nil && !old.isReplaced() {
		// The peer leaves it to us, who rekeyed, to close the old one (RFC 7296 2.8).
		old.closeWith("the peer closed its successor")
	}
}

// enter puts a new child in place. If the peer negotiated one of the same policy at the same time, the one that was made with the
// lowest of the four nonces is closed, as with a rekey (RFC 7296 2.8.1). The RFC does not speak of this case, and a peer that did
// not notice will not close its own: whoever noticed closes the loser.
func (x *childExchange) enter(sa *ikeSA, child *childSA, keys childKeys) {
	sa.newChild(child, keys, true, false)
	child.announce()
	if x.theirs == nil {
		sa.end.keeperOf(sa.conn).entered(sa, x.part, child)
		return
	}
	// Theirs may have been rekeyed since; it is judged by the nonces of the collision.
	loser := x.theirs.latest()
	if loser.gone {
		return
	}
	if bytes.Compare(child.nonceMin, x.theirs.nonceMin) < 0 {
		loser = child
	}
	loser.redundant = true
	loser.closeWith("both ends asked for it at the same time")
}

// settle decides, after a successor was agreed upon, whether the peer's crossing successor stays instead: the one made
// with the lowest of the four nonces is closed by who made it, and who made the other closes the old (RFC 7296 2.8.1).
func (x *childExchange) settle(sa *ikeSA, child *childSA, keys childKeys) {
	child.inheritActivity(x.old)
	if x.old.redundant {
		// While it was rekeyed it lost against its twin: so does its successor.
		sa.newChild(child, keys, true, true)
		child.redundant = true
		child.closeWith("its predecessor was one too many")
		return
	}
	// Theirs may have been rekeyed since; it is judged by the nonces of the collision.
	if x.theirs != nil && x.theirs.latest().counts() && bytes.Compare(child.nonceMin, x.theirs.nonceMin) < 0 {
		sa.newChild(child, keys, true, true)
		child.redundant = true
		child.closeWith("the peer's successor stays")
		return
	}
	if x.theirs != nil {
		x.theirs.latest().redundant = true
	}
	x.old.successor = child
	sa.newChild(child, keys, true, false)
	child.rekeyed(x.old)
	x.old.closeWith("it was replaced")
}

// counts reports whether a child of the peer's making may have won against ours: it is there, or it was closed by us, in which case
// the peer still waits for us to close ours if that lost. A peer that closes its own stays with ours.
func (c *childSA) counts() bool { return !c.gone || c.deleting }

// refused takes an error in the answer.
func (x *childExchange) refused(sa *ikeSA, r *wire.Notify) {
	x.abandon(sa)
	switch {
	case r.Kind == wire.TEMPORARY_FAILURE:
		if x.theirs == nil {
			sa.again(x, &x.tries)
		}
	case r.Kind == wire.INVALID_KE_PAYLOAD && x.takeGroup(r):
		sa.enqueueFirst(x)
	case r.Kind == wire.CHILD_SA_NOT_FOUND && x.old != nil:
		// The peer closed it, and we know why if its own rekeying crossed ours (RFC 7296 2.8.1, 2.25).
		switch {
		case x.theirs != nil || x.old.gone:
		case x.early && sa.end.now.Before(x.old.born.Add(lingerTime)):
			// Our answer that made it may be lost, and the peer will have it when it asked once more, or has it by now.
			x.old.rekeyAt = sa.end.now.Add(retryAfter + sa.end.jitter(retryAfter))
		default:
			x.old.finish("the peer does not know it any more")
			sa.end.keeperOf(sa.conn).want(x.cfg)
		}
	case x.old != nil && x.old.gone:
	case r.Kind == wire.SINGLE_PAIR_REQUIRED && x.old == nil && sa.end.keeperOf(sa.conn).wantPairs(sa, x.cfg):
	case x.part != nil:
		sa.end.keeperOf(sa.conn).partRefused(sa, x, r.Kind)
	default:
		sa.end.keeperOf(sa.conn).childRefused(sa, x.cfg, r.Kind, x.old != nil)
		x.retryRekey(sa)
	}
}

// takeGroup takes the key exchange that the peer wants instead, once, if we offered it (RFC 7296 1.3).
func (x *childExchange) takeGroup(r *wire.Notify) bool {
	if x.group != 0 || len(r.Data) != 2 {
		return false
	}
	x.group = binary.BigEndian.Uint16(r.Data)
	return x.group != suite.KE_NONE && offersGroup(x.cfg.Proposals, x.group)
}

// retryRekey tries to rekey again later, while the child lives.
func (x *childExchange) retryRekey(sa *ikeSA) {
	if x.instead != nil {
		x.instead.replaceAt = sa.end.now.Add(rekeyRetry + sa.end.jitter(rekeyRetry))
	}
	if x.old != nil && !x.old.gone {
		x.old.rekeyAt = sa.end.now.Add(rekeyRetry + sa.end.jitter(rekeyRetry))
	}
}
