package gateway

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/internal/inet"
	"github.com/culvert-vpn/culvert/natt"
	"github.com/culvert-vpn/culvert/ts"
	"github.com/culvert-vpn/culvert/tun"
	"github.com/culvert-vpn/culvert/tun/tuntest"
	"github.com/culvert-vpn/culvert/udp/udptest"
)

// brokenQueue is a queue of a device that is gone.
type brokenQueue struct{}

func (brokenQueue) Read([]byte) (tun.Super, error)          { return tun.Super{}, errors.New("no such device") }
func (brokenQueue) TryRead([]byte) (tun.Super, bool, error) { return tun.Super{}, false, nil }
func (brokenQueue) Write(tun.Super, [][]byte) error         { return errors.New("no such device") }
func (brokenQueue) Close() error                            { return nil }

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
//
// Cases: Ipsec.Conf.2.1.4; Ipsec.Conf.1.2.5.
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
		if !sound(got[0], 20, tun.GSOTCP4) {
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
//
// Cases: BUG-20; SGW.I.1.1.8.2.
func TestInboundSelectors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, _ := pair(t, confA, confB)
		b.up()
		a.up()
		// B's table is made to believe that more was agreed.
		err := b.g.do(t.Context(), func(c *control) {
			f := c.policies.flows[0]
			f.local = ts.Resolve([]ts.Spec{{Sel: ts.FromPrefix(netip.MustParsePrefix("0.0.0.0/0"))}})
			c.policies.rebuild()
			c.policies.publish()
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

// What is merged into superpackets and cut again by the kernel is what came, whatever came, in the order of each flow.
func TestWriterMerges(t *testing.T) {
	hosts := []netip.Addr{hostA, hostB, netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")}
	packets, writes, seeds := 0, 0, uint64(300)
	if raceEnabled { // it is slow, and there is nothing to race with
		seeds = 30
	}
	for seed := range seeds {
		r := rand.New(rand.NewPCG(seed, 1))
		q := &countingQueue{Queue: tuntest.NewQueue()}
		w := &writer{queues: []tun.Queue{q}, counters: new(counters), merge: true}
		sent, want := 0, map[byte][][]byte{} // by IP version
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
			identify(b, uint16(len(want)))
			if r.IntN(20) == 0 {
				b[len(b)-1] ^= 1 // a checksum that is wrong stays wrong
			}
			if r.IntN(20) == 0 && b[0]>>4 == 4 {
				b[1] = 1 // another TOS
				b[10], b[11] = 0, 0
				binary.BigEndian.PutUint16(b[10:], inet.Checksum(b[:20]))
			}
			sent++
			want[b[0]>>4] = append(want[b[0]>>4], slices.Clone(b))
			p, err := ts.ParsePacket(b)
			if err != nil {
				t.Fatal(err)
			}
			w.put(b, &p)
		}
		w.flush()
		packets, writes = packets+sent, writes+q.calls
		for i := range sent {
			got := <-q.Received()
			flow := want[got[0]>>4]
			if len(flow) == 0 || !bytes.Equal(got, flow[0]) {
				t.Fatalf("seed %d, packet %d\n got %x\nwant %x", seed, i, got, flow)
			}
			want[got[0]>>4] = flow[1:]
		}
		for d, n := range w.counters.byReason() {
			t.Errorf("seed %d: %s = %d", seed, d, n)
		}
	}
	if writes > packets*9/10 {
		t.Errorf("%d packets took %d writes", packets, writes)
	}
}

// identify gives an IPv4 packet another identification.
func identify(b []byte, id uint16) {
	if b[0]>>4 == 4 {
		binary.BigEndian.PutUint16(b[4:], id)
		b[10], b[11] = 0, 0
		binary.BigEndian.PutUint16(b[10:], inet.Checksum(b[:20]))
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

// The network marks congestion in the outer header; the mark comes out in the inner one if its sender understands it,
// and as a loss if not.
func TestCongestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := &nat{public: public}
		net := udptest.NewNetwork()
		net.Hook(box.hook)
		var seen byte
		net.Hook(func(p *udptest.Packet) bool {
			if len(p.Data) > 200 {
				seen = p.TOS
				p.TOS |= 3
			}
			return true
		})
		a := start(t, net, addrA, confA)
		synctest.Wait()
		b := start(t, net, addrB, confB)
		b.up()
		a.up()
		withTOS := func(tos byte) []byte {
			p := ping(hostB, hostA, string(make([]byte, 300)))
			p[1] = tos
			p[10], p[11] = 0, 0
			binary.BigEndian.PutUint16(p[10:], inet.Checksum(p[:20]))
			return p
		}
		b.send(withTOS(0xb8 | 2)) // EF, ECT(0)
		a.wants(withTOS(0xb8 | 3))
		if seen != 0xb8|2 {
			t.Errorf("the outer TOS is %#x", seen)
		}
		b.send(withTOS(0xb8))
		a.wantsNothing()
		if n := a.drops(DropCongestion); n != 1 {
			t.Errorf("%s = %d", DropCongestion, n)
		}
		finish(t, b, a)
	})
}

// A tunnel at rest keeps the NAT's mapping alive, one in use does not need to.
func TestKeepalives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, _ := pair(t, confA, confB)
		b.up()
		a.up()
		counts := func() uint64 { synctest.Wait(); return a.g.Status().KeepalivesIn }
		time.Sleep(5 * time.Minute)
		idle := counts()
		if idle < 14 || idle != b.g.Status().KeepalivesOut || a.g.Status().KeepalivesOut != 0 {
			t.Errorf("in five minutes of rest A got %d keepalives, B sent %d, A sent %d", idle, b.g.Status().KeepalivesOut, a.g.Status().KeepalivesOut)
		}
		for range 100 {
			time.Sleep(3 * time.Second)
			b.send(ping(hostB, hostA, "not at rest"))
		}
		if busy := counts() - idle; busy > 1 {
			t.Errorf("in five minutes of traffic A got %d keepalives", busy)
		}
		finish(t, b, a)
	})
}

