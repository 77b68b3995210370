package ike

import (
	"net/netip"
	"slices"
	"time"

	"github.com/culvert-vpn/culvert/ident"
	"github.com/culvert-vpn/culvert/psk"
	"github.com/culvert-vpn/culvert/ts"
)

// A connection and a child keep the object that they have, for as long as they are configured under the same name: what changes is
// its contents. So whatever points to one sees the change, and what a change means for what is up is decided here, once.
//
// What the old configuration has brought about and the new one would not is marked as outdated. It goes on as before until the
// keeper has what takes its place (RFC 7296 2.8: make before break), and is closed then.

// reconfigure puts another configuration into effect.
func (e *Endpoint) reconfigure(r Reconfigure) {
	if e.shutting {
		return
	}
	known := e.cfg.Secrets
	e.cfg.Secrets, e.cfg.Retransmit = r.Secrets, r.Retransmit.orDefault()
	former, left := e.keepers, make(map[string]*keeper)
	for _, k := range former {
		left[k.conn.Name] = k
	}
	e.keepers, e.cfg.Connections = nil, nil
	var changes []Change
	for _, next := range r.Connections {
		k := left[next.Name]
		if k == nil {
			k = newKeeper(e, next)
			changes = append(changes, Change{Conn: next.Name, Kind: Added})
		} else {
			changes = append(changes, k.reconfigure(next, r.Spare)...)
			delete(left, next.Name)
		}
		e.keepers = append(e.keepers, k)
		e.cfg.Connections = append(e.cfg.Connections, k.conn)
	}
	for _, k := range former {
		if left[k.conn.Name] == nil {
			continue
		}
		if !k.leaving {
			changes = append(changes, Change{Conn: k.conn.Name, Kind: Removed})
			k.leave()
		}
		if k.hasAny() || k.dialing {
			e.keepers = append(e.keepers, k) // until the last of its IKE SAs is gone
		}
	}
	for sa := range e.order.all() {
		if s, ok := sa.state.(*expectAuth); ok {
			s.candidates = e.reachable(sa.path)
		}
	}
	e.nameKeepers()
	for _, k := range e.keepers {
		k.tryNewSecret(known)
		k.changed()
	}
	e.emit(Reconfigured{Connections: slices.Clone(e.cfg.Connections), Changes: changes})
}

// leave ends all endeavours for a connection that is not configured any more.
func (k *keeper) leave() {
	k.leaving, k.untidy, k.children = true, true, nil
	k.unassign()
}

// hasAny reports whether there is anything left of the connection.
func (k *keeper) hasAny() bool {
	return k.sas.len() > 0
}

// reconfigure takes another configuration of the connection, and tells what is different.
func (k *keeper) reconfigure(next *Connection, spare bool) []Change {
	k.untidy = true
	if k.leaving {
		// It was removed and comes back while its IKE SAs are still being closed.
		k.leaving, k.stray = false, k.dialing
		*k.conn = *next
		k.children = keep(next.Children)
		return []Change{{Conn: next.Name, Kind: Added}}
	}
	var own []Difference
	var changes []Change
	if next == k.conn {
		for _, c := range next.Children {
			changes = append(changes, changeOf(next.Name, c.Name, nil))
		}
	} else {
		var children []*Child
		own = k.conn.Differences(next)
		changes, children = k.reconfigureChildren(next.Children)
		*k.conn = *next
		k.conn.Children = children
		k.apply(own)
	}
	if !k.knowsSecrets(spare) {
		own = append(own, Difference{Key: "secret", Impact: Reauthenticate})
		k.attempts, k.notYet = 0, zeroTime
	}
	for _, c := range k.children {
		c.once = c.once || !c.held && k.hasOutdated(c.cfg)
	}
	return append([]Change{changeOf(next.Name, "", own)}, changes...)
}

func changeOf(conn, child string, list []Difference) Change {
	c := Change{Conn: conn, Child: child, Kind: Unchanged, Differences: list}
	if len(list) > 0 {
		c.Kind = Changed
	}
	return c
}

