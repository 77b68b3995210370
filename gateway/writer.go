package gateway

import (
	"encoding/binary"
	"errors"
	"math/bits"

	"github.com/culvert-vpn/culvert/internal/inet"
	"github.com/culvert-vpn/culvert/ts"
	"github.com/culvert-vpn/culvert/tun"
)

// writer writes to the TUN device. Packets of a TCP or UDP flow that follow one another go out as one superpacket, from
// which the kernel can make again exactly the packets that came: one system call, and one walk through the kernel, for all of
// them. Several flows may be interleaved. The order within a flow is kept, also with what cannot be merged; of different
// flows one may overtake another until flush.
//
// A flow stays on one queue of the device, because the kernel hands out what the host answers on the queue that the flow was
// written to last; different flows are spread over all of them.
type writer struct {
	queues   []tun.Queue
	counters *counters
	merge    bool // superpackets may be written
	noUDP    bool // but none of UDP: the kernel does not know them (before Linux 6.2)

	// What is kept back: runs[i] is of the flow flows[i].
	flows []uint64
	runs  []run
}

// maxFlows is how many flows are kept back at the same time. With more of them in one batch there is little to merge.
const maxFlows = 16

// put takes a packet, which must stay as it is until flush. p is what is known of it.
func (w *writer) put(packet []byte, p *ts.Packet) {
	flow, gso := flowKey(packet, p), tun.GSONone
	if w.merge && (p.Protocol == inet.ProtoTCP || p.Protocol == inet.ProtoUDP) {
		gso = superOf(packet, p)
		if !p.HasPorts { // a fragment: of which flow, only the host will know
			w.flush()
		}
	}
	for i, kept := range w.flows {
		if kept != flow {
			continue
		}
		r := &w.runs[i]
		switch {
		case gso == tun.GSONone:
			w.writeRun(flow, r)
			w.forget(i)
			w.write(flow, tun.Super{Packet: packet}, nil)
		case !r.add(packet, gso):
			w.writeRun(flow, r)
			r.begin(packet, gso)
		}
		return
	}
	if gso == tun.GSONone || gso == tun.GSOUDP && w.noUDP {
		w.write(flow, tun.Super{Packet: packet}, nil)
		return
	}
	w.keep(flow).begin(packet, gso)
}

// flowKey tells the flows apart. That two of them look the same is unlikely, and does no harm: they are not merged.
func flowKey(b []byte, p *ts.Packet) uint64 {
	x := uint64(p.Protocol)<<32 | uint64(p.SrcPort)<<16 | uint64(p.DstPort)
	addresses := b[12:ip4Header]
	if b[0]>>4 == 6 {
		addresses = b[8:ip6Header]
	}
	for ; len(addresses) >= 8; addresses = addresses[8:] {
		high, low := bits.Mul64(x^0x9e3779b97f4a7c15, binary.NativeEndian.Uint64(addresses)^0xd6e8feb86659fd93)
		x = high ^ low
	}
	return x
}

// keep makes room for a flow.
func (w *writer) keep(flow uint64) *run {
	if w.runs == nil {
		w.flows, w.runs = make([]uint64, 0, maxFlows), make([]run, maxFlows)
	}
	if len(w.flows) == maxFlows {
		w.flush()
	}
	w.flows = append(w.flows, flow)
	return &w.runs[len(w.flows)-1]
}

// forget drops flow i, which has been written.
func (w *writer) forget(i int) {
	last := len(w.flows) - 1
	w.flows[i] = w.flows[last]
	w.runs[i], w.runs[last] = w.runs[last], w.runs[i]
	w.flows = w.flows[:last]
}

// flush writes what is kept back.
func (w *writer) flush() {
	for i, flow := range w.flows {
		w.writeRun(flow, &w.runs[i])
	}
	w.flows = w.flows[:0]
}

func (w *writer) writeRun(flow uint64, r *run) { w.write(flow, r.super(), r.more) }

func (w *writer) write(flow uint64, s tun.Super, more [][]byte) {
	err := w.queues[flow%uint64(len(w.queues))].Write(s, more)
	if s.GSO == tun.GSOUDP && errors.Is(err, tun.ErrMalformed) {
		w.noUDP = true
		w.writeCut(flow, s, more)
		return
	}
	if err != nil {
		w.counters.drop(dropOfDevice(err))
	}
}

// writeCut writes the packets of a superpacket one by one.
func (w *writer) writeCut(flow uint64, s tun.Super, more [][]byte) {
	whole := append(make([]byte, 0, tun.MaxSuper), s.Packet...)
	for _, piece := range more {
		whole = append(whole, piece...)
	}
	s.Packet = whole
	packet := make([]byte, s.HdrLen+s.SegmentSize)
	for i := range s.Segments() {
		w.write(flow, tun.Super{Packet: packet[:s.Cut(i, packet)]}, nil)
	}
}
