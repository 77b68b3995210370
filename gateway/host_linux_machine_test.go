//go:build linux

package gateway

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/tun"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// machine is a host in a network namespace of its own, on a thread that ends with the test:
//
//	lan0  10.1.0.1/16   2001:db8:1::1/64
//	up0   192.0.2.5/24  2001:db8:2::5/64   default routes, MTU 1500; whatever is sent on far0 arrives here
type machine struct {
	t      *testing.T
	device tun.Device
	host   Host
}

const tunnel = "culvert0"

func newMachine(t *testing.T) *machine {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("this test needs root, and CI=true says that it must run")
		}
		t.Skip("needs root to make a network namespace")
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("cannot make a network namespace: %v", err)
	}
	m := &machine{t: t}
	m.sysctl("ipv4/conf/all/rp_filter", "0")
	m.sysctl("ipv4/conf/default/rp_filter", "0")
	m.sysctl("ipv6/conf/all/disable_ipv6", "0")
	m.sysctl("ipv6/conf/default/disable_ipv6", "0")
	m.sysctl("ipv4/ip_forward", "1")
	m.sysctl("ipv6/conf/all/forwarding", "1")
	m.up("lo")
	m.cable("lan0", "lan1", "10.1.0.1/16", "2001:db8:1::1/64")
	m.cable("up0", "far0", "192.0.2.5/24", "2001:db8:2::5/64")
	up := m.link("up0").Attrs().Index
	for _, gw := range []string{"192.0.2.1", "2001:db8:2::1"} {
		m.must(netlink.RouteAdd(&netlink.Route{LinkIndex: up, Dst: anywhere(gw), Gw: net.ParseIP(gw)}))
	}
	m.openDevice()
	m.host = m.newHost()
	return m
}

func anywhere(like string) *net.IPNet {
	return ipNet(fromAll(netip.Prefix{}, netip.MustParseAddr(like).Is6()))
}

func (m *machine) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) sysctl(name, value string) {
	m.t.Helper()
	m.must(os.WriteFile(filepath.Join("/proc/sys/net", name), []byte(value), 0o644))
}

func (m *machine) link(name string) netlink.Link {
	m.t.Helper()
	link, err := netlink.LinkByName(name)
	m.must(err)
	return link
}

func (m *machine) up(name string) { m.t.Helper(); m.must(netlink.LinkSetUp(m.link(name))) }

func (m *machine) cable(name, end string, addrs ...string) {
	m.t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	m.must(netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: end}))
	m.up(name)
	m.up(end)
	for _, a := range addrs {
		m.addAddr(name, a)
	}
}

func (m *machine) addAddr(name, addr string) {
	m.t.Helper()
	a, err := netlink.ParseAddr(addr)
	m.must(err)
	a.Flags = unix.IFA_F_NODAD // usable at once
	m.must(netlink.AddrAdd(m.link(name), a))
}

func (m *machine) openDevice() {
	m.t.Helper()
	device, err := tun.Open(tun.Options{Name: tunnel})
	m.must(err)
	m.t.Cleanup(func() { device.Close() })
	m.device = device
}

// newHost is what a run of the gateway starts with.
func (m *machine) newHost() Host {
	m.t.Helper()
	h, err := NewHost()
	m.must(err)
	m.must(h.Setup(tunnel, 1400))
	return h
}

func (m *machine) protect(policies ...Policy) {
	m.t.Helper()
	m.must(m.host.Protect(policies))
}

func policyOf(local, remote string) Policy {
	var p Policy
	for _, s := range strings.Fields(local) {
		p.Local = append(p.Local, netip.MustParsePrefix(s))
	}
	for _, s := range strings.Fields(remote) {
		p.Remote = append(p.Remote, netip.MustParsePrefix(s))
	}
	return p
}

// packet is what the kernel is asked to route: by the host itself (in empty) or forwarded.
type packet struct {
	from, to string // from empty: not chosen yet
	in       string
	mark     uint32
}

