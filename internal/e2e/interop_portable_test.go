//go:build linux

package e2e

import (
	"testing"

	"github.com/vishvananda/netlink"
)

// portable is Culvert with the plain TUN device that every platform has.
func portable(h *Host, conf string) Peer { return NewCulvert(h, conf, "--portable-tun") }

// TestInteropPortable is the reference case without anything that only the TUN device of Linux can do.
func TestInteropPortable(t *testing.T) {
	t.Parallel()
	confA := edit(referenceA, "local_addrs = 203.0.113.1", "local_addrs = %any\nremote_addrs = 192.0.2.10")
	for _, cast := range []cast{
		{"culvert to strongSwan", portable, strongSwan},
		{"strongSwan to culvert", strongSwan, portable},
		{"culvert to culvert", portable, culvert},
	} {
		t.Run(cast.name, func(t *testing.T) {
			t.Parallel()
			p := cast.play(t, NewReference(t, Plan{B: OneToOne}), confA, referenceB)
			for _, call := range p.calls() {
				call.reference()
			}
			// Only what was asked to be plain is: superpackets need the virtio-net header.
			if a, ok := p.a.(*Culvert); ok && takesSuperpackets(t, a) {
				t.Error("A's device takes superpackets")
			}
			b, ok := p.b.(*Culvert)
			if _, both := p.a.(*Culvert); ok && takesSuperpackets(t, b) != both {
				t.Errorf("B's device takes superpackets: %v, want %v", !both, both)
			}
		})
	}
}

// takesSuperpackets looks at the TUN device of a daemon.
func takesSuperpackets(t *testing.T, c *Culvert) bool {
	t.Helper()
	status, err := c.Status()
	Must(t, err)
	link, err := c.host.Netlink().LinkByName(status.Device)
	Must(t, err)
	tun, ok := link.(*netlink.Tuntap)
	if !ok {
		t.Fatalf("%s is no TUN device but %T", status.Device, link)
	}
	return tun.Flags&netlink.TUNTAP_VNET_HDR != 0
}
