//go:build linux

package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/culvert-vpn/culvert/resolved"
)

// Assign changes the addresses of the device. They vanish with it, however the process ends. Each is an address without a network: what
// is sent where is up to the routes of the policies.
func (h *linuxHost) Assign(addrs []netip.Addr) error {
	if h.device == "" {
		return errors.New("the host cannot have addresses before its device is set up")
	}
	h.settled = false // the routes of the host's own packets depend on them
	gone := slices.DeleteFunc(slices.Clone(h.assigned), func(a netip.Addr) bool { return slices.Contains(addrs, a) })
	h.assigned = slices.Clone(addrs)
	errs := []error{h.keepAssigned()}
	link, err := h.kernel.LinkByName(h.device)
	if err != nil {
		return errors.Join(errs...)
	}
	for _, a := range gone {
		if err := h.kernel.AddrDel(link, deviceAddr(a)); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			errs = append(errs, explainRefusal(fmt.Sprintf("removing the address %v of %s", a, h.device), err))
		}
	}
	return errors.Join(errs...)
}

// keepAssigned gives the device the addresses that it lacks: at first, and when somebody has removed one.
func (h *linuxHost) keepAssigned() error {
	if len(h.assigned) == 0 {
		return nil
	}
	link, err := h.kernel.LinkByName(h.device)
	if err != nil {
		return fmt.Errorf("the tunnel's device %s is gone: %w", h.device, err)
	}
	list, err := wholeDump(func() ([]netlink.Addr, error) { return h.kernel.AddrList(link, netlink.FAMILY_ALL) })
	if err != nil {
		return fmt.Errorf("the addresses of %s cannot be read: %w", h.device, err)
	}
	var errs []error
	for _, a := range h.assigned {
		if slices.ContainsFunc(list, func(have netlink.Addr) bool { return addrOf(have.IP) == a }) {
			continue
		}
		if err := h.kernel.AddrReplace(link, deviceAddr(a)); err != nil {
			errs = append(errs, explainRefusal(fmt.Sprintf("giving %s the address %v", h.device, a), err))
		}
	}
	return errors.Join(errs...)
}

// deviceAddr is an address as the device has it: usable at once, since nobody is there to ask whether it is unique.
func deviceAddr(a netip.Addr) *netlink.Addr {
	addr := &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(a, a.BitLen())), Scope: unix.RT_SCOPE_UNIVERSE}
	if a.Is6() {
		addr.Flags = unix.IFA_F_NODAD | unix.IFA_F_NOPREFIXROUTE
	}
	return addr
}

// Resolve tells systemd-resolved.
func (h *linuxHost) Resolve(ctx context.Context, n Names) error {
	index := int(h.index.Load())
	if len(n.Servers) == 0 {
		return resolved.Revert(ctx, index)
	}
	return resolved.Set(ctx, index, n.Servers, n.Domains)
}
