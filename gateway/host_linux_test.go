package gateway

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/tun"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestHostTakesWhatPoliciesCover(t *testing.T) {
	eachFamily(t, func(t *testing.T, m *machine, p plan) {
		m.wantWay(packet{to: p.far}, "up0 src "+p.up, "without a policy")
		m.protect(policyOf(p.local, p.remote))
		m.wantWay(packet{from: p.lanHost, to: p.far, in: "lan0"}, tunnel, "forwarded")
		m.wantWay(packet{from: p.lan, to: p.far}, tunnel, "of the host, from a covered address")
		m.wantWay(packet{to: p.far}, tunnel+" src "+p.lan, "of the host, source not chosen")
		m.wantWay(packet{from: p.up, to: p.far}, "up0", "from an address that no policy names")
		m.wantWay(packet{from: p.lanHost, to: p.stranger, in: "lan0"}, "up0", "to an address that no policy names")
		m.wantWay(packet{to: p.stranger}, "up0 src "+p.up, "to an address that no policy names")
		m.wantWay(packet{to: p.far, mark: Mark}, "up0 src "+p.up, "the tunnel's own datagrams")
		m.wantWay(packet{from: p.lan, to: p.far, mark: Mark}, "up0", "the tunnel's own datagrams")
		m.wantWay(packet{from: p.lan, to: p.far, mark: Mark + 1}, tunnel, "with the mark of others")
	})
}

// Routing is asked twice for some packets, so what the kernel says it would do is not all: see one pass.
func TestHostSendsIntoDevice(t *testing.T) {
	eachFamily(t, func(t *testing.T, m *machine, p plan) {
		m.protect(policyOf(p.local, p.remote))
		conn, err := net.ListenPacket("udp", ":0")
		m.must(err)
		defer conn.Close()
		_, err = conn.WriteTo([]byte("hello"), net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(p.far), 9)))
		m.must(err)
		b := m.read(p.far)
		src := addrOf(net.IP(b[12:16]))
		if b[0]>>4 == 6 {
			src = addrOf(net.IP(b[8:24]))
		}
		if src != netip.MustParseAddr(p.lan) {
			t.Errorf("source is %v, want %v", src, p.lan)
		}
	})
}

func TestHostWithoutAddressInSelectors(t *testing.T) {
	eachFamily(t, func(t *testing.T, m *machine, p plan) {
		local := "10.77.0.0/16"
		if strings.Contains(p.far, ":") {
			local = "2001:db8:77::/64"
		}
		m.protect(policyOf(local, p.remote))
		inside := netip.MustParsePrefix(local).Addr().Next().String()
		m.wantWay(packet{from: inside, to: p.far, in: "lan0"}, tunnel, "forwarded")
		m.wantWay(packet{to: p.far}, "up0 src "+p.up, "of the host, which has no address inside")
	})
}

func TestHostPolicyForEverything(t *testing.T) {
	eachFamily(t, func(t *testing.T, m *machine, p plan) {
		multicast, linkLocal := "239.1.1.1", "169.254.169.254"
		if strings.Contains(p.far, ":") {
			multicast, linkLocal = "ff05::1", "fe80::1"
		}
		m.protect(policyOf(p.local, p.mask))
		m.wantWay(packet{from: p.lanHost, to: p.stranger, in: "lan0"}, tunnel, "forwarded to the Internet")
		m.wantWay(packet{from: p.lan, to: p.stranger}, tunnel, "from a covered address of the host")
		m.wantWay(packet{from: p.up, to: p.stranger}, "up0", "the host's own, by its public address")
		m.wantWay(packet{to: p.stranger}, "up0 src "+p.up, "the host's own")
		m.wantWay(packet{from: p.lan, to: p.lanHost}, "lan0", "between hosts of the local network")
		m.wantWay(packet{to: p.lanHost}, "lan0 src "+p.lan, "to the local network")
		for _, to := range []string{multicast, linkLocal} {
			if got := m.way(packet{from: p.lan, to: to}); got == tunnel || got == "refused" {
				t.Errorf("what stays on a link, to %s, takes %s", to, got)
			}
		}

		// A host that sends all its traffic through the tunnel.
		m.protect(policyOf(netip.PrefixFrom(netip.MustParseAddr(p.up), netip.MustParseAddr(p.up).BitLen()).String(), p.mask))
		m.wantWay(packet{to: p.stranger}, tunnel+" src "+p.up, "the host's own, all through the tunnel")
		m.wantWay(packet{to: p.stranger, mark: Mark}, "up0 src "+p.up, "the tunnel's own datagrams")
		m.wantWay(packet{from: p.lan, to: p.stranger}, "up0", "from an address that no policy names any more")
	})
}

