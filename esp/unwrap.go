package esp

import "encoding/binary"

const (
	ipv4MinLen = 20
	ipv6Len    = 40
)

// unwrapTransport takes what is carried out of an authentic plaintext: payload, padding, pad length, next header. The
// sender holds the key, but is not trusted to be right.
func unwrapTransport(plain []byte) (payload []byte, next byte, drop Drop) {
	if len(plain) < trailerLen {
		return nil, 0, ErrShort
	}
	end := len(plain) - trailerLen
	padLen := int(plain[end])
	next = plain[end+1]
	if next == nextDummy { // RFC 4303 2.6: dropped without prejudice, and nothing else in it need be right
		return nil, 0, ErrDummy
	}
	if padLen > end {
		return nil, 0, ErrPadding
	}
	payload, padding := plain[:end-padLen:end-padLen], plain[end-padLen:end]
	for k, b := range padding { // RFC 4303 2.4
		if int(b) != k+1 {
			return nil, 0, ErrPadding
		}
	}
	return payload, next, 0
}

// unwrapTunnel does so with the IP packet of tunnel mode.
func unwrapTunnel(plain []byte) (inner []byte, next byte, drop Drop) {
	payload, next, drop := unwrapTransport(plain)
	if drop != 0 {
		return nil, 0, drop
	}
	var n int
	switch next {
	case nextIPv4:
		n = ipv4Len(payload)
	case nextIPv6:
		n = ipv6TotalLen(payload)
	default:
		return nil, 0, ErrNextHeader
	}
	if n == 0 || n > len(payload) {
		return nil, 0, ErrInner
	}
	// What follows the packet's own length is TFC padding (RFC 4303 2.7).
	return payload[:n:n], next, 0
}

// ipv4Len is the total length an IPv4 header claims, 0 if it is none.
func ipv4Len(b []byte) int {
	if len(b) < ipv4MinLen || b[0]>>4 != 4 {
		return 0
	}
	header, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
	if header < ipv4MinLen || total < header {
		return 0
	}
	return total
}

// ipv6TotalLen is the total length an IPv6 header claims, 0 if it is none. A jumbogram (RFC 2675) claims 0
// bytes of payload; it fits in no UDP datagram, so no more than its header is left of it.
func ipv6TotalLen(b []byte) int {
	if len(b) < ipv6Len || b[0]>>4 != 6 {
		return 0
	}
	return ipv6Len + int(binary.BigEndian.Uint16(b[4:]))
}
