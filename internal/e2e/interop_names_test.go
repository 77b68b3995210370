//go:build linux

package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/culvert-vpn/culvert/resolved/resolvedtest"
)

// namesPair is roadPair with domains that the name servers are for (RFC 8598), by the key that both daemons know.
func namesPair() (confA, confB string) {
	confA, confB = roadPair()
	return edit(confA, "dns = 10.103.0.53", "dns = 10.103.0.53\n25 = corp.example"), confB
}

var nameServers = []netip.Addr{netip.MustParseAddr("10.103.0.53"), netip.MustParseAddr("fd00:103::53")}

// strongSwanResolver is strongSwan with the plugin that enters name servers into a file.
func strongSwanResolver(h *Host, conf string) Peer {
	s := NewStrongSwan(h, conf, "load = "+plugins+" resolve", "plugins {\nresolve {\nfile = /run/resolv.conf\n}\n}")
	Must(h.net.t, os.WriteFile(filepath.Join(s.dir, "resolv.conf"), []byte("nameserver 192.0.2.53\n"), 0o644))
	return s
}

// systemBus gives a daemon a system bus with systemd-resolved on it.
func systemBus(t *testing.T, c *Culvert) *resolvedtest.Bus {
	t.Helper()
	dir := filepath.Join(c.dir, "dbus")
	Must(t, os.MkdirAll(dir, 0o755))
	// The name of a socket is short, that of the directory need not be.
	d, err := os.Open(dir)
	Must(t, err)
	t.Cleanup(func() { d.Close() })
	b, err := resolvedtest.Listen(fmt.Sprintf("/proc/self/fd/%d/system_bus_socket", d.Fd()), resolvedtest.Options{})
	Must(t, err)
	t.Cleanup(b.Close)
	return b
}

// eventually waits until f finds nothing wrong any more.
func (c call) eventually(f func() error) {
	c.Helper()
	var err error
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if err = f(); err == nil {
			return
		}
	}
	c.fail("it never came to that: %v", err)
}

// innerAddrs are the addresses of a host that are out of the pools.
func innerAddrs(t *testing.T, h *Host) (out []string) {
	t.Helper()
	list, err := h.Netlink().AddrList(nil, netlink.FAMILY_ALL)
	Must(t, err)
	for _, a := range list {
		addr, _ := netip.AddrFromSlice(a.IP)
		if text := addr.Unmap().String(); strings.HasPrefix(text, "10.11.") || strings.HasPrefix(text, "fd00:11:") {
			out = append(out, text)
		}
	}
	slices.Sort(out)
	return out
}

// tunnelLink is the number of the tunnel's device, 0 if there is none.
func tunnelLink(t *testing.T, h *Host) int {
	t.Helper()
	links, err := h.Netlink().LinkList()
	Must(t, err)
	for _, l := range links {
		if l.Attrs().Name == "culvert0" {
			return l.Attrs().Index
		}
	}
	return 0
}

// TestInteropNames has a gateway that names its name servers, and the domains they are for. The client has its host use them for as long
// as the tunnel is up (RFC 7296 3.15.1, RFC 8598). After a crash of the client neither the addresses nor the name servers are there.
func TestInteropNames(t *testing.T) {
	t.Parallel()
	for _, cast := range []cast{{"culvert to strongSwan", culvert, strongSwanResolver}, casts[1], casts[2]} {
		t.Run(cast.name, func(t *testing.T) {
			t.Parallel()
			ref := NewReference(t, Plan{B: OneToOne})
			wire := ref.Net.Capture(ref.A.Uplink)
			confA, confB := namesPair()
			p := cast.play(t, ref, confA, confB)
			c := p.calls()[1]
			if client, ours := c.b.(*Culvert); ours {
				c.namesOfCulvert(client)
			} else {
				c.namesOfStrongSwan(c.b.(*StrongSwan))
			}
			Must(t, wire.Stop(), p.a.Stop(), p.b.Stop())
			for _, peer := range []Peer{p.a, p.b} {
				if gateway, ok := peer.(*Culvert); ok {
					readConfiguration(t, wire, gateway)
				}
			}
		})
	}
}

