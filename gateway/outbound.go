package gateway

import (
	"errors"
	"io"
	"os"

	"github.com/culvert-vpn/culvert/esp"
	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/internal/inet"
	"github.com/culvert-vpn/culvert/internal/prefetch"
	"github.com/culvert-vpn/culvert/ts"
	"github.com/culvert-vpn/culvert/tun"
)

// outboundLoop forwards from one queue of the TUN device to the peers.
type outboundLoop struct {
	*datapath
	queue tun.Queue
	buf   []byte // holds what is read, one behind the other
	used  int    // of it
	read  []outgoing
	found int // how many of them have a flow, or were dropped
	flows flowCache
	out   batch
	// segment holds a packet of transport mode, which is sealed without its IP header.
	segment []byte
	icmp    []byte
	tap     *capture // of what is being shipped; nil: nobody captures
}

// outgoing is a packet or superpacket that was read and is not forwarded yet.
type outgoing struct {
	super  tun.Super
	packet ts.Packet
	at     cacheable
	flow   *flow // once it is found; nil: it was dropped
	sa     *outboundSA
}

const (
	// maxRead is how many packets are read before the first of them is forwarded.
	maxRead = maxBatch
	// maxReadLen is how many bytes of them: few enough that they stay in the first cache or the second.
	maxReadLen = 32 << 10
)

func newOutboundLoop(d *datapath, q tun.Queue) *outboundLoop {
	return &outboundLoop{
		datapath: d, queue: q,
		buf: make([]byte, maxReadLen+tun.Headroom+tun.MaxSuper), read: make([]outgoing, 0, maxRead), flows: newFlowCache(), out: newBatch(d),
		segment: make([]byte, tun.MaxSuper), icmp: make([]byte, 0, 1280),
	}
}

// run forwards until the queue is closed. What has come meanwhile is sent together; nothing waits for what may come. An
// error means that the device is gone.
func (f *outboundLoop) run() error {
	s, err := f.queue.Read(f.buf)
	for {
		switch {
		case err == nil:
			f.take(&s)
		case errors.Is(err, os.ErrClosed):
			return nil
		case errors.Is(err, tun.ErrMalformed), errors.Is(err, io.ErrShortBuffer):
			f.counters.drop(DropNotIP)
		default:
			return err
		}
		var waiting bool
		if s, waiting, err = f.queue.TryRead(f.buf[f.used:]); !waiting {
			f.forwardAll()
			f.out.flush()
			s, err = f.queue.Read(f.buf)
		}
	}
}

// take puts a packet or superpacket with those that are forwarded next.
func (f *outboundLoop) take(s *tun.Super) {
	p, err := ts.ParsePacket(s.Packet)
	if err != nil {
		f.counters.drop(DropNotIP)
		return
	}
	if len(f.read) == 0 {
		f.flows.use(f.policies.Load())
	}
	f.find() // for those before, while this one was read, the memory has come that prepare asked for
	f.read = append(f.read, outgoing{super: *s, packet: p, at: f.flows.prepare(&p)})
	f.used += tun.Headroom + len(s.Packet)
	if len(f.read) == maxRead || f.used > maxReadLen {
		f.forwardAll()
	}
}

// forwardAll finds the SAs of what was read, and seals it for the next flush. Among thousands of tunnels nearly all that this needs is far
// away, some twenty cache lines for each: each step towards the keys is made for all packets before the next one, so that the processor
// fetches them side by side.
func (f *outboundLoop) forwardAll() {
	f.find()
	if len(f.read) > 1 {
		f.lookAhead()
	}
	for i := range f.read {
		if o := &f.read[i]; o.flow != nil {
			f.forward(o)
		}
	}
	clear(f.read) // what they point to may be gone before the next call
	f.read, f.found, f.used = f.read[:0], 0, 0
}

// lookAhead has fetched from memory what sealing will need.
func (f *outboundLoop) lookAhead() {
	last := (*flow)(nil)
	for i := range f.read {
		o := &f.read[i]
		if o.flow == nil || o.flow == last {
			continue
		}
		last = o.flow
		o.sa = o.flow.carrier()
		prefetch.Value(o.sa)
	}
	for i := range f.read {
		if sa := f.read[i].sa; sa != nil {
			prefetch.Value(sa.route.Load())
			sa.esp.Prefetch()
		}
	}
}

