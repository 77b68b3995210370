package tun

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// writing is what one goroutine at a time writes with. It is kept, because what the kernel is shown would escape to the heap
// otherwise, and each goroutine has one of its own while it writes, so that none waits for another.
type writing struct {
	header [vnetHeader]byte
	iov    []unix.Iovec
	once   func(fd uintptr)
	wait   func(fd uintptr) bool
	errno  syscall.Errno
}

const maxIovec = 1024 // UIO_MAXIOV of Linux

func newWriting() any {
	w := new(writing)
	w.once = w.writev
	w.wait = func(fd uintptr) bool { w.writev(fd); return w.errno != unix.EAGAIN }
	return w
}

func (q *queue) Write(s Super, more [][]byte) error {
	w := q.writings.Get().(*writing)
	defer q.writings.Put(w)
	if !w.prepare(&s, more) {
		return ErrMalformed
	}
	// The runtime lets one goroutine at a time wait until a file takes more. A device always takes more, or drops.
	err := q.raw.Control(w.once)
	if err == nil && w.errno == unix.EAGAIN {
		err = q.raw.Write(w.wait)
	}
	clear(w.iov) // the pieces are the caller's again
	if err != nil {
		return q.failure(err)
	}
	if w.errno != 0 {
		return q.failure(w.errno)
	}
	return nil
}

// prepare describes what is to be written. It reports whether that is possible.
func (w *writing) prepare(s *Super, more [][]byte) bool {
	if len(more)+2 > maxIovec || !encodeHeader(w.header[:], s) {
		return false
	}
	w.iov = append(w.iov[:0], unix.Iovec{}, unix.Iovec{})
	setIovec(&w.iov[0], w.header[:])
	setIovec(&w.iov[1], s.Packet)
	total := len(s.Packet)
	for _, piece := range more {
		total += len(piece)
		if len(piece) > 0 {
			w.iov = append(w.iov, unix.Iovec{})
			setIovec(&w.iov[len(w.iov)-1], piece)
		}
	}
	return total <= MaxSuper
}

// writev is one attempt. The call is raw, as those of reading are: it can last 20 microseconds, as the kernel brings a
// superpacket to its socket meanwhile, and the scheduler would take that for a thread that blocks and busy itself with moving
// goroutines away from it.
func (w *writing) writev(fd uintptr) {
	for {
		_, _, w.errno = unix.RawSyscall(unix.SYS_WRITEV, fd, uintptr(unsafe.Pointer(&w.iov[0])), uintptr(len(w.iov)))
		if w.errno != unix.EINTR {
			return
		}
	}
}
