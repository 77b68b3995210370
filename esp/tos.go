package esp

import "encoding/binary"

// The two lower bits of the IPv4 TOS and IPv6 Traffic Class byte are ECN (RFC 3168 5), the six upper ones DSCP.
const (
	ecnMask = 0b11

	notECT = 0b00
	ect1   = 0b01
	ect0   = 0b10
	ce     = 0b11
)

// ECN is what the congestion bits of an inner and an outer header say together (RFC 6040 4.2).
type ECN uint8

const (
	// ECNNormal: deliver the packet.
	ECNNormal ECN = iota
	// ECNUnused: deliver it, but no sender that keeps to the rules produces this pair; worth a counter.
	ECNUnused
	// ECNDrop: congestion was signalled to a transport that understands only loss. The packet must be
	// dropped.
	ECNDrop
)

// OuterTOS is the TOS of the outer header for an inner TOS: ECN is always copied (RFC 6040 4.1, normal mode),
// DSCP only if copyDSCP, because it tells the network something of the traffic inside (RFC 4301 5.1.2).
func OuterTOS(inner byte, copyDSCP bool) byte {
	if copyDSCP {
		return inner
	}
	return inner & ecnMask
}

// InnerTOS is the TOS to deliver an inner packet with, given its own and that of the outer header. DSCP is
// taken from the outer header only if copyDSCP: it is not authenticated (RFC 4301 5.1.2.2 note 9). The TOS
// is the inner one if the packet is to be dropped.
func InnerTOS(inner, outer byte, copyDSCP bool) (byte, ECN) {
	ecn, verdict := decapECN(inner&ecnMask, outer&ecnMask)
	if verdict == ECNDrop {
		return inner, verdict
	}
	dscp := inner
	if copyDSCP {
		dscp = outer
	}
	return dscp&^ecnMask | ecn, verdict
}

// decapECN is RFC 6040 figure 4.
func decapECN(inner, outer byte) (byte, ECN) {
	switch inner {
	case notECT:
		switch outer {
		case notECT:
			return notECT, ECNNormal
		case ce:
			return notECT, ECNDrop
		}
		return notECT, ECNUnused
	case ect0:
		if outer == notECT {
			return ect0, ECNNormal
		}
		return outer, ECNNormal
	case ect1:
		switch outer {
		case ce:
			return ce, ECNNormal
		case ect0:
			return ect1, ECNUnused
		}
		return ect1, ECNNormal
	}
	if outer == ect1 {
		return ce, ECNUnused
	}
	return ce, ECNNormal
}

// DecapTOS brings the TOS of the outer header into the inner packet, as InnerTOS says, and mends the checksum
// of an IPv4 header. inner is what Open returned.
func DecapTOS(inner []byte, outer byte, copyDSCP bool) ECN {
	if inner[0]>>4 == 4 {
		tos, verdict := InnerTOS(inner[1], outer, copyDSCP)
		if tos != inner[1] {
			setTOS4(inner, tos)
		}
		return verdict
	}
	word := binary.BigEndian.Uint16(inner) // version 4, traffic class 8, upper flow label 4
	tos, verdict := InnerTOS(byte(word>>4), outer, copyDSCP)
	binary.BigEndian.PutUint16(inner, word&^0x0ff0|uint16(tos)<<4)
	return verdict
}

// setTOS4 changes the TOS of an IPv4 header and updates its checksum: HC' = ~(~HC + ~m + m'), RFC 1624 3.
func setTOS4(header []byte, tos byte) {
	before := binary.BigEndian.Uint16(header)
	header[1] = tos
	after := binary.BigEndian.Uint16(header)
	sum := uint32(^binary.BigEndian.Uint16(header[10:])) + uint32(^before) + uint32(after)
	sum = sum&0xffff + sum>>16
	sum = sum&0xffff + sum>>16
	binary.BigEndian.PutUint16(header[10:], ^uint16(sum))
}
