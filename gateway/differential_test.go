package gateway

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/config"
	"github.com/culvert-vpn/culvert/esp"
	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/internal/inet/inettest"
	"github.com/culvert-vpn/culvert/natt"
	"github.com/culvert-vpn/culvert/suite"
	"github.com/culvert-vpn/culvert/ts"
	"github.com/culvert-vpn/culvert/tun"
	"github.com/culvert-vpn/culvert/udp"
)

// Every fast path of the forwarding loops against the slow one: the same traffic, drawn at random, goes once through a loop with
// all that it can, as superpackets and trains, and once through one with every fast path off, as single packets. What comes out
// has to be the same, byte for byte.

// The hosts behind two gateways that have both IP versions. Two children make two pairs of SAs.
const confBoth = `
connections {
  to-a {
    remote_addrs = 203.0.113.1
    local {
      auth = psk
      id = @foo
    }
    remote {
      auth = psk
      id = 203.0.113.1
    }
    children {
      four {
        local_ts = 10.104.0.0/24
        remote_ts = 10.103.0.0/24
      }
      six {
        local_ts = fd00:104::/64
        remote_ts = fd00:103::/64
      }
    }
  }
}
secrets {
  ike-a {
    secret = "qwertyqwertyqwerty"
  }
}
`

var (
	hostA6 = netip.MustParseAddr("fd00:103::7")
	hostB6 = netip.MustParseAddr("fd00:104::9")
)

// The SPIs of the SAs for IPv4 and for IPv6, which are the same in both directions and have the same key; and of a second inbound
// SA for IPv4, as after a rekeying.
const (
	spiFour  = 0xc0ffee04
	spiSix   = 0xc0ffee06
	spiFour2 = 0xc0ffee14
)

// way is how the SAs of a test are set up.
type way struct {
	tfc       int
	transport bool
	copyDSCP  bool
	room      int // bytes of a datagram that need no fragments
}

func (w way) String() string {
	return fmt.Sprintf("tfc=%d,transport=%v,dscp=%v,room=%d", w.tfc, w.transport, w.copyDSCP, w.room)
}

// rig is a gateway's datapath without the rest, between a queue and a socket that a test plays.
type rig struct {
	*datapath
	n     counters
	queue *scriptQueue
	conn  *scriptConn
}

var confOfBoth = func() config.Config {
	cfg, _, err := config.Parse("test.conf", []byte(confBoth), config.Options{})
	if err != nil {
		panic(err)
	}
	return *cfg
}()

// newRig makes a datapath with new SAs, whose sequence numbers begin at 1.
func newRig(w way) *rig {
	r := &rig{queue: &scriptQueue{}, conn: &scriptConn{}}
	r.datapath = &datapath{mail: newMailbox(&r.n), counters: &r.n, start: time.Now(), deviceMTU: 1418}
	path := natt.Path{Local: netip.AddrPortFrom(addrB, 4500), Remote: netip.AddrPortFrom(addrA, 4500), NATT: true}
	to := &route{path: path, conn: r.conn}
	to.room.Store(int32(w.room))
	p := newPolicies(r.datapath, confOfBoth.Connections)
	for i, spi := range []uint32{spiFour, spiSix} {
		out := &outboundSA{pair: spi, tfc: w.tfc, copyDSCP: w.copyDSCP}
		out.esp.Init(esp.OutboundConfig{SPI: spi, Cipher: testCipher()})
		if w.transport {
			out.bare = []int{ip4Header, ip6Header}[i]
		}
		out.route.Store(to)
		child := p.children[i].cfg
		local, remote := ts.Resolve(child.LocalTS), ts.Resolve(child.RemoteTS)
		p.add(child, local, remote, out)
		r.receiveOn(spi, local, remote, w)
	}
	r.receiveOn(spiFour2, ts.Resolve(p.children[0].cfg.LocalTS), ts.Resolve(p.children[0].cfg.RemoteTS), w)
	p.publish()
	return r
}

