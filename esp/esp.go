// Package esp protects IP packets with ESP (RFC 4303), in tunnel mode and in transport mode, one SA in one direction at a time.
//
// An Outbound hands out sequence numbers and seals packets; an Inbound opens them; Slots finds the
// Inbound of an SPI with one atomic load. A packet looks like this (RFC 4303 2):
//
//	| SPI 4 | sequence 4 | IV | inner packet | padding 1,2,3.. | pad length 1 | next header 1 | ICV |
//	                          '------------------ encrypted -------------------------------'
//	'------------------------------- authenticated ---------------------------------------'
//
// The sender of a train (packets that leave in one system call) works like this:
//
//	first, ok := out.Reserve(n)      // n numbers, or none
//	for each inner packet k:         // it already stands HeadLen bytes into its place in the train
//		out.Seal(buf[k*stride:], len, first+k)
//
// and the receiver of one like this:
//
//	in := slots.Get(spi)
//	opened = in.OpenTrain(run, stride, opened[:0])   // a run: neighbours with the same SPI
//
// Everything is in place and nothing is allocated per packet. All methods of Outbound and Inbound may be
// called by any number of goroutines; a packet's bytes belong to the caller throughout.
package esp

// Next Header values of a tunnel mode packet (RFC 4303 2.6; IANA protocol numbers).
const (
	nextIPv4  = 4
	nextIPv6  = 41
	nextDummy = 59
)

const (
	headerLen  = 8 // SPI and sequence number
	trailerLen = 2 // pad length and next header
)

// Headroom and Tailroom are how many bytes Seal needs at most before and after an inner packet, whatever the
// cipher: header and a 16-byte IV; 15 bytes of padding, the trailer and a 32-byte ICV.
const (
	Headroom = headerLen + 16
	Tailroom = 15 + trailerLen + 32
)

// Limits are the ends of an SA's life in packets and bytes; 0 means none. At a soft limit the SA wants a
// successor, at a hard one it carries no more (RFC 4301 4.4.2.1). Bytes are those the cipher is applied to,
// padding and trailer included, as that section asks.
type Limits struct {
	SoftBytes, HardBytes     uint64
	SoftPackets, HardPackets uint64
}

func (l *Limits) soft(packets, bytes uint64) bool {
	return reached(packets, l.SoftPackets) || reached(bytes, l.SoftBytes)
}

func (l *Limits) hard(packets, bytes uint64) bool {
	return reached(packets, l.HardPackets) || reached(bytes, l.HardBytes)
}

func reached(count, limit uint64) bool { return limit != 0 && count >= limit }
