package esp

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/culvert-vpn/culvert/internal/prefetch"
	"github.com/culvert-vpn/culvert/suite"
)

// InboundConfig describes an SA to receive on.
type InboundConfig struct {
	SPI    uint32 // ours; above 255
	Cipher suite.Cipher
	ESN    bool // 64-bit extended sequence numbers were agreed
	Window int  // size of the replay window, MinWindow to MaxWindow packets; 0: DefaultWindow
	Limits Limits
	// Transport: packets carry what follows an IP header, in place of an IP packet.
	Transport bool
}

// Inbound is an SA in the receiving direction. A packet passes three steps: its number is checked, it is
// authenticated and decrypted, its number is marked. Only the first and the last hold the lock, which guards
// nothing but the replay window.
//
// A sender whose ESN runs 2^32 ahead while nothing arrives is not found again (RFC 4303 A3 would search for
// it): such a silence ends the IKE SA long before.
type Inbound struct {
	spi    uint32
	cipher suite.Cipher
	esn    bool
	limits Limits
	minLen int
	unwrap func(plain []byte) (inner []byte, next byte, drop Drop)

	mu     sync.Mutex
	window window

	packets atomic.Uint64
	bytes   atomic.Uint64
	told    atomic.Bool // SoftReached has reported

	dropped [dropEnd]atomic.Uint64
}

// HotLen is how many bytes at the start of an Inbound are used for each packet.
const HotLen = unsafe.Offsetof(Inbound{}.dropped)

// NewInbound makes an SA that has received nothing yet.
func NewInbound(c InboundConfig) *Inbound {
	i := new(Inbound)
	i.Init(c)
	return i
}

// Init makes of the zero Inbound what NewInbound makes, for one that is a part of something else.
func (i *Inbound) Init(c InboundConfig) {
	i.spi, i.cipher, i.esn, i.limits = c.SPI, c.Cipher, c.ESN, c.Limits
	i.minLen = headerLen + c.Cipher.IVLen() + trailerLen + c.Cipher.TagLen()
	i.window = newWindow(c.Window)
	i.unwrap = unwrapTunnel
	if c.Transport {
		i.unwrap = unwrapTransport
	}
}

// SPI is the SPI the packets bear.
func (i *Inbound) SPI() uint32 { return i.spi }

// Prefetch has fetched into the caches what Open needs of the SA for a packet, of whose number seq is the low half. It waits for no more
// than the SA itself.
func (i *Inbound) Prefetch(seq uint32) {
	suite.Prefetch(i.cipher)
	prefetch.Value(&i.window.ring[i.window.word(uint64(seq))])
}

// Opened is what became of a packet.
type Opened struct {
	// Inner is the inner IP packet, inside the bytes given to Open and as long as its header says; nil if
	// the packet was refused. Its version, header length and total length have been checked, no more. In
	// transport mode it is what follows the IP header, all unchecked.
	Inner []byte
	// Next is the next header: the protocol of Inner.
	Next byte
	// Newest says that the packet authenticated and that no packet with a higher sequence number did
	// before it. Only such a packet may tell that the peer's address has changed: an old one may have been
	// held back by an attacker (RFC 7296 2.23).
	Newest bool
	// First says that this is the first packet of the SA that authenticated.
	First bool
	// Err is nil or a Drop. An authentic packet may be refused for its content; Newest and First hold
	// then as well.
	Err error

	seq uint64 // between the steps
}

// Open checks and decrypts one ESP packet in place. pkt begins with the SPI and ends with the ICV, and is
// destroyed even if it is refused. The error is the Err of the result.
func (i *Inbound) Open(pkt []byte) (Opened, error) {
	var o Opened
	i.mu.Lock()
	i.check(pkt, &o)
	i.mu.Unlock()
	i.decrypt(pkt, &o)
	if o.Inner != nil {
		var t tally
		i.mu.Lock()
		i.mark(&o, &t)
		i.count(t)
		i.mu.Unlock()
		i.open(&o)
	}
	return o, o.Err
}

