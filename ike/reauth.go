package ike

import (
	"fmt"
	"slices"
	"time"

	"github.com/culvert-vpn/culvert/natt"
)

// Reauthentication sets an IKE SA up anew, with new Child SAs of the same policies, next to the old one, and deletes that when the
// new one has them all (RFC 7296 2.8.3). Nothing in the messages says so: to the peer it is one more IKE SA. What tells either end
// that a Child SA takes the place of another is that both have the same peer, the same policy and the same selectors.

const (
	// heldTime is how long a responder goes on to send under the Child SA whose place a new one takes, unless the peer shows
	// earlier that it has the new one: time enough for an answer that was lost once. A peer that lost the old one and did not
	// say so (RFC 7296 2.4) hears nothing for so long.
	heldTime = 5 * time.Second
	// settleTime is how long what was replaced is kept, except by rekeying, when the new carries everything: charon takes a Child SA away
	// the moment it has the Delete, and loses what it has received under it and not yet opened.
	settleTime = time.Second
	// answerTime is how long the answer to the Delete of an IKE SA waits after we send under what takes its place: charon, as who
	// deletes, takes the Child SAs away the moment it has the answer. It is shorter than any peer's retransmission timeout.
	answerTime = 200 * time.Millisecond
	// maxRefusals is how often the peer may refuse a child in the new IKE SA before the old one is closed without it.
	maxRefusals = 3
)

// reauthenticateBy lets the IKE SA be set up anew at a time, unless that is to be earlier anyway. Its successors inherit it.
func (sa *ikeSA) reauthenticateBy(at time.Time) {
	sa.origin.authUntil = earlier(sa.origin.authUntil, at)
	sa.timers[timerReauth] = earlier(sa.timers[timerReauth], at)
	sa.end.touch(sa)
}

// reauthenticate sets the IKE SA up anew, make before break unless the connection wants it the other way round.
func (sa *ikeSA) reauthenticate() {
	sa.anewAt = zeroTime
	if !sa.isCurrent() || sa.outdated || sa.renewing != nil {
		return
	}
	if sent := sa.end.keeperOf(sa.conn).sent; sent != nil && sent.renews == sa {
		return // it is about to be, elsewhere
	}
	policies, rival := sa.policies(), sa.rival()
	if rival == nil && sa.awaited {
		if last := sa.end.keeperOf(sa.conn).current(); last != nil && last.isLaterThan(sa) && last.isSameHost(sa) {
			rival = last
		}
	}
	switch {
	case rival != nil && (!sa.awaited || rival.renews != nil):
		sa.awaitPeer()
	case rival != nil:
		// The peer was faster, and did not finish.
		rival.replace(sa)
		sa.end.keeperOf(rival.conn).changed()
	case sa.conn.BreakBeforeMake && sa.conn.RemoteHost == "":
		sa.event(Failed, "the peer did not authenticate anew, and cannot be called", "set reauth_time on the peer, or make_before_break = yes here")
	case len(sa.loans) > 0:
		// Who calls is who gets addresses (RFC 7296 2.8.3).
		sa.event(Failed, "the peer did not authenticate anew, and only it can, for it has an inner address of us", "set reauth_time on the peer")
	case sa.conn.BreakBeforeMake || len(policies) == 0:
		for _, cfg := range policies {
			sa.end.keeperOf(sa.conn).want(cfg)
		}
		sa.close("reauthentication is due")
	default:
		// The peer is where the packets of the old one find it, be it behind a NAT.
		sa.renew(sa.conn, sa.path, sa.origin.detour)
	}
	sa.end.touch(sa)
}

// renew calls the peer to set up an IKE SA that takes the place of this one, and is of conn, whose children are found by their names.
// way is how we come there.
func (sa *ikeSA) renew(conn *Connection, path natt.Path, way detour) {
	var first *Child
	if list := inConnection(conn, sa.policies()); len(list) > 0 {
		first = list[0]
	}
	sa.end.initiate(conn, first, path, sa, way)
}

