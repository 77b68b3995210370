//go:build linux

package load

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// chunk is how much one system call moves, in bytes: enough that its cost does not show, and little enough to stay in a
// cache of the second level.
const chunk = 256 << 10

// dialPatience bounds the making of a connection; it is no measure of speed.
const dialPatience = 10 * time.Second

// Streams are TCP connections that carry as much as they can, until they are stopped.
type Streams struct {
	fds     []int
	arrived atomic.Uint64
	stop    atomic.Bool
	running sync.WaitGroup
	mu      sync.Mutex
	err     error
}

// StartTCP opens n connections and has them carry data from one end to the other.
func StartTCP(from, to End, n int) (*Streams, error) {
	s := &Streams{}
	listener, err := to.socket(unix.SOCK_STREAM, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(listener)
	if err := unix.Listen(listener, n); err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	for range n {
		if err := s.connect(from, to, listener); err != nil {
			s.close()
			return nil, err
		}
	}
	for i, fd := range s.fds {
		s.running.Add(1)
		if i%2 == 0 {
			go s.send(fd)
		} else {
			go s.receive(fd)
		}
	}
	return s, nil
}

// connect adds both sockets of a connection.
func (s *Streams) connect(from, to End, listener int) error {
	address, err := to.addressOf(listener)
	if err != nil {
		return err
	}
	out, err := from.socket(unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	s.fds = append(s.fds, out)
	deadline := time.Now().Add(dialPatience)
	for err = unix.Connect(out, address); err != nil && err != unix.EISCONN; err = unix.Connect(out, address) {
		if !(err == unix.EINPROGRESS || err == unix.EALREADY || err == unix.EINTR) || time.Now().After(deadline) {
			return fmt.Errorf("connect to %v: %w", to.Addr, err)
		}
		time.Sleep(time.Millisecond)
	}
	for {
		in, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
		if err == nil {
			s.fds = append(s.fds, in)
			patience := unix.NsecToTimeval(tick * 1000)
			return unix.SetsockoptTimeval(in, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience)
		}
		if !passing(err) || time.Now().After(deadline) {
			return fmt.Errorf("accept: %w", err)
		}
	}
}

func (s *Streams) send(fd int) {
	defer s.running.Done()
	buf := make([]byte, chunk)
	for !s.stop.Load() {
		if _, err := unix.Write(fd, buf); err != nil && !passing(err) {
			s.fail(fmt.Errorf("a stream: %w", err))
			return
		}
	}
}

func (s *Streams) receive(fd int) {
	defer s.running.Done()
	buf := make([]byte, chunk)
	for !s.stop.Load() {
		n, err := unix.Read(fd, buf)
		switch {
		case err == nil && n > 0:
			s.arrived.Add(uint64(n))
		case err == nil:
			s.fail(errors.New("a stream has ended"))
			return
		case !passing(err):
			s.fail(fmt.Errorf("a stream: %w", err))
			return
		}
	}
}

func (s *Streams) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil && !s.stop.Load() {
		s.err = err
	}
}

// Bytes is how much has arrived so far.
func (s *Streams) Bytes() uint64 { return s.arrived.Load() }

// Stop ends the connections. The error tells of one that broke before.
func (s *Streams) Stop() error {
	s.stop.Store(true)
	s.running.Wait()
	s.close()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// close resets the connections, so that nothing of them is left to be sent.
func (s *Streams) close() {
	for _, fd := range s.fds {
		_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		unix.Close(fd)
	}
}
