package inet

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
)

// Add adds the octets of b to an Internet checksum in progress, which starts at 0 (RFC 1071). An odd length is
// filled up with a zero octet, so only the last piece of a message may have one. Fold ends it.
//
// The sum does not depend on the order of octets in a word, only its result does (RFC 1071 2 (B)): words are
// added little-endian, eight octets at a time, and Fold turns the result round.
//
// Where the processor has AVX2 it sums whole blocks, in words of 32 bits.
func Add(sum uint64, b []byte) uint64 {
	var carry uint64
	if hasBlocks && len(b) >= fewest {
		n := (len(b) - 8) &^ (block - 1) // what is left is a whole word at least
		sum, carry = bits.Add64(sum, sumBlocks(&b[0], n), 0)
		sum, b = addCarry(sum, carry), b[n:]
	}
	return addWords(sum, b)
}

// addWords is Add for every processor.
func addWords(sum uint64, b []byte) uint64 {
	var carry uint64
	whole := b
	for len(b) >= 64 {
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(b), 0)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(b[8:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(b[16:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(b[24:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(b[32:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(b[40:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(b[48:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(b[56:]), carry)
		sum = addCarry(sum, carry)
		b = b[64:]
	}
	if len(b) >= 32 {
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(b), 0)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(b[8:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(b[16:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(b[24:]), carry)
		sum = addCarry(sum, carry)
		b = b[32:]
	}
	if len(b) >= 16 {
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(b), 0)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(b[8:]), carry)
		sum = addCarry(sum, carry)
		b = b[16:]
	}
	if len(b) >= 8 {
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(b), 0)
		sum = addCarry(sum, carry)
		b = b[8:]
	}
	if len(b) > 0 {
		sum, carry = bits.Add64(sum, lastOctets(whole, len(b)), 0)
		sum = addCarry(sum, carry)
	}
	return sum
}

// lastOctets is the word of the last n octets of b, 1 to 7, filled up with zeros.
func lastOctets(b []byte, n int) (last uint64) {
	if len(b) >= 8 {
		return binary.LittleEndian.Uint64(b[len(b)-8:]) >> (64 - 8*n)
	}
	for i := range n {
		last |= uint64(b[len(b)-n+i]) << (8 * i)
	}
	return last
}

// addCarry brings the carry round to the low end; if that overflows too, sum is 0 and takes the second carry.
func addCarry(sum, carry uint64) uint64 {
	sum, carry = bits.Add64(sum, 0, carry)
	return sum + carry
}

// AddPseudo adds the pseudo header of TCP, UDP and ICMPv6: addresses, protocol and the length of the next layer
// (RFC 9293 3.1, RFC 8200 8.1). The addresses are of one family.
func AddPseudo(sum uint64, src, dst netip.Addr, protocol uint8, length int) uint64 {
	if src.Is4() {
		s, d := src.As4(), dst.As4()
		sum = Add(Add(sum, s[:]), d[:])
	} else {
		s, d := src.As16(), dst.As16()
		sum = Add(Add(sum, s[:]), d[:])
	}
	var rest [8]byte
	binary.BigEndian.PutUint32(rest[:], uint32(length))
	rest[7] = protocol
	return Add(sum, rest[:])
}

// AddWords adds what a pseudo header has besides the addresses: the protocol and the length of the next layer, which is
// less than 2^16.
func AddWords(sum, protocol uint64, length int) uint64 {
	sum, carry := bits.Add64(sum, uint64(bits.ReverseBytes16(uint16(protocol)))+uint64(bits.ReverseBytes16(uint16(length))), 0)
	return addCarry(sum, carry)
}

// Fold ends a checksum in progress: the one's complement sum of the 16-bit words in network order, not
// complemented.
func Fold(sum uint64) uint16 {
	sum = sum>>32 + sum&0xffffffff
	sum = sum>>16&0xffff + sum>>32 + sum&0xffff
	sum = sum>>16 + sum&0xffff
	sum = sum>>16 + sum&0xffff
	return bits.ReverseBytes16(uint16(sum))
}

// Checksum returns the Internet checksum of b. It is 0 for a b that holds its own right checksum.
func Checksum(b []byte) uint16 { return ^Fold(Add(0, b)) }

// SoundHeader reports whether the checksum of an IPv4 header without options is right.
func SoundHeader(b *[ipv4HeaderLen]byte) bool {
	sum := uint64(binary.LittleEndian.Uint32(b[:])) + uint64(binary.LittleEndian.Uint32(b[4:])) + uint64(binary.LittleEndian.Uint32(b[8:])) +
		uint64(binary.LittleEndian.Uint32(b[12:])) + uint64(binary.LittleEndian.Uint32(b[16:]))
	return Fold(sum) == 0xffff
}

// Update returns the checksum of a message in which the 16-bit word was became is, from the checksum it had
// (RFC 1624 3, equation 3).
func Update(checksum, was, is uint16) uint16 {
	sum := uint32(^checksum) + uint32(^was) + uint32(is)
	sum = sum>>16 + sum&0xffff
	sum = sum>>16 + sum&0xffff
	return ^uint16(sum)
}
