package ike

import (
	"net/netip"
	"time"
)

// How often strangers are told that something is wrong with what they sent (RFC 7296 2.21.4). COOKIE and INVALID_KE_PAYLOAD
// are no errors in this sense: a peer needs them to go on.
const (
	complaintInterval          = 20 * time.Millisecond // in all, in the long run
	complaintBurst             = 50
	complaintIntervalPerSource = time.Second
	complaintBurstPerSource    = 5
)

// limiter bounds how often something is done for strangers, in all and for one source. Its size is fixed: sources share the
// places of a small table.
type limiter struct {
	all pace
	by  [256]pace
}

// pace is one event every so often, with bursts: the time at which the past events would all have been due.
type pace struct{ due time.Time }

// late reports whether one more event at now would be more than the burst ahead of its time.
func (p *pace) late(now time.Time, interval time.Duration, burst int) bool {
	return p.due.Sub(now) > time.Duration(burst-1)*interval
}

func (p *pace) count(now time.Time, interval time.Duration) {
	if p.due.Before(now) {
		p.due = now
	}
	p.due = p.due.Add(interval)
}

// turn counts one more event, and returns when it is due: now, as long as the burst lasts.
func (p *pace) turn(now time.Time, interval time.Duration, burst int) time.Time {
	p.count(now, interval)
	return later(now, p.due.Add(-time.Duration(burst)*interval))
}

// allow reports whether it may be done once more, and counts it if so.
func (l *limiter) allow(now time.Time, a netip.Addr) bool {
	place := &l.by[placeOf(source(a))]
	if l.all.late(now, complaintInterval, complaintBurst) || place.late(now, complaintIntervalPerSource, complaintBurstPerSource) {
		return false
	}
	l.all.count(now, complaintInterval)
	place.count(now, complaintIntervalPerSource)
	return true
}

// placeOf spreads sources over the table (FNV-1a). Whoever chooses addresses that collide gains no more than by exhausting
// the limit of all.
func placeOf(a netip.Addr) byte {
	h := uint32(2166136261)
	for _, b := range a.As16() {
		h = (h ^ uint32(b)) * 16777619
	}
	return byte(h>>24 ^ h)
}
