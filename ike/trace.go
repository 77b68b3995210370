package ike

import (
	"strings"

	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/natt"
)

// Tracer hears of every IKE message that is sent or comes. It is called from inside Handle and must not block.
type Tracer interface {
	// Traced is told of a message when it is sent, or when it is known what becomes of one that came. m is borrowed.
	Traced(m *Message)
}

// Message is what an IKE message looks like: its header, and the names of what is in it. Nothing of it is secret.
type Message struct {
	// Conn is empty as long as the peer may belong to any connection, or to none.
	Conn string
	Out  bool // sent by us
	Path natt.Path
	// Header is zero if none could be read.
	Header wire.Header
	// Datagrams is how many carried it: one, or its fragments. Bytes is how long they were together.
	Datagrams, Bytes int
	// Parts are the payloads, as far as they could be read. Of an encrypted message they are those inside.
	Parts []Part
	// Sends is how often a request of ours was sent, with this time. Repeated: a request that came before, or the answer to one.
	Sends    int
	Repeated bool
	// Refused says why a message was not acted upon; empty if it was.
	Refused string
}

// Part is the name of a payload: its type and, of a Notify payload, what it notifies of.
type Part struct {
	Type   wire.PayloadType
	Notify wire.NotifyType
}

// IsInvalid reports whether a message was refused because it could not be read: its syntax is wrong, or it is not authentic.
func (m *Message) IsInvalid() bool {
	return strings.HasPrefix(m.Refused, "malformed ") || strings.HasPrefix(m.Refused, "incomplete ") || m.Refused == "integrity check failed"
}

// IsAstray reports whether a message was refused because there is no IKE SA that it names.
func (m *Message) IsAstray() bool { return m.Refused == refusals[absent] }

// String is the notation of RFC 7296 1.2, such as "IDi" or "N(COOKIE)".
func (p Part) String() string {
	if p.Type == wire.TypeNOTIFY {
		return "N(" + p.Notify.String() + ")"
	}
	return p.Type.String()
}

// appendParts names payloads.
func appendParts(list []Part, payloads []wire.Payload) []Part {
	for _, p := range payloads {
		part := Part{Type: p.Type()}
		if n, ok := p.(*wire.Notify); ok {
			part.Notify = n.Kind
		}
		list = append(list, part)
	}
	return list
}

// packed is a message of ours as it is sent: one datagram, or its fragments.
type packed struct {
	datagrams [][]byte
	parts     []Part // of a traced one
}

// pack notes what is in the datagrams of a message.
func (e *Endpoint) pack(datagrams [][]byte, payloads []wire.Payload) *packed {
	m := &packed{datagrams: datagrams}
	if e.cfg.Tracer != nil {
		m.parts = appendParts(nil, payloads)
	}
	return m
}

// arrival is the message that Handle is about, until it is known what becomes of it. It keeps its memory from one to the next.
type arrival struct {
	Message
	sa   *ikeSA // it is for, nil if that is not known
	open bool
}

// arrived begins the trace of a message.
func (e *Endpoint) arrived(d Datagram, h wire.Header) {
	if e.cfg.Tracer == nil {
		return
	}
	e.arrival = arrival{open: true, Message: Message{Path: d.Path, Header: h, Datagrams: 1, Bytes: len(d.Data), Parts: e.arrival.Parts[:0]}}
}

// isFor says which IKE SA the message that came is for.
func (e *Endpoint) isFor(sa *ikeSA) {
	if e.arrival.open {
		e.arrival.sa = sa
	}
}

// isPart says that the message that came is a fragment, and others are still missing: what is traced is the whole.
func (e *Endpoint) isPart() { e.arrival.open = false }

// isWhole says in how many fragments, and of how many bytes, the message came that is complete now.
func (e *Endpoint) isWhole(fragments, bytes int) {
	e.arrival.Datagrams, e.arrival.Bytes = fragments, bytes
}

// contains says what is in the message that came.
func (e *Endpoint) contains(payloads []wire.Payload) {
	if e.arrival.open {
		e.arrival.Parts = appendParts(e.arrival.Parts[:0], payloads)
	}
}

// settled ends the trace of the message that came. What is sent because of it is traced after it.
func (e *Endpoint) settled() {
	a := &e.arrival
	if !a.open {
		return
	}
	a.open = false
	a.Conn = a.sa.connName()
	a.sa = nil
	e.cfg.Tracer.Traced(&a.Message)
}

// connName is the connection that an IKE SA belongs to; empty if that is not known.
func (sa *ikeSA) connName() string {
	if sa == nil || sa.conn == nil {
		return ""
	}
	return sa.conn.Name
}

// sent traces a message of ours.
func (e *Endpoint) sent(conn string, p natt.Path, m *packed, sends int) {
	if e.cfg.Tracer == nil {
		return
	}
	e.settled()
	h, _ := wire.ParseHeader(m.datagrams[0])
	e.departure = Message{Conn: conn, Out: true, Path: p, Header: h, Datagrams: len(m.datagrams), Parts: m.parts, Sends: sends}
	e.departure.Repeated = h.Response && e.arrival.Repeated
	for _, b := range m.datagrams {
		e.departure.Bytes += len(b)
	}
	e.cfg.Tracer.Traced(&e.departure)
}

// send sends an answer of the IKE SA.
func (sa *ikeSA) send(p natt.Path, m *packed) { sa.end.send(sa.connName(), p, m, 0) }
