package gateway

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/culvert-vpn/culvert/internal/inet"
	"github.com/culvert-vpn/culvert/internal/inet/inettest"
	"github.com/culvert-vpn/culvert/ts"
	"github.com/culvert-vpn/culvert/tun"
	"github.com/culvert-vpn/culvert/tun/tuntest"
)

// oldQueue is of a kernel that does not know superpackets of UDP.
type oldQueue struct{ *countingQueue }

func (q oldQueue) Write(s tun.Super, more [][]byte) error {
	if s.GSO == tun.GSOUDP {
		return tun.ErrMalformed
	}
	return q.countingQueue.Write(s, more)
}

// flows draws the beginnings of n flows of TCP and UDP, over IPv4 and IPv6.
func flows(d *inettest.Dice, n int) (list []inettest.Packet) {
	for i := range n {
		src, dst := hostA, hostB
		if i%2 == 1 {
			src, dst = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
		}
		p := d.Flow(src, dst, false)
		p.SrcPort, p.Protocol, p.Flags = uint16(1000+i), inettest.TCP, inettest.ACK
		if i%4 >= 2 {
			p.Protocol, p.TCPOptions = inettest.UDP, nil
		}
		list = append(list, p)
	}
	return list
}

// put gives a packet to a writer.
func put(t *testing.T, w *writer, b []byte) {
	t.Helper()
	p, err := ts.ParsePacket(b)
	if err != nil {
		t.Fatal(err)
	}
	w.put(b, &p)
}

// Flows that are interleaved in one batch become a superpacket each, of which the kernel makes what came; also where it knows no
// superpackets of UDP.
func TestWriterInterleaved(t *testing.T) {
	for _, c := range []struct {
		name                  string
		old                   bool
		flows, rounds, writes int
	}{
		{"one", false, 1, 40, 1},
		{"eight", false, 8, 20, 8},
		{"long", false, 2, 130, 6}, // 64, 64 and 2
		{"as many as are kept", false, maxFlows, 3, maxFlows},
		{"more than are kept", false, maxFlows + 1, 4, 4 * (maxFlows + 1)}, // each finds the table full
		{"old kernel", true, 4, 10, 2 + 2*10},
	} {
		t.Run(c.name, func(t *testing.T) {
			counting := &countingQueue{Queue: tuntest.NewQueue()}
			w := &writer{queues: []tun.Queue{counting}, counters: new(counters), merge: true}
			if c.old {
				w.queues[0] = oldQueue{counting}
			}
			d := inettest.NewDice([]byte(c.name))
			list := flows(d, c.flows)
			want := map[uint16][][]byte{}
			for range c.rounds {
				for i := range list {
					f := &list[i]
					f.Payload = d.Bytes(64)
					b := f.Bytes()
					want[sourcePort(b)] = append(want[sourcePort(b)], bytes.Clone(b))
					put(t, w, b)
					f.Seq += 64
					f.ID++
				}
			}
			w.flush()
			for range c.flows * c.rounds {
				got := <-counting.Received()
				flow := want[sourcePort(got)]
				if len(flow) == 0 || !bytes.Equal(got, flow[0]) {
					t.Fatalf("got %x, want the first of %x", got, flow)
				}
				want[sourcePort(got)] = flow[1:]
			}
			if counting.calls != c.writes {
				t.Errorf("%d writes, want %d", counting.calls, c.writes)
			}
			for d, n := range w.counters.byReason() {
				t.Errorf("%s = %d", d, n)
			}
		})
	}
}

