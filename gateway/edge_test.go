package gateway

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/culvert-vpn/culvert/internal/inet"
	"github.com/culvert-vpn/culvert/ts"
	"github.com/culvert-vpn/culvert/tun"
	"github.com/culvert-vpn/culvert/tun/tuntest"
)

// brokenQueue is a queue of a device that is gone.
type brokenQueue struct{}

func (brokenQueue) Read([]byte) (tun.Super, error)  { return tun.Super{}, errors.New("no such device") }
func (brokenQueue) Write(tun.Super, [][]byte) error { return errors.New("no such device") }
func (brokenQueue) Close() error                    { return nil }

const (
	flagSYN = 0x02
)

// A superpacket crosses the tunnel as the packets that it stands for, in one train if they fit.
func TestSuperpacket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, _ := pair(t, confA, confB)
		b.up()
		a.up()
		const segment, count = 1300, 45
		data := make([]byte, segment*count-17)
		for i := range data {
			data[i] = byte(rand.Int())
		}
		packet := ipPacket(hostB, hostA, inet.ProtoTCP, tcp(flagACK|flagPSH, 1000, 0, data))
		s := tun.Super{
			Packet: packet, GSO: tun.GSOTCP4, HdrLen: 40, SegmentSize: segment,
			NeedsChecksum: true, ChecksumStart: 20, ChecksumOffset: tcpChecksum,
		}
		sum := inet.AddPseudo(0, hostB, hostA, inet.ProtoTCP, len(packet)-20)
		binary.BigEndian.PutUint16(packet[20+tcpChecksum:], inet.Fold(sum))
		var want [][]byte
		for i := range s.Segments() {
			piece := make([]byte, 1500)
			want = append(want, piece[:s.Cut(i, piece)])
		}
		if len(want) != count {
			t.Fatalf("the superpacket has %d segments", len(want))
		}
		if err := b.queue.Send(s); err != nil {
			t.Fatal(err)
		}
		got := a.received()
		if len(got) != len(want) {
			t.Fatalf("%d packets arrived, want %d", len(got), len(want))
		}
		for i := range want {
			if !bytes.Equal(got[i], want[i]) {
				t.Fatalf("packet %d\n got %x\nwant %x", i, got[i][:60], want[i][:60])
			}
		}

		// One that needs nothing but its checksum.
		plain := ping(hostB, hostA, "half a checksum")
		half := slices.Clone(plain)
		binary.BigEndian.PutUint16(half[26:], inet.Fold(inet.AddPseudo(0, hostB, hostA, inet.ProtoUDP, len(plain)-20)))
		if err := b.queue.Send(tun.Super{Packet: half, NeedsChecksum: true, ChecksumStart: 20, ChecksumOffset: 6}); err != nil {
			t.Fatal(err)
		}
		a.wants(plain)
		finish(t, b, a)
	})
}

// A packet that is too big for the path and must not be fragmented comes back as an ICMP message; one that may be
// fragmented crosses. A superpacket with too big segments is answered as one packet.
func TestTooBig(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, _ := pair(t, confA, confB)
		b.up()
		a.up()
		mtu := b.g.Status().Connections[0].IKE[0].Children[0].MTU
		if mtu < 1400 || mtu > 1450 {
			t.Fatalf("the MTU of the Child SA is %d", mtu)
		}
		fits := ping(hostB, hostA, string(make([]byte, mtu-28)))
		b.send(fits)
		a.wants(fits)

		big := ping(hostB, hostA, string(make([]byte, mtu-27)))
		b.send(big)
		a.wantsNothing()
		answers := b.received()
		if len(answers) != 1 {
			t.Fatalf("%d answers to a packet that is too big", len(answers))
		}
		icmp := answers[0]
		if h, err := inet.Parse(icmp); err != nil || h.Protocol != inet.ProtoICMP || h.Dst != hostB || inet.Checksum(icmp[20:]) != 0 {
			t.Fatalf("the answer %x: %+v, %v", icmp, h, err)
		}
		if icmp[20] != 3 || icmp[21] != 4 || int(binary.BigEndian.Uint16(icmp[26:])) != mtu {
			t.Errorf("ICMP type %d, code %d, MTU %d, want 3, 4, %d", icmp[20], icmp[21], binary.BigEndian.Uint16(icmp[26:]), mtu)
		}
		if n := b.drops(DropTooBig); n != 1 {
			t.Errorf("%s = %d", DropTooBig, n)
		}

		may := slices.Clone(big)
		may[6] = 0 // without DF
		may[10], may[11] = 0, 0
		binary.BigEndian.PutUint16(may[10:], inet.Checksum(may[:20]))
		b.send(may)
		a.wants(may)

		packet := ipPacket(hostB, hostA, inet.ProtoTCP, tcp(flagACK, 1, 0, make([]byte, 4000)))
		err := b.queue.Send(tun.Super{
			Packet: packet, GSO: tun.GSOTCP4, HdrLen: 40, SegmentSize: 1460,
			NeedsChecksum: true, ChecksumStart: 20, ChecksumOffset: tcpChecksum,
		})
		if err != nil {
			t.Fatal(err)
		}
		a.wantsNothing()
		if n := len(b.received()); n != 1 {
			t.Errorf("%d answers to a superpacket whose segments are too big", n)
		}
		finish(t, b, a)
	})
}

