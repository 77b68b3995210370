//go:build !linux

package udp

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
	"time"
)

type probeHandle struct{ conn *net.UDPConn }

func (p *Probe) open(local netip.Addr, _ uint32) error {
	var from *net.UDPAddr
	if local.IsValid() {
		from = net.UDPAddrFromAddrPort(netip.AddrPortFrom(local, 0))
	}
	conn, err := net.DialUDP("udp", from, net.UDPAddrFromAddrPort(p.remote))
	if err != nil {
		return err
	}
	p.handle.conn = conn
	_, _ = conn.Write(keepalive[:])
	return nil
}

func (p *Probe) again() { _, _ = p.handle.conn.Write(keepalive[:]) }

// hear knows of closed ports only: these platforms tell nothing else, nor who said so.
func (p *Probe) hear() (Unreachable, bool) {
	var b [1]byte
	_ = p.handle.conn.SetReadDeadline(time.Unix(1, 0))
	_, err := p.handle.conn.Read(b[:])
	return Unreachable{By: p.remote.Addr(), Why: PortClosed}, errors.Is(err, syscall.ECONNREFUSED)
}

// Close closes the socket.
func (p *Probe) Close() { p.handle.conn.Close() }
