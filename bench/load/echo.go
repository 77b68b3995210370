//go:build linux

package load

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Times are round trips.
type Times struct {
	Trips []time.Duration // ascending, of the requests that were answered
	Lost  int             // requests that were not within a second
}

// Quantile is the time that a share q of all round trips, 0 to 1, does not exceed; 0 if there are none.
func (t Times) Quantile(q float64) time.Duration {
	if len(t.Trips) == 0 {
		return 0
	}
	return t.Trips[min(int(q*float64(len(t.Trips))), len(t.Trips)-1)]
}

const (
	echoSize     = 64          // bytes of payload
	echoPatience = time.Second // for an answer
)

// Echoer is a pair of sockets that measures round trips of small datagrams.
type Echoer struct {
	client, server int
	next           uint64
	stop           atomic.Bool
	running        sync.WaitGroup
}

// NewEchoer opens the sockets, and has the far end answer.
func NewEchoer(from, to End) (*Echoer, error) {
	e := &Echoer{client: -1, server: -1}
	if err := e.open(from, to); err != nil {
		e.Close()
		return nil, err
	}
	e.running.Add(1)
	go e.answer()
	return e, nil
}

func (e *Echoer) open(from, to End) (err error) {
	if e.server, err = to.socket(unix.SOCK_DGRAM, 0); err != nil {
		return err
	}
	address, err := to.addressOf(e.server)
	if err != nil {
		return err
	}
	if e.client, err = from.socket(unix.SOCK_DGRAM, 0); err != nil {
		return err
	}
	if err = unix.Connect(e.client, address); err != nil {
		return fmt.Errorf("connect to %v: %w", to.Addr, err)
	}
	return nil
}

func (e *Echoer) answer() {
	defer e.running.Done()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	buf := make([]byte, 2*echoSize)
	for !e.stop.Load() {
		n, from, err := unix.Recvfrom(e.server, buf, 0)
		if err == nil && n > 0 {
			_ = unix.Sendto(e.server, buf[:n], 0, from) // what is lost is lost
		}
	}
}

// Measure sends requests, the next one an interval after the answer to the last, until the time is over.
func (e *Echoer) Measure(interval, length time.Duration) Times {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var t Times
	for end := time.Now().Add(length); time.Now().Before(end); {
		if trip, ok := e.Once(echoPatience); ok {
			t.Trips = append(t.Trips, trip)
		} else {
			t.Lost++
		}
		time.Sleep(interval)
	}
	slices.Sort(t.Trips)
	return t
}

// Once sends one request and waits for its answer.
func (e *Echoer) Once(patience time.Duration) (time.Duration, bool) {
	var request, answer [echoSize]byte
	e.next++
	binary.BigEndian.PutUint64(request[:], e.next)
	begin := time.Now()
	if _, err := unix.Write(e.client, request[:]); err != nil && !passing(err) {
		return 0, false
	}
	for {
		n, err := unix.Read(e.client, answer[:])
		took := time.Since(begin)
		if err == nil && n == echoSize && binary.BigEndian.Uint64(answer[:]) == e.next {
			return took, true
		}
		if took > patience || err != nil && !passing(err) {
			return 0, false
		}
	}
}

// Close ends the answers and closes the sockets.
func (e *Echoer) Close() {
	e.stop.Store(true)
	e.running.Wait()
	for _, fd := range []int{e.client, e.server} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}
