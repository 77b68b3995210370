//go:build linux

package demo

import (
	"errors"
	"fmt"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/culvert-vpn/culvert/internal/lab"
)

// networkOf describes all that a gateway changes on a host: devices, routes and rules. What the kernel makes by itself
// for the addresses of a device comes and goes with the device.
func networkOf(h *lab.Host) (string, error) {
	var b strings.Builder
	links, err := h.Netlink().LinkList()
	if err != nil {
		return "", err
	}
	for _, l := range links {
		fmt.Fprintf(&b, "device %s\n", l.Attrs().Name)
	}
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		routes, err := h.Netlink().RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
		if without(family, err) {
			continue
		}
		if err != nil {
			return "", err
		}
		rules, err := h.Netlink().RuleList(family)
		if err != nil && !without(family, err) {
			return "", err
		}
		for _, r := range routes {
			if r.Protocol != unix.RTPROT_KERNEL {
				fmt.Fprintf(&b, "route %v\n", r)
			}
		}
		for _, r := range rules {
			fmt.Fprintf(&b, "%v\n", r)
		}
	}
	return b.String(), nil
}

// without tells whether err means that the kernel has no IPv6.
func without(family int, err error) bool {
	return family == unix.AF_INET6 && (errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP))
}