func TestHostKeepsPoliciesApart(t *testing.T) {
	m := newMachine(t)
	m.protect(policyOf("10.1.5.0/24", "0.0.0.0/0"), policyOf("10.1.0.0/16", "10.2.0.0/16"), policyOf("0.0.0.0/0", "10.3.0.0/16"))
	m.wantWay(packet{from: "10.1.5.9", to: "198.51.100.1", in: "lan0"}, tunnel, "network with its Internet traffic tunnelled")
	m.wantWay(packet{from: "10.1.6.9", to: "198.51.100.1", in: "lan0"}, "up0", "network without")
	m.wantWay(packet{from: "10.1.6.9", to: "10.2.0.1", in: "lan0"}, tunnel, "the other policy")
	m.wantWay(packet{from: "10.1.5.9", to: "10.1.6.9", in: "lan0"}, "lan0", "between local networks")
	m.wantWay(packet{from: "192.0.2.5", to: "10.3.0.1"}, tunnel, "policy for all sources")
	m.wantWay(packet{to: "10.3.0.1"}, tunnel+" src 192.0.2.5", "policy for all sources, with the usual one")
	m.wantWay(packet{to: "10.3.0.1", mark: Mark}, "up0 src 192.0.2.5", "the tunnel's own datagrams")
}

// Cases: BUG-30.
func TestHostFailsClosed(t *testing.T) {
	eachFamily(t, func(t *testing.T, m *machine, p plan) {
		covered := []packet{{from: p.lanHost, to: p.far, in: "lan0"}, {from: p.lan, to: p.far}, {to: p.far}}
		policy := policyOf(p.local, p.remote)
		before := m.snapshot()
		m.protect(policy)

		m.must(m.device.Close()) // as the kernel does for a process that is killed
		for _, c := range covered {
			m.wantWay(c, "refused", "the device is gone")
		}
		m.wantWay(packet{to: p.stranger}, "up0 src "+p.up, "not covered, device gone")
		if err := m.host.Protect([]Policy{policy}); err == nil || !strings.Contains(err.Error(), tunnel) {
			t.Errorf("Protect without the device: %v", err)
		}

		m.openDevice() // the next run
		m.host = m.newHost()
		for _, c := range covered {
			m.wantWay(c, "refused", "the next run has no policies yet")
		}
		m.protect(policy)
		for _, c := range covered {
			if got := m.way(c); !strings.HasPrefix(got, tunnel) {
				t.Errorf("after the restart %+v takes %s", c, got)
			}
		}

		m.must(m.device.Close())
		m.openDevice() // a run with another configuration, whose policies fail
		m.host = m.newHost()
		m.protect()
		for _, c := range covered {
			if got := m.way(c); !strings.HasPrefix(got, "up0") {
				t.Errorf("without the policy %+v takes %s", c, got)
			}
		}
		m.wantSnapshot(before, "leftovers of a crash")
	})
}

