//go:build linux

package gateway

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// hostKernel reads and changes our part of the routing.
type hostKernel struct {
	*netlink.Handle
	dump *netlink.Handle // strict: the kernel itself picks our routes out of a table of perhaps a million
}

func openHostKernel() (*hostKernel, error) {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	dump, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		handle.Close()
		return nil, err
	}
	if err := dump.SetStrictCheck(true); err != nil {
		handle.Close()
		dump.Close()
		return nil, fmt.Errorf("NETLINK_GET_STRICT_CHK, of Linux 4.20: %w", err)
	}
	return &hostKernel{Handle: handle, dump: dump}, nil
}

func (k *hostKernel) close() {
	k.Handle.Close()
	k.dump.Close()
}

// state reads what is ours.
func (k *hostKernel) state() (fib, error) {
	have := newFIB()
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		rules, err := wholeDump(func() ([]netlink.Rule, error) { return k.RuleList(family) })
		if err != nil {
			return fib{}, fmt.Errorf("the routing rules of this host cannot be read: %w", err)
		}
		for _, r := range rules {
			if r.Protocol == hostProtocol && r.Priority >= prefMark && r.Priority <= prefEnd {
				have.rules[ruleOf(r, family)] = true
			}
		}
		routes, err := wholeDump(func() ([]netlink.Route, error) {
			return k.dump.RouteListFiltered(family, &netlink.Route{Protocol: hostProtocol}, netlink.RT_FILTER_PROTOCOL|netlink.RT_FILTER_TABLE)
		})
		if err != nil {
			return fib{}, fmt.Errorf("the routes of this host cannot be read: %w", err)
		}
		for _, r := range routes {
			if r.Protocol == hostProtocol && r.Table >= firstTable && r.Table <= lastTable {
				have.routes[routeOf(r, family)] = true
			}
		}
	}
	return have, nil
}

// wholeDump repeats a dump until no change fell into the middle of it. A family the kernel lacks has nothing.
func wholeDump[T any](list func() ([]T, error)) ([]T, error) {
	for try := 0; ; try++ {
		out, err := list()
		switch {
		case errors.Is(err, unix.EAFNOSUPPORT), errors.Is(err, unix.EOPNOTSUPP):
			return nil, nil
		case errors.Is(err, netlink.ErrDumpInterrupted) && try < 10:
			continue
		}
		return out, err
	}
}

// add adds routes, then the rules that lead to them. A route that the kernel refuses does not keep the rules from being
// added: the routes that refuse the traffic are reached through them.
func (k *hostKernel) add(s fib) error {
	var errs []error
	for r := range s.routes {
		// Replace: the same destination may be there with another source address or device.
		if err := k.RouteReplace(r.netlink()); err != nil {
			errs = append(errs, explainRefusal("adding the "+r.String(), err))
		}
	}
	for _, r := range s.sortedRules() {
		if err := k.RuleAdd(r.netlink()); err != nil && !errors.Is(err, unix.EEXIST) {
			errs = append(errs, explainRefusal("adding the "+r.String(), err))
		}
	}
	return errors.Join(errs...)
}

// remove removes rules, then the routes they led to. What is gone already is as good.
func (k *hostKernel) remove(s fib) error {
	var errs []error
	rules := s.sortedRules()
	slices.Reverse(rules)
	for _, r := range rules {
		if err := k.RuleDel(r.netlink()); err != nil && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, explainRefusal("removing the "+r.String(), err))
		}
	}
	for r := range s.routes {
		if err := k.RouteDel(r.netlink()); err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, explainRefusal("removing the "+r.String(), err))
		}
	}
	return errors.Join(errs...)
}

// sortedRules are the rules in the order in which they are to be added.
func (s fib) sortedRules() []fibRule {
	rules := make([]fibRule, 0, len(s.rules))
	for r := range s.rules {
		rules = append(rules, r)
	}
	slices.SortFunc(rules, func(a, b fibRule) int {
		return cmp.Or(cmp.Compare(ruleOrder(a), ruleOrder(b)), a.from.Addr().Compare(b.from.Addr()))
	})
	return rules
}

// own lists addresses that packets may leave from. One that is still checked for being unique is none yet.
func (k *hostKernel) own(v6 bool) []netip.Addr {
	family := netlink.FAMILY_V4
	if v6 {
		family = netlink.FAMILY_V6
	}
	list, err := wholeDump(func() ([]netlink.Addr, error) { return k.AddrList(nil, family) })
	if err != nil {
		return nil
	}
	var out []netip.Addr
	for _, a := range list {
		addr := addrOf(a.IP)
		if addr.IsGlobalUnicast() && isUsable(a) {
			out = append(out, addr)
		}
	}
	return out
}

func (k *hostKernel) usual(dst netip.Addr) netip.Addr {
	r, err := usualRoute(k.Handle, dst)
	if err != nil {
		return netip.Addr{}
	}
	return addrOf(r.Src)
}