// reconfigureChildren takes other children. Those that stay keep their objects.
func (k *keeper) reconfigureChildren(next []*Child) (changes []Change, configured []*Child) {
	former := k.children
	k.children = nil
	for _, n := range next {
		i := slices.IndexFunc(former, func(c *keptChild) bool { return c.cfg.Name == n.Name })
		if i < 0 {
			k.children = append(k.children, keep([]*Child{n})...)
			changes = append(changes, Change{Conn: k.conn.Name, Child: n.Name, Kind: Added})
		} else {
			c := former[i]
			former = slices.Delete(slices.Clone(former), i, i+1)
			k.children = append(k.children, c)
			list := c.cfg.Differences(n)
			changes = append(changes, changeOf(k.conn.Name, n.Name, list))
			*c.cfg = *n
			k.applyChild(c, list)
		}
		configured = append(configured, k.children[len(k.children)-1].cfg)
	}
	for _, c := range former {
		changes = append(changes, Change{Conn: k.conn.Name, Child: c.cfg.Name, Kind: Removed})
	}
	return changes, configured
}

// knowsSecrets marks the IKE SAs as outdated whose peer has proved a secret that is not for it any more, unless they are to be
// spared. It is false if there are such.
func (k *keeper) knowsSecrets(spare bool) bool {
	all := true
	for sa := range k.sas.all() {
		if sa.established.IsZero() || sa.isGone() {
			continue
		}
		secret, ok := k.end.cfg.Secrets.Find(sa.secret, sa.localID, sa.remoteID)
		switch {
		case ok:
			sa.secret = secret
		case spare || sa.spared:
			sa.spared = true
		default:
			sa.outdated, all = true, false
		}
	}
	return all
}

// tryNewSecret ends the wait for the next attempt if there is a secret that was not there at the last one.
func (k *keeper) tryNewSecret(former *psk.Store) {
	if k.attempts == 0 {
		return
	}
	remote, _ := k.conn.RemoteID.ID()
	for _, secret := range k.end.cfg.Secrets.Lookup(k.conn.LocalID, remote) {
		if _, known := former.Find(secret, k.conn.LocalID, remote); !known {
			k.attempts, k.notYet = 0, zeroTime
			return
		}
	}
}

// apply does what a change of the connection's keys asks for.
func (k *keeper) apply(list []Difference) {
	if len(list) == 0 {
		return
	}
	impact := greatest(list)
	k.attempts, k.notYet = 0, zeroTime
	k.stray = k.dialing && impact == Reauthenticate
	if impact == Reauthenticate {
		k.sent = nil
	}
	for sa := range k.sas.all() {
		sa.reschedule()
		_, calling := sa.state.(*expectInitReply)
		switch {
		case calling && impact >= RekeyIKE:
			sa.remove() // what it offers is not configured any more
		case impact == RekeyIKE:
			sa.startRekey()
		case impact == Reauthenticate:
			sa.outdated = true
		}
	}
}

// applyChild does what a change of a child's keys asks for.
func (k *keeper) applyChild(kept *keptChild, list []Difference) {
	if len(list) == 0 {
		return
	}
	impact := greatest(list)
	kept.keep = kept.cfg.KeepUp() && !kept.held
	kept.attempts, kept.notYet = 0, zeroTime
	if impact >= ReplaceChild {
		kept.trigger, kept.division = ts.Packet{}, division{}
	}
	for sa := range k.sas.all() {
		for _, c := range sa.children {
			switch {
			case c.cfg != kept.cfg || c.gone:
			case impact == ReplaceChild:
				c.outdated = true
			case impact == RekeyChild:
				c.startRekey()
			}
			if c.cfg == kept.cfg && !c.gone {
				c.reschedule()
			}
		}
		if impact >= RekeyChild {
			sa.spoilOffers(kept.cfg)
		}
	}
}

// spoilOffers has what is on offer for a child not put in place when the answer comes.
func (sa *ikeSA) spoilOffers(cfg *Child) {
	if s, ok := sa.state.(*expectAuthReply); ok && s.child != nil && s.child.cfg == cfg {
		s.child.outdated = true
	}
	for any := range sa.underWay() {
		if x, ok := any.(*childExchange); ok && x.cfg == cfg && x.offer != nil {
			x.offer.outdated = true
		}
	}
}