func (r *rig) receiveOn(spi uint32, local, remote []ts.Selector, w way) {
	in := &inboundSA{
		local: local, remote: remote, copyDSCP: w.copyDSCP,
	}
	in.esp.Init(esp.InboundConfig{SPI: spi, Cipher: testCipher()})
	in.path.Store(&natt.Path{Local: netip.AddrPortFrom(addrB, 4500), Remote: netip.AddrPortFrom(addrA, 4500), NATT: true})
	r.place(spi).Store(in)
}

func testCipher() suite.Cipher {
	gcm := suite.Transform{Type: suite.TypeENCR, ID: suite.ENCR_AES_GCM_16, KeyBits: 256}
	cipher, err := suite.NewCipher(gcm, suite.Transform{}, make([]byte, 36), nil)
	if err != nil {
		panic(err)
	}
	return cipher
}

// out runs the outbound loop over what next gives, until it gives nothing any more.
func (r *rig) out(t *testing.T, next func() (tun.Super, bool)) {
	t.Helper()
	r.queue.next = next
	if err := newOutboundLoop(r.datapath, r.queue).run(); err != nil {
		t.Fatal(err)
	}
}

// in runs the inbound loop over trains, with neighbours coalesced and several queues, or without.
func (r *rig) in(trains []udp.Datagrams, fast bool) {
	r.conn.trains = trains
	queues := []tun.Queue{lane{r.queue, 0}}
	if fast {
		queues = append(queues, lane{r.queue, 1}, lane{r.queue, 2})
	}
	newInboundLoop(r.datapath, r.conn, true, &writer{queues: queues, counters: &r.n, merge: fast}).run()
}

// lane is one of several queues of a device.
type lane struct {
	*scriptQueue
	number int
}

func (l lane) Write(s tun.Super, more [][]byte) error {
	l.lanes = append(l.lanes, l.number)
	return l.scriptQueue.Write(s, more)
}

// scriptQueue gives what next says, and keeps what is written.
type scriptQueue struct {
	next    func() (tun.Super, bool)
	alone   bool        // nothing waits behind what is read
	written []tun.Super // joined
	lanes   []int       // where each was written, if to one of several
}

func (q *scriptQueue) Read(buf []byte) (tun.Super, error) {
	s, ok := q.next()
	if !ok {
		return tun.Super{}, os.ErrClosed
	}
	s.Packet = buf[tun.Headroom:][:copy(buf[tun.Headroom:], s.Packet)]
	return s, nil
}

func (q *scriptQueue) TryRead(buf []byte) (tun.Super, bool, error) {
	if q.alone {
		return tun.Super{}, false, nil
	}
	s, err := q.Read(buf)
	if err != nil {
		return tun.Super{}, false, nil // the end is for Read to tell
	}
	return s, true, nil
}

func (q *scriptQueue) Write(s tun.Super, more [][]byte) error {
	s.Packet = bytes.Clone(s.Packet)
	for _, piece := range more {
		s.Packet = append(s.Packet, piece...)
	}
	q.written = append(q.written, s)
	return nil
}

func (q *scriptQueue) Close() error { return nil }

// scriptConn gives trains, and keeps the datagrams that are sent.
type scriptConn struct {
	wireConn
	trains []udp.Datagrams
	sent   []udp.Datagrams // single datagrams
}

func (c *scriptConn) Read(into []udp.Datagrams) (n int, err error) {
	if len(c.trains) == 0 {
		return 0, net.ErrClosed
	}
	for n = 0; n < min(len(into), len(c.trains), 1+len(c.trains)%5); n++ {
		d := &into[n]
		*d = c.trains[n]
		d.Buf = bytes.Clone(d.Buf)
		d.Local, d.Remote = netip.AddrPortFrom(addrB, 4500), netip.AddrPortFrom(addrA, 4500)
	}
	c.trains = c.trains[n:]
	return n, nil
}

func (c *scriptConn) Write(d udp.Datagrams) error {
	for i := range d.Len() {
		one := d
		one.Buf, one.Stride = bytes.Clone(d.At(i)), 0
		c.sent = append(c.sent, one)
	}
	return nil
}

func (c *scriptConn) WriteBatch(trains []udp.Datagrams) (int, error) {
	for i := range trains {
		_ = c.Write(trains[i])
	}
	return len(trains), nil
}