// find finds the flows of what was read.
func (f *outboundLoop) find() {
	for ; f.found < len(f.read); f.found++ {
		o := &f.read[f.found]
		if o.flow = f.flows.lookup(&o.packet, &o.at); o.flow == nil {
			f.counters.drop(DropNoPolicy)
		}
		prefetch.Value(o.flow)
	}
}

// forward seals a packet or superpacket by the SA that carries its flow.
func (f *outboundLoop) forward(o *outgoing) {
	s, p, flow := &o.super, &o.packet, o.flow
	if flow.shunt != nil {
		f.shunted(flow.shunt)
		return
	}
	sa := flow.carrier()
	if sa == nil {
		f.counters.drop(DropNoSA)
		f.acquire(flow.child, p)
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
		var ok bool
		if t.next, why, ok = transportProtocol(s.Packet, p); !ok {
			f.counters.drop(why)
			return
		}
		t.tos = p.TOS // the outer header is the packet's own
	}
	if isSYN(s.Packet, p) {
		t.mss = inet.MSS(min(t.mtu, f.deviceMTU), p.Dst.Is6())
	}
	if s.GSO == tun.GSONone && s.Complete() {
		s.Packet = s.Packet[:p.TotalLen]
	}
	f.ship(s, &t)
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

// ship cuts what was read into packets, each sealed in its place in the batch. Those of a superpacket that one train cannot
// hold go into trains of equal length.
func (f *outboundLoop) ship(s *tun.Super, t *shipment) {
	size, n := len(s.Packet), s.Segments()
	if s.GSO != tun.GSONone {
		size = min(size, s.HdrLen+s.SegmentSize)
	}
	stride := t.sa.esp.PacketLen(t.sa.padded(size, t.mtu) - t.sa.bare)
	perTrain := fit(stride)
	if n == 0 || perTrain == 0 {
		f.counters.drop(DropSuper)
		return
	}
	if size > t.mtu && f.tooBig(f.segment[:s.Cut(0, f.segment)], t.mtu) {
		return
	}
	f.tap = f.capture.Load()
	trains := (n + perTrain - 1) / perTrain
	perTrain = (n + trains - 1) / trains
	for i := 0; i < n; i += perTrain {
		count := min(perTrain, n-i)
		seq, ok := t.sa.esp.Reserve(count)
		if !ok {
			f.spent(t.sa, n-i)
			return
		}
		room := f.out.room(stride, count)
		for k := range count {
			sealed := f.seal(s, i+k, room, t, seq+uint64(k))
			if sealed == nil {
				f.counters.drop(DropNotIP)
				return
			}
			f.out.add(t.route, t.tos, len(sealed))
			room = room[len(sealed):]
		}
	}
	f.report(t.sa)
}

// seal seals segment i of what was read at the start of room.
func (f *outboundLoop) seal(s *tun.Super, i int, room []byte, t *shipment, seq uint64) []byte {
	o, bare := &t.sa.esp, t.sa.bare
	place := room[o.HeadLen():]
	segment := place
	if bare != 0 {
		segment = f.segment
	}
	n := s.Cut(i, segment)
	if t.mss != 0 {
		inet.ClampMSS(segment[:n], t.mss)
	}
	if f.tap != nil {
		f.tap.take(t.sa.owner, true, segment[:n])
	}
	if bare != 0 {
		copy(place, segment[bare:n])
		return o.SealTransport(room, n-bare, t.next, seq)
	}
	return o.SealPadded(room, n, t.sa.padded(n, t.mtu), seq)
}

// report tells the control loop when the SA wants a successor.
func (f *outboundLoop) report(sa *outboundSA) {
	if sa.esp.SoftReached() {
		sa.soft.raise()
	}
	if sa.soft.due() {
		sa.soft.sent(f.mail.tell(ike.Expiring{SPI: sa.pair}))
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