func TestHostCloseLeavesNothing(t *testing.T) {
	m := newMachine(t)
	// What looks like ours and is not: the same preference, table and source with another protocol; our protocol, which
	// anybody may use, outside of our numbers.
	foreign := netlink.NewRule()
	foreign.Priority, foreign.Src, foreign.Table, foreign.Protocol = prefLocal, ipNet(netip.MustParsePrefix("10.9.0.0/16")), firstTable+1, 99
	m.must(netlink.RuleAdd(foreign))
	foreign = netlink.NewRule()
	foreign.Priority, foreign.Table, foreign.Protocol = 100, 77, hostProtocol
	m.must(netlink.RuleAdd(foreign))
	up := m.link("up0").Attrs().Index
	for _, r := range []netlink.Route{
		{Table: firstTable + 1, Dst: ipNet(netip.MustParsePrefix("10.8.0.0/16")), LinkIndex: up, Protocol: 99},
		{Table: 77, Dst: ipNet(netip.MustParsePrefix("10.8.0.0/16")), LinkIndex: up, Protocol: hostProtocol},
		{Table: 77, Dst: ipNet(netip.MustParsePrefix("2001:db8:8::/64")), LinkIndex: up, Protocol: hostProtocol},
	} {
		m.must(netlink.RouteAdd(&r))
	}
	before := m.snapshot()
	m.protect(policyOf("10.1.0.0/16 10.7.0.0/16 2001:db8:1::/64", "0.0.0.0/0 10.2.0.0/16 2001:db8:a::/48 ::/0"), policyOf("0.0.0.0/0 ::/0", "10.6.0.0/24 2001:db8:b::/64"))
	if len(m.snapshot()) < len(before)+20 {
		t.Fatal("policies made too few rules and routes to test with")
	}
	m.protect(policyOf("10.7.0.0/16", "10.2.0.0/16"))
	m.must(m.host.Close())
	m.wantSnapshot(before, "Close")
	m.must(m.host.Close()) // twice does no harm
	if _, _, err := m.host.RouteTo(netip.MustParseAddr("192.0.2.1")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("RouteTo after Close: %v", err)
	}
	if err := m.host.Protect(nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Protect after Close: %v", err)
	}
}

func TestHostProtectMends(t *testing.T) {
	m := newMachine(t)
	policies := []Policy{policyOf("10.1.0.0/16 2001:db8:1::/64", "10.2.0.0/16 0.0.0.0/0 2001:db8:a::/48"), policyOf("0.0.0.0/0 ::/0", "10.6.0.0/24 2001:db8:b::/64")}
	m.protect(policies...)
	wantComplete := func(when string) {
		t.Helper()
		k := m.host.(*linuxHost).kernel
		have, err := k.state()
		m.must(err)
		want, err := planFIB(planned{hostKernel: k}, m.device.Index(), have, policies)
		m.must(err)
		if add, remove := want.without(have), have.without(want); len(add.rules)+len(add.routes)+len(remove.rules)+len(remove.routes) != 0 {
			t.Fatalf("%s, what was set does not read back:\nmissing %v\nextra %v", when, add, remove)
		}
	}
	wantComplete("at first")
	rules, err := netlink.RuleList(netlink.FAMILY_V4)
	m.must(err)
	for _, r := range rules { // as systemd-networkd does when it restarts
		if r.Protocol == hostProtocol && r.Priority == prefLocal {
			m.must(netlink.RuleDel(&r))
		}
	}
	m.must(netlink.LinkSetDown(m.link(tunnel))) // takes the routes of IPv4 and IPv6 along
	m.up(tunnel)
	m.wantWay(packet{from: "10.1.0.9", to: "10.2.0.1", in: "lan0"}, "up0", "the rules are gone")
	m.protect(policies...)
	wantComplete("mended")
	m.wantWay(packet{from: "10.1.0.9", to: "10.2.0.1", in: "lan0"}, tunnel, "mended")
}

// The address that packets without a source took moves.
func TestHostSourceMoves(t *testing.T) {
	eachFamily(t, func(t *testing.T, m *machine, p plan) {
		policy := policyOf(p.local, p.remote)
		m.protect(policy)
		m.wantWay(packet{to: p.far}, tunnel+" src "+p.lan, "first address")
		bits := policy.Local[0].Bits()
		first, err := netlink.ParseAddr(fmt.Sprintf("%s/%d", p.lan, bits))
		m.must(err)
		m.must(netlink.AddrDel(m.link("lan0"), first))
		m.addAddr("lan0", fmt.Sprintf("%s/%d", p.lanHost, bits))
		m.protect(policy)
		m.wantWay(packet{to: p.far}, tunnel+" src "+p.lanHost, "second address")
	})
}