// isOutdated reports whether the Child SA would not come about under the configuration.
func (c *childSA) isOutdated() bool { return c.outdated || c.sa.outdated }

// hasOutdated reports whether an outdated Child SA of a policy is up.
func (k *keeper) hasOutdated(cfg *Child) bool {
	for sa := range k.sas.all() {
		if slices.ContainsFunc(sa.children, func(c *childSA) bool { return c.cfg == cfg && !c.gone && c.isOutdated() }) {
			return true
		}
	}
	return false
}

const (
	// tidyAtOnce is how many IKE SAs a connection may have for all of them to be looked at whenever something changes, tidyPace
	// how long the keeper waits for each of more. So it is busy with that for a small part of the time, however many there are.
	tidyAtOnce = 256
	tidyPace   = 2 * time.Microsecond
)

// clearAway closes what the configuration has no place for, and what is outdated when its place is taken, as long as there is such.
func (k *keeper) clearAway() {
	if !k.untidy {
		return
	}
	if k.nextTidy.After(k.end.now) {
		k.wakeAt(k.nextTidy)
		return
	}
	if n := k.sas.len(); n > tidyAtOnce {
		k.nextTidy = k.end.now.Add(time.Duration(n) * tidyPace)
	}
	k.untidy = k.leaving
	for _, sa := range k.sas.latestFirst() {
		if sa.isGone() {
			continue
		}
		k.untidy = k.untidy || sa.outdated
		for _, c := range slices.Clone(sa.children) {
			k.untidy = k.untidy || !c.gone && (c.outdated || k.keptOf(c.cfg) == nil)
			k.clearChild(c)
		}
		switch {
		case k.leaving:
			sa.close("it is not configured any more")
		case sa.outdated && k.isDone(sa):
			sa.close("the configuration has changed")
		default:
			continue
		}
		k.end.touch(sa)
	}
}

// clearChild closes a Child SA, or has it replaced.
func (k *keeper) clearChild(c *childSA) {
	if c.gone || c.deleting || k.leaving {
		return
	}
	kept, next := k.keptOf(c.cfg), k.placeOf(c)
	switch {
	case kept == nil:
		c.closeWith("it is not configured any more")
	case !c.isOutdated() || c.isReplaced():
	case next != nil && k.end.now.Before(next.born.Add(settleTime)):
		k.wakeAt(next.born.Add(settleTime))
	case next != nil:
		c.successor = next
		c.closeWith("the configuration has changed")
	case c.sa.outdated: // its IKE SA is replaced first
	case kept.held: // only the peer wants it, who may ask again
		c.closeWith("the configuration has changed")
	case !c.replaceAt.IsZero() && c.exceeds():
		c.closeWith("the configuration has changed, and the peer does not agree")
	case c.replaceAt.After(k.end.now):
		k.wakeAt(c.replaceAt)
	case c.sa.isCurrent() && !k.isNegotiating(c.sa, c.cfg):
		c.sa.enqueue(&childExchange{cfg: c.cfg, instead: c})
		k.end.touch(c.sa)
	}
}

// serves reports whether an IKE SA is up as it is configured, and with the peer of another one. A connection that calls has one
// peer, whatever that calls itself; one that waits may have many.
func (k *keeper) serves(sa, old *ikeSA) bool {
	return sa.conn == k.conn && sa.isCurrent() && !sa.outdated && (k.conn.RemoteHost != "" || sa.remoteID.Equal(old.remoteID))
}

// placeOf is a Child SA that can take the place of an outdated one, or nil.
func (k *keeper) placeOf(old *childSA) *childSA {
	for sa := range k.sas.all() {
		if !k.serves(sa, old.sa) {
			continue
		}
		for _, c := range sa.children {
			if c.cfg == old.cfg && !c.gone && !c.redundant && !c.deleting && !c.outdated {
				return c
			}
		}
	}
	return nil
}

