package ike

import (
	"fmt"
	"time"
)

// activity is when a Child SA was seen to carry traffic. The datapath only counts, so it is looked at from time to time.
type activity struct {
	packets      uint64 // in both directions, at the last look
	last, lookAt time.Time
}

// looks is how often a Child SA is looked at in the time after which it counts as inactive: it is closed that much of it
// later at most.
const looks = 8

// watchActivity begins to look.
func (c *childSA) watchActivity() {
	if c.activity.last.IsZero() {
		c.activity.last = c.sa.end.now
	}
	c.nextLook()
}

func (c *childSA) nextLook() {
	if c.cfg.Inactivity > 0 {
		c.activity.lookAt = c.sa.end.now.Add(max(c.cfg.Inactivity/looks, time.Millisecond))
	}
}

// seeActivity compares the counters with those of the last look.
func (c *childSA) seeActivity() {
	d := c.sa.end.cfg.Datapath
	if n := d.Received(c.in) + d.Sent(c.in); n != c.activity.packets {
		c.activity.packets, c.activity.last = n, c.sa.end.now
	}
}

// inheritActivity lets a successor go on with the silence of its predecessor: new keys are no traffic.
func (c *childSA) inheritActivity(old *childSA) {
	if old.cfg.Inactivity > 0 {
		old.seeActivity()
		c.activity.last = old.activity.last
	}
}

// lookForActivity closes the Child SA if there was none for too long. The IKE SA stays, even without a child.
func (c *childSA) lookForActivity() {
	c.nextLook()
	if c.deleting || c.isReplaced() || c.redundant {
		return
	}
	c.seeActivity()
	if c.sa.end.now.Sub(c.activity.last) < c.cfg.Inactivity {
		return
	}
	c.sa.end.keeperOf(c.sa.conn).idle(c.cfg)
	c.closeWith(fmt.Sprintf("it carried nothing for %v", c.cfg.Inactivity))
}