// namesOfCulvert follows our client through an ordinary end and a crash.
func (c call) namesOfCulvert(client *Culvert) {
	c.Helper()
	bus, host := systemBus(c.T, client), c.ref.B.Host
	known := resolvedtest.Link{Servers: nameServers, Domains: []string{"~corp.example"}}
	inUse := func() error {
		want := map[int]resolvedtest.Link{tunnelLink(c.T, host): known}
		if got := bus.Links(); !reflect.DeepEqual(got, want) {
			return fmt.Errorf("systemd-resolved knows %+v, want %+v", got, want)
		}
		return nil
	}
	up := func() {
		c.Helper()
		if err := c.initiator.Initiate("net"); err != nil {
			c.fail("%v", err)
			c.FailNow()
		}
		c.agree("site", "net")
		c.eventually(inUse)
		if got := innerAddrs(c.T, host); !slices.Equal(got, []string{"10.11.0.1", "fd00:11::1"}) {
			c.fail("the client has the addresses %v", got)
		}
	}
	nothing := func(when string) {
		c.Helper()
		if got := innerAddrs(c.T, host); len(got) != 0 {
			c.fail("%s: the client has the addresses %v", when, got)
		}
	}
	up()
	c.down(c.b, "site")
	c.eventually(func() error {
		if got := bus.Links(); len(got) != 0 {
			return fmt.Errorf("systemd-resolved knows %+v of a tunnel that is down", got)
		}
		return nil
	})
	nothing("down")

	up()
	crashed := tunnelLink(c.T, host)
	Must(c.T, client.Kill())
	nothing("after a crash")
	if crashed == 0 || tunnelLink(c.T, host) != 0 { // with a device systemd-resolved forgets its name servers
		c.fail("the device %d of a daemon that is gone: %d", crashed, tunnelLink(c.T, host))
	}
	bus.Close()
	Must(c.T, client.Start())
	nothing("when it runs again")
	// Without systemd-resolved it is said that they are not used, and the rest goes on.
	if err := c.initiator.Initiate("net"); err != nil {
		c.fail("without systemd-resolved: %v", err)
		return
	}
	c.eventually(func() error {
		const said = "the name servers that a peer assigned are not used: systemd-resolved does not run here"
		if !strings.Contains(client.Log(), said) {
			return fmt.Errorf("the log lacks %q", said)
		}
		status, err := client.Ctl("status")
		if err == nil && !strings.Contains(status, "systemd-resolved does not run here") {
			err = fmt.Errorf("culvert status does not say that the name servers are not used:\n%s", status)
		}
		return err
	})
	if got := innerAddrs(c.T, host); len(got) != 2 {
		c.fail("after the crash and without systemd-resolved the client has the addresses %v", got)
	}
}

// namesOfStrongSwan wants the name servers of our gateway in a file.
func (c call) namesOfStrongSwan(client *StrongSwan) {
	c.Helper()
	file := func(want string) func() error {
		return func() error {
			text, err := os.ReadFile(filepath.Join(client.dir, "resolv.conf"))
			var servers []string
			for line := range strings.Lines(string(text)) {
				if words := strings.Fields(line); len(words) > 1 && words[0] == "nameserver" {
					servers = append(servers, words[1])
				}
			}
			slices.Sort(servers)
			if got := strings.Join(servers, " "); err == nil && got != want {
				err = fmt.Errorf("strongSwan's resolv.conf has %q, want %q", got, want)
			}
			return err
		}
	}
	if err := c.initiator.Initiate("net"); err != nil {
		c.fail("%v", err)
		return
	}
	c.agree("site", "net")
	c.eventually(file("10.103.0.53 192.0.2.53 fd00:103::53"))
	c.down(c.b, "site")
	c.eventually(file("192.0.2.53"))
}

