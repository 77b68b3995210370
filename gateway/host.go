package gateway

import "net/netip"

// Host is what the gateway changes and asks of the machine it runs on. Its methods are called from the control
// goroutine only, RouteTo from the resolver goroutine only.
type Host interface {
	// Setup readies the device, which exists already, and cleans up what a crashed run left behind: no addresses, MTU
	// mtu, link up, policy routing rules by which packets with Mark stay outside of the tunnel.
	Setup(device string, mtu int) error
	// Protect routes the traffic of the policies into the device and keeps it from leaving in clear. policies is the
	// full set and replaces the former one; a call that changes nothing costs nothing.
	Protect(policies []Policy) error
	// RouteTo finds the local address and the MTU in bytes of the way to a peer, as if our own routes were not there.
	RouteTo(remote netip.Addr) (local netip.Addr, mtu int, err error)
	// Close takes back all of it.
	Close() error
}

// Policy is traffic that must be protected: from any of Local to any of Remote.
type Policy struct{ Local, Remote []netip.Prefix }

// Mark is the socket mark of the datagrams that the gateway sends, by which the host's routing tells them from the
// traffic to be protected.
const Mark = 0x43564c54
