package inet

import (
	"encoding/binary"
	"net/netip"
)

// AppendHeader appends the IP header of a whole datagram with so many bytes of payload to b; src and dst are of one family. IPv4 has DF
// set, so that its identification has no meaning (RFC 6864 4.1). tos is the octet of DSCP and ECN.
func AppendHeader(b []byte, src, dst netip.Addr, protocol, tos byte, payload int) []byte {
	const hops = 64
	if src.Is4() {
		s, d, start := src.As4(), dst.As4(), len(b)
		b = append(b, 0x45, tos)
		b = binary.BigEndian.AppendUint16(b, uint16(ipv4HeaderLen+payload))
		b = append(b, 0, 0, 0x40, 0, hops, protocol, 0, 0)
		b = append(append(b, s[:]...), d[:]...)
		binary.BigEndian.PutUint16(b[start+10:], Checksum(b[start:]))
		return b
	}
	s, d := src.As16(), dst.As16()
	b = append(b, 0x60|tos>>4, tos<<4, 0, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(payload))
	b = append(b, protocol, hops)
	return append(append(b, s[:]...), d[:]...)
}

// Readdressing mends the checksums of what was sent between other addresses than it arrives with (RFC 3948 3.1.2). The zero
// Readdressing changes nothing.
type Readdressing struct{ difference uint16 }

// NewReaddressing is for what was sent from src to dst and arrives with other addresses; all are of one family or the result is
// the zero Readdressing.
func NewReaddressing(src, dst, newSrc, newDst netip.Addr) Readdressing {
	if src == newSrc && dst == newDst || src.BitLen() != newSrc.BitLen() || dst.BitLen() != newDst.BitLen() || src.BitLen() != dst.BitLen() {
		return Readdressing{}
	}
	was, is := AddPseudo(0, src, dst, 0, 0), AddPseudo(0, newSrc, newDst, 0, 0)
	return Readdressing{addOnes(^Fold(was), Fold(is))}
}

// Mend changes the checksum of a next layer's message, for protocols whose checksum covers the addresses. The message need not
// be sound: one that is too short stays as it is, and a wrong checksum stays wrong.
func (r Readdressing) Mend(protocol byte, b []byte) {
	at, ok := addressedChecksum(protocol)
	if r.difference == 0 || !ok || len(b) < at+2 {
		return
	}
	sum := binary.BigEndian.Uint16(b[at:])
	if protocol == ProtoUDP && sum == 0 { // there is none (RFC 768)
		return
	}
	sum = ^addOnes(^sum, r.difference) // RFC 1624 3, equation 3
	if protocol == ProtoUDP && sum == 0 {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(b[at:], sum)
}

// addressedChecksum is where the checksum stands in messages of a protocol whose checksum covers the addresses.
func addressedChecksum(protocol byte) (at int, ok bool) {
	const dccp, udpLite = 33, 136
	switch protocol {
	case ProtoTCP:
		return 16, true
	case ProtoUDP, udpLite, dccp:
		return 6, true
	case ProtoICMPv6:
		return 2, true
	}
	return 0, false
}

// addOnes is the one's complement sum.
func addOnes(a, b uint16) uint16 {
	sum := uint32(a) + uint32(b)
	return uint16(sum&0xffff + sum>>16)
}
