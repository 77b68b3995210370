package ike

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/natt"
	"github.com/culvert-vpn/culvert/ts"
)

// Endpoint is all the IKE SAs of a host. It is not safe for concurrent use: one goroutine owns it.
type Endpoint struct {
	cfg     Config
	now     time.Time
	effects []Effect

	// sas are found by our SPI; initial are those of them whose first request came from a peer, by that request's
	// sender, to recognise the request when it is repeated, be it after IKE_AUTH (RFC 7296 2.1).
	sas     map[uint64]*ikeSA
	initial map[initialKey]*ikeSA
	// halfOpen counts those whose peer is not authenticated.
	halfOpen   accounts
	cookies    cookies
	calls      pace // of ours
	complaints limiter
	strays     limiter // apart from the complaints: a stream of ESP must not use up the answers to its sender's requests
	// strangers counts the bytes of the fragments that those IKE SAs hold.
	strangers int
	// order holds the IKE SAs in the order of their making: what walks over all of them must not depend on a map. made counts them,
	// madeChildren the Child SAs.
	order              roster
	made, madeChildren uint64
	// peers are those of them whose two ends are known, by these.
	peers map[ends][]*ikeSA
	// children are all installed Child SAs by inbound SPI.
	children map[uint32]*childSA
	// carried finds them by what is on the peer's side of them.
	carried ts.Index[*childSA]
	// keepers in the order of the configuration; byConn and byName find one of them.
	keepers []*keeper
	byConn  map[*Connection]*keeper
	byName  map[string]*keeper
	// addrs are the addresses of the host, nil if they are not known.
	addrs  []netip.Addr
	agenda agenda
	// touched are the IKE SAs that were changed by the current input, stale the keepers that have to make a new plan for it.
	touched []*ikeSA
	stale   []*keeper
	// spent are inbound SPIs whose Remove is among the effects: they are given back when the caller comes again, who has
	// carried out the effects by then.
	spent    []uint32
	shutting bool
	// nextSearch is when it may be searched again for what a peer has nearly right.
	nextSearch time.Time
	// arrival and departure are what the tracer is told of.
	arrival   arrival
	departure Message
}

type initialKey struct {
	spiI uint64
	from netip.AddrPort
}

// New returns an endpoint for cfg. The first Handle, with a Tick say, starts what the configuration wants started.
func New(cfg Config) *Endpoint {
	cfg.Retransmit = cfg.Retransmit.orDefault()
	e := &Endpoint{
		cfg:      cfg,
		sas:      make(map[uint64]*ikeSA),
		initial:  make(map[initialKey]*ikeSA),
		halfOpen: accounts{of: make(map[netip.Addr]int)},
		children: make(map[uint32]*childSA),
		peers:    make(map[ends][]*ikeSA),
	}
	for _, c := range cfg.Connections {
		e.keepers = append(e.keepers, newKeeper(e, c))
	}
	e.nameKeepers()
	return e
}

// Handle takes one input and returns what is to be done about it, in order. now must not go back between calls.
// The effects belong to the caller until the next call.
func (e *Endpoint) Handle(now time.Time, in Input) []Effect {
	if e.now.IsZero() {
		e.start(now)
	}
	if now.After(e.now) {
		e.now = now
	}
	e.freeSpent()
	switch in := in.(type) {
	case Datagram:
		e.datagram(in)
		e.settled()
	case Tick:
		e.tick()
	case Initiate:
		e.withKeeper(in.Conn, func(k *keeper) { k.initiate(in.Child) })
	case Terminate:
		e.withKeeper(in.Conn, func(k *keeper) { k.terminate(in.Child) })
	case Rekey:
		e.withKeeper(in.Conn, func(k *keeper) { k.rekey(in.Child) })
	case Reauth:
		e.withKeeper(in.Conn, (*keeper).reauthenticate)
	case TerminateSA:
		e.terminateSA(in)
	case RedirectSA:
		e.redirectSA(in)
	case Intercept:
		e.withKeeper(in.Conn, func(k *keeper) { k.trap(in.Child, in.On) })
	case RekeySA:
		e.rekeySA(in)
	case Acquire:
		e.withKeeper(in.Conn, func(k *keeper) { k.acquire(in.Child, in.Packet) })
	case Resolved:
		e.withKeeper(in.Conn, func(k *keeper) { k.resolved(in) })
	case Expiring:
		e.onChild(in.SPI, func(c *childSA) { c.limitReached(in.Hard) })
	case Used:
		e.onChild(in.SPI, (*childSA).used)
	case Moved:
		e.onChild(in.SPI, func(c *childSA) { c.moved(in.Path) })
	case Addresses:
		e.addressesChanged(in)
	case Surveyed:
		e.surveyed(in)
	case Unreached:
		e.unreached(in)
	case Woke:
		e.woke()
	case Reconfigure:
		e.reconfigure(in)
	case Stray:
		e.stray(in)
	case Shutdown:
		e.shutdown()
	}
	e.settle()
	effects := e.effects
	e.effects = nil
	return effects
}

// Deadline is when Handle wants a Tick; ok is false if it waits for nothing.
func (e *Endpoint) Deadline() (at time.Time, ok bool) { return e.agenda.next() }

// Idle reports whether nothing is left of any IKE SA but answers kept for a peer that may ask again.
func (e *Endpoint) Idle() bool {
	for sa := range e.order.all() {
		if !sa.isGone() || !sa.timers[timerAnswer].IsZero() {
			return false
		}
	}
	return true
}

func (e *Endpoint) freeSpent() {
	for _, spi := range e.spent {
		e.cfg.Datapath.FreeSPI(spi)
	}
	e.spent = e.spent[:0]
}

