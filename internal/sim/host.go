package sim

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/natt"
	"github.com/culvert-vpn/culvert/pool"
	"github.com/culvert-vpn/culvert/psk"
)

// Config is the policy of a host. It outlives a reboot.
type Config struct {
	Connections []*ike.Connection
	// Secret is shared with everybody; Secrets, when set, is used instead.
	Secret     string
	Secrets    *psk.Store
	Retransmit ike.Retransmit
	// Ranges are what the pools of the connections lend of.
	Ranges []pool.Range
}

// Host is an endpoint with an address and a datapath.
type Host struct {
	*ike.Endpoint
	Name string
	Addr netip.Addr
	// Others are further addresses, of which it prefers Addr.
	Others []netip.Addr
	// Events are all that were returned so far.
	Events []ike.Event
	// Changes are what each Reconfigure has come to.
	Changes [][]ike.Change

	w     *World
	cfg   ike.Config
	nat   *NAT
	table datapath
	// book holds what is lent; what is assigned to the host is by connection. Both are as of now.
	book     *pool.Book
	ranges   []pool.Range
	assigned map[string]ike.Assignment
	// skew is how far the clock of the host is ahead of the world's.
	skew time.Duration
	down bool
	// ticks counts the ticks at lastTick, to notice an endpoint that asks for one again and again.
	ticks    int
	lastTick time.Time
	// notBefore stops a busy loop, once it was noticed.
	notBefore time.Time
}

// entropy makes bytes of the world's randomness, each host having a stream of its own.
type entropy struct{ *rand.ChaCha8 }

// withSecrets has the Secret in a store.
func (c Config) withSecrets() Config {
	if c.Secrets == nil {
		c.Secrets = psk.NewStore()
		if err := c.Secrets.Add("ike-all", []byte(c.Secret), nil); err != nil {
			panic(err)
		}
	}
	return c
}

// Host adds a host and starts it at once.
func (w *World) Host(name, addr string, c Config) *Host {
	h := &Host{Name: name, Addr: netip.MustParseAddr(addr), w: w}
	c = c.withSecrets()
	var seed [32]byte
	for i := range seed {
		seed[i] = byte(w.rand.Uint32())
	}
	h.cfg = ike.Config{
		Rand: entropy{rand.NewChaCha8(seed)}, Datapath: &h.table, Secrets: c.Secrets, Connections: c.Connections,
		Retransmit: c.Retransmit, LogKeys: true, TokenSecret: slices.Clone(seed[:]),
	}
	h.table = newDatapath(h)
	h.ranges, h.assigned = c.Ranges, make(map[string]ike.Assignment)
	h.book = pool.New(h.ranges)
	h.cfg.Lender = h.book
	h.Endpoint = ike.New(h.cfg)
	w.hosts = append(w.hosts, h)
	// The first tick comes by itself, but after whatever the test still has to set up.
	w.After(0, h.tellAddresses)
	return h
}

// Reboot loses all that the host knew but its configuration, and what its pools remember. Nobody is told.
func (h *Host) Reboot() {
	h.w.trace.note(h.w, h, "reboots")
	h.table = newDatapath(h)
	h.assigned = make(map[string]ike.Assignment)
	h.reopen()
	h.Endpoint = ike.New(h.cfg)
	h.ticks = 0
	h.w.After(0, h.tellAddresses)
}

// reopen reads the leases from what was written of them.
func (h *Host) reopen() {
	text, err := h.book.Text(h.w.now)
	h.book = pool.New(h.ranges)
	if err == nil {
		err = h.book.Restore(text)
	}
	if err != nil {
		h.w.fail("the leases of %s cannot be read again: %v", h.Name, err)
	}
	h.cfg.Lender = h.book
}

// Reconfigure puts another configuration into effect, which the host has after a reboot as well.
func (h *Host) Reconfigure(c Config) {
	c = c.withSecrets()
	h.cfg.Secrets, h.cfg.Retransmit = c.Secrets, c.Retransmit
	h.Give(ike.Reconfigure{Secrets: c.Secrets, Connections: c.Connections, Retransmit: c.Retransmit})
}

// SetDown takes the host off the network, or puts it back. Its clock goes on.
func (h *Host) SetDown(down bool) {
	h.w.trace.note(h.w, h, map[bool]string{true: "goes off the network", false: "is back on the network"}[down])
	h.down = down
}

// StepClock moves the clock of the host ahead, as after a suspend.
func (h *Host) StepClock(d time.Duration) {
	h.w.trace.note(h.w, h, fmt.Sprintf("clock steps by %v", d))
	h.skew += d
}

// Suspend lets the host sleep: nothing reaches it, none of its timers runs, and its clock has gone on when it wakes.
func (h *Host) Suspend(d time.Duration) {
	h.w.trace.note(h.w, h, fmt.Sprintf("sleeps for %v", d))
	h.down, h.notBefore = true, h.w.now.Add(d)
	h.w.After(d, func() {
		h.down, h.notBefore = false, time.Time{}
		h.Give(ike.Woke{})
	})
}

