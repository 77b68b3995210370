package ike

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/suite"
)

var zeroTime time.Time

// established is the state after IKE_AUTH: both ends may send requests.
type established struct {
	// closing: our Delete of the IKE SA is under way or about to be.
	closing bool
	// rejected: the peer's AUTH was not right. closing is set too.
	rejected bool
}

func (s *established) stage() stage {
	switch {
	case s.rejected:
		return rejecting
	case s.closing:
		return closing
	}
	return up
}

func (s *established) String() string {
	if s.closing {
		return "closing"
	}
	return "established"
}

func (s *established) silence(sa *ikeSA) {
	if s.closing {
		sa.remove()
		return
	}
	sa.dead()
}

func (s *established) message(sa *ikeSA, d Datagram, m *wire.Message) {
	h := m.Header
	c, ok, err := sa.open(d, m)
	if !ok {
		return
	}
	sa.heard = sa.end.now
	if sa.mob == nil {
		sa.follow(d.Path) // with MOBIKE it would change what a test of a path is about (RFC 4555 3.8)
	}
	sa.asked = d.Path
	if err == nil {
		sa.takeWindow(c)
		sa.takeLifetime(c)
		if h.Exchange == wire.INFORMATIONAL { // in CREATE_CHILD_SA it is for the successor
			sa.takeToken(c)
		}
	}
	if h.Response {
		sa.takeAnswer(h.MessageID, c, err)
		return
	}
	sa.askedID = h.MessageID
	before := sa.win.in.next
	s.takeRequest(sa, h, c, err)
	switch after := sa.win.in.next; {
	case after >= hardNumber:
		sa.spent()
	case before < softNumber && after >= softNumber:
		sa.startRekey()
	}
}

// repeat sends the last answer again, byte by byte, to where the request came from (RFC 7296 2.1). The request may be a
// recording: it is no sign of life (RFC 7296 2.4).
func (sa *ikeSA) repeat(d Datagram, m *wire.Message) {
	if sa.repeats(d, m) {
		if m.Header.MessageID == sa.askedID {
			sa.timers[timerAnswer] = zeroTime
			sa.end.touch(sa)
		}
		sa.send(d.Path, sa.win.in.answer(m.Header.MessageID))
	}
}

// reply answers the peer's current request, to where it came from (RFC 7296 2.11), and keeps the answer for when the peer
// asks again.
func (sa *ikeSA) reply(kind wire.Exchange, payloads []wire.Payload) {
	sa.prepare(kind, payloads)
	sa.answerNow()
}

// prepare makes the answer to the peer's current request, and keeps it for when the peer asks again.
func (sa *ikeSA) prepare(kind wire.Exchange, payloads []wire.Payload) {
	sa.win.in.keep(sa.askedID, sa.seal(kind, sa.askedID, true, payloads))
}

// answerNow sends the answer to the peer's current request, which was prepared.
func (sa *ikeSA) answerNow() { sa.send(sa.asked, sa.win.in.answer(sa.askedID)) }

// takeAnswer gives the answer to the exchange that waits for it.
func (sa *ikeSA) takeAnswer(id uint32, c *content, err error) {
	r := sa.answered(id)
	x := r.exchange
	sa.cameBack(r, sa.asked)
	if err != nil {
		// The states of the two ends may differ now (RFC 7296 2.21.3): start over.
		x.abandon(sa)
		sa.tell(Failed, malformed("malformed answer: "+err.Error()))
		sa.end.keeperOf(sa.conn).misunderstood()
		sa.close("the peer's answer was malformed")
		return
	}
	if c.notify(wire.INVALID_SYNTAX) != nil {
		// The peer has closed the IKE SA with it (RFC 7296 2.21.3).
		x.abandon(sa)
		sa.tell(Failed, malformed("the peer could not read our request and closed the IKE SA"))
		sa.end.keeperOf(sa.conn).misunderstood()
		sa.linger()
		return
	}
	x.reply(sa, c)
}