// A call with the same policies looks at the routing only if the kernel has told of a change.
func TestHostIsQuiet(t *testing.T) {
	m := newMachine(t)
	policies := []Policy{policyOf("10.1.0.0/16 2001:db8:1::/64", "10.2.0.0/16 2001:db8:a::/48")}
	news := m.host.(*linuxHost).news
	m.protect(policies...)
	m.protect(policies...) // its own changes were news
	if news.any() {
		t.Fatal("a call that changes nothing is news for the next one")
	}
	rule := netlink.NewRule()
	rule.Priority, rule.Table = 77, 77
	route := &netlink.Route{Dst: ipNet(netip.MustParsePrefix("203.0.113.0/24")), Gw: net.ParseIP("192.0.2.1")}
	for _, c := range []struct {
		what string
		do   func()
	}{
		{"rule", func() { m.must(netlink.RuleAdd(rule)) }},
		{"IPv6 rule", func() { rule.Family = netlink.FAMILY_V6; m.must(netlink.RuleAdd(rule)) }},
		{"route", func() { m.must(netlink.RouteAdd(route)) }},
		{"address", func() { m.addAddr("lan0", "10.1.0.9/16") }},
		{"IPv6 address", func() { m.addAddr("lan0", "2001:db8:1::9/64") }},
		{"device", func() { m.must(netlink.LinkSetDown(m.link("lan1"))) }},
	} {
		c.do()
		deadline := time.Now().Add(10 * time.Second) // an address of IPv6 is told by a worker of the kernel
		for !news.any() {
			if time.Now().After(deadline) {
				t.Fatalf("%s: no news", c.what)
			}
			time.Sleep(time.Millisecond)
		}
	}
	for range 2 * maxNews { // more than the socket holds
		m.must(netlink.RouteReplace(route))
	}
	for calls := 0; news.any(); calls++ {
		if calls > 10 {
			t.Fatal("the news have no end")
		}
	}
}

// A gateway that has failed lets go of a host that is still protected; the next one takes over.
//
// Cases: BUG-30.
func TestHostRelease(t *testing.T) {
	m := newMachine(t)
	covered := packet{from: "10.1.0.9", to: "10.2.0.1", in: "lan0"}
	before := m.snapshot()
	m.protect(policyOf("10.1.0.0/16", "10.2.0.0/16"))
	m.must(m.host.Release())
	m.must(m.host.Close()) // too late to change anything
	m.must(m.device.Close())
	m.wantWay(covered, "refused", "after a failure")
	m.openDevice()
	m.host = m.newHost()
	m.protect(policyOf("10.1.0.0/16", "10.2.0.0/16"))
	m.wantWay(covered, tunnel, "the next run")
	m.must(m.host.Close())
	m.wantSnapshot(before, "Close")
}

// The questions for the name of a peer stay outside of the tunnel that this peer is to carry.
func TestHostMarkedDNS(t *testing.T) {
	m := newMachine(t)
	m.protect(policyOf("192.0.2.5/32", "0.0.0.0/0"))
	for _, network := range []string{"udp", "tcp"} {
		listener, err := net.Listen("tcp", "192.0.2.5:0")
		m.must(err)
		defer listener.Close()
		conn, err := markedDNS().Dial(t.Context(), network, listener.Addr().String())
		m.must(err)
		defer conn.Close()
		raw, err := conn.(syscall.Conn).SyscallConn()
		m.must(err)
		m.must(raw.Control(func(fd uintptr) {
			if mark, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK); err != nil || mark != Mark {
				t.Errorf("%s: mark %#x, %v", network, mark, err)
			}
		}))
	}
	m.wantWay(packet{to: "198.51.100.53", mark: Mark | 0x10000}, "up0 src 192.0.2.5", "a marked question, with a mark of others besides")
	m.wantWay(packet{to: "198.51.100.53"}, tunnel+" src 192.0.2.5", "other questions")
}

// udpPacket is an IPv4 packet with a UDP datagram without checksum.
func udpPacket(from, to netip.AddrPort, payload string) []byte {
	b := make([]byte, 28, 28+len(payload))
	b[0], b[8], b[9] = 0x45, 64, 17
	b[2], b[3] = byte((28+len(payload))>>8), byte(28+len(payload))
	copy(b[12:], from.Addr().AsSlice())
	copy(b[16:], to.Addr().AsSlice())
	var sum uint32
	for i := 0; i < 20; i += 2 {
		sum += uint32(b[i])<<8 | uint32(b[i+1])
	}
	sum = sum>>16 + sum&0xffff
	sum = ^(sum + sum>>16)
	b[10], b[11] = byte(sum>>8), byte(sum)
	b[20], b[21], b[22], b[23] = byte(from.Port()>>8), byte(from.Port()), byte(to.Port()>>8), byte(to.Port())
	b[24], b[25] = byte((8+len(payload))>>8), byte(8+len(payload))
	return append(b, payload...)
}

