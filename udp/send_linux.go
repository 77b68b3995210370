package udp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/culvert-vpn/culvert/offload"
)

// Limits of one message with UDP_SEGMENT: UDP_MAX_SEGMENTS, which later kernels raised, and the payload of the longest
// IPv4 packet.
const (
	maxSegments = 64
	maxSend     = 65535 - 20 - 8
)

// maxMessages is how many messages one call sends.
const maxMessages = 32

// mmsghdr is struct mmsghdr of Linux.
type mmsghdr struct {
	unix.Msghdr
	length uint32 // of what was sent or received
}

// sender is what one goroutine at a time sends with. It is kept, because what the kernel is shown would escape to the heap
// otherwise.
type sender struct {
	messages [maxMessages]mmsghdr
	what     [maxMessages]part
	iovecs   [maxMessages]unix.Iovec
	names    [maxMessages]unix.RawSockaddrInet6 // or a RawSockaddrInet4, which is shorter
	controls [maxMessages]controlBuf

	n     int // messages
	sent  int // how many of them the last call sent
	errno syscall.Errno
	call  func(fd uintptr) bool
}

// part is the part of a list of trains that one message sends.
type part struct {
	place
	n     int  // bytes
	train bool // by UDP_SEGMENT
}

// place is a place in a list of trains: so many bytes into one of them.
type place struct{ i, from int }

// behind is the place behind a part.
func (p part) behind(list []Datagrams) place {
	if end := p.from + p.n; end < len(list[p.i].Buf) {
		return place{p.i, end}
	}
	return place{p.i + 1, 0}
}

func newSender() any {
	s := new(sender)
	s.call = s.sendOrWait
	return s
}

func (c *conn) Write(d Datagrams) error {
	_, err := c.WriteBatch([]Datagrams{d})
	return err
}

func (c *conn) WriteBatch(list []Datagrams) (int, error) {
	s := c.senders.Get().(*sender)
	defer c.senders.Put(s)
	single := -1 // the train whose datagrams are sent one by one
	for at := (place{}); at.i < len(list); {
		if err := c.fill(s, list, at, single); err != nil {
			return at.i, err
		}
		err := s.send(c.raw)
		if s.sent > 0 {
			at = s.what[s.sent-1].behind(list)
		}
		if err == nil {
			continue
		}
		train := s.what[s.sent].train
		switch {
		case train && isAny(err, syscall.EIO):
			c.gso.Store(false) // the device has no checksum offload, or the route leads through the kernel's IPsec
		case train && (errors.Is(err, ErrTooBig) || errors.Is(err, ErrSource)):
			// EMSGSIZE, or EINVAL before Linux 6.13: the datagrams exceed the MTU. One by one they are fragmented.
			single = at.i
		default:
			c.zones.Clear()
			return at.i, err
		}
	}
	return len(list), nil
}

// fill makes messages of what is to be sent from a place on, as many as one call takes.
func (c *conn) fill(s *sender, list []Datagrams, at place, single int) error {
	limit := 1
	if c.facts.Offloads.Has(offload.Batch) {
		limit = maxMessages
	}
	for s.n = 0; s.n < limit && at.i < len(list); s.n++ {
		d := &list[at.i]
		p := part{place: at, n: len(d.Buf) - at.from}
		if d.Stride > 0 && p.n > d.Stride {
			p.n = d.Stride
			if at.i != single && c.gso.Load() {
				p.n = min(min(maxSegments, max(1, maxSend/d.Stride))*d.Stride, len(d.Buf)-at.from)
				p.train = p.n > d.Stride
			}
		}
		if err := c.message(s, d, p); err != nil {
			if s.n > 0 {
				return nil // those before it first
			}
			return err
		}
		at = p.behind(list)
	}
	return nil
}

