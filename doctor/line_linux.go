package doctor

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/culvert-vpn/culvert/gateway"
)

// socketLine is a UDP socket that hears of ICMP errors.
type socketLine struct {
	*net.UDPConn
	remote netip.AddrPort
	local  netip.AddrPort
	v6     bool
}

// openLine opens a socket at a local address, towards a peer. It is not connected, so that an answer from another address is seen.
func openLine(local, remote netip.AddrPort) (line, error) {
	v6 := remote.Addr().Is6()
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) {
			// Past the rules of a running daemon; without CAP_NET_ADMIN as any program. What fails here is missed by nobody.
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, gateway.Mark)
			if v6 {
				_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1)
				_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_DONT)
				return
			}
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_RECVERR, 1)
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT)
		})
	}}
	kind := "udp4"
	if v6 {
		kind = "udp6"
	}
	conn, err := config.ListenPacket(context.Background(), kind, local.String())
	if err != nil {
		return nil, err
	}
	udp := conn.(*net.UDPConn)
	bound := udp.LocalAddr().(*net.UDPAddr).AddrPort()
	return &socketLine{udp, remote, netip.AddrPortFrom(bound.Addr().Unmap(), bound.Port()), v6}, nil
}

// Local is the address that datagrams leave from.
func (l *socketLine) Local() netip.AddrPort { return l.local }

// Whole has datagrams sent with DF.
func (l *socketLine) Whole() error {
	raw, err := l.SyscallConn()
	if err != nil {
		return err
	}
	failure := raw.Control(func(fd uintptr) {
		if l.v6 {
			err = errors.Join(unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE),
				unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_DONTFRAG, 1))
			return
		}
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE)
	})
	return errors.Join(failure, err)
}

// Send sends a datagram.
func (l *socketLine) Send(b []byte) error {
	_, err := l.WriteToUDPAddrPort(b, l.remote)
	return l.explain(err)
}

// Receive waits for a datagram.
func (l *socketLine) Receive(buf []byte, until time.Time) (n int, from netip.AddrPort, err error) {
	if err := l.SetReadDeadline(until); err != nil {
		return 0, from, err
	}
	n, from, err = l.ReadFromUDPAddrPort(buf)
	return n, netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), l.explain(err)
}

// explain asks the socket what an error was about.
func (l *socketLine) explain(err error) error {
	var number syscall.Errno
	if err == nil || !errors.As(err, &number) {
		return err
	}
	raw, rawErr := l.SyscallConn()
	if rawErr != nil {
		return err
	}
	var found *icmpError
	_ = raw.Control(func(fd uintptr) { found = l.queued(int(fd)) })
	if found != nil {
		return found
	}
	return err
}

// queued takes the first message from the socket's queue of errors, nil if there is none.
func (l *socketLine) queued(fd int) *icmpError {
	control := make([]byte, 512)
	_, n, _, _, err := unix.Recvmsg(fd, make([]byte, 2048), control, unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
	if err != nil {
		return nil
	}
	messages, err := unix.ParseSocketControlMessage(control[:n])
	if err != nil {
		return nil
	}
	for _, m := range messages {
		if m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_RECVERR || m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_RECVERR {
			return parseExtendedError(m.Data)
		}
	}
	return nil
}

// parseExtendedError reads struct sock_extended_err and the address behind it (ip(7)): errno (4), origin, type, code, pad, info (4),
// data (4), and a sockaddr.
func parseExtendedError(b []byte) *icmpError {
	if len(b) < 16 {
		return nil
	}
	e := &icmpError{code: otherError}
	origin, kind, code := b[4], b[5], b[6]
	switch unix.Errno(binary.NativeEndian.Uint32(b)) {
	case unix.EMSGSIZE:
		e.code, e.mtu = tooBig, int(binary.NativeEndian.Uint32(b[8:]))
	case unix.ECONNREFUSED:
		e.code = portUnreachable
	case unix.EHOSTUNREACH, unix.ENETUNREACH:
		e.code = hostUnreachable
		// RFC 1812 5.2.7.1: administratively prohibited, and the same of a network or host; RFC 4443 3.1 for IPv6.
		if origin == unix.SO_EE_ORIGIN_ICMP && kind == 3 && (code == 9 || code == 10 || code == 13) {
			e.code = prohibited
		}
	case unix.EACCES:
		e.code = prohibited
	}
	switch address := b[16:]; {
	case origin == unix.SO_EE_ORIGIN_ICMP && len(address) >= 8:
		e.from = netip.AddrFrom4([4]byte(address[4:]))
	case origin == unix.SO_EE_ORIGIN_ICMP6 && len(address) >= 24:
		e.from = netip.AddrFrom16([16]byte(address[8:]))
	}
	return e
}

// wayTo asks the kernel how a packet of the daemon's gets to a peer: from which address, through which device, with which MTU.
func wayTo(remote netip.Addr) (w way, err error) {
	routes, err := netlink.RouteGetWithOptions(remote.AsSlice(), &netlink.RouteGetOptions{Mark: gateway.Mark, Oif: remote.Zone()})
	switch {
	case err != nil:
		return w, err
	case len(routes) == 0:
		return w, unix.ENETUNREACH
	}
	r := routes[0]
	src, ok := netip.AddrFromSlice(r.Src)
	if !ok {
		return w, errors.New("this host has no address to send from")
	}
	w.local = src.Unmap()
	if gw, ok := netip.AddrFromSlice(r.Gw); ok {
		w.gateway = gw.Unmap()
	}
	if l, err := netlink.LinkByIndex(r.LinkIndex); err == nil {
		w.device, w.mtu = l.Attrs().Name, l.Attrs().MTU
	}
	if r.MTU > 0 {
		w.pathMTU = r.MTU
	}
	return w, nil
}
