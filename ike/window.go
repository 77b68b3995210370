package ike

import (
	"slices"
	"time"

	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/natt"
)

// window numbers the messages of an IKE SA, repeats what is unanswered and answers what is repeated (RFC 7296
// 2.1-2.3). Its size is one request in each direction.
type window struct {
	// Ours: the number of the next request, the one that is unanswered, and what waits for its turn.
	nextID uint32
	out    *request
	queue  []exchange
	// deferred exchanges wait until a time of their own before they join the queue.
	deferred []deferred

	// Theirs: the number their next request has, and the answer to the one before it.
	expect uint32
	answer [][]byte
}

// request is a request of ours that waits for its answer.
type request struct {
	id   uint32
	kind wire.Exchange
	// messages are the request as it is sent: one, or its fragments.
	messages [][]byte
	// payloads are what it was made of, if it was encrypted.
	payloads []wire.Payload
	// exchange is nil while the IKE SA is set up.
	exchange exchange
	// sends counts transmissions.
	sends int
	// along are the paths that it was sent along. searching: it was sent to find one that works.
	along     []natt.Path
	searching bool
}

type deferred struct {
	at       time.Time
	exchange exchange
}

// schedule of this peer's unanswered requests. Closing is not worth the full patience while shutting down.
func (sa *ikeSA) schedule() Retransmit {
	r := sa.end.cfg.Retransmit
	switch {
	case sa.conn != nil && sa.conn.Retransmit != (Retransmit{}):
		r = sa.conn.Retransmit
	case sa.mob != nil && !sa.mob.decides && sa.isCurrent():
		r = r.extend()
	}
	if sa.end.shutting {
		r.Tries = min(1, r.Tries)
	}
	return r
}

// patience is how long the answer to the n-th transmission is waited for.
func (sa *ikeSA) patience(n int) time.Duration {
	r := sa.schedule()
	wait := r.wait(n)
	return wait - sa.end.jitter(wait/100*time.Duration(r.Jitter))
}

// ask sends a new encrypted request.
func (sa *ikeSA) ask(kind wire.Exchange, id uint32, payloads []wire.Payload, x exchange) {
	sa.transmit(&request{id: id, messages: sa.seal(kind, id, false, payloads), kind: kind, payloads: payloads, exchange: x})
}

// transmit sends a new request and starts to wait for its answer.
func (sa *ikeSA) transmit(r *request) {
	sa.win.out = r
	sa.retransmit()
}

// retransmit sends the unanswered request once more, to wherever the peer is now.
func (sa *ikeSA) retransmit() {
	r := sa.win.out
	r.sends++
	sa.timers[timerRetransmit] = sa.end.now.Add(sa.patience(r.sends))
	for _, p := range sa.waysOf(r) {
		if !slices.Contains(r.along, p) {
			r.along = append(r.along, p)
		}
		sa.end.sendAll(p, r.messages)
	}
}

// unanswered is called when the answer did not come in time.
func (sa *ikeSA) unanswered() {
	if sa.win.out == nil {
		return
	}
	if sa.splitSmaller(sa.win.out) {
		sa.retransmit()
		return
	}
	if sa.win.out.sends > sa.schedule().Tries {
		sa.state.silence(sa)
		return
	}
	sa.retransmit()
}

// answered ends the wait for an answer.
func (sa *ikeSA) answered() *request {
	r := sa.win.out
	sa.win.out = nil
	sa.win.nextID = r.id + 1
	sa.timers[timerRetransmit] = zeroTime
	return r
}

// enqueue adds an exchange to what we want of the peer.
func (sa *ikeSA) enqueue(x exchange) {
	sa.win.queue = append(sa.win.queue, x)
}

// enqueueFirst puts an exchange before all others that wait.
func (sa *ikeSA) enqueueFirst(x exchange) {
	sa.win.queue = append([]exchange{x}, sa.win.queue...)
}

// deferExchange puts an exchange off, as TEMPORARY_FAILURE demands (RFC 7296 2.25).
func (sa *ikeSA) deferExchange(x exchange, wait time.Duration) {
	at := sa.end.now.Add(wait)
	sa.win.deferred = append(sa.win.deferred, deferred{at: at, exchange: x})
	sa.timers[timerDeferred] = earlier(sa.timers[timerDeferred], at)
}

// resume queues the deferred exchanges whose time has come.
func (sa *ikeSA) resume() {
	kept := sa.win.deferred[:0]
	sa.timers[timerDeferred] = zeroTime
	for _, d := range sa.win.deferred {
		if d.at.After(sa.end.now) {
			kept = append(kept, d)
			sa.timers[timerDeferred] = earlier(sa.timers[timerDeferred], d.at)
			continue
		}
		sa.enqueue(d.exchange)
	}
	clear(sa.win.deferred[len(kept):])
	sa.win.deferred = kept
}

// pump starts the next exchange, if the window is open.
func (sa *ikeSA) pump() {
	for sa.isEstablished() && sa.win.out == nil && len(sa.win.queue) > 0 {
		x := sa.win.queue[0]
		sa.win.queue = sa.win.queue[1:]
		payloads, wanted := x.request(sa)
		if !wanted {
			x.abandon(sa)
			continue
		}
		sa.ask(x.kind(), sa.win.nextID, payloads, x)
	}
}

// abandonOutstanding forgets the request that is under way.
func (sa *ikeSA) abandonOutstanding() {
	r := sa.win.out
	sa.win.out = nil
	sa.timers[timerRetransmit] = zeroTime
	if r != nil && r.exchange != nil {
		r.exchange.abandon(sa)
	}
}

// abandonQueued forgets what waits for its turn.
func (sa *ikeSA) abandonQueued() {
	for _, x := range sa.win.queue {
		x.abandon(sa)
	}
	for _, d := range sa.win.deferred {
		d.exchange.abandon(sa)
	}
	sa.win.queue, sa.win.deferred = nil, nil
	sa.timers[timerDeferred] = zeroTime
}

// outstanding is the exchange that waits for its answer, or nil.
func (sa *ikeSA) outstanding() exchange {
	if sa.win.out == nil {
		return nil
	}
	return sa.win.out.exchange
}

// hasExchange reports whether an exchange for which match is true is under way or waits.
func (sa *ikeSA) hasExchange(match func(exchange) bool) bool {
	if x := sa.outstanding(); x != nil && match(x) {
		return true
	}
	for _, x := range sa.win.queue {
		if match(x) {
			return true
		}
	}
	for _, d := range sa.win.deferred {
		if match(d.exchange) {
			return true
		}
	}
	return false
}

// header of a message of ours.
func (sa *ikeSA) header(kind wire.Exchange, id uint32, response bool) wire.Header {
	return wire.Header{SPIi: sa.spiI, SPIr: sa.spiR, Major: 2, Exchange: kind, Initiator: sa.initiator, Response: response, MessageID: id}
}
