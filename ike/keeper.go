package ike

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/ts"
)

const (
	// backoffMin and backoffMax bound the wait between attempts; it doubles from one to the other.
	backoffMin = time.Second
	backoffMax = time.Minute
	// courtesy is how long a responder leaves it to the initiator to negotiate the children.
	courtesy = 2 * time.Second
)

// keeper decides for a connection what should be up, and when to try again.
type keeper struct {
	end      *Endpoint
	conn     *Connection
	children []*keptChild
	// sas are the IKE SAs of the connection; calls those that we set up, renewals those that are to take the place of another one.
	// Of these some may be done with it. latest is the current one, unless it is gone (see current).
	sas             roster
	calls, renewals []*ikeSA
	latest          *ikeSA
	entry           entry

	dialing bool
	noWay   bool // to the peer, when it was asked for last
	// assigned is what we have of the peer, lastAddrs what we had last.
	assigned  Assignment
	lastAddrs []netip.Addr
	// attempts without success, and not before when the next one is made
	attempts int
	notYet   time.Time
	// turn is when it may call for the sake of other connections, zero if it did not ask.
	turn time.Time
	// stale asks for a new plan when the current input is dealt with.
	stale   bool
	resting bool
	// untidy: something may be up that the configuration has no place for. nextTidy is when it is looked for again.
	untidy   bool
	nextTidy time.Time
	// leaving: the connection is not configured any more, and the last of it is being closed.
	leaving bool
	// stray: the path that is being looked for is one to where the peer is not called any more.
	stray bool
	// sent is where the next call goes instead of to the configured peer, redirects are when we were redirected of late.
	sent      *redirect
	redirects []time.Time
	// recent are the IKE SAs that came to a sudden end of late. nextLoop is when that may be told of again.
	recent   []life
	nextLoop time.Time
}

// keptChild is what a keeper knows of one child.
type keptChild struct {
	cfg *Child
	// keep it up for ever; bring it up once; held: down by order of the operator.
	keep, once, held bool
	// trapped: a packet brings it up, because an action or the operator says so; untrapped: none does, because the operator says so.
	trapped, untrapped bool

	attempts int
	notYet   time.Time
	// trigger is the packet that asked for it; the zero one has no addresses.
	trigger  ts.Packet
	division division
	// carriers are its Child SAs; those that are not up any more may be left out.
	carriers []*childSA
}

func newKeeper(e *Endpoint, c *Connection) *keeper {
	k := &keeper{end: e, conn: c, children: keep(c.Children)}
	k.entry.owner = k
	return k
}

func keep(list []*Child) []*keptChild {
	var kept []*keptChild
	for _, cfg := range list {
		kept = append(kept, &keptChild{cfg: cfg, keep: cfg.KeepUp()})
	}
	return kept
}

// changed asks for a new plan.
func (k *keeper) changed() {
	if !k.stale {
		k.stale = true
		k.end.stale = append(k.end.stale, k)
	}
}

// fire makes a new plan: a wait is over.
func (k *keeper) fire() { k.changed() }

// rest ends all endeavours.
func (k *keeper) rest() {
	k.resting, k.sent = true, nil
	k.unassign()
}

// backoff is the wait after a number of failed attempts, with jitter so that peers do not march in step.
func (k *keeper) backoff(attempts int) time.Duration {
	d := backoffMin << min(attempts-1, 10)
	d = min(d, backoffMax)
	return d*3/4 + k.end.jitter(d/2)
}

// plan compares what should be up with what is, and starts what is missing.
func (k *keeper) plan() {
	k.end.agenda.set(&k.entry, zeroTime)
	if k.resting {
		return
	}
	k.clearAway()
	k.unassign()
	renewing := false
	k.renewals = slices.DeleteFunc(k.renewals, func(sa *ikeSA) bool { return sa.renews == nil || sa.removed })
	for _, sa := range slices.Clone(k.renewals) {
		if sa.renews != nil && sa.isCurrent() {
			k.carryOver(sa)
			renewing = true
		}
	}
	if k.sent != nil {
		k.dial()
	}
	var missing []*keptChild
	for _, c := range k.children {
		switch {
		case c.isUp() && renewing:
		case c.isUp():
			c.once, c.attempts, c.notYet = false, 0, zeroTime
		case c.division.pairs && k.current() != nil: // each is asked for by its packets
		case c.keep || c.once:
			missing = append(missing, c)
		}
	}
	if len(missing) == 0 {
		return
	}
	sa := k.current()
	if sa == nil {
		k.dial()
		return
	}
	for _, c := range missing {
		k.negotiate(sa, c)
	}
}

