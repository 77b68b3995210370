package gateway

import (
	"context"
	"encoding/binary"
	"io"
	"net/netip"
	"time"

	"github.com/culvert-vpn/culvert/config"
	"github.com/culvert-vpn/culvert/esp"
	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/natt"
	"github.com/culvert-vpn/culvert/offload"
)

// control is the state of the control loop. One goroutine owns it.
type control struct {
	*datapath
	options  *options
	requests <-chan func(*control)
	endpoint *ike.Endpoint
	edges    *edges
	guard    *guard
	server   *server // nil without a control socket
	clock    *clock
	resolver *resolver
	prober   *prober  // nil without sockets of the host's own
	lookout  *lookout // nil without a host
	log      *eventLog
	keys     keyLog

	inner    *inner
	leases   *leases
	policies *policies
	slots    *esp.Slots
	children map[uint32]*child // by inbound SPI
	routes   map[natt.Path]*route
	routesTo map[netip.Addr][]*route // the same by the address of the peer
	mtus     map[netip.Addr]int      // of the way to a peer, as far as is known
	answers  []ike.Input             // to effects, for when the others are carried out

	installed []uint32     // inbound SPIs that were installed by the current input
	overtaken *inboundLoop // opens what came for them before

	order     []*connection // of the configuration
	conns     map[string]*connection
	strangers *connection // stands for all peers that belong to no connection
	traced    uint64      // counts IKE messages
	refused   []Failure   // of peers that belong to no connection, the latest last
	warnings  warnings    // about the host
	networks  []hostNetwork
	// claimsChanged: connections or networks are others than when they were compared last.
	claimsChanged bool
	ikeDrops      map[string]uint64
	counts        messageCounts
	reqids        map[[2]string]uint64 // by connection and child
	news          []ike.Event          // of the current input, for the watches
	watches       map[*watch]bool
	began         time.Time
	sources       *sources // of the configuration
	shunts        []config.Shunt
	noOffload     offload.Set  // of the configuration at the start
	changes       []ike.Change // of the last reload
}

// newControl makes the state of a gateway that has no SA yet.
func newControl(g *Gateway, e *edges, h *guard, mtu int) *control {
	now := time.Now()
	c := &control{
		datapath: &datapath{mail: newMailbox(&g.counters), counters: &g.counters, start: now, deviceMTU: mtu},
		options:  &g.options, requests: g.requests, edges: e, guard: h,
		clock:     newClock(g.options.uptime),
		log:       &eventLog{log: g.options.log},
		keys:      keyLog{ike: g.options.ikeKeys, esp: g.options.espKeys},
		slots:     esp.NewSlots(1 << slotBits),
		children:  make(map[uint32]*child),
		routes:    make(map[natt.Path]*route),
		routesTo:  make(map[netip.Addr][]*route),
		mtus:      make(map[netip.Addr]int),
		conns:     make(map[string]*connection),
		strangers: &connection{},
		ikeDrops:  make(map[string]uint64),
		counts:    messageCounts{of: make(map[string]*[countKinds]uint64)},
		reqids:    make(map[[2]string]uint64),
		watches:   make(map[*watch]bool),
		began:     now,
		noOffload: g.cfg.NoOffload,
		sources:   &sources{file: g.cfg},
	}
	c.inner = newInner(g.options.host)
	c.leases = openLeases(g.cfg.Pools, g.options.state, g.options.log)
	c.endpoint = ike.New(ike.Config{
		Rand: g.options.rand, Datapath: lender{c}, Lender: c.leases, Secrets: g.cfg.Secrets, Connections: g.cfg.Connections,
		Retransmit: g.cfg.Retransmit, TokenSecret: g.tokenSecret,
		LogKeys: g.options.ikeKeys != nil, Tracer: c,
	})
	c.overtaken = newInboundLoop(c.datapath, nil, true, e.writer(c.counters))
	c.policies = newPolicies(c.datapath, g.cfg.Connections, g.cfg.Shunts...)
	c.shunts = g.cfg.Shunts
	c.configure(g.cfg.Connections)
	c.resolver = newResolver(&g.options, e, g.answer)
	c.prober = newProber(&g.options, g.answer)
	if g.options.host != nil {
		c.lookout = newLookout(g.options.host, g.answer)
	}
	return c
}

