package sim

import (
	"net/netip"
	"time"
)

// NAT is a box that translates the addresses of the hosts behind it to one public address.
type NAT struct {
	Public netip.Addr
	// Timeout is how long a mapping of a masquerading box lives without a packet from inside; 0 means for ever. A 1:1 box has
	// no mappings.
	Timeout time.Duration

	one      *Host // of a 1:1 box
	mappings []*mapping
	nextPort uint16
}

// mapping is what a masquerading box remembers of one inner address and port: the port that stands for it outside, and
// with whom it talked. A packet from anybody else is not let in (RFC 4787: address- and port-dependent filtering, the strictest).
type mapping struct {
	host  *Host
	inner netip.AddrPort
	port  uint16
	peers []netip.AddrPort
	used  time.Time
}

// Masquerade puts hosts behind a box that gives each flow a port of its own, as a home router does. Nobody can
// reach them unless they spoke first.
func (w *World) Masquerade(public string, timeout time.Duration, hosts ...*Host) *NAT {
	n := &NAT{Public: netip.MustParseAddr(public), Timeout: timeout, nextPort: 20000}
	for _, h := range hosts {
		h.nat = n
	}
	w.nats = append(w.nats, n)
	return n
}

// OneToOne puts a host behind a box that translates its address and nothing else, as clouds do.
func (w *World) OneToOne(public string, host *Host) *NAT {
	n := &NAT{Public: netip.MustParseAddr(public), one: host}
	host.nat = n
	w.nats = append(w.nats, n)
	return n
}

// Rebind forgets all mappings, as when the box restarts: packets from inside get new ports, and those from outside
// are lost until then.
func (n *NAT) Rebind() { n.mappings = nil }

// Readdress gives the box another public address, as when a provider assigns a new one; all mappings are gone.
func (n *NAT) Readdress(public string) {
	n.Public = netip.MustParseAddr(public)
	n.Rebind()
}

// out translates a datagram from inside.
func (n *NAT) out(now time.Time, d *Datagram) {
	if n.one != nil {
		d.Src = netip.AddrPortFrom(n.Public, d.Src.Port())
		return
	}
	m := n.find(now, func(m *mapping) bool { return m.inner == d.Src })
	if m == nil {
		n.nextPort++
		m = &mapping{host: d.From, inner: d.Src, port: n.nextPort}
		n.mappings = append(n.mappings, m)
	}
	m.used = now
	m.talkTo(d.Dst)
	d.Src = netip.AddrPortFrom(n.Public, m.port)
}

// in translates a datagram from outside and returns the host it is for, or nil if it is not let in.
func (n *NAT) in(now time.Time, d *Datagram) *Host {
	if n.one != nil && n.one.nat != n {
		return nil // it has moved
	}
	if n.one != nil {
		d.Dst = netip.AddrPortFrom(n.one.Addr, d.Dst.Port())
		return n.one
	}
	m := n.find(now, func(m *mapping) bool { return m.port == d.Dst.Port() })
	if m == nil || m.host.nat != n || !m.talksTo(d.Src) {
		return nil
	}
	d.Dst = m.inner
	return m.host
}

// find returns the mapping for which match is true, if it is alive.
func (n *NAT) find(now time.Time, match func(*mapping) bool) *mapping {
	for i, m := range n.mappings {
		if !match(m) {
			continue
		}
		if n.Timeout > 0 && now.Sub(m.used) > n.Timeout {
			n.mappings = append(n.mappings[:i], n.mappings[i+1:]...)
			return nil
		}
		return m
	}
	return nil
}

func (m *mapping) talkTo(peer netip.AddrPort) {
	if !m.talksTo(peer) {
		m.peers = append(m.peers, peer)
	}
}

func (m *mapping) talksTo(peer netip.AddrPort) bool {
	for _, p := range m.peers {
		if p == peer {
			return true
		}
	}
	return false
}
