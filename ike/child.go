package ike

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/natt"
	"github.com/culvert-vpn/culvert/suite"
	"github.com/culvert-vpn/culvert/ts"
)

// drainTime is how long the inbound half of a Child SA is kept after it was closed in favour of a successor, for packets
// that are still on their way.
const drainTime = 5 * time.Second

// rekeyRetry is the least time between attempts to rekey that the peer refuses.
const rekeyRetry = 20 * time.Second

// childSA is one Child SA: a pair of ESP SAs.
type childSA struct {
	number uint64 // in the order of their making
	sa     *ikeSA
	cfg    *Child
	// in and out are the inbound (ours) and the outbound (the peer's) SPI.
	in, out       uint32
	proposal      suite.Proposal
	local, remote []ts.Selector
	nonceMin      []byte
	mode          Mode
	original      Original
	// more: the peer would allow, in another Child SA, what this one does not carry of what was asked.
	more  bool
	asked traffic
	// tfc is how far packets are padded (Child.TFCPadding), 0 if the peer does not take it.
	tfc int
	// activity tells whether it is used.
	activity activity

	// outbound is the part that is not installed yet: a successor that the peer negotiated is not used before the
	// peer is seen to use it, or deletes its predecessor.
	outbound *Install
	// successor replaces this one.
	successor *childSA

	received uint64 // packets at the time of the last look

	born                                time.Time
	rekeyAt, expireAt, openAt, drainEnd time.Time

	seen     bool // the peer is known to have it, because it answered for it or used it
	deleting bool // our Delete is queued or under way
	outdated bool // it was negotiated under another configuration, and is to be replaced
	// replaceAt: the peer has refused to replace it, and is asked again.
	replaceAt time.Time
	redundant bool // both ends made a successor, and the other one stays
	gone      bool // closed; the inbound half may still drain
}

// newChild enters a Child SA and installs its inbound half; the outbound half follows at once or, with hold, by open. A responder
// must not send under it before the peer has the answer, so it goes on to use what it takes the place of, if it does.
func (sa *ikeSA) newChild(c *childSA, k childKeys, initiator, hold bool) {
	sa.end.madeChildren++
	c.number = sa.end.madeChildren
	c.sa, c.born, c.seen = sa, sa.end.now, c.seen || initiator
	encIn, integIn, encOut, integOut := k.encI, k.integI, k.encR, k.integR
	if initiator {
		encIn, integIn, encOut, integOut = k.encR, k.integR, k.encI, k.integI
	}
	encr, _ := c.proposal.Get(suite.TypeENCR)
	integ, _ := c.proposal.Get(suite.TypeINTEG)
	esn, _ := c.proposal.Get(suite.TypeESN)
	rekey := c.cfg.Rekey
	rekey.Bytes -= sa.end.jitterCount(c.cfg.Rand.Bytes, rekey.Bytes)
	rekey.Packets -= sa.end.jitterCount(c.cfg.Rand.Packets, rekey.Packets)
	half := Install{
		Pair: c.in, IKE: sa.spi(), Conn: sa.conn, Child: c.cfg, Encr: encr, Integ: integ, ESN: esn.ID == 1,
		Local: c.local, Remote: c.remote, Mode: c.mode, Original: c.original, Path: sa.trafficPath(), Soft: rekey, Hard: c.cfg.Life,
	}
	in, out := half, half
	in.Dir, in.SPI, in.EncKey, in.IntegKey = In, c.in, encIn, integIn
	out.Dir, out.SPI, out.EncKey, out.IntegKey = Out, c.out, encOut, integOut
	out.TFC = c.tfc
	c.scheduleLifetime()
	c.watchActivity()
	sa.children = append(sa.children, c)
	sa.end.children[c.in] = c
	sa.end.carried.Add(c.remote, c)
	sa.end.keeperOf(sa.conn).carry(c)
	sa.end.emit(in)
	c.outbound = &out
	if !hold && !initiator && len(c.twins()) > 0 {
		hold, c.openAt = true, c.born.Add(heldTime)
	}
	if !hold {
		c.open()
	}
	sa.end.keeperOf(sa.conn).changed()
}

// jitterCount is a random part of what a limit may be lowered by, less than the limit.
func (e *Endpoint) jitterCount(rand, limit uint64) uint64 {
	if rand == 0 || limit == 0 {
		return 0
	}
	return binary.BigEndian.Uint64(e.random(8)) % min(rand, limit)
}

// open installs the outbound half.
func (c *childSA) open() {
	if c.outbound == nil || c.gone {
		return
	}
	c.outbound.Path = c.sa.trafficPath()
	c.sa.end.emit(*c.outbound)
	c.outbound, c.openAt = nil, zeroTime
}

