package sim

import (
	"flag"
	"runtime"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/ike"
)

// long makes TestSoak take its time.
var long = flag.Bool("long", false, "let TestSoak run for half a year of its own time")

// remains is what is left when a world has come to rest.
type remains struct {
	ikeSAs, childSAs, spis, halves int
	// coming is the number of things that are going to happen: timers of the world, and datagrams on their way.
	coming     int
	goroutines int
}

// count counts what is left of a scene. An endpoint has one deadline, whatever it waits for.
func (s *scene) count() (r remains) {
	for _, h := range s.hosts {
		for _, sa := range h.Snapshot() {
			r.ikeSAs++
			r.childSAs += len(sa.Children)
		}
		r.spis += len(h.table.held)
		r.halves += len(h.table.in) + len(h.table.out)
	}
	r.coming, r.goroutines = len(s.coming), runtime.NumGoroutine()
	return r
}

// heapInUse is how many bytes are in use when all garbage was collected.
func heapInUse() uint64 {
	runtime.GC()
	runtime.GC() // what the first one finalized
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// heapTolerance is how many bytes more may be in use in the end: what maps and slices that had to be larger once do not give back.
const heapTolerance = 256 << 10

// TestSoak lets a site-to-site connection live for days: the child is rekeyed every quarter of an hour and the IKE SA every two hours,
// by both ends, and it is set up anew once a day. Every hour something happens by lot: an end reboots, is off the network, loses its NAT
// mapping, its clock steps, the operator closes things. Every night it rests. There is one child then, and as much of everything as
// there was the first night.
func TestSoak(t *testing.T) {
	days := 6
	if *long {
		days = 180
	}
	s := newScene(t, 1, func(a, b *side) {
		a.closeAction, b.peer, b.start = ike.Start, "", ike.Trap
		a.soft.Time, a.hard.Time, b.soft.Time, b.hard.Time = 15*time.Minute, 25*time.Minute, 17*time.Minute, 27*time.Minute
		a.rekey, b.rekey, a.reauth = 2*time.Hour, 125*time.Minute, 24*time.Hour
	})
	s.Masquerade("198.51.100.7", time.Minute, s.a)
	s.homes = [2]home{{s.a.Addr, s.a.nat}, {s.b.Addr, s.b.nat}}
	s.up()
	var first remains
	var bytes uint64
	begin := s.Now()
	for day := range days {
		s.day()
		s.night()
		now := s.count()
		if day < 1 { // the first day is for what is there once and for all
			first = now
			continue
		}
		if now != first {
			t.Fatalf("after day %d there is %+v, and was %+v after the first", day+1, now, first)
		}
		if day == 2 {
			bytes = heapInUse()
		}
	}
	if now := heapInUse(); now > bytes+heapTolerance {
		t.Errorf("%d bytes are in use, after three days it was %d", now, bytes)
	} else {
		t.Logf("%v: %+v, %d KiB in use, after three days it was %d KiB", s.Now().Sub(begin), first, now>>10, bytes>>10)
	}
	s.wantEnd()
}

// day lets 20 hours pass on a link that loses and doubles, with something happening every hour.
func (s *scene) day() {
	s.Link = Link{Latency: 20 * time.Millisecond, Jitter: 50 * time.Millisecond, Loss: 0.05, Double: 0.02, MTU: 1500}
	s.Traffic(conn, child, 20*time.Second, s.a, s.b)
	for range 20 {
		s.byLot()
		s.Run(time.Hour)
	}
	s.StopTraffic()
}

// night lets the rest of the day pass, without mischief.
func (s *scene) night() {
	s.t.Helper()
	s.calm()
	s.Run(4 * time.Hour)
	if !s.RunUntil(time.Hour, s.Quiet) {
		s.t.Fatal("it does not come to rest")
	}
	s.CheckQuiet()
	for _, h := range []*Host{s.a, s.b} {
		if n := h.Up(conn, child); n != 1 {
			s.t.Fatalf("%s has %d Child SAs, want 1", h.Name, n)
		}
	}
	if s.Err() != nil {
		s.t.FailNow() // with the picture of this day
	}
	s.Forget()
}
