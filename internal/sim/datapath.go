package sim

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/natt"
)

// datapath is the tables of a host's ESP, and its ike.Datapath. It believes what it is told and checks what it receives.
type datapath struct {
	h    *Host
	held map[uint32]bool
	in   map[uint32]*inbound
	// out is in the order of installing: of several for the same traffic the youngest is used.
	out []*outbound
}

type inbound struct {
	ike.Install
	seen     map[uint64]bool
	highest  uint64
	received uint64
}

type outbound struct {
	ike.Install
	seq uint64
}

// packet is a simulated ESP packet: what it would be encrypted with stands beside it.
type packet struct {
	flow   *Flow
	number uint64
	seq    uint64
	from   ike.Install
}

// espLen is how long ESP packets are taken to be, in bytes.
const espLen = 100

func newDatapath(h *Host) datapath {
	return datapath{h: h, held: make(map[uint32]bool), in: make(map[uint32]*inbound)}
}

// AllocSPI lends an SPI that nobody in the world has.
func (t *datapath) AllocSPI() (uint32, bool) {
	for {
		spi := t.h.w.rand.Uint32()
		if spi > 255 && !t.h.w.watch.spis[spi] {
			t.h.w.watch.spis[spi] = true
			t.held[spi] = true
			return spi, true
		}
	}
}

// FreeSPI takes an SPI back.
func (t *datapath) FreeSPI(spi uint32) {
	if !t.held[spi] {
		t.h.w.fail("%s gives back SPI %08x, which it does not hold", t.h.Name, spi)
	}
	delete(t.held, spi)
}

// Received counts the packets that authenticated.
func (t *datapath) Received(spi uint32) uint64 {
	if in := t.in[spi]; in != nil {
		return in.received
	}
	return 0
}

// Sent counts the packets that were sent.
func (t *datapath) Sent(spi uint32) uint64 {
	for _, o := range t.out {
		if o.Pair == spi {
			return o.seq
		}
	}
	return 0
}

func (t *datapath) install(e ike.Install) {
	// The keys are ours now, but the caller of Handle may borrow nothing for longer than that.
	e.Local, e.Remote = slices.Clone(e.Local), slices.Clone(e.Remote)
	if e.Dir == ike.Out {
		if t.in[e.Pair] == nil {
			t.h.w.fail("%s installs outbound %08x without its inbound half %08x", t.h.Name, e.SPI, e.Pair)
		}
		t.out = append(t.out, &outbound{Install: e})
		return
	}
	if t.in[e.SPI] != nil || !t.held[e.SPI] {
		t.h.w.fail("%s installs inbound %08x, which is installed already or not held", t.h.Name, e.SPI)
	}
	t.in[e.SPI] = &inbound{Install: e, seen: make(map[uint64]bool)}
}

func (t *datapath) remove(e ike.Remove) {
	if e.Dir == ike.In {
		if t.in[e.SPI] == nil {
			t.h.w.fail("%s removes inbound %08x, which is not installed", t.h.Name, e.SPI)
		}
		delete(t.in, e.SPI)
		return
	}
	n := len(t.out)
	t.out = slices.DeleteFunc(t.out, func(o *outbound) bool { return o.SPI == e.SPI && o.Pair == e.Pair })
	if len(t.out) != n-1 {
		t.h.w.fail("%s removes outbound %08x, which is not installed", t.h.Name, e.SPI)
	}
}

func (t *datapath) repath(e ike.Repath) {
	for _, pair := range e.Pairs {
		in := t.in[pair]
		if in == nil {
			t.h.w.fail("%s moves %08x, which is not installed", t.h.Name, pair)
			continue
		}
		in.Path = e.Path
		for _, o := range t.out {
			if o.Pair == pair {
				o.Path = e.Path
			}
		}
	}
}

// current is the Child SA that traffic of a child is sent under, or nil.
func (t *datapath) current(conn, child string) *outbound {
	for i := len(t.out) - 1; i >= 0; i-- {
		if o := t.out[i]; o.Conn.Name == conn && o.Child.Name == child {
			return o
		}
	}
	return nil
}

// Flow is traffic in one direction: packets at equal distances under a child of a host.
type Flow struct {
	From        *Host
	Conn, Child string
	// Sent counts the packets that there was a Child SA for, Unsent the others, Arrived those that were received.
	Sent, Unsent, Arrived int

	every   time.Duration
	stopped bool
}

