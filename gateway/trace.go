package gateway

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/natt"
)

// TraceMessage is what an IKE message looked like, fit for JSON. Nothing in it is secret: it has names, no contents.
type TraceMessage struct {
	// Number counts the messages of the gateway, beginning at 1.
	Number uint64    `json:"number"`
	Time   time.Time `json:"time"`
	// Connection is left out as long as the peer may belong to any, or to none.
	Connection string `json:"connection,omitempty"`
	Out        bool   `json:"out"` // sent by us
	Local      string `json:"local"`
	Remote     string `json:"remote"`
	// NATT: it went to or came from port 4500, with the marker that tells IKE from ESP.
	NATT bool   `json:"natt"`
	SPIi string `json:"spi_i,omitempty"`
	SPIr string `json:"spi_r,omitempty"`
	// Exchange is its name, Initiator the flag of who sent IKE_SA_INIT or began the rekeying that made the IKE SA.
	Exchange  string `json:"exchange"`
	MessageID uint32 `json:"message_id"`
	Response  bool   `json:"response"`
	Initiator bool   `json:"initiator"`
	// Parts are the payloads in the notation of RFC 7296 1.2, those inside if it was encrypted; More is how many are left out.
	Parts []string `json:"parts"`
	More  int      `json:"more,omitempty"`
	// Bytes is its length, of all its fragments together; Datagrams how many carried it.
	Bytes     int `json:"bytes"`
	Datagrams int `json:"datagrams"`
	// Sends is how often a request of ours was sent, with this time. Repeated: a request that came before, or the answer to one.
	Sends    int  `json:"sends,omitempty"`
	Repeated bool `json:"repeated,omitempty"`
	// Refused says why it was not acted upon.
	Refused string `json:"refused,omitempty"`
}

// The trace is kept in memory: for each connection the last messages, as many as its share of the whole is, and as many of peers that
// belong to none.
const (
	traceTotal = 1 << 16
	traceMost  = 256
	traceLeast = 12
	traceParts = 20
	maxRefusal = 80
)

// traced is a message of a trace, without a pointer to anything.
type traced struct {
	number    uint64
	at        time.Time
	path      natt.Path
	header    wire.Header
	parts     [traceParts]ike.Part
	count     uint8 // of parts, those left out too
	out       bool
	repeated  bool
	datagrams uint8
	sends     uint16
	bytes     int
	refused   string
}

// trace is the last messages of a connection.
type trace struct {
	list []traced
	next int // where the next one goes, when the list is full
}

// room has the list hold so many at most.
func (t *trace) room(most int) {
	if len(t.list) > most || t.next != 0 {
		t.list, t.next = t.inOrder(), 0
		t.list = slices.Clip(t.list[max(0, len(t.list)-most):])
	}
}

// inOrder is the list, the oldest first.
func (t *trace) inOrder() []traced { return slices.Concat(t.list[t.next:], t.list[:t.next]) }

// take puts a message into the place of the oldest.
func (t *trace) take(m *ike.Message, number uint64, most int) {
	if len(t.list) < most && t.next == 0 {
		t.list = append(t.list, traced{})
		t.list[len(t.list)-1].set(m, number)
		return
	}
	t.list[t.next].set(m, number)
	t.next = (t.next + 1) % len(t.list)
}

func (t *traced) set(m *ike.Message, number uint64) {
	*t = traced{
		number: number, at: time.Now(), path: m.Path, header: m.Header, out: m.Out, repeated: m.Repeated,
		count: uint8(min(len(m.Parts), 255)), datagrams: uint8(min(m.Datagrams, 255)), sends: uint16(min(m.Sends, 65535)), bytes: m.Bytes,
		refused: m.Refused[:min(len(m.Refused), maxRefusal)],
	}
	copy(t.parts[:], m.Parts)
}

// share is how many messages of each of so many connections are kept.
func share(connections int) int { return min(max(traceTotal/(connections+1), traceLeast), traceMost) }

// Traced counts a message and keeps what it looked like.
func (c *control) Traced(m *ike.Message) {
	conn := c.connOf(m.Conn)
	conn.tally.message(m)
	c.counts.message(m)
	c.traced++
	conn.trace.take(m, c.traced, share(len(c.order)))
}

// Trace tells the last IKE messages of a connection whose numbers are above after, the oldest first, those included by which a peer
// began before it was known to belong to it. An empty name stands for peers that belong to none.
func (g *Gateway) Trace(ctx context.Context, conn string, after uint64) ([]TraceMessage, error) {
	var own, strangers []traced
	unknown := false
	err := g.do(ctx, func(c *control) {
		strangers = c.strangers.trace.inOrder()
		if found := c.conns[conn]; found != nil {
			own = found.trace.inOrder()
		} else if unknown = conn != ""; !unknown {
			own, strangers = strangers, nil
		}
	})
	if err != nil {
		return nil, err
	}
	if unknown {
		return nil, fmt.Errorf("there is no connection %q", conn)
	}
	spis := make(map[uint64]bool)
	for _, m := range own {
		spis[m.header.SPIi] = m.header.SPIi != 0
	}
	own = append(own, slices.DeleteFunc(strangers, func(m traced) bool { return !spis[m.header.SPIi] })...)
	slices.SortFunc(own, func(a, b traced) int { return cmp.Compare(a.number, b.number) })
	list := []TraceMessage{}
	for _, m := range own {
		if m.number > after {
			list = append(list, m.message(conn))
		}
	}
	return list, nil
}

// message puts it in words.
func (t *traced) message(conn string) TraceMessage {
	h := t.header
	m := TraceMessage{
		Number: t.number, Time: t.at.Round(0), Connection: conn, Out: t.out, NATT: t.path.NATT, Local: t.path.Local.String(), Remote: t.path.Remote.String(),
		SPIi: ikeSPI(h.SPIi), SPIr: ikeSPI(h.SPIr), Exchange: h.Exchange.String(), MessageID: h.MessageID, Response: h.Response, Initiator: h.Initiator,
		Parts: []string{}, More: max(0, int(t.count)-traceParts), Bytes: t.bytes, Datagrams: int(t.datagrams), Sends: int(t.sends), Repeated: t.repeated,
		Refused: t.refused,
	}
	for _, p := range t.parts[:min(int(t.count), traceParts)] {
		m.Parts = append(m.Parts, payloadName(p, h))
	}
	return m
}

// payloadName is the notation of a payload; a nonce is called by whose it is (RFC 7296 1.2).
func payloadName(p ike.Part, h wire.Header) string {
	switch {
	case p.Type != wire.TypeNONCE:
		return p.String()
	case h.Response:
		return "Nr"
	}
	return "Ni"
}
