package inet

import (
	"encoding/binary"
	"math/bits"
)

const (
	tcpHeaderLen   = 20
	tcpChecksum    = 16 // offset of the checksum field
	tcpFlagSYN     = 0x02
	tcpOptionEnd   = 0
	tcpOptionNop   = 1
	tcpOptionMSS   = 2
	tcpMSSLen      = 4
	tcpMinimumMSS4 = 536 // RFC 9293 3.7.1
)

// ClampMSS lowers the Maximum Segment Size that a TCP SYN, with or without ACK, announces to mss if it is higher,
// and mends the TCP checksum, which must be complete and not just the pseudo header's part. Every other packet,
// and every packet that is not sound, is left as it is. A SYN without the option stays without. pkt is an IPv4
// or IPv6 packet; it is changed in place.
func ClampMSS(pkt []byte, mss uint16) (changed bool) {
	h, err := Parse(pkt)
	if err != nil || h.Protocol != ProtoTCP || !h.First() {
		return false
	}
	tcp := pkt[h.Len:h.Total]
	if len(tcp) < tcpHeaderLen || tcp[13]&tcpFlagSYN == 0 {
		return false
	}
	end := int(tcp[12]>>4) * 4
	if end < tcpHeaderLen || end > len(tcp) {
		return false
	}
	for i := tcpHeaderLen; i < end; {
		switch tcp[i] {
		case tcpOptionEnd:
			return changed
		case tcpOptionNop:
			i++
			continue
		}
		if end-i < 2 {
			return changed
		}
		size := int(tcp[i+1])
		if size < 2 || size > end-i {
			return changed
		}
		if tcp[i] == tcpOptionMSS && size == tcpMSSLen && binary.BigEndian.Uint16(tcp[i+2:]) > mss {
			setWord(tcp, i+2, mss)
			changed = true
		}
		i += size
	}
	return changed
}

// setWord puts value at offset i of a TCP segment and updates the checksum. At an odd offset the octets lie in two
// words of the sum: the first in a lower half, the second in an upper, so they count turned round.
func setWord(tcp []byte, i int, value uint16) {
	was, is := binary.BigEndian.Uint16(tcp[i:]), value
	if i%2 == 1 {
		was, is = bits.ReverseBytes16(was), bits.ReverseBytes16(is)
	}
	field := tcp[tcpChecksum : tcpChecksum+2]
	binary.BigEndian.PutUint16(field, Update(binary.BigEndian.Uint16(field), was, is))
	binary.BigEndian.PutUint16(tcp[i:], value)
}

// MSS returns the TCP segment size whose packets of one family, with headers without options, are mtu octets
// long. It is never below what every host must accept for IPv4 (RFC 9293 3.7.1), as less would stop TCP
// altogether.
func MSS(mtu int, is6 bool) uint16 {
	header := ipv4HeaderLen + tcpHeaderLen
	if is6 {
		header = ipv6HeaderLen + tcpHeaderLen
	}
	return uint16(min(max(mtu-header, tcpMinimumMSS4), 65535))
}
