package gateway

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/udp/udptest"
)

// TestClock: it goes on while the host sleeps, and tells of that once.
//
// Cases: BUG-26.
func TestClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var slept atomic.Int64
		o := defaults()
		withTestClock(&slept)(&o)
		c := newClock(o.uptime)
		began := c.now()
		time.Sleep(time.Minute)
		if c.woke() || c.now().Sub(began) != time.Minute {
			t.Errorf("awake: %v", c.now().Sub(began))
		}
		slept.Store(int64(time.Hour))
		if !c.woke() || c.woke() || c.now().Sub(began) != time.Hour+time.Minute {
			t.Errorf("slept: %v", c.now().Sub(began))
		}
		if got := c.wall(c.now().Add(time.Minute)); !got.Equal(time.Now().Add(time.Minute)) || !c.wall(time.Time{}).IsZero() {
			t.Errorf("the calendar says %v in a minute, at %v", got, time.Now())
		}
	})
}

// TestHostClock: the host's clock goes forward.
func TestHostClock(t *testing.T) {
	if a, b := hostUptime(), hostUptime(); a <= 0 || b < a {
		t.Errorf("%v, then %v", a, b)
	}
}

// TestSleepingHost: what a sleep has made due is done within a second, and the peer is asked at once whether it is there.
//
// Cases: BUG-26.
func TestSleepingHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var slept atomic.Int64
		network := udptest.NewNetwork()
		box := &nat{public: public}
		network.Hook(box.hook)
		a := start(t, network, addrA, confA)
		b := start(t, network, addrB, confB, withTestClock(&slept))
		defer finish(t, a, b)
		b.up()
		before := b.g.Status()
		time.Sleep(10 * time.Second)
		slept.Store(int64(62 * time.Minute)) // the child is rekeyed within an hour
		time.Sleep(lookAtClock + time.Second)
		if _, ok := b.saw(ike.ChildRekeyed); !ok {
			t.Errorf("not rekeyed: %+v", b.g.Status().Connections[0].IKE)
		}
		after := b.g.Status().Connections[0].IKE[0]
		if age := after.Established.Sub(before.Connections[0].IKE[0].Established); age > -61*time.Minute {
			t.Errorf("the IKE SA was established %v earlier by the clock after the sleep", -age)
		}
	})
}
