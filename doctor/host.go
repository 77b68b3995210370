package doctor

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/culvert-vpn/culvert/explain"
	"github.com/culvert-vpn/culvert/gateway"
	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/internal/holder"
	"github.com/culvert-vpn/culvert/offload"
	"github.com/culvert-vpn/culvert/udp"
)

// ownAddresses are those of this host.
func ownAddresses() (list []netip.Addr) {
	addrs, _ := net.InterfaceAddrs()
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			addr, _ := netip.AddrFromSlice(n.IP)
			list = append(list, addr.Unmap())
		}
	}
	return list
}

// judgePort says who has a port of ours. daemon: that which answers on the control socket says that it has it.
func judgePort(port uint16, holders []holder.Process, running, daemon bool) Check {
	c := Check{ID: fmt.Sprintf("port-%d", port), Group: Host}
	if len(holders) == 0 {
		c.Result, c.Text = OK, fmt.Sprintf("UDP port %d is free", port)
		if running {
			c.Result, c.Text = Warning, fmt.Sprintf("the daemon is running, and nobody has UDP port %d here: it may run in another network namespace", port)
		}
		return c
	}
	if daemon {
		c.Result, c.Text = OK, fmt.Sprintf("UDP port %d belongs to the running daemon", port)
		return c
	}
	p := holders[0]
	c.Result, c.Cause = Failure, explain.PortInUse
	c.Text = fmt.Sprintf("UDP port %d is in use by %v", port, p)
	if product := p.Product(); product != "" && product != p.Name {
		c.Text += ", which is " + product
	}
	c.Fixes = []explain.Fix{p.Fix(port)}
	return c
}

// hasPort reports whether a daemon has a socket at a port.
func hasPort(s *gateway.Status, port uint16) bool {
	return s != nil && slices.ContainsFunc(s.Sockets, func(k gateway.SocketStatus) bool {
		a, err := netip.ParseAddrPort(k.Address)
		return err == nil && a.Port() == port
	})
}

// Capabilities of the process (capabilities(7)), by their bits.
const (
	capNetBindService = 10
	capNetAdmin       = 12
)

// judgeCapabilities reads /proc/self/status. lowest is the first port that needs no capability.
func judgeCapabilities(status string, lowest int) Check {
	c := Check{ID: "capabilities", Group: Host}
	var bits uint64
	found := false
	for line := range strings.Lines(status) {
		if rest, ok := strings.CutPrefix(line, "CapEff:"); ok {
			_, err := fmt.Sscanf(strings.TrimSpace(rest), "%x", &bits)
			found = err == nil
		}
	}
	var missing []string
	if bits>>capNetAdmin&1 == 0 {
		missing = append(missing, "CAP_NET_ADMIN")
	}
	if bits>>capNetBindService&1 == 0 && lowest > 500 {
		missing = append(missing, "CAP_NET_BIND_SERVICE")
	}
	switch {
	case !found:
		c.Result, c.Text = Unknown, "the capabilities of this process cannot be read"
	case missing == nil:
		c.Result, c.Text = OK, "this user may make TUN devices, change routes and bind the ports of IKE"
	default:
		c.Result, c.Text = Warning, fmt.Sprintf("this user lacks %s: the daemon cannot run as this user, and some of what follows could not be seen", strings.Join(missing, " and "))
		c.Fixes = []explain.Fix{here("run it as root, or as a service with these capabilities")}
	}
	return c
}

// judgeTUN says what opening /dev/net/tun gave.
func judgeTUN(err error, missing, denied bool) Check {
	c := Check{ID: "tun", Group: Host, Result: OK, Text: "/dev/net/tun is there and answers"}
	switch {
	case err == nil:
	case missing:
		c.Result, c.Text = Failure, "there is no /dev/net/tun: the kernel's module tun is not loaded, or the container was not given the device"
		c.Fixes = []explain.Fix{here("load the module", "modprobe tun"), here("of a container: start it with --device /dev/net/tun --cap-add NET_ADMIN")}
	case denied:
		c.Result, c.Text = Unknown, "/dev/net/tun may not be opened by this user"
		c.Fixes = []explain.Fix{here("run it as root")}
	default:
		c.Result, c.Text = Failure, fmt.Sprintf("/dev/net/tun cannot be used: %v", err)
		c.Fixes = []explain.Fix{here("load the module", "modprobe tun")}
	}
	return c
}

// judgeHint makes a check of what the gateway itself would complain of. Forwarding matters to those only who forward.
func judgeHint(h gateway.Hint, forwards bool) Check {
	c := Check{ID: h.ID, Group: Host, Result: Warning, Text: h.Text}
	if h.Command {
		c.Fixes = []explain.Fix{here("set it, and write it into a file of /etc/sysctl.d to keep it", h.Remedy)}
	} else {
		c.Fixes = []explain.Fix{here(h.Remedy)}
	}
	if !forwards && (h.ID == "ip-forwarding" || h.ID == "ip6-forwarding") {
		c.Result, c.Fixes, c.Text = Note, nil, h.Text+"; this configuration needs none"
	}
	return c
}

