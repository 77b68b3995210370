//go:build linux

package load

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// messages are the buffers of sendmmsg(2) and recvmmsg(2), each message with one stretch of buf.
type messages struct {
	buf     []byte
	headers []mmsghdr
	iovs    []unix.Iovec
}

// mmsghdr is struct mmsghdr.
type mmsghdr struct {
	unix.Msghdr
	n uint32 // bytes moved
	_ [unsafe.Sizeof(uintptr(0)) - 4]byte
}

func newMessages(n, size int) *messages {
	m := &messages{buf: make([]byte, n*size), headers: make([]mmsghdr, n), iovs: make([]unix.Iovec, n)}
	for i := range n {
		m.iovs[i].Base = &m.buf[i*size]
		m.iovs[i].SetLen(size)
		m.headers[i].Iov = &m.iovs[i]
		m.headers[i].SetIovlen(1)
	}
	return m
}

// send sends the first n messages and returns how many went.
func (m *messages) send(fd, n int) (int, error) { return m.call(unix.SYS_SENDMMSG, fd, n, 0) }

// receive waits for one message and takes all that are there.
func (m *messages) receive(fd int) (int, error) {
	return m.call(unix.SYS_RECVMMSG, fd, len(m.headers), unix.MSG_WAITFORONE)
}

func (m *messages) call(number uintptr, fd, n int, flags uintptr) (int, error) {
	done, _, errno := unix.Syscall6(number, uintptr(fd), uintptr(unsafe.Pointer(&m.headers[0])), uintptr(n), flags, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(done), nil
}
