//go:build linux

package e2e

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"

	"github.com/culvert-vpn/culvert/internal/lab"
)

// Net is the network of one scenario. Its methods fail the test when the network cannot be built as told.
type Net struct {
	t     T
	lab   *lab.Net
	tools *Tools
	dir   string
	// disclosure hears what all programs print.
	disclosure *disclosure
}

// NewNet starts an empty network, which goes when the test ends.
func NewNet(t T) *Net {
	t.Helper()
	RequireRoot(t)
	tools, dir := RequireTools(t), workDir(t)
	return &Net{t: t, tools: tools, dir: dir, disclosure: watchDisclosure(t, dir), lab: lab.New(t)}
}

// Dir is where the scenario's captures, logs and configurations are.
func (n *Net) Dir() string { return n.dir }

// Host is a machine on the network: a network namespace.
type Host struct {
	*lab.Host
	net *Net
}

// Host adds a machine; the name is at most 15 bytes long, because it also names the interfaces that lead to it.
func (n *Net) Host(name string) *Host {
	n.t.Helper()
	return &Host{n.lab.Host(name), n}
}

// Router adds a machine that forwards packets.
func (n *Net) Router(name string) *Host {
	n.t.Helper()
	return &Host{n.lab.Router(name), n}
}

// Start runs a program on the host; it is killed when the test ends.
func (h *Host) Start(c Command) (*Process, error) { return start(h, c) }

// Run runs a program on the host to its end and returns what it printed.
func (h *Host) Run(c Command) (string, error) {
	out, err := run(h, c)
	if err != nil {
		return out, fmt.Errorf("%s: %w", h.Name, err)
	}
	return out, nil
}

// Transfer sends n random bytes over TCP from this host to an address of another one.
func (h *Host) Transfer(to *Host, addr netip.Addr, n int64) (Transfer, error) {
	return h.Host.Transfer(to.Host, addr, n)
}

// Datagrams sends datagrams over UDP from this host to an address of another one.
func (h *Host) Datagrams(to *Host, addr netip.Addr, d Datagrams) (DatagramsResult, error) {
	return h.Host.Datagrams(to.Host, addr, d)
}

// What runs on a host is told by these types of package lab.
type (
	// Ping says how to send ICMP echo requests.
	Ping = lab.Ping
	// PingResult is what came of a ping.
	PingResult = lab.PingResult
	// Pinger is a ping that goes on until it is stopped.
	Pinger = lab.Pinger
	// Transfer is what came of sending a stream of random bytes over TCP.
	Transfer = lab.Transfer
	// Datagrams says what to send over UDP.
	Datagrams = lab.Datagrams
	// DatagramsResult is what came of it.
	DatagramsResult = lab.DatagramsResult
	// Process is a running Command. It cannot outlive the process that started it.
	Process = lab.Process
)

// Link is a cable between two hosts. On each host the interface has the name of the other one.
type Link struct {
	*lab.Link
	A, B *Host
}

func newLink(a, b *Host) *Link { return &Link{&lab.Link{A: a.Host, B: b.Host}, a, b} }

// Link connects two hosts and gives each end its addresses, as "192.0.2.1/24".
func (n *Net) Link(a *Host, addrsA []string, b *Host, addrsB []string) *Link {
	n.t.Helper()
	n.lab.Link(a.Host, addrsA, b.Host, addrsB)
	return newLink(a, b)
}

// separate makes every packet travel by itself. Otherwise a train of segments crosses a virtual cable as one packet
// that is larger than the MTU, and that is how a capture would show it.
func (l *Link) separate() {
	l.A.net.t.Helper()
	l.Ends(func(h *netlink.Handle, link netlink.Link) error { return h.LinkSetGSOMaxSegs(link, 1) })
}