// The SAs are rekeyed by the number of packets, in time for none to be lost.
//
// Cases: FCS_IPSEC_EXT.1.8.
func TestRekeyByPackets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, _ := pair(t, confA, replace(confB, "start_action = start", "start_action = start\n        rekey_packets = 100\n        life_packets = 150\n        rand_packets = 0"))
		b.up()
		a.up()
		for i := range 500 {
			packet := ping(hostB, hostA, fmt.Sprint("packet ", i))
			b.send(packet)
			a.wants(packet)
		}
		rekeys := 0
		for _, ev := range b.events {
			if ev.Kind == ike.ChildRekeyed {
				rekeys++
			}
		}
		if rekeys != 5 {
			t.Errorf("500 packets led to %d rekeys", rekeys)
		}
		finish(t, b, a)
	})
}

// Nothing that is logged at any level gives a secret away, and a flood of strangers does not flood the log.
//
// Cases: BUG-22; BUG-31.
func TestLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text bytes.Buffer
		box := &nat{public: public}
		net := udptest.NewNetwork()
		net.Hook(box.hook)
		a := start(t, net, addrA, confA, WithLogger(slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelDebug}))))
		synctest.Wait()
		b := start(t, net, addrB, confB)
		b.up()
		for range 200 {
			_ = a.g.do(t.Context(), func(c *control) {
				c.mail.datagram(natt.Path{Local: netip.AddrPortFrom(addrA, 500), Remote: netip.MustParseAddrPort("198.51.100.1:500")}, ikeMessage(1, 2, 0))
			})
			time.Sleep(10 * time.Millisecond)
		}
		finish(t, b, a)
		log := text.String()
		for _, want := range []string{"msg=established", "connection=to-b", "remote-id=@foo", "peer=192.0.2.10:4500", "msg=child-up", "spi-in=", "msg=closed"} {
			if !strings.Contains(log, want) {
				t.Errorf("the log lacks %s:\n%s", want, log)
			}
		}
		if strings.Contains(log, "qwerty") {
			t.Error("the log tells the secret")
		}
		if n := strings.Count(log, "msg=dropped"); n < 1 || n > 4 {
			t.Errorf("%d lines for 200 messages of a stranger in 2 s", n)
		}
	})
}

// The outer path may be IPv6, and IPv6 may be inside.
func TestIPv6(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		outerA, outerB := netip.MustParseAddr("2001:db8::a"), netip.MustParseAddr("2001:db8::b")
		innerA, innerB := netip.MustParseAddr("fd00:a::1"), netip.MustParseAddr("fd00:b::1")
		six := func(conf string) string {
			return strings.NewReplacer("203.0.113.1", "2001:db8::a", "10.103.0.0/24", "fd00:a::/64", "10.104.0.0/24", "fd00:b::/64").Replace(conf)
		}
		net := udptest.NewNetwork()
		a := start(t, net, outerA, six(confA))
		synctest.Wait()
		b := start(t, net, outerB, six(confB))
		b.up()
		a.up()
		there := ping(innerB, innerA, "six in six")
		b.send(there)
		a.wants(there)
		mtu := b.g.Status().Connections[0].IKE[0].Children[0].MTU
		b.send(ping(innerB, innerA, string(make([]byte, mtu))))
		a.wantsNothing()
		if got := b.received(); len(got) != 1 || got[0][6] != inet.ProtoICMPv6 || got[0][40] != 2 || int(binary.BigEndian.Uint32(got[0][44:])) != mtu {
			t.Errorf("the answer to a packet that is too big: %x", got)
		}
		finish(t, b, a)
	})
}
