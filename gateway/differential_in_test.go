package gateway

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/culvert-vpn/culvert/esp"
	"github.com/culvert-vpn/culvert/internal/inet/inettest"
	"github.com/culvert-vpn/culvert/tun"
	"github.com/culvert-vpn/culvert/udp"
)

// stream is a flow of the peer's while a test draws its packets.
type stream struct {
	p    inettest.Packet
	size int
	calm int // one packet in so many may differ from the one before in more than its place
}

// drawStream draws a flow from behind A.
func drawStream(d *inettest.Dice) *stream {
	s := &stream{size: inettest.Of(d, 1300, 100, 1, 7), calm: inettest.Of(d, 40, 40, 1)}
	if d.One(2) {
		s.p = d.Flow(hostA6, hostB6, d.One(2))
	} else {
		s.p = d.Flow(hostA, hostB, d.One(2))
	}
	return s
}

// next is the next packet of the stream: mostly one that goes on as the one before.
func (s *stream) next(d *inettest.Dice) []byte {
	p := &s.p
	size := s.size
	odd := d.One(s.calm)
	if odd && d.One(4) {
		size = d.N(2 * s.size) // shorter or longer than the others, or empty
	}
	p.Payload = d.Bytes(size)
	once := *p
	tcp := p.Protocol == inettest.TCP
	kind := 0
	if odd {
		kind = d.N(24)
	}
	switch kind {
	default: // as the one before
	case 7, 8: // one of another flow that looks the same
		once.SrcPort ^= uint16(d.N(2))
		once.DstPort ^= uint16(d.N(2))
	case 9:
		if d.One(2) {
			once.Src = once.Src.Next()
		} else {
			once.Dst = once.Dst.Next()
		}
	case 10:
		once.Flags |= inettest.PSH
	case 11:
		once.Flags ^= inettest.Of[byte](d, inettest.FIN, inettest.SYN, inettest.RST, inettest.URG, inettest.ECE, inettest.CWR, inettest.ACK)
	case 12:
		p.TOS, once.TOS = p.TOS^1, p.TOS^1 // from here on
	case 13:
		once.TTL++
	case 14:
		p.Window++
		once.Window++
	case 15:
		p.Ack += 100
		once.Ack += 100
	case 16:
		p.Seq, once.Seq = p.Seq+1, p.Seq+1 // something is missing
	case 17:
		p.ID, once.ID = p.ID+1, p.ID+1
	case 18:
		if len(p.TCPOptions) > 4 {
			p.TCPOptions = slices.Clone(p.TCPOptions)
			p.TCPOptions[5]++ // time goes on
			once.TCPOptions = p.TCPOptions
		}
	case 19:
		once.Label ^= 1
		once.Reserved ^= 1
	case 20:
		once.Fragment = inettest.Of[uint16](d, 0x2000, 0x2001, 0x0001, 0x8000, 0x6000)
	case 21:
		once.Urgent = 1
	}
	b := once.Bytes()
	switch kind {
	case 22: // a wrong checksum, or with UDP none
		at := once.HeaderLen() + once.ChecksumOffset()
		if tcp || once.Src.Is6() || d.One(2) {
			b[at] ^= 0x55
		} else {
			b[at], b[at+1] = 0, 0
		}
	case 23: // bytes behind the end of the packet
		b = append(b, make([]byte, d.N(5))...)
	}
	if !odd || !d.One(12) { // else the next one is the same again
		p.Seq += uint32(size)
		if p.Fragment == 0 || !d.One(4) {
			p.ID++
		}
	}
	return b
}

// drawDatagrams draws what arrives at B's socket, in its order.
func drawDatagrams(d *inettest.Dice) (list []udp.Datagrams) {
	var streams []*stream
	for range 1 + d.N(4) {
		streams = append(streams, drawStream(d))
	}
	seal := map[uint32]*esp.Outbound{}
	for _, spi := range []uint32{spiFour, spiSix, spiFour2} {
		seal[spi] = esp.NewOutbound(esp.OutboundConfig{SPI: spi, Cipher: testCipher()})
	}
	four, now := uint32(spiFour), streams[0]
	var tos byte
	turns := inettest.Of(d, 40, 6, 2)
	for range 1 + d.N(150) {
		if d.One(turns) {
			now = streams[d.N(len(streams))]
		}
		if d.One(40) {
			four ^= spiFour ^ spiFour2
		}
		if d.One(30) {
			tos = inettest.Of[byte](d, 0, 1, 2, 3, 0xb8)
		}
		inner := now.next(d)
		spi := four
		if inner[0]>>4 == 6 {
			spi = spiSix
		}
		out := seal[spi]
		buf := make([]byte, out.HeadLen()+len(inner)+esp.Tailroom)
		copy(buf[out.HeadLen():], inner)
		seq, _ := out.Reserve(1)
		list = append(list, udp.Datagrams{Buf: out.Seal(buf, len(inner), seq), TOS: tos})
	}
	return spoil(d, list)
}

