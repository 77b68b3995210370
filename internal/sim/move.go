package sim

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/natt"
)

// noticeTime is how long it takes a host to hear of its own addresses.
const noticeTime = 20 * time.Millisecond

// addrs are all addresses of the host, the one that it prefers first.
func (h *Host) addrs() []netip.Addr { return append([]netip.Addr{h.Addr}, h.Others...) }

// Move gives the host other addresses, behind a NAT box or none. What is sent to or from the old ones is lost.
func (h *Host) Move(nat *NAT, addr netip.Addr, others ...netip.Addr) {
	h.w.trace.note(h.w, h, fmt.Sprintf("is now at %v %v, behind a NAT box: %v", addr, others, nat != nil))
	h.nat, h.Addr, h.Others = nat, addr, others
	h.w.After(noticeTime, h.tellAddresses)
}

// tellAddresses tells the endpoint what addresses there are.
func (h *Host) tellAddresses() { h.Give(ike.Addresses{Local: h.addrs()}) }

// survey finds the paths to a peer: every address leads everywhere, and the first one is taken.
func (h *Host) survey(e ike.Survey) ike.Surveyed {
	answer := ike.Surveyed{IKE: e.IKE}
	for _, remote := range e.Remotes {
		i := slices.IndexFunc(h.addrs(), func(a netip.Addr) bool { return a.Is4() == remote.Addr().Is4() })
		if i >= 0 {
			local := netip.AddrPortFrom(h.addrs()[i], natt.PortNATT)
			answer.Paths = append(answer.Paths, natt.Path{Local: local, Remote: remote, NATT: true})
		}
	}
	return answer
}
