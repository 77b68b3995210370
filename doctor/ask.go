package doctor

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"time"
)

const (
	// firstWait is how soon an unanswered probe is sent again; each wait is twice the one before.
	firstWait = 500 * time.Millisecond
	// firstSize is the same of a probe about the length of packets, at least: the time of a round trip is known then.
	firstSize = 150 * time.Millisecond
	// afterICMP is how long an answer is waited for after an ICMP error, which anybody may have sent.
	afterICMP = 200 * time.Millisecond
	// pause is between two probes of a peer.
	pause = 50 * time.Millisecond
)

// outcome is what came of a probe.
type outcome struct {
	answer *answer // nil: none
	// trip is the time from the last transmission to the answer.
	trip time.Duration
	icmp *icmpError // the last one
	// other is where an answer came from that should have come from elsewhere.
	other netip.AddrPort
	err   error // why it could not be sent at all
	// asked: the peer asked for a cookie or another group, and was silent then.
	asked bool
}

// ask sends a probe until it is answered or patience is over. first is how soon it is sent again.
func (x *examination) ask(ctx context.Context, l line, p *probe, first, patience time.Duration) (o outcome) {
	buf := make([]byte, 64<<10)
	end, wait := time.Now().Add(patience), first
	for ctx.Err() == nil {
		sent := time.Now()
		if !sent.Before(end) {
			return o
		}
		if o.err = l.Send(p.message()); errors.As(o.err, &o.icmp) {
			if o.icmp.code == tooBig {
				return o
			}
			o.err = nil
		} else if o.err != nil {
			return o
		}
		again := false
		for until := earlier(sent.Add(wait), end); !again; {
			n, from, err := l.Receive(buf, until)
			switch icmp := (*icmpError)(nil); {
			case errors.As(err, &icmp):
				if o.icmp = icmp; icmp.code == tooBig {
					return o
				}
				end = earlier(end, time.Now().Add(afterICMP))
				until = earlier(until, end)
				continue
			case errors.Is(err, os.ErrDeadlineExceeded):
			case err != nil:
				o.err = err
				return o
			default:
				var a *answer
				if a, again, err = p.take(x.Rand, buf[:n]); err != nil || a == nil && !again {
					continue
				}
				o.asked = again
				if from != p.path.Remote {
					o.other = from
				}
				if a != nil {
					o.answer, o.trip = a, time.Since(sent)
					return o
				}
				continue
			}
			break
		}
		if wait *= 2; again {
			wait = first
		}
	}
	return o
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// rest waits a moment, or until ctx ends.
func rest(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// sizes are the lengths of IP packets that are tried, in bytes: those of the usual links and tunnels.
var sizes = [...]int{1500, 1492, 1480, 1460, 1440, 1420, 1400, 1380, 1350, 1320, 1280, 1200, 1006, 576}

// maxSizes is how many of them are tried.
const maxSizes = 5

// reach is how long a packet may be to arrive at the peer.
type reach struct {
	arrives int // the longest that was answered, in bytes; 0: none
	lost    int // the shortest that was not; 0: none
	icmp    *icmpError
	probes  int
}

// measure finds how long packets may be that are not fragmented. Only whether something arrives is asked, by what leaves nothing at
// the peer. top is the MTU of the first link, known what has arrived before.
func (x *examination) measure(ctx context.Context, l line, ask func(size int) (*probe, error), top, known int, trip time.Duration) (r reach, err error) {
	if err := l.Whole(); err != nil {
		return r, err
	}
	try := func(size int) bool {
		p, askErr := ask(size)
		if askErr != nil {
			err = askErr
			return false
		}
		r.probes++
		first := max(3*trip, firstSize)
		o := x.ask(ctx, l, p, first, 3*first) // twice
		if o.icmp != nil && o.icmp.code == tooBig {
			r.icmp = o.icmp
		}
		rest(ctx, pause)
		return o.answer != nil
	}
	var list []int // the long first
	for _, s := range sizes {
		if s <= top && s > known {
			list = append(list, s)
		}
	}
	if top < sizes[0] && top > known && (len(list) == 0 || list[0] != top) {
		list = append([]int{top}, list...)
	}
	r.arrives = known
	// The first is the likeliest; of the others the middle.
	for at := 0; len(list) > 0 && r.probes < maxSizes && ctx.Err() == nil && err == nil; at = len(list) / 2 {
		size := list[at]
		if r.icmp != nil && r.icmp.mtu > r.arrives && (r.lost == 0 || r.icmp.mtu < r.lost) {
			size = r.icmp.mtu // the router knows
		}
		before := list
		list = nil
		if try(size) {
			r.arrives = size
			for _, s := range before {
				if s > size {
					list = append(list, s)
				}
			}
			if r.icmp != nil && r.icmp.mtu == size {
				break
			}
			continue
		}
		r.lost = size
		for _, s := range before {
			if s < size {
				list = append(list, s)
			}
		}
	}
	return r, err
}