// spoil does to datagrams what networks and strangers do.
func spoil(d *inettest.Dice, list []udp.Datagrams) []udp.Datagrams {
	for range d.N(8) {
		i := d.N(len(list))
		switch d.N(6) {
		case 0:
			j := min(len(list)-1, i+1+d.N(3))
			list[i], list[j] = list[j], list[i]
		case 1:
			list = slices.Insert(list, i, list[d.N(len(list))])
		case 2:
			bad := list[i]
			bad.Buf = bytes.Clone(bad.Buf)
			if len(bad.Buf) > 0 {
				bad.Buf[d.N(len(bad.Buf))] ^= 1 << d.N(8)
			}
			list = slices.Insert(list, i, bad)
		case 3:
			short := list[i]
			short.Buf = short.Buf[:d.N(len(short.Buf)+1)]
			list = slices.Insert(list, i, short)
		case 4:
			list = slices.Insert(list, i, udp.Datagrams{Buf: inettest.Of(d, []byte{0xff}, []byte{}, d.Bytes(len(list[i].Buf)))})
		case 5:
			list = slices.Delete(list, i, min(len(list), i+1+d.N(2)))
			if len(list) == 0 {
				return []udp.Datagrams{{Buf: []byte{0xff}}}
			}
		}
	}
	return list
}

// trains joins neighbours as UDP_GRO does: of one length, but for the last, and with one TOS; at most so many.
func trains(d *inettest.Dice, list []udp.Datagrams) (joined []udp.Datagrams) {
	most := inettest.Of(d, 64, 64, 64, 3, 1)
	for i := 0; i < len(list); {
		first := list[i]
		buf, n := bytes.Clone(first.Buf), 1
		for i++; i < len(list) && n < most && len(first.Buf) > 0; i++ {
			next := list[i]
			if next.TOS != first.TOS || len(next.Buf) > len(first.Buf) || len(next.Buf) == 0 || len(buf)+len(next.Buf) > udp.MaxTrain {
				break
			}
			buf = append(buf, next.Buf...)
			n++
			if len(next.Buf) < len(first.Buf) {
				i++
				break
			}
		}
		joined = append(joined, udp.Datagrams{Buf: buf, Stride: len(first.Buf), TOS: first.TOS})
	}
	return joined
}

// singles are the same datagrams, each alone.
func singles(list []udp.Datagrams) (alone []udp.Datagrams) {
	for _, d := range list {
		alone = append(alone, udp.Datagrams{Buf: bytes.Clone(d.Buf), Stride: len(d.Buf), TOS: d.TOS})
	}
	return alone
}

// packetsOf cuts what was written to the device as the kernel would. A superpacket has to be described as the kernel wants it.
func packetsOf(s tun.Super) (list [][]byte, err error) {
	if s.GSO == tun.GSONone && !s.NeedsChecksum {
		return [][]byte{s.Packet}, nil
	}
	p, checksum, err := inettest.Parse(s.Packet)
	if err != nil {
		return nil, err
	}
	gso := map[byte]tun.GSO{inettest.UDP: tun.GSOUDP, inettest.TCP: tun.GSOTCP4}[p.Protocol]
	if gso == tun.GSOTCP4 && p.Src.Is6() {
		gso = tun.GSOTCP6
	}
	partial, _, _ := inettest.Parse(p.Partial())
	_, want, _ := inettest.Parse(partial.Partial())
	switch {
	case s.GSO != gso, s.HdrLen != p.HeaderLen()+p.TransportLen(), !s.NeedsChecksum, s.ChecksumStart != p.HeaderLen(),
		s.ChecksumOffset != p.ChecksumOffset(), s.SegmentSize <= 0, len(p.Payload) <= s.SegmentSize, checksum != want,
		len(p.Options) > 0, p.Fragment&0xbfff != 0,
		p.Protocol == inettest.UDP && len(p.Payload) > 64*s.SegmentSize: // UDP_MAX_SEGMENTS of older kernels
		return nil, fmt.Errorf("a superpacket that the kernel does not take: %+v, %+v, checksum %#x, want %#x", s.GSO, p, checksum, want)
	}
	for _, segment := range p.Cut(s.SegmentSize) {
		list = append(list, segment.Bytes())
	}
	return list, nil
}

