package udp

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"
)

// portable is a socket as every platform has it: one datagram per call, the source address chosen by the kernel. Local of
// what it receives is the address bound, which may be unspecified; TOS is neither received nor sent.
type portable struct {
	conn  *net.UDPConn
	local netip.AddrPort
	buf   []byte // of the goroutine that reads
}

func listenPortable(addr netip.AddrPort, o Options) (Conn, error) {
	conn, err := bind(addr, nil)
	if err != nil {
		return nil, err
	}
	// A kernel that gives less than asked for drops more in a burst, no more than that.
	_ = conn.SetReadBuffer(o.RecvBuffer)
	_ = conn.SetWriteBuffer(o.SendBuffer)
	return &portable{conn: conn, local: localAddr(conn), buf: make([]byte, MaxTrain)}, nil
}

func (c *portable) Read(into []Datagrams) (int, error) {
	for {
		n, remote, err := c.conn.ReadFromUDPAddrPort(c.buf)
		if err != nil {
			if err = readError(err); err == nil {
				continue
			}
			return 0, err
		}
		into[0] = Datagrams{Buf: c.buf[:n], Stride: n, Local: c.local, Remote: unmap(remote)}
		return 1, nil
	}
}

func (c *portable) Write(d Datagrams) error {
	for i := range d.Len() {
		if _, err := c.conn.WriteToUDPAddrPort(d.At(i), d.Remote); err != nil {
			return writeError(err)
		}
	}
	return nil
}

func (c *portable) WriteBatch(trains []Datagrams) (int, error) {
	for i := range trains {
		if err := c.Write(trains[i]); err != nil {
			return i, err
		}
	}
	return len(trains), nil
}

func (c *portable) LocalAddr() netip.AddrPort { return c.local }
func (c *portable) Close() error              { return c.conn.Close() }

// bind opens and binds a socket of the family of addr; control, if any, sees it before it is bound.
func bind(addr netip.AddrPort, control func(network, address string, c syscall.RawConn) error) (*net.UDPConn, error) {
	network := "udp4"
	if addr.Addr().Is6() {
		network = "udp6" // the net package makes it IPV6_V6ONLY
	}
	config := net.ListenConfig{Control: control}
	conn, err := config.ListenPacket(context.Background(), network, addr.String())
	if err != nil {
		return nil, listenError(addr, err)
	}
	udp, ok := conn.(*net.UDPConn)
	if !ok {
		conn.Close()
		return nil, fmt.Errorf("udp: the platform gives no UDP socket but %T", conn)
	}
	return udp, nil
}

func localAddr(c *net.UDPConn) netip.AddrPort {
	if a, ok := c.LocalAddr().(*net.UDPAddr); ok {
		return unmap(a.AddrPort())
	}
	return netip.AddrPort{}
}

func unmap(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }
