package udp

import (
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
	raw   syscall.RawConn // of udp
	local netip.AddrPort
	v6    bool
	gso   atomic.Bool // UDP_SEGMENT works: so far as is known
	facts Facts       // but for Segment, which gso says

	receiver *receiver
	senders  sync.Pool // *sender
	zones    zones
}

func listenNative(addr netip.AddrPort, o Options) (Conn, error) {
	c := &conn{v6: addr.Addr().Is6()}
	c.senders.New = newSender
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
	if c.raw, err = udp.SyscallConn(); err != nil {
		udp.Close()
		return nil, err
	}
	c.receiver = newReceiver(c.raw, c.facts.Offloads.Has(offload.Batch))
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
	c.facts.Offloads |= offload.Batch &^ o.Without
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

func (c *conn) LocalAddr() netip.AddrPort { return c.local }
func (c *conn) Close() error              { return c.udp.Close() }
