package gateway

import "time"

// clock tells the time by which IKE lives. It goes on while the host is suspended, as that of the peer does, and does not jump when
// somebody sets the host's.
type clock struct {
	// uptime never stands still nor goes back.
	uptime func() time.Duration
	start  time.Duration
	began  time.Time

	// what the clocks said when wake was called last
	lastUptime time.Duration
	lastLook   time.Time

	// calendar is the host's, which anybody may set; lead is how far it was ahead of uptime when jumped was called last.
	calendar func() time.Time
	lead     time.Duration
	judged   bool // it was compared with what it must be at least
}

func newClock(uptime func() time.Duration) *clock {
	now, up := time.Now(), uptime()
	c := &clock{uptime: uptime, start: up, began: now.Round(0), lastUptime: up, lastLook: now, calendar: func() time.Time { return time.Now().Round(0) }}
	c.jumped()
	return c
}

// now is the time. Only its distance to other times of this clock means anything.
func (c *clock) now() time.Time { return c.began.Add(c.uptime() - c.start) }

// until is how long it takes until a time.
func (c *clock) until(at time.Time) time.Duration { return at.Sub(c.now()) }

// wall is a time of this clock as the host's calendar has it now; the zero time stays that.
func (c *clock) wall(at time.Time) time.Time {
	if at.IsZero() {
		return at
	}
	return time.Now().Add(c.until(at)).Round(0)
}

const (
	// lookAtClock is how soon it is noticed that the host was suspended: timers do not run on the clock that went on.
	lookAtClock = time.Second
	// nap is the shortest sleep that matters.
	nap = 2 * time.Second
)

// leap is the least that a calendar is set by. A clock that is kept by NTP never is; that of a virtual machine may be a bit late after a
// pause.
const leap = 5 * time.Second

// jumped is by how much the host's calendar was set since the last call; 0 if it was not.
func (c *clock) jumped() time.Duration {
	lead := c.calendar().Sub(time.Unix(0, 0)) - c.uptime()
	by := lead - c.lead
	c.lead = lead
	if by.Abs() < leap {
		return 0
	}
	return by
}

// woke reports whether the host slept since the last call. What a timer measures stands still meanwhile.
func (c *clock) woke() bool {
	up, now := c.uptime(), time.Now()
	slept := (up - c.lastUptime) - now.Sub(c.lastLook)
	c.lastUptime, c.lastLook = up, now
	return slept >= nap
}
