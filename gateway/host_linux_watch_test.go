//go:build linux

package gateway

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TestHostAddresses: those of devices that are up and have a carrier, but not those of the tunnel's device.
func TestHostAddresses(t *testing.T) {
	m := newMachine(t)
	m.addAddr(tunnel, "10.99.0.1/32")
	socket, err := openHostWatch()
	m.must(err)
	defer socket.Close()
	m.must(socket.SetReceiveTimeout(&unix.Timeval{Sec: 60}))
	want := func(why string, addrs ...string) {
		t.Helper()
		slices.Sort(addrs)
		for {
			got, err := m.host.Addresses()
			m.must(err)
			var texts []string
			for _, a := range got {
				texts = append(texts, a.String())
			}
			if slices.Sort(texts); slices.Equal(texts, addrs) {
				return
			}
			// What a carrier does to a device is the work of a worker of the kernel, which tells of it afterwards.
			if _, _, err := socket.Receive(); err != nil {
				t.Fatalf("%s: %v, want %v, and nothing changes any more: %v", why, texts, addrs, err)
			}
		}
	}
	want("at first", "10.1.0.1", "2001:db8:1::1", "192.0.2.5", "2001:db8:2::5")
	m.must(netlink.LinkSetDown(m.link("far0")))
	want("without a carrier", "10.1.0.1", "2001:db8:1::1")
	m.must(netlink.LinkSetDown(m.link("lan0")))
	want("with all devices down")
}

// TestHostWatch: addresses and routes of others are news.
func TestHostWatch(t *testing.T) {
	m := newMachine(t)
	news := make(chan struct{}, 1000)
	ctx, stop := context.WithCancel(t.Context())
	over := make(chan struct{})
	go func() {
		defer close(over)
		m.host.Watch(ctx, func() { news <- struct{}{} })
	}()
	// What the machine was made of may still be told of.
	marker := netip.MustParsePrefix("203.0.113.0/24")
	mark := func() {
		t.Helper()
		for len(news) > 0 {
			<-news
		}
		m.must(netlink.RouteReplace(&netlink.Route{Dst: ipNet(marker), Gw: net.ParseIP("192.0.2.1")}))
		select {
		case <-news:
		case <-time.After(20 * time.Second):
			t.Fatal("a route of others is no news")
		}
		m.must(netlink.RouteDel(&netlink.Route{Dst: ipNet(marker), Gw: net.ParseIP("192.0.2.1")}))
		<-news
	}
	mark()
	m.addAddr("lan0", "10.1.0.77/16")
	select {
	case <-news:
	case <-time.After(20 * time.Second):
		t.Fatal("an address is no news")
	}
	stop()
	select {
	case <-over:
	case <-time.After(20 * time.Second):
		t.Fatal("the end of the context does not end it")
	}
}

// TestIsOurNews reads what the kernel tells of our rules and routes, and of others.
func TestIsOurNews(t *testing.T) {
	m := newMachine(t)
	socket, err := openHostWatch()
	m.must(err)
	defer socket.Close()
	m.protect(policyOf("10.1.0.0/16", "10.2.0.0/16"))
	others := &netlink.Route{Dst: ipNet(netip.MustParsePrefix("203.0.113.0/24")), Gw: net.ParseIP("192.0.2.1")}
	m.must(netlink.RouteReplace(others))
	ours := 0
	for {
		messages, _, err := socket.Receive()
		m.must(err)
		for _, x := range messages {
			if isOurNews(x) {
				ours++
				continue
			}
			// IPv6 takes its time with what the machine was made of; the route is what is waited for.
			if routes, err := netlink.RouteListFiltered(netlink.FAMILY_V4, others, netlink.RT_FILTER_DST); err == nil && len(routes) == 1 && ours >= 4 {
				return
			}
		}
	}
}
