//go:build !linux

package doctor

import (
	"errors"
	"net"
	"net/netip"
	"time"
)

// socketLine is a UDP socket, which hears of nothing but datagrams.
type socketLine struct {
	*net.UDPConn
	local, remote netip.AddrPort
}

func openLine(local, remote netip.AddrPort) (line, error) {
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(local))
	if err != nil {
		return nil, err
	}
	bound := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	return &socketLine{conn, netip.AddrPortFrom(bound.Addr().Unmap(), bound.Port()), remote}, nil
}

// Local is the address that datagrams leave from.
func (l *socketLine) Local() netip.AddrPort { return l.local }

// Whole is not possible here.
func (l *socketLine) Whole() error { return errors.ErrUnsupported }

// Send sends a datagram.
func (l *socketLine) Send(b []byte) error {
	_, err := l.WriteToUDPAddrPort(b, l.remote)
	return err
}

// Receive waits for a datagram.
func (l *socketLine) Receive(buf []byte, until time.Time) (n int, from netip.AddrPort, err error) {
	if err := l.SetReadDeadline(until); err != nil {
		return 0, from, err
	}
	n, from, err = l.ReadFromUDPAddrPort(buf)
	return n, netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), err
}

// wayTo asks the kernel which address it would send from. Nothing is sent.
func wayTo(remote netip.Addr) (w way, err error) {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(remote, 500)))
	if err != nil {
		return w, err
	}
	defer c.Close()
	w.local = c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
	return w, nil
}
