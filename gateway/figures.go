package gateway

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/culvert-vpn/culvert/explain"
	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/suite"
)

// Figures are the numbers of a gateway, for monitoring. To take them costs the control loop a small part of what a Status does:
// peers are counted, not listed. Counters begin at zero when the gateway starts and only grow.
type Figures struct {
	Started time.Time
	// Answered: the control loop has answered in time. If not, only Drops, keepalives, mailbox and latencies are known.
	Answered    bool
	Connections []ConnectionFigures
	// Strangers are peers that belong to no connection, or not yet.
	Strangers ConnectionFigures
	Shunts    []ShuntFigures
	Pools     []PoolFigures
	// Drops and IKEDrops are by reason. Drops has all reasons there are.
	Drops, IKEDrops                        map[string]uint64
	KeepalivesIn, KeepalivesOut, ECNUnused uint64
	// SPIs is how many inbound SPIs are lent, Queues how many queues the TUN device has.
	SPIs, Queues int
	Offloads     []OffloadStatus
	AESGCM       string
	Lanes        []LaneFigures
	// Handling is how long the control loop took for an input, Waiting how long inputs waited for it in the mailbox.
	Handling, Waiting Histogram
}

// ConnectionFigures are the numbers of a connection, all its peers together.
type ConnectionFigures struct {
	Name string
	// Tally is what there is. Its times are of the host's clock.
	ike.Tally
	// Events is how often what happened, by the name of the event.
	Events map[string]uint64
	// Sent and Came are IKE messages; Resent are requests of ours that were sent again, Repeated those of the peer that came again.
	Sent, Came, Resent, Repeated uint64
	// Failed is when it failed last, zero: never; Cause why, if that is known.
	Failed   time.Time
	Cause    explain.Cause
	Children []ChildFigures
}

// ChildFigures are the numbers of a configured child, all its Child SAs together, those that are gone as well.
type ChildFigures struct {
	Name string
	Up   bool
	ike.ChildTally
	Traffic
	DroppedNoSA uint64
	Events      map[string]uint64
}

// ShuntFigures are the numbers of a policy without a tunnel.
type ShuntFigures struct {
	Connection, Name, Mode string
	Dropped                uint64
}

// PoolFigures are the numbers of a pool: how many addresses it has, how many are in use, and how many are kept for who had them.
type PoolFigures struct {
	Name            string
	Size            uint64
	Online, Offline int
}

// LaneFigures are the numbers of a lane of the mailbox: how many inputs wait in it, and for how many it has room.
type LaneFigures struct {
	Name        string
	Depth, Room int
}

// Figures takes the numbers. ctx limits how long the control loop is waited for.
func (g *Gateway) Figures(ctx context.Context) Figures {
	var c census
	if g.started.Load() && g.do(ctx, func(ctl *control) { c = ctl.census() }) == nil {
		c.Answered = true
		c.complete()
	}
	f := c.Figures
	f.AESGCM, f.Drops = suite.AESGCM(), make(map[string]uint64)
	for d := range dropEnd {
		f.Drops[d.String()] = g.counters.drops[d].Load()
	}
	f.KeepalivesIn, f.KeepalivesOut = g.counters.keepalivesIn.Load(), g.counters.keepalivesOut.Load()
	f.ECNUnused = g.counters.ecnUnused.Load()
	f.Handling, f.Waiting = g.counters.handling.histogram(), g.counters.waiting.histogram()
	return f
}

// census is what the control loop gives away for Figures: what nobody else may read is there already, the rest is to be read from the
// connections, which stand in the order of the figures.
type census struct {
	Figures
	conns     []*connection
	children  [][]*kept // of the connections
	strangers *connection
}

// census is taken by the control goroutine.
func (c *control) census() census {
	s := census{conns: c.order, children: make([][]*kept, len(c.order)), strangers: c.strangers}
	s.Started, s.SPIs, s.Queues = c.began, c.slots.InUse(), len(c.edges.queues)
	s.IKEDrops, s.Offloads, s.Lanes = maps.Clone(c.ikeDrops), c.edges.offloadStatus(), c.mail.lanes()
	known, strangers := c.endpoint.Census()
	tallies := make(map[string]ike.Tally, len(known))
	for _, t := range known {
		tallies[t.Conn] = t
	}
	s.Connections = make([]ConnectionFigures, len(c.order))
	for i, conn := range c.order {
		s.children[i] = conn.children
		s.Connections[i] = c.connectionFigures(conn, tallies[conn.cfg.Name])
	}
	s.Figures.Strangers = c.connectionFigures(c.strangers, strangers)
	if n := len(c.refused); n > 0 {
		s.Figures.Strangers.failed(&c.refused[n-1])
	}
	for _, shunt := range c.policies.shunts {
		s.Shunts = append(s.Shunts, ShuntFigures{Connection: shunt.cfg.Conn, Name: shunt.cfg.Name, Mode: shunt.cfg.Mode(), Dropped: shunt.dropped.Load()})
	}
	for _, p := range c.leases.Uses() {
		s.Pools = append(s.Pools, PoolFigures{Name: p.Name, Size: p.Size(), Online: p.Online, Offline: p.Offline})
	}
	return s
}

func (c *control) connectionFigures(conn *connection, t ike.Tally) ConnectionFigures {
	f := ConnectionFigures{Name: t.Conn, Tally: t}
	f.Since, f.Rekey = c.clock.wall(t.Since), c.clock.wall(t.Rekey)
	f.failed(conn.failure)
	f.Children = make([]ChildFigures, len(conn.children))
	for i, k := range conn.children {
		f.Children[i] = ChildFigures{Name: k.cfg.Name, Up: c.policies.up(k)}
		j := slices.IndexFunc(t.Children, func(t ike.ChildTally) bool { return t.Child == k.cfg.Name })
		if j >= 0 {
			f.Children[i].ChildTally = t.Children[j]
			f.Children[i].Rekey = c.clock.wall(t.Children[j].Rekey)
		}
	}
	return f
}

// failed notes the last failure, if there was one.
func (f *ConnectionFigures) failed(last *Failure) {
	if last == nil {
		return
	}
	f.Failed = last.Time
	if last.Diagnosis != nil {
		f.Cause = last.Diagnosis.Cause
	}
}

// complete reads what anybody may read.
func (s *census) complete() {
	for i, conn := range s.conns {
		s.Connections[i].complete(conn, s.children[i])
	}
	s.Figures.Strangers.complete(s.strangers, nil)
}

func (f *ConnectionFigures) complete(conn *connection, children []*kept) {
	f.Events = conn.tally.byKind()
	f.Sent, f.Came, f.Resent, f.Repeated = conn.tally.sent.Load(), conn.tally.came.Load(), conn.tally.resent.Load(), conn.tally.repeated.Load()
	for i := range f.Children {
		k := children[i]
		f.Children[i].Traffic, f.Children[i].DroppedNoSA, f.Children[i].Events = k.account.total(), k.noSA.Load(), k.tally.byKind()
	}
}
