//go:build linux

package lab

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
)

// Link is a cable between two hosts. On each host the interface has the name of the other one.
type Link struct{ A, B *Host }

// Link connects two hosts and gives each end its addresses, as "192.0.2.1/24".
func (n *Net) Link(a *Host, addrsA []string, b *Host, addrsB []string) *Link {
	n.t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = b.Name
	// The kernel brings a device up at once only when its index is not that of its other end; else it takes its time,
	// up to a second, and drops packets until then. The other end gets the next free number, which is small.
	attrs.Index = 1000 + int(linkIndex.Add(1))
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: a.Name, PeerNamespace: netlink.NsFd(b.ns)}
	if err := a.handle.LinkAdd(veth); err != nil {
		n.t.Fatalf("link %s to %s: %v", a.Name, b.Name, err)
	}
	a.Configure(b.Name, addrsA)
	b.Configure(a.Name, addrsB)
	l := &Link{A: a, B: b}
	l.awaitUp()
	a.awaitAddrs(addrsA)
	b.awaitAddrs(addrsB)
	return l
}

var linkIndex atomic.Uint32 // of the last link made

// awaitUp waits until packets can cross the cable.
func (l *Link) awaitUp() {
	l.A.t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	l.Ends(func(h *netlink.Handle, link netlink.Link) error {
		for link.Attrs().OperState != netlink.OperUp {
			if time.Now().After(deadline) {
				return fmt.Errorf("link %s to %s does not come up", l.A.Name, l.B.Name)
			}
			time.Sleep(time.Millisecond)
			var err error
			if link, err = h.LinkByIndex(link.Attrs().Index); err != nil {
				return err
			}
		}
		return nil
	})
}

// Ends calls f for both interfaces of the cable.
func (l *Link) Ends(f func(*netlink.Handle, netlink.Link) error) {
	l.A.t.Helper()
	for _, end := range [][2]*Host{{l.A, l.B}, {l.B, l.A}} {
		link, err := end[0].handle.LinkByName(end[1].Name)
		Must(l.A.t, err, f(end[0].handle, link))
	}
}

// SetMTU limits the size of IP packets on the cable, in bytes.
func (l *Link) SetMTU(mtu int) {
	l.A.t.Helper()
	l.Ends(func(h *netlink.Handle, link netlink.Link) error { return h.LinkSetMTU(link, mtu) })
}

// SetUp plugs the cable in or pulls it. Routes through it that are lost when it is pulled do not come back.
func (l *Link) SetUp(up bool) {
	l.A.t.Helper()
	l.Ends(func(h *netlink.Handle, link netlink.Link) error {
		if up {
			return h.LinkSetUp(link)
		}
		return h.LinkSetDown(link)
	})
	if up {
		l.awaitUp()
	}
}
