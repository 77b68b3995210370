package tun

import (
	"encoding/binary"
	"math/bits"
)

// The Internet checksum (RFC 1071): the 16-bit one's complement sum. It is summed here in steps of 64 bits with the carry
// brought around, in little-endian words: the sum does not depend on the byte order (RFC 1071 2 B), only its result is
// to be swapped, which fold does.

// sum adds b to acc, a sum in little-endian words. Only the last piece of a message may have an odd length.
func sum(b []byte, acc uint64) uint64 {
	var carry uint64
	for len(b) >= 64 {
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(b), 0)
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(b[8:]), carry)
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(b[16:]), carry)
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(b[24:]), carry)
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(b[32:]), carry)
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(b[40:]), carry)
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(b[48:]), carry)
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(b[56:]), carry)
		acc += carry // cannot overflow: after a carry acc is at most 2^64-2
		b = b[64:]
	}
	for len(b) >= 8 {
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(b), 0)
		acc += carry
		b = b[8:]
	}
	if len(b) > 0 {
		var rest [8]byte
		copy(rest[:], b)
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(rest[:]), 0)
		acc += carry
	}
	return acc
}

// fold brings a sum in little-endian words to 16 bits, in the byte order of the network.
func fold(acc uint64) uint16 { return bits.ReverseBytes16(fold16(acc)) }

// fold16 brings a sum to 16 bits, keeping its byte order.
func fold16(acc uint64) uint16 {
	acc = acc>>32 + acc&0xffffffff
	acc = acc>>32 + acc&0xffffffff
	acc = acc>>16 + acc&0xffff
	acc = acc>>16 + acc&0xffff
	return uint16(acc>>16 + acc&0xffff)
}

// complete stores the checksum of a transport message in its field at offset, where the sum of the pseudo header stands.
func complete(msg []byte, offset int) {
	c := ^fold(sum(msg, 0))
	if c == 0 && offset == udpChecksum {
		c = 0xffff // RFC 768: zero would say that there is no checksum
	}
	binary.BigEndian.PutUint16(msg[offset:], c)
}