// SYNs announce what the tunnel carries without fragments, in both directions.
func TestClampMSS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, _ := pair(t, confA, confB)
		b.up()
		a.up()
		b.send(ipPacket(hostB, hostA, inet.ProtoTCP, tcp(flagSYN, 1, 1460, nil)))
		got := a.received()
		if len(got) != 1 {
			t.Fatalf("%d packets", len(got))
		}
		mss := int(binary.BigEndian.Uint16(got[0][42:]))
		if want := deviceMTU(b.g.cfg.Connections) - 40; mss != want {
			t.Errorf("the SYN announces %d, want %d", mss, want)
		}
		p, err := ts.ParsePacket(got[0])
		if err != nil || !soundTCP(got[0], 20, &p) {
			t.Error("the checksum of the SYN is wrong")
		}
		small := ipPacket(hostA, hostB, inet.ProtoTCP, tcp(flagSYN|flagACK, 1, 900, nil))
		a.send(small)
		b.wants(small)
		finish(t, b, a)
	})
}

// The peer holds the keys and is not trusted with more than the agreed traffic: here it sends from an address that is
// not its own.
func TestInboundSelectors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, _ := pair(t, confA, confB)
		b.up()
		a.up()
		// B's table is made to believe that more was agreed.
		err := b.g.do(t.Context(), func(c *control) {
			f := c.policies.flows[0]
			f.local = ts.Resolve([]ts.Spec{{Sel: ts.FromPrefix(netip.MustParsePrefix("0.0.0.0/0"))}})
			c.policies.changed = true
			_ = c.protect()
		})
		if err != nil {
			t.Fatal(err)
		}
		b.send(ping(netip.MustParseAddr("10.103.0.66"), hostA, "I am one of yours"))
		a.wantsNothing()
		if n := a.drops(DropSelectors); n != 1 {
			t.Errorf("%s = %d", DropSelectors, n)
		}
		finish(t, b, a)
	})
}

// What is merged into superpackets and cut again by the kernel is what came, whatever came.
func TestWriterMerges(t *testing.T) {
	hosts := []netip.Addr{hostA, hostB, netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")}
	packets, writes := 0, 0
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		q := &countingQueue{Queue: tuntest.NewQueue()}
		w := &writer{queue: q, counters: new(counters), merge: true}
		var want [][]byte
		seq := uint32(0xffff0000)
		from := 2 * r.IntN(2)
		for range 60 {
			n := []int{0, 1, 700, 1300, 1300, 1300, 1300}[r.IntN(7)]
			flags := []byte{flagACK, flagACK, flagACK, flagACK, flagACK | flagPSH, flagACK | 0x01}[r.IntN(6)]
			switch r.IntN(20) {
			case 0:
				seq += 100
			case 1:
				from = 2 * r.IntN(2)
			}
			data := make([]byte, n)
			for i := range data {
				data[i] = byte(r.Int())
			}
			b := ipPacket(hosts[from], hosts[from+1], inet.ProtoTCP, tcp(flags, seq, 0, data))
			seq += uint32(n)
			if r.IntN(20) == 0 {
				b[len(b)-1] ^= 1 // a checksum that is wrong stays wrong
			}
			if r.IntN(20) == 0 && b[0]>>4 == 4 {
				b[1] = 1 // another TOS
				b[10], b[11] = 0, 0
				binary.BigEndian.PutUint16(b[10:], inet.Checksum(b[:20]))
			}
			want = append(want, slices.Clone(b))
			p, err := ts.ParsePacket(b)
			if err != nil {
				t.Fatal(err)
			}
			w.put(b, &p)
		}
		w.flush()
		packets, writes = packets+len(want), writes+q.calls
		for i := range want {
			got := <-q.Received()
			if got[0]>>4 == 4 { // with DF the identification may change
				copy(got[4:6], want[i][4:6])
				got[10], got[11] = 0, 0
				binary.BigEndian.PutUint16(got[10:], inet.Checksum(got[:20]))
			}
			if !bytes.Equal(got, want[i]) {
				t.Fatalf("seed %d, packet %d\n got %x\nwant %x", seed, i, got, want[i])
			}
		}
		for d, n := range w.counters.byReason() {
			t.Errorf("seed %d: %s = %d", seed, d, n)
		}
	}
	if writes > packets*9/10 {
		t.Errorf("%d packets took %d writes", packets, writes)
	}
}

type countingQueue struct {
	*tuntest.Queue
	calls int
}

func (q *countingQueue) Write(s tun.Super, more [][]byte) error {
	q.calls++
	return q.Queue.Write(s, more)
}

// A whole superpacket's worth of segments becomes one write.
func TestWriterMergesTrain(t *testing.T) {
	q := &countingQueue{Queue: tuntest.NewQueue()}
	w := &writer{queue: q, counters: new(counters), merge: true}
	for i := range 45 {
		b := ipPacket(hostB, hostA, inet.ProtoTCP, tcp(flagACK, uint32(i*1300), 0, make([]byte, 1300)))
		p, err := ts.ParsePacket(b)
		if err != nil {
			t.Fatal(err)
		}
		w.put(b, &p)
	}
	w.flush()
	if q.calls != 1 {
		t.Errorf("45 segments took %d writes", q.calls)
	}
}

func TestDropNames(t *testing.T) {
	seen := make(map[string]Drop)
	for d := range dropEnd {
		name := d.String()
		if other, dup := seen[name]; name == "" || dup {
			t.Errorf("reason %d is called %q, as is %d", d, name, other)
		}
		seen[name] = d
	}
	if got := dropEnd.String(); got != fmt.Sprintf("drop-%d", dropEnd) {
		t.Errorf("an unknown reason is called %q", got)
	}
	for _, c := range []struct {
		err  error
		want Drop
	}{{tun.ErrDown, DropDeviceDown}, {os.ErrClosed, DropDeviceDown}, {tun.ErrNoBuffers, DropDeviceFull}, {tun.ErrMalformed, DropDeviceRefused}} {
		if got := dropOfDevice(c.err); got != c.want {
			t.Errorf("dropOfDevice(%v) = %v", c.err, got)
		}
	}
}
