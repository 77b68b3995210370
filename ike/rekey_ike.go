package ike

import (
	"bytes"
	"encoding/binary"
	"errors"
	"time"

	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/suite"
)

// replacedTime is how long a replaced IKE SA waits for the peer's Delete before it sends one itself.
const replacedTime = 30 * time.Second

// newOrigin is what an IKE SA has from its IKE_AUTH.
func (sa *ikeSA) newOrigin() origin {
	o := sa.origin
	return origin{called: sa.initiator, authenticated: sa.end.now, nonceMin: sa.nonceMin, assigned: o.assigned, detour: o.detour,
		redirectable: o.redirectable, mayRedirect: o.mayRedirect}
}

// reauthTime is when an IKE SA of the configured age is to be set up anew. New keys do not put off that both ends have to prove once
// more who they are.
func (sa *ikeSA) reauthTime() time.Time {
	if c := sa.conn; c.ReauthTime > 0 {
		return sa.origin.authenticated.Add(c.ReauthTime - sa.end.jitter(min(c.RandTime, c.ReauthTime)))
	}
	return zeroTime
}

// scheduleLifetime sets when the IKE SA is rekeyed, set up anew, closed and probed.
func (sa *ikeSA) scheduleLifetime() {
	sa.scheduleRenewal(sa.end.now)
	if d := sa.conn.DPDDelay; d > 0 {
		sa.timers[timerProbe] = sa.end.now.Add(d)
	}
	if sa.nat.LocalNAT {
		sa.keepalive()
	}
}

// scheduleRenewal sets when an IKE SA of that birth is rekeyed, set up anew and closed.
func (sa *ikeSA) scheduleRenewal(born time.Time) {
	c := sa.conn
	if c.RekeyTime > 0 {
		sa.timers[timerRekey] = born.Add(c.RekeyTime - sa.end.jitter(min(c.RandTime, c.RekeyTime)))
		sa.timers[timerExpire] = born.Add(c.RekeyTime + c.OverTime)
	}
	if c.ReauthTime > 0 {
		sa.timers[timerExpire] = earlier(sa.timers[timerExpire], sa.origin.authenticated.Add(c.ReauthTime+c.OverTime))
	}
	if sa.timers[timerReauth] = sa.anewAt; sa.anewAt.IsZero() {
		sa.timers[timerReauth] = earlier(sa.origin.reauthAt, sa.origin.authUntil)
	}
}

// startRekey asks for a successor of the IKE SA, once.
func (sa *ikeSA) startRekey() {
	if !sa.isCurrent() || sa.hasExchange(func(x exchange) bool { _, ok := x.(*rekeyIKE); return ok }) {
		return
	}
	sa.enqueue(&rekeyIKE{})
	sa.end.touch(sa)
}

// rekeyIKE negotiates a successor of the IKE SA in CREATE_CHILD_SA (RFC 7296 1.3.2, 2.18).
type rekeyIKE struct {
	spi     uint64
	nonce   []byte
	group   uint16
	offer   []suite.Proposal
	private suite.KEPrivate
	asked   bool // the peer asked for another group already
	tries   int
	// theirs is the successor that the peer negotiated meanwhile.
	theirs *ikeSA
}

func (*rekeyIKE) kind() wire.Exchange { return wire.CREATE_CHILD_SA }

func (x *rekeyIKE) request(sa *ikeSA) ([]wire.Payload, bool) {
	if !sa.isCurrent() {
		return nil, false
	}
	if x.group == 0 {
		// The group in use is one that the peer accepts.
		t, _ := sa.proposal.Get(suite.TypeKE)
		x.group = t.ID
	}
	ke, err := suite.NewKE(x.group)
	if err != nil {
		return nil, false
	}
	var public []byte
	if x.private, public, err = ke.Offer(sa.end.cfg.Rand); err != nil {
		return nil, false
	}
	x.spi, x.nonce, x.offer = sa.end.newSPI(), sa.end.random(nonceLen), sa.conn.Proposals
	return []wire.Payload{
		number(x.offer, binary.BigEndian.AppendUint64(nil, x.spi)),
		&wire.Nonce{Data: x.nonce},
		&wire.KE{Group: x.group, Data: public},
	}, true
}

func (x *rekeyIKE) abandon(*ikeSA) {
	x.forgetKey()
	if x.theirs != nil {
		// The peer has it too.
		x.theirs.discard("its predecessor is closed")
		x.theirs = nil
	}
}

// living is the successor that the peer negotiated, unless the peer has closed it since.
func (x *rekeyIKE) living() *ikeSA {
	if x.theirs == nil || x.theirs.isGone() {
		return nil
	}
	return x.theirs
}

