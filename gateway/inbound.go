package gateway

import (
	"encoding/binary"
	"errors"
	"net"
	"time"
	"unsafe"

	"github.com/culvert-vpn/culvert/esp"
	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/internal/inet"
	"github.com/culvert-vpn/culvert/internal/prefetch"
	"github.com/culvert-vpn/culvert/natt"
	"github.com/culvert-vpn/culvert/udp"
)

// inboundLoop forwards from one socket to the TUN device, and hands IKE to the control loop.
type inboundLoop struct {
	*datapath
	conn   udp.Conn
	natt   bool // the socket of port 4500
	out    *writer
	trains []udp.Datagrams // of one call
	opened []esp.Opened
	ahead  []arrival // of one call
	whole  rebuilder
	tap    *capture // of the packets that are being opened; nil: nobody captures
	inspector

	lastStray int64 // as now
}

func newInboundLoop(d *datapath, conn udp.Conn, natt bool, out *writer) *inboundLoop {
	return &inboundLoop{
		datapath: d, conn: conn, natt: natt, out: out,
		trains: make([]udp.Datagrams, maxTrains), opened: make([]esp.Opened, 0, maxTrain), ahead: make([]arrival, 0, maxTrains),
		whole: rebuilder{make([]byte, 0, maxRebuilt)},
	}
}

// maxTrains is how many trains are received, opened and delivered together at most. A superpacket can be made of several.
const maxTrains = 64

// patience is how many errors of reading in a row are taken before each further one costs a pause.
const patience = 16

// run forwards until the socket is closed.
func (f *inboundLoop) run() {
	for failures := 0; ; {
		n, err := f.conn.Read(f.trains)
		f.receiveAll(f.trains[:n])
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			f.counters.drop(DropReceive)
			if failures++; failures > patience {
				time.Sleep(10 * time.Millisecond)
			}
			continue
		}
		failures = 0
	}
}

func (f *inboundLoop) receiveAll(trains []udp.Datagrams) {
	f.lookAhead(trains)
	for i := range trains {
		if f.whole.used() {
			f.finish()
		}
		f.receive(&trains[i])
	}
	f.finish()
}

// hotLen is how many bytes of an inboundSA each packet needs.
const hotLen = unsafe.Offsetof(inboundSA{}.esp) + esp.HotLen

// lookAhead has fetched from memory what opening these trains will need of their SAs. Among thousands of tunnels nearly all of it is far
// away: the steps from an SPI to a key, and the key itself, are twenty cache lines. Here each step is made for all trains before the
// next one, so that the processor fetches them side by side, where opening one train after the other would wait for each.
func (f *inboundLoop) lookAhead(trains []udp.Datagrams) {
	if len(trains) < 2 {
		return
	}
	list, last := f.ahead[:0], (*inboundSA)(nil)
	for i := range trains {
		if b := trains[i].Buf; len(b) >= 8 {
			sa := f.inbound[spiOf(b)%uint32(len(f.inbound))].Load()
			if sa == nil || sa == last {
				continue
			}
			prefetch.Part(sa, hotLen)
			list, last = append(list, arrival{sa, binary.BigEndian.Uint32(b[4:])}), sa
		}
	}
	for _, a := range list {
		prefetch.Value(a.sa.path.Load())
		prefetch.Slice(a.sa.local, 1)
		prefetch.Slice(a.sa.remote, 1)
		a.sa.esp.Prefetch(a.seq)
	}
	clear(list) // they may be gone before the next call
}

// arrival is what lookAhead needs to know of a train: the SA in the slot of its SPI, and the low half of its first sequence number.
type arrival struct {
	sa  *inboundSA
	seq uint32
}

// finish writes what is kept back; nothing refers to the buffers any more.
func (f *inboundLoop) finish() {
	f.out.flush()
	f.whole.reset()
}

// receive sorts the datagrams of a train.
func (f *inboundLoop) receive(d *udp.Datagrams) {
	path := natt.Path{Local: d.Local, Remote: d.Remote, NATT: f.natt}
	for i, n := 0, d.Len(); i < n; {
		kind, msg := natt.Classify(f.natt, d.At(i))
		switch kind {
		case natt.ESP:
			i = f.open(d, i, path)
			continue
		case natt.IKE:
			f.mail.datagram(path, msg)
		case natt.Keepalive:
			f.counters.keepalivesIn.Add(1)
		case natt.Junk:
			f.counters.drop(DropJunk)
		}
		i++
	}
}

