package tun

import (
	"encoding/binary"

	"github.com/culvert-vpn/culvert/internal/inet"
)

// GSO says how a superpacket becomes packets of the wire. The numbers are those of the virtio-net header.
type GSO uint8

const (
	GSONone GSO = 0 // one packet
	GSOTCP4 GSO = 1 // TCP over IPv4
	GSOTCP6 GSO = 4 // TCP over IPv6
	GSOUDP  GSO = 5 // UDP over IPv4 or IPv6: a train of datagrams with one header (UDP_SEGMENT)
)

// Super is one packet, or a superpacket: one IP and transport header followed by the payload of many packets, with what
// is needed to cut it. The zero value of the fields other than Packet describes a plain, complete packet.
type Super struct {
	Packet []byte // from the IP header on; borrowed

	GSO         GSO
	HdrLen      int // bytes of IP and transport header, which every segment gets; unused with GSONone
	SegmentSize int // payload bytes of each segment but the last, which may be shorter; unused with GSONone

	// NeedsChecksum: the transport checksum is to be computed over Packet[ChecksumStart:] and stored ChecksumOffset bytes
	// after ChecksumStart, where the sum of the pseudo header stands already. Always so with GSO other than GSONone.
	NeedsChecksum  bool
	ChecksumStart  int
	ChecksumOffset int
}

// Plain tells that Packet can be used as it is: one packet with a complete checksum.
func (s *Super) Plain() bool { return s.GSO == GSONone && !s.NeedsChecksum }

// The transport headers that a superpacket may have: where their checksum stands, and their least length.
const (
	tcpHeader   = 20
	tcpSeq      = 4
	tcpFlags    = 13
	tcpChecksum = 16
	udpHeader   = 8
	udpLength   = 4
	udpChecksum = 6

	tcpFIN = 0x01
	tcpPSH = 0x08
	tcpCWR = 0x80

	ip4Header = 20
	ip6Header = 40
)

// Segments is the number of packets that s stands for, at least 1; 0 when its description does not fit its bytes.
func (s *Super) Segments() int {
	if !s.valid() {
		return 0
	}
	if s.GSO == GSONone {
		return 1
	}
	payload := len(s.Packet) - s.HdrLen
	return max(1, (payload+s.SegmentSize-1)/s.SegmentSize)
}

// Cut writes segment i of 0 to Segments()-1 to dst, a complete IP packet, and returns its length: at most
// HdrLen+SegmentSize, or len(Packet) with GSONone. It returns 0 when there is no such segment or dst is too short for it.
// dst must not overlap Packet.
func (s *Super) Cut(i int, dst []byte) int {
	if i < 0 || i >= s.Segments() {
		return 0
	}
	if s.GSO == GSONone {
		if len(dst) < len(s.Packet) {
			return 0
		}
		n := copy(dst, s.Packet)
		if s.NeedsChecksum {
			complete(dst[s.ChecksumStart:n], s.ChecksumOffset)
		}
		return n
	}
	from := s.HdrLen + i*s.SegmentSize
	to := min(from+s.SegmentSize, len(s.Packet))
	n := s.HdrLen + to - from
	if len(dst) < n {
		return 0
	}
	dst = dst[:n]
	copy(dst, s.Packet[:s.HdrLen])
	copy(dst[s.HdrLen:], s.Packet[from:to])
	s.patchIP(dst, i)
	s.patchTransport(dst[s.ChecksumStart:], i, to == len(s.Packet))
	return n
}

// Complete stores the checksum in Packet, so that one packet (GSONone) becomes plain without being copied. It reports
// whether s is plain now.
func (s *Super) Complete() bool {
	if s.GSO != GSONone || !s.valid() {
		return false
	}
	if s.NeedsChecksum {
		complete(s.Packet[s.ChecksumStart:], s.ChecksumOffset)
		s.NeedsChecksum = false
	}
	return true
}

