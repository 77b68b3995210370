package esp

import (
	"encoding/binary"
	"math"
	"sync/atomic"

	"github.com/culvert-vpn/culvert/suite"
)

// OutboundConfig describes an SA to send on.
type OutboundConfig struct {
	SPI    uint32 // the peer's; above 255
	Cipher suite.Cipher
	ESN    bool // 64-bit extended sequence numbers were agreed
	Limits Limits
}

// Outbound is an SA in the sending direction.
type Outbound struct {
	spi    uint32
	cipher suite.Cipher
	esn    bool
	limits Limits
	last   uint64 // the highest sequence number that may ever be used

	headLen, tagLen, align int // of a packet

	used  atomic.Uint64 // sequence numbers handed out: 1 to used
	bytes atomic.Uint64
	told  atomic.Bool // SoftReached has reported
}

// NewOutbound makes an SA whose first packet will bear the number 1 (RFC 4303 3.3.3). Each key must get only
// one Outbound in its life: numbers are nonces.
func NewOutbound(c OutboundConfig) *Outbound {
	o := new(Outbound)
	o.Init(c)
	return o
}

// Init makes of the zero Outbound what NewOutbound makes, for one that is a part of something else.
func (o *Outbound) Init(c OutboundConfig) {
	o.spi, o.cipher, o.esn, o.limits = c.SPI, c.Cipher, c.ESN, c.Limits
	o.last = math.MaxUint32
	o.headLen = headerLen + c.Cipher.IVLen()
	o.tagLen = c.Cipher.TagLen()
	o.align = max(4, c.Cipher.BlockLen()) // RFC 4303 2.4
	if c.ESN {
		o.last = math.MaxUint64
	}
	// Numbers never wrap, so the SA needs a successor before they end, whatever the policy says.
	if end := o.last - o.last/8; o.limits.SoftPackets == 0 || o.limits.SoftPackets > end {
		o.limits.SoftPackets = end
	}
	if hard := o.limits.HardPackets; hard != 0 {
		o.last = min(o.last, hard)
	}
}

// SPI is the SPI the packets bear.
func (o *Outbound) SPI() uint32 { return o.spi }

// Prefetch has fetched into the caches what Seal needs of the SA. It waits for no more than the SA itself.
func (o *Outbound) Prefetch() { suite.Prefetch(o.cipher) }

// Reserve takes n sequence numbers for the caller alone: first, first+1 ... It takes all or none: ok is false
// if fewer than n are left before the number space or the hard packet limit ends, if the hard byte limit is
// reached, and for n < 1. Bytes count when they are sealed, so what was reserved below the byte limit may
// be sealed beyond it.
func (o *Outbound) Reserve(n int) (first uint64, ok bool) {
	if n < 1 || reached(o.bytes.Load(), o.limits.HardBytes) {
		return 0, false
	}
	for {
		used := o.used.Load()
		if uint64(n) > o.last-used { // RFC 4303 3.3.3: the number must not cycle
			return 0, false
		}
		if o.used.CompareAndSwap(used, used+uint64(n)) {
			return used + 1, true
		}
	}
}

// Left is how many packets may still be reserved; 0 means that the SA is spent.
func (o *Outbound) Left() uint64 {
	if reached(o.bytes.Load(), o.limits.HardBytes) {
		return 0
	}
	return o.last - o.used.Load()
}

// SoftReached reports, once in the SA's life, that a soft limit was reached: the SA wants a successor. An SA
// without a limit reports when seven eighths of its sequence numbers are used.
func (o *Outbound) SoftReached() bool {
	return o.limits.soft(o.used.Load(), o.bytes.Load()) && !o.told.Load() && o.told.CompareAndSwap(false, true)
}

// Stats are the numbers reserved and the bytes encrypted so far.
func (o *Outbound) Stats() (packets, bytes uint64) { return o.used.Load(), o.bytes.Load() }

