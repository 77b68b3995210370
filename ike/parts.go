package ike

import (
	"iter"
	"slices"
	"time"

	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/ts"
)

// A policy may come to be carried by several Child SAs, because the peer wants it so: its answer said that there may be more
// (ADDITIONAL_TS_POSSIBLE), it gave no more than the packet's own pair of addresses, or it demands that there be a Child SA for each
// pair (SINGLE_PAIR_REQUIRED). Then further ones are asked for (RFC 7296 2.9).

// maxParts bounds the Child SAs into which the traffic of one policy is divided at the wish of the peer.
const maxParts = 64

// division is what is known of the peer's wish.
type division struct {
	parts bool // it allows further Child SAs
	pairs bool // it wants one for each pair of addresses
	// attempts in vain to get what a packet asked for, and when the next one may be made.
	attempts int
	notYet   time.Time
}

func (d *division) wanted() bool { return d.parts || d.pairs }

// part is what a further Child SA of a policy is for.
type part struct {
	traffic
	packet ts.Packet // the one that asked for it; zero if none did
	then   []traffic // what to ask for afterwards
}

// needed reports whether it is still missing.
func (p *part) needed(k *keeper, cfg *Child) bool {
	living := slices.Collect(k.living(cfg))
	carried := func(c *childSA) bool { return p.packet.Src.IsValid() && c.carry(&p.packet) }
	return len(living) < maxParts && !slices.ContainsFunc(living, carried)
}

// living are the Child SAs of a policy that are up and have no successor, but for those of an IKE SA that gives way to another one.
func (k *keeper) living(cfg *Child) iter.Seq[*childSA] {
	return func(yield func(*childSA) bool) { k.eachLiving(cfg, yield) }
}

func (k *keeper) eachLiving(cfg *Child, yield func(*childSA) bool) {
	for sa := range k.sas.all() {
		if sa.stage() != up || sa.renewing != nil && sa.renewing.isCurrent() {
			continue
		}
		for _, c := range sa.children {
			if c.cfg == cfg && !c.gone && !c.redundant && !c.deleting && !c.isReplaced() && !yield(c) {
				return
			}
		}
	}
}

// isDivided reports whether several Child SAs of a policy live.
func (k *keeper) isDivided(cfg *Child) bool {
	n := 0
	for range k.living(cfg) {
		if n++; n > 1 {
			return true
		}
	}
	return false
}

// carries is what the Child SA carries, carry whether a packet is of that.
func (c *childSA) carries() traffic             { return traffic{c.local, c.remote} }
func (c *childSA) carry(packet *ts.Packet) bool { return ts.Match(c.local, c.remote, *packet, true) }

// isFor reports whether a child of the peer's making is what the exchange asks for too.
func (x *childExchange) isFor(theirs *childSA) bool {
	switch {
	case x.part == nil:
		return true
	case x.part.packet.Src.IsValid():
		return theirs.carry(&x.part.packet)
	}
	return x.part.within(theirs.carries())
}

// ask is what to ask for to have a policy carried: all of it, and first the packet that wants it, so that a peer that allows only part
// of it gives the part that is needed (RFC 7296 2.9).
func (k *keeper) ask(sa *ikeSA, cfg *Child) traffic {
	t, c := sa.trafficOf(cfg), k.keptOf(cfg)
	if c == nil || !c.trigger.Src.IsValid() || !ts.Match(t.local, t.remote, c.trigger, true) {
		return t
	}
	if c.division.pairs {
		pair, _ := t.narrow(traffic{[]ts.Selector{ts.FromAddr(c.trigger.Src)}, []ts.Selector{ts.FromAddr(c.trigger.Dst)}})
		return pair
	}
	src, dst := c.trigger.Selectors()
	return traffic{local: startingWith(t.local, src), remote: startingWith(t.remote, dst)}
}

func startingWith(list []ts.Selector, first ts.Selector) []ts.Selector {
	if len(list) >= ts.MaxSelectors || slices.Contains(list, first) {
		return list
	}
	return append([]ts.Selector{first}, list...)
}

