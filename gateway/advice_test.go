package gateway

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/culvert-vpn/culvert/ike"
)

func TestAdviceAddresses(t *testing.T) {
	have := []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1"), netip.MustParseAddr("172.16.0.1"),
		netip.MustParseAddr("2001:db8:b1::1"), netip.MustParseAddr("fe80::1")}
	for _, c := range []struct {
		local string
		want  []string // empty: nothing to say
	}{
		{"", nil},
		{"172.16.0.1/32", nil},
		{"172.16.0.0/12", nil},
		{"0.0.0.0/0", nil},
		{"127.0.0.77/32", nil},
		{"203.0.113.1/32 172.16.0.1/32", nil}, // such as an address that comes later
		{"203.0.113.1/32", []string{`connection "road"`, "local_addrs = 203.0.113.1,", "this host (172.16.0.1) or leave local_addrs out"}},
		{"203.0.113.0/24 198.51.100.1/32", []string{"local_addrs = 203.0.113.0/24, 198.51.100.1,"}},
		{"2001:db8:ff::1/128", []string{"this host (2001:db8:b1::1) or"}},
		{"203.0.113.1/32 2001:db8:ff::1/128", []string{"this host (172.16.0.1, 2001:db8:b1::1) or"}},
	} {
		conn := &ike.Connection{Name: "road"}
		for _, p := range strings.Fields(c.local) {
			conn.LocalAddrs = append(conn.LocalAddrs, netip.MustParsePrefix(p))
		}
		got := adviseAddresses([]*ike.Connection{conn, {Name: "other"}}, have)
		if len(got) != min(len(c.want), 1) {
			t.Errorf("%q: %q", c.local, got)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(got[0], want) {
				t.Errorf("%q: %q lacks %q", c.local, got[0], want)
			}
		}
	}
	conn := &ike.Connection{Name: "road", LocalAddrs: []netip.Prefix{netip.MustParsePrefix("203.0.113.1/32")}}
	if got := adviseAddresses([]*ike.Connection{conn}, have[:2]); len(got) != 1 || !strings.Contains(got[0], "host, leave local_addrs out") {
		t.Errorf("on a host without addresses: %q", got)
	}

	// The addresses of the host that the test runs on are its own.
	list, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range list {
		addr, _ := netip.AddrFromSlice(a.(*net.IPNet).IP)
		addr = addr.Unmap()
		own := &ike.Connection{LocalAddrs: []netip.Prefix{netip.PrefixFrom(addr, addr.BitLen())}}
		if got := AdviceAddresses([]*ike.Connection{own}); len(got) != 0 {
			t.Errorf("%v: %q", addr, got)
		}
	}
	if got := AdviceAddresses([]*ike.Connection{conn}); len(got) != 1 {
		t.Errorf("an address for documentation: %q", got)
	}
}
