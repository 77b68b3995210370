//go:build linux

package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Net is the network of one scenario. Its methods fail the test when the network cannot be built as told.
type Net struct {
	t     T
	tools *Tools
	dir   string
	hosts []*Host
}

// NewNet starts an empty network, which goes when the test ends.
func NewNet(t T) *Net {
	t.Helper()
	RequireRoot(t)
	n := &Net{t: t, tools: RequireTools(t), dir: workDir(t)}
	t.Cleanup(func() {
		for _, h := range n.hosts {
			h.handle.Close()
			h.ns.Close()
		}
	})
	return n
}

// Dir is where the scenario's captures, logs and configurations are.
func (n *Net) Dir() string { return n.dir }

// Host is a machine on the network: a network namespace.
type Host struct {
	Name   string
	net    *Net
	ns     netns.NsHandle
	handle *netlink.Handle
	addrs  []netip.Addr // in the order in which they were given
}

// Host adds a machine; the name is at most 15 bytes long, because it also names the interfaces that lead to it.
func (n *Net) Host(name string) *Host {
	n.t.Helper()
	ns, err := newNamespace()
	Must(n.t, err)
	handle, err := netlink.NewHandleAt(ns)
	if err != nil {
		ns.Close()
		n.t.Fatalf("%s: netlink: %v", name, err)
	}
	h := &Host{Name: name, net: n, ns: ns, handle: handle}
	n.hosts = append(n.hosts, h)
	lo, err := handle.LinkByName("lo")
	Must(n.t, err, handle.LinkSetUp(lo))
	// New namespaces take over settings of the host, which differ between distributions.
	h.Sysctl("net/ipv4/conf/all/rp_filter", "0")
	h.Sysctl("net/ipv4/conf/default/rp_filter", "0")
	h.Sysctl("net/ipv6/conf/all/disable_ipv6", "0")
	h.Sysctl("net/ipv6/conf/default/disable_ipv6", "0")
	h.Sysctl("net/ipv6/conf/default/accept_ra", "0")
	h.Sysctl("net/ipv4/icmp_ratelimit", "0") // every packet too big is answered
	return h
}

// Router adds a machine that forwards packets.
func (n *Net) Router(name string) *Host {
	n.t.Helper()
	h := n.Host(name)
	h.Sysctl("net/ipv4/ip_forward", "1")
	h.Sysctl("net/ipv6/conf/all/forwarding", "1")
	return h
}

// Do runs f on this goroutine inside the host's network namespace. Sockets that f opens stay there; goroutines that
// f starts do not run there.
func (h *Host) Do(f func() error) error {
	if err := inNS(h.ns, f); err != nil {
		return fmt.Errorf("%s: %w", h.Name, err)
	}
	return nil
}

// Sysctl sets a kernel parameter of the host, named by its path under /proc/sys.
func (h *Host) Sysctl(name, value string) {
	h.net.t.Helper()
	Must(h.net.t, h.Do(func() error {
		return os.WriteFile(filepath.Join("/proc/sys", name), []byte(value), 0o644)
	}))
}

// Addr is the first address that the host was given, IPv4 or IPv6.
func (h *Host) Addr() netip.Addr { return h.addrOf(netip.Addr.IsValid) }

// Addr6 is the first IPv6 address that the host was given.
func (h *Host) Addr6() netip.Addr { return h.addrOf(netip.Addr.Is6) }

func (h *Host) addrOf(wanted func(netip.Addr) bool) netip.Addr {
	h.net.t.Helper()
	i := slices.IndexFunc(h.addrs, wanted)
	if i < 0 {
		h.net.t.Fatalf("%s has no such address, only %v", h.Name, h.addrs)
	}
	return h.addrs[i]
}

// Start runs a program on the host; it is killed when the test ends.
func (h *Host) Start(c Command) (*Process, error) {
	p, err := start(h.net.tools, h.ns, c)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", h.Name, err)
	}
	h.net.t.Cleanup(func() { _ = p.Kill() })
	return p, nil
}

// Run runs a program on the host to its end and returns what it printed.
func (h *Host) Run(c Command) (string, error) {
	out, err := run(h.net.tools, h.ns, c)
	if err != nil {
		return out, fmt.Errorf("%s: %w", h.Name, err)
	}
	return out, nil
}

// Link is a cable between two hosts. On each host the interface has the name of the other one.
type Link struct{ A, B *Host }