// isReplaced reports whether there is a successor.
func (c *childSA) isReplaced() bool { return c.successor != nil && !c.latest().gone }

// isLast reports whether its end is the end of the child, rather than that of a successor is or was.
func (c *childSA) isLast() bool { return !c.redundant && (c.successor == nil || c.successor.redundant) }

// latest is the Child SA itself, or what replaced it in the end.
func (c *childSA) latest() *childSA {
	for c.successor != nil {
		c = c.successor
	}
	return c
}

// moved is called when the newest packet came from another address. The packets of a closed child that are still on their way may
// be older than the last move: they say nothing.
func (c *childSA) moved(p natt.Path) {
	switch {
	case c.gone:
	case c.sa.mob != nil:
		c.sa.strays(p)
	default:
		c.sa.follow(p)
	}
}

// used is called when the peer is seen to use the Child SA.
func (c *childSA) used() {
	c.seen = true
	c.open()
}

func (c *childSA) scheduleLifetime() {
	if t := c.cfg.Rekey.Time; t > 0 {
		c.rekeyAt = c.born.Add(t - c.sa.end.jitter(min(c.cfg.Rand.Time, t)))
	}
	if t := c.cfg.Life.Time; t > 0 {
		c.expireAt = c.born.Add(t)
	}
}

// due is the next time that the child needs attention.
func (c *childSA) due() time.Time {
	if c.gone {
		return c.drainEnd
	}
	return earlier(earlier(earlier(c.rekeyAt, c.expireAt), c.openAt), c.activity.lookAt)
}

// scheduleChildren sets the timer of the children.
func (sa *ikeSA) scheduleChildren() {
	var first time.Time
	for _, c := range sa.children {
		first = earlier(first, c.due())
	}
	sa.timers[timerChildren] = first
}

// childTimers looks after the children whose time has come.
func (sa *ikeSA) childTimers() {
	now := sa.end.now
	passed := func(t time.Time) bool { return !t.IsZero() && !t.After(now) }
	for _, c := range slices.Clone(sa.children) {
		switch {
		case c.gone && passed(c.drainEnd):
			c.drained()
		case c.gone:
		case passed(c.expireAt):
			c.expireAt = zeroTime
			c.rekeyAt = zeroTime
			c.closeWith("its lifetime is over")
		case passed(c.openAt):
			c.open()
		case passed(c.rekeyAt):
			c.rekeyAt = zeroTime
			c.startRekey()
		case passed(c.activity.lookAt):
			c.lookForActivity()
		}
	}
}

// limitReached is called when the datapath counted to a limit.
func (c *childSA) limitReached(hard bool) {
	if hard {
		c.sa.end.keeperOf(c.sa.conn).childSpent(c.cfg)
		c.closeWith("its limit of bytes or packets is reached")
		return
	}
	c.startRekey()
}

// startRekey asks for a successor, once.
func (c *childSA) startRekey() {
	if c.redundant {
		c.closeWith("the peer did not close it")
		return
	}
	if c.gone || c.deleting || c.outdated || c.isReplaced() || !c.sa.isCurrent() {
		return
	}
	if c.sa.hasExchange(func(x exchange) bool { r, ok := x.(*childExchange); return ok && r.old == c }) {
		return
	}
	c.sa.enqueue(&childExchange{cfg: c.cfg, old: c})
	c.sa.end.touch(c.sa)
}

// closeWith deletes the Child SA.
func (c *childSA) closeWith(why string) {
	if c.gone || c.deleting {
		return
	}
	c.deleting = true
	c.sa.enqueue(&deleteChildren{children: []*childSA{c}, why: why})
	c.sa.end.touch(c.sa)
	c.sa.end.keeperOf(c.sa.conn).changed()
}

// finish takes a closed Child SA down. With a successor the inbound half drains first.
func (c *childSA) finish(why string) {
	if c.gone {
		return
	}
	c.gone = true
	if c.isReplaced() {
		// The peer closes the old one: it is done with it, and ready for the new.
		c.successor.used()
	} else if !c.handOver() && c.isLast() {
		c.event(ChildDown, why, "")
	}
	if c.outbound == nil {
		c.sa.end.emit(Remove{Dir: Out, SPI: c.out, Pair: c.in})
	}
	c.wipe()
	c.drainEnd = c.sa.end.now.Add(drainTime)
	c.sa.end.touch(c.sa)
	c.sa.end.keeperOf(c.sa.conn).changed()
}

