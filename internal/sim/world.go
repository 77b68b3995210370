package sim

import (
	"container/heap"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/culvert-vpn/culvert/ike"
)

// World is a network and the time in it.
type World struct {
	// Link is how every datagram fares between two hosts. It may be changed at any time.
	Link Link
	// Lose, when set, is asked about every datagram that is sent; true loses it.
	Lose func(*Datagram) bool

	now     time.Time
	rand    *rand.Rand
	coming  happenings
	counter int
	hosts   []*Host
	nats    []*NAT
	flows   []*Flow
	watch   watcher
	trace   trace
	errs    []error
	// sentESP numbers the simulated ESP packets.
	sentESP uint64
}

// Link is the quality of the network: what happens to a datagram on its way.
type Link struct {
	// Latency is the least time that a datagram takes, Jitter the most that is added to it at random: more than the
	// distance between two datagrams reorders them.
	Latency, Jitter time.Duration
	// Loss and Double are the probabilities that a datagram never arrives, and that it arrives twice.
	Loss, Double float64
	// MTU is the longest IP packet that passes, in bytes; 0 is no limit. Longer ones are lost, and nobody is told: a path
	// that carries no IP fragments.
	MTU int
}

// Epoch is when every simulation begins.
var Epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// maxErrors bounds what is kept for Err: one mistake often has many consequences.
const maxErrors = 20

// New returns an empty network with 20 ms of latency and no mischief.
func New(seed uint64) *World {
	return &World{
		Link:  Link{Latency: 20 * time.Millisecond},
		now:   Epoch,
		rand:  rand.New(rand.NewPCG(seed, 0x63756c76657274)),
		watch: newWatcher(),
	}
}

// Now is the time of the simulation.
func (w *World) Now() time.Time { return w.now }

// Rand is the randomness of the simulation, for operations that a test draws by lot.
func (w *World) Rand() *rand.Rand { return w.rand }

// Err joins what was found to be wrong so far; nil if nothing was.
func (w *World) Err() error { return errors.Join(w.errs...) }

// fail notes something that must not be.
func (w *World) fail(format string, args ...any) {
	err := fmt.Errorf("%v: %s", w.now.Sub(Epoch), fmt.Sprintf(format, args...))
	w.trace.note(w, nil, "!! "+err.Error())
	if len(w.errs) < maxErrors {
		w.errs = append(w.errs, err)
	}
}

// After lets something happen when d has passed.
func (w *World) After(d time.Duration, do func()) {
	w.counter++
	heap.Push(&w.coming, happening{at: w.now.Add(d), order: w.counter, do: do})
}

// Run lets d pass.
func (w *World) Run(d time.Duration) {
	end := w.now.Add(d)
	for w.step(end) {
	}
	w.now = end
}

// RunUntil lets time pass until done says so, at most d. It reports whether it did.
func (w *World) RunUntil(d time.Duration, done func() bool) bool {
	end := w.now.Add(d)
	for !done() {
		if !w.step(end) {
			w.now = end
			return done()
		}
	}
	return true
}

// Forget drops the past: the events, what the picture of a failure would show, and what was noted of SAs that are no more. A
// simulation that goes on for long would remember ever more.
func (w *World) Forget() {
	w.watch.forget(w.hosts)
	live := w.watch.sas
	keys := slices.DeleteFunc(w.trace.keys, func(k ike.Keys) bool {
		return !slices.ContainsFunc(w.hosts, func(h *Host) bool { return live[saKey{h, k.SPIi}] != nil || live[saKey{h, k.SPIr}] != nil })
	})
	w.trace = trace{datagrams: w.trace.datagrams, keys: slices.Clone(keys)}
	for _, h := range w.hosts {
		h.Events = nil
	}
}

// step lets the next thing happen, unless that is after end.
func (w *World) step(end time.Time) bool {
	var next *Host
	at := end
	for _, h := range w.hosts {
		if t, ok := h.deadline(); ok && !t.After(at) {
			if next == nil || t.Before(at) {
				next, at = h, t
			}
		}
	}
	if len(w.coming) > 0 && !w.coming[0].at.After(at) {
		x := heap.Pop(&w.coming).(happening)
		w.advance(x.at)
		x.do()
		return true
	}
	if next == nil {
		return false
	}
	w.advance(at)
	next.tick()
	return true
}

func (w *World) advance(to time.Time) {
	if to.After(w.now) {
		w.now = to
	}
}

// chance is true with probability p.
func (w *World) chance(p float64) bool { return p > 0 && w.rand.Float64() < p }

// hostAt is the host with an address of its own, not hidden behind a NAT box.
func (w *World) hostAt(a netip.Addr) *Host {
	for _, h := range w.hosts {
		if h.nat == nil && slices.Contains(h.addrs(), a) {
			return h
		}
	}
	return nil
}

// happening is something that is going to happen.
type happening struct {
	at    time.Time
	order int // of making, for those at the same time
	do    func()
}

type happenings []happening

func (h happenings) Len() int { return len(h) }
func (h happenings) Less(i, j int) bool {
	if !h[i].at.Equal(h[j].at) {
		return h[i].at.Before(h[j].at)
	}
	return h[i].order < h[j].order
}
func (h happenings) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *happenings) Push(x any)   { *h = append(*h, x.(happening)) }
func (h *happenings) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	(*h)[last] = happening{}
	*h = (*h)[:last]
	return x
}