// isReplacing reports whether a Child SA of a policy is going to be replaced within the IKE SA.
func (sa *ikeSA) isReplacing(cfg *Child) bool {
	return slices.ContainsFunc(sa.children, func(c *childSA) bool { return c.cfg == cfg && c.outdated && !c.gone && !c.deleting })
}

// isDone reports whether an outdated IKE SA need not wait any longer: those of its children that are wanted are up elsewhere, and have
// been closed here so that packets on their way still arrived, or they were refused there. Nor does it wait if it is forbidden, and
// the peer did not answer to what is configured now or cannot be called. Otherwise it waits for as long as that takes.
func (k *keeper) isDone(sa *ikeSA) bool {
	if !sa.isPermitted() && (k.conn.RemoteHost == "" || k.attempts > 0) {
		return true
	}
	anew := false
	for o := range k.sas.all() {
		anew = anew || k.serves(o, sa)
	}
	for _, c := range sa.children {
		kept := k.keptOf(c.cfg)
		switch {
		case c.gone || c.deleting:
			return false
		case kept == nil || kept.held:
		case k.placeOf(c) != nil:
			return false // it is closed first, when what is on its way has arrived
		case !anew || k.conn.RemoteHost == "" || (kept.keep || kept.once) && kept.attempts == 0:
			return false
		}
	}
	return true
}

// isPermitted reports whether the configuration allows such a peer at such a place at all, with whatever secret.
func (sa *ikeSA) isPermitted() bool {
	local, remote := sa.path.Local.Addr(), sa.path.Remote.Addr()
	sent := sa.origin.detour.isTaken() && within(sa.conn.LocalAddrs, local) && sa.conn.allowsGateway(remote)
	return sa.conn.RemoteID.Match(sa.remoteID) != ident.NoMatch && (sent || fits(sa.conn, local, remote)) &&
		(sa.spared || len(sa.end.cfg.Secrets.Lookup(sa.localID, sa.remoteID)) > 0)
}

// fits reports whether a connection is for these two addresses.
func fits(c *Connection, local, remote netip.Addr) bool {
	return within(c.LocalAddrs, local) && within(c.RemoteAddrs, remote)
}

// exceeds reports whether the Child SA carries what the configuration does not let pass.
func (c *childSA) exceeds() bool {
	return !ts.Subset(c.local, c.sa.localSelectors(c.cfg.LocalTS)) || !ts.Subset(c.remote, c.sa.remoteSelectors(c.cfg.RemoteTS))
}

// reschedule applies other times to an IKE SA that is up, from its beginning. What is overdue by them is due now, and has as
// long as ever to be done.
func (sa *ikeSA) reschedule() {
	if !sa.isCurrent() {
		return
	}
	t := &sa.timers
	t[timerRekey], t[timerReauth], t[timerExpire] = zeroTime, zeroTime, zeroTime
	sa.origin.reauthAt = sa.reauthTime()
	sa.scheduleRenewal(sa.established)
	if due, now := earlier(t[timerRekey], t[timerReauth]), sa.end.now; !due.IsZero() && due.Before(now) {
		for _, i := range []timer{timerRekey, timerReauth, timerExpire} {
			if !t[i].IsZero() {
				t[i] = t[i].Add(now.Sub(due))
			}
		}
	}
	if !sa.origin.called && !sa.origin.reauthAt.IsZero() {
		sa.enqueue(&tellLifetime{})
	}
	t[timerProbe] = zeroTime
	if sa.conn.DPDDelay > 0 {
		t[timerProbe] = later(sa.heard.Add(sa.conn.DPDDelay), sa.end.now)
	}
	sa.end.touch(sa)
}

// reschedule applies other times to a Child SA, as to an IKE SA.
func (c *childSA) reschedule() {
	c.rekeyAt, c.expireAt = zeroTime, zeroTime
	c.scheduleLifetime()
	if late := c.sa.end.now.Sub(c.rekeyAt); !c.rekeyAt.IsZero() && late > 0 {
		c.rekeyAt = c.sa.end.now
		if !c.expireAt.IsZero() {
			c.expireAt = c.expireAt.Add(late)
		}
	}
	c.activity.lookAt = zeroTime
	c.watchActivity()
	c.sa.end.touch(c.sa)
}