// open opens the packets from i on that have its SPI, and returns where they end.
func (f *inboundLoop) open(d *udp.Datagrams, i int, path natt.Path) int {
	spi, end, n := spiOf(d.At(i)), i+1, d.Len()
	for end < n && len(d.At(end)) >= 4 && spiOf(d.At(end)) == spi {
		end++
	}
	sa := f.inboundSA(spi)
	if sa == nil {
		if i = f.holdEarly(d, i, end, path); i == end {
			return end
		}
		sa = f.inboundSA(spi) // it may have been installed meanwhile
	}
	if sa == nil {
		f.counters.dropN(DropUnknownSPI, end-i)
		f.strayed(spi, path, len(d.At(i)))
		return end
	}
	run, stride := d.At(i), len(d.At(i))
	if end-i > 1 {
		run, stride = d.Buf[i*d.Stride:min(end*d.Stride, len(d.Buf))], d.Stride
	}
	f.tap = f.capture.Load()
	f.opened = sa.esp.OpenTrain(run, stride, f.opened[:0])
	elsewhere := sa.elsewhere(path)
	for k := range f.opened {
		o := &f.opened[k]
		if o.First {
			sa.used.raise()
		}
		if elsewhere && o.Newest && sa.moved(path, f.now()) {
			f.mail.tell(ike.Moved{SPI: spi, Path: path})
		}
		if o.Err != nil {
			f.refused(o.Err)
			continue
		}
		if sa.ends != nil {
			f.deliverTransport(sa, o, d.TOS)
			continue
		}
		f.deliver(sa, o.Inner, d.TOS)
	}
	f.report(sa)
	return end
}

// strayInterval is the least time between two packets of unknown SPIs that a loop tells of.
const strayInterval = 50 * time.Millisecond

// strayed tells of a packet under an SPI that is not installed, once in a while.
func (f *inboundLoop) strayed(spi uint32, path natt.Path, length int) {
	if now := f.now(); now-f.lastStray >= int64(strayInterval) {
		f.lastStray = now
		f.mail.stray(ike.Stray{SPI: spi, Path: path, Len: length})
	}
}

// report tells the control loop what it has to know of the SA.
func (f *inboundLoop) report(sa *inboundSA) {
	spi := sa.esp.SPI()
	if sa.used.due() {
		sa.used.sent(f.mail.tell(ike.Used{SPI: spi}))
	}
	if sa.esp.SoftReached() {
		sa.soft.raise()
	}
	if sa.soft.due() {
		sa.soft.sent(f.mail.tell(ike.Expiring{SPI: spi}))
	}
	if sa.esp.Expired() {
		sa.spent.raise()
	}
	if sa.spent.due() {
		sa.spent.sent(f.mail.tell(ike.Expiring{SPI: spi, Hard: true}))
	}
}

func (f *inboundLoop) refused(err error) {
	reason := DropESPInner
	if d, ok := err.(esp.Drop); ok && int(d) < len(dropOfESP) {
		reason = dropOfESP[d]
	}
	f.counters.drop(reason)
}

// deliverTransport passes on what came in transport mode. Its outer header is that of the packet, as far as it says more than the
// addresses.
func (f *inboundLoop) deliverTransport(sa *inboundSA, o *esp.Opened, tos byte) {
	packet := f.whole.rebuild(sa.ends, o.Inner, o.Next, tos)
	if packet == nil {
		f.counters.drop(DropInnerMalformed)
		return
	}
	f.deliver(sa, packet, tos)
}

// deliver passes an authentic packet to the host, if it is one that the SA may carry.
func (f *inboundLoop) deliver(sa *inboundSA, inner []byte, outerTOS byte) {
	if f.tap != nil {
		f.tap.take(sa.owner, false, inner)
	}
	p, why, ok := f.inspect(sa, inner)
	if !ok {
		f.counters.drop(why)
		return
	}
	if sa.ends == nil {
		switch esp.DecapTOS(inner, outerTOS, sa.copyDSCP) {
		case esp.ECNDrop:
			f.counters.drop(DropCongestion)
			return
		case esp.ECNUnused:
			f.counters.ecnUnused.Add(1)
		}
	}
	if isSYN(inner, p) {
		inet.ClampMSS(inner, inet.MSS(f.wayBack(sa), p.Dst.Is6()))
	}
	f.out.put(inner, p)
}

// wayBack is the longest packet that the other direction of a Child SA carries without fragments.
func (f *inboundLoop) wayBack(sa *inboundSA) int {
	if twin := sa.twin.Load(); twin != nil {
		return min(f.deviceMTU, twin.maxPacket(int(twin.route.Load().room.Load())))
	}
	return f.deviceMTU
}