// Traffic lets each of the hosts send under the child of this name, one packet every so often.
func (w *World) Traffic(conn, child string, every time.Duration, hosts ...*Host) []*Flow {
	var flows []*Flow
	for _, h := range hosts {
		f := &Flow{From: h, Conn: conn, Child: child, every: every}
		flows = append(flows, f)
		f.next()
	}
	w.flows = append(w.flows, flows...)
	return flows
}

// StopTraffic ends all flows; what is on its way still arrives.
func (w *World) StopTraffic() {
	for _, f := range w.flows {
		f.stopped = true
	}
	w.flows = nil
}

func (f *Flow) next() {
	f.From.w.After(f.every, func() {
		if !f.stopped {
			f.send()
			f.next()
		}
	})
}

// send sends one packet, or asks for a Child SA for it.
func (f *Flow) send() {
	h := f.From
	o := h.table.current(f.Conn, f.Child)
	if o == nil {
		f.Unsent++
		h.Give(ike.Acquire{Conn: f.Conn, Child: f.Child})
		return
	}
	f.Sent++
	o.seq++
	h.w.sentESP++
	p := &packet{flow: f, number: h.w.sentESP, seq: o.seq, from: o.Install}
	data := binary.BigEndian.AppendUint32(nil, o.SPI)
	data = binary.BigEndian.AppendUint32(data, uint32(o.seq))
	data = binary.BigEndian.AppendUint64(data, p.number)
	h.transmit(o.Path, data, p)
	h.table.count(o.Pair, o.seq, o.Install)
}

// count compares the packets of one direction with the limits of its Child SA.
func (t *datapath) count(pair uint32, packets uint64, e ike.Install) {
	if n := e.Soft.Packets; n > 0 && packets == n {
		t.h.Give(ike.Expiring{SPI: pair})
	}
	if n := e.Hard.Packets; n > 0 && packets == n {
		t.h.Give(ike.Expiring{SPI: pair, Hard: true})
	}
}

// receive checks a packet against the Child SA it names.
func (t *datapath) receive(p *packet, path natt.Path) {
	in := t.in[p.from.SPI]
	if in == nil {
		t.h.w.trace.note(t.h.w, t.h, "drops an ESP packet of an unknown SPI")
		t.h.Give(ike.Stray{SPI: p.from.SPI, Path: path, Len: espLen})
		return
	}
	t.match(p, in)
	if in.seen[p.seq] {
		return
	}
	in.seen[p.seq] = true
	in.received++
	p.flow.Arrived++
	newest := p.seq > in.highest
	if newest {
		in.highest = p.seq
	}
	spi, first, moved := in.SPI, in.received == 1, newest && path != in.Path
	if first {
		t.h.Give(ike.Used{SPI: spi})
	}
	if moved {
		t.h.Give(ike.Moved{SPI: spi, Path: path})
	}
	t.count(spi, in.received, in.Install)
}

// match compares what the sender installed with what the receiver did.
func (t *datapath) match(p *packet, in *inbound) {
	switch {
	case string(p.from.EncKey) != string(in.EncKey) || string(p.from.IntegKey) != string(in.IntegKey):
		t.h.w.fail("%s and %s have different keys for %08x", p.flow.From.Name, t.h.Name, in.SPI)
	case p.from.Encr != in.Encr || p.from.Integ != in.Integ || p.from.ESN != in.ESN:
		t.h.w.fail("%s and %s have different algorithms for %08x", p.flow.From.Name, t.h.Name, in.SPI)
	case !fit(p.from, in.Install):
		t.h.w.fail("%s and %s have different selectors for %08x", p.flow.From.Name, t.h.Name, in.SPI)
	}
}

// fit reports whether what one end sends is what the other one receives. In transport mode through a NAT each end sees addresses of
// its own, and the receiver knows those that the sender sees (RFC 7296 2.23.1).
func fit(out, in ike.Install) bool {
	switch {
	case out.Mode != in.Mode:
		return false
	case out.Mode == ike.Transport:
		return out.Local[0].Start == in.Original.Src && out.Remote[0].Start == in.Original.Dst
	}
	return slices.Equal(out.Local, in.Remote) && slices.Equal(out.Remote, in.Local)
}