// negotiate asks for a child in an IKE SA, unless that is under way or it is too early.
func (k *keeper) negotiate(sa *ikeSA, c *keptChild) {
	switch {
	case k.isNegotiating(sa, c.cfg) || sa.isReplacing(c.cfg):
	case c.notYet.After(k.end.now):
		k.wakeAt(c.notYet)
	default:
		sa.enqueue(&childExchange{cfg: c.cfg})
		k.end.touch(sa)
	}
}

func (k *keeper) wakeAt(at time.Time) {
	if k.entry.index != 0 {
		at = earlier(k.entry.at, at)
	}
	k.end.agenda.set(&k.entry, at)
}

// hurry ends all waits: what failed before may succeed now that the host has other addresses, or, if there was no way to the
// peer, other routes.
func (k *keeper) hurry(otherAddresses bool) {
	for _, c := range k.children {
		if (otherAddresses || k.noWay) && (c.keep || c.once) && !c.isUp() {
			k.attempts, k.notYet = 0, zeroTime
			k.changed()
		}
	}
}

// current is the IKE SA that new children go into, or nil: the one that was authenticated last.
func (k *keeper) current() *ikeSA {
	if k.latest != nil && k.latest.isUsable() {
		return k.latest
	}
	k.latest = nil
	for sa := range k.sas.all() {
		if sa.isUsable() && (k.latest == nil || sa.isLaterThan(k.latest)) {
			k.latest = sa
		}
	}
	return k.latest
}

// isUsable reports whether new children may go into the IKE SA. Once it does not, it never does again.
func (sa *ikeSA) isUsable() bool { return !sa.removed && sa.isCurrent() && !sa.outdated }

// authenticated is called for every IKE SA that was just authenticated: nobody was later.
func (k *keeper) authenticated(sa *ikeSA) {
	if last := k.latest; last == nil || !last.isUsable() || sa.isLaterThan(last) {
		k.latest = sa
	}
}

// inherited is called when an IKE SA has a successor.
func (k *keeper) inherited(sa, next *ikeSA) {
	if k.latest == sa {
		k.latest = next
	}
}

// carry notes a new Child SA.
func (k *keeper) carry(c *childSA) {
	kept := k.keptOf(c.cfg)
	if kept == nil {
		k.untidy = true // it was negotiated when it was configured
		return
	}
	if len(kept.carriers) == cap(kept.carriers) {
		kept.carriers = slices.DeleteFunc(kept.carriers, func(c *childSA) bool { return !c.isWorking() })
	}
	kept.carriers = append(kept.carriers, c)
}

// isUp reports whether a Child SA of the policy is up as it is configured, and not about to be closed.
func (c *keptChild) isUp() bool {
	for len(c.carriers) > 0 && !c.carriers[0].isWorking() {
		c.carriers[0] = nil
		c.carriers = c.carriers[1:]
	}
	return len(c.carriers) > 0
}

// isWorking reports whether the Child SA is that of an IKE SA that is up, too. Once it is not, it never is again.
func (c *childSA) isWorking() bool { return c.isUp() && c.sa.stage() == up }

// keptOf is what is known of a child; nil if it is not configured any more.
func (k *keeper) keptOf(cfg *Child) *keptChild {
	for _, c := range k.children {
		if c.cfg == cfg {
			return c
		}
	}
	return nil
}

// lacks reports whether a child is still to be set up in an IKE SA.
func (k *keeper) lacks(sa *ikeSA, cfg *Child) bool {
	if sa.renews != nil && sa.renews.has(cfg) {
		return !sa.has(cfg)
	}
	kept := k.keptOf(cfg)
	return kept == nil || !kept.isUp()
}

func (k *keeper) isNegotiating(sa *ikeSA, cfg *Child) bool {
	return sa.hasExchange(func(x exchange) bool { c, ok := x.(*childExchange); return ok && c.cfg == cfg })
}

// isHeld reports whether a child is down by order of the operator.
func (k *keeper) isHeld(cfg *Child) bool {
	held := false
	k.named(cfg.Name, func(c *keptChild) { held = c.held })
	return held
}

// initiate brings a child up by order of the operator; all children if the name is empty.
func (k *keeper) initiate(child string) {
	k.attempts, k.notYet = 0, zeroTime
	k.named(child, func(c *keptChild) {
		c.held, c.keep, c.once = false, c.cfg.KeepUp(), true
		c.attempts, c.notYet = 0, zeroTime
		c.trigger, c.division = ts.Packet{}, division{}
	})
	k.changed()
}

