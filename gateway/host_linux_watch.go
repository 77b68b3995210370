//go:build linux

package gateway

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// openHostWatch subscribes to what may change the way to a peer.
func openHostWatch() (*nl.NetlinkSocket, error) {
	return nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
		unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE)
}

// Watch reads what the kernel tells. Our own rules and routes are left out: packets with Mark do not take them.
func (h *linuxHost) Watch(ctx context.Context, changed func()) {
	defer context.AfterFunc(ctx, h.watch.Close)()
	for ctx.Err() == nil {
		messages, _, err := h.watch.Receive()
		switch {
		case errors.Is(err, os.ErrClosed), errors.Is(err, net.ErrClosed), errors.Is(err, unix.EBADF):
			return
		case err != nil: // some were lost (ENOBUFS)
			changed()
			continue
		}
		for _, m := range messages {
			if !isOurNews(m) {
				changed()
				break
			}
		}
	}
}

// isOurNews reports whether a message is about a rule or a route of ours.
func isOurNews(m syscall.NetlinkMessage) bool {
	switch m.Header.Type {
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		return len(m.Data) >= unix.SizeofRtMsg && nl.DeserializeRtMsg(m.Data).Protocol == hostProtocol
	case unix.RTM_NEWRULE, unix.RTM_DELRULE:
		attrs, err := nl.ParseRouteAttr(m.Data[min(len(m.Data), unix.SizeofRtMsg):])
		if err != nil {
			return false
		}
		for _, a := range attrs {
			if a.Attr.Type == nl.FRA_PROTOCOL && len(a.Value) == 1 {
				return a.Value[0] == hostProtocol
			}
		}
	}
	return false
}

// Addresses lists those of devices that are up and have a carrier. One that is still checked for being unique, or was found not
// to be, is none.
func (h *linuxHost) Addresses() ([]netip.Addr, error) {
	h.looking.Lock()
	defer h.looking.Unlock()
	if h.lookup == nil {
		return nil, net.ErrClosed
	}
	links, err := wholeDump(h.lookup.LinkList)
	if err != nil {
		return nil, err
	}
	running := make(map[int]bool)
	for _, l := range links {
		a := l.Attrs()
		running[a.Index] = a.Name != h.device && a.RawFlags&unix.IFF_UP != 0 && a.RawFlags&unix.IFF_RUNNING != 0
	}
	list, err := wholeDump(func() ([]netlink.Addr, error) { return h.lookup.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, err
	}
	var out []netip.Addr
	for _, a := range list {
		if addr := addrOf(a.IP); addr.IsGlobalUnicast() && isUsable(a) && running[a.LinkIndex] {
			out = append(out, addr)
		}
	}
	return out, nil
}

// isUsable reports whether packets may leave from an address already.
func isUsable(a netlink.Addr) bool {
	return a.Flags&unix.IFA_F_DADFAILED == 0 && (a.Flags&unix.IFA_F_TENTATIVE == 0 || a.Flags&unix.IFA_F_OPTIMISTIC != 0)
}
