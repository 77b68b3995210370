//go:build linux

package e2e

import (
	"container/heap"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Fate decides what becomes of a frame on a line: every duration is when a copy of it arrives, counted from now.
// None means that the frame is lost, two that it is doubled; of two frames the later one may arrive first.
// Frames are given to it one at a time; it must not keep them.
type Fate func(frame []byte) []time.Duration

// Delay is the fate of arriving after a while, and in order.
func Delay(d time.Duration) Fate {
	return func([]byte) []time.Duration { return []time.Duration{d} }
}

// Line connects two hosts like [Net.Link], through this process instead of the kernel, so that anything can happen
// to a frame on its way. It is slower than a cable.
func (n *Net) Line(a *Host, addrsA []string, b *Host, addrsB []string, fate Fate) *Link {
	n.t.Helper()
	endA, endB := n.tap(a, b.Name), n.tap(b, a.Name)
	a.Configure(b.Name, addrsA)
	b.Configure(a.Name, addrsB)
	var mu sync.Mutex
	oneAtATime := func(frame []byte) []time.Duration {
		mu.Lock()
		defer mu.Unlock()
		return fate(frame)
	}
	go carry(endA, endB, oneAtATime)
	go carry(endB, endA, oneAtATime)
	return newLink(a, b)
}

// tap makes an Ethernet device on the host whose other side is the file.
func (n *Net) tap(h *Host, name string) *os.File {
	n.t.Helper()
	var file *os.File
	err := h.Do(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("line: /dev/net/tun: %w", err)
		}
		request, err := unix.NewIfreq(name)
		if err == nil {
			request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
		}
		if err != nil {
			unix.Close(fd)
			return fmt.Errorf("line %s: %w", name, err)
		}
		file = os.NewFile(uintptr(fd), name)
		return nil
	})
	Must(n.t, err)
	n.t.Cleanup(func() { file.Close() })
	return file
}

// carry moves frames from one end to the other until an end is closed.
func carry(from, to *os.File, fate Fate) {
	arrivals := make(chan flight)
	done := make(chan struct{})
	go func() {
		defer close(done)
		land(to, arrivals)
	}()
	defer func() { close(arrivals); <-done }()
	buf := make([]byte, 1<<16)
	for order := 0; ; {
		n, err := from.Read(buf)
		if err != nil {
			return // closed
		}
		for _, d := range fate(buf[:n]) {
			order++
			arrivals <- flight{at: time.Now().Add(d), order: order, frame: append([]byte(nil), buf[:n]...)}
		}
	}
}

// land writes every frame when its time has come, until there will be no more.
func land(to *os.File, arrivals <-chan flight) {
	var flying flights
	for {
		var next <-chan time.Time
		if len(flying) > 0 {
			next = time.After(time.Until(flying[0].at))
		}
		select {
		case f, more := <-arrivals:
			if !more {
				return
			}
			heap.Push(&flying, f)
		case <-next:
			f := heap.Pop(&flying).(flight)
			_, _ = to.Write(f.frame) // a frame that the other end cannot take is lost, as on every network
		}
	}
}

// flight is a frame on its way.
type flight struct {
	at    time.Time
	order int // among frames that arrive at the same time
	frame []byte
}

// flights is a heap with the next arrival on top.
type flights []flight

func (f flights) Len() int      { return len(f) }
func (f flights) Swap(i, j int) { f[i], f[j] = f[j], f[i] }
func (f *flights) Push(x any)   { *f = append(*f, x.(flight)) }
func (f flights) Less(i, j int) bool {
	if f[i].at.Equal(f[j].at) {
		return f[i].order < f[j].order
	}
	return f[i].at.Before(f[j].at)
}

func (f *flights) Pop() any {
	old := *f
	last := old[len(old)-1]
	*f = old[:len(old)-1]
	return last
}
