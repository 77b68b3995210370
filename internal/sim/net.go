package sim

import (
	"net/netip"
	"slices"
	"time"

	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/natt"
)

// Datagram is a UDP datagram on its way. NAT boxes rewrite its addresses.
type Datagram struct {
	From     *Host
	Src, Dst netip.AddrPort
	// Data is the UDP payload.
	Data []byte
	// IKE is the header if the datagram is an IKE message; it is zero otherwise.
	IKE wire.Header

	number int // of the datagram in the trace
	esp    *packet
}

// packetLen is the length of the IP packet in bytes.
func (d *Datagram) packetLen() int {
	if d.Dst.Addr().Is4() {
		return 20 + 8 + len(d.Data)
	}
	return 40 + 8 + len(d.Data)
}

// IsIKE reports whether the datagram is an IKE message.
func (d *Datagram) IsIKE() bool { return d.IKE.Length > 0 }

// IsESP reports whether the datagram is a simulated ESP packet.
func (d *Datagram) IsESP() bool { return d.esp != nil }

// send puts a datagram on the network: through the sender's NAT box, past the mischief of the link, to the other end.
func (w *World) send(d Datagram) {
	if kind, body := natt.Classify(d.Src.Port() == natt.PortNATT, d.Data); kind == natt.IKE {
		d.IKE, _ = wire.ParseHeader(body)
	}
	w.trace.sent(w, &d)
	if w.Lose != nil && w.Lose(&d) {
		w.lost(d, "lost on purpose")
		return
	}
	if w.Link.MTU > 0 && d.packetLen() > w.Link.MTU {
		w.lost(d, "too long for the path")
		return
	}
	if d.From.nat != nil {
		d.From.nat.out(w.now, &d)
	}
	copies := 1
	if w.chance(w.Link.Double) {
		copies = 2
	}
	for range copies {
		if w.chance(w.Link.Loss) {
			w.lost(d, "lost")
			continue
		}
		delay := w.Link.Latency
		if w.Link.Jitter > 0 {
			delay += time.Duration(w.rand.Int64N(int64(w.Link.Jitter)))
		}
		w.After(delay, func() { w.arrive(d) })
	}
}

// lost ends the way of a datagram.
func (w *World) lost(d Datagram, why string) {
	w.trace.lost(w, &d, why)
}

// arrive hands a datagram to the host it is for, if it finds one.
func (w *World) arrive(d Datagram) {
	to := w.hostAt(d.Dst.Addr())
	for _, n := range w.nats {
		if n.Public == d.Dst.Addr() {
			to = n.in(w.now, &d)
		}
	}
	switch {
	case to == nil:
		w.lost(d, "nobody there")
	case !slices.Contains(to.addrs(), d.Dst.Addr()):
		w.lost(d, to.Name+" is not there any more")
	case to.down:
		w.lost(d, to.Name+" is down")
	default:
		to.receive(d)
	}
}