// way is the device the packet takes, with " src ADDRESS" if the kernel chooses one, or "refused".
func (m *machine) way(p packet) string {
	m.t.Helper()
	o := &netlink.RouteGetOptions{Mark: p.mark, Iif: p.in}
	if p.from != "" {
		o.SrcAddr = net.ParseIP(p.from)
	}
	routes, err := netlink.RouteGetWithOptions(net.ParseIP(p.to), o)
	switch {
	case errors.Is(err, unix.EHOSTUNREACH):
		return "refused"
	case err != nil:
		m.t.Fatalf("route of %+v: %v", p, err)
	case routes[0].Type == unix.RTN_UNREACHABLE:
		return "refused"
	}
	link, err := netlink.LinkByIndex(routes[0].LinkIndex)
	m.must(err)
	if p.from == "" {
		return link.Attrs().Name + " src " + routes[0].Src.String()
	}
	return link.Attrs().Name
}

func (m *machine) wantWay(p packet, want, why string) {
	m.t.Helper()
	if got := m.way(p); got != want {
		m.t.Errorf("%s: %+v takes %q, want %q", why, p, got, want)
	}
}

// snapshot is all rules of the machine, and all routes but those the kernel makes for each device and address.
func (m *machine) snapshot() []string {
	m.t.Helper()
	var out []string
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		rules, err := netlink.RuleList(family)
		m.must(err)
		for _, r := range rules {
			out = append(out, fmt.Sprintf("%v proto %d goto %d mark %d iif %q", r, r.Protocol, r.Goto, r.Mark, r.IifName))
		}
		routes, err := netlink.RouteListFiltered(family, &netlink.Route{}, netlink.RT_FILTER_TABLE)
		m.must(err)
		for _, r := range routes {
			if r.Protocol == unix.RTPROT_KERNEL {
				continue
			}
			out = append(out, fmt.Sprintf("%v type %d metric %d proto %d", r, r.Type, r.Priority, r.Protocol))
		}
	}
	return out
}

func (m *machine) wantSnapshot(want []string, why string) {
	m.t.Helper()
	got := m.snapshot()
	for _, line := range got {
		if !slices.Contains(want, line) {
			m.t.Errorf("%s: left over: %s", why, line)
		}
	}
	for _, line := range want {
		if !slices.Contains(got, line) {
			m.t.Errorf("%s: gone: %s", why, line)
		}
	}
}

// read returns the next packet to dst that the kernel gives to the tunnel's device.
func (m *machine) read(dst string) []byte {
	m.t.Helper()
	timer := time.AfterFunc(10*time.Second, func() { m.device.Close() })
	defer timer.Stop()
	buf := make([]byte, 65536)
	for {
		s, err := m.device.Queues()[0].Read(buf)
		if err != nil {
			m.t.Fatalf("no packet to %s at the tunnel's device: %v", dst, err)
		}
		if p := s.Packet; p[0]>>4 == 4 && addrOf(net.IP(p[16:20])) == netip.MustParseAddr(dst) ||
			p[0]>>4 == 6 && addrOf(net.IP(p[24:40])) == netip.MustParseAddr(dst) {
			return p
		}
	}
}

// Addresses of one family in the same network plan.
type plan struct{ local, remote, lanHost, lan, up, far, stranger, mask string }

var families = map[string]plan{
	"IPv4": {"10.1.0.0/16", "10.2.0.0/16", "10.1.0.9", "10.1.0.1", "192.0.2.5", "10.2.0.7", "198.51.100.1", "0.0.0.0/0"},
	"IPv6": {"2001:db8:1::/64", "2001:db8:a::/48", "2001:db8:1::9", "2001:db8:1::1", "2001:db8:2::5", "2001:db8:a::7", "2001:db8:ff::1", "::/0"},
}

func eachFamily(t *testing.T, f func(*testing.T, *machine, plan)) {
	for name, p := range families {
		t.Run(name, func(t *testing.T) { f(t, newMachine(t), p) })
	}
}
