// Package tuntest is a TUN device in memory: a test plays the host whose packets enter the tunnel. It is made of
// channels, so that it works inside a bubble of testing/synctest.
package tuntest

import (
	"io"
	"os"
	"slices"
	"sync"

	"github.com/culvert-vpn/culvert/offload"
	"github.com/culvert-vpn/culvert/tun"
)

// Device implements tun.Device.
type Device struct {
	name   string
	queues []*Queue

	mu  sync.Mutex
	mtu int
}

var (
	_ tun.Device = (*Device)(nil)
	_ tun.Queue  = (*Queue)(nil)
)

// New makes a device with so many queues.
func New(name string, mtu, queues int) *Device {
	d := &Device{name: name, mtu: mtu}
	for range queues {
		d.queues = append(d.queues, NewQueue())
	}
	return d
}

// Name is the name that the device was made with.
func (d *Device) Name() string { return d.name }
func (d *Device) Index() int   { return 0 }

// MTU is the device's MTU in bytes.
func (d *Device) MTU() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mtu
}

// SetMTU changes what MTU says; nothing is enforced.
func (d *Device) SetMTU(bytes int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mtu = bytes
	return nil
}

// Offloads are those that Send can make use of.
func (d *Device) Offloads() offload.Set { return offload.TSO | offload.USO }

// Queue returns queue i, with the host's side of it.
func (d *Device) Queue(i int) *Queue { return d.queues[i] }

// Queues are the device's queues, which it keeps.
func (d *Device) Queues() []tun.Queue {
	var all []tun.Queue
	for _, q := range d.queues {
		all = append(all, q)
	}
	return all
}

// Close closes all queues. Closing again does nothing.
func (d *Device) Close() error {
	var err error
	for _, q := range d.queues {
		err = q.Close()
	}
	return err
}

// queueLength is the number of packets that wait in either direction.
const queueLength = 1024

// Queue implements tun.Queue; Send and Received are the host's side.
type Queue struct {
	toTunnel chan tun.Super
	toHost   chan []byte
	done     chan struct{}
	once     sync.Once
}

// NewQueue makes a queue that belongs to no device.
func NewQueue() *Queue {
	return &Queue{
		toTunnel: make(chan tun.Super, queueLength),
		toHost:   make(chan []byte, queueLength),
		done:     make(chan struct{}),
	}
}

// Send has the host send a packet or superpacket into the tunnel. It takes a copy, and waits while the queue is full.
func (q *Queue) Send(s tun.Super) error {
	select {
	case <-q.done: // first alone: with room in the queue, a select chooses either
		return os.ErrClosed
	default:
	}
	s.Packet = slices.Clone(s.Packet)
	select {
	case <-q.done:
		return os.ErrClosed
	case q.toTunnel <- s:
		return nil
	}
}

// Received is what came out of the tunnel, packet by packet: superpackets are cut and checksums complete.
func (q *Queue) Received() <-chan []byte { return q.toHost }

// Read returns a packet that a test has sent, as the device's user sees it.
func (q *Queue) Read(buf []byte) (tun.Super, error) {
	select {
	case <-q.done:
		return tun.Super{}, os.ErrClosed
	default:
	}
	select {
	case <-q.done:
		return tun.Super{}, os.ErrClosed
	case s := <-q.toTunnel:
		return place(s, buf)
	}
}

// TryRead returns a packet that a test has sent, if there is one.
func (q *Queue) TryRead(buf []byte) (tun.Super, bool, error) {
	select {
	case <-q.done:
		return tun.Super{}, true, os.ErrClosed
	default:
	}
	select {
	case s := <-q.toTunnel:
		s, err := place(s, buf)
		return s, true, err
	default:
		return tun.Super{}, false, nil
	}
}

// place puts a packet where Read promises it.
func place(s tun.Super, buf []byte) (tun.Super, error) {
	if len(s.Packet)+tun.Headroom > len(buf) {
		return tun.Super{}, io.ErrShortBuffer
	}
	s.Packet = buf[tun.Headroom:][:copy(buf[tun.Headroom:], s.Packet)]
	return s, nil
}

// Write does not wait: when the host does not take its packets, it returns tun.ErrNoBuffers.
func (q *Queue) Write(s tun.Super, more [][]byte) error {
	select {
	case <-q.done:
		return os.ErrClosed
	default:
	}
	s.Packet = slices.Concat(append([][]byte{s.Packet}, more...)...)
	n := s.Segments()
	if n == 0 || len(s.Packet) == 0 {
		return tun.ErrMalformed
	}
	for i := range n {
		packet := make([]byte, len(s.Packet))
		packet = packet[:s.Cut(i, packet)]
		select {
		case q.toHost <- packet:
		default:
			return tun.ErrNoBuffers
		}
	}
	return nil
}

// Close makes Read return os.ErrClosed.
func (q *Queue) Close() error {
	err := os.ErrClosed
	q.once.Do(func() {
		err = nil
		close(q.done)
	})
	return err
}
