package udp

import (
	"net"
	"net/netip"
	"testing"
	"time"
)

// TestProbe: a closed port is told of by the host that has it; an open one is not.
func TestProbe(t *testing.T) {
	for _, addr := range []string{"127.0.0.1", "::1"} {
		local := netip.MustParseAddr(addr)
		conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(local, 0)))
		if err != nil {
			t.Fatal(err)
		}
		to := conn.LocalAddr().(*net.UDPAddr).AddrPort()
		open, err := OpenProbe(local, to, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer open.Close()
		var b [8]byte
		if n, err := conn.Read(b[:]); n != 1 || b[0] != 0xff || err != nil {
			t.Errorf("%s: %x, %v arrived", addr, b[:n], err)
		}
		if u, ok := open.Heard(); ok {
			t.Errorf("%s: %+v of an open port", addr, u)
		}
		conn.Close()
		closed, err := OpenProbe(local, to, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer closed.Close()
		u, ok := closed.Heard()
		for range 1000 {
			if ok {
				break
			}
			time.Sleep(10 * time.Millisecond)
			u, ok = closed.Heard()
		}
		if !ok || u.Why != PortClosed || u.By != local {
			t.Errorf("%s: %+v, %v of a closed port", addr, u, ok)
		}
	}
}

func FuzzReadExtended(f *testing.F) {
	f.Add([]byte{111, 0, 0, 0, 2, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 192, 0, 2, 1})
	f.Add([]byte{111, 0, 0, 0, 3, 1, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		if u, ok := readExtended(b); ok != (u.Why != 0) {
			t.Errorf("%x: %+v, %v", b, u, ok)
		}
	})
}