// Initiate, Terminate and Rekey are the operator's orders; an empty child means the whole connection, or its IKE SA.
func (h *Host) Initiate(conn, child string)  { h.Give(ike.Initiate{Conn: conn, Child: child}) }
func (h *Host) Terminate(conn, child string) { h.Give(ike.Terminate{Conn: conn, Child: child}) }
func (h *Host) Rekey(conn, child string)     { h.Give(ike.Rekey{Conn: conn, Child: child}) }

// Shutdown ends the endpoint.
func (h *Host) Shutdown() { h.Give(ike.Shutdown{}) }

// Seen counts the events of a kind so far.
func (h *Host) Seen(kind ike.EventKind) int {
	n := 0
	for _, ev := range h.Events {
		if ev.Kind == kind {
			n++
		}
	}
	return n
}

// deadline is when the host wants a tick, in the world's time.
func (h *Host) deadline() (time.Time, bool) {
	at, ok := h.Deadline()
	at = at.Add(-h.skew)
	if at.Before(h.notBefore) {
		at = h.notBefore
	}
	return at, ok
}

// maxTicks is how many ticks at one moment are taken for a busy loop.
const maxTicks = 20

func (h *Host) tick() {
	if !h.w.now.Equal(h.lastTick) {
		h.lastTick, h.ticks = h.w.now, 0
	}
	if h.ticks++; h.ticks > maxTicks {
		h.w.fail("%s wants a tick again and again", h.Name)
		h.notBefore = h.w.now.Add(time.Second)
		return
	}
	h.Give(ike.Tick{})
}

// Give lets the endpoint take an input, and carries out the effects.
func (h *Host) Give(in ike.Input) {
	if isTold(in) {
		h.w.trace.note(h.w, h, in)
	}
	effects := h.Handle(h.w.now.Add(h.skew), in)
	for _, e := range effects {
		h.carryOut(e)
	}
	h.w.watch.step(h)
}

// isTold reports whether an input has a line of its own in the picture of the run.
func isTold(in ike.Input) bool {
	switch in.(type) {
	case ike.Datagram, ike.Tick, ike.Resolved:
		return false
	}
	return true
}

func (h *Host) carryOut(e ike.Effect) {
	switch e := e.(type) {
	case ike.Send:
		data := slices.Clone(e.Data)
		h.w.watch.sends(h, data)
		h.transmit(e.Path, natt.AppendIKE(nil, e.Path, data), nil)
	case ike.Keepalive:
		h.transmit(e.Path, []byte{natt.KeepaliveByte}, nil)
	case ike.Dial:
		h.w.After(0, func() { h.Give(h.resolve(e)) })
	case ike.Install:
		h.w.watch.installs(h, e)
		h.table.install(e)
	case ike.Remove:
		h.table.remove(e)
	case ike.Repath:
		h.table.repath(e)
	case ike.Survey:
		h.w.After(0, func() { h.Give(h.survey(e)) })
	case ike.Assign:
		h.assigned[e.Conn.Name] = e.Assignment
	case ike.Keys:
		h.w.trace.keys = append(h.w.trace.keys, e)
	case ike.Reconfigured:
		h.cfg.Connections = e.Connections
		h.Changes = append(h.Changes, e.Changes)
	case ike.Event:
		h.w.watch.event(h, e)
		h.Events = append(h.Events, e)
		h.w.trace.note(h.w, h, e)
	}
}

// resolve finds the path to a peer. There is no name service: only literal addresses are found.
func (h *Host) resolve(d ike.Dial) ike.Resolved {
	remote, err := netip.ParseAddr(d.Host)
	return ike.Resolved{Conn: d.Conn.Name, Err: err, Path: natt.Path{
		Local: netip.AddrPortFrom(h.Addr, natt.Port), Remote: netip.AddrPortFrom(remote, natt.Port),
	}}
}

// transmit sends a datagram along a path.
func (h *Host) transmit(p natt.Path, data []byte, esp *packet) {
	if h.down || !slices.Contains(h.addrs(), p.Local.Addr()) {
		return
	}
	h.w.send(Datagram{From: h, Src: p.Local, Dst: p.Remote, Data: data, esp: esp})
}

// receive takes a datagram that arrived.
func (h *Host) receive(d Datagram) {
	h.w.trace.arrived(h.w, h, &d)
	path := natt.Path{Local: d.Dst, Remote: d.Src, NATT: d.Dst.Port() == natt.PortNATT}
	if d.esp != nil {
		h.table.receive(d.esp, path)
		return
	}
	if kind, body := natt.Classify(path.NATT, d.Data); kind == natt.IKE {
		data := slices.Clone(body)
		h.w.watch.arrives(h, data)
		h.Give(ike.Datagram{Path: path, Data: data})
	}
}
