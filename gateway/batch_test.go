package gateway

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/esp"
	"github.com/culvert-vpn/culvert/internal/inet"
	"github.com/culvert-vpn/culvert/natt"
	"github.com/culvert-vpn/culvert/suite"
	"github.com/culvert-vpn/culvert/ts"
	"github.com/culvert-vpn/culvert/tun"
	"github.com/culvert-vpn/culvert/udp"
)

// ledger is a socket that keeps what is sent, datagram by datagram.
type ledger struct {
	wireConn
	t    *testing.T
	list []string
	most int // datagrams of the longest train
	// refuse has a train fail.
	refuse func(udp.Datagrams) error
}

func (l *ledger) Write(d udp.Datagrams) error {
	if l.refuse != nil {
		if err := l.refuse(d); err != nil {
			return err
		}
	}
	if len(d.Buf) > trainLen || d.Len() > maxTrain {
		l.t.Errorf("a train of %d datagrams, %d bytes", d.Len(), len(d.Buf))
	}
	l.most = max(l.most, d.Len())
	for i := range d.Len() {
		l.list = append(l.list, fmt.Sprint(d.Local, d.Remote, d.TOS, string(d.At(i))))
	}
	return nil
}

func (l *ledger) WriteBatch(trains []udp.Datagrams) (int, error) {
	for i := range trains {
		if err := l.Write(trains[i]); err != nil {
			return i, err
		}
	}
	return len(trains), nil
}

// outboundOf is a loop with an SA to each of some peers, for what goes from hostB to 10.103.0.0/24. The keys and numbers are the
// same each time.
func outboundOf(t *testing.T, conn udp.Conn, how string) *outboundLoop {
	t.Helper()
	var n counters
	d := &datapath{mail: newMailbox(&n), counters: &n, start: time.Now(), deviceMTU: 1418}
	conns := parse(t, confB).Connections
	p := newPolicies(d, conns)
	gcm := suite.Transform{Type: suite.TypeENCR, ID: suite.ENCR_AES_GCM_16, KeyBits: 128}
	for i, host := range []string{"10.103.0.0/25", "10.103.0.128/25"} {
		cipher, err := suite.NewCipher(gcm, suite.Transform{}, bytes.Repeat([]byte{byte(i)}, 20), nil)
		if err != nil {
			t.Fatal(err)
		}
		r := &route{path: natt.Path{Local: netip.AddrPortFrom(addrB, 4500), Remote: netip.AddrPortFrom(addrA, uint16(4500+i)), NATT: true}, conn: conn}
		r.room.Store(1472)
		sa := &outboundSA{pair: uint32(2000 + i)}
		sa.esp.Init(esp.OutboundConfig{SPI: uint32(1000 + i), Cipher: cipher})
		switch how {
		case "padded":
			sa.tfc = 700
		case "transport":
			sa.bare = ip4Header
		}
		sa.route.Store(r)
		child := p.children[0].cfg
		p.add(child, ts.Resolve(child.LocalTS), selectors(host), sa)
	}
	p.publish()
	return newOutboundLoop(d, &nullQueue{})
}

// randomSuper is what the TUN device may give: a packet or a superpacket, complete or not.
func randomSuper(r *rand.Rand) tun.Super {
	to := netip.AddrFrom4([4]byte{10, 103, 0, byte(r.IntN(2) * 200)})
	size := []int{0, 20, 20, 20, 500, 1300}[r.IntN(6)] + r.IntN(3)
	switch r.IntN(4) {
	case 0: // TCP
		segment := []int{100, 536, 1300, 1366}[r.IntN(4)]
		data := make([]byte, min(r.IntN(3)*segment+r.IntN(40*segment), 65535-40))
		fill(r, data)
		flags := byte(flagACK)
		if r.IntN(8) == 0 {
			flags |= 0x02 // SYN, to have the MSS clamped
		}
		packet := ipPacket(hostB, to, inet.ProtoTCP, tcp(flags, r.Uint32(), 0, data))
		binary.BigEndian.PutUint16(packet[20+tcpChecksum:], inet.Fold(inet.AddPseudo(0, hostB, to, inet.ProtoTCP, len(packet)-20)))
		return tun.Super{
			Packet: packet, GSO: tun.GSOTCP4, HdrLen: 40, SegmentSize: segment,
			NeedsChecksum: true, ChecksumStart: 20, ChecksumOffset: tcpChecksum,
		}
	case 1: // UDP
		segment := []int{18, 64, 1200}[r.IntN(3)]
		data := make([]byte, min(8+1+r.IntN(64*segment), 65535-20))
		fill(r, data[8:])
		binary.BigEndian.PutUint16(data[4:], uint16(len(data)))
		binary.BigEndian.PutUint16(data[6:], inet.Fold(inet.AddPseudo(0, hostB, to, inet.ProtoUDP, len(data))))
		return tun.Super{
			Packet: ipPacket(hostB, to, inet.ProtoUDP, data), GSO: tun.GSOUDP, HdrLen: 28, SegmentSize: segment,
			NeedsChecksum: true, ChecksumStart: 20, ChecksumOffset: 6,
		}
	}
	data := make([]byte, size)
	fill(r, data)
	packet := ping(hostB, to, string(data))
	packet[1] = byte(r.IntN(10) / 9 << 2) // DSCP
	packet[10], packet[11] = 0, 0
	binary.BigEndian.PutUint16(packet[10:], inet.Checksum(packet[:20]))
	return tun.Super{Packet: append(packet, make([]byte, r.IntN(10)/9)...)} // with a byte that is not of it
}