// drained takes the inbound half away; the SPI is free when that is done.
func (c *childSA) drained() {
	e := c.sa.end
	e.emit(Remove{Dir: In, SPI: c.in, Pair: c.in})
	delete(e.children, c.in)
	e.carried.Remove(c.remote, c)
	e.spent = append(e.spent, c.in)
	e.keeperOf(c.sa.conn).changed()
	c.sa.children = slices.DeleteFunc(c.sa.children, func(o *childSA) bool { return o == c })
}

// vanish takes the Child SA down at once: its IKE SA is gone. Of a child and its successor only one goes down.
func (c *childSA) vanish() {
	if !c.gone {
		c.gone = true
		if !c.handOver() && c.isLast() {
			c.event(ChildDown, "its IKE SA is gone", "")
		}
		if c.outbound == nil {
			c.sa.end.emit(Remove{Dir: Out, SPI: c.out, Pair: c.in})
		}
		c.wipe()
	}
	c.drained()
}

// stay is how a Child SA takes it that its IKE SA is to be deleted: what another one carries too goes on to receive, until the peer has
// deleted it as well.
func (c *childSA) stay() {
	if !c.handOver() {
		c.vanish()
	}
}

// depart is how it takes it that its IKE SA was deleted: packets of what another one carries too may be on their way.
func (c *childSA) depart() {
	if len(c.twins()) == 0 {
		c.vanish()
		return
	}
	c.finish("its IKE SA is gone")
}

// wipe zeroes keys that were never handed over.
func (c *childSA) wipe() {
	if c.outbound != nil {
		clear(c.outbound.EncKey)
		clear(c.outbound.IntegKey)
		c.outbound = nil
	}
}

// deleteChildren takes the peer's Delete: spis are the peer's inbound ones. It returns ours for the answer, but for those
// that we are deleting too (RFC 7296 1.4.1, 2.25.1).
func (sa *ikeSA) deleteChildren(spis [][]byte) [][]byte {
	var ours [][]byte
	for _, spi := range spis {
		out := binary.BigEndian.Uint32(spi)
		c := sa.childWithOut(out)
		if c == nil {
			sa.closedEarly(out)
		}
		if c == nil || c.gone {
			continue
		}
		if _, both := find(sa, func(x *childExchange) bool { return x.old != nil && x.theirs == c }); both && !c.isReplaced() {
			// The peer has compared the nonces already: our successor, of which we shall hear, stays (RFC 7296 2.8.1).
			c.redundant = true
		}
		if sa.clash(theyDeleteChild, c) == accept {
			ours = append(ours, spiBytes(c.in))
		}
		if !c.deleting && c.isLast() {
			sa.end.keeperOf(sa.conn).childClosed(c.cfg)
		}
		c.finish("the peer closed it")
	}
	return ours
}

// childByOut finds the child that a REKEY_SA is about: the peer names it by the SPI that it receives on (RFC 7296 1.3.3).
func (sa *ikeSA) childByOut(n *wire.Notify) *childSA {
	if n.Protocol != suite.ESP || len(n.SPI) != 4 {
		return nil
	}
	c := sa.childWithOut(binary.BigEndian.Uint32(n.SPI))
	if c == nil || c.gone {
		return nil
	}
	return c
}

// childWithOut finds a child by the peer's SPI. The peer may use the SPI of one that it closed again while ours still drains:
// the living one is meant.
func (sa *ikeSA) childWithOut(spi uint32) *childSA {
	var closed *childSA
	for _, c := range sa.children {
		switch {
		case c.out != spi:
		case !c.gone:
			return c
		default:
			closed = c
		}
	}
	return closed
}

func spiBytes(spi uint32) []byte { return binary.BigEndian.AppendUint32(nil, spi) }

func (c *childSA) event(kind EventKind, text, remedy string) {
	c.sa.end.emit(c.describe(Event{Kind: kind, Text: text, Remedy: remedy}))
}

// rekeyed tells that the Child SA has taken the place of another one.
func (c *childSA) rekeyed(old *childSA) {
	ev := c.describe(Event{Kind: ChildRekeyed, Text: c.traffic()})
	was := c.sa.info()
	was.Children = []ChildInfo{old.info()}
	ev.Old = &was
	c.sa.end.emit(ev)
}

func (c *childSA) describe(ev Event) Event {
	ev = c.sa.describe(ev)
	ev.Child, ev.SPIIn, ev.SPIOut = c.cfg.Name, c.in, c.out
	ev.SA.Children = []ChildInfo{c.info()}
	return ev
}

// traffic says in words what the child carries.
func (c *childSA) traffic() string {
	text := fmt.Sprintf("%v === %v, %v", c.local, c.remote, c.proposal)
	if c.mode != Tunnel {
		text += fmt.Sprintf(", %v mode", c.mode)
	}
	return text
}