// OpenTrain opens the packets that stand one after the other in train, each stride bytes long except for the
// last, which may be shorter. It appends one Opened for each to out, in order; they say what Open would have
// said, except that the train's numbers are checked all before any is marked: of two copies of a packet in one
// train, of which the second is damaged, that one is ErrIntegrity instead of ErrReplay. The lock is taken twice
// for the whole train.
func (i *Inbound) OpenTrain(train []byte, stride int, out []Opened) []Opened {
	if len(train) == 0 || stride < 1 {
		return out
	}
	packet := func(k int) []byte { return train[k*stride : min((k+1)*stride, len(train))] }
	first := len(out)
	i.mu.Lock()
	for k := range (len(train) + stride - 1) / stride {
		out = append(out, Opened{})
		i.check(packet(k), &out[first+k])
	}
	i.mu.Unlock()
	opened := out[first:]
	for k := range opened {
		i.decrypt(packet(k), &opened[k])
	}
	var t tally
	i.mu.Lock()
	for k := range opened {
		i.mark(&opened[k], &t)
	}
	i.count(t)
	i.mu.Unlock()
	for k := range opened {
		i.open(&opened[k])
	}
	return out
}

// check does what needs no key, cheapest first, and finds the whole sequence number. The caller holds mu.
func (i *Inbound) check(pkt []byte, o *Opened) {
	switch {
	case len(pkt) < i.minLen:
		i.drop(o, ErrShort)
		return
	case binary.BigEndian.Uint32(pkt) != i.spi:
		i.drop(o, ErrSPI)
		return
	case i.limits.hard(i.packets.Load(), i.bytes.Load()):
		i.drop(o, ErrExpired)
		return
	}
	low := binary.BigEndian.Uint32(pkt[4:])
	o.seq = uint64(low)
	if i.esn {
		o.seq = i.window.extend(low)
	}
	if drop := i.window.check(o.seq); drop != 0 { // RFC 4303 3.4.3: before any cryptography
		i.drop(o, drop)
	}
}

// decrypt leaves the plaintext in o.Inner if the packet is authentic.
func (i *Inbound) decrypt(pkt []byte, o *Opened) {
	if o.Err != nil {
		return
	}
	plain, err := i.cipher.Open(pkt, headerLen, uint32(o.seq>>32), i.esn)
	switch {
	case err == suite.ErrShort:
		i.drop(o, ErrShort)
	case err != nil:
		i.drop(o, ErrIntegrity)
	default:
		o.Inner = plain
	}
}

// mark accounts for an authentic packet. It is the only place that moves the window (RFC 4303 3.4.3), and it
// checks the number again: a copy of the packet may have been decrypted at the same time. The caller holds mu, and counts t.
func (i *Inbound) mark(o *Opened, t *tally) {
	if o.Err != nil {
		return
	}
	newest, drop := i.window.mark(o.seq)
	if drop != 0 {
		i.drop(o, drop)
		return
	}
	o.Newest = newest
	o.First = t.packets == 0 && i.packets.Load() == 0
	t.packets++
	t.bytes += uint64(len(o.Inner))
}

// tally is what a train adds to the counters of its SA.
type tally struct{ packets, bytes uint64 }

func (i *Inbound) count(t tally) {
	i.packets.Add(t.packets)
	i.bytes.Add(t.bytes)
}

// open reduces the plaintext in o.Inner to the inner packet.
func (i *Inbound) open(o *Opened) {
	if o.Err != nil {
		return
	}
	inner, next, drop := i.unwrap(o.Inner)
	if drop != 0 {
		i.drop(o, drop)
		return
	}
	o.Inner, o.Next = inner, next
}

func (i *Inbound) drop(o *Opened, d Drop) {
	o.Inner, o.Err = nil, d
	i.dropped[d].Add(1)
}

// Stats are the packets that authenticated, whatever they held, and the bytes decrypted from them.
func (i *Inbound) Stats() (packets, bytes uint64) { return i.packets.Load(), i.bytes.Load() }

// Drops are the packets refused so far, by reason; reasons that never occurred are left out.
func (i *Inbound) Drops() map[Drop]uint64 {
	drops := make(map[Drop]uint64)
	for d := range i.dropped {
		if n := i.dropped[d].Load(); n != 0 {
			drops[Drop(d)] = n
		}
	}
	return drops
}

// SoftReached reports, once in the SA's life, that a soft limit was reached: the SA wants a successor.
func (i *Inbound) SoftReached() bool {
	return i.limits.soft(i.packets.Load(), i.bytes.Load()) && !i.told.Load() && i.told.CompareAndSwap(false, true)
}

// Expired reports that a hard limit was reached: Open refuses everything from now on. Packets that were being
// opened at that moment still pass.
func (i *Inbound) Expired() bool { return i.limits.hard(i.packets.Load(), i.bytes.Load()) }
