package inet

import (
	"encoding/binary"
	"net/netip"
)

const (
	icmpHeaderLen = 8

	icmpUnreachable    = 3 // RFC 792
	icmpSourceQuench   = 4
	icmpRedirect       = 5
	icmpTimeExceeded   = 11
	icmpParameter      = 12
	icmpFragNeeded     = 4 // code of icmpUnreachable
	icmp6PacketTooBig  = 2 // RFC 4443 3.2
	icmp6Redirect      = 137
	icmp6Informational = 128 // types below are errors (RFC 4443 2.1)

	minMTU4   = 68   // RFC 791 3.2
	minMTU6   = 1280 // RFC 8200 5
	maxError4 = 576  // RFC 1812 4.3.2.3
	maxError6 = minMTU6

	hopLimit = 64
	// tosControl is precedence 6, internetwork control: what ICMP errors are sent with (RFC 1812 4.3.2.5).
	tosControl = 0xc0
)

// AppendPacketTooBig appends to b the ICMP message from src that tells the sender of the IP packet orig that no
// packet longer than mtu octets can pass: "fragmentation needed and DF set" (RFC 792, RFC 1191 4) or ICMPv6
// Packet Too Big (RFC 4443 3.2). It says no less than the least MTU of the family, 68 or 1280, as hosts disregard
// that. b and orig must not overlap.
//
// It returns b as it is if no message is due: orig is not sound or is of another family than src, is no longer
// than mtu or that least, is an ICMP error or a later fragment, or comes from or goes to what is not one host
// (RFC 1122 3.2.2, RFC 4443 2.4 (e)). Whether an IPv4 packet may be fragmented instead is for the caller to
// decide: see Header.DontFragment.
func AppendPacketTooBig(b, orig []byte, mtu int, src netip.Addr) []byte {
	h, err := Parse(orig)
	if err != nil || h.Src.BitLen() != src.BitLen() || !deservesError(h, orig[h.Len:h.Total]) {
		return b
	}
	orig = orig[:h.Total]
	if src.Is4() {
		if mtu = min(max(mtu, minMTU4), 65535); len(orig) <= mtu {
			return b
		}
		return appendFragNeeded(b, orig, mtu, src, h.Src)
	}
	if mtu = max(mtu, minMTU6); len(orig) <= mtu {
		return b
	}
	return appendTooBig6(b, orig, mtu, src, h.Src)
}

// deservesError reports whether an ICMP error may answer the packet with header h and the given next layer.
func deservesError(h Header, next []byte) bool {
	is4 := h.Src.Is4()
	switch {
	case !h.First(),
		h.Src.IsUnspecified(), h.Src.IsMulticast(), h.Src.IsLoopback(),
		is4 && h.Src.As4()[0] >= 240,                           // class E and the limited broadcast
		is4 && (h.Dst.IsMulticast() || h.Dst.As4()[0] == 0xff): // multicast is no obstacle to Packet Too Big
		return false
	case h.Protocol != ProtoICMP && h.Protocol != ProtoICMPv6:
		return true
	case len(next) == 0:
		return false
	}
	if h.Protocol == ProtoICMPv6 {
		return next[0] >= icmp6Informational && next[0] != icmp6Redirect
	}
	switch next[0] {
	case icmpUnreachable, icmpSourceQuench, icmpRedirect, icmpTimeExceeded, icmpParameter:
		return false
	}
	return true
}

func appendFragNeeded(b, orig []byte, mtu int, src, dst netip.Addr) []byte {
	quoted := orig[:min(len(orig), maxError4-ipv4HeaderLen-icmpHeaderLen)]
	start := len(b)
	s, d := src.As4(), dst.As4()
	b = append(b, 4<<4|ipv4HeaderLen/4, tosControl)
	b = binary.BigEndian.AppendUint16(b, uint16(ipv4HeaderLen+icmpHeaderLen+len(quoted)))
	b = append(b, 0, 0, 0x40, 0, hopLimit, ProtoICMP, 0, 0) // DF, so that the identification may be 0 (RFC 6864 4)
	b = append(append(b, s[:]...), d[:]...)
	binary.BigEndian.PutUint16(b[start+10:], Checksum(b[start:]))

	start = len(b)
	b = append(b, icmpUnreachable, icmpFragNeeded, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(mtu))
	b = append(b, quoted...)
	binary.BigEndian.PutUint16(b[start+2:], Checksum(b[start:]))
	return b
}

func appendTooBig6(b, orig []byte, mtu int, src, dst netip.Addr) []byte {
	quoted := orig[:min(len(orig), maxError6-ipv6HeaderLen-icmpHeaderLen)]
	length := icmpHeaderLen + len(quoted)
	s, d := src.As16(), dst.As16()
	b = append(b, 6<<4|tosControl>>4, tosControl<<4&0xff, 0, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(length))
	b = append(b, ProtoICMPv6, hopLimit)
	b = append(append(b, s[:]...), d[:]...)

	start := len(b)
	b = append(b, icmp6PacketTooBig, 0, 0, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(mtu))
	b = append(b, quoted...)
	sum := Add(AddPseudo(0, src, dst, ProtoICMPv6, length), b[start:])
	binary.BigEndian.PutUint16(b[start+2:], ^Fold(sum))
	return b
}