func (x *rekeyIKE) forgetKey() {
	if x.private != nil {
		x.private.Zero()
		x.private = nil
	}
}

// clash: RFC 7296 2.25.2. One successor of the peer's is enough.
func (x *rekeyIKE) clash(w wish, _ *childSA) verdict {
	if w == theyCreateChild || w == theyRekeyChild || w == theyRekeyIKE && x.theirs != nil {
		return refuse
	}
	return accept
}

// excludes: what is asked of an IKE SA that gets a successor would not know which of the two it belongs to (RFC 7296 2.25.2).
func (*rekeyIKE) excludes(exchange) bool { return true }

func (x *rekeyIKE) reply(sa *ikeSA, c *content) {
	if r := c.refusal(); r != nil {
		x.refused(sa, r)
		return
	}
	mine, why := x.accept(sa, c)
	x.forgetKey()
	theirs := x.living()
	x.theirs = nil
	switch {
	case sa.successor != nil:
		// The peer uses its own already (see decide).
		if mine != nil {
			mine.discard("the peer's successor stays")
		}
	case mine == nil:
		sa.event(Failed, "rekeying the IKE SA: "+why, "")
		if theirs != nil {
			sa.succeed(theirs)
			return
		}
		// The peer believes in a successor that we do not have.
		sa.close("the states of the two ends differ")
	case theirs != nil && bytes.Compare(mine.nonceMin, theirs.nonceMin) < 0:
		// The one with the lowest of the four nonces is closed by who made it (RFC 7296 2.8.2).
		sa.succeed(theirs)
		mine.discard("the peer's successor stays")
	default:
		sa.succeed(mine)
		sa.retire()
		if theirs != nil {
			theirs.timers[timerGiveUp] = sa.end.now.Add(replacedTime)
			sa.end.touch(theirs)
		}
	}
}

// accept makes the successor of the answer.
func (x *rekeyIKE) accept(sa *ikeSA, c *content) (*ikeSA, string) {
	if err := shapeRekeyIKE.check(c); err != nil {
		return nil, err.Error()
	}
	p, ok := c.chosen(x.offer, suite.IKE, 8)
	if !ok {
		return nil, "the peer chose a proposal that was not offered"
	}
	if t, _ := p.Get(suite.TypeKE); t.ID != x.group || c.ke.Group != x.group {
		return nil, "the peer chose another key exchange than was offered"
	}
	peer := binary.BigEndian.Uint64(p.SPI)
	if peer == 0 {
		return nil, "the peer chose the SPI 0"
	}
	shared, err := x.private.Finish(c.ke.Data)
	if err != nil {
		return nil, "the peer's public value is invalid"
	}
	in := keyInput{nonceI: x.nonce, nonceR: clone(c.nonce.Data), shared: shared}
	next := sa.descend(true, x.spi, peer, p.Proposal, in)
	if next == nil {
		return nil, "no keys"
	}
	next.takeToken(c)
	return next, ""
}

// descend makes a successor that nothing depends on yet.
func (sa *ikeSA) descend(initiator bool, ours, theirs uint64, chosen suite.Proposal, in keyInput) *ikeSA {
	next := sa.end.newSA(initiator, ours, theirs, sa.path)
	next.belong(sa.conn)
	next.identify(sa.localID, sa.remoteID)
	next.nat, next.secret, next.spared = sa.nat, sa.secret, sa.spared
	next.origin, next.fragments, next.mob = sa.origin, sa.fragments.inherit(), sa.mob
	next.outdated = sa.outdated
	in.spiI, in.spiR = next.spiI, next.spiR
	next.predecessor = sa
	next.state = &established{}
	if !next.takeKeys(chosen, in, sa.keys) {
		return nil
	}
	next.keys.wipeAuth()
	next.established = sa.end.now
	return next
}

// succeed hands everything over to a successor (RFC 7296 2.8).
func (sa *ikeSA) succeed(next *ikeSA) {
	sa.successor, next.predecessor = next, nil
	if x, ok := find(sa, func(x *rekeyIKE) bool { return x.theirs == next }); ok {
		x.theirs = nil
	}
	next.path, next.nat = sa.path, sa.nat
	next.children, sa.children = append(next.children, sa.children...), nil
	next.loans, sa.loans = sa.loans, nil
	for _, c := range next.children {
		c.sa = next
	}
	if next.initiator {
		next.enqueue(&introduce{window: sa.win.announced > 1})
	}
	next.win.queue = append(next.win.queue, sa.win.queue...)
	next.win.deferred = append(next.win.deferred, sa.win.deferred...)
	for _, d := range next.win.deferred {
		next.timers[timerDeferred] = earlier(next.timers[timerDeferred], d.at)
	}
	sa.win.queue, sa.win.deferred = nil, nil
	if heir := sa.renewing; heir != nil {
		heir.replace(next)
	}
	if old := sa.renews; old != nil {
		next.replace(old)
	}
	sa.renewing, sa.renews = nil, nil
	sa.end.keeperOf(sa.conn).inherited(sa, next)
	next.renewals, next.anewAt, next.awaited, next.timers[timerGiveUp] = sa.renewals, sa.anewAt, sa.awaited, sa.timers[timerGiveUp]
	sa.timers = timers{timerRetransmit: sa.timers[timerRetransmit], timerGiveUp: sa.end.now.Add(replacedTime)}
	next.scheduleLifetime()
	next.became(Rekeyed, sa.info(), next.proposal.String())
	sa.end.touch(sa)
	sa.end.touch(next)
	sa.end.keeperOf(sa.conn).changed()
}

