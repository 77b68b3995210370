package ike

import (
	"container/heap"
	"time"
)

// agenda orders what has a deadline, so that neither Deadline nor a Tick looks at anything that is not due.
type agenda struct{ entries entryHeap }

// entry is one place in the agenda. Its zero value is not in it.
type entry struct {
	at    time.Time
	index int // position in the heap + 1
	owner interface{ fire() }
}

// set moves e to a time; the zero time takes it out.
func (a *agenda) set(e *entry, at time.Time) {
	switch {
	case at.IsZero() && e.index == 0:
	case at.IsZero():
		heap.Remove(&a.entries, e.index-1)
	case e.index == 0:
		e.at = at
		heap.Push(&a.entries, e)
	case !e.at.Equal(at):
		e.at = at
		heap.Fix(&a.entries, e.index-1)
	}
}

// next is the earliest time in the agenda.
func (a *agenda) next() (time.Time, bool) {
	if len(a.entries) == 0 {
		return time.Time{}, false
	}
	return a.entries[0].at, true
}

// due takes out one owner whose time has come, or returns nil.
func (a *agenda) due(now time.Time) interface{ fire() } {
	if len(a.entries) == 0 || a.entries[0].at.After(now) {
		return nil
	}
	return heap.Pop(&a.entries).(*entry).owner
}

type entryHeap []*entry

func (h entryHeap) Len() int           { return len(h) }
func (h entryHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h entryHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i+1, j+1
}

func (h *entryHeap) Push(x any) {
	e := x.(*entry)
	*h = append(*h, e)
	e.index = len(*h)
}

func (h *entryHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	e.index = 0
	return e
}

// timers are the deadlines of an IKE SA, each a zero time if not set.
type timers [numTimers]time.Time

type timer int

const (
	timerRetransmit timer = iota // our request is unanswered
	timerGiveUp                  // setting up, or the end of a lingering IKE SA, takes no longer
	timerRekey                   // the IKE SA is due for new keys
	timerReauth                  // the IKE SA is due to be set up anew
	timerExpire                  // the IKE SA is too old to go on
	timerProbe                   // the peer was silent for long
	timerKeepalive               // the NAT mapping needs a packet
	timerChildren                // a child needs attention
	timerDeferred                // an exchange may be tried again
	timerFragments               // the rest of a request in fragments is late
	timerAnswer                  // the answer to the peer's Delete has waited long enough
	numTimers
)

// next is the earliest deadline that is set, or the zero time.
func (t *timers) next() time.Time {
	var first time.Time
	for _, at := range t {
		first = earlier(first, at)
	}
	return first
}

// take reports whether timer i is due, and clears it if so.
func (t *timers) take(i timer, now time.Time) bool {
	if t[i].IsZero() || t[i].After(now) {
		return false
	}
	t[i] = time.Time{}
	return true
}

// earlier is the earlier of two times; a zero time is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