// Attributes of a configuration payload (RFC 7296 3.15.1, RFC 8598 4).
const (
	ip4Address, ip4DNS, ip6Address, ip6DNS, ip4Subnet, dnsDomain = "1", "3", "8", "10", "13", "25"
)

// readConfiguration reads the configuration payloads of a run, as tshark sees them with the keys of one gateway: a request in the first
// message of IKE_AUTH, and the reply in the second (RFC 7296 2.19).
func readConfiguration(t *testing.T, wire *Capture, from *Culvert) {
	t.Helper()
	lent := map[string]string{"internal_ip4_address": "10.11.0.1", "internal_ip6_address": "fd00:11::1"}
	told := map[string]string{"internal_ip4_dns": "10.103.0.53", "internal_ip6_dns": "fd00:103::53",
		"internal_ip4_subnet_ip": "10.103.0.0", "internal_ip4_subnet_netmask": "255.255.255.0"}
	const attr = "isakmp.cfg.attr."
	fields := []string{"isakmp.exchangetype", "isakmp.typepayload", "isakmp.cfg.type", attr + "type"}
	for name := range lent {
		fields = append(fields, attr+name)
	}
	for name := range told {
		fields = append(fields, attr+name)
	}
	frames, err := wire.Decode(Keys{Profile: from.Keylog()}, fields...)
	Must(t, err)
	var asked []string // by the last request
	requests, replies := 0, 0
	for _, f := range frames {
		if f.Malformed || f.BadICV {
			t.Errorf("packet %d is malformed: %v, or not intact: %v", f.Number, f.Malformed, f.BadICV)
		}
		types := f.Fields[attr+"type"]
		want := []string{ip4Address, ip6Address, ip4DNS, ip6DNS}
		values := func(of map[string]string, mayLack bool) {
			t.Helper()
			for name, value := range of {
				if got := f.Fields[attr+name]; !slices.Equal(got, []string{value}) && !(mayLack && got == nil) {
					t.Errorf("packet %d has %s %v, want %s", f.Number, name, got, value)
				}
			}
		}
		switch kind := f.Fields["isakmp.cfg.type"]; {
		case kind == nil:
			continue
		case slices.Equal(kind, []string{"1"}):
			asked = types
			requests++
			values(lent, true) // those that it had before
			for name := range told {
				if got := f.Fields[attr+name]; got != nil {
					t.Errorf("packet %d asks with a value of %s: %v", f.Number, name, got)
				}
			}
		case slices.Equal(kind, []string{"2"}):
			replies++
			want = append(want, ip4Subnet)
			values(lent, false)
			values(told, false)
			// Domains are for those who asked (RFC 8598 3.1).
			if slices.Contains(types, dnsDomain) != slices.Contains(asked, dnsDomain) {
				t.Errorf("packet %d answers %v by %v", f.Number, asked, types)
			}
		default:
			t.Errorf("packet %d has configuration payloads %v", f.Number, kind)
		}
		const payloadSA, payloadCP = "33", "47"
		payloads := f.Fields["isakmp.typepayload"]
		if cp, sa := slices.Index(payloads, payloadCP), slices.Index(payloads, payloadSA); cp < 0 || sa < cp {
			t.Errorf("packet %d has CP as payload %d of the list, and SA as %d: %v", f.Number, cp, sa, payloads)
		}
		if exchange := f.Fields["isakmp.exchangetype"]; !slices.Equal(exchange, []string{"35"}) {
			t.Errorf("packet %d is of exchange %v", f.Number, exchange)
		}
		for _, a := range want {
			if !slices.Contains(types, a) {
				t.Errorf("packet %d has attributes %v, without %s", f.Number, types, a)
			}
		}
	}
	if requests == 0 || replies == 0 {
		t.Errorf("%d requests and %d replies with configuration payloads", requests, replies)
	}
}