// bySPI are the datagrams of each SA, in their order.
func bySPI(list []udp.Datagrams) map[uint32][]udp.Datagrams {
	m := make(map[uint32][]udp.Datagrams)
	for _, d := range list {
		spi := binary.BigEndian.Uint32(d.Buf)
		m[spi] = append(m[spi], d)
	}
	return m
}

// item is what the host sends at once: a packet, or one that stands for several.
type item struct {
	p    inettest.Packet
	size int // payload of each packet; 0: the packet is complete
}

// super is the item as the TUN device gives it.
func (i *item) super() tun.Super {
	if i.size == 0 {
		return tun.Super{Packet: i.p.Bytes()}
	}
	s := tun.Super{
		Packet: i.p.Partial(), NeedsChecksum: true, ChecksumStart: i.p.HeaderLen(), ChecksumOffset: i.p.ChecksumOffset(),
	}
	if len(i.p.Payload) <= i.size {
		return s // one packet whose checksum is missing
	}
	s.GSO, s.SegmentSize, s.HdrLen = tun.GSOUDP, i.size, i.p.HeaderLen()+i.p.TransportLen()
	if i.p.Protocol == inettest.TCP {
		s.GSO = tun.GSOTCP4
		if i.p.Src.Is6() {
			s.GSO = tun.GSOTCP6
		}
	}
	return s
}

// packets is what the item stands for.
func (i *item) packets() (list [][]byte) {
	size := i.size
	if size == 0 {
		size = len(i.p.Payload)
	}
	for _, p := range i.p.Cut(size) {
		list = append(list, p.Bytes())
	}
	return list
}

// drawItem draws something that a host behind B sends.
func drawItem(d *inettest.Dice) item {
	var i item
	if d.One(2) {
		i.p = d.Flow(hostB6, hostA6, true)
	} else {
		i.p = d.Flow(hostB, hostA, true)
	}
	if i.p.Protocol == inettest.TCP {
		i.p.Flags |= byte(d.N(256)) & inettest.Of[byte](d, 0, inettest.PSH, inettest.FIN|inettest.PSH, inettest.CWR|inettest.ECE, 0xff)
		i.p.Urgent = uint16(d.N(2))
		if i.p.Flags&inettest.SYN != 0 && len(i.p.TCPOptions) == 40 {
			copy(i.p.TCPOptions, []byte{2, 4, 0xff, 0xff}) // an MSS that is too large for the tunnel
		}
	}
	i.size = inettest.Of(d, 1200, 1340, 1366, 536, 100, 8, 1500, 0)
	longest := 65535 - i.p.HeaderLen() - i.p.TransportLen()
	if i.p.Src.Is6() {
		longest += 40
	}
	switch {
	case i.size == 0:
		i.p.Payload = d.Bytes(d.N(1380))
	default:
		segments := inettest.Of(d, 1, 2, 3, 5, 44, 64, 65, 130)
		i.p.Payload = d.Bytes(min(longest, max(1, segments*i.size-d.N(i.size))))
	}
	return i
}

var ways = []way{
	{room: 1472}, {room: 1472, tfc: ike.TFCPathMTU}, {room: 1472, tfc: 900}, {room: 1472, transport: true},
	{room: 1472, copyDSCP: true}, {room: 1300}, {room: 1452}, {room: 8972},
}