func fill(r *rand.Rand, b []byte) {
	for i := 0; i+8 <= len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], r.Uint64())
	}
}

// batchEqualsSingles sends the same packets as they come, and each alone, segment by segment: both give the same datagrams in the
// same order.
func batchEqualsSingles(t *testing.T, r *rand.Rand, n int, how string) {
	together, apart := &ledger{t: t}, &ledger{t: t}
	batched, single := outboundOf(t, together, how), outboundOf(t, apart, how)
	piece := make([]byte, tun.MaxSuper)
	for range n {
		s := randomSuper(r)
		for i := range s.Segments() {
			one := tun.Super{Packet: slices.Clone(piece[:s.Cut(i, piece)])}
			single.take(&one)
			single.forwardAll()
			single.out.flush()
		}
		room := batched.buf[batched.used+tun.Headroom:]
		s.Packet = room[:copy(room, s.Packet)]
		batched.take(&s)
		if r.IntN(50) == 0 {
			batched.forwardAll()
			batched.out.flush()
		}
	}
	batched.forwardAll()
	batched.out.flush()
	if !slices.Equal(together.list, apart.list) {
		t.Fatalf("%s: %d datagrams, %d one by one: they are not the same", how, len(together.list), len(apart.list))
	}
	if drops := batched.counters.byReason(); len(drops) != len(single.counters.byReason()) {
		t.Errorf("%s: drops %v, %v", how, drops, single.counters.byReason())
	}
	if apart.most > 1 || n >= 100 && together.most < 30 {
		t.Errorf("%s: trains of %d and %d datagrams", how, together.most, apart.most)
	}
}

var howSealed = []string{"tunnel", "padded", "transport"}

func TestBatchEqualsSingles(t *testing.T) {
	for _, how := range howSealed {
		for seed := range uint64(8) {
			batchEqualsSingles(t, rand.New(rand.NewPCG(seed, 1)), 150, how)
		}
	}
}

func FuzzBatchEqualsSingles(f *testing.F) {
	f.Add(uint64(1), uint64(2), byte(30))
	f.Fuzz(func(t *testing.T, a, b uint64, n byte) {
		batchEqualsSingles(t, rand.New(rand.NewPCG(a, b)), int(n), howSealed[a%3])
	})
}

// A superpacket too long for one train goes out in trains of equal length, and not in one train and a remainder.
func TestBalancedTrains(t *testing.T) {
	for _, c := range []struct{ payload, segment, trains int }{
		{65000, 1366, 2}, {61470, 1366, 1}, {64 * 500, 500, 1}, {65 * 500, 500, 2}, {65000, 300, 4},
	} {
		var lengths []int
		conn := &ledger{t: t}
		conn.refuse = func(d udp.Datagrams) error { lengths = append(lengths, d.Len()); return nil }
		f := outboundOf(t, conn, "tunnel")
		packet := ipPacket(hostB, hostA, inet.ProtoTCP, tcp(flagACK, 1, 0, make([]byte, c.payload)))
		s := tun.Super{Packet: packet, GSO: tun.GSOTCP4, HdrLen: 40, SegmentSize: c.segment, NeedsChecksum: true, ChecksumStart: 20, ChecksumOffset: tcpChecksum}
		f.take(&s)
		f.forwardAll()
		f.out.flush()
		if len(lengths) != c.trains || slices.Max(lengths)-slices.Min(lengths) >= len(lengths) {
			t.Errorf("%d bytes in segments of %d: trains of %v datagrams, want %d", c.payload, c.segment, lengths, c.trains)
		}
	}
}

// What one train is refused for concerns no other; a foreign source address is tried without.
func TestBatchErrors(t *testing.T) {
	conn := &ledger{t: t}
	f := outboundOf(t, conn, "tunnel")
	again := 0
	conn.refuse = func(d udp.Datagrams) error {
		switch {
		case d.Remote.Port() == 4501:
			return udp.ErrTooBig
		case d.Stride > 500 && d.Local.IsValid():
			again++
			return fmt.Errorf("%w: %w", udp.ErrSource, errors.New("no such address"))
		}
		return nil
	}
	for _, p := range []struct {
		last byte
		size int
	}{{1, 10}, {200, 10}, {200, 10}, {1, 20}, {1, 1000}, {1, 30}} {
		s := tun.Super{Packet: ping(hostB, netip.AddrFrom4([4]byte{10, 103, 0, p.last}), string(make([]byte, p.size)))}
		f.take(&s)
	}
	f.forwardAll()
	f.out.flush()
	if len(conn.list) != 4 || again != 1 {
		t.Errorf("%d datagrams left, %d of them were tried twice", len(conn.list), again)
	}
	if drops := f.counters.byReason(); len(drops) != 1 || drops[DropSendTooBig.String()] != 2 {
		t.Errorf("drops: %v", drops)
	}
}
