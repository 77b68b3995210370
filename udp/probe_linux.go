package udp

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"
)

type probeHandle struct{ fd int }

func (p *Probe) open(local netip.Addr, mark uint32) (err error) {
	family, level, option := unix.AF_INET, unix.IPPROTO_IP, unix.IP_RECVERR
	if p.remote.Addr().Unmap().Is6() {
		family, level, option = unix.AF_INET6, unix.IPPROTO_IPV6, unix.IPV6_RECVERR
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	p.handle.fd = fd
	if err := unix.SetsockoptInt(fd, level, option, 1); err != nil {
		p.Close()
		return err
	}
	if mark != 0 {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(mark)); err != nil {
			p.Close()
			return err
		}
	}
	if local.IsValid() && local.Is4() == (family == unix.AF_INET) {
		_ = unix.Bind(fd, sockaddr(netip.AddrPortFrom(local, 0))) // without it, it is a worse probe and still one
	}
	err = unix.Connect(fd, sockaddr(p.remote))
	if err == nil {
		_, err = unix.Write(fd, keepalive[:])
	}
	if err != nil {
		p.at = &Unreachable{By: local, Why: obstacle(err)}
	}
	return nil
}

// sockaddr is an address as system calls take it. The zone of a link-local one is left to the kernel.
func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if addr := a.Addr().Unmap(); addr.Is4() {
		return &unix.SockaddrInet4{Addr: addr.As4(), Port: int(a.Port())}
	}
	return &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())}
}

// obstacle sorts the error that an ICMP message, or the host itself, stands for.
func obstacle(err error) Obstacle {
	switch {
	case errors.Is(err, unix.ECONNREFUSED):
		return PortClosed
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return Prohibited
	case errors.Is(err, unix.ENETUNREACH):
		return NetUnreachable
	}
	return HostUnreachable
}

func (p *Probe) again() { _, _ = unix.Write(p.handle.fd, keepalive[:]) }

func (p *Probe) hear() (Unreachable, bool) {
	var data [64]byte
	var oob [512]byte
	_, n, _, _, err := unix.Recvmsg(p.handle.fd, data[:], oob[:], unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
	if err != nil {
		return Unreachable{}, false
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil {
		return Unreachable{}, false
	}
	for _, m := range messages {
		if m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_RECVERR || m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_RECVERR {
			return readExtended(m.Data)
		}
	}
	return Unreachable{}, false
}

// The layout of struct sock_extended_err, which the address of who sent the message follows.
const (
	extendedOrigin = 4
	extendedType   = 5
	extendedCode   = 6
	extendedLen    = 16
)

// readExtended reads what the kernel tells of an ICMP message. ok is false if it is about something else, as a packet that is too big.
func readExtended(b []byte) (u Unreachable, ok bool) {
	if len(b) < extendedLen+2 {
		return u, false
	}
	origin, kind, code := b[extendedOrigin], b[extendedType], b[extendedCode]
	from := b[extendedLen:]
	switch family := binary.NativeEndian.Uint16(from); {
	case family == unix.AF_INET && len(from) >= 8:
		u.By = netip.AddrFrom4([4]byte(from[4:]))
	case family == unix.AF_INET6 && len(from) >= 24:
		u.By = netip.AddrFrom16([16]byte(from[8:])).Unmap()
	}
	switch {
	case origin == unix.SO_EE_ORIGIN_ICMP && kind == 3: // destination unreachable (RFC 792, RFC 1812 5.2.7.1)
		switch code {
		case 0, 6, 8, 11:
			u.Why = NetUnreachable
		case 1, 5, 7, 12, 14, 15:
			u.Why = HostUnreachable
		case 2, 3:
			u.Why = PortClosed
		case 9, 10, 13:
			u.Why = Prohibited
		}
	case origin == unix.SO_EE_ORIGIN_ICMP6 && kind == 1: // RFC 4443 3.1
		switch code {
		case 0:
			u.Why = NetUnreachable
		case 1, 5, 6:
			u.Why = Prohibited
		case 2, 3:
			u.Why = HostUnreachable
		case 4:
			u.Why = PortClosed
		}
	case origin == unix.SO_EE_ORIGIN_LOCAL:
		u.Why = obstacle(unix.Errno(binary.NativeEndian.Uint32(b)))
	}
	return u, u.Why != 0
}

// Close closes the socket.
func (p *Probe) Close() { unix.Close(p.handle.fd) }
