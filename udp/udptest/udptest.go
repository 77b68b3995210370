// Package udptest is a network in memory, with sockets that behave as those of package udp do. It is made of channels,
// so that it works inside a bubble of testing/synctest.
package udptest

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"

	"github.com/culvert-vpn/culvert/udp"
)

// Packet is one datagram on its way, as a hook sees it.
type Packet struct {
	From, To netip.AddrPort
	TOS      byte
	Data     []byte // the packet's own copy; a hook may change it
}

// A Hook is what a packet passes on its way: a NAT box rewrites From or To in place, a lossy line returns false. It runs
// on the goroutine that sends, without a lock held, and may be called by several at once.
type Hook func(*Packet) bool

// Network carries datagrams between hosts, at once and in order.
type Network struct {
	mu      sync.Mutex
	sockets []*Conn
	hooks   []Hook
}

// NewNetwork returns a network without hosts.
func NewNetwork() *Network { return &Network{} }

// Hook adds a hook behind those which are there already.
func (n *Network) Hook(h Hook) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hooks = append(slices.Clip(n.hooks), h)
}

// Listen opens a socket on a host that has this one address.
func (n *Network) Listen(addr netip.AddrPort) (*Conn, error) {
	return n.Host(addr.Addr()).Listen(addr)
}

// Host adds a host with these addresses. Hosts with an address in common share the ports of it.
func (n *Network) Host(addrs ...netip.Addr) *Host {
	return &Host{network: n, addrs: slices.Clone(addrs)}
}

// Host is a machine on the network.
type Host struct {
	network *Network
	addrs   []netip.Addr // guarded by network.mu
}

// SetAddrs replaces the host's addresses. A socket bound to an address that is gone hears nothing and cannot send.
func (h *Host) SetAddrs(addrs ...netip.Addr) {
	h.network.mu.Lock()
	defer h.network.mu.Unlock()
	h.addrs = slices.Clone(addrs)
}

const (
	queueLength = 1024 // trains that wait in a socket; more are dropped, as by a full socket buffer
	firstPort   = 49152
)

// Listen opens a socket on an address of the host or an unspecified one; port 0 takes a free port.
func (h *Host) Listen(addr netip.AddrPort) (*Conn, error) {
	n := h.network
	n.mu.Lock()
	defer n.mu.Unlock()
	if !addr.Addr().IsUnspecified() && !slices.Contains(h.addrs, addr.Addr()) {
		return nil, fmt.Errorf("udptest: %s is no address of this host: %w", addr.Addr(), syscall.EADDRNOTAVAIL)
	}
	if addr.Port() == 0 {
		port := uint16(firstPort)
		for h.taken(netip.AddrPortFrom(addr.Addr(), port)) {
			port++
		}
		addr = netip.AddrPortFrom(addr.Addr(), port)
	}
	if h.taken(addr) {
		return nil, fmt.Errorf("udptest: %s is in use: %w", addr, syscall.EADDRINUSE)
	}
	c := &Conn{host: h, local: addr, in: make(chan udp.Datagrams, queueLength), done: make(chan struct{})}
	n.sockets = append(n.sockets, c)
	return c, nil
}

// taken tells whether a socket is in the way of binding addr on this host.
func (h *Host) taken(addr netip.AddrPort) bool {
	return slices.ContainsFunc(h.network.sockets, func(c *Conn) bool {
		if c.local.Port() != addr.Port() || c.local.Addr().Is4() != addr.Addr().Is4() {
			return false
		}
		if c.local.Addr() == addr.Addr() {
			return c.host == h || !addr.Addr().IsUnspecified()
		}
		return c.host == h && (c.local.Addr().IsUnspecified() || addr.Addr().IsUnspecified())
	})
}

// find returns the socket that hears addr: one bound to it before one bound to the unspecified address.
func (n *Network) find(addr netip.AddrPort) *Conn {
	var found *Conn
	for _, c := range n.sockets {
		if c.local.Port() != addr.Port() || !slices.Contains(c.host.addrs, addr.Addr()) {
			continue
		}
		switch {
		case c.local.Addr() == addr.Addr():
			return c
		case c.local.Addr().IsUnspecified() && c.local.Addr().Is4() == addr.Addr().Is4() && found == nil:
			found = c
		}
	}
	return found
}

// Conn is a socket; it implements udp.Conn.
type Conn struct {
	host  *Host
	local netip.AddrPort
	in    chan udp.Datagrams
	done  chan struct{}
	once  sync.Once

	mu      sync.Mutex
	dropped int
}

var _ udp.Conn = (*Conn)(nil)