// acquire brings a child up because a packet asks for it.
func (k *keeper) acquire(child string, p ts.Packet) {
	k.named(child, func(c *keptChild) {
		if c.held || c.untrapped || c.cfg.StartAction == None && !c.trapped {
			return
		}
		c.trigger = p
		if sa := k.current(); sa != nil && c.division.wanted() {
			k.acquirePart(sa, c)
			return
		}
		if !c.once {
			c.keep, c.once = c.cfg.KeepUp(), true
			k.changed()
		}
	})
}

// isTrapped reports whether a packet brings the child up that is down.
func (c *keptChild) isTrapped() bool {
	return !c.held && !c.untrapped && (c.trapped || c.cfg.StartAction == Trap)
}

// trap has packets bring a child up, or not, by order of the operator.
func (k *keeper) trap(child string, on bool) {
	k.named(child, func(c *keptChild) {
		c.trapped, c.untrapped = on, !on
		c.held = c.held && !on
	})
}

// idle lets a child stay down that nobody uses, until a packet asks for it.
func (k *keeper) idle(cfg *Child) {
	k.named(cfg.Name, func(c *keptChild) { c.keep, c.once = false, false })
}

// want brings a child back that was lost for a good reason, unless the operator wants it down.
func (k *keeper) want(cfg *Child) {
	k.named(cfg.Name, func(c *keptChild) { c.once = !c.held })
	k.attempts, k.notYet = 0, zeroTime
}

// terminate closes a child by order of the operator; the whole connection if the name is empty.
func (k *keeper) terminate(child string) {
	k.changed() // what was assigned may be given up
	k.named(child, func(c *keptChild) { c.held, c.keep, c.once = true, false, false })
	for _, sa := range k.sas.latestFirst() {
		k.end.touch(sa)
		if child == "" {
			sa.close("the operator closed it")
			continue
		}
		for _, c := range append([]*childSA(nil), sa.children...) {
			if c.cfg.Name == child {
				c.closeWith("the operator closed it")
			}
		}
	}
}

// reauthenticate sets the IKE SAs up anew by order of the operator.
func (k *keeper) reauthenticate() {
	for sa := range k.sas.all() {
		sa.reauthenticate()
	}
}

// rekey gives new keys to a child, or to the IKE SA if the name is empty.
func (k *keeper) rekey(child string) {
	for sa := range k.sas.all() {
		if child == "" {
			sa.startRekey()
			continue
		}
		for _, c := range sa.children {
			if c.cfg.Name == child {
				c.startRekey()
			}
		}
	}
}

func (k *keeper) named(child string, do func(*keptChild)) {
	for _, c := range k.children {
		if child == "" || c.cfg.Name == child {
			do(c)
		}
	}
}

// failed counts an attempt that did not lead to an IKE SA.
func (k *keeper) failed(why string) {
	k.attempts++
	if t := k.conn.KeyingTries; t > 0 && k.attempts >= t {
		for _, c := range k.children {
			c.once = false
		}
	}
	wait := k.backoff(k.attempts)
	k.notYet = k.end.now.Add(wait)
	k.changed()
	for _, c := range k.children {
		if c.keep || c.once {
			k.end.emit(Event{Kind: Retrying, Conn: k.conn.Name, Text: fmt.Sprintf("attempt %d failed (%s), next in %v", k.attempts, why, wait.Round(time.Second/10))})
			return
		}
	}
}

// childFailed counts an attempt to set up a child, in an IKE SA that stays.
func (k *keeper) childFailed(sa *ikeSA, cfg *Child, text, remedy string) {
	sa.end.emit(sa.describe(Event{Kind: ChildFailed, Child: cfg.Name, Text: text, Remedy: remedy}))
	k.countFailed(cfg)
}

// childRefused is childFailed for a notify of the peer. rekey: a successor was asked for.
func (k *keeper) childRefused(sa *ikeSA, cfg *Child, kind wire.NotifyType, rekey bool) {
	sa.end.emit(sa.describe(Event{Kind: ChildFailed, Child: cfg.Name}.because(sa.childRefused(cfg, kind, rekey))))
	k.countFailed(cfg)
}

