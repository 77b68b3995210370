package tun

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
