package gateway

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/culvert-vpn/culvert/ike"
)

// Hint is a setting of the host that stands in the way of a gateway.
type Hint struct {
	ID     string // stable: "ip-forwarding", "ip6-forwarding", "rp-filter", "networkd"
	Text   string // what is in the way, in a sentence without a full stop
	Remedy string // what to do about it, in the imperative, or a command
	// Command says that Remedy is for a shell.
	Command bool
}

// String is the hint in one sentence.
func (h Hint) String() string { return h.Text + ": " + h.Remedy }

// Advice tells the Hints, one sentence each.
func Advice(policies ...Policy) (out []string) {
	for _, h := range Hints(policies...) {
		out = append(out, h.String())
	}
	return out
}

// AdviceAddresses tells, one sentence for each connection, of local_addrs of which none is an address of this host, and what to write
// instead. The usual mistake is the public address of a 1:1 NAT, which only the NAT has.
func AdviceAddresses(conns []*ike.Connection) []string {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var have []netip.Addr
	for _, a := range list {
		if n, ok := a.(*net.IPNet); ok {
			addr, _ := netip.AddrFromSlice(n.IP)
			have = append(have, addr.Unmap())
		}
	}
	return adviseAddresses(conns, have)
}

func adviseAddresses(conns []*ike.Connection, have []netip.Addr) (out []string) {
	for _, c := range conns {
		// All of 127.0.0.0/8 is this host.
		here := func(p netip.Prefix) bool { return p.Addr().IsLoopback() || slices.ContainsFunc(have, p.Contains) }
		if len(c.LocalAddrs) == 0 || slices.ContainsFunc(c.LocalAddrs, here) {
			continue
		}
		var wrong []string
		for _, p := range c.LocalAddrs {
			if wrong = append(wrong, p.String()); p.IsSingleIP() {
				wrong[len(wrong)-1] = p.Addr().String()
			}
		}
		// What could be meant: an address of the same family, from which peers elsewhere can be reached.
		var instead []string
		for _, a := range have {
			if a.IsGlobalUnicast() && slices.ContainsFunc(c.LocalAddrs, func(p netip.Prefix) bool { return p.Addr().Is4() == a.Is4() }) {
				instead = append(instead, a.String())
			}
		}
		write := "leave local_addrs out"
		if len(instead) > 0 {
			write = "write that of this host (" + strings.Join(instead, ", ") + ") or leave local_addrs out"
		}
		out = append(out, fmt.Sprintf("connection %q: no interface of this host has local_addrs = %s, so that nothing is sent from there and nothing "+
			"arrives; if it is the public address of a NAT in front of this host, %s, and keep the public one for the id", c.Name, strings.Join(wrong, ", "), write))
	}
	return out
}