// flowOf names what packets have to stay in order: those of a flow, and else those between two hosts by their protocol.
func flowOf(b []byte) string {
	p, _, err := inettest.Parse(b)
	if err != nil || p.Fragment&0x3fff != 0 {
		if b[0]>>4 == 4 {
			return fmt.Sprintf("%x %d", b[12:20], b[9])
		}
		return fmt.Sprintf("%x %d", b[8:40], b[6])
	}
	return fmt.Sprint(p.Src, p.Dst, p.Protocol, p.SrcPort, p.DstPort)
}

// byFlow are the packets of each flow, in their order.
func byFlow(t *testing.T, written []tun.Super) map[string][][]byte {
	t.Helper()
	m := make(map[string][][]byte)
	for _, s := range written {
		list, err := packetsOf(s)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range list {
			m[flowOf(b)] = append(m[flowOf(b)], b)
		}
	}
	return m
}

// inbound is one test of the way in. It returns how many packets were written, and in how many writes.
func inbound(t *testing.T, input []byte) (packets, writes int) {
	d := inettest.NewDice(input)
	w := way{room: 1472, copyDSCP: d.One(4)}
	list := drawDatagrams(d)
	fast, slow := newRig(w), newRig(w)
	fast.in(trains(d, list), true)
	slow.in(singles(list), false)

	got, want := byFlow(t, fast.queue.written), byFlow(t, slow.queue.written)
	for flow, packets := range want {
		for k := range max(len(packets), len(got[flow])) {
			if k >= len(packets) || k >= len(got[flow]) || !bytes.Equal(packets[k], got[flow][k]) {
				t.Fatalf("flow %s: packet %d of %d (of %d without fast paths)\n got %s\nwant %s", flow, k, len(got[flow]), len(packets), at(got[flow], k), at(packets, k))
			}
		}
	}
	if len(got) != len(want) {
		t.Fatalf("flows %v, want %v", slices.Collect(maps.Keys(got)), slices.Collect(maps.Keys(want)))
	}
	oneLane(t, fast.queue)
	if !maps.Equal(reasons(&fast.n), reasons(&slow.n)) || fast.n.ecnUnused.Load() != slow.n.ecnUnused.Load() {
		t.Fatalf("drops %v, want %v", fast.n.byReason(), slow.n.byReason())
	}
	return len(slow.queue.written), len(fast.queue.written)
}

// oneLane checks that each flow stayed on one queue.
func oneLane(t *testing.T, q *scriptQueue) {
	t.Helper()
	of := make(map[string]int)
	for i, s := range q.written {
		p, _, err := inettest.Parse(s.Packet)
		if err != nil || p.Fragment&0x3fff != 0 {
			continue // of a flow that nobody can see
		}
		flow := fmt.Sprint(p.Src, p.Dst, p.Protocol, p.SrcPort, p.DstPort)
		if lane, ok := of[flow]; ok && lane != q.lanes[i] {
			t.Fatalf("flow %s came on queue %d and on %d", flow, lane, q.lanes[i])
		}
		of[flow] = q.lanes[i]
	}
}

// reasons are the drops by reason. In a train all packets of an SA are checked before one is opened, so that a spoilt repetition counts as
// spoilt; and a scrap too short for ESP counts as a short packet behind others of its SA, and as junk alone.
func reasons(n *counters) map[string]uint64 {
	m, refused := n.byReason(), uint64(0)
	for _, d := range []Drop{DropJunk, DropESPShort, DropESPReplay, DropESPIntegrity} {
		refused += m[d.String()]
		delete(m, d.String())
	}
	m["refused"] = refused
	return m
}

func at(packets [][]byte, k int) string {
	if k >= len(packets) {
		return "nothing"
	}
	return fmt.Sprintf("%x", packets[k][:min(len(packets[k]), 120)])
}

func TestInboundFastAndSlow(t *testing.T) {
	packets, writes := 0, 0
	for seed := range uint16(600) {
		p, w := inbound(t, binary.LittleEndian.AppendUint16([]byte("inbound"), seed))
		packets, writes = packets+p, writes+w
	}
	if 6*(packets-writes) < packets {
		t.Errorf("%d packets went out in %d writes: too few of them together to tell anything", packets, writes)
	}
	t.Logf("%d packets in %d writes", packets, writes)
}

func FuzzInbound(f *testing.F) {
	for n := range byte(8) {
		f.Add([]byte{0, 0, n, 0})
		f.Add([]byte{0, 0, n, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 200, 0})
	}
	f.Fuzz(func(t *testing.T, input []byte) { inbound(t, input) })
}
