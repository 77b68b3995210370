package config

import (
	"math"
	"strconv"
	"time"

	"github.com/culvert-vpn/culvert/ike"
)

// charon is the section charon while it is read: the settings of strongSwan's strongswan.conf that Culvert obeys. swanctl passes over
// sections that it does not know, so a file that has it is still one for both.
type charon struct {
	retransmission
	makeFirst, follow written[bool]
}

// charonKeys are the keys of charon.
var charonKeys = append(retransmitKeys(func(c *charon) *retransmission { return &c.retransmission }),
	key[charon]{name: "make_before_break", set: func(c *charon, v string) error { return c.makeFirst.set(parseBool(v)) }},
	key[charon]{name: "follow_redirects", set: func(c *charon, v string) error { return c.follow.set(parseBool(v)) }})

// retransmission is a schedule of retransmissions while it is read.
type retransmission struct {
	timeout, limit written[time.Duration]
	base           written[float64]
	tries, jitter  written[int]
}

// Bounds of a schedule. strongSwan allows no larger jitter.
const (
	maxTries    = 100
	maxJitter   = 20
	minTimeout  = 100 * time.Millisecond
	maxPatience = 24 * time.Hour
)

// retransmitKeys are rows for the schedule, in a table of T. The names are strongSwan's.
func retransmitKeys[T any](of func(*T) *retransmission) []key[T] {
	return []key[T]{
		{name: "retransmit_timeout", set: func(t *T, v string) error { return of(t).timeout.set(parseTimeout(v)) }},
		{name: "retransmit_base", set: func(t *T, v string) error { return of(t).base.set(parseBase(v)) }},
		{name: "retransmit_tries", set: func(t *T, v string) error {
			n, err := parseNumber(v, maxTries)
			if err == nil && n == 0 {
				err = wrong("1 or more", "a peer would be given up for the loss of one datagram")
			}
			return of(t).tries.set(int(n), err)
		}},
		{name: "retransmit_jitter", set: func(t *T, v string) error {
			n, err := parseNumber(v, maxJitter)
			return of(t).jitter.set(int(n), err)
		}},
		{name: "retransmit_limit", set: func(t *T, v string) error { return of(t).limit.set(parseTime(v)) }},
	}
}

// parseTimeout reads a time in seconds, which may have a fraction.
func parseTimeout(v string) (time.Duration, error) {
	seconds, err := strconv.ParseFloat(v, 64)
	if err != nil {
		return parseTime(v)
	}
	if !(seconds >= minTimeout.Seconds() && seconds <= maxPatience.Seconds()) {
		return 0, wrong("0.1 to 86400 seconds", "%s is no time to wait for an answer", v)
	}
	return time.Duration(seconds * float64(time.Second)), nil
}

func parseBase(v string) (float64, error) {
	base, err := strconv.ParseFloat(v, 64)
	if err != nil || math.IsNaN(base) || base < 1 || base > 10 {
		return 0, wrong("1 to 10, such as 1.8", "%q is no factor by which the waits grow", v)
	}
	return base, nil
}

// isWritten reports whether a part of the schedule stands in the file.
func (r *retransmission) isWritten() bool {
	return r.timeout.ok || r.limit.ok || r.base.ok || r.tries.ok || r.jitter.ok
}

// schedule completes what s says about retransmissions.
func (b *builder) schedule(s *section, r *retransmission, otherwise ike.Retransmit) ike.Retransmit {
	out := ike.Retransmit{
		Timeout: r.timeout.or(otherwise.Timeout), Base: r.base.or(otherwise.Base), Tries: r.tries.or(otherwise.Tries),
		Jitter: r.jitter.or(otherwise.Jitter), Limit: r.limit.or(otherwise.Limit),
	}
	if out.Timeout < minTimeout {
		b.fail(b.at(s, "retransmit_timeout"), "0.1 or more", "without a wait the peer has no time to answer")
	}
	if p := out.Patience(); p > maxPatience {
		b.fail(b.at(s, "retransmit_tries"), "fewer retransmit_tries, or retransmit_limit = 60", "a silent peer would be given up only after %v", p.Round(time.Second))
	}
	return out
}
