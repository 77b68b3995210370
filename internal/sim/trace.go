package sim

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/internal/inet"
	"github.com/culvert-vpn/culvert/natt"
	"github.com/culvert-vpn/culvert/suite"
)

// trace remembers a run, for the picture of it that a failure needs. ESP is left out, there is too much of it.
type trace struct {
	lines     []line
	datagrams int
	keys      []ike.Keys
}

// line is one thing that happened: a datagram left, arrived or was lost, or something at a host (nil: in the world). Most runs are
// never drawn, so it is kept as it was and put into words by text.
type line struct {
	at   time.Time
	host *Host
	// what is a string, an ike.Input, an ike.Event or a way.
	what     any
	datagram *Datagram
}

// way is what became of a datagram: it arrived from somewhere, or was lost for a reason.
type way struct {
	number int
	from   netip.AddrPort
	lost   string
}

func (l line) text() string {
	switch what := l.what.(type) {
	case ike.Event:
		text := what.Kind.String()
		if what.Child != "" {
			text += " " + what.Child
		}
		if what.Text != "" {
			text += ": " + what.Text
		}
		return text
	case ike.Input:
		return fmt.Sprintf("%T %+v", what, what)
	case way:
		if what.lost != "" {
			return fmt.Sprintf("    #%d %s", what.number, what.lost)
		}
		return fmt.Sprintf("--> #%d from %v", what.number, what.from)
	}
	return fmt.Sprint(l.what)
}

func (t *trace) note(w *World, h *Host, what any) {
	t.lines = append(t.lines, line{at: w.now, host: h, what: what})
}

func (t *trace) sent(w *World, d *Datagram) {
	if !d.IsIKE() {
		return
	}
	t.datagrams++
	d.number = t.datagrams
	copied := *d
	t.lines = append(t.lines, line{at: w.now, host: d.From, what: "sends", datagram: &copied})
}

func (t *trace) arrived(w *World, h *Host, d *Datagram) {
	if d.IsIKE() {
		t.note(w, h, way{number: d.number, from: d.Src})
	}
}

func (t *trace) lost(w *World, d *Datagram, why string) {
	if d.IsIKE() {
		t.note(w, nil, way{number: d.number, lost: why})
	}
}

// Ladder writes what happened, one column for each host.
func (w *World) Ladder(out io.Writer) error {
	const width = 60
	var b strings.Builder
	b.WriteString("            ")
	for _, h := range w.hosts {
		fmt.Fprintf(&b, "%-*s", width, h.Name+" "+h.Addr.String())
	}
	b.WriteByte('\n')
	for _, l := range w.trace.lines {
		fmt.Fprintf(&b, "%10.3f  ", l.at.Sub(Epoch).Seconds())
		for i, h := range w.hosts {
			if h == l.host {
				b.WriteString(strings.Repeat(fmt.Sprintf("%-*s", width, "|"), i))
			}
		}
		b.WriteString(l.text())
		if d := l.datagram; d != nil {
			fmt.Fprintf(&b, " #%d to %v: %s", d.number, d.Dst, w.trace.describe(d))
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// describe says what is in an IKE message, in the notation of RFC 7296.
func (t *trace) describe(d *Datagram) string {
	_, data := natt.Classify(d.Src.Port() == natt.PortNATT, d.Data)
	data = append([]byte(nil), data...)
	m, err := wire.Parse(data)
	if err != nil {
		return err.Error()
	}
	direction := "request"
	if m.Header.Response {
		direction = "answer"
	}
	text := fmt.Sprintf("%v %s %d [%04x]", m.Header.Exchange, direction, m.Header.MessageID, m.Header.SPIi>>48)
	payloads := m.Payloads
	if f := m.Fragment; f != nil {
		return fmt.Sprintf("%s SKF{%d of %d, %d bytes}", text, f.Number, f.Total, len(f.Body))
	}
	if m.Encrypted != nil {
		if payloads, err = t.decrypt(data, m); err != nil {
			return text + " SK{?}"
		}
		return text + " SK{" + list(payloads) + "}"
	}
	return text + " " + list(payloads)
}

func list(payloads []wire.Payload) string {
	var names []string
	for _, p := range payloads {
		name := fmt.Sprint(p)
		switch p := p.(type) {
		case *wire.Delete:
			name = fmt.Sprintf("D(%x)", p.SPIs)
		case *wire.Notify:
			if len(p.SPI) > 0 {
				name += fmt.Sprintf("(%x)", p.SPI)
			}
		}
		names = append(names, name)
	}
	return strings.Join(names, " ")
}

// decrypt opens a message with the logged keys.
func (t *trace) decrypt(data []byte, m *wire.Message) ([]wire.Payload, error) {
	for _, k := range t.keys {
		if k.SPIi != m.Header.SPIi || k.SPIr != m.Header.SPIr {
			continue
		}
		enc, integ := k.SKer, k.SKar
		if m.Header.Initiator {
			enc, integ = k.SKei, k.SKai
		}
		c, err := suite.NewCipher(k.Encr, k.Integ, enc, integ)
		if err != nil {
			return nil, err
		}
		return wire.OpenSealed(data, m, c)
	}
	return nil, wire.ErrNotSealed
}

// Pcap writes the IKE messages as they were sent, without what NAT boxes did to them, in the classic capture format with
// raw IP packets.
func (w *World) Pcap(out io.Writer) error {
	const magic, linkRaw = 0xa1b2c3d4, 101
	le := binary.LittleEndian
	b := le.AppendUint32(nil, magic)
	b = le.AppendUint16(b, 2)
	b = le.AppendUint16(b, 4)
	b = append(b, make([]byte, 8)...)
	b = le.AppendUint32(b, 65535)
	b = le.AppendUint32(b, linkRaw)
	for _, l := range w.trace.lines {
		if l.datagram == nil {
			continue
		}
		p := ipPacket(l.datagram)
		b = le.AppendUint32(b, uint32(l.at.Unix()))
		b = le.AppendUint32(b, uint32(l.at.Nanosecond()/1000))
		b = le.AppendUint32(b, uint32(len(p)))
		b = le.AppendUint32(b, uint32(len(p)))
		b = append(b, p...)
	}
	_, err := out.Write(b)
	return err
}

// ipPacket puts the headers of IP and UDP before a datagram.
func ipPacket(d *Datagram) []byte {
	const udp, ttl = 17, 64
	be := binary.BigEndian
	length := 8 + len(d.Data)
	var b []byte
	if d.Src.Addr().Is4() {
		b = append(b, 0x45, 0)
		b = be.AppendUint16(b, uint16(20+length))
		b = append(b, 0, 0, 0, 0, ttl, udp, 0, 0)
		b = append(append(b, d.Src.Addr().AsSlice()...), d.Dst.Addr().AsSlice()...)
		be.PutUint16(b[10:], inet.Checksum(b))
	} else {
		b = append(b, 0x60, 0, 0, 0)
		b = be.AppendUint16(b, uint16(length))
		b = append(b, udp, ttl)
		b = append(append(b, d.Src.Addr().AsSlice()...), d.Dst.Addr().AsSlice()...)
	}
	head := len(b)
	b = be.AppendUint16(b, d.Src.Port())
	b = be.AppendUint16(b, d.Dst.Port())
	b = be.AppendUint16(b, uint16(length))
	b = append(append(b, 0, 0), d.Data...)
	sum := inet.AddPseudo(0, d.Src.Addr(), d.Dst.Addr(), udp, length)
	be.PutUint16(b[head+6:], ^inet.Fold(inet.Add(sum, b[head:])))
	return b
}
