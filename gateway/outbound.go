package gateway

import (
	"errors"
	"io"
	"os"

	"github.com/culvert-vpn/culvert/esp"
	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/internal/inet"
	"github.com/culvert-vpn/culvert/ts"
	"github.com/culvert-vpn/culvert/tun"
	"github.com/culvert-vpn/culvert/udp"
)

// outboundLoop forwards from one queue of the TUN device to the peers.
type outboundLoop struct {
	*datapath
	queue tun.Queue
	// buf holds what is read, with room for ESP on both sides, so that a packet is sealed where it lies.
	buf []byte
	// train holds the sealed segments of a superpacket.
	train []byte
	// segment holds one of them in transport mode, where it is sealed without its IP header.
	segment []byte
	icmp    []byte
}

const (
	trainLen = 64 << 10
	// maxTrain is how many datagrams one system call sends (UDP_MAX_SEGMENTS).
	maxTrain = 64
)

func newOutboundLoop(d *datapath, q tun.Queue) *outboundLoop {
	return &outboundLoop{
		datapath: d, queue: q,
		buf:   make([]byte, esp.Headroom+tun.MaxSuper+esp.Tailroom),
		train: make([]byte, trainLen), segment: make([]byte, tun.MaxSuper),
		icmp: make([]byte, 0, 1280),
	}
}

// run forwards until the queue is closed. An error means that the device is gone.
func (f *outboundLoop) run() error {
	room := f.buf[esp.Headroom : esp.Headroom+tun.MaxSuper]
	for {
		s, err := f.queue.Read(room)
		switch {
		case err == nil:
			f.forward(s)
		case errors.Is(err, os.ErrClosed):
			return nil
		case errors.Is(err, tun.ErrMalformed), errors.Is(err, io.ErrShortBuffer):
			f.counters.drop(DropNotIP)
		default:
			return err
		}
	}
}

// forward finds the SA of a packet or superpacket and sends it.
func (f *outboundLoop) forward(s tun.Super) {
	p, err := ts.ParsePacket(s.Packet)
	if err != nil {
		f.counters.drop(DropNotIP)
		return
	}
	flow, ok := f.policies.Load().Lookup(&p)
	if !ok {
		f.counters.drop(DropNoPolicy)
		return
	}
	if flow.shunt != nil {
		f.shunted(flow.shunt)
		return
	}
	sa := flow.carrier()
	if sa == nil {
		f.counters.drop(DropNoSA)
		f.acquire(flow.child, &p)
		return
	}
	r := sa.route.Load()
	t := shipment{
		sa: sa, route: r,
		mtu: sa.maxPacket(int(r.room.Load())),
		tos: esp.OuterTOS(p.TOS, sa.copyDSCP),
	}
	if sa.bare != 0 {
		var why Drop
		if t.next, why, ok = transportProtocol(s.Packet, &p); !ok {
			f.counters.drop(why)
			return
		}
		t.tos = p.TOS // the outer header is the packet's own
	}
	if isSYN(s.Packet, &p) {
		t.mss = inet.MSS(min(t.mtu, f.deviceMTU), p.Dst.Is6())
	}
	if s.Plain() || s.Complete() {
		f.one(s.Packet[:p.TotalLen], t)
	} else {
		f.many(&s, t)
	}
}

// shunted counts a packet of a policy without a tunnel. What may pass should not have come here: the device does not know its
// usual way.
func (f *outboundLoop) shunted(s *shunt) {
	s.dropped.Add(1)
	if s.cfg.Pass {
		f.counters.drop(DropPass)
		return
	}
	f.counters.drop(DropShunt)
}

// shipment is what is known of a packet when its SA is found.
type shipment struct {
	sa    *outboundSA
	route *route
	mtu   int    // the longest inner packet that needs no fragments
	mss   uint16 // what a TCP SYN may announce; 0: the packet is none
	tos   byte   // of the outer header
	next  byte   // the protocol behind the IP header, in transport mode
}

// seal seals a packet of n bytes that stands HeadLen bytes into buf; in transport mode its IP header is in that room.
func (t *shipment) seal(buf []byte, n int, seq uint64) []byte {
	if t.sa.bare != 0 {
		return t.sa.esp.SealTransport(buf, n-t.sa.bare, t.next, seq)
	}
	return t.sa.esp.SealPadded(buf, n, t.sa.padded(n, t.mtu), seq)
}

// one seals a packet where it lies in buf, and sends it.
func (f *outboundLoop) one(pkt []byte, t shipment) {
	if len(pkt) > t.mtu && f.tooBig(pkt, t.mtu) {
		return
	}
	if t.mss != 0 {
		inet.ClampMSS(pkt, t.mss)
	}
	seq, ok := t.sa.esp.Reserve(1)
	if !ok {
		f.spent(t.sa, 1)
		return
	}
	sealed := t.seal(f.buf[esp.Headroom+t.sa.bare-t.sa.esp.HeadLen():], len(pkt), seq)
	if sealed == nil {
		f.counters.drop(DropNotIP)
		return
	}
	f.send(t, sealed, 0, 1)
}

