package gateway

import (
	"flag"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-vpn/culvert/udp/udptest"
)

// long makes TestSoak take its time.
var long = flag.Bool("long", false, "let TestSoak run for a month of its own time")

// soakLives are short lifetimes for both ends, so that everything is renewed many times in a day.
const (
	soakIKE   = "version = 2\n    rekey_time = 20m\n    rand_time = 5m\n    over_time = 10m\n    dpd_delay = 30s\n"
	soakChild = "rekey_time = 3m\n        life_time = 6m\n        rand_time = 1m\n        local_ts"
)

// remains is what a test process has when a tunnel is up and nothing is under way.
type remains struct{ goroutines, files, ikeSAs, childSAs, spis int }

// count counts; the network is at rest.
func count(t *testing.T, sites ...*site) (r remains) {
	t.Helper()
	synctest.Wait()
	r.goroutines = runtime.NumGoroutine()
	if list, err := os.ReadDir("/proc/self/fd"); err == nil { // elsewhere they are not counted
		r.files = len(list)
	}
	for _, s := range sites {
		status := s.g.Status()
		r.spis += status.SPIs
		for _, conn := range status.Connections {
			r.ikeSAs += len(conn.IKE)
			for _, sa := range conn.IKE {
				r.childSAs += len(sa.Children)
			}
		}
	}
	return r
}

// forget drops the events so far, and the box what crossed it: they would grow.
func (s *site) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = nil
}

func (n *nat) forget() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.seen = nil
}

// heapTolerance is how many bytes more may be in use in the end: what maps and slices that had to be larger once do not give back.
const heapTolerance = 512 << 10

// heapInUse is how many bytes are in use when all garbage was collected.
func heapInUse() uint64 {
	runtime.GC()
	runtime.GC() // what the first one finalized
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestSoak runs two gateways for days of their own time, with traffic every minute, the child rekeyed every three minutes and the IKE SA
// every twenty. Every six hours something befalls them: the NAT box moves, the way is cut for an hour, or one of them starts anew.
// In between every packet arrives. In the end there are as many goroutines, files, SAs, SPIs and bytes as in the beginning.
func TestSoak(t *testing.T) {
	days := 3
	if *long {
		days = 30
	}
	synctest.Test(t, func(t *testing.T) {
		confA := replace(confA, "to-b {\n", "to-b {\n    "+soakIKE, "local_ts", soakChild)
		confB := replace(confB, "to-a {\n", "to-a {\n    "+soakIKE, "local_ts", soakChild)
		box, cut := &nat{public: public}, atomic.Bool{}
		net := udptest.NewNetwork()
		net.Hook(func(p *udptest.Packet) bool { return !cut.Load() })
		net.Hook(box.hook)
		a, b := start(t, net, addrA, confA), (*site)(nil)
		synctest.Wait()
		b = start(t, net, addrB, confB)
		b.up()

		// minute sends a packet each way.
		minute := func() {
			t.Helper()
			there, back := ping(hostB, hostA, "there"), ping(hostA, hostB, "back")
			b.send(there)
			a.wants(there)
			a.send(back)
			b.wants(back)
			a.forget()
			b.forget()
			box.forget()
			time.Sleep(time.Minute)
		}
		// rest waits until nothing is under way, and counts.
		rest := func() remains {
			t.Helper()
			for range 100 {
				if r := count(t, a, b); r.ikeSAs == 2 && r.childSAs == 2 && r.spis == 2 {
					return r
				}
				time.Sleep(time.Second)
			}
			t.Fatalf("it does not come to rest: %+v", count(t, a, b))
			return remains{}
		}
		befall := []func(){
			func() {},
			func() { box.move(public.Next(), 7) },
			func() {
				cut.Store(true)
				time.Sleep(time.Hour)
				cut.Store(false)
			},
			func() {
				finish(t, b)
				b = start(t, net, addrB, confB)
			},
			func() {
				finish(t, a)
				time.Sleep(time.Minute)
				a = start(t, net, addrA, confA)
			},
			func() { box.move(public, 0) },
		}
		var first remains
		var bytes uint64
		for n := range 4 * days {
			befall[n%len(befall)]()
			time.Sleep(3 * time.Minute)
			b.up()
			a.received() // what was sent while it was down
			for range 5 * 60 {
				minute()
			}
			now := rest()
			switch {
			case n == 0:
				first = now
			case now != first:
				t.Fatalf("after %d hours there is %+v, and was %+v in the beginning", 6*(n+1), now, first)
			}
			if n == 1 {
				bytes = heapInUse()
			}
		}
		if now := heapInUse(); now > bytes+heapTolerance {
			t.Errorf("%d bytes are in use, in the beginning it was %d", now, bytes)
		} else {
			t.Logf("%d days: %+v, %d KiB in use, in the beginning it was %d KiB", days, first, now>>10, bytes>>10)
		}
		finish(t, b, a)
	})
}
