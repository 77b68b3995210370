package tun

import (
	"io"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// reading is what one goroutine at a time reads with. The header is read in front of the packet, which takes the kernel
// less than two places to copy to.
type reading struct {
	buf       []byte // from the header on
	wait, try func(fd uintptr) bool
	n         int
	errno     syscall.Errno
}

func (q *queue) Read(buf []byte) (Super, error) { return q.receive(buf, q.read.wait) }

func (q *queue) TryRead(buf []byte) (s Super, waiting bool, err error) {
	if s, err = q.receive(buf, q.read.try); err == unix.EAGAIN {
		return Super{}, false, nil
	}
	return s, true, err
}

// receive reads by call, one of the two below.
func (q *queue) receive(buf []byte, call func(fd uintptr) bool) (Super, error) {
	if len(buf) <= Headroom {
		return Super{}, io.ErrShortBuffer
	}
	r := &q.read
	r.buf = buf[Headroom-vnetHeader:]
	err := q.raw.Read(call)
	r.buf = nil // it is the caller's again
	switch {
	case err != nil:
		return Super{}, q.failure(err)
	case r.errno == unix.EAGAIN:
		return Super{}, unix.EAGAIN
	case r.errno != 0:
		return Super{}, q.failure(r.errno)
	case r.n < vnetHeader:
		return Super{}, ErrMalformed
	}
	end := Headroom - vnetHeader + r.n
	packet := buf[Headroom:end]
	if end == len(buf) && ipLen(packet) > len(packet) {
		return Super{}, io.ErrShortBuffer // the kernel cuts off silently
	}
	return decodeHeader(buf[Headroom-vnetHeader:Headroom], packet)
}

// readOrWait is one attempt; false makes the runtime wait until the file is readable.
func (q *queue) readOrWait(fd uintptr) bool {
	q.readOnce(fd)
	return q.read.errno != unix.EAGAIN
}

// readOnce reads what is there. The file does not block, so the scheduler need not be told, which would cost an eighth of
// the time it takes to read a small packet.
func (q *queue) readOnce(fd uintptr) bool {
	r := &q.read
	for {
		n, _, errno := unix.RawSyscall(unix.SYS_READ, fd, uintptr(unsafe.Pointer(unsafe.SliceData(r.buf))), uintptr(len(r.buf)))
		r.n, r.errno = int(n), errno
		if errno != unix.EINTR {
			return true
		}
	}
}