// takeRequest answers a request of the peer.
func (s *established) takeRequest(sa *ikeSA, h wire.Header, c *content, err error) {
	if err != nil {
		sa.answerRequest(h.Exchange, []wire.Payload{sa.complain(err)})
		return
	}
	if sa.predecessor != nil && !c.deletesIKE() {
		sa.decide()
	}
	if h.Exchange == wire.INFORMATIONAL {
		sa.inform(c, h.MessageID)
		return
	}
	if s.closing || sa.successor != nil {
		// The Delete may still wait for its turn (RFC 7296 2.25.2).
		sa.reply(h.Exchange, notifyOf(wire.TEMPORARY_FAILURE))
		return
	}
	sa.answerRequest(h.Exchange, sa.create(c))
}

// answerRequest answers an established IKE SA's request. The IKE SA ends with INVALID_SYNTAX, at both ends (RFC 7296
// 2.21.3).
func (sa *ikeSA) answerRequest(kind wire.Exchange, payloads []wire.Payload) {
	sa.reply(kind, payloads)
	if n, ok := payloads[0].(*wire.Notify); ok && n.Kind == wire.INVALID_SYNTAX {
		sa.end.keeperOf(sa.conn).misunderstood()
		sa.linger()
	}
}

// complain tells of a request that cannot be read, and returns what to answer.
func (sa *ikeSA) complain(err error) *wire.Notify {
	sa.tell(Failed, malformed(fmt.Sprintf("malformed request: %v", err)))
	return complaint(err)
}

// create answers CREATE_CHILD_SA: new keys for the IKE SA, new keys for a child, or a new child (RFC 7296 1.3).
func (sa *ikeSA) create(c *content) []wire.Payload {
	if c.sa == nil {
		return []wire.Payload{sa.complain(shapeChild.check(c))}
	}
	if c.sa.Proposals[0].Protocol == suite.IKE {
		if err := shapeRekeyIKE.check(c); err != nil {
			return []wire.Payload{sa.complain(err)}
		}
		if sa.clash(theyRekeyIKE, nil) == refuse {
			return notifyOf(wire.TEMPORARY_FAILURE)
		}
		return sa.answerRekeyIKE(c)
	}
	if err := shapeChild.check(c); err != nil {
		return []wire.Payload{sa.complain(err)}
	}
	n := c.notify(wire.REKEY_SA)
	if n == nil {
		if sa.clash(theyCreateChild, nil) == refuse {
			return notifyOf(wire.TEMPORARY_FAILURE)
		}
		return sa.answerNewChild(c)
	}
	old := sa.childByOut(n)
	if old == nil {
		if _, ok := find(sa, func(*childExchange) bool { return true }); ok {
			// It may be the very child that we ask for: the answer, which names the SPI, was overtaken.
			return notifyOf(wire.TEMPORARY_FAILURE)
		}
		// The SPI is copied (RFC 7296 2.25).
		return []wire.Payload{&wire.Notify{Protocol: n.Protocol, SPI: n.SPI, Kind: wire.CHILD_SA_NOT_FOUND}}
	}
	if sa.clash(theyRekeyChild, old) == refuse {
		return notifyOf(wire.TEMPORARY_FAILURE)
	}
	return sa.answerRekeyChild(c, old)
}

// inform answers INFORMATIONAL: a Delete of the IKE SA or of children, errors, or nothing but a sign of life (RFC 7296
// 1.4).
func (sa *ikeSA) inform(c *content, id uint32) {
	payloads := answerVersion(c.cp)
	if c.deletesIKE() {
		sa.deletedByPeer(c)
		return
	}
	if n := c.notify(wire.AUTHENTICATION_FAILED); n != nil {
		// The initiator did not accept our AUTH (RFC 7296 2.21.2).
		sa.reply(wire.INFORMATIONAL, nil)
		sa.tell(Failed, sa.refusesUs("the peer does not accept our AUTH, and does not say"))
		sa.end.keeperOf(sa.conn).misunderstood()
		sa.linger()
		return
	}
	for _, d := range c.deletes {
		if d.Protocol == suite.ESP {
			if spis := sa.deleteChildren(d.SPIs); len(spis) > 0 {
				payloads = append(payloads, &wire.Delete{Protocol: suite.ESP, SPIs: spis})
			}
		}
	}
	if c.notify(wire.SET_WINDOW_SIZE) != nil {
		payloads = append(payloads, sa.announceWindow()...)
	}
	if n := c.notify(wire.INVALID_MESSAGE_ID); n != nil && len(n.Data) == 4 {
		sa.event(Warned, fmt.Sprintf("the peer got message %d, which it takes to be outside of its window", binary.BigEndian.Uint32(n.Data)), "")
	}
	sa.reply(wire.INFORMATIONAL, append(payloads, sa.takeMobility(c, id)...))
	sa.takeRedirect(c)
}