// arrives reports whether a datagram of the sender comes through to the socket; what was sent before it is skipped.
func arrives(conn *net.UDPConn, send func(payload string) error, payload string) (bool, error) {
	if err := send(payload); err != nil {
		return false, err
	}
	// Delivery over TUN and veth is over when the send returns, or a moment later: a softirq on the same core.
	_ = conn.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
	buf := make([]byte, 100)
	for {
		n, err := conn.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return false, nil
		}
		if err != nil || string(buf[:n]) == payload {
			return err == nil, err
		}
	}
}

func TestHostStrictReversePath(t *testing.T) {
	m := newMachine(t)
	m.sysctl("ipv4/conf/all/rp_filter", "1")
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{})
	m.must(err)
	defer conn.Close()
	port := conn.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	fromTunnel := func(src, dst string) func(string) error {
		return func(payload string) error {
			b := udpPacket(netip.MustParseAddrPort(src+":9"), netip.AddrPortFrom(netip.MustParseAddr(dst), port), payload)
			return m.device.Queues()[0].Write(tun.Super{Packet: b}, nil)
		}
	}
	far := m.link("far0")
	raw, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
	m.must(err)
	defer unix.Close(raw)
	fromOutside := func(src, dst string) func(string) error {
		return func(payload string) error {
			b := append(slices.Concat(m.link("up0").Attrs().HardwareAddr, far.Attrs().HardwareAddr), 8, 0)
			b = append(b, udpPacket(netip.MustParseAddrPort(src+":9"), netip.AddrPortFrom(netip.MustParseAddr(dst), port), payload)...)
			return unix.Sendto(raw, b, 0, &unix.SockaddrLinklayer{Ifindex: far.Attrs().Index})
		}
	}
	check := func(send func(string) error, want bool, payload string) {
		t.Helper()
		if got, err := arrives(conn, send, payload); err != nil || got != want {
			t.Errorf("%s: arrives %v, %v; want %v", payload, got, err, want)
		}
	}
	check(fromTunnel("10.2.0.7", "10.1.0.1"), false, "out of the tunnel, no policy: the filter works")
	m.protect(policyOf("10.1.0.0/16", "10.2.0.0/16"))
	check(fromTunnel("10.2.0.7", "10.1.0.1"), true, "out of the tunnel")
	check(fromTunnel("198.51.100.1", "10.1.0.1"), false, "out of the tunnel, from elsewhere")
	check(fromOutside("198.51.100.1", "192.0.2.5"), true, "a peer's datagram")

	// The host's own address in a policy for everything: the way back leads into the tunnel, so the peer is not heard.
	all := policyOf("192.0.2.5/32", "0.0.0.0/0")
	m.protect(all)
	check(fromTunnel("198.51.100.1", "192.0.2.5"), true, "out of the tunnel of everything")
	check(fromOutside("198.51.100.1", "192.0.2.5"), false, "a peer's datagram, policy for everything")
	const remedy = "sysctl -w net.ipv4.conf.up0.rp_filter=2"
	if advice := Advice(all); !slices.ContainsFunc(advice, func(s string) bool { return strings.Contains(s, remedy) }) {
		t.Errorf("advice does not say %q: %q", remedy, advice)
	}
	m.sysctl("ipv4/conf/up0/rp_filter", "2")
	check(fromOutside("198.51.100.1", "192.0.2.5"), true, "a peer's datagram after the advice was taken")
	if advice := Advice(all); slices.ContainsFunc(advice, func(s string) bool { return strings.Contains(s, "rp_filter") }) {
		t.Errorf("advice that was taken is given again: %q", advice)
	}
}