// many cuts a superpacket into a train, seals every segment in its place, and sends the train.
func (f *outboundLoop) many(s *tun.Super, t shipment) {
	size := s.HdrLen + s.SegmentSize
	stride := t.sa.esp.PacketLen(t.sa.padded(size, t.mtu) - t.sa.bare)
	n, perTrain := s.Segments(), min(maxTrain, len(f.train)/stride)
	if n == 0 || perTrain == 0 {
		f.counters.drop(DropSuper)
		return
	}
	if size > t.mtu && f.tooBig(f.train[:s.Cut(0, f.train)], t.mtu) {
		return
	}
	headLen := t.sa.esp.HeadLen()
	for i := 0; i < n; {
		count := min(perTrain, n-i)
		seq, ok := t.sa.esp.Reserve(count)
		if !ok {
			f.spent(t.sa, n-i)
			return
		}
		end := 0
		for k := range count {
			place := f.train[k*stride:]
			length := f.cut(s, i+k, place[headLen:], t)
			end = k*stride + len(t.seal(place, length, seq+uint64(k)))
		}
		f.send(t, f.train[:end], stride, count)
		i += count
	}
}

// cut puts a segment of a superpacket into its place, in transport mode without its IP header. It returns the length of all of it.
func (f *outboundLoop) cut(s *tun.Super, i int, place []byte, t shipment) int {
	segment := place
	if t.sa.bare != 0 {
		segment = f.segment
	}
	length := s.Cut(i, segment)
	if t.mss != 0 {
		inet.ClampMSS(segment[:length], t.mss)
	}
	if t.sa.bare != 0 {
		copy(place, segment[t.sa.bare:length])
	}
	return length
}

// send sends a train of n datagrams.
func (f *outboundLoop) send(t shipment, train []byte, stride, n int) {
	if err := t.route.write(udp.Datagrams{Buf: train, Stride: stride, TOS: t.tos}); err != nil {
		f.counters.dropN(dropOfSend(err), n)
	} else {
		t.route.sent.Store(f.now())
	}
	if t.sa.esp.SoftReached() {
		t.sa.soft.raise()
	}
	if t.sa.soft.due() {
		t.sa.soft.sent(f.mail.tell(ike.Expiring{SPI: t.sa.pair}))
	}
}

// spent counts packets that the SA can carry no more, and has it closed.
func (f *outboundLoop) spent(sa *outboundSA, n int) {
	f.counters.dropN(DropSpent, n)
	sa.spent.raise()
	if sa.spent.due() {
		sa.spent.sent(f.mail.tell(ike.Expiring{SPI: sa.pair, Hard: true}))
	}
}

// tooBig tells the sender of a packet that must not be fragmented how long it may be (RFC 4301 8.2.1). It returns false
// if the packet has to travel as it is: its sender allows fragments, or cannot be told, or may assume that this much
// always passes (RFC 8200 5). Then it is the outer datagram that is fragmented, which the peer puts together before it
// looks inside.
func (f *outboundLoop) tooBig(pkt []byte, mtu int) bool {
	h, err := inet.Parse(pkt)
	if err != nil || !h.DontFragment || h.Dst.IsMulticast() {
		return false
	}
	// The message comes from where the packet was going, which is the one address that a filter on the reverse path
	// expects from the device.
	f.icmp = inet.AppendPacketTooBig(f.icmp[:0], pkt, mtu, h.Dst)
	if len(f.icmp) == 0 {
		return false
	}
	f.counters.drop(DropTooBig)
	if err := f.queue.Write(tun.Super{Packet: f.icmp}, nil); err != nil {
		f.counters.drop(dropOfDevice(err))
	}
	return true
}

// isSYN reports whether a packet is a TCP SYN, with or without ACK.
func isSYN(b []byte, p *ts.Packet) bool {
	const flags, syn = 13, 0x02
	return p.Protocol == inet.ProtoTCP && !p.Fragment && p.TotalLen > p.HeaderLen+flags && b[p.HeaderLen+flags]&syn != 0
}

// dropOfDevice is the reason why an error of the TUN device is counted.
func dropOfDevice(err error) Drop {
	switch {
	case errors.Is(err, tun.ErrDown), errors.Is(err, os.ErrClosed):
		return DropDeviceDown
	case errors.Is(err, tun.ErrNoBuffers):
		return DropDeviceFull
	}
	return DropDeviceRefused
}