// outbound is one test of the way out.
func outbound(t *testing.T, input []byte) {
	d := inettest.NewDice(input)
	w := inettest.Of(d, ways...)
	var items []item
	for range 1 + d.N(6) {
		items = append(items, drawItem(d))
	}

	fast := newRig(w)
	rest := items
	fast.out(t, func() (tun.Super, bool) {
		if len(rest) == 0 {
			return tun.Super{}, false
		}
		s := rest[0].super()
		rest = rest[1:]
		return s, true
	})

	// The slow one gets a packet at a time. If the first of a superpacket is too big, its sender is told so once, and the
	// others are not sent: they would be too big as well.
	slow := newRig(w)
	slow.queue.alone = true
	var packets [][]byte
	rest, told := items, 0
	slow.out(t, func() (tun.Super, bool) {
		if len(slow.queue.written) > told {
			packets, told = nil, len(slow.queue.written)
		}
		for len(packets) == 0 {
			if len(rest) == 0 {
				return tun.Super{}, false
			}
			packets, rest = rest[0].packets(), rest[1:]
		}
		s := tun.Super{Packet: packets[0]}
		packets = packets[1:]
		return s, true
	})

	got, want := bySPI(fast.conn.sent), bySPI(slow.conn.sent)
	if !w.transport && told == 0 {
		carries(t, slow.conn.sent, items)
	}
	for _, spi := range []uint32{spiFour, spiSix} {
		for k := range max(len(got[spi]), len(want[spi])) {
			if k >= len(got[spi]) || k >= len(want[spi]) {
				t.Fatalf("%v: %d datagrams of SA %x, want %d\n%s", w, len(got[spi]), spi, len(want[spi]), describe(items))
			}
			g, m := got[spi][k], want[spi][k]
			if !bytes.Equal(g.Buf, m.Buf) || g.TOS != m.TOS || g.Remote != m.Remote || g.Local != m.Local {
				t.Fatalf("%v: datagram %d of SA %x: %d bytes, TOS %#x, want %d, %#x\n got %x\nwant %x\n%s", w, k, spi, len(g.Buf), g.TOS,
					len(m.Buf), m.TOS, inside(g.Buf), inside(m.Buf), describe(items))
			}
		}
	}
	if len(fast.queue.written) != len(slow.queue.written) {
		t.Fatalf("%v: %d messages to the host, want %d\n%s", w, len(fast.queue.written), len(slow.queue.written), describe(items))
	}
	for k := range fast.queue.written {
		if !bytes.Equal(fast.queue.written[k].Packet, slow.queue.written[k].Packet) {
			t.Fatalf("%v: message %d to the host\n got %x\nwant %x\n%s", w, k, fast.queue.written[k].Packet, slow.queue.written[k].Packet, describe(items))
		}
	}
	if len(fast.conn.sent)+len(fast.queue.written) == 0 && fast.n.drops[DropHeader].Load() == 0 {
		t.Fatalf("%v: nothing came out: %v\n%s", w, fast.n.byReason(), describe(items))
	}
}

// carries checks that the datagrams hold the packets of items, but for the SYNs, whose MSS is changed.
func carries(t *testing.T, sent []udp.Datagrams, items []item) {
	t.Helper()
	in := map[uint32]*esp.Inbound{}
	for _, spi := range []uint32{spiFour, spiSix} {
		in[spi] = esp.NewInbound(esp.InboundConfig{SPI: spi, Cipher: testCipher()})
	}
	k := 0
	for _, i := range items {
		for _, packet := range i.packets() {
			b := bytes.Clone(sent[k].Buf)
			o, err := in[binary.BigEndian.Uint32(b)].Open(b)
			if err != nil || i.p.Flags&inettest.SYN == 0 && !bytes.Equal(o.Inner, packet) {
				t.Fatalf("datagram %d: %v\n got %x\nwant %x", k, err, o.Inner, packet)
			}
			k++
		}
	}
	if k != len(sent) {
		t.Fatalf("%d packets became %d datagrams", k, len(sent))
	}
}

// inside is the begin of what an ESP packet carries.
func inside(b []byte) []byte {
	in := esp.NewInbound(esp.InboundConfig{SPI: binary.BigEndian.Uint32(b), Cipher: testCipher()})
	o, err := in.Open(bytes.Clone(b))
	if err != nil {
		return b[:min(len(b), 80)]
	}
	return o.Inner[:min(len(o.Inner), 80)]
}

func describe(items []item) (text string) {
	for _, i := range items {
		p := i.p
		p.Payload = nil
		text += fmt.Sprintf("%d bytes in pieces of %d: %+v\n", len(i.p.Payload), i.size, p)
	}
	return text
}

func TestOutboundFastAndSlow(t *testing.T) {
	for seed := range uint16(400) {
		outbound(t, binary.LittleEndian.AppendUint16([]byte("out"), seed))
	}
}

func FuzzOutbound(f *testing.F) {
	for way := range ways {
		f.Add([]byte{byte(way), 0})
		f.Add([]byte{byte(way), 0, 3, 0, 1, 0})
	}
	f.Fuzz(func(t *testing.T, input []byte) { outbound(t, input) })
}