// decide makes a successor the one that stays when the peer begins to use it. It would not do so while it knew that both ends
// made one and did not know yet which one stays, so it has either compared the nonces or never saw our request (RFC 7296 2.8.2).
func (sa *ikeSA) decide() {
	if old := sa.predecessor; old.successor == nil && !old.isGone() {
		old.succeed(sa)
	}
}

// discard deletes a successor that is redundant.
func (sa *ikeSA) discard(why string) {
	if s, ok := sa.state.(*established); !ok || s.closing {
		return
	}
	sa.state = &established{closing: true}
	sa.enqueue(&deleteIKE{why: why})
	sa.end.touch(sa)
}

// refused takes an error in the answer.
func (x *rekeyIKE) refused(sa *ikeSA, r *wire.Notify) {
	x.forgetKey()
	theirs := x.living()
	x.theirs = nil
	switch {
	case sa.successor != nil:
		// The peer uses its own already (see decide).
	case theirs != nil:
		// The peer was done before it knew of ours (RFC 7296 2.8.2).
		sa.succeed(theirs)
	case r.Kind == wire.TEMPORARY_FAILURE:
		sa.again(x, &x.tries)
	case r.Kind == wire.INVALID_KE_PAYLOAD && x.takeGroup(sa, r):
		sa.enqueueFirst(x)
	default:
		sa.event(Warned, "rekeying the IKE SA: the peer refuses: "+r.Kind.String(), sa.refusal(r.Kind).Remedy())
		sa.timers[timerRekey] = sa.end.now.Add(rekeyRetry + sa.end.jitter(rekeyRetry))
	}
}

// takeGroup takes the key exchange that the peer wants instead, once, if it is one of ours (RFC 7296 1.3).
func (x *rekeyIKE) takeGroup(sa *ikeSA, r *wire.Notify) bool {
	if x.asked || len(r.Data) != 2 {
		return false
	}
	group := binary.BigEndian.Uint16(r.Data)
	if group == x.group || !offersGroup(sa.conn.Proposals, group) {
		return false
	}
	x.group, x.asked = group, true
	return true
}

// answerRekeyIKE answers CREATE_CHILD_SA for a successor of the IKE SA (RFC 7296 1.3.2).
func (sa *ikeSA) answerRekeyIKE(c *content) []wire.Payload {
	offers, numbered := c.offers(suite.IKE, 8)
	i, chosen, ok := suite.Choose(offers, sa.conn.Proposals, c.ke.Group)
	if !ok {
		sa.event(Warned, "no common proposal for rekeying the IKE SA: the peer offers "+proposalList(offers), "configured is "+proposalList(sa.conn.Proposals))
		return notifyOf(wire.NO_PROPOSAL_CHOSEN)
	}
	peer := binary.BigEndian.Uint64(numbered[i].SPI)
	if peer == 0 {
		return []wire.Payload{sa.complain(errors.New("a successor of the IKE SA with the SPI 0"))}
	}
	in := keyInput{nonceI: clone(c.nonce.Data), nonceR: sa.end.random(nonceLen)}
	ke, refusal := sa.answerKE(c, chosen, &in)
	if refusal != nil {
		return []wire.Payload{refusal}
	}
	spi := sa.end.newSPI()
	next := sa.descend(false, spi, peer, chosen, in)
	if next == nil {
		return notifyOf(wire.NO_PROPOSAL_CHOSEN)
	}
	if x, both := find(sa, func(*rekeyIKE) bool { return true }); both {
		// Which one stays is known when our own answer comes (RFC 7296 2.8.2).
		x.theirs = next
	} else {
		sa.succeed(next)
	}
	answer := &wire.SA{Proposals: []wire.Proposal{{Number: numbered[i].Number, SPI: binary.BigEndian.AppendUint64(nil, spi), Proposal: chosen}}}
	return append([]wire.Payload{answer, &wire.Nonce{Data: in.nonceR}, ke}, next.tokenNotify()...)
}
