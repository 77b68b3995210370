package udp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/culvert-vpn/culvert/offload"
)

const nativeSocket = true

// conn is a socket of Linux.
type conn struct {
	udp   *net.UDPConn
	local netip.AddrPort
	v6    bool
	gso   atomic.Bool // UDP_SEGMENT works: so far as is known
	facts Facts       // but for Segment, which gso says

	control controlBuf // of the goroutine that reads
	scratch sync.Pool  // *controlBuf, of those that write
}

func listenNative(addr netip.AddrPort, o Options) (Conn, error) {
	c := &conn{v6: addr.Addr().Is6()}
	c.scratch.New = func() any { return new(controlBuf) }
	udp, err := bind(addr, func(_, _ string, raw syscall.RawConn) error {
		var err error
		if callErr := raw.Control(func(fd uintptr) { err = c.setUp(int(fd), o) }); callErr != nil {
			return callErr
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	c.udp, c.local = udp, localAddr(udp)
	return c, nil
}

// setUp sets the options of the socket before it is bound, so that no datagram arrives without them.
func (c *conn) setUp(fd int, o Options) error {
	family := []sockopt{
		{"IP_PKTINFO", unix.IPPROTO_IP, unix.IP_PKTINFO, 1},
		{"IP_RECVTOS", unix.IPPROTO_IP, unix.IP_RECVTOS, 1},
		{"IP_MTU_DISCOVER", unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT},
	}
	if c.v6 {
		family = []sockopt{
			{"IPV6_RECVPKTINFO", unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1},
			{"IPV6_RECVTCLASS", unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS, 1},
			{"IPV6_MTU_DISCOVER", unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_DONT},
		}
	}
	if o.ReusePort {
		family = append(family, sockopt{"SO_REUSEPORT", unix.SOL_SOCKET, unix.SO_REUSEPORT, 1})
	}
	for _, opt := range family {
		if err := unix.SetsockoptInt(fd, opt.level, opt.name, opt.value); err != nil {
			return fmt.Errorf("the kernel refuses the socket option %s = %d: %w", opt.text, opt.value, err)
		}
	}
	if o.Mark != 0 {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(o.Mark)); err != nil {
			return fmt.Errorf("marking the daemon's own packets needs CAP_NET_ADMIN: %w", err)
		}
	}
	c.facts.Recv = setBuffer(fd, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, o.RecvBuffer)
	c.facts.Send = setBuffer(fd, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, o.SendBuffer)
	// A kernel without them takes and gives one datagram at a time.
	if !o.Without.Has(offload.GRO) && unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_GRO, 1) == nil {
		c.facts.Offloads |= offload.GRO
	}
	c.gso.Store(!o.Without.Has(offload.Segment) && unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT, 0) == nil)
	return nil
}

type sockopt struct {
	text               string
	level, name, value int
}

// setBuffer asks for a buffer beyond the limit for all, and if that is not permitted up to it. A kernel that gives less
// drops more in a burst, no more than that.
func setBuffer(fd, force, limited, bytes int) Buffer {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, bytes) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, limited, bytes)
	}
	granted, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, limited)
	if err != nil {
		granted = 0
	}
	return Buffer{Asked: bytes, Granted: granted / 2} // the kernel doubles it for its own bookkeeping, see socket(7)
}

// Facts are what the kernel has given.
func (c *conn) Facts() Facts {
	f := c.facts
	if c.gso.Load() {
		f.Offloads |= offload.Segment
	}
	return f
}

func (c *conn) Read(buf []byte) (Datagrams, error) {
	control := c.control.bytes()
	for {
		n, cn, flags, remote, err := c.udp.ReadMsgUDPAddrPort(buf, control)
		if err != nil {
			if err = readError(err); err == nil {
				continue
			}
			return Datagrams{}, err
		}
		if flags&unix.MSG_TRUNC != 0 {
			return Datagrams{}, ErrTruncated
		}
		d := Datagrams{Buf: buf[:n], Stride: n, Local: c.local, Remote: remote}
		decodeControl(control[:cn], &d)
		return d, nil
	}
}

// Limits of UDP_SEGMENT: UDP_MAX_SEGMENTS, which later kernels raised, and what IPv4 lets one call have.
const (
	maxSegments = 64
	maxSend     = 65000
)

func (c *conn) Write(d Datagrams) error {
	if d.Len() == 1 {
		return c.send(&d, d.Buf, 0)
	}
	perCall := min(maxSegments, max(1, maxSend/d.Stride)) * d.Stride
	for rest := d.Buf; len(rest) > 0; {
		part := rest[:min(perCall, len(rest))]
		rest = rest[len(part):]
		if err := c.sendTrain(&d, part); err != nil {
			return err
		}
	}
	return nil
}

// sendTrain sends datagrams of d.Stride bytes in one call, or one by one where that is not to be had.
func (c *conn) sendTrain(d *Datagrams, part []byte) error {
	if len(part) > d.Stride && c.gso.Load() {
		err := c.send(d, part, d.Stride)
		switch {
		case err == nil:
			return nil
		case isAny(err, syscall.EIO):
			c.gso.Store(false) // the device has no checksum offload, or the route leads through the kernel's IPsec
		case errors.Is(err, ErrTooBig), errors.Is(err, ErrSource):
			// EMSGSIZE, or EINVAL before Linux 6.13: the datagrams exceed the MTU. One by one they are fragmented.
		default:
			return err
		}
	}
	for len(part) > 0 {
		n := min(d.Stride, len(part))
		if err := c.send(d, part[:n], 0); err != nil {
			return err
		}
		part = part[n:]
	}
	return nil
}

// send is one sendmsg.
func (c *conn) send(d *Datagrams, b []byte, segment int) error {
	control := c.scratch.Get().(*controlBuf)
	n := encodeControl(control.bytes(), d.Local.Addr(), c.v6, d.TOS, segment)
	_, _, err := c.udp.WriteMsgUDPAddrPort(b, control.bytes()[:n], d.Remote)
	c.scratch.Put(control)
	if err != nil {
		return writeError(err)
	}
	return nil
}

func (c *conn) LocalAddr() netip.AddrPort { return c.local }
func (c *conn) Close() error              { return c.udp.Close() }
