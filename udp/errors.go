package udp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"

	"github.com/culvert-vpn/culvert/internal/holder"
)

// readError sorts what a receiving call returned: nil means that Read tries again.
func readError(err error) error {
	switch {
	case errors.Is(err, net.ErrClosed):
		return net.ErrClosed
	case isAny(err, syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.EHOSTUNREACH, syscall.ENETUNREACH,
		syscall.EHOSTDOWN, syscall.ENETDOWN, syscall.EMSGSIZE, syscall.EPROTO, syscall.ENOPROTOOPT, syscall.EINTR):
		return nil // what ICMP said of an earlier send; it is reported once, so trying again does not spin
	case isAny(err, syscall.ENOBUFS, syscall.ENOMEM):
		return fmt.Errorf("%w: %w", ErrNoBuffers, err)
	}
	return err
}

// writeError sorts what a sending call returned.
func writeError(err error) error {
	var kind error
	switch {
	case errors.Is(err, net.ErrClosed):
		return net.ErrClosed
	case isAny(err, syscall.EMSGSIZE):
		kind = ErrTooBig
	case isAny(err, syscall.ENOBUFS, syscall.ENOMEM):
		kind = ErrNoBuffers
	case isAny(err, syscall.ENETUNREACH, syscall.EHOSTUNREACH, syscall.ENETDOWN, syscall.EHOSTDOWN,
		syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.ENODEV):
		kind = ErrUnreachable
	case isAny(err, syscall.EINVAL, syscall.EADDRNOTAVAIL):
		kind = ErrSource
	case isAny(err, syscall.EPERM, syscall.EACCES):
		kind = ErrDenied
	default:
		return err
	}
	return fmt.Errorf("%w: %w", kind, err)
}

func isAny(err error, kinds ...syscall.Errno) bool {
	for _, k := range kinds {
		if errors.Is(err, k) {
			return true
		}
	}
	return false
}

// InUse says that others have a port.
type InUse struct {
	Addr    netip.AddrPort
	Holders []holder.Process // as well as they can be found; may be empty
	Err     error            // of the kernel
}

// Error names the others.
func (e *InUse) Error() string {
	by := "another program"
	if len(e.Holders) > 0 {
		var names []string
		for _, p := range e.Holders {
			names = append(names, p.String())
		}
		by = strings.Join(names, " and ")
	}
	return fmt.Sprintf("udp: %s is in use by %s: stop it (%v)", e.Addr, by, e.Err)
}

// Unwrap is what the kernel said.
func (e *InUse) Unwrap() error { return e.Err }

// listenError says in one sentence why there is no socket and what to do about it.
func listenError(addr netip.AddrPort, err error) error {
	var why string
	switch {
	case isAny(err, syscall.EADDRINUSE):
		return &InUse{Addr: addr, Holders: holder.Of(addr), Err: err}
	case isAny(err, syscall.EACCES) && addr.Port() != 0 && addr.Port() < 1024:
		why = fmt.Sprintf("port %d is below 1024 and needs a privilege: run as root or with CAP_NET_BIND_SERVICE", addr.Port())
	case isAny(err, syscall.EADDRNOTAVAIL):
		why = fmt.Sprintf("%s is no address of this host: listen on one that it has, or on %s", addr.Addr(), unspecified(addr))
	case isAny(err, syscall.EAFNOSUPPORT):
		why = fmt.Sprintf("this host has switched off the address family of %s: leave out the address, or switch it on", addr.Addr())
	default:
		why = fmt.Sprintf("cannot listen on %s", addr)
	}
	return fmt.Errorf("udp: %s (%w)", why, err)
}

func unspecified(addr netip.AddrPort) netip.AddrPort {
	if addr.Addr().Is6() {
		return netip.AddrPortFrom(netip.IPv6Unspecified(), addr.Port())
	}
	return netip.AddrPortFrom(netip.IPv4Unspecified(), addr.Port())
}
