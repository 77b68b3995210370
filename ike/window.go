package ike

import (
	"iter"
	"slices"
	"time"

	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/natt"
)

// window numbers the messages of an IKE SA, repeats what is unanswered and answers what is repeated (RFC 7296
// 2.1-2.3).
type window struct {
	// Ours: the number of the next request, those that are unanswered in their order, and what waits for its turn.
	nextID uint32
	out    []*request
	queue  []exchange
	// deferred exchanges wait until a time of their own before they join the queue.
	deferred []deferred
	// announced is how many requests at once the peer promised to take, size how many it gets; 0 is 1.
	announced, size uint32

	in inbox
}

// request is a request of ours that waits for its answer.
type request struct {
	id      uint32
	kind    wire.Exchange
	message *packed
	// payloads are what it was made of, if it was encrypted.
	payloads []wire.Payload
	// exchange is nil while the IKE SA is set up.
	exchange exchange
	// sends counts transmissions; due is when the next one is made.
	sends int
	due   time.Time
	// along are the paths that it was sent along. searching: it was sent to find one that works.
	along     []natt.Path
	searching bool
}

type deferred struct {
	at       time.Time
	exchange exchange
}

// unusedTries is how often the Delete of an IKE SA that never carried anything is repeated.
const unusedTries = 2

// schedule of this peer's unanswered requests. Closing is not worth the full patience while shutting down, nor if it is a successor
// that lost against its twin (RFC 7296 2.8.2): nothing depends on it, and the peer, who was to close it, may have forgotten it
// already, as strongSwan does when our Delete of the predecessor overtakes our answer.
func (sa *ikeSA) schedule() Retransmit {
	r := sa.end.cfg.Retransmit
	switch {
	case sa.conn != nil && sa.conn.Retransmit != (Retransmit{}):
		r = sa.conn.Retransmit
	case sa.mob != nil && !sa.mob.decides && sa.isCurrent():
		r = r.extend()
	}
	switch {
	case sa.end.shutting:
		r.Tries = min(1, r.Tries)
	case sa.predecessor != nil:
		r.Tries = min(unusedTries, r.Tries)
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
	sa.transmit(&request{id: id, message: sa.seal(kind, id, false, payloads), kind: kind, payloads: payloads, exchange: x})
}

// transmit sends a new request and starts to wait for its answer. A first message may change while it is unanswered, for a
// cookie or another group (RFC 7296 2.2).
func (sa *ikeSA) transmit(r *request) {
	if sa.request(r.id) != nil {
		sa.win.out = nil
	}
	sa.win.out = append(sa.win.out, r)
	sa.win.nextID = r.id + 1
	sa.retransmit(r)
	sa.awaitAnswers()
}

// retransmit sends an unanswered request once more, to wherever the peer is now.
func (sa *ikeSA) retransmit(r *request) {
	r.sends++
	r.due = sa.end.now.Add(sa.patience(r.sends))
	for _, p := range sa.waysOf(r) {
		if !slices.Contains(r.along, p) {
			r.along = append(r.along, p)
		}
		sa.end.send(sa.connName(), p, r.message, r.sends)
	}
	sa.sound(r)
}

// awaitAnswers sets when the next request is repeated.
func (sa *ikeSA) awaitAnswers() {
	var first time.Time
	for _, r := range sa.win.out {
		first = earlier(first, r.due)
	}
	sa.timers[timerRetransmit] = first
}

// unanswered is called when an answer did not come in time.
func (sa *ikeSA) unanswered() {
	for _, r := range sa.win.out {
		switch {
		case r.due.After(sa.end.now):
			continue
		case sa.splitSmaller(r):
		case r.sends > sa.schedule().Tries:
			sa.state.silence(sa)
			return
		}
		sa.retransmit(r)
	}
	sa.awaitAnswers()
}

// answered ends the wait for an answer.
func (sa *ikeSA) answered(id uint32) *request {
	r := sa.request(id)
	sa.win.out = slices.DeleteFunc(sa.win.out, func(other *request) bool { return other == r })
	sa.awaitAnswers()
	return r
}

// request is the unanswered request with a number, or nil.
func (sa *ikeSA) request(id uint32) *request {
	for _, r := range sa.win.out {
		if r.id == id {
			return r
		}
	}
	return nil
}

// isAsking reports whether a request is unanswered.
func (sa *ikeSA) isAsking() bool { return len(sa.win.out) > 0 }

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

// pump starts the next exchanges, as far as the window is open.
func (sa *ikeSA) pump() {
	for sa.isEstablished() && len(sa.win.queue) > 0 && sa.win.mayAsk(sa.win.queue[0]) {
		if sa.win.nextID >= hardNumber && sa.isCurrent() {
			sa.spent()
			continue
		}
		x := sa.win.queue[0]
		sa.win.queue = sa.win.queue[1:]
		payloads, wanted := x.request(sa)
		if !wanted {
			x.abandon(sa)
			continue
		}
		sa.ask(x.kind(), sa.win.nextID, payloads, x)
		if sa.win.nextID == softNumber {
			sa.startRekey()
		}
	}
}

// mayAsk reports whether there is room for an exchange beside those that are unanswered: request X has to wait for the answers to
// all requests up to X-size (RFC 7296 2.3). What waits behind it waits too, so that everything keeps its order.
func (w *window) mayAsk(x exchange) bool {
	if len(w.out) == 0 {
		return true
	}
	if w.nextID-w.out[0].id >= max(w.size, 1) {
		return false
	}
	return !slices.ContainsFunc(w.out, func(r *request) bool { return excludes(x, r.exchange) || excludes(r.exchange, x) })
}

// abandonOutstanding forgets the requests that are under way.
func (sa *ikeSA) abandonOutstanding() {
	out := sa.win.out
	sa.win.out = nil
	sa.timers[timerRetransmit] = zeroTime
	for _, r := range out {
		if r.exchange != nil {
			r.exchange.abandon(sa)
		}
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

// underWay returns the exchanges that wait for their answers.
func (sa *ikeSA) underWay() iter.Seq[exchange] {
	return func(yield func(exchange) bool) {
		for _, r := range sa.win.out {
			if r.exchange != nil && !yield(r.exchange) {
				return
			}
		}
	}
}

// find returns an exchange of a kind that waits for its answer and for which match is true; ok is false if there is none.
func find[X exchange](sa *ikeSA, match func(X) bool) (x X, ok bool) {
	for any := range sa.underWay() {
		if x, ok = any.(X); ok && match(x) {
			return x, true
		}
	}
	var none X
	return none, false
}

// hasExchange reports whether an exchange for which match is true is under way or waits.
func (sa *ikeSA) hasExchange(match func(exchange) bool) bool {
	for x := range sa.underWay() {
		if match(x) {
			return true
		}
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
