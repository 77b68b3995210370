package doctor

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/culvert-vpn/culvert/gateway"
	"github.com/culvert-vpn/culvert/internal/holder"
	"github.com/culvert-vpn/culvert/natt"
	"github.com/culvert-vpn/culvert/udp"
)

// host looks at this machine.
func (x *examination) host(ctx context.Context) {
	for _, port := range []uint16{natt.Port, natt.PortNATT} {
		x.add(judgePort(port, holder.Of(netip.AddrPortFrom(netip.IPv4Unspecified(), port)), x.daemon != nil, hasPort(x.daemon, port)))
	}
	x.add(probeTUN())
	status, _ := os.ReadFile("/proc/self/status")
	x.add(judgeCapabilities(string(status), lowestPort()))
	x.settings()
	x.sockets()
	clock := unix.Timex{}
	state, err := unix.Adjtimex(&clock) // asks, and changes nothing
	x.add(judgeClock(time.Now(), state != unix.TIME_ERROR && clock.Status&unix.STA_UNSYNC == 0, err == nil))
	x.add(judgeOverlaps(x.chosen(), x.networks())...)
	x.firewall()
	x.service(ctx)
}

// probeTUN opens the device, and makes none.
func probeTUN() Check {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err == nil {
		_, err = unix.IoctlGetInt(fd, unix.TUNGETFEATURES)
		unix.Close(fd)
	}
	return judgeTUN(err, errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO), errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES))
}

// lowestPort is the first port that any user may bind.
func lowestPort() int {
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start")
	n, convErr := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || convErr != nil {
		return 1024
	}
	return n
}

// settings are those of the kernel.
func (x *examination) settings() {
	var policies []gateway.Policy
	if x.conf != nil {
		policies = gateway.Policies(x.conf)
	}
	forwards := x.forwards()
	hints := gateway.Hints(policies...)
	for _, h := range hints {
		x.add(judgeHint(h, forwards))
	}
	if len(hints) == 0 {
		x.add(Check{ID: "kernel-settings", Group: Host, Result: OK, Text: "forwarding and reverse path filtering are as a gateway needs them"})
	}
	if x.conf != nil {
		for _, text := range gateway.AdviceAddresses(x.chosen()) {
			x.add(Check{ID: "local-addresses", Group: Host, Result: Failure, Text: text})
		}
	}
}

// forwards reports whether tunnels are for packets of other machines; without a configuration they may be.
func (x *examination) forwards() bool {
	if x.conf == nil {
		return true
	}
	own := ownAddresses()
	for _, p := range gateway.Policies(x.conf) {
		for _, l := range p.Local {
			if !p.Pass && !(l.IsSingleIP() && slices.Contains(own, l.Addr())) {
				return true
			}
		}
	}
	return false
}

// sockets are what the running daemon has got, or what a socket on the loopback gets.
func (x *examination) sockets() {
	if x.daemon != nil {
		for _, text := range x.daemon.Shortages {
			x.add(Check{ID: "socket-buffers", Group: Host, Result: Warning, Text: text})
		}
		missing := []string{}
		for _, o := range x.daemon.Offloads {
			if o.State == "missing" {
				missing = append(missing, o.Name)
			}
		}
		if len(missing) > 0 {
			x.add(Check{ID: "fast-paths", Group: Host, Result: Note, Text: "the daemon does without what this host lacks, so that it is slower: " + strings.Join(missing, ", ")})
		} else {
			x.add(Check{ID: "fast-paths", Group: Host, Result: OK, Text: "all fast paths that were asked for are in use"})
		}
		return
	}
	conn, err := udp.Listen(netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0), udp.Options{})
	if err != nil {
		x.add(Check{ID: "socket-buffers", Group: Host, Result: Unknown, Text: err.Error()})
		return
	}
	defer conn.Close()
	if d, ok := conn.(udp.Described); ok {
		x.add(judgeSockets(d.Facts())...)
	}
}

// networks are those of the host's interfaces and of its routes, but for the tunnel's own.
func (x *examination) networks() (list []network) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil
	}
	names := map[int]string{}
	for _, l := range links {
		name := l.Attrs().Name
		if l.Attrs().Flags&net.FlagLoopback != 0 || x.daemon != nil && name == x.daemon.Device {
			continue
		}
		names[l.Attrs().Index] = name
		addrs, _ := netlink.AddrList(l, netlink.FAMILY_ALL)
		for _, a := range addrs {
			if p, ok := prefixOf(a.IPNet); ok && !p.Addr().IsLinkLocalUnicast() {
				list = append(list, network{p.Masked(), name, true})
			}
		}
	}
	// Table main: where ours are is our own affair.
	routes, _ := netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
	for _, r := range routes {
		p, ok := prefixOf(r.Dst)
		name := names[r.LinkIndex]
		if !ok || name == "" || p.Bits() == 0 || p.Addr().IsLinkLocalUnicast() || r.Gw == nil { // without a gateway it is that of an address
			continue
		}
		list = append(list, network{p, name, false})
	}
	return list
}

func prefixOf(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	addr, ok := netip.AddrFromSlice(n.IP)
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(addr.Unmap(), bits), ok
}

// service asks systemd, where that runs.
func (x *examination) service(ctx context.Context) {
	if _, err := os.Stat("/run/systemd/system"); errors.Is(err, fs.ErrNotExist) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	conn, err := dbus.NewWithContext(ctx)
	if err != nil {
		x.add(Check{ID: "service", Group: Host, Result: Unknown, Text: "systemd does not answer: " + err.Error()})
		return
	}
	defer conn.Close()
	const name = "culvert.service"
	properties, err := conn.GetAllPropertiesContext(ctx, name)
	if err != nil {
		x.add(Check{ID: "service", Group: Host, Result: Unknown, Text: "systemd does not tell: " + err.Error()})
		return
	}
	text := func(key string) string {
		v, _ := properties[key].(string)
		return v
	}
	restarts, _ := properties["NRestarts"].(uint32)
	x.add(judgeUnit(unit{name, text("LoadState"), text("ActiveState"), text("SubState"), text("Result"), text("UnitFileState"), restarts}))
}
