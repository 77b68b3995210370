package gateway

import (
	"sync/atomic"
	"time"

	"github.com/culvert-vpn/culvert/ike"
)

// tally counts what happened to a connection or to a child. The control goroutine counts, anybody reads.
type tally struct {
	events [ike.EventKinds + 1]atomic.Uint64
	// messages of the connection that were sent and came; requests of ours that were sent again, and requests of the peer that
	// were.
	sent, came, resent, repeated atomic.Uint64
}

// event counts what has happened.
func (t *tally) event(kind ike.EventKind) {
	if int(kind) < len(t.events) {
		t.events[kind].Add(1)
	}
}

// byKind is how often what happened.
func (t *tally) byKind() map[string]uint64 {
	m := make(map[string]uint64, ike.EventKinds)
	for kind := ike.EventKind(1); kind <= ike.EventKinds; kind++ {
		m[kind.String()] = t.events[kind].Load()
	}
	return m
}

// message counts a message.
func (t *tally) message(m *ike.Message) {
	switch {
	case m.Out:
		t.sent.Add(1)
		if m.Sends > 1 {
			t.resent.Add(1)
		}
	default:
		t.came.Add(1)
		if m.Repeated {
			t.repeated.Add(1)
		}
	}
}

// latencyBounds are the upper bounds of the intervals in which durations are counted.
var latencyBounds = [...]time.Duration{
	10 * time.Microsecond, 50 * time.Microsecond, 100 * time.Microsecond, 500 * time.Microsecond, time.Millisecond, 5 * time.Millisecond,
	10 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 500 * time.Millisecond, time.Second, 5 * time.Second,
}

// latency counts how long something took. The control goroutine counts, anybody reads.
type latency struct {
	buckets [len(latencyBounds) + 1]atomic.Uint64
	sum     atomic.Int64
}

func (l *latency) took(d time.Duration) {
	i := 0
	for i < len(latencyBounds) && d > latencyBounds[i] {
		i++
	}
	l.buckets[i].Add(1)
	l.sum.Add(int64(d))
}

// Histogram says how often something took how long.
type Histogram struct {
	Count uint64
	Sum   time.Duration
	// Upto counts what took at most so long.
	Upto map[time.Duration]uint64
}

func (l *latency) histogram() Histogram {
	h := Histogram{Sum: time.Duration(l.sum.Load()), Upto: make(map[time.Duration]uint64, len(latencyBounds))}
	for i := range l.buckets {
		h.Count += l.buckets[i].Load()
		if i < len(latencyBounds) {
			h.Upto[latencyBounds[i]] = h.Count
		}
	}
	return h
}