// run is the control loop. It ends when ctx has ended and the peers have answered the good-bye, or it is not worth
// waiting any longer; or with an error from broken.
func (c *control) run(ctx context.Context, broken <-chan error) (failure error) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	mend, noMending := c.guard.due()
	defer noMending()
	look := time.NewTicker(lookAtClock)
	defer look.Stop()
	defer func() { c.leases.finish(time.Now()) }()
	stop := ctx.Done()
	var graceOver <-chan time.Time
	shutDown := func() {
		stop, broken = nil, nil
		graceOver = time.After(shutdownGrace)
		c.handle(ike.Shutdown{})
	}
	for {
		if graceOver != nil && c.endpoint.Idle() {
			return failure
		}
		if at, ok := c.endpoint.Deadline(); ok {
			timer.Reset(c.clock.until(at))
		}
		known, begun, unknown := c.mail.next()
		select {
		case l := <-known:
			c.open(l)
		case l := <-begun:
			c.open(l)
		case l := <-unknown:
			c.open(l)
		case <-timer.C:
			c.handle(ike.Tick{})
		case f := <-c.requests:
			f(c)
		case now := <-look.C: // after which the timer is set anew
			for _, ch := range c.children {
				ch.seeUse(now)
			}
			if c.clock.woke() {
				c.handle(ike.Woke{})
			}
			c.review()
		case <-mend:
			c.expose()
			c.guard.report(c.guard.mend())
		case <-stop:
			shutDown()
		case failure = <-broken:
			shutDown()
		case <-graceOver:
			return failure
		}
	}
}

// open handles what waited in the mailbox.
func (c *control) open(l letter) {
	c.counters.waiting.took(time.Since(l.at))
	c.handle(l.in)
}

// handle gives one input to the endpoint and carries out what it returns.
func (c *control) handle(in ike.Input) {
	begun := time.Now()
	defer func() { c.counters.handling.took(time.Since(begun)) }()
	if d, ok := in.(ike.Datagram); ok && d.Path.Local.Addr().IsUnspecified() {
		in = c.located(d)
	}
	for c.answers = append(c.answers, in); len(c.answers) > 0; {
		in, c.answers = c.answers[0], c.answers[1:]
		for _, effect := range c.endpoint.Handle(c.clock.now(), in) {
			c.carryOut(effect)
		}
	}
	c.policies.publish()
	if c.guard.isRested() {
		c.expose()
	}
	c.openEarly()
	c.leases.save(time.Now())
	c.tellWatches()
}

// expose tells the host of what it has to protect, if that is something else than before.
func (c *control) expose() {
	if policies, changed := c.policies.expose(); changed {
		c.guard.report(c.guard.protect(policies))
	}
}

// located says at which of our addresses a datagram arrived, where the socket cannot tell: the one that we would answer
// from.
func (c *control) located(d ike.Datagram) ike.Datagram {
	if local, err := c.resolver.localFor(d.Path.Remote); err == nil {
		d.Path.Local = netip.AddrPortFrom(local, d.Path.Local.Port())
	}
	return d
}

// lender is the endpoint's view of the datapath.
type lender struct{ c *control }

// AllocSPI lends an inbound SPI.
func (l lender) AllocSPI() (uint32, bool) {
	var b [4]byte
	if _, err := io.ReadFull(l.c.options.rand, b[:]); err != nil {
		return 0, false
	}
	spi, ok := l.c.slots.Alloc(binary.BigEndian.Uint32(b[:]))
	if ok {
		l.c.early.expect(spi)
	}
	return spi, ok
}

// FreeSPI takes an SPI back.
func (l lender) FreeSPI(spi uint32) {
	l.c.early.take(spi, l.c.now())
	l.c.slots.Free(spi)
}

// Received counts the packets that authenticated under an inbound SPI.
func (l lender) Received(spi uint32) uint64 {
	sa := l.c.inboundSA(spi)
	if sa == nil {
		return 0
	}
	packets, _ := sa.esp.Stats()
	return packets
}

// Sent counts the packets that were sent by the other direction of a Child SA.
func (l lender) Sent(spi uint32) uint64 {
	ch := l.c.children[spi]
	if ch == nil || ch.out == nil {
		return 0
	}
	packets, _ := ch.out.esp.Stats()
	return packets
}