// message makes the next message: a part of d.
func (c *conn) message(s *sender, d *Datagrams, p part) error {
	nameLen, err := c.name(&s.names[s.n], d.Remote)
	if err != nil {
		return err
	}
	segment := 0
	if p.train {
		segment = d.Stride
	}
	s.what[s.n] = p
	iov := &s.iovecs[s.n]
	iov.Base = unsafe.SliceData(d.Buf[p.from : p.from+p.n])
	iov.SetLen(p.n)
	m := &s.messages[s.n].Msghdr
	m.Name, m.Namelen = (*byte)(unsafe.Pointer(&s.names[s.n])), nameLen
	m.Iov = iov
	m.SetIovlen(1)
	control := s.controls[s.n].bytes()
	m.Control = nil
	n := encodeControl(control, d.Local.Addr(), c.v6, d.TOS, segment)
	if n > 0 {
		m.Control = &control[0]
	}
	m.SetControllen(n)
	return nil
}

// name writes a destination as the kernel wants it, and returns the length of that.
func (c *conn) name(to *unix.RawSockaddrInet6, remote netip.AddrPort) (uint32, error) {
	addr := remote.Addr().Unmap()
	if !addr.IsValid() || addr.Is6() != c.v6 {
		return 0, fmt.Errorf("%w: %v is not of the socket's family", ErrUnreachable, remote)
	}
	if !c.v6 {
		sa := (*unix.RawSockaddrInet4)(unsafe.Pointer(to))
		sa.Family, sa.Addr = unix.AF_INET, addr.As4()
		putPort(&sa.Port, remote.Port())
		return unix.SizeofSockaddrInet4, nil
	}
	scope, err := c.scope(addr.Zone())
	if err != nil {
		return 0, err
	}
	to.Family, to.Addr, to.Scope_id, to.Flowinfo = unix.AF_INET6, addr.As16(), scope, 0
	putPort(&to.Port, remote.Port())
	return unix.SizeofSockaddrInet6, nil
}

// putPort stores a port in the byte order of the network.
func putPort(to *uint16, port uint16) {
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(to))[:], port)
}

// zones remembers the interface indexes of zones, until sending fails.
type zones struct{ sync.Map }

// scope is the interface index that a zone stands for; 0 for none.
func (c *conn) scope(zone string) (uint32, error) {
	if zone == "" {
		return 0, nil
	}
	if index, ok := c.zones.Load(zone); ok {
		return index.(uint32), nil
	}
	index, err := strconv.ParseUint(zone, 10, 32)
	if err != nil {
		ifc, err := net.InterfaceByName(zone)
		if err != nil {
			return 0, fmt.Errorf("%w: %w", ErrUnreachable, err)
		}
		index = uint64(ifc.Index)
	}
	c.zones.Store(zone, uint32(index))
	return uint32(index), nil
}

// send sends the messages, waiting for room in the socket's buffer. After an error s.sent is the number of those that went.
func (s *sender) send(raw syscall.RawConn) error {
	s.sent = 0
	err := raw.Write(s.call)
	clear(s.iovecs[:s.n]) // the bytes are the caller's again
	switch {
	case err != nil:
		return writeError(err)
	case s.errno != 0:
		return writeError(s.errno)
	}
	return nil
}

// sendOrWait is one attempt; false makes the runtime wait until there is room. The scheduler is not told: the call does not
// block, but a train takes longer than the 20 microseconds after which the runtime's monitor thread takes the processor
// away from a call that it knows of, and the monitor never sleeps when it finds one each time.
func (s *sender) sendOrWait(fd uintptr) bool {
	for s.sent < s.n {
		var n uintptr
		if s.n == 1 {
			_, _, s.errno = unix.RawSyscall(unix.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(&s.messages[0])), 0)
			n = 1
		} else {
			n, _, s.errno = unix.RawSyscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&s.messages[s.sent])), uintptr(s.n-s.sent), 0, 0, 0)
		}
		switch s.errno {
		case 0:
			s.sent += int(n)
		case unix.EINTR:
		default:
			return s.errno != unix.EAGAIN
		}
	}
	return true
}
