package gateway

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/culvert-vpn/culvert/explain"
	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/ts"
)

// hostNetwork is the network of an interface.
type hostNetwork struct {
	device string
	addr   netip.Prefix // with the address of this host in it
}

// hostNetworks are those of all interfaces but the loopback ones.
func hostNetworks() (list []hostNetwork) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil
	}
	for _, i := range interfaces {
		if i.Flags&net.FlagLoopback != 0 {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			continue
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil && !p.Addr().IsLinkLocalUnicast() {
				list = append(list, hostNetwork{i.Name, p})
			}
		}
	}
	return list
}

// AdviceNetworks tells, one sentence each, of networks that a connection has at the peer's and an interface of this host has as well.
func AdviceNetworks(conns []*ike.Connection) (out []string) {
	networks := hostNetworks()
	for _, c := range conns {
		for _, child := range c.Children {
			for _, d := range atBothEnds(c, child, networks, "") {
				out = append(out, fmt.Sprintf("connection %q: %s; %s", c.Name, d.Text, d.Remedy()))
			}
		}
	}
	return out
}

// atBothEnds tells of the networks of a child that are the peer's and those of an interface other than device, too.
func atBothEnds(c *ike.Connection, child *ike.Child, networks []hostNetwork, device string) (list []*explain.Diagnosis) {
	for _, n := range networks {
		own := ts.FromPrefix(n.addr.Masked())
		if n.device == device || slices.ContainsFunc(child.LocalTS, func(l ts.Spec) bool { return !l.Dynamic && l.Sel.Contains(own) }) {
			continue // what local networks send each other stays outside of the tunnel
		}
		for _, r := range child.RemoteTS {
			if r.Dynamic || slices.ContainsFunc(r.Sel.Prefixes(), wide) {
				continue // that says everything, and means it
			}
			both, ok := r.Sel.Intersect(own)
			inside := own.Contains(r.Sel) && own != r.Sel
			if !ok || inside && (r.Sel.Start == r.Sel.End || !meet(child.LocalTS, []ts.Spec{{Sel: own}})) {
				continue // a neighbour may be a peer's host, or a part of a wide network be the peer's
			}
			list = append(list, &explain.Diagnosis{
				Cause: explain.OverlappingNets,
				Text: fmt.Sprintf("child %s: %v is at the peer's by remote_ts, and the interface %s of this host has it, too (%v): packets from %s go into the tunnel and never to %s",
					child.Name, both, n.device, n.addr, specs(child.LocalTS), n.device),
				Compared: []explain.Compared{{What: "where " + both.String() + " is", Sent: "interface " + n.device + " has " + n.addr.String(), Configured: "remote_ts = " + specs(child.RemoteTS)}},
				Fixes:    n.renumber(),
			})
		}
	}
	return list
}

// internalDevices begin the names of the devices that container engines and hypervisors make for networks inside of the host.
var internalDevices = [...]string{"docker", "br-", "podman", "cni", "virbr", "lxcbr", "lxdbr", "incusbr"}

// renumber is how to have a network at one place only. That of a device which may lead to other machines is not to be taken away just so.
func (n hostNetwork) renumber() []explain.Fix {
	narrow := explain.Fix{Side: explain.Here, Text: "narrow remote_ts to what is only at the peer's"}
	if !slices.ContainsFunc(internalDevices[:], func(prefix string) bool { return strings.HasPrefix(n.device, prefix) }) {
		return []explain.Fix{narrow, {Side: explain.Here, Text: fmt.Sprintf("renumber the network of %s, or have the peer renumber its own", n.device)}}
	}
	return []explain.Fix{
		{
			Side: explain.Here, Text: fmt.Sprintf("give %s another network (Docker: \"bip\" in /etc/docker/daemon.json), or take this one away if nobody needs it", n.device),
			Lines: []string{fmt.Sprintf("# ip address del %v dev %s", n.addr, n.device)},
		},
		narrow,
	}
}

func specs(list []ts.Spec) string {
	text := ""
	for i, s := range list {
		if i > 0 {
			text += ", "
		}
		text += s.String()
	}
	return text
}

