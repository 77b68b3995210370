// Package natt holds the rules of NAT traversal: what a datagram is, who is behind a NAT, when IKE moves to
// port 4500, when a path may move and when a keepalive is due (RFC 7296 2.23, RFC 3948).
//
// It has no socket and no clock. Whoever sends and receives asks it and does as it says.
package natt

import (
	"encoding/binary"
	"net/netip"
)

const (
	// Port is the UDP port of IKE without encapsulation.
	Port uint16 = 500
	// PortNATT is the UDP port that IKE and UDP-encapsulated ESP share.
	PortNATT uint16 = 4500
	// MarkerLen is the length of the non-ESP marker, four zero octets where ESP has its SPI (RFC 3948 2.2).
	MarkerLen = 4
)

// Sizes below which a datagram cannot be what it seems to be.
const (
	ikeHeaderLen = 28 // RFC 7296 3.1
	espHeaderLen = 8  // SPI and sequence number, RFC 4303 2
	spiReserved  = 255
)

// Path is where an IKE SA sends and receives: our address and the peer's, as the socket sees them. It is
// comparable.
type Path struct {
	Local, Remote netip.AddrPort
	// NATT says that the path runs over the encapsulation socket: IKE carries the non-ESP marker and
	// ESP travels in the same UDP flow.
	NATT bool
}

// Valid reports whether a datagram could be sent along p.
func (p Path) Valid() bool {
	return p.Local.IsValid() && p.Remote.IsValid() && p.Remote.Port() != 0 &&
		p.Local.Addr().Is4() == p.Remote.Addr().Is4()
}

// Float returns the path an initiator uses after IKE_SA_INIT when MustFloat says so: port 4500 on both ends
// (RFC 7296 2.23). A path that is there already stays as it is, whatever its ports.
func (p Path) Float() Path {
	if p.NATT {
		return p
	}
	return Path{
		Local:  netip.AddrPortFrom(p.Local.Addr(), PortNATT),
		Remote: netip.AddrPortFrom(p.Remote.Addr(), PortNATT),
		NATT:   true,
	}
}

// String returns "local - remote", and whether it is encapsulated.
func (p Path) String() string {
	s := p.Local.String() + " - " + p.Remote.String()
	if p.NATT {
		s += " (encapsulated)"
	}
	return s
}

// Kind is what a received datagram is.
type Kind uint8

// The kinds of datagram. Junk is everything that must be dropped.
const (
	Junk Kind = iota
	IKE
	ESP
	Keepalive
)

// String returns the name of k for logs and counters.
func (k Kind) String() string {
	switch k {
	case IKE:
		return "IKE"
	case ESP:
		return "ESP"
	case Keepalive:
		return "keepalive"
	}
	return "junk"
}

// KeepaliveByte is the whole payload of a NAT-keepalive datagram (RFC 3948 2.3).
const KeepaliveByte byte = 0xFF

// Classify says what the UDP payload b is, judging by the port it arrived on and its first bytes. The
// returned slice is the IKE message without the marker for IKE, and b for every other kind. It does not
// allocate and keeps nothing of b.
//
// ESP exists only on port 4500: UDP encapsulation MUST NOT be done on port 500 (RFC 7296 2.23).
func Classify(port4500 bool, b []byte) (Kind, []byte) {
	if !port4500 {
		if len(b) < ikeHeaderLen {
			return Junk, b
		}
		return IKE, b
	}
	if len(b) == 1 && b[0] == KeepaliveByte {
		return Keepalive, b
	}
	if len(b) <= espHeaderLen {
		return Junk, b
	}
	switch spi := binary.BigEndian.Uint32(b); {
	case spi > spiReserved:
		return ESP, b
	case spi == 0 && len(b) >= MarkerLen+ikeHeaderLen:
		return IKE, b[MarkerLen:]
	}
	// SPIs 1 to 255 are reserved by IANA (RFC 4303 2.1).
	return Junk, b
}

// AppendIKE appends to b the datagram that carries the IKE message msg along p: msg itself, after the
// non-ESP marker if the path is encapsulated.
func AppendIKE(b []byte, p Path, msg []byte) []byte {
	if p.NATT {
		b = append(b, 0, 0, 0, 0)
	}
	return append(b, msg...)
}
