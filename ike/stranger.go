package ike

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/natt"
)

// hintInterval is the least time between two questions to a peer whether it is alive that strangers can cause (RFC 7296 2.4).
const hintInterval = 30 * time.Second

// answer sends an answer in the clear to a sender that may be anybody. It is never longer than the request: whoever forges the
// address of another gets no more out of us than he put in.
func (e *Endpoint) answer(d Datagram, h wire.Header, payloads []wire.Payload) {
	b := wire.AppendMessage(nil, h, payloads)
	if len(b) > len(d.Data) {
		e.drop(d, "the answer would be longer than the request")
		return
	}
	e.send("", d.Path, e.pack([][]byte{b}, payloads), 0)
}

// notice answers a request with notifies, in the clear (RFC 7296 1.5).
func (e *Endpoint) notice(d Datagram, h wire.Header, list ...wire.Payload) {
	h.Major, h.Minor, h.Response, h.Initiator = 2, 0, true, !h.Initiator
	e.answer(d, h, list)
}

// otherVersion answers a request of a higher major version with the one that we speak (RFC 7296 2.5). IKEv1 gets no answer: it has no
// such notify. What names an IKE SA that we began is the answer of a peer that knows no IKEv2.
func (e *Endpoint) otherVersion(d Datagram, h wire.Header) {
	if sa := e.sas[h.SPIi]; sa != nil && sa.initiator && sa.path.Remote.Addr() == d.Path.Remote.Addr() {
		if s, ok := sa.state.(*expectInitReply); ok {
			if s.refused == 0 {
				s.major = h.Major
			}
			s.takeError(sa, wire.INVALID_MAJOR_VERSION)
			e.touch(sa)
			return
		}
	}
	if h.Major < 2 {
		e.drop(d, "IKEv1")
		e.calledByIKEv1(d, h)
		return
	}
	e.drop(d, "unknown major version")
	if !h.Response && e.complaints.allow(e.now, d.Path.Remote.Addr()) {
		e.notice(d, h, &wire.Notify{Kind: wire.INVALID_MAJOR_VERSION})
	}
}

// unknownSPI tells the sender of a request that its IKE SA does not exist here, as after a restart (RFC 7296 2.21.4).
func (e *Endpoint) unknownSPI(d Datagram, h wire.Header) {
	e.drop(d, refusals[absent])
	if h.SPIi != 0 && h.SPIr != 0 && e.complaints.allow(e.now, d.Path.Remote.Addr()) {
		e.showToken(d, h)
	}
}

// suspect takes a message in the clear which says that the peer lost an IKE SA or a Child SA. It may be forged: all that follows
// is a question to the peer, once in a while (RFC 7296 1.5, 2.4, 2.21.4).
func (e *Endpoint) suspect(sa *ikeSA, d Datagram, m *wire.Message) {
	c, err := collect(m.Payloads)
	if err != nil {
		e.drop(d, "malformed message")
		return
	}
	switch n := c.notify(wire.INVALID_SPI); {
	case sa == nil && n == nil:
		e.drop(d, refusals[absent])
		return
	case sa == nil && !e.complaints.allow(e.now, d.Path.Remote.Addr()):
		// To look for the Child SA is work that a stranger causes.
	case sa == nil:
		sa = e.sendsUnder(n.Data, d.Path)
	}
	if sa == nil {
		e.drop(d, "word of a lost SA from somewhere else")
		return
	}
	// A token may come from anywhere; a message with a wrong one is worth nothing (RFC 6290 3, 4.5).
	proved, shows := sa.proves(c)
	switch {
	case proved:
		sa.lost()
		return
	case shows && sa.token != nil:
		e.drop(d, "QCD_TOKEN that is not the peer's")
		return
	case c.notify(wire.INVALID_SPI) == nil && c.notify(wire.INVALID_IKE_SPI) == nil:
		e.drop(d, "clear message to an IKE SA with keys")
		return
	case sa.path.Remote.Addr() != d.Path.Remote.Addr():
		e.drop(d, "word of a lost SA from somewhere else")
		return
	}
	if !sa.askAlive() {
		e.drop(d, "word of a lost SA, too soon")
	}
}

// sendsUnder is the IKE SA with a Child SA that sends under an SPI to a path, or nil.
func (e *Endpoint) sendsUnder(spi []byte, p natt.Path) *ikeSA {
	if len(spi) != 4 {
		return nil
	}
	for sa := range e.order.all() {
		if sa.path.Remote.Addr() != p.Remote.Addr() {
			continue
		}
		for _, c := range sa.children {
			if c.out == binary.BigEndian.Uint32(spi) && !c.gone {
				return sa
			}
		}
	}
	return nil
}

// askAlive asks the peer for a sign of life because of a hint, unless a question is under way or was asked
// of late.
func (sa *ikeSA) askAlive() bool {
	now := sa.end.now
	if !sa.isCurrent() || sa.isAsking() || now.Before(sa.nextHint) {
		return false
	}
	sa.nextHint = now.Add(hintInterval)
	sa.event(Warned, fmt.Sprintf("somebody at %v says that it does not know what we send: it is asked for a sign of life", sa.path.Remote.Addr()), "")
	sa.enqueueFirst(&alive{})
	sa.end.touch(sa)
	return true
}