// deletedByPeer answers the peer's Delete of the IKE SA. What other IKE SAs carry too is sent there from now on, and the answer, after
// which the peer need not receive here any more, follows when what was sent before has arrived.
func (sa *ikeSA) deletedByPeer(c *content) {
	if x, ok := find(sa, func(x *rekeyIKE) bool { return x.living() != nil }); ok {
		// The peer did not notice that both were rekeying: its successor stays (RFC 7296 2.8.2).
		sa.succeed(x.theirs)
	}
	sa.prepare(wire.INFORMATIONAL, sa.returnCookie2(c))
	conn, mattered := sa.conn, sa.successor == nil && sa.predecessor == nil
	if mattered {
		sa.event(Closed, "the peer closed the IKE SA", "")
		if conn != nil && sa.isCurrent() && !sa.sentAway && sa.renewing == nil && sa.end.otherWith(sa) == nil { // or the peer has set it up anew
			sa.end.keeperOf(conn).lived(sa, peerDeleted)
		}
	}
	replaced, policies := slices.ContainsFunc(sa.children, func(c *childSA) bool { return !c.gone && len(c.twins()) > 0 }), sa.policies()
	sa.linger()
	if replaced {
		sa.timers[timerAnswer] = sa.end.now.Add(answerTime)
	} else {
		sa.answerNow()
	}
	if !mattered || conn == nil {
		return
	}
	k := sa.end.keeperOf(conn)
	k.closedByPeer()
	if sa.sentAway {
		for _, cfg := range policies {
			k.want(cfg) // it is not their end: another gateway is to have them
		}
	}
}

// retire deletes an IKE SA that was replaced. The children are with its successor.
func (sa *ikeSA) retire() {
	sa.state = &established{closing: true}
	sa.enqueue(&deleteIKE{why: "it was replaced"})
	sa.end.touch(sa)
}

// close deletes the IKE SA. The children go at once.
func (sa *ikeSA) close(why string) { sa.closeWith(why, (*childSA).vanish) }

// giveWay deletes an IKE SA whose place another one took. What that carries too goes on to receive here until the peer has deleted it.
func (sa *ikeSA) giveWay(why string) { sa.closeWith(why, (*childSA).stay) }

// closeWith deletes the IKE SA; each child comes to that end now.
func (sa *ikeSA) closeWith(why string, end func(*childSA)) {
	switch s := sa.state.(type) {
	case lingering:
	case *established:
		if s.closing {
			return
		}
		s.closing = true
		for _, r := range sa.win.out {
			if r.exchange != nil {
				// The Delete may have to wait for its turn; the answer to what is under way is of no interest any more.
				r.exchange.abandon(sa)
				r.exchange = orphan{r.kind}
			}
		}
		sa.vacate(end)
		sa.timers = timers{timerRetransmit: sa.timers[timerRetransmit]}
		sa.enqueue(&deleteIKE{why: why})
	case *expectAuthReply:
		if s.unwanted == "" {
			s.renounce(sa, why)
		}
	default:
		sa.remove()
	}
}

// lingering answers the last request of the peer when it is repeated, and nothing else.
type lingering struct{}

func (lingering) String() string                          { return "closed" }
func (lingering) stage() stage                            { return closed }
func (lingering) silence(sa *ikeSA)                       { sa.remove() }
func (lingering) message(*ikeSA, Datagram, *wire.Message) {} // nothing is admitted but what is repeated
