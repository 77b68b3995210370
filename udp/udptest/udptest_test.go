package udptest

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-vpn/culvert/udp"
)

func at(text string) netip.AddrPort { return netip.MustParseAddrPort(text) }

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestTrainThroughNAT(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := must[*Conn](t)
		n := NewNetwork()
		inside, public := at("172.16.0.1:4500"), at("192.0.2.10:4500")
		a := conn(n.Listen(at("203.0.113.1:4500")))
		b := conn(n.Host(inside.Addr()).Listen(at("0.0.0.0:4500")))
		lost := 0
		n.Hook(func(p *Packet) bool { // the 1:1 NAT in front of b
			if p.From == inside {
				p.From = public
			}
			if p.To == public {
				p.To = inside
			}
			return true
		})
		n.Hook(func(p *Packet) bool {
			if string(p.Data) == "33" {
				lost++
				return false
			}
			return true
		})
		if err := b.Write(udp.Datagrams{Buf: []byte("1122334455 "), Stride: 2, Remote: a.LocalAddr(), TOS: 3}); err != nil {
			t.Fatal(err)
		}
		into := make([]udp.Datagrams, 3)
		k, err := a.Read(into)
		d := into[0]
		if k != 1 || err != nil || string(d.Buf) != "11224455 " || d.Stride != 2 || d.Len() != 5 || d.Remote != public ||
			d.Local != a.LocalAddr() || d.TOS != 3 || lost != 1 {
			t.Errorf("%q %+v, %v", d.Buf, d, err)
		}
		if err := a.Write(udp.Datagrams{Buf: []byte("back"), Local: d.Local, Remote: d.Remote}); err != nil {
			t.Fatal(err)
		}
		k, err = b.Read(into)
		if d = into[0]; k != 1 || err != nil || string(d.Buf) != "back" || d.Local != inside || d.Remote != a.LocalAddr() || d.Len() != 1 {
			t.Errorf("%q %+v, %v", d.Buf, d, err)
		}
	})
}

func TestCloseUnblocksRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork()
		c := must[*Conn](t)(n.Listen(at("192.0.2.1:500")))
		go func() {
			time.Sleep(time.Hour)
			c.Close()
		}()
		if _, err := c.Read(make([]udp.Datagrams, 1)); err != net.ErrClosed {
			t.Errorf("Read: %v", err)
		}
		if err := c.Write(udp.Datagrams{Buf: []byte("x"), Remote: c.LocalAddr()}); err != net.ErrClosed {
			t.Errorf("Write: %v", err)
		}
		if err := c.Close(); err != net.ErrClosed {
			t.Errorf("a second Close: %v", err)
		}
		must[*Conn](t)(n.Listen(at("192.0.2.1:500"))) // the port is free again
	})
}

func TestListen(t *testing.T) {
	conn := must[*Conn](t)
	n := NewNetwork()
	h := n.Host(netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1"))
	conn(h.Listen(at("0.0.0.0:500")))
	conn(h.Listen(at("[::]:500")))
	conn(n.Host(netip.MustParseAddr("192.0.2.2")).Listen(at("0.0.0.0:500"))) // another host
	if _, err := h.Listen(at("192.0.2.1:500")); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("taken by the unspecified address: %v", err)
	}
	if _, err := h.Listen(at("192.0.2.9:500")); !errors.Is(err, syscall.EADDRNOTAVAIL) {
		t.Errorf("a foreign address: %v", err)
	}
	if one, two := conn(h.Listen(at("0.0.0.0:0"))), conn(h.Listen(at("0.0.0.0:0"))); one.LocalAddr() == two.LocalAddr() {
		t.Errorf("both have %v", one.LocalAddr())
	}
}

func TestSourceAndRoaming(t *testing.T) {
	conn := must[*Conn](t)
	n := NewNetwork()
	one, two := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	h := n.Host(one, two)
	c, peer := conn(h.Listen(at("0.0.0.0:500"))), conn(n.Listen(at("203.0.113.1:500")))
	into := make([]udp.Datagrams, 1)
	send := func(local netip.Addr) (netip.Addr, error) {
		err := c.Write(udp.Datagrams{Buf: []byte("x"), Local: netip.AddrPortFrom(local, 0), Remote: peer.LocalAddr()})
		if err != nil {
			return netip.Addr{}, err
		}
		_, err = peer.Read(into)
		return into[0].Remote.Addr(), err
	}
	for _, e := range []struct{ local, want netip.Addr }{{netip.Addr{}, one}, {netip.IPv4Unspecified(), one}, {two, two}} {
		if got, err := send(e.local); err != nil || got != e.want {
			t.Errorf("source %v: came from %v, %v", e.local, got, err)
		}
	}
	if _, err := send(netip.MustParseAddr("192.0.2.3")); err != udp.ErrSource {
		t.Errorf("a foreign source: %v", err)
	}
	h.SetAddrs(netip.MustParseAddr("198.51.100.1"))
	if got, err := send(netip.Addr{}); err != nil || got != netip.MustParseAddr("198.51.100.1") {
		t.Errorf("after the move: %v, %v", got, err)
	}
	if _, err := send(one); err != udp.ErrSource {
		t.Errorf("the old address: %v", err)
	}
	if err := c.Write(udp.Datagrams{Buf: []byte("x"), Remote: at("[2001:db8::1]:500")}); err != udp.ErrUnreachable {
		t.Errorf("the other family: %v", err)
	}
}

func TestFullQueue(t *testing.T) {
	conn := must[*Conn](t)
	n := NewNetwork()
	a, b := conn(n.Listen(at("192.0.2.1:1"))), conn(n.Listen(at("192.0.2.2:2")))
	for range queueLength + 3 {
		if err := a.Write(udp.Datagrams{Buf: bytes.Repeat([]byte("x"), 20), Remote: b.LocalAddr()}); err != nil {
			t.Fatal(err)
		}
	}
	if b.Dropped() != 3 {
		t.Errorf("%d dropped, want 3", b.Dropped())
	}
	for _, want := range []int{100, 100, queueLength - 200} {
		if k, err := b.Read(make([]udp.Datagrams, want)); k != want || err != nil {
			t.Errorf("%d at once, want %d: %v", k, want, err)
		}
	}
}
