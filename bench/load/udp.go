//go:build linux

package load

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Shape says what datagrams are sent and how. The zero value of everything but Size is a flood of plain ones.
type Shape struct {
	// Size is the length of a datagram's payload in bytes, from MinSize on.
	Size int
	// Segments has the kernel cut long buffers into datagrams on their way (UDP_SEGMENT), and lets it hand them over joined
	// (UDP_GRO), as programs with QUIC do.
	Segments bool
}

// MinSize holds the number that every datagram carries.
const MinSize = 8

const (
	// batch is how many messages one system call moves.
	batch = 64
	// trainBytes and trainSegments bound what UDP_SEGMENT takes at once.
	trainBytes, trainSegments = 61440, 64
	// burst is the length of time that paced datagrams are sent for at once: shorter ones would cost the machine more for
	// waking up than for the datagrams.
	burst = 200 * time.Microsecond
	// receiveBuffer is large enough that nothing is lost while the receiver waits for a processor.
	receiveBuffer = 8 << 20
)

// Datagrams is a flow over UDP that goes on until it is stopped.
type Datagrams struct {
	shape               Shape
	in, out             int
	rate                atomic.Uint64 // per second; 0 is as many as possible
	sent, arrived, late atomic.Uint64
	stop                atomic.Bool
	running             sync.WaitGroup
}

// StartUDP sends datagrams from one end to the other: rate per second, or as many as possible if that is 0.
func StartUDP(from, to End, shape Shape, rate uint64) (*Datagrams, error) {
	if shape.Size < MinSize {
		return nil, fmt.Errorf("datagrams of %d bytes: the least is %d", shape.Size, MinSize)
	}
	d := &Datagrams{shape: shape, in: -1, out: -1}
	d.rate.Store(rate)
	if err := d.open(from, to); err != nil {
		d.close()
		return nil, err
	}
	d.running.Add(2)
	go d.receive()
	go d.send()
	return d, nil
}

func (d *Datagrams) open(from, to End) (err error) {
	if d.in, err = to.socket(unix.SOCK_DGRAM, 0); err != nil {
		return err
	}
	if err = unix.SetsockoptInt(d.in, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer); err != nil {
		return fmt.Errorf("receive buffer: %w", err)
	}
	address, err := to.addressOf(d.in)
	if err != nil {
		return err
	}
	if d.out, err = from.socket(unix.SOCK_DGRAM, 0); err != nil {
		return err
	}
	if err = unix.Connect(d.out, address); err != nil {
		return fmt.Errorf("connect to %v: %w", to.Addr, err)
	}
	if !d.shape.Segments {
		return nil
	}
	if err = unix.SetsockoptInt(d.out, unix.SOL_UDP, unix.UDP_SEGMENT, d.shape.Size); err != nil {
		return fmt.Errorf("UDP_SEGMENT: %w", err)
	}
	if err = unix.SetsockoptInt(d.in, unix.SOL_UDP, unix.UDP_GRO, 1); err != nil {
		return fmt.Errorf("UDP_GRO: %w", err)
	}
	return nil
}

// Sent, Arrived and Late are how many datagrams there were so far; late ones arrived after one that was sent after them.
func (d *Datagrams) Sent() uint64    { return d.sent.Load() }
func (d *Datagrams) Arrived() uint64 { return d.arrived.Load() }
func (d *Datagrams) Late() uint64    { return d.late.Load() }

// SetRate changes how many datagrams are sent per second.
func (d *Datagrams) SetRate(rate uint64) { d.rate.Store(rate) }

// Stop ends the flow.
func (d *Datagrams) Stop() {
	d.stop.Store(true)
	d.running.Wait()
	d.close()
}

func (d *Datagrams) close() {
	for _, fd := range []int{d.in, d.out} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// perMessage is how many datagrams one message holds.
func (d *Datagrams) perMessage() int {
	if !d.shape.Segments {
		return 1
	}
	return max(min(trainBytes/d.shape.Size, trainSegments), 1)
}

func (d *Datagrams) send() {
	defer d.running.Done()
	runtime.LockOSThread() // the thread ends here: nobody else is to have its timer slack
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	each := d.perMessage()
	most := max(batch/each, 1)
	m := newMessages(most, each*d.shape.Size)
	next, due := uint64(0), time.Now()
	for !d.stop.Load() {
		n := most
		if rate := d.rate.Load(); rate > 0 {
			wanted := rate * uint64(burst) / uint64(time.Second) / uint64(each)
			n = int(min(max(wanted, 1), uint64(most)))
			due = pace(due, time.Duration(uint64(n*each)*uint64(time.Second)/rate))
		}
		for i := range n {
			for k := range each {
				binary.BigEndian.PutUint64(m.buf[(i*each+k)*d.shape.Size:], next+uint64(i*each+k))
			}
		}
		done, err := m.send(d.out, n)
		if err != nil {
			if !passing(err) {
				return // the flow ends, and what arrives tells
			}
			continue
		}
		next += uint64(done * each)
		d.sent.Store(next)
	}
}

// pace waits until it is time, and returns when the next time is. Who is late by more than some bursts does not catch up.
func pace(due time.Time, step time.Duration) time.Time {
	now := time.Now()
	if wait := due.Sub(now); wait > 0 {
		ts := unix.NsecToTimespec(wait.Nanoseconds())
		_ = unix.Nanosleep(&ts, nil)
	} else if wait < -10*burst {
		due = now
	}
	return due.Add(step)
}

func (d *Datagrams) receive() {
	defer d.running.Done()
	longest := d.shape.Size
	if d.shape.Segments {
		longest = 1 << 16
	}
	m := newMessages(batch, longest)
	c := counter{size: d.shape.Size}
	for !d.stop.Load() {
		n, err := m.receive(d.in)
		if err != nil {
			if !passing(err) {
				return
			}
			continue
		}
		for i := range n {
			c.take(m.buf[i*longest:][:m.headers[i].n])
		}
		d.arrived.Store(c.arrived)
		d.late.Store(c.late)
	}
}

// counter counts datagrams of one size.
type counter struct {
	size          int
	next          uint64 // the number after the highest so far
	arrived, late uint64
}

// take counts a datagram, or some that the kernel has joined.
func (c *counter) take(message []byte) {
	for ; len(message) >= c.size; message = message[c.size:] {
		number := binary.BigEndian.Uint64(message)
		if number < c.next {
			c.late++
		} else {
			c.next = number + 1
		}
		c.arrived++
	}
}