// judgeSockets says what the kernel gives a UDP socket.
func judgeSockets(f udp.Facts) []Check {
	buffers := Check{ID: "socket-buffers", Group: Host, Result: OK, Text: "the kernel gives sockets the buffers that bursts need"}
	if text := f.Shortage(); text != "" {
		buffers.Result, buffers.Text = Warning, text
		for _, b := range []struct {
			udp.Buffer
			name string
		}{{f.Recv, "net.core.rmem_max"}, {f.Send, "net.core.wmem_max"}} {
			if b.Short() {
				buffers.Fixes = append(buffers.Fixes, here("allow more", fmt.Sprintf("sysctl -w %s=%d", b.name, b.Asked)))
			}
		}
	}
	fast := Check{ID: "fast-paths", Group: Host, Result: OK, Text: "UDP sockets send and receive in trains: " + f.Offloads.String()}
	if missing := (offload.Segment | offload.GRO | offload.Batch) &^ f.Offloads; missing != 0 {
		fast.Result, fast.Text = Note, fmt.Sprintf("this kernel lacks fast paths of UDP sockets, so that it is slower: %v", missing)
	}
	return []Check{buffers, fast}
}

// judgeClock says whether the clock can be right.
func judgeClock(now time.Time, synchronized, known bool) Check {
	// Nothing was built or configured before this year.
	const year = 2025
	switch {
	case now.Year() < year:
		return Check{ID: "clock", Group: Host, Result: Warning, Cause: explain.ClockJumps, Text: fmt.Sprintf("the clock says that it is %s", now.Format(time.DateTime)),
			Fixes: []explain.Fix{here("set the clock, and have it kept right", "timedatectl set-ntp true")}}
	case known && !synchronized:
		return Check{ID: "clock", Group: Host, Result: Note, Text: "nothing keeps the clock of this host right; tunnels do not depend on it, logs do"}
	}
	return Check{ID: "clock", Group: Host, Result: OK, Text: "the clock is plausible"}
}

// network is a network that the host reaches without a tunnel.
type network struct {
	prefix netip.Prefix
	device string
	own    bool // an address of the host is in it, else it is a route
}

// judgeOverlaps compares the networks behind the peers with those that are here. Traffic for a network that is both goes to one of
// them only.
func judgeOverlaps(conns []*ike.Connection, have []network) (list []Check) {
	for _, c := range conns {
		for _, child := range c.Children {
			for _, s := range child.RemoteTS {
				if s.Dynamic {
					continue
				}
				for _, n := range have {
					if !overlaps(s.Sel.Start, s.Sel.End, n.prefix) || wide(s.Sel.Start, s.Sel.End) {
						continue
					}
					what := "routes " + n.prefix.String() + " to " + n.device
					if n.own {
						what = "is itself in " + n.prefix.String() + " on " + n.device
					}
					list = append(list, Check{ID: "overlap", Group: Host, Connection: c.Name, Result: Warning, Cause: explain.OverlappingNets,
						Text: fmt.Sprintf("child %s leads %v into the tunnel, and this host %s: machines there cannot be reached any more, or the peer's cannot", child.Name, s, what),
						Fixes: []explain.Fix{
							{Side: explain.Here, Text: "give one of the two networks other addresses, or leave what is here out of remote_ts"},
						}})
				}
			}
		}
	}
	return list
}

func overlaps(start, end netip.Addr, p netip.Prefix) bool {
	if start.Is4() != p.Addr().Is4() {
		return false
	}
	p = p.Masked()
	return p.Contains(start) || p.Contains(end) || !p.Addr().Less(start) && !end.Less(p.Addr())
}

// wide says that a selector is no network but the Internet, or a half of it: everything overlaps with that, and should.
func wide(start, end netip.Addr) bool {
	return start.IsValid() && end.AsSlice()[0]-start.AsSlice()[0] >= 2
}

// unit is what systemd says of a service.
type unit struct {
	name, load, active, sub, result string
	file                            string // of the unit: "enabled", "disabled"
	restarts                        uint32
}

// judgeUnit tells how the service does.
func judgeUnit(u unit) Check {
	c := Check{ID: "service", Group: Host, Result: OK}
	switch {
	case u.load == "not-found":
		c.Result, c.Text = Note, fmt.Sprintf("systemd knows no %s: the daemon is not installed as a service", u.name)
	case u.load == "masked":
		c.Result, c.Text = Warning, u.name+" is masked, and cannot be started"
		c.Fixes = []explain.Fix{here("allow it", "systemctl unmask "+u.name)}
	case u.active == "failed":
		c.Result, c.Text = Failure, fmt.Sprintf("%s has failed (%s)", u.name, u.result)
		c.Fixes = []explain.Fix{here("read why, and start it again", "journalctl -u "+u.name+" -e", "systemctl restart "+u.name)}
	case u.active == "active" && u.file == "disabled":
		c.Result, c.Text = Warning, u.name+" runs, and will not after the next boot"
		c.Fixes = []explain.Fix{here("have it started at boot", "systemctl enable "+u.name)}
	case u.active == "active":
		c.Text = fmt.Sprintf("%s is active (%s)", u.name, u.sub)
	default:
		c.Result, c.Text = Note, fmt.Sprintf("%s is %s", u.name, u.active)
	}
	if u.restarts > 0 {
		c.Text += fmt.Sprintf("; systemd has restarted it %s", count(int(u.restarts), "time"))
	}
	return c
}