func TestHostSetupDevice(t *testing.T) {
	m := newMachine(t)
	m.sysctl("ipv6/conf/"+tunnel+"/disable_ipv6", "1")
	m.must(m.host.Setup(tunnel, 1000))
	link := m.link(tunnel)
	if link.Attrs().MTU != 1280 || link.Attrs().Flags&net.FlagUp == 0 {
		t.Errorf("MTU %d, flags %v; want 1280 and up", link.Attrs().MTU, link.Attrs().Flags)
	}
	addrs, err := netlink.AddrList(link, netlink.FAMILY_ALL)
	m.must(err)
	if len(addrs) != 0 {
		t.Errorf("the device has addresses: %v", addrs)
	}
	m.protect(policyOf("2001:db8:1::/64", "2001:db8:a::/48"))
	m.wantWay(packet{from: "2001:db8:1::9", to: "2001:db8:a::1", in: "lan0"}, tunnel, "IPv6 at the smallest MTU")

	if err := m.host.Setup("culvert9", 1400); err == nil || !strings.Contains(err.Error(), "culvert9") {
		t.Errorf("a device that is not there: %v", err)
	}
	if h, err := NewHost(); err != nil || h.Protect(nil) == nil {
		t.Errorf("Protect before Setup is no error (%v)", err)
	}
}

func TestHostRouteTo(t *testing.T) {
	m := newMachine(t)
	m.protect(policyOf("192.0.2.5/32 2001:db8:2::5/128", "0.0.0.0/0 ::/0"))
	m.must(netlink.RouteAdd(&netlink.Route{Dst: ipNet(netip.MustParsePrefix("203.0.113.0/24")), Gw: net.ParseIP("192.0.2.1"), MTU: 1300}))
	m.must(netlink.LinkSetMTU(m.link("lan0"), 1420))
	for _, c := range []struct {
		remote, local string
		mtu           int
	}{
		{"198.51.100.1", "192.0.2.5", 1500},
		{"::ffff:198.51.100.1", "192.0.2.5", 1500},
		{"203.0.113.1", "192.0.2.5", 1300},
		{"10.1.0.9", "10.1.0.1", 1420},
		{"2001:db8:ff::1", "2001:db8:2::5", 1500},
	} {
		local, mtu, err := m.host.RouteTo(netip.MustParseAddr(c.remote))
		if err != nil || local.String() != c.local || mtu != c.mtu {
			t.Errorf("to %s: %v, %d, %v; want %s, %d", c.remote, local, mtu, err, c.local, c.mtu)
		}
	}
	m.addAddr("lan0", "fe80::5/64")
	if local, _, err := m.host.RouteTo(netip.MustParseAddr("fe80::1%lan0")); err != nil || local.Zone() != "lan0" || !local.IsLinkLocalUnicast() {
		t.Errorf("to a link-local address: %v, %v", local, err)
	}
	m.must(netlink.LinkSetDown(m.link("up0")))
	for _, addr := range []string{"198.51.100.1", "2001:db8:ff::1"} {
		if _, _, err := m.host.RouteTo(netip.MustParseAddr(addr)); err == nil || !strings.Contains(err.Error(), "no route to "+addr) {
			t.Errorf("to %s, without a route: %v", addr, err)
		}
	}
	if _, _, err := m.host.RouteTo(netip.Addr{}); err == nil {
		t.Error("no error for no address")
	}
}

// A default route that comes late, by DHCP, while a policy covers everything: the gateway is a neighbour all the same.
func TestHostLetsOthersAddRoutes(t *testing.T) {
	m := newMachine(t)
	m.protect(policyOf("192.0.2.5/32 2001:db8:2::5/128", "0.0.0.0/0 ::/0"), policyOf("0.0.0.0/0 ::/0", "192.0.2.0/24 2001:db8:2::/64"))
	up := m.link("up0").Attrs().Index
	for _, r := range []netlink.Route{
		{Dst: ipNet(netip.MustParsePrefix("203.0.113.0/24")), Gw: net.ParseIP("192.0.2.1")},
		{Dst: ipNet(netip.MustParsePrefix("203.0.114.0/24")), Gw: net.ParseIP("192.0.2.1"), LinkIndex: up},
		{Dst: ipNet(netip.MustParsePrefix("2001:db8:e::/64")), Gw: net.ParseIP("2001:db8:2::1")},
		{Dst: ipNet(netip.MustParsePrefix("2001:db8:f::/64")), Gw: net.ParseIP("2001:db8:2::1"), LinkIndex: up},
	} {
		if err := netlink.RouteAdd(&r); err != nil {
			t.Errorf("adding %v: %v", r, err)
			continue
		}
		if got := m.way(packet{to: prefixOf(r.Dst).Addr().Next().String(), mark: Mark}); !strings.HasPrefix(got, "up0 ") {
			t.Errorf("%v leads to %s", r, got)
		}
	}
}

