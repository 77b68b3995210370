package udp

import (
	"net/netip"
)

// Unreachable is what ICMP said of a destination. It is not authenticated.
type Unreachable struct {
	By  netip.Addr // who said so
	Why Obstacle
}

// Obstacle is why a destination cannot be reached.
type Obstacle uint8

// The obstacles.
const (
	HostUnreachable Obstacle = iota + 1
	NetUnreachable
	PortClosed
	Prohibited
)

// Probe is a socket of its own that sent one datagram to a destination, to hear what ICMP says of it. A Conn cannot do that: the error
// would come in place of a datagram to somebody else, so that anybody could have those fail. It is not safe for concurrent use.
type Probe struct {
	handle probeHandle
	remote netip.AddrPort
	at     *Unreachable // what the host itself said when it was to be sent
}

// OpenProbe sends a datagram of one byte, which IKE daemons take for a NAT keepalive (RFC 3948 2.3) or for nothing, from an address of
// ours, which may be the zero Addr, and any port. mark is as in Options. The error is that there can be no such socket.
func OpenProbe(local netip.Addr, remote netip.AddrPort, mark uint32) (*Probe, error) {
	p := &Probe{remote: remote}
	return p, p.open(local, mark)
}

// Heard is what ICMP, or this host, has said until now. It does not wait.
func (p *Probe) Heard() (Unreachable, bool) {
	if p.at != nil {
		return *p.at, true
	}
	return p.hear()
}

// Again sends the datagram once more.
func (p *Probe) Again() { p.again() }

// keepalive is what a Probe sends.
var keepalive = [1]byte{0xff}