// start puts the keepers to work.
func (e *Endpoint) start(now time.Time) {
	e.now = now
	for _, k := range e.keepers {
		k.plan()
	}
}

func (e *Endpoint) withKeeper(conn string, do func(*keeper)) {
	if k := e.byName[conn]; k != nil {
		do(k)
	}
}

func (e *Endpoint) keeperOf(c *Connection) *keeper { return e.byConn[c] }

// nameKeepers makes the keepers known by their names and connections.
func (e *Endpoint) nameKeepers() {
	e.byConn, e.byName = make(map[*Connection]*keeper), make(map[string]*keeper)
	for _, k := range e.keepers {
		e.byConn[k.conn], e.byName[k.conn.Name] = k, k
	}
}

func (e *Endpoint) onChild(spi uint32, do func(*childSA)) {
	if c := e.children[spi]; c != nil {
		do(c)
		e.touch(c.sa)
	}
}

// tick runs whatever is due.
func (e *Endpoint) tick() {
	for owner := e.agenda.due(e.now); owner != nil; owner = e.agenda.due(e.now) {
		owner.fire()
		e.settle()
	}
}

// touch notes that an IKE SA may have something to send, and a new deadline.
func (e *Endpoint) touch(sa *ikeSA) {
	if !sa.touched {
		sa.touched = true
		e.touched = append(e.touched, sa)
	}
}

// settle lets touched IKE SAs and their keepers go on.
func (e *Endpoint) settle() {
	for len(e.touched) > 0 {
		sa := e.touched[0]
		e.touched = e.touched[1:]
		sa.touched = false
		sa.pump()
		sa.scheduleChildren()
		if sa.removed {
			e.agenda.set(&sa.entry, time.Time{})
			continue
		}
		e.agenda.set(&sa.entry, sa.timers.next())
	}
	stale := e.stale
	e.stale = nil
	for _, k := range stale {
		k.stale = false
		k.plan()
	}
	if len(e.touched) > 0 || len(e.stale) > 0 {
		e.settle()
	}
}

func (e *Endpoint) shutdown() {
	e.shutting = true
	for _, k := range e.keepers {
		k.rest()
	}
	for _, sa := range e.order.latestFirst() {
		sa.close("the endpoint shuts down")
		e.touch(sa)
	}
}

func (e *Endpoint) emit(x Effect) { e.effects = append(e.effects, x) }

// send sends a message; conn is the connection that it belongs to, if that is known, and sends how often a request was sent.
func (e *Endpoint) send(conn string, p natt.Path, m *packed, sends int) {
	e.sent(conn, p, m, sends)
	for _, b := range m.datagrams {
		e.emit(Send{Path: p, Data: b})
	}
}

// datagram finds the IKE SA of a message, or starts one.
func (e *Endpoint) datagram(d Datagram) {
	h, err := wire.ParseHeader(d.Data)
	e.arrived(d, h)
	if err != nil {
		e.drop(d, "malformed header")
		return
	}
	if h.Major != 2 {
		e.otherVersion(d, h)
		return
	}
	e.overhear(d, h)
	sa := e.find(d, h)
	e.isFor(sa)
	what, why := admit(sa, h)
	switch what {
	case drop:
		e.drop(d, why)
		return
	case begin:
		e.respond(d)
		return
	case unknown:
		e.unknownSPI(d, h)
		return
	}
	m, err := wire.Parse(d.Data)
	if err != nil || formOf(h) == bare && m.Encrypted != nil {
		e.drop(d, "malformed message")
		return
	}
	e.contains(m.Payloads)
	switch what {
	case suspect:
		e.suspect(sa, d, m)
	case repeat:
		e.arrival.Repeated = true
		sa.repeat(d, m)
	case take:
		e.touch(sa)
		sa.state.message(sa, d, m)
	}
}

// find returns the IKE SA that a message is meant for. The Initiator flag tells whose SPI is whose (RFC 7296 3.1).
func (e *Endpoint) find(d Datagram, h wire.Header) *ikeSA {
	if h.SPIi == 0 {
		return nil
	}
	if h.Initiator && h.SPIr == 0 {
		if h.Exchange != wire.IKE_SA_INIT {
			return nil
		}
		return e.initial[initialKey{h.SPIi, d.Path.Remote}]
	}
	ours, theirs := h.SPIi, h.SPIr
	if h.Initiator {
		ours, theirs = theirs, ours
	}
	sa := e.sas[ours]
	if sa == nil || sa.initiator == h.Initiator {
		return nil
	}
	if known := sa.peerSPI(); known != 0 && known != theirs {
		return nil
	}
	return sa
}

// drop tells of a message that is not acted upon.
func (e *Endpoint) drop(d Datagram, why string) {
	e.arrival.Refused = why
	e.emit(Event{Kind: Dropped, Path: d.Path, Text: why})
}

// randomness that fails leaves nothing to fall back to.
func (e *Endpoint) random(n int) []byte {
	b := make([]byte, n)
	if _, err := io.ReadFull(e.cfg.Rand, b); err != nil {
		panic(fmt.Sprintf("ike: no randomness: %v", err))
	}
	return b
}

// jitter is a random duration in [0, d).
func (e *Endpoint) jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(binary.BigEndian.Uint64(e.random(8)) % uint64(d))
}

// newSPI is an unused IKE SPI of ours; zero is none (RFC 7296 2.6).
func (e *Endpoint) newSPI() uint64 {
	for {
		spi := binary.BigEndian.Uint64(e.random(8))
		if spi != 0 && e.sas[spi] == nil {
			return spi
		}
	}
}

var errNoSPI = errors.New("no inbound SPI is free")