// replace lets the IKE SA take the place of another one.
func (sa *ikeSA) replace(old *ikeSA) {
	sa.renews, old.renewing = old, sa
	k := sa.end.keeperOf(sa.conn)
	k.renewals = append(k.renewals, sa)
}

// policies are those of which the IKE SA has a Child SA that is up and is to stay.
func (sa *ikeSA) policies() []*Child {
	var list []*Child
	for _, c := range sa.children {
		if c.isUp() && !slices.Contains(list, c.cfg) {
			list = append(list, c.cfg)
		}
	}
	return list
}

// inConnection are the children of a connection that have the names of those in list.
func inConnection(conn *Connection, list []*Child) []*Child {
	var own []*Child
	for _, c := range conn.Children {
		if slices.ContainsFunc(list, func(o *Child) bool { return o.Name == c.Name }) {
			own = append(own, c)
		}
	}
	return own
}

// has reports whether the IKE SA has a Child SA of a policy that is up and is to stay.
func (sa *ikeSA) has(cfg *Child) bool {
	return slices.ContainsFunc(sa.children, func(c *childSA) bool { return c.cfg == cfg && c.isUp() })
}

// isUp reports whether the Child SA is up and is to stay.
func (c *childSA) isUp() bool { return !c.gone && !c.redundant && !c.deleting && !c.isOutdated() }

// isSamePeer reports whether two IKE SAs are of one connection and between the same identities.
func (sa *ikeSA) isSamePeer(other *ikeSA) bool {
	return sa.conn != nil && other.conn != nil && sa.conn.Name == other.conn.Name &&
		sa.localID.Equal(other.localID) && sa.remoteID.Equal(other.remoteID)
}

// isSameHost reports whether they are with the same peer at one address.
func (sa *ikeSA) isSameHost(other *ikeSA) bool {
	return sa.isSamePeer(other) && sa.path.Remote.Addr() == other.path.Remote.Addr()
}

// twins are the Child SAs of other IKE SAs with the same peer that carry the very same traffic.
func (c *childSA) twins() []*childSA {
	var list []*childSA
	for _, sa := range c.sa.relatives() {
		if sa == c.sa || !sa.isCurrent() || !sa.isSamePeer(c.sa) {
			continue
		}
		for _, o := range sa.children {
			if o.isUp() && o.cfg.Name == c.cfg.Name && slices.Equal(o.local, c.local) && slices.Equal(o.remote, c.remote) {
				list = append(list, o)
			}
		}
	}
	return list
}

// rival is the IKE SA that was authenticated last of those that were authenticated later and carry some of the same traffic, or nil.
func (sa *ikeSA) rival() (last *ikeSA) {
	for _, c := range sa.children {
		for _, o := range c.twins() {
			if c.isUp() && o.sa.isLaterThan(sa) && (last == nil || o.sa.isLaterThan(last)) {
				last = o.sa
			}
		}
	}
	return last
}

// isLaterThan reports whether the peer authenticated itself later.
func (sa *ikeSA) isLaterThan(other *ikeSA) bool {
	return sa.origin.authenticated.After(other.origin.authenticated)
}

// handOver leaves the traffic of a Child SA that ends to those that carry it too. ok is false if there are none.
func (c *childSA) handOver() (ok bool) {
	if !c.isLast() {
		return false
	}
	twins := c.twins()
	if !slices.ContainsFunc(twins, func(o *childSA) bool { return o.outbound == nil }) {
		for _, o := range twins {
			o.open()
		}
	}
	return len(twins) > 0
}