// What differs in anything that the kernel does not count up is not merged.
func TestWriterExact(t *testing.T) {
	type packet = inettest.Packet
	for _, c := range []struct {
		name   string
		of     func(*packet) bool // which flows can differ so; nil: all
		differ func(first, second *packet)
		damage func(second []byte)
		merged bool
	}{
		{name: "nothing", merged: true},
		{name: "TOS", differ: func(_, p *packet) { p.TOS ^= 1 }},
		{name: "TTL", differ: func(_, p *packet) { p.TTL-- }},
		{name: "longer", differ: func(_, p *packet) { p.Payload = append(p.Payload, 1) }},
		{name: "shorter", differ: func(_, p *packet) { p.Payload = p.Payload[:1] }, merged: true},
		{name: "after a shorter one", differ: func(p, _ *packet) { p.Payload = p.Payload[:1] }},
		{name: "source port", differ: func(_, p *packet) { p.SrcPort++ }},
		{name: "identification", of: isIPv4, differ: func(_, p *packet) { p.ID++ }},
		{name: "the same identification", of: isIPv4, differ: func(_, p *packet) { p.ID-- }},
		{name: "DF", of: isIPv4, differ: func(_, p *packet) { p.Fragment ^= 0x4000 }},
		{name: "reserved flag", of: isIPv4, differ: func(p, q *packet) { p.Fragment, q.Fragment = 0x8000, 0x8000 }},
		{name: "flow label", of: isIPv6, differ: func(_, p *packet) { p.Label ^= 1 }},
		{name: "sequence", of: isTCP, differ: func(_, p *packet) { p.Seq++ }},
		{name: "acknowledgement", of: isTCP, differ: func(_, p *packet) { p.Ack++ }},
		{name: "window", of: isTCP, differ: func(_, p *packet) { p.Window++ }},
		{name: "urgent", of: isTCP, differ: func(_, p *packet) { p.Urgent++ }},
		{name: "options", of: isTCP, differ: func(p, q *packet) {
			p.TCPOptions, q.TCPOptions = []byte{1, 1, 1, 1}, []byte{1, 1, 1, 0}
		}},
		{name: "ECE in both", of: isTCP, differ: func(p, q *packet) { p.Flags |= inettest.ECE; q.Flags |= inettest.ECE }, merged: true},
		{name: "ECE", of: isTCP, differ: func(_, p *packet) { p.Flags |= inettest.ECE }},
		{name: "CWR", of: isTCP, differ: func(p, _ *packet) { p.Flags |= inettest.CWR }},
		{name: "PSH in the last", of: isTCP, differ: func(_, p *packet) { p.Flags |= inettest.PSH }, merged: true},
		{name: "PSH in the first", of: isTCP, differ: func(p, _ *packet) { p.Flags |= inettest.PSH }},
		{name: "FIN", of: isTCP, differ: func(_, p *packet) { p.Flags |= inettest.FIN }},
		{name: "checksum", damage: func(b []byte) { b[len(b)-1] ^= 1 }},
		{name: "header checksum", of: isIPv4, damage: func(b []byte) { b[10] ^= 1 }},
		{name: "no checksum", of: func(p *packet) bool { return !isTCP(p) }, damage: func(b []byte) { at := len(b) - 100 - 2; b[at], b[at+1] = 0, 0 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := inettest.NewDice([]byte(c.name))
			for _, first := range flows(d, 4) {
				if c.of != nil && !c.of(&first) {
					continue
				}
				first.Payload = d.Bytes(100)
				second := first
				second.Seq += 100
				second.ID++
				second.Payload = d.Bytes(100)
				if c.differ != nil {
					c.differ(&first, &second)
				}
				q := &countingQueue{Queue: tuntest.NewQueue()}
				w := &writer{queues: []tun.Queue{q}, counters: new(counters), merge: true}
				in := [][]byte{first.Bytes(), second.Bytes()}
				if c.damage != nil {
					c.damage(in[1])
				}
				for _, b := range in {
					put(t, w, bytes.Clone(b))
				}
				w.flush()
				for i, want := range in {
					if got := <-q.Received(); !bytes.Equal(got, want) {
						t.Errorf("packet %d\n got %x\nwant %x", i, got, want)
					}
				}
				if merged := q.calls == 1; merged != c.merged {
					t.Errorf("protocol %d, IPv6 %v: %d writes", first.Protocol, first.Src.Is6(), q.calls)
				}
			}
		})
	}
}

func isIPv4(p *inettest.Packet) bool { return p.Src.Is4() }
func isIPv6(p *inettest.Packet) bool { return p.Src.Is6() }
func isTCP(p *inettest.Packet) bool  { return p.Protocol == inet.ProtoTCP }

// A flow is written to one queue, and there are flows for all of them.
func TestWriterQueues(t *testing.T) {
	for _, merge := range []bool{true, false} {
		w := &writer{counters: new(counters), merge: merge}
		var queues []*tuntest.Queue
		for range 4 {
			queues = append(queues, tuntest.NewQueue())
			w.queues = append(w.queues, queues[len(queues)-1])
		}
		d := inettest.NewDice(nil)
		list := flows(d, 40)
		const rounds = 5
		for range rounds {
			for i := range list {
				list[i].Payload = d.Bytes(10)
				put(t, w, list[i].Bytes())
				list[i].Seq += 10
				list[i].ID++
			}
			w.flush()
		}
		flows := 0
		for i, q := range queues {
			got := map[uint16]int{}
			for len(q.Received()) > 0 {
				got[sourcePort(<-q.Received())]++
			}
			if flows += len(got); len(got) == 0 {
				t.Errorf("merge=%v: queue %d got nothing", merge, i)
			}
			for port, n := range got {
				if n != rounds {
					t.Errorf("merge=%v: queue %d got %d of %d packets of the flow from port %d", merge, i, n, rounds, port)
				}
			}
		}
		if flows != len(list) {
			t.Errorf("merge=%v: %d flows came out, want %d", merge, flows, len(list))
		}
	}
}

// sourcePort is that of a packet without options.
func sourcePort(b []byte) uint16 {
	if b[0]>>4 == 6 {
		return binary.BigEndian.Uint16(b[ip6Header:])
	}
	return binary.BigEndian.Uint16(b[ip4Header:])
}
