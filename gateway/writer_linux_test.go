package gateway

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/culvert-vpn/culvert/internal/inet"
	"github.com/culvert-vpn/culvert/internal/inet/inettest"
	"github.com/culvert-vpn/culvert/tun"
)

// The kernel itself cuts what the writer has merged, and forwards the packets to a device that takes single ones only: they are
// those that came, byte for byte, in the order of their flow, one hop further.
//
//	writer -- superpackets --> [in0  kernel  culvert0] -- packets --> the test
func TestWriterAndKernel(t *testing.T) {
	m := newMachine(t)
	entry, err := tun.Open(tun.Options{Name: "in0", Offload: true})
	m.must(err)
	defer entry.Close()
	m.up("in0")
	m.up(tunnel)
	for _, dst := range []string{hostB.String(), "2001:db8::2"} {
		m.must(netlink.RouteAdd(&netlink.Route{LinkIndex: m.link(tunnel).Attrs().Index, Dst: ipNet(netip.PrefixFrom(netip.MustParseAddr(dst), netip.MustParseAddr(dst).BitLen()))}))
	}
	counting := &countingQueue{}
	w := &writer{queues: []tun.Queue{&throughQueue{entry.Queues()[0], counting}}, counters: new(counters), merge: true}
	timer := time.AfterFunc(30*time.Second, func() { m.device.Close() }) // a packet that is missing ends the test
	defer timer.Stop()
	packets := 0
	for seed := range 40 {
		d := inettest.NewDice([]byte{byte(seed)})
		list := flows(d, 4+d.N(6))
		want := map[uint16][][]byte{}
		for range 150 {
			f := &list[d.N(len(list))]
			f.TTL = 64
			next := drawNext(d, f)
			want[f.SrcPort] = append(want[f.SrcPort], oneHopFurther(next))
			put(t, w, next)
			packets++
		}
		w.flush()
		for range 150 {
			got := m.readForwarded(t)
			flow := want[sourcePort(got)]
			if len(flow) == 0 || !bytes.Equal(got, flow[0]) {
				t.Fatalf("seed %d\n got %x\nwant the first of %x", seed, got, flow)
			}
			want[sourcePort(got)] = flow[1:]
		}
	}
	for d, n := range w.counters.byReason() {
		t.Errorf("%s = %d", d, n)
	}
	if w.noUDP {
		t.Log("this kernel takes no superpackets of UDP")
	} else if counting.calls*2 > packets {
		t.Errorf("%d packets took %d writes", packets, counting.calls)
	}
}

// throughQueue counts what goes to the real one.
type throughQueue struct {
	tun.Queue
	counting *countingQueue
}

func (q *throughQueue) Write(s tun.Super, more [][]byte) error {
	q.counting.calls++
	return q.Queue.Write(s, more)
}

// drawNext is the next packet of a flow, and sometimes one that cannot be merged with that before it.
func drawNext(d *inettest.Dice, f *inettest.Packet) []byte {
	size := 100 * (1 + int(f.SrcPort)%12)
	if d.One(12) {
		size = 1 + d.N(size)
	}
	f.Payload = d.Bytes(size)
	once := *f
	if f.Protocol == inettest.TCP {
		switch d.N(24) {
		case 23:
			once.Flags |= inettest.PSH
		case 22:
			f.Flags ^= inettest.ECE
			once.Flags = f.Flags
		case 21:
			f.Ack++
			once.Ack = f.Ack
		}
	}
	if d.One(24) {
		f.TOS ^= 1
		once.TOS = f.TOS
	}
	f.Seq += uint32(size)
	f.ID++
	return once.Bytes()
}

// oneHopFurther is a packet after a router.
func oneHopFurther(b []byte) []byte {
	b = slices.Clone(b)
	if b[0]>>4 == 6 {
		b[7]--
		return b
	}
	b[8]--
	b[10], b[11] = 0, 0
	binary.BigEndian.PutUint16(b[10:], inet.Checksum(b[:ip4Header]))
	return b
}

// readForwarded returns the next packet of TCP or UDP at the tunnel's device.
func (m *machine) readForwarded(t *testing.T) []byte {
	t.Helper()
	buf := make([]byte, 65536)
	for {
		s, err := m.device.Queues()[0].Read(buf)
		if err != nil {
			t.Fatalf("a packet is missing: %v", err)
		}
		protocol := s.Packet[9]
		if s.Packet[0]>>4 == 6 {
			protocol = s.Packet[6]
		}
		if protocol == inet.ProtoTCP || protocol == inet.ProtoUDP {
			return s.Packet
		}
	}
}