// acquirePart asks for a Child SA for the packet that wants the child last, unless that is being done, or was in vain of late.
func (k *keeper) acquirePart(sa *ikeSA, c *keptChild) {
	t := k.ask(sa, c.cfg)
	if c.division.notYet.After(k.end.now) || k.isNegotiating(sa, c.cfg) || len(t.local) == 0 || len(t.remote) == 0 || !c.trigger.Src.IsValid() {
		return
	}
	sa.enqueue(&childExchange{cfg: c.cfg, part: &part{traffic: t, packet: c.trigger}})
	k.end.touch(sa)
}

// wantPairs notes that the peer wants a Child SA for each pair of addresses, and asks for that of the last packet (RFC 7296 2.9). It returns
// false if that is known already, and of no avail.
func (k *keeper) wantPairs(sa *ikeSA, cfg *Child) bool {
	c := k.keptOf(cfg)
	if c == nil || c.division.pairs {
		return false
	}
	c.division.pairs = true
	sa.end.emit(sa.describe(Event{Kind: Warned, Child: cfg.Name, Text: "the peer wants a Child SA for each pair of addresses: they are asked for as packets come"}))
	k.acquirePart(sa, c)
	k.changed()
	return true
}

// entered looks at what a new child carries of what it was asked for, all or the part p, and asks for the rest if the peer allows
// it: for what packets ask later and, if the child is to be kept up, for all of it now.
func (k *keeper) entered(sa *ikeSA, p *part, child *childSA) {
	c := k.keptOf(child.cfg)
	if c == nil {
		return
	}
	whole := child.asked.within(child.carries())
	_, oneLocal := onlyAddr(child.local)
	_, oneRemote := onlyAddr(child.remote)
	c.division.parts = c.division.parts || !whole && (child.more || oneLocal && oneRemote)
	same := func(o *childSA) bool { return o != child && child.carries().within(o.carries()) }
	switch {
	case p != nil && (p.packet.Src.IsValid() && !child.carry(&p.packet) || slices.ContainsFunc(slices.Collect(k.living(child.cfg)), same)):
		child.closeWith("it carries nothing that was missing")
		c.division.failed(k)
	case child.more && c.keep:
		k.askNext(sa, c.cfg, k.remainder(sa, c.cfg))
	case p != nil:
		c.division.attempts = 0
		k.askNext(sa, c.cfg, p.then)
	}
}

func (d *division) failed(k *keeper) {
	d.attempts++
	d.notYet = k.end.now.Add(k.backoff(d.attempts))
}

// remainder is what no Child SA carries of a policy. It is no rectangle: what other remote addresses there are comes first, then other
// local ones; what is left then is asked for by packets.
func (k *keeper) remainder(sa *ikeSA, cfg *Child) (asks []traffic) {
	t := sa.trafficOf(cfg)
	local, remote := t.local, t.remote
	for c := range k.living(cfg) {
		local, remote = ts.Subtract(local, c.local), ts.Subtract(remote, c.remote)
	}
	if len(remote) > 0 {
		asks = append(asks, traffic{t.local, remote})
	}
	if len(local) > 0 {
		asks = append(asks, traffic{local, t.remote})
	}
	return asks
}

// askNext asks for the first of some traffic, and for the others afterwards.
func (k *keeper) askNext(sa *ikeSA, cfg *Child, asks []traffic) {
	if len(asks) > 0 {
		sa.enqueue(&childExchange{cfg: cfg, part: &part{traffic: asks[0], then: asks[1:]}})
		k.end.touch(sa)
	}
}

// partRefused takes the refusal of a further Child SA: those that there are stay.
func (k *keeper) partRefused(sa *ikeSA, x *childExchange, why wire.NotifyType) {
	c := k.keptOf(x.cfg)
	if c == nil {
		return
	}
	if x.part.packet.Src.IsValid() {
		c.division.failed(k)
		sa.end.emit(sa.describe(Event{Kind: ChildFailed, Child: x.cfg.Name}.because(sa.childRefused(x.cfg, why, false))))
		return
	}
	k.askNext(sa, x.cfg, x.part.then)
}
