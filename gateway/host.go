package gateway

import (
	"context"
	"net/netip"
)

// Host is what the gateway changes and asks of the machine it runs on. Its methods are called from the control
// goroutine only, but for RouteTo, Addresses, Watch and Resolve.
type Host interface {
	// Setup readies the device, which exists already: MTU mtu, link up, no address of its own. What an earlier run left
	// behind is not touched, because it keeps traffic from leaving in clear.
	Setup(device string, mtu int) error
	// Protect routes the traffic of the policies into the device and keeps it from leaving in clear; packets with Mark
	// stay outside of the tunnel. policies is the full set: it replaces the former one, and what an earlier run left
	// behind. The gateway calls it again every protectEvery with the same set, so that what others changed meanwhile is
	// mended; such a call costs next to nothing while nothing on the machine changes. After an error the next call tries
	// again. Protect takes policies.
	Protect(policies []Policy) error
	// Assign gives the device these addresses, which peers have assigned to us, and takes away those that it was given before.
	// What the host sends by a policy for one of them leaves from it, unless a program has chosen another.
	Assign(addrs []netip.Addr) error
	// Resolve has names looked up at servers behind the device, see Names; the zero Names ends that. It may be called by any
	// goroutine, takes until ctx ends at most, and is called once more after it has failed or the names have changed only.
	Resolve(ctx context.Context, n Names) error
	// RouteTo finds the local address and the MTU in bytes of the way to a peer, as if our own routes were not there.
	RouteTo(remote netip.Addr) (local netip.Addr, mtu int, err error)
	// Addresses lists the addresses that packets may leave from, but for those of the tunnel's device. Any goroutine may call it.
	Addresses() ([]netip.Addr, error)
	// Watch calls changed, and soon, after changes of addresses, devices and routes, until ctx ends. It is called once, by a
	// goroutine of its own.
	Watch(ctx context.Context, changed func())
	// Close takes back all of it.
	Close() error
	// Release is called instead of Close when the gateway has failed, or is started anew. The machine stays protected: the traffic of the
	// policies goes nowhere until the next run takes over.
	Release() error
}

// Policy is traffic that must be protected: from any of Local to any of Remote, however it is limited besides.
type Policy struct {
	Local, Remote []netip.Prefix
	// Pass: this traffic need not be protected. It goes its usual way even where policies that come later in the set would
	// have it protected; those that come earlier prevail.
	Pass bool
	// Protocol and the ports limit traffic that passes, and the claim of a policy to prevail over those that come later and
	// pass. 0, and the zero Ports, are any.
	Protocol                uint8
	LocalPorts, RemotePorts Ports
}

// wide says that a remote prefix is no network but the Internet: 0.0.0.0/0, its halves, 2000::/3; fc00::/7 is a network. The host's own
// packets are treated otherwise then.
func wide(remote netip.Prefix) bool { return remote.Bits() < 7 }

// Ports is a range of ports, both ends inclusive; the zero Ports is any.
type Ports struct{ First, Last uint16 }

// Names are name servers, and the domains whose names they are to be asked for; without domains, all names.
type Names struct {
	Servers []netip.Addr
	Domains []string
}

// Mark is the socket mark of the datagrams that the gateway sends, by which the host's routing tells them from the
// traffic to be protected. It keeps clear of the bits that others use: 0xc000 (Kubernetes), 0x0f00 (Cilium), 0xff0000
// (Tailscale), 0xffff0000 (Calico, Cilium). What they set besides does no harm.
const Mark = 0x3045
