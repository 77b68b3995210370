//go:build linux

package lab

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Net is a network. Its methods and those of its parts end its T when the network cannot be built as told.
type Net struct {
	t     T
	hosts []*Host
}

// New starts an empty network, which goes with t.
func New(t T) *Net {
	t.Helper()
	n := &Net{t: t}
	t.Cleanup(func() {
		for _, h := range n.hosts {
			h.handle.Close()
			h.ns.Close()
		}
	})
	return n
}

// Host is a machine on the network: a network namespace.
type Host struct {
	Name   string
	t      T
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
	h := &Host{Name: name, t: n.t, ns: ns, handle: handle}
	n.hosts = append(n.hosts, h)
	lo, err := handle.LinkByName("lo")
	Must(n.t, err, handle.LinkSetUp(lo))
	// New namespaces take over settings of the host, which differ between distributions.
	h.Sysctl("net/ipv4/conf/all/rp_filter", "0")
	h.Sysctl("net/ipv4/conf/default/rp_filter", "0")
	h.Sysctl("net/ipv4/icmp_ratelimit", "0") // every packet too big is answered
	if h.has6() {
		h.Sysctl("net/ipv6/conf/all/disable_ipv6", "0")
		h.Sysctl("net/ipv6/conf/default/disable_ipv6", "0")
		h.Sysctl("net/ipv6/conf/default/accept_ra", "0")
	}
	return h
}

// Router adds a machine that forwards packets.
func (n *Net) Router(name string) *Host {
	n.t.Helper()
	h := n.Host(name)
	h.Sysctl("net/ipv4/ip_forward", "1")
	if h.has6() {
		h.Sysctl("net/ipv6/conf/all/forwarding", "1")
	}
	return h
}

// has6 tells whether the kernel was started with IPv6.
func (h *Host) has6() bool {
	return h.Do(func() error { _, err := os.Stat("/proc/sys/net/ipv6"); return err }) == nil
}

// Do runs f on this goroutine inside the host's network namespace. Sockets that f opens stay there; goroutines that
// f starts do not run there.
func (h *Host) Do(f func() error) error {
	if err := inNS(h.ns, f); err != nil {
		return fmt.Errorf("%s: %w", h.Name, err)
	}
	return nil
}

// Netlink speaks to the kernel of the host. It ends with the network.
func (h *Host) Netlink() *netlink.Handle { return h.handle }

// Sysctl sets a kernel parameter of the host, named by its path under /proc/sys.
func (h *Host) Sysctl(name, value string) {
	h.t.Helper()
	Must(h.t, h.Do(func() error {
		return os.WriteFile(filepath.Join("/proc/sys", name), []byte(value), 0o644)
	}))
}

// Addr is the first address that the host was given, IPv4 or IPv6.
func (h *Host) Addr() netip.Addr { return h.addrOf(netip.Addr.IsValid) }

// Addr6 is the first IPv6 address that the host was given.
func (h *Host) Addr6() netip.Addr { return h.addrOf(netip.Addr.Is6) }

func (h *Host) addrOf(wanted func(netip.Addr) bool) netip.Addr {
	h.t.Helper()
	i := slices.IndexFunc(h.addrs, wanted)
	if i < 0 {
		h.t.Fatalf("%s has no such address, only %v", h.Name, h.addrs)
	}
	return h.addrs[i]
}

// Configure brings an interface of the host up and gives it addresses, as "192.0.2.1/24".
func (h *Host) Configure(device string, addrs []string) {
	h.t.Helper()
	link, err := h.handle.LinkByName(device)
	Must(h.t, err, h.handle.LinkSetUp(link))
	for _, text := range addrs {
		addr, err := netlink.ParseAddr(text)
		Must(h.t, err)
		// Without this an IPv6 address is unusable until a kernel worker has decided not to look for its double.
		addr.Flags = unix.IFA_F_NODAD
		if err := h.handle.AddrAdd(link, addr); err != nil {
			h.t.Fatalf("%s: address %s on %s: %v", h.Name, text, device, err)
		}
		h.addrs = append(h.addrs, netip.MustParsePrefix(text).Addr())
	}
	link, err = h.handle.LinkByName(device)
	Must(h.t, err)
	if link.Attrs().OperState == netlink.OperUp {
		h.awaitAddrs(addrs)
	}
}

// awaitAddrs waits until packets for these addresses are the host's: with IPv6 the kernel makes the route later, from a
// work queue, when the interface has a carrier.
func (h *Host) awaitAddrs(addrs []string) {
	h.t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for _, text := range addrs {
		addr := netip.MustParsePrefix(text).Addr()
		for {
			routes, err := h.handle.RouteGet(addr.AsSlice())
			if err == nil && len(routes) > 0 && routes[0].Type == unix.RTN_LOCAL {
				break
			}
			if time.Now().After(deadline) {
				h.t.Fatalf("%s: address %s does not become usable: %v", h.Name, text, err)
			}
			time.Sleep(time.Millisecond)
		}
	}
}

// Move replaces an address of the host by another one on the same interface, as when a lease is renewed or a laptop
// changes its network. Routes through the interface that the kernel drops with the address are put back.
func (h *Host) Move(device, from, to string) {
	h.t.Helper()
	link, err := h.handle.LinkByName(device)
	Must(h.t, err)
	routes, err := h.handle.RouteList(link, netlink.FAMILY_ALL)
	Must(h.t, err)
	old, err := netlink.ParseAddr(from)
	Must(h.t, err, h.handle.AddrDel(link, old))
	h.Configure(device, []string{to})
	h.addrs = slices.DeleteFunc(h.addrs, func(a netip.Addr) bool { return a == netip.MustParsePrefix(from).Addr() })
	for _, r := range routes {
		if r.Gw != nil {
			r.Src = nil
			Must(h.t, h.handle.RouteReplace(&r))
		}
	}
}

// Route sends what is for dst, a prefix or "default" (IPv4) or "default6", through the neighbour via.
func (h *Host) Route(dst, via string) {
	h.t.Helper()
	switch dst {
	case "default":
		dst = "0.0.0.0/0"
	case "default6":
		dst = "::/0"
	}
	_, prefix, err := net.ParseCIDR(dst)
	Must(h.t, err)
	if err := h.handle.RouteReplace(&netlink.Route{Dst: prefix, Gw: net.ParseIP(via)}); err != nil {
		h.t.Fatalf("%s: route %s via %s: %v", h.Name, dst, via, err)
	}
}