func TestHostNeedsCapability(t *testing.T) {
	m := newMachine(t)
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	m.must(unix.Capget(&head, &data[0]))
	data[0].Effective &^= 1 << unix.CAP_NET_ADMIN
	m.must(unix.Capset(&head, &data[0]))
	for what, err := range map[string]error{
		"Setup":   m.host.Setup(tunnel, 1400),
		"Protect": m.host.Protect([]Policy{policyOf("10.1.0.0/16", "10.2.0.0/16")}),
	} {
		if !errors.Is(err, syscall.EPERM) || !strings.Contains(err.Error(), "CAP_NET_ADMIN") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// What may pass goes its usual way although a wider policy covers it; a policy that comes earlier keeps its part of that.
//
// Cases: Ipsec.Conf.2.1.7; FCS_IPSEC_EXT.1.1 T1; FCS_IPSEC_EXT.1.2.
func TestHostPass(t *testing.T) {
	eachFamily(t, func(t *testing.T, m *machine, p plan) {
		single := func(addr string) string {
			a := netip.MustParseAddr(addr)
			return netip.PrefixFrom(a, a.BitLen()).String()
		}
		pass, inner, tcp := policyOf(p.local, p.remote), policyOf(p.local, single(p.far)), policyOf(p.local, single(p.stranger))
		pass.Pass, tcp.Pass = true, true
		tcp.Protocol, tcp.LocalPorts, tcp.RemotePorts = unix.IPPROTO_TCP, Ports{1024, 60000}, Ports{22, 22}
		near := netip.MustParsePrefix(p.remote).Addr().Next().Next().Next().String()
		before := m.snapshot()

		m.protect(tcp, inner, pass, policyOf(p.local, p.mask))
		m.wantWay(packet{from: p.lanHost, to: near, in: "lan0"}, "up0", "forwarded, may pass")
		m.wantWay(packet{from: p.lan, to: near}, "up0", "of the host, may pass")
		m.wantWay(packet{from: p.lanHost, to: p.far, in: "lan0"}, tunnel, "forwarded, kept from passing")
		m.wantWay(packet{from: p.lan, to: p.far}, tunnel, "of the host, kept from passing")
		m.wantWay(packet{from: p.lanHost, to: p.stranger, in: "lan0"}, tunnel, "of another protocol than may pass")
		m.wantWay(packet{from: p.up, to: near}, "up0", "from an address that no policy names")
		m.wantWay(packet{to: p.stranger, mark: Mark}, "up0 src "+p.up, "the tunnel's own datagrams")

		settled := m.snapshot()
		m.host.(*linuxHost).settled = false
		m.protect(tcp, inner, pass, policyOf(p.local, p.mask))
		if after := m.snapshot(); !slices.Equal(settled, after) {
			t.Errorf("made anew, it is something else:\n%q\n%q", settled, after)
		}
		m.must(m.device.Close())
		m.wantWay(packet{from: p.lanHost, to: near, in: "lan0"}, "up0", "may pass, the device is gone")
		m.wantWay(packet{from: p.lanHost, to: p.far, in: "lan0"}, "refused", "kept from passing, the device is gone")
		m.must(m.host.Close())
		if after := m.snapshot(); !slices.Equal(before, after) {
			t.Errorf("left behind:\n%q\n%q", before, after)
		}
	})
}

// Rules for ports see the packets of sockets.
//
// Cases: FCS_IPSEC_EXT.1.2.
func TestHostPassPorts(t *testing.T) {
	eachFamily(t, func(t *testing.T, m *machine, p plan) {
		pass := policyOf(p.local, p.remote)
		pass.Pass, pass.Protocol, pass.RemotePorts = true, unix.IPPROTO_UDP, Ports{7, 8}
		m.protect(pass, policyOf(p.local, p.remote))
		conn, err := net.ListenPacket("udp", net.JoinHostPort(p.lan, "0"))
		m.must(err)
		defer conn.Close()
		for _, port := range []uint16{7, 9} { // the first one is lost, nobody reads it
			_, err = conn.WriteTo([]byte{byte(port)}, net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(p.far), port)))
			m.must(err)
		}
		if b := m.read(p.far); b[len(b)-1] != 9 {
			t.Errorf("to port %d the packet came into the device", b[len(b)-1])
		}
	})
}
