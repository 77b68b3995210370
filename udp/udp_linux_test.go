package udp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func addrPort(host string, like netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(host), like.Port())
}

// Where the kernel has UDP_SEGMENT and UDP_GRO, a train on loopback arrives in one piece.
func TestOneCallPerTrain(t *testing.T) {
	a, b := listen(t, "127.0.0.1:0", Options{}), listen(t, "127.0.0.1:0", Options{})
	if !a.(*conn).gso.Load() {
		lacking(t, "this kernel has no UDP_SEGMENT")
	}
	d := Datagrams{Buf: pattern(40*1400 + 77), Stride: 1400, Remote: b.LocalAddr(), TOS: 0xb9}
	if err := a.Write(d); err != nil {
		t.Fatal(err)
	}
	got := receive(t, b, d)
	if len(got) != 1 || got[0].Stride != 1400 || got[0].TOS != 0xb9 {
		t.Errorf("%d trains, the first with stride %d and TOS %#x", len(got), got[0].Stride, got[0].TOS)
	}
	if !a.(*conn).gso.Load() {
		t.Error("segmentation was given up")
	}
}

func TestWithoutSegmentation(t *testing.T) {
	for _, host := range []string{"127.0.0.1:0", "[::1]:0"} {
		a, b := listen(t, host, Options{}), listen(t, host, Options{})
		a.(*conn).gso.Store(false)
		d := Datagrams{Buf: pattern(40*1400 + 77), Stride: 1400, Remote: b.LocalAddr(), TOS: 2}
		if err := a.Write(d); err != nil {
			t.Fatal(err)
		}
		for _, got := range receive(t, b, d) {
			if got.TOS != 2 {
				t.Errorf("TOS %d, want 2", got.TOS)
			}
		}
	}
}

// One socket on the unspecified address: the address of arrival is told, and an answer leaves from it.
func TestAddressOfArrival(t *testing.T) {
	lo := inNamespace(t, 0)
	for _, text := range []string{"2001:db8::1/128", "2001:db8::2/128"} {
		addAddr(t, lo, text)
	}
	for _, c := range []struct{ any, one, two string }{
		{"0.0.0.0:0", "127.0.0.2", "127.0.0.3"},
		{"[::]:0", "2001:db8::1", "2001:db8::2"},
	} {
		a, b := listen(t, c.any, Options{}), listen(t, c.any, Options{})
		one, two := addrPort(c.one, a.LocalAddr()), addrPort(c.two, b.LocalAddr())
		d := Datagrams{Buf: pattern(3000), Stride: 1000, Local: one, Remote: two, TOS: 0x28}
		if err := a.Write(d); err != nil {
			t.Fatal(err)
		}
		got := receive(t, b, d)[0]
		if got.Remote != one || got.Local != two || got.TOS != 0x28 {
			t.Fatalf("from %v at %v, TOS %#x; want from %v at %v", got.Remote, got.Local, got.TOS, one, two)
		}
		if err := b.Write(Datagrams{Buf: pattern(10), Local: got.Local, Remote: got.Remote}); err != nil {
			t.Fatal(err)
		}
		answer := receive(t, a, Datagrams{Buf: pattern(10)})[0]
		if answer.Remote != two || answer.Local != one || answer.TOS != 0 {
			t.Errorf("the answer came from %v at %v, TOS %#x; want from %v at %v", answer.Remote, answer.Local, answer.TOS, two, one)
		}
	}
}

func TestWriteErrors(t *testing.T) {
	inNamespace(t, 0)
	c := listen(t, "0.0.0.0:0", Options{})
	loop := netip.MustParseAddrPort("127.0.0.1:9")
	for _, e := range []struct {
		what string
		d    Datagrams
		want error
	}{
		{"longer than a datagram can be", Datagrams{Buf: pattern(65508), Remote: loop}, ErrTooBig},
		{"a train of such", Datagrams{Buf: pattern(2 * 65508), Stride: 65508, Remote: loop}, ErrTooBig},
		{"no route", Datagrams{Buf: pattern(1), Remote: netip.MustParseAddrPort("192.0.2.1:500")}, ErrUnreachable},
	} {
		if err := c.Write(e.d); !errors.Is(err, e.want) {
			t.Errorf("%s: %v, want %v", e.what, err, e.want)
		}
	}
	foreign := Datagrams{Buf: pattern(9), Stride: 3, Local: netip.MustParseAddrPort("192.0.2.2:1"), Remote: loop}
	if err := c.Write(foreign); !errors.Is(err, ErrSource) && !errors.Is(err, ErrUnreachable) {
		t.Errorf("foreign source: %v", err)
	}
	six := listen(t, "[::]:0", Options{})
	foreign = Datagrams{Buf: pattern(9), Stride: 3, Local: netip.MustParseAddrPort("[2001:db8::7]:1"), Remote: netip.MustParseAddrPort("[::1]:9")}
	if err := six.Write(foreign); !errors.Is(err, ErrSource) {
		t.Errorf("foreign IPv6 source: %v", err)
	}
	if !c.(*conn).gso.Load() || !six.(*conn).gso.Load() {
		t.Error("an error of one train ended segmentation for all")
	}
}

