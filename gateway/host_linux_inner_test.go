//go:build linux

package gateway

import (
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
)

// inner is what the tunnel's device has of addresses.
func (m *machine) inner() []string {
	m.t.Helper()
	list, err := netlink.AddrList(m.link(tunnel), netlink.FAMILY_ALL)
	m.must(err)
	var out []string
	for _, a := range list {
		if addr := addrOf(a.IP); !addr.IsLinkLocalUnicast() {
			out = append(out, prefixOf(a.IPNet).String())
		}
	}
	slices.Sort(out)
	return out
}

func (m *machine) assign(addrs ...string) {
	m.t.Helper()
	var list []netip.Addr
	for _, a := range addrs {
		list = append(list, netip.MustParseAddr(a))
	}
	m.must(m.host.Assign(list))
}

// The device has the addresses of the last Assign, each one usable at once and without a network, and gets them back. Those that others
// gave it stay.
func TestHostAssign(t *testing.T) {
	m := newMachine(t)
	if h, err := NewHost(); err != nil || h.Assign([]netip.Addr{netip.MustParseAddr("10.11.0.1")}) == nil {
		t.Errorf("Assign before Setup is no error (%v)", err)
	}
	want := func(why string, addrs ...string) {
		t.Helper()
		if got := m.inner(); !slices.Equal(got, addrs) {
			t.Errorf("%s: %v, want %v", why, got, addrs)
		}
	}
	m.addAddr(tunnel, "10.99.0.1/32")
	before := m.snapshot()
	m.assign("10.11.0.1", "fd00:11::1")
	want("assigned", "10.11.0.1/32", "10.99.0.1/32", "fd00:11::1/128")
	list, err := netlink.AddrList(m.link(tunnel), netlink.FAMILY_V6)
	m.must(err)
	for _, a := range list {
		if !isUsable(a) {
			t.Errorf("%v is not usable at once: flags %#x", a, a.Flags)
		}
	}
	m.wantSnapshot(before, "an address alone leads nothing anywhere")
	m.assign("10.11.0.2", "fd00:11::1")
	want("another one", "10.11.0.2/32", "10.99.0.1/32", "fd00:11::1/128")

	// Somebody removes them: the next look puts that right.
	link := m.link(tunnel)
	m.must(netlink.AddrDel(link, deviceAddr(netip.MustParseAddr("10.11.0.2"))))
	m.must(netlink.AddrDel(link, deviceAddr(netip.MustParseAddr("fd00:11::1"))))
	m.protect()
	want("mended", "10.11.0.2/32", "10.99.0.1/32", "fd00:11::1/128")

	// That which is to go is gone already.
	m.must(netlink.AddrDel(link, deviceAddr(netip.MustParseAddr("10.11.0.2"))))
	m.assign()
	want("nothing assigned", "10.99.0.1/32")
}

// A client with an inner address sends all its own traffic from there, although the way to the Internet is by another device. The
// address goes, and with the policy for it the traffic goes its usual way again.
func TestHostSourceIsAssigned(t *testing.T) {
	eachFamily(t, func(t *testing.T, m *machine, p plan) {
		inner, single := "10.11.0.1", "10.11.0.1/32"
		if netip.MustParseAddr(p.up).Is6() {
			inner, single = "2001:db8:11::1", "2001:db8:11::1/128"
		}
		m.wantWay(packet{to: p.stranger}, "up0 src "+p.up, "before")
		m.assign(inner)
		m.protect(policyOf(single, p.mask))
		m.wantWay(packet{to: p.stranger}, tunnel+" src "+inner, "the host's own, source not chosen")
		m.wantWay(packet{to: p.far}, tunnel+" src "+inner, "to a network behind the peer")
		m.wantWay(packet{from: inner, to: p.stranger}, tunnel, "from the inner address")
		m.wantWay(packet{from: p.up, to: p.stranger}, "up0", "from an address that a program has chosen")
		m.wantWay(packet{to: p.lanHost}, tunnel+" src "+inner, "to a network that the host is in: everything is everything")
		m.wantWay(packet{to: p.stranger, mark: Mark}, "up0 src "+p.up, "the tunnel's own datagrams")
		m.wantWay(packet{from: p.lanHost, to: p.stranger, in: "lan0"}, "up0", "forwarded")

		conn, err := net.ListenPacket("udp", ":0") // what the kernel does, beside what it says
		m.must(err)
		defer conn.Close()
		_, err = conn.WriteTo([]byte("hello"), net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(p.stranger), 9)))
		m.must(err)
		b := m.read(p.stranger)
		src := addrOf(net.IP(b[12:16]))
		if b[0]>>4 == 6 {
			src = addrOf(net.IP(b[8:24]))
		}
		if src != netip.MustParseAddr(inner) {
			t.Errorf("source is %v, want %v", src, inner)
		}

		pass := policyOf(p.mask, p.local)
		pass.Pass = true
		m.protect(pass, policyOf(single, p.mask))
		m.wantWay(packet{to: p.lanHost}, "lan0 src "+p.lan, "to a network that the host is in, which may pass")
		m.wantWay(packet{to: p.stranger}, tunnel+" src "+inner, "the host's own, beside what may pass")

		// A network of the host's own inside of the policy does not take its place.
		m.protect(policyOf(p.local+" "+single, p.mask))
		m.wantWay(packet{to: p.stranger}, tunnel+" src "+inner, "with a local network in the policy")

		m.assign()
		m.protect()
		m.wantWay(packet{to: p.stranger}, "up0 src "+p.up, "after")
		if got := m.inner(); len(got) != 0 {
			t.Errorf("addresses are left: %v", got)
		}
	})
}

// The addresses go with the device, however the process ends, and with them the traffic: it is refused, not sent in clear from elsewhere.
func TestHostAssignedAfterCrash(t *testing.T) {
	m := newMachine(t)
	m.assign("10.11.0.1")
	m.protect(policyOf("10.11.0.1/32", "10.2.0.0/16"))
	m.wantWay(packet{to: "10.2.0.7"}, tunnel+" src 10.11.0.1", "while it runs")
	m.must(m.device.Close()) // all that a crash does
	list, err := netlink.AddrList(nil, netlink.FAMILY_V4)
	m.must(err)
	if slices.ContainsFunc(list, func(a netlink.Addr) bool { return addrOf(a.IP) == netip.MustParseAddr("10.11.0.1") }) {
		t.Error("the address outlives the device")
	}
	m.wantWay(packet{to: "10.2.0.7"}, "refused", "after the crash")
	m.openDevice()
	m.host = m.newHost()
	m.protect()
	if got := m.inner(); len(got) != 0 {
		t.Errorf("the next run begins with %v", got)
	}
}
