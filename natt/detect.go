package natt

import (
	"crypto/sha1"
	"encoding/binary"
	"net/netip"
	"slices"
)

// Hash returns the data of a NAT_DETECTION_SOURCE_IP or NAT_DETECTION_DESTINATION_IP notification: SHA-1 of
// the SPIs as they stand in the IKE header, the address in network order, and the port (RFC 7296 2.23). The
// responder's SPI is 0 in an IKE_SA_INIT request. An IPv4-mapped IPv6 address counts as IPv4, for so it
// travels.
func Hash(spiI, spiR uint64, a netip.AddrPort) [20]byte {
	var in [8 + 8 + 16 + 2]byte
	b := binary.BigEndian.AppendUint64(in[:0], spiI)
	b = binary.BigEndian.AppendUint64(b, spiR)
	if addr := a.Addr().Unmap(); addr.Is4() {
		v4 := addr.As4()
		b = append(b, v4[:]...)
	} else {
		v6 := addr.As16()
		b = append(b, v6[:]...)
	}
	b = binary.BigEndian.AppendUint16(b, a.Port())
	return sha1.Sum(b)
}

// ForcedSource returns the data of a NAT_DETECTION_SOURCE_IP notification that no recipient finds matching,
// so that the peer must encapsulate ESP in UDP although there may be no NAT. local is the address the
// message is sent from.
//
// It is the hash of our address with port 0, which no datagram is sent from. A recipient that knows this
// form (see Detect) still learns whether our address was translated on the way; a random value would hide
// it.
func ForcedSource(spiI, spiR uint64, local netip.AddrPort) [20]byte {
	return Hash(spiI, spiR, netip.AddrPortFrom(local.Addr(), 0))
}

// Situation is what NAT detection found out. It is comparable; the zero value is that of a peer that sent no
// NAT detection at all.
type Situation struct {
	// Supported: the peer sent both notifications, hence does NAT traversal (RFC 7296 2.23).
	Supported bool
	// LocalNAT: our address was translated on the way to the peer. We keep the mapping alive.
	LocalNAT bool
	// RemoteNAT: the peer's address was translated on the way to us, as far as can be known. A peer
	// that forces encapsulation with a value we do not recognise looks the same.
	RemoteNAT bool
	// RemoteForces: the peer's source notification is one that can never match: it demands UDP
	// encapsulation. If RemoteNAT is set as well, the notification hides whether there is a NAT.
	RemoteForces bool
	// Certain: the peer is known to force encapsulation in the form of ForcedSource only, so that RemoteNAT is
	// neither a guess nor hidden. The caller sets it.
	Certain bool
}

// Detect judges the NAT detection notifications of an IKE_SA_INIT message that arrived along path: src is
// the data of each NAT_DETECTION_SOURCE_IP, dst that of NAT_DETECTION_DESTINATION_IP (nil: not there).
// spiI and spiR are those of the message's header. Data of the wrong length matches nothing.
//
// The peer is behind a NAT if none of its source hashes matches the source of the datagram; we are, if its
// destination hash does not match the address the datagram arrived at (RFC 7296 2.23).
func Detect(spiI, spiR uint64, path Path, src [][]byte, dst []byte) Situation {
	s := Situation{Supported: len(src) > 0 && dst != nil}
	if dst != nil {
		want := Hash(spiI, spiR, path.Local)
		s.LocalNAT = string(dst) != string(want[:])
	}
	if len(src) > 0 && !contains(src, Hash(spiI, spiR, path.Remote)) {
		s.RemoteNAT, s.RemoteForces = decoy(spiI, spiR, path.Remote, src)
	}
	return s
}

// decoy looks for the values by which peers are known to force encapsulation. The address with port 0 proves
// that the address was not translated. An unspecified address, or no hash at all but zeros, proves nothing.
func decoy(spiI, spiR uint64, remote netip.AddrPort, src [][]byte) (nat, forced bool) {
	if contains(src, ForcedSource(spiI, spiR, remote)) {
		return false, true
	}
	if contains(src, [20]byte{}) {
		return true, true
	}
	for _, a := range [...]netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		for _, port := range [...]uint16{0, Port, PortNATT, remote.Port()} {
			if contains(src, Hash(spiI, spiR, netip.AddrPortFrom(a, port))) {
				return true, true
			}
		}
	}
	return true, false
}

func contains(hashes [][]byte, want [20]byte) bool {
	return slices.ContainsFunc(hashes, func(h []byte) bool { return string(h) == string(want[:]) })
}

// String says in words for the user who is behind a NAT. Of a peer it cannot be known for sure: a hash that does not match
// may be a random one, which is how strongSwan forces encapsulation.
func (s Situation) String() string {
	if !s.Supported {
		return "unknown: the peer sent no NAT detection"
	}
	peer := s.RemoteNAT && !s.RemoteForces
	hidden := s.RemoteNAT && s.RemoteForces
	var text string
	switch {
	case s.Certain && s.LocalNAT && peer:
		text = "both we and the peer are behind a NAT"
	case s.Certain && peer:
		text = "the peer is behind a NAT"
	case s.LocalNAT && peer:
		text = "we are behind a NAT, and the peer is behind a NAT or forces UDP encapsulation"
	case s.LocalNAT:
		text = "we are behind a NAT"
	case peer:
		text = "the peer is behind a NAT or forces UDP encapsulation"
	case hidden:
		text = "we are not behind a NAT"
	default:
		text = "no NAT"
	}
	switch {
	case hidden:
		text += ", the peer forces UDP encapsulation and may be behind one"
	case s.RemoteForces:
		text += ", the peer forces UDP encapsulation"
	case !s.LocalNAT && !s.RemoteNAT:
		text += ", UDP encapsulation forced"
	}
	return text
}
