package tun

import (
	"bytes"
	"os"

	"github.com/vishvananda/netlink"
)

// kernelHeaders is what the kernel keeps free for headers in the size of a superpacket: MAX_TCP_HEADER, and one.
const kernelHeaders = 320 + 1

// limitTCP has the host's own TCP make superpackets with at most so many bytes of payload. On a host that forwards the
// kernel would also cut the bursts of others that are longer, packet by packet, which costs far more than a second train:
// there nothing is changed. Nor does it matter if the kernel refuses.
func (d *device) limitTCP(payload int) {
	if payload == 0 || forwards() {
		return
	}
	_ = netlink.LinkSetGSOMaxSize(&netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Index: d.index}}, payload+kernelHeaders)
}

// forwards reports whether this host forwards packets of others.
func forwards() bool {
	for _, path := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
		if b, err := os.ReadFile("/proc/sys/net/" + path); err == nil && !bytes.HasPrefix(b, []byte{'0'}) {
			return true
		}
	}
	return false
}