func (r fibRule) netlink() *netlink.Rule {
	n := netlink.NewRule()
	n.Family = netlink.FAMILY_V4
	if r.v6 {
		n.Family = netlink.FAMILY_V6
	}
	n.Priority, n.Protocol, n.Mark, n.IifName, n.Table = r.pref, hostProtocol, r.mark, r.iif, r.table
	if r.mark != 0 {
		n.Mask = &r.mask
	}
	if r.from.IsValid() {
		n.Src = ipNet(r.from)
	}
	if r.to.IsValid() {
		n.Dst = ipNet(r.to)
	}
	n.IPProto = int(r.proto)
	if r.sport != (Ports{}) {
		n.Sport = netlink.NewRulePortRange(r.sport.First, r.sport.Last)
	}
	if r.dport != (Ports{}) {
		n.Dport = netlink.NewRulePortRange(r.dport.First, r.dport.Last)
	}
	switch {
	case r.jump != 0:
		n.Goto = r.jump
	case r.table == 0:
		n.Type = nl.FR_ACT_NOP
	}
	return n
}

func ruleOf(n netlink.Rule, family int) fibRule {
	r := fibRule{v6: family == netlink.FAMILY_V6, pref: n.Priority, iif: n.IifName, mark: n.Mark, table: n.Table, jump: max(n.Goto, 0)}
	if n.Mask != nil {
		r.mask = *n.Mask
	}
	if n.Src != nil {
		r.from = prefixOf(n.Src)
	}
	if n.Dst != nil {
		r.to = prefixOf(n.Dst)
	}
	r.proto = uint8(n.IPProto)
	if n.Sport != nil {
		r.sport = Ports{n.Sport.Start, n.Sport.End}
	}
	if n.Dport != nil {
		r.dport = Ports{n.Dport.Start, n.Dport.End}
	}
	return r
}

func (r fibRule) String() string {
	text := fmt.Sprintf("routing rule %d", r.pref)
	if r.from.IsValid() {
		text += " from " + r.from.String()
	} else if r.v6 {
		text += " of IPv6"
	}
	return text
}

func (r fibRoute) netlink() *netlink.Route {
	// The scope is universe although there is no next hop. With scope link, the kernel would take the device for the
	// way to the gateway of any IPv4 route that is added while a policy covers that gateway.
	n := &netlink.Route{
		Scope: netlink.SCOPE_UNIVERSE, Table: r.table, Dst: ipNet(r.dst), Type: r.kind, Priority: r.metric, LinkIndex: r.device, Protocol: hostProtocol,
	}
	if r.src.IsValid() {
		n.Src = r.src.AsSlice()
	}
	return n
}

func routeOf(n netlink.Route, family int) fibRoute {
	r := fibRoute{table: n.Table, kind: n.Type, metric: n.Priority, src: addrOf(n.Src)}
	r.dst = fromAll(netip.Prefix{}, family == netlink.FAMILY_V6)
	if n.Dst != nil {
		r.dst = prefixOf(n.Dst)
	}
	if n.Type == unix.RTN_UNICAST { // IPv6 gives the others the loopback device
		r.device = n.LinkIndex
	}
	return r
}

func (r fibRoute) String() string { return fmt.Sprintf("route to %s in table %d", r.dst, r.table) }

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func prefixOf(n *net.IPNet) netip.Prefix {
	addr, _ := netip.AddrFromSlice(n.IP)
	bits, size := n.Mask.Size()
	if size == 32 { // package net may write IPv4 in 16 bytes
		addr = addr.Unmap()
	}
	return netip.PrefixFrom(addr, bits)
}

func addrOf(ip net.IP) netip.Addr {
	addr, _ := netip.AddrFromSlice(ip)
	return addr.Unmap()
}

// configureDevice sets what concerns the tunnel's device alone. None of it is needed for IPv4 to work, and IPv6 may be
// absent: what fails is left as it is.
//
// Strict reverse path filtering on all devices (net.ipv4.conf.all.rp_filter = 1) also holds for this one, and lets
// pass what comes out of the tunnel: the way back, from the local to the remote prefix, leads into the device.
func configureDevice(handle *netlink.Handle, link netlink.Link) {
	const none = 1 // IN6_ADDR_GEN_MODE_NONE: no link-local address, so no router solicitations into the tunnel either
	_ = handle.LinkSetIP6AddrGenMode(link, none)
	name := link.Attrs().Name
	for _, s := range []struct{ path, value string }{
		{"ipv4/conf/" + name + "/rp_filter", "0"},
		{"ipv6/conf/" + name + "/disable_ipv6", "0"}, // it takes over the default, which may be 1
		{"ipv6/conf/" + name + "/accept_ra", "0"},    // no router speaks for us from the other side
		{"ipv6/conf/" + name + "/autoconf", "0"},
	} {
		_ = os.WriteFile(filepath.Join("/proc/sys/net", s.path), []byte(s.value), 0o644)
	}
	// If the device was up before, it has its link-local address by now.
	addrs, _ := handle.AddrList(link, netlink.FAMILY_V6)
	for _, a := range addrs {
		if a.IP.IsLinkLocalUnicast() {
			_ = handle.AddrDel(link, &a)
		}
	}
}