// sameNetworks tells of a child both sides of which are one network.
func sameNetworks(child *ike.Child) *explain.Diagnosis {
	for _, l := range child.LocalTS {
		for _, r := range child.RemoteTS {
			if l.Dynamic || r.Dynamic {
				continue
			}
			both, ok := l.Sel.Intersect(r.Sel)
			if !ok || l.Sel != r.Sel && (l.Sel.Contains(r.Sel) || r.Sel.Contains(l.Sel)) {
				continue // a network inside of a larger one: the usual star
			}
			return &explain.Diagnosis{
				Cause: explain.OverlappingNets,
				Text: fmt.Sprintf("child %s: %v is in local_ts and in remote_ts: a host of one side takes the hosts of the other for neighbours, and does not send to the gateway what is for them",
					child.Name, both),
				Compared: []explain.Compared{{What: "networks", Sent: "remote_ts = " + specs(child.RemoteTS), Configured: "local_ts = " + specs(child.LocalTS)}},
				Fixes: []explain.Fix{
					{Side: explain.Peer, Text: "renumber one of the two sites, here or there; 192.168.0.0/24, 192.168.1.0/24 and 10.0.0.0/24 are those that meet most often"},
					{Side: explain.Here, Text: "narrow local_ts and remote_ts to parts that do not overlap, if each side uses a part only"},
				},
			}
		}
	}
	return nil
}

// twins tells of the children that claim the very traffic that one before them claims.
func twins(conns []*connection) map[*ike.Child]*explain.Diagnosis {
	type claim struct {
		conn  *ike.Connection
		child *ike.Child
	}
	first := make(map[ts.Selector]claim)
	found := make(map[*ike.Child]*explain.Diagnosis) // up to maxTwins
	for _, conn := range conns {
		for _, child := range conn.cfg.Children {
			for _, r := range child.RemoteTS {
				if r.Dynamic || found[child] != nil || len(found) == maxTwins {
					continue
				}
				other, ok := first[r.Sel]
				if !ok {
					first[r.Sel] = claim{conn.cfg, child}
					continue
				}
				if other.child == child || other.child.Priority != child.Priority || !meet(other.child.LocalTS, child.LocalTS) {
					continue
				}
				found[child] = &explain.Diagnosis{
					Cause: explain.OverlappingNets,
					Text: fmt.Sprintf("child %s claims the same traffic to %v as child %s of connection %s: the first one that is up gets it",
						child.Name, r, other.child.Name, other.conn.Name),
					Compared: []explain.Compared{{What: "who has " + r.String(), Sent: other.conn.Name + "." + other.child.Name, Configured: conn.cfg.Name + "." + child.Name}},
					Fixes: []explain.Fix{
						{
							Side: explain.Here, Text: "say which one comes first, if one is to stand in for the other: priority",
							Lines: explain.Lines([]string{"priority = 1"}, "connections", other.conn.Name, "children", other.child.Name),
						},
						{Side: explain.Here, Text: "narrow remote_ts of one of them"},
					},
				}
			}
		}
	}
	return found
}

// maxTwins bounds what is told of children that claim the same traffic.
const maxTwins = 20

// meet reports whether there is traffic in both.
func meet(a, b []ts.Spec) bool {
	return slices.ContainsFunc(a, func(x ts.Spec) bool {
		return slices.ContainsFunc(b, func(y ts.Spec) bool {
			_, ok := x.Sel.Intersect(y.Sel)
			return ok && !x.Dynamic && !y.Dynamic
		})
	})
}

// reviewNetworks compares what the connections claim with each other and with the networks of the host.
func (c *control) reviewNetworks() {
	same := twins(c.order)
	for _, conn := range c.order {
		var found warnings
		for _, child := range conn.cfg.Children {
			list := atBothEnds(conn.cfg, child, c.networks, c.edges.name)
			if d := sameNetworks(child); d != nil {
				list = append(list, d)
			}
			if d := same[child]; d != nil {
				list = append(list, d)
			}
			for _, d := range list {
				f := Failure{Child: child.Name, Text: d.Text, Diagnosis: d}
				if !slices.ContainsFunc(conn.warnings, f.isAbout) {
					c.warn(conn, child.Name, d)
				}
				found.add(f)
			}
		}
		conn.warnings = slices.DeleteFunc(slices.Clone(conn.warnings), func(f Failure) bool {
			return f.Diagnosis.Cause == explain.OverlappingNets && !slices.ContainsFunc(found, f.isAbout)
		})
	}
}