func (k *keeper) countFailed(cfg *Child) {
	k.named(cfg.Name, func(c *keptChild) {
		c.attempts++
		if t := k.conn.KeyingTries; t > 0 && c.attempts >= t {
			c.once = false
		}
		c.notYet = k.end.now.Add(k.backoff(c.attempts))
	})
	k.changed()
}

// succeeded is called for every IKE SA that is established by IKE_AUTH.
func (k *keeper) succeeded(sa *ikeSA) {
	k.attempts, k.notYet = 0, zeroTime
	k.changed()
	if !sa.initiator {
		for _, c := range k.children {
			c.notYet = k.end.now.Add(courtesy + k.end.jitter(courtesy))
		}
	}
	for _, other := range slices.Concat(k.calling(), sa.relatives()) {
		if other != sa && other.conn == k.conn && sa.isCurrent() {
			k.reconcile(sa, other)
		}
	}
}

// reconcile decides between a new IKE SA and another one of the same connection.
func (k *keeper) reconcile(sa, other *ikeSA) {
	if _, calling := other.state.(*expectInitReply); calling && !sa.initiator && (other.renews == nil || other.renews.isSamePeer(sa)) {
		// The peer was faster than our own call.
		old := other.renews
		other.remove()
		old.awaitPeer()
		return
	}
	if !other.isCurrent() || other.outdated || !other.localID.Equal(sa.localID) || !other.remoteID.Equal(sa.remoteID) {
		return
	}
	crossed := other.origin.called != sa.origin.called && other.origin.authenticated.After(sa.born)
	switch {
	case crossed:
		// Both called at the same time. As with a rekey, the one with the lowest nonce is closed by who began it (RFC
		// 7296 2.8.2).
		loser := sa
		if bytes.Compare(other.origin.nonceMin, sa.origin.nonceMin) < 0 {
			loser = other
		}
		if loser.origin.called {
			old := loser.renews
			loser.giveWay("the peer called at the same time")
			k.end.touch(loser)
			old.awaitPeer()
		}
	case sa.renews == other || other.renews == sa:
	case sa.initiator && sa.renews == nil:
		// It was to take the place of one that the peer has replaced meanwhile.
		sa.giveWay("another one is up")
		k.end.touch(sa)
	case k.conn.Unique >= UniqueKeep && other.path.Remote.Addr() == sa.path.Remote.Addr():
		// It knows the other one, or would have said so: it authenticates anew, and is about to delete it.
		other.replaced()
	case k.conn.Unique == UniqueNo && other.path.Remote.Addr() == sa.path.Remote.Addr() && other.rival() == sa:
		other.awaitPeer()
	case k.conn.Unique == UniqueReplace:
		k.lived(other, replacedByUs)
		other.close("the peer is connected anew, and unique = replace")
		k.end.touch(other)
	}
}

// peerVanished is called when the peer of an established IKE SA does not answer any more.
func (k *keeper) peerVanished() {
	k.ended(func(c *Child) Action { return c.DPDAction })
}

// closedByPeer is called when the peer closed the IKE SA.
func (k *keeper) closedByPeer() {
	k.ended(func(c *Child) Action { return c.CloseAction })
}

// misunderstood is called when one end could not read what the other sent and the IKE SA is closed. The next one may come to the
// same, so it does not begin at once.
func (k *keeper) misunderstood() { k.notYet = later(k.notYet, k.end.now.Add(k.backoff(1))) }

// childClosed is called when the peer closed a child, and nothing replaces it. The peer may close the next one too, so that is
// not asked for at once.
func (k *keeper) childClosed(cfg *Child) {
	k.named(cfg.Name, func(c *keptChild) {
		c.once = false
		c.act(cfg.CloseAction)
		c.notYet = later(c.notYet, k.end.now.Add(k.backoff(1)))
	})
	k.changed()
}

// childSpent is called when a child carries nothing more although nothing replaces it. One that was refused by the datapath is spent
// at once, as the next one may be, so that is not asked for at once either.
func (k *keeper) childSpent(cfg *Child) {
	k.named(cfg.Name, func(c *keptChild) { c.notYet = later(c.notYet, k.end.now.Add(k.backoff(1))) })
}

func (k *keeper) ended(action func(*Child) Action) {
	for _, c := range k.children {
		c.act(action(c.cfg))
	}
	k.notYet = k.end.now.Add(k.end.jitter(backoffMin))
	k.changed()
}

// act does what is configured for the end of a child.
func (c *keptChild) act(a Action) {
	c.once = (c.once || a == Start) && !c.held
	c.trapped = c.trapped || a == Trap
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
