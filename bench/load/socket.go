//go:build linux

package load

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// End is a place that sends or receives: a host, and the address that it uses there.
type End struct {
	// Host runs a function where the sockets are to be, such as *lab.Host.
	Host interface{ Do(func() error) error }
	Addr netip.Addr
}

// tick bounds how long a system call waits, in microseconds, so that every goroutine notices the end.
const tick = 50_000

// socket opens a socket at the end, bound to its address and the port, with blocking calls that give up after a tick.
func (e End) socket(kind int, port uint16) (fd int, err error) {
	err = e.Host.Do(func() error {
		family := unix.AF_INET
		if e.Addr.Is6() {
			family = unix.AF_INET6
		}
		if fd, err = unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0); err != nil {
			return fmt.Errorf("socket: %w", err)
		}
		patience := unix.NsecToTimeval(tick * 1000)
		err := errors.Join(
			unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience),
			unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &patience),
			unix.Bind(fd, sockaddr(netip.AddrPortFrom(e.Addr, port))))
		if err != nil {
			unix.Close(fd)
			return fmt.Errorf("a socket of %v: %w", e.Addr, err)
		}
		return nil
	})
	return fd, err
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

// addressOf is the port that a socket is bound to, with its address.
func (e End) addressOf(fd int) (unix.Sockaddr, error) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return nil, fmt.Errorf("the port of a socket: %w", err)
	}
	return sa, nil
}

// passing tells whether an error means that nothing was to be had within a tick, or that the network lost something, and the
// call is to be made again.
func passing(err error) bool {
	return err == unix.EAGAIN || err == unix.EINTR || err == unix.ENOBUFS || err == unix.ECONNREFUSED
}