// patchIP gives the IP header of a segment its length, and with IPv4 its identification and checksum.
func (s *Super) patchIP(seg []byte, i int) {
	if seg[0]>>4 == 6 {
		binary.BigEndian.PutUint16(seg[4:], uint16(len(seg)-ip6Header))
		return
	}
	id := binary.BigEndian.Uint16(seg[4:])
	binary.BigEndian.PutUint16(seg[2:], uint16(len(seg)))
	binary.BigEndian.PutUint16(seg[4:], id+uint16(i)) // RFC 6864 4.2: unique where DF does not make it meaningless
	header := seg[:int(seg[0]&0x0f)*4]
	header[10], header[11] = 0, 0
	binary.BigEndian.PutUint16(header[10:], inet.Checksum(header))
}

// patchTransport gives the transport header, at the start of seg, what it has in segment i, and its checksum.
func (s *Super) patchTransport(seg []byte, i int, last bool) {
	if s.GSO == GSOUDP {
		binary.BigEndian.PutUint16(seg[udpLength:], uint16(len(seg)))
	} else {
		seq := binary.BigEndian.Uint32(seg[tcpSeq:])
		binary.BigEndian.PutUint32(seg[tcpSeq:], seq+uint32(i*s.SegmentSize))
		if !last {
			seg[tcpFlags] &^= tcpFIN | tcpPSH
		}
		if i > 0 {
			seg[tcpFlags] &^= tcpCWR // RFC 3168 6.1.2: said once
		}
	}
	// The pseudo header that was summed has the length of the superpacket: take it out, put the segment's in.
	field := seg[s.ChecksumOffset:]
	pseudo := uint32(binary.BigEndian.Uint16(field))
	pseudo += uint32(^uint16(len(s.Packet) - s.ChecksumStart))
	pseudo += uint32(len(seg))
	pseudo = pseudo>>16 + pseudo&0xffff
	binary.BigEndian.PutUint16(field, uint16(pseudo>>16+pseudo))
	complete(seg, s.ChecksumOffset)
}

// valid tells that the description fits the bytes, so that Cut stays inside them. With GSO it insists on everything that
// Cut relies on: the version, the place of the transport header and of its checksum, and lengths that fit 16 bits.
func (s *Super) valid() bool {
	if s.NeedsChecksum && (s.ChecksumStart < 0 || s.ChecksumOffset < 0 || s.ChecksumStart > len(s.Packet) ||
		s.ChecksumOffset > len(s.Packet)-s.ChecksumStart-2) {
		return false
	}
	if s.GSO == GSONone {
		return true
	}
	if !s.NeedsChecksum || s.SegmentSize <= 0 || len(s.Packet) > MaxSuper || s.HdrLen > len(s.Packet) ||
		s.SegmentSize > 65535-s.HdrLen {
		return false
	}
	n := s.headerLen()
	return n > 0 && n == s.HdrLen
}

// headerLen is the length of IP and transport header of a superpacket whose transport header is at ChecksumStart; 0 when
// they are not those which GSO names. The header length in the virtio-net header cannot be used: Linux puts there how
// much of the packet happens to be contiguous.
func (s *Super) headerLen() int {
	start := s.ChecksumStart
	if start < 0 || start >= len(s.Packet) {
		return 0
	}
	switch version := s.Packet[0] >> 4; {
	case version == 4 && (s.GSO == GSOTCP4 || s.GSO == GSOUDP):
		if start < ip4Header || start != int(s.Packet[0]&0x0f)*4 {
			return 0
		}
	case version == 6 && (s.GSO == GSOTCP6 || s.GSO == GSOUDP):
		if start < ip6Header {
			return 0
		}
	default:
		return 0
	}
	transport := s.Packet[start:]
	if s.GSO == GSOUDP {
		if s.ChecksumOffset != udpChecksum || len(transport) < udpHeader {
			return 0
		}
		return start + udpHeader
	}
	if s.ChecksumOffset != tcpChecksum || len(transport) < tcpHeader {
		return 0
	}
	n := int(transport[12]>>4) * 4
	if n < tcpHeader || n > len(transport) {
		return 0
	}
	return start + n
}

// ipLen is the length that an IP header gives its packet; 0 when it cannot be told.
func ipLen(packet []byte) int {
	switch {
	case len(packet) >= ip4Header && packet[0]>>4 == 4:
		return int(binary.BigEndian.Uint16(packet[2:]))
	case len(packet) >= ip6Header && packet[0]>>4 == 6:
		return ip6Header + int(binary.BigEndian.Uint16(packet[4:]))
	}
	return 0
}
