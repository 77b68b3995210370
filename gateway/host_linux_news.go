//go:build linux

package gateway

import (
	"context"
	"errors"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// hostNews is told by the kernel of every change of devices, addresses, routes and rules. It is asked whether there was
// any, which takes one system call as long as there was none.
type hostNews struct{ fd int }

func openHostNews() (*hostNews, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	var groups uint32
	for _, group := range []int{
		unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
		unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE,
	} {
		groups |= 1 << (group - 1)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return &hostNews{fd}, nil
}

// maxNews bounds how many messages are taken at a time; what is left is news the next time.
const maxNews = 10000

// any reports whether something has changed since it was asked last. What the messages say does not matter, so they are
// cut off; that some were lost is news as well (ENOBUFS).
func (n *hostNews) any() (news bool) {
	var b [1]byte
	for range maxNews {
		_, _, err := unix.Recvfrom(n.fd, b[:], unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return news
		case !errors.Is(err, unix.EINTR):
			news = true
		}
	}
	return news
}

func (n *hostNews) close() { _ = unix.Close(n.fd) }

// markedDNS is a resolver whose questions carry Mark: the name of a peer has to be found although the tunnel that would
// carry them is not up. It is the resolver of Go, which opens its sockets itself.
func markedDNS() *net.Resolver {
	dialer := net.Dialer{Control: func(_, _ string, c syscall.RawConn) (err error) {
		failure := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, Mark) })
		return errors.Join(failure, err)
	}}
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		return dialer.DialContext(ctx, network, address)
	}}
}