// HeadLen is how many bytes of a packet stand before the inner packet.
func (o *Outbound) HeadLen() int { return o.headLen }

// PacketLen is the length of the ESP packet around n bytes of inner packet.
func (o *Outbound) PacketLen(n int) int { return o.headLen + o.plainLen(n) + o.tagLen }

// Overhead is how many bytes ESP adds to n bytes of inner packet; at most Headroom+Tailroom.
func (o *Outbound) Overhead(n int) int { return o.PacketLen(n) - n }

// MaxInner is the length of the biggest inner packet whose ESP packet is at most mtu bytes long; what is to
// go below ESP (IP header, UDP header) is taken off by the caller. 0 means that none fits.
func (o *Outbound) MaxInner(mtu int) int {
	plain := mtu - o.headLen - o.tagLen
	return max(0, plain-plain%o.align-trailerLen)
}

// plainLen is the length of what is encrypted: n bytes, padding, trailer.
func (o *Outbound) plainLen(n int) int {
	n += trailerLen
	return n + (o.align-n%o.align)%o.align
}

// Seal makes an ESP packet in place and returns it. buf holds HeadLen bytes of room and then n bytes of inner
// packet; its capacity must reach PacketLen(n), and nothing beyond that is touched. seq is a number from
// Reserve that was not used before. The inner packet must be IPv4 or IPv6: for anything else the result is
// nil and nothing may be sent.
func (o *Outbound) Seal(buf []byte, n int, seq uint64) []byte { return o.SealPadded(buf, n, n, seq) }

// SealPadded is Seal with zeros behind the inner packet until it is padded bytes long, for traffic flow confidentiality (RFC
// 4303 2.7). The capacity of buf must reach PacketLen(padded).
func (o *Outbound) SealPadded(buf []byte, n, padded int, seq uint64) []byte {
	if n < 1 {
		return nil
	}
	next := byte(nextIPv4)
	switch buf[o.headLen] >> 4 {
	case 4:
	case 6:
		next = nextIPv6
	default:
		return nil
	}
	if padded > n {
		clear(buf[o.headLen+n : o.headLen+padded])
		n = padded
	}
	return o.seal(buf, n, seq, next)
}

// SealTransport makes a transport mode packet (RFC 4303 3.1.1): buf holds HeadLen bytes of room and then n bytes, n >= 0, of what
// followed the IP header, which says that it is of protocol next. Else it is as Seal.
func (o *Outbound) SealTransport(buf []byte, n int, next byte, seq uint64) []byte {
	return o.seal(buf, n, seq, next)
}

// SealDummy makes a packet that carries n bytes of zeros, n >= 0, and that the peer drops in silence
// (RFC 4303 2.6). buf and seq are as for Seal; what buf held is overwritten.
func (o *Outbound) SealDummy(buf []byte, n int, seq uint64) []byte {
	clear(buf[o.headLen : o.headLen+n])
	return o.seal(buf, n, seq, nextDummy)
}

func (o *Outbound) seal(buf []byte, n int, seq uint64, next byte) []byte {
	plain := o.plainLen(n)
	pkt := buf[:o.headLen+plain+o.tagLen]
	binary.BigEndian.PutUint32(pkt, o.spi)
	binary.BigEndian.PutUint32(pkt[4:], uint32(seq)) // RFC 4303 2.2.1: only the low half is sent
	putTrailer(pkt[o.headLen:o.headLen+plain], n, next)
	o.cipher.Seal(pkt, headerLen, seq, o.esn)
	o.bytes.Add(uint64(plain))
	return pkt
}

// putTrailer fills plain behind its first n bytes.
func putTrailer(plain []byte, n int, next byte) {
	padLen := len(plain) - trailerLen - n
	for k := range padLen {
		plain[n+k] = byte(k + 1) // RFC 4303 2.4
	}
	plain[len(plain)-2] = byte(padLen)
	plain[len(plain)-1] = next
}