// A datagram to a port that nobody hears brings ICMP back; the socket goes on reading.
//
// Cases: SGW.I.1.1.3.1.
func TestReadAfterICMP(t *testing.T) {
	for _, o := range []Options{{}, {Portable: true}} {
		gone := listen(t, "127.0.0.1:0", Options{})
		nobody := gone.LocalAddr()
		gone.Close()
		a, b := listen(t, "127.0.0.1:0", o), listen(t, "127.0.0.1:0", o)
		for range 3 {
			if err := a.Write(Datagrams{Buf: pattern(10), Remote: nobody}); err != nil {
				t.Fatal(err)
			}
		}
		d := Datagrams{Buf: pattern(20), Remote: a.LocalAddr()}
		if err := b.Write(d); err != nil {
			t.Fatal(err)
		}
		receive(t, a, d)
	}
}

// sniffer receives what passes the loopback interface, from the IP header on.
func sniffer(t *testing.T, lo netlink.Link, protocol uint16) int {
	t.Helper()
	network := protocol<<8 | protocol>>8
	if !littleEndian {
		network = protocol
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, int(network))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: network, Ifindex: lo.Attrs().Index}); err != nil {
		t.Fatal(err)
	}
	return fd
}

// A train with datagrams beyond the MTU goes out in fragments, none of which forbids further fragmentation.
func TestFragmentsWithoutDF(t *testing.T) {
	lo := inNamespace(t, 1500)
	sniff := sniffer(t, lo, unix.ETH_P_IP)
	a, b := listen(t, "127.0.0.1:0", Options{}), listen(t, "127.0.0.1:0", Options{})
	d := Datagrams{Buf: pattern(3*2000 + 5), Stride: 2000, Remote: b.LocalAddr(), TOS: 1}
	if err := a.Write(d); err != nil {
		t.Fatal(err)
	}
	receive(t, b, d)
	if !a.(*conn).gso.Load() {
		t.Error("one train beyond the MTU ended segmentation for all")
	}
	packet := make([]byte, 65536)
	fragments := 0
	for range 7 { // 3 datagrams of 2 fragments, 1 of none
		n, _, err := unix.Recvfrom(sniff, packet, 0)
		if err != nil || n < 20 {
			t.Fatal(n, err)
		}
		flags := binary.BigEndian.Uint16(packet[6:])
		if n > 1500 || flags&0x4000 != 0 || packet[1] != 1 {
			t.Errorf("a packet of %d bytes, flags %#x, TOS %d", n, flags, packet[1])
		}
		if flags&0x3fff != 0 {
			fragments++
		}
	}
	if fragments != 6 {
		t.Errorf("%d fragments, want 6", fragments)
	}
}

func TestIPv6Fragments(t *testing.T) {
	lo := inNamespace(t, 1500)
	a, b := listen(t, "[::1]:0", Options{}), listen(t, "[::1]:0", Options{})
	sniff := sniffer(t, lo, unix.ETH_P_IPV6)
	d := Datagrams{Buf: pattern(3 * 2000), Stride: 2000, Remote: b.LocalAddr()}
	if err := a.Write(d); err != nil {
		t.Fatal(err)
	}
	receive(t, b, d)
	packet := make([]byte, 65536)
	for range 6 {
		n, _, err := unix.Recvfrom(sniff, packet, 0)
		if err != nil || n > 1500 || n < 40 || packet[6] != unix.IPPROTO_FRAGMENT {
			t.Errorf("a packet of %d bytes, next header %d, %v", n, packet[6], err)
		}
	}
}

