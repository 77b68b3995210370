package config

import (
	"fmt"
	"io"
	"math"
	"net/netip"
	"slices"

	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/ts"
)

// Shunt is a child with mode = pass or drop: traffic that no tunnel carries, although the selectors of one may cover it. As among
// children, the most specific selectors win, and then the priority.
type Shunt struct {
	Conn, Name string
	// Pass: the traffic goes its usual way, in clear; else it is dropped.
	Pass          bool
	Local, Remote []ts.Selector
	// Priority decides between selectors that are equally specific; higher wins.
	Priority int
}

// Mode is the mode of the child.
func (s *Shunt) Mode() string {
	if s.Pass {
		return "pass"
	}
	return "drop"
}

// isShunt reports whether a section of children is a policy without a tunnel.
func isShunt(s *section) bool {
	mode, _ := s.setting("mode")
	return mode.value == "pass" || mode.value == "drop"
}

// onlyShunts reports whether a connection has children and all of them are shunts. Nobody is called, and nobody may call, on
// its behalf.
func onlyShunts(s *section) bool {
	children := s.section("children")
	return children != nil && len(children.sections) > 0 && !slices.ContainsFunc(children.sections, func(c *section) bool { return !isShunt(c) })
}

// addShunt takes a child that is a shunt. Like strongSwan it is in force if it is to be installed when the configuration is loaded.
func (b *builder) addShunt(conn string, s *section, c *ike.Child) {
	shunt := Shunt{Conn: conn, Name: s.name, Pass: c.Mode == modePass, Priority: c.Priority}
	for _, side := range []struct {
		key   string
		specs []ts.Spec
		to    *[]ts.Selector
	}{{"local_ts", c.LocalTS, &shunt.Local}, {"remote_ts", c.RemoteTS, &shunt.Remote}} {
		*side.to = anywhere(side.specs)
		if shunt.Pass && slices.ContainsFunc(*side.to, notRoutable) {
			b.fail(b.at(s, side.key), "leave the ports away", "child %s: the host's routing lets traffic pass by the ports 1 to 65534 of TCP, UDP, SCTP and DCCP only", s.name)
		}
	}
	switch c.StartAction {
	case ike.Trap:
		b.config.Shunts = append(b.config.Shunts, shunt)
	case ike.None:
		b.warn(s.pos, "start_action = trap", "child %s is never in force: mode = %s takes effect with start_action = trap", s.name, shunt.Mode())
	default:
		b.fail(b.at(s, "start_action"), "start_action = trap", "child %s has nothing to start", s.name)
	}
}

// anywhere replaces dynamic selectors, for which there is no tunnel, by those of all addresses.
func anywhere(specs []ts.Spec) (list []ts.Selector) {
	for _, spec := range specs {
		if !spec.Dynamic {
			list = append(list, spec.Sel)
			continue
		}
		for _, all := range []string{"0.0.0.0/0", "::/0"} {
			sel, range_ := spec.Sel, ts.FromPrefix(netip.MustParsePrefix(all))
			sel.Start, sel.End = range_.Start, range_.End
			list = append(list, sel)
		}
	}
	return list
}

// notRoutable reports whether no rule of routing tells the traffic of a selector from other traffic.
func notRoutable(s ts.Selector) bool {
	if s.StartPort == 0 && s.EndPort == math.MaxUint16 {
		return false
	}
	const tcp, udp, dccp, sctp = 6, 17, 33, 132
	return !slices.Contains([]uint8{tcp, udp, dccp, sctp}, s.Protocol) || s.StartPort > s.EndPort || s.StartPort == 0 || s.EndPort == math.MaxUint16
}

func describeShunt(w io.Writer, s *Shunt) {
	what := "dropped"
	if s.Pass {
		what = "passes outside of all tunnels"
	}
	fmt.Fprintf(w, "shunt %s of %s\t%v <-> %v %s\n", s.Name, s.Conn, s.Local, s.Remote, what)
}
