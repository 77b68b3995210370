//go:build linux || darwin

package tun

import (
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/songgao/water"

	"github.com/culvert-vpn/culvert/offload"
)

// portable is a device with one plain queue, which is the file of github.com/songgao/water.
type portable struct {
	file  *water.Interface
	ctl   control
	index int
	mtu   atomic.Int64
	queue portableQueue

	closed atomic.Bool
}

func openPortable(o Options) (Device, error) {
	ctl, err := openControl()
	if err != nil {
		return nil, err
	}
	config := water.Config{DeviceType: water.TUN}
	config.Name = o.Name
	file, err := water.New(config)
	if err != nil {
		ctl.close()
		return nil, openError(o.Name, err)
	}
	d := &portable{file: file, ctl: ctl, queue: portableQueue{file: file}}
	if d.index, err = ctl.index(file.Name()); err == nil {
		err = d.SetMTU(o.MTU)
	}
	if err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

func (d *portable) Name() string    { return d.file.Name() }
func (d *portable) Index() int      { return d.index }
func (d *portable) MTU() int        { return int(d.mtu.Load()) }
func (d *portable) Queues() []Queue { return []Queue{&d.queue} }

func (d *portable) Offloads() offload.Set { return 0 }

func (d *portable) SetMTU(bytes int) error {
	if err := checkMTU(bytes); err != nil {
		return err
	}
	if d.closed.Load() {
		return os.ErrClosed
	}
	if err := d.ctl.setMTU(d.Name(), bytes); err != nil {
		return err
	}
	d.mtu.Store(int64(bytes))
	return nil
}

func (d *portable) Close() error {
	if d.closed.Swap(true) {
		return os.ErrClosed
	}
	err := d.queue.Close()
	if errors.Is(err, os.ErrClosed) {
		err = nil
	}
	return errors.Join(err, d.ctl.close())
}

// portableQueue reads and writes plain packets, one call each.
type portableQueue struct {
	file   io.ReadWriteCloser
	closed atomic.Bool

	mu      sync.Mutex // guards what follows
	joined  []byte     // a packet that came in pieces
	segment []byte
}

func (q *portableQueue) Read(buf []byte) (Super, error) {
	if len(buf) <= Headroom {
		return Super{}, io.ErrShortBuffer
	}
	buf = buf[Headroom:]
	n, err := q.file.Read(buf)
	if err != nil {
		return Super{}, q.failure(err)
	}
	packet := buf[:n]
	if n == len(buf) && ipLen(packet) > n {
		return Super{}, io.ErrShortBuffer
	}
	return Super{Packet: packet}, nil
}

// TryRead finds nothing: the file can only wait.
func (q *portableQueue) TryRead([]byte) (Super, bool, error) { return Super{}, false, nil }

// Write does in software what the device does not: it joins the pieces, and cuts superpackets.
func (q *portableQueue) Write(s Super, more [][]byte) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(more) > 0 {
		q.joined = append(q.joined[:0], s.Packet...)
		for _, piece := range more {
			q.joined = append(q.joined, piece...)
		}
		s.Packet = q.joined
	}
	if s.Plain() {
		return q.put(s.Packet)
	}
	if q.segment == nil {
		q.segment = make([]byte, MaxSuper)
	}
	n := s.Segments()
	if n == 0 {
		return ErrMalformed
	}
	for i := range n {
		if err := q.put(q.segment[:s.Cut(i, q.segment)]); err != nil {
			return err
		}
	}
	return nil
}

func (q *portableQueue) put(packet []byte) error {
	if len(packet) == 0 {
		return ErrMalformed
	}
	if _, err := q.file.Write(packet); err != nil {
		return q.failure(err)
	}
	return nil
}

func (q *portableQueue) Close() error {
	if q.closed.Swap(true) {
		return os.ErrClosed
	}
	return q.file.Close()
}

func (q *portableQueue) failure(err error) error {
	switch {
	case q.closed.Load():
		return os.ErrClosed
	case errors.Is(err, syscall.EIO), errors.Is(err, syscall.ENETDOWN):
		return ErrDown
	case errors.Is(err, syscall.ENOBUFS), errors.Is(err, syscall.ENOMEM):
		return ErrNoBuffers
	case errors.Is(err, syscall.EINVAL):
		return ErrMalformed
	}
	return err
}