// Read returns datagrams as they were sent: neighbours of one Write which arrive from and at the same addresses are one
// train, as with UDP_GRO.
func (c *Conn) Read(into []udp.Datagrams) (n int, err error) {
	select {
	case <-c.done:
		return 0, net.ErrClosed
	default:
	}
	select {
	case <-c.done:
		return 0, net.ErrClosed
	case into[0] = <-c.in:
	}
	for n = 1; n < len(into); n++ {
		select {
		case into[n] = <-c.in:
		default:
			return n, nil
		}
	}
	return n, nil
}

// Write never waits: what does not fit in the other socket's queue is dropped and counted there.
func (c *Conn) Write(d udp.Datagrams) error {
	from, hooks, err := c.source(d)
	if err != nil {
		return err
	}
	var trains []train
	for i := range d.Len() {
		p := &Packet{From: from, To: d.Remote, TOS: d.TOS, Data: slices.Clone(d.At(i))}
		pass := true
		for _, hook := range hooks {
			if pass = hook(p); !pass {
				break
			}
		}
		if pass {
			trains = appendPacket(trains, p)
		}
	}
	n := c.host.network
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, t := range trains {
		if to := n.find(t.to); to != nil {
			to.put(udp.Datagrams{Buf: t.data, Stride: t.stride, TOS: t.tos, Remote: t.from,
				Local: netip.AddrPortFrom(t.to.Addr(), to.local.Port())})
		}
	}
	return nil
}

// source decides where a train leaves from.
func (c *Conn) source(d udp.Datagrams) (netip.AddrPort, []Hook, error) {
	select {
	case <-c.done:
		return netip.AddrPort{}, nil, net.ErrClosed
	default:
	}
	n := c.host.network
	n.mu.Lock()
	defer n.mu.Unlock()
	addr := d.Local.Addr()
	if !addr.IsValid() || addr.IsUnspecified() {
		addr = c.local.Addr()
	}
	if addr.IsUnspecified() {
		i := slices.IndexFunc(c.host.addrs, func(a netip.Addr) bool { return a.Is4() == d.Remote.Addr().Is4() })
		if i < 0 {
			return netip.AddrPort{}, nil, udp.ErrUnreachable
		}
		addr = c.host.addrs[i]
	}
	if !slices.Contains(c.host.addrs, addr) {
		return netip.AddrPort{}, nil, udp.ErrSource
	}
	if addr.Is4() != d.Remote.Addr().Is4() {
		return netip.AddrPort{}, nil, udp.ErrUnreachable
	}
	return netip.AddrPortFrom(addr, c.local.Port()), n.hooks, nil
}

// WriteBatch writes one train after the other.
func (c *Conn) WriteBatch(trains []udp.Datagrams) (int, error) {
	for i := range trains {
		if err := c.Write(trains[i]); err != nil {
			return i, err
		}
	}
	return len(trains), nil
}

// train is what of one Write stays together.
type train struct {
	from, to netip.AddrPort
	tos      byte
	stride   int
	data     []byte
	ended    bool // a shorter datagram was the last
}

// appendPacket adds p to the last train, or starts another where the two do not belong together.
func appendPacket(trains []train, p *Packet) []train {
	if len(trains) > 0 {
		t := &trains[len(trains)-1]
		if t.from == p.From && t.to == p.To && t.tos == p.TOS && !t.ended && len(p.Data) > 0 &&
			len(p.Data) <= t.stride && len(t.data)+len(p.Data) <= udp.MaxTrain {
			t.data = append(t.data, p.Data...)
			t.ended = len(p.Data) < t.stride
			return trains
		}
	}
	return append(trains, train{from: p.From, to: p.To, tos: p.TOS, stride: len(p.Data), data: p.Data})
}

func (c *Conn) put(d udp.Datagrams) {
	select {
	case c.in <- d:
	default:
		c.mu.Lock()
		c.dropped++
		c.mu.Unlock()
	}
}

// Dropped is the number of trains that found the queue full.
func (c *Conn) Dropped() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dropped
}

// LocalAddr is the address and port that the socket was made with.
func (c *Conn) LocalAddr() netip.AddrPort { return c.local }

// Close frees the port; Read returns net.ErrClosed.
func (c *Conn) Close() error {
	err := net.ErrClosed
	c.once.Do(func() {
		err = nil
		close(c.done)
		n := c.host.network
		n.mu.Lock()
		defer n.mu.Unlock()
		n.sockets = slices.DeleteFunc(n.sockets, func(o *Conn) bool { return o == c })
	})
	return err
}