func TestHolderIsNamed(t *testing.T) {
	inNamespace(t, 0)
	comm, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	us := fmt.Sprintf("%q (process %d)", strings.TrimSpace(string(comm)), os.Getpid())
	for _, c := range []struct{ held, want string }{
		{"0.0.0.0:500", "0.0.0.0:500"}, {"127.0.0.1:501", "0.0.0.0:501"}, {"0.0.0.0:502", "127.0.0.1:502"},
		{"[::]:503", "[::1]:503"}, {"[::1]:504", "[::1]:504"},
	} {
		listen(t, c.held, Options{})
		_, err := Listen(netip.MustParseAddrPort(c.want), Options{})
		if err == nil || !strings.Contains(err.Error(), us) {
			t.Errorf("%s while we hold %s: %v; want the name of %s", c.want, c.held, err, us)
		}
	}
}

func TestWithoutPrivileges(t *testing.T) {
	inNamespace(t, 0)
	dropCapabilities(t, unix.CAP_NET_BIND_SERVICE, unix.CAP_NET_ADMIN, unix.CAP_NET_RAW)
	for _, c := range []struct {
		o          Options
		addr, want string
	}{
		{Options{}, "0.0.0.0:500", "CAP_NET_BIND_SERVICE"},
		{Options{Portable: true}, "0.0.0.0:500", "CAP_NET_BIND_SERVICE"},
		{Options{Mark: 7}, "127.0.0.1:0", "CAP_NET_ADMIN"},
		{Options{Mark: 7}, "127.0.0.1:500", "CAP_NET_ADMIN"},
	} {
		if _, err := Listen(netip.MustParseAddrPort(c.addr), c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s, %+v: %v; want a word of %s", c.addr, c.o, err, c.want)
		}
	}
	listen(t, "127.0.0.1:0", Options{RecvBuffer: 1 << 30}) // what cannot be had is not an error
}

func TestMarkAndBuffers(t *testing.T) {
	inNamespace(t, 0)
	c := listen(t, "127.0.0.1:0", Options{Mark: 0x1234, RecvBuffer: 3 << 20})
	raw, err := c.(*conn).udp.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	option := func(name int) (value int) {
		err := raw.Control(func(fd uintptr) { value, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, name) })
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
	if got := option(unix.SO_MARK); got != 0x1234 {
		t.Errorf("mark %#x", got)
	}
	if got := option(unix.SO_RCVBUF); got != 2*3<<20 { // the kernel doubles it, for its own books
		t.Errorf("receive buffer of %d bytes", got)
	}
}

func TestReusePort(t *testing.T) {
	a := listen(t, "127.0.0.1:0", Options{ReusePort: true})
	listen(t, a.LocalAddr().String(), Options{ReusePort: true})
	if _, err := Listen(a.LocalAddr(), Options{}); err == nil {
		t.Error("a socket that does not share got the shared port")
	}
}

func TestNoAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for _, host := range []string{"127.0.0.1:0", "[::1]:0"} {
		a, b := listen(t, host, Options{}), listen(t, host, Options{})
		batch := make([]Datagrams, 2)
		d := Datagrams{Buf: pattern(20 * 1000), Stride: 1000, Local: a.LocalAddr(), Remote: b.LocalAddr(), TOS: 1}
		allocs := testing.AllocsPerRun(100, func() {
			if err := a.Write(d); err != nil {
				t.Fatal(err)
			}
			for got := 0; got < len(d.Buf); {
				n, err := b.Read(batch)
				if err != nil {
					t.Fatal(err)
				}
				for _, r := range batch[:n] {
					got += len(r.Buf)
				}
			}
		})
		if allocs != 0 {
			t.Errorf("%s: %v allocations per train", host, allocs)
		}
	}
}

func FuzzDecodeControl(f *testing.F) {
	var b controlBuf
	local := netip.MustParseAddr("192.0.2.1")
	f.Add(b.bytes()[:encodeControl(b.bytes(), local, false, 3, 1400)])
	f.Add(b.bytes()[:encodeControl(b.bytes(), netip.MustParseAddr("fe80::1"), true, 3, 1400)])
	f.Fuzz(func(t *testing.T, data []byte) {
		var aligned controlBuf
		n := copy(aligned.bytes(), data)
		d := Datagrams{Buf: []byte("x"), Stride: 1, Local: netip.MustParseAddrPort("0.0.0.0:500")}
		decodeControl(aligned.bytes()[:n], &d)
		if d.Stride < 1 || d.Local.Port() != 500 || !d.Local.Addr().IsValid() {
			t.Errorf("%x: %+v", data, d)
		}
	})
}