// Link connects two hosts and gives each end its addresses, as "192.0.2.1/24".
func (n *Net) Link(a *Host, addrsA []string, b *Host, addrsB []string) *Link {
	n.t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = b.Name
	// The kernel brings a device up at once only when its index is not that of its other end; else it takes its time,
	// up to a second, and drops packets until then. The other end gets the next free number, which is small.
	attrs.Index = 1000 + int(linkIndex.Add(1))
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: a.Name, PeerNamespace: netlink.NsFd(b.ns)}
	if err := a.handle.LinkAdd(veth); err != nil {
		n.t.Fatalf("link %s to %s: %v", a.Name, b.Name, err)
	}
	a.configure(b.Name, addrsA)
	b.configure(a.Name, addrsB)
	l := &Link{A: a, B: b}
	l.awaitUp()
	return l
}

var linkIndex atomic.Uint32 // of the last link made

// awaitUp waits until packets can cross the cable.
func (l *Link) awaitUp() {
	t := l.A.net.t
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	l.ends(func(h *netlink.Handle, link netlink.Link) error {
		for link.Attrs().OperState != netlink.OperUp {
			if time.Now().After(deadline) {
				return fmt.Errorf("link %s to %s does not come up", l.A.Name, l.B.Name)
			}
			time.Sleep(time.Millisecond)
			var err error
			if link, err = h.LinkByIndex(link.Attrs().Index); err != nil {
				return err
			}
		}
		return nil
	})
}

func (h *Host) configure(device string, addrs []string) {
	h.net.t.Helper()
	link, err := h.handle.LinkByName(device)
	Must(h.net.t, err, h.handle.LinkSetUp(link))
	for _, text := range addrs {
		addr, err := netlink.ParseAddr(text)
		Must(h.net.t, err)
		// Without this an IPv6 address is unusable until a kernel worker has decided not to look for its double.
		addr.Flags = unix.IFA_F_NODAD
		if err := h.handle.AddrAdd(link, addr); err != nil {
			h.net.t.Fatalf("%s: address %s on %s: %v", h.Name, text, device, err)
		}
		h.addrs = append(h.addrs, netip.MustParsePrefix(text).Addr())
	}
}

// Move replaces an address of the host by another one on the same interface, as when a lease is renewed or a laptop
// changes its network. Routes through the interface that the kernel drops with the address are put back.
func (h *Host) Move(device, from, to string) {
	h.net.t.Helper()
	link, err := h.handle.LinkByName(device)
	Must(h.net.t, err)
	routes, err := h.handle.RouteList(link, netlink.FAMILY_ALL)
	Must(h.net.t, err)
	old, err := netlink.ParseAddr(from)
	Must(h.net.t, err, h.handle.AddrDel(link, old))
	h.configure(device, []string{to})
	h.addrs = slices.DeleteFunc(h.addrs, func(a netip.Addr) bool { return a == netip.MustParsePrefix(from).Addr() })
	for _, r := range routes {
		if r.Gw != nil {
			r.Src = nil
			Must(h.net.t, h.handle.RouteReplace(&r))
		}
	}
}

// Route sends what is for dst, a prefix or "default" (IPv4) or "default6", through the neighbour via.
func (h *Host) Route(dst, via string) {
	h.net.t.Helper()
	switch dst {
	case "default":
		dst = "0.0.0.0/0"
	case "default6":
		dst = "::/0"
	}
	_, prefix, err := net.ParseCIDR(dst)
	Must(h.net.t, err)
	if err := h.handle.RouteReplace(&netlink.Route{Dst: prefix, Gw: net.ParseIP(via)}); err != nil {
		h.net.t.Fatalf("%s: route %s via %s: %v", h.Name, dst, via, err)
	}
}

// ends calls f for both interfaces of the cable.
func (l *Link) ends(f func(*netlink.Handle, netlink.Link) error) {
	t := l.A.net.t
	t.Helper()
	for _, end := range [][2]*Host{{l.A, l.B}, {l.B, l.A}} {
		link, err := end[0].handle.LinkByName(end[1].Name)
		Must(t, err, f(end[0].handle, link))
	}
}

// SetMTU limits the size of IP packets on the cable, in bytes.
func (l *Link) SetMTU(mtu int) {
	l.A.net.t.Helper()
	l.ends(func(h *netlink.Handle, link netlink.Link) error { return h.LinkSetMTU(link, mtu) })
}

// SetUp plugs the cable in or pulls it. Routes through it that are lost when it is pulled do not come back.
func (l *Link) SetUp(up bool) {
	l.A.net.t.Helper()
	l.ends(func(h *netlink.Handle, link netlink.Link) error {
		if up {
			return h.LinkSetUp(link)
		}
		return h.LinkSetDown(link)
	})
	if up {
		l.awaitUp()
	}
}

// separate makes every packet travel by itself. Otherwise a train of segments crosses a virtual cable as one packet
// that is larger than the MTU, and that is how a capture would show it.
func (l *Link) separate() {
	l.A.net.t.Helper()
	l.ends(func(h *netlink.Handle, link netlink.Link) error { return h.LinkSetGSOMaxSegs(link, 1) })
}