// carryOver asks for the children of the IKE SA that next is to replace, and closes the old one when next has them.
func (k *keeper) carryOver(next *ikeSA) {
	old := next.renews
	if old.outdated {
		next.partRenewal() // nothing is to be taken over from it as it is
		return
	}
	for _, cfg := range inConnection(k.conn, old.policies()) {
		var kept *keptChild
		k.named(cfg.Name, func(c *keptChild) { kept = c })
		switch {
		case next.has(cfg):
			kept.attempts, kept.notYet = 0, zeroTime
			continue
		case kept.held:
			continue
		case kept.attempts >= maxRefusals:
			k.want(cfg)
			continue
		}
		k.negotiate(next, kept)
		return
	}
	if _, busy := find(old, func(*rekeyIKE) bool { return true }); busy {
		// Whether the peer has a successor of the old one is not known.
		k.wakeAt(k.end.now.Add(time.Second))
		return
	}
	old.renewing, next.renews = nil, nil
	next.event(Reauthenticated, "", "")
	old.timers[timerGiveUp] = k.end.now.Add(settleTime)
	k.end.touch(old)
	for _, other := range next.relatives() {
		if k.conn.Unique != UniqueNever && other.isCurrent() && next.isLaterThan(other) && next.isSameHost(other) && other != old && other.renewing == nil {
			other.awaitPeer() // what crossed has left more than one to replace
		}
	}
}

// replaced leaves it to the peer to delete the IKE SA whose place another one took, for a while.
func (sa *ikeSA) replaced() {
	sa.timers[timerGiveUp] = sa.end.now.Add(replacedTime)
	sa.end.touch(sa)
}

// awaitPeer leaves it to the peer, who has begun too, to set the IKE SA up anew, for a while. sa may be nil.
func (sa *ikeSA) awaitPeer() {
	if sa != nil && sa.isCurrent() {
		sa.awaited = true
		sa.reauthenticateIn(replacedTime)
	}
}

// reauthenticateIn lets the IKE SA be set up anew after a wait, whatever its age. Neither new keys nor another configuration put that off.
func (sa *ikeSA) reauthenticateIn(wait time.Duration) {
	sa.anewAt = sa.end.now.Add(wait)
	sa.timers[timerReauth] = sa.anewAt
	sa.end.touch(sa)
}

// attemptFailed counts an attempt of ours that did not lead to an IKE SA.
func (sa *ikeSA) attemptFailed(text string) {
	if sa.origin.detour.isTaken() {
		sa.end.keeperOf(sa.conn).refrain()
	}
	if old := sa.renews; old != nil {
		sa.partRenewal()
		old.renewalFailed(text)
		return
	}
	sa.end.keeperOf(sa.conn).failed(text)
}

// renewalFailed tells of an attempt to set the IKE SA up anew, when the next one is due.
func (sa *ikeSA) renewalFailed(text string) {
	until := ""
	if at := sa.timers[timerExpire]; !at.IsZero() {
		until = fmt.Sprintf(" for %v", at.Sub(sa.end.now).Round(time.Second))
	}
	sa.event(Retrying, fmt.Sprintf("attempt %d to set the IKE SA up anew failed (%s), next in %v; the present one stays%s",
		sa.renewals, text, sa.timers[timerReauth].Sub(sa.end.now).Round(time.Second/10), until), "")
}

// renewLater counts an attempt that failed, and makes the next one after a while.
func (sa *ikeSA) renewLater() {
	sa.renewals++
	sa.reauthenticateIn(sa.end.keeperOf(sa.conn).backoff(sa.renewals))
}

// leaveRenewal parts an attempt from the IKE SA whose place it was to take, for another attempt to do so; nil if there is none.
func (sa *ikeSA) leaveRenewal() *ikeSA {
	old := sa.renews
	if old != nil {
		old.renewing, sa.renews = nil, nil
	}
	return old
}

// partRenewal is called when an IKE SA ends. What was to replace it stands on its own then; what it was to replace is
// to be replaced by the next attempt.
func (sa *ikeSA) partRenewal() {
	if next := sa.renewing; next != nil {
		sa.renewing, next.renews = nil, nil
	}
	if old := sa.leaveRenewal(); old != nil {
		old.renewLater()
	}
}
