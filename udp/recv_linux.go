package udp

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// receiver is what Read keeps between its calls: the messages of recvmmsg, each with a buffer for a whole train. A socket that
// hears little has one; whenever a call has filled all of them it gets more. It is of the goroutine that reads.
type receiver struct {
	raw   syscall.RawConn
	call  func(fd uintptr) bool
	most  int // messages of one call
	slots []*slot
	calls []mmsghdr
	want  int // of the next call, up to len(calls)
	got   int
	errno syscall.Errno

	scope uint32 // of the last link-local sender, and its name
	zone  string
}

type slot struct {
	buf     []byte
	iov     unix.Iovec
	name    unix.RawSockaddrInet6 // has room for RawSockaddrInet4
	control controlBuf
}

const (
	maxReceived = 64
	// batchBytes is how much one call is to bring: what stays in the processor's cache until it has been worked on.
	batchBytes = 256 << 10
)

func newReceiver(raw syscall.RawConn, batch bool) *receiver {
	r := &receiver{raw: raw, most: 1}
	if batch {
		r.most = maxReceived
	}
	r.call = r.recvmmsg
	r.grow(1)
	return r
}

// grow adds messages until there are n.
func (r *receiver) grow(n int) {
	for len(r.slots) < n {
		r.slots = append(r.slots, &slot{buf: make([]byte, MaxTrain)})
	}
	r.calls = make([]mmsghdr, n)
	for i, s := range r.slots {
		s.iov.Base = unsafe.SliceData(s.buf)
		s.iov.SetLen(len(s.buf))
		h := &r.calls[i].Msghdr
		h.Name, h.Iov, h.Control = (*byte)(unsafe.Pointer(&s.name)), &s.iov, (*byte)(unsafe.Pointer(&s.control))
		h.SetIovlen(1)
	}
	r.want = n
}

// recvmmsg is one attempt; false makes the runtime wait until the socket is readable. The call is raw: the socket is
// non-blocking, so there is nothing to be told to the scheduler.
func (r *receiver) recvmmsg(fd uintptr) bool {
	for i := range r.calls[:r.want] {
		h := &r.calls[i].Msghdr
		h.Namelen = unix.SizeofSockaddrInet6
		h.SetControllen(controlWords * 8)
	}
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&r.calls[0])), uintptr(r.want), unix.MSG_DONTWAIT, 0, 0)
		if errno != unix.EINTR {
			r.got, r.errno = int(n), errno
			return errno != unix.EAGAIN
		}
	}
}

// Read returns what one system call brings.
func (c *conn) Read(into []Datagrams) (int, error) {
	r := c.receiver
	r.want = min(r.want, len(into))
	for {
		err := r.raw.Read(r.call)
		if err == nil && r.errno != 0 {
			err = r.errno
		}
		if err == nil {
			break
		}
		if err = readError(err); err != nil {
			return 0, err
		}
	}
	var truncated error
	n, bytes := 0, 0
	for i, s := range r.slots[:r.got] {
		m := &r.calls[i]
		if m.Flags&unix.MSG_TRUNC != 0 {
			truncated = ErrTruncated
			continue
		}
		d := &into[n]
		*d = Datagrams{Buf: s.buf[:m.length], Stride: int(m.length), Local: c.local, Remote: r.remote(s)}
		decodeControl(s.control.bytes()[:m.Controllen], d)
		n++
		bytes += int(m.length)
	}
	r.adapt(bytes)
	return n, truncated
}

// adapt chooses how many messages the next call may bring, from what this one has brought.
func (r *receiver) adapt(bytes int) {
	if r.got == len(r.calls) && r.got < r.most {
		r.grow(min(4*r.got, r.most))
	}
	r.want = min(len(r.calls), max(1, batchBytes*r.got/max(1, bytes)))
}

// remote is the sender of a message.
func (r *receiver) remote(s *slot) netip.AddrPort {
	port := binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&s.name.Port))[:])
	if s.name.Family == unix.AF_INET {
		four := (*unix.RawSockaddrInet4)(unsafe.Pointer(&s.name))
		return netip.AddrPortFrom(netip.AddrFrom4(four.Addr), port)
	}
	addr := netip.AddrFrom16(s.name.Addr)
	if s.name.Scope_id != 0 {
		addr = addr.WithZone(r.zoneOf(s.name.Scope_id))
	}
	return netip.AddrPortFrom(addr, port)
}

// zoneOf is the name of an interface, as the net package has it in addresses.
func (r *receiver) zoneOf(scope uint32) string {
	if r.scope != scope {
		r.scope, r.zone = scope, strconv.Itoa(int(scope))
		if i, err := net.InterfaceByIndex(int(scope)); err == nil {
			r.zone = i.Name
		}
	}
	return r.zone
}
