package tun

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// open opens a device in the namespace of the test.
func open(t *testing.T, o Options) Device {
	t.Helper()
	d, err := Open(o)
	if err != nil {
		if _, statErr := os.Stat(cloneDevice); statErr != nil {
			lacking(t, "this host has no TUN device: %v", err)
		}
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// openUp opens a device, gives it the addresses and brings it up.
func openUp(t *testing.T, o Options, addrs ...string) Device {
	t.Helper()
	d := open(t, o)
	link, err := netlink.LinkByIndex(d.Index())
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		t.Fatal(err)
	}
	for _, text := range addrs {
		addAddr(t, link, text)
	}
	return d
}

// kinds are the ways to open a device of one queue.
var kinds = map[string]Options{"plain": {}, "offload": {Offload: true}, "portable": {Portable: true}}

// echo is an ICMP echo request of n bytes, header and all, that 10.103.0.2 sends to 10.103.0.1.
func echo(n int, seq uint16) []byte {
	b := make([]byte, n)
	copy(b, []byte{0x45, 0, byte(n >> 8), byte(n), 0, 1, 0, 0, 64, unix.IPPROTO_ICMP, 0, 0, 10, 103, 0, 2, 10, 103, 0, 1, 8})
	binary.BigEndian.PutUint16(b[10:], ^slowSum(b[:20]))
	binary.BigEndian.PutUint16(b[26:], seq)
	binary.BigEndian.PutUint16(b[22:], ^slowSum(b[20:]))
	return b
}

// readEcho reads until the answer to an echo request comes; the kernel sends things of its own too.
func readEcho(q Queue, buf []byte) ([]byte, error) {
	for {
		s, err := q.Read(buf)
		if err != nil {
			return nil, err
		}
		if p := s.Packet; s.Plain() && len(p) > 20 && p[0] == 0x45 && p[9] == unix.IPPROTO_ICMP && p[20] == 0 {
			return p, nil
		}
	}
}

func TestEcho(t *testing.T) {
	for name, o := range kinds {
		t.Run(name, func(t *testing.T) {
			inNamespace(t)
			d := openUp(t, o, "10.103.0.1/24")
			q, buf := d.Queues()[0], make([]byte, Headroom+MaxSuper)
			for i, n := range []int{28, 29, 84, 1399, 1400} {
				request := echo(n, uint16(i+1))
				if err := q.Write(Super{Packet: request[:28]}, [][]byte{request[28:]}); err != nil {
					t.Fatal(err)
				}
				answer, err := readEcho(q, buf)
				if err != nil {
					t.Fatal(err)
				}
				if len(answer) != n || !bytes.Equal(answer[24:], request[24:]) || slowSum(answer[20:]) != 0xffff ||
					slowSum(answer[:20]) != 0xffff {
					t.Errorf("%d bytes: the answer is %x", n, answer)
				}
			}
		})
	}
}

// TryRead gives what Read would, and does not wait for it.
func TestTryRead(t *testing.T) {
	for _, o := range []Options{{}, {Offload: true}} {
		inNamespace(t)
		d := openUp(t, o, "10.103.0.1/24")
		q, buf := d.Queues()[0], make([]byte, Headroom+MaxSuper)
		for _, n := range []int{28, 1400} {
			for waiting := true; waiting; { // what the kernel sends of its own
				var err error
				if _, waiting, err = q.TryRead(buf); err != nil {
					t.Fatal(err)
				}
			}
			request := echo(n, 7)
			if err := q.Write(Super{Packet: request}, nil); err != nil {
				t.Fatal(err)
			}
			for answered := false; !answered; {
				s, waiting, err := q.TryRead(buf)
				if err != nil {
					t.Fatal(err)
				}
				answered = waiting && len(s.Packet) == n && s.Plain() && bytes.Equal(s.Packet[24:], request[24:])
			}
		}
		if _, _, err := q.TryRead(buf[:Headroom]); !errors.Is(err, io.ErrShortBuffer) {
			t.Errorf("no buffer: %v", err)
		}
		d.Close()
		if _, _, err := q.TryRead(buf); !errors.Is(err, os.ErrClosed) {
			t.Errorf("closed: %v", err)
		}
	}
}

func TestShortBuffer(t *testing.T) {
	for name, o := range kinds {
		t.Run(name, func(t *testing.T) {
			inNamespace(t)
			q := openUp(t, o, "10.103.0.1/24").Queues()[0]
			for _, n := range []int{600, 200} {
				if err := q.Write(Super{Packet: echo(n, 1)}, nil); err != nil {
					t.Fatal(err)
				}
			}
			buf := make([]byte, Headroom+500)
			if _, err := readEcho(q, buf); !errors.Is(err, io.ErrShortBuffer) {
				t.Errorf("a packet longer than the buffer: %v", err)
			}
			if p, err := readEcho(q, buf); err != nil || len(p) != 200 {
				t.Errorf("the packet behind it: %d bytes, %v", len(p), err)
			}
			if _, err := q.Read(nil); !errors.Is(err, io.ErrShortBuffer) {
				t.Errorf("no buffer: %v", err)
			}
		})
	}
}

func TestWriteErrors(t *testing.T) {
	for name, o := range kinds {
		t.Run(name, func(t *testing.T) {
			inNamespace(t)
			q := open(t, o).Queues()[0]
			if err := q.Write(Super{Packet: echo(100, 1)}, nil); !errors.Is(err, ErrDown) {
				t.Errorf("the interface is down: %v", err)
			}
			super := flow{}.super(1, 2, 0, make([]byte, 100), 10)
			super.HdrLen++
			for what, s := range map[string]Super{"empty": {}, "malformed": super, "no IP": {Packet: []byte{0, 1, 2}}} {
				err := q.Write(s, nil)
				if what != "no IP" && !errors.Is(err, ErrMalformed) || err == nil {
					t.Errorf("%s: %v", what, err)
				}
			}
		})
	}
}

func TestClose(t *testing.T) {
	for name, o := range kinds {
		t.Run(name, func(t *testing.T) {
			inNamespace(t)
			d := openUp(t, o)
			q := d.Queues()[0]
			done := make(chan error)
			go func() {
				buf := make([]byte, Headroom+MaxSuper)
				for {
					if _, err := q.Read(buf); err != nil {
						done <- err
						return
					}
				}
			}()
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			if err := <-done; err != os.ErrClosed {
				t.Errorf("Read after Close: %v", err)
			}
			if err := q.Write(Super{Packet: echo(100, 1)}, nil); err != os.ErrClosed {
				t.Errorf("Write after Close: %v", err)
			}
			if err := d.SetMTU(1300); err != os.ErrClosed {
				t.Errorf("SetMTU after Close: %v", err)
			}
			if d.Close() != os.ErrClosed || q.Close() != os.ErrClosed {
				t.Error("a second Close does not say that it is one")
			}
			if _, err := netlink.LinkByName(d.Name()); err == nil {
				t.Errorf("the interface %s is still there", d.Name())
			}
		})
	}
}

func TestNameAndMTU(t *testing.T) {
	for name, o := range kinds {
		t.Run(name, func(t *testing.T) {
			inNamespace(t)
			o.Name, o.MTU = "culvert%d", 1234
			d := open(t, o)
			link, err := netlink.LinkByName("culvert0")
			if err != nil {
				t.Fatal(err)
			}
			if d.Name() != "culvert0" || d.Index() != link.Attrs().Index || d.MTU() != 1234 || link.Attrs().MTU != 1234 {
				t.Errorf("%s, %d, MTU %d; the kernel says %s, %d, %d", d.Name(), d.Index(), d.MTU(),
					link.Attrs().Name, link.Attrs().Index, link.Attrs().MTU)
			}
			done := make(chan error)
			go func() { done <- d.SetMTU(1281) }() // from a thread in another namespace
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			if link, err = netlink.LinkByName("culvert0"); err != nil || link.Attrs().MTU != 1281 || d.MTU() != 1281 {
				t.Errorf("MTU %d, the kernel says %d, %v", d.MTU(), link.Attrs().MTU, err)
			}
			for _, bad := range []int{0, 67, 65536, -1} {
				if err := d.SetMTU(bad); err == nil || d.MTU() != 1281 {
					t.Errorf("an MTU of %d: %v, now %d", bad, err, d.MTU())
				}
			}
		})
	}
}

func TestOpenErrors(t *testing.T) {
	inNamespace(t)
	open(t, Options{Name: "mine"})
	for _, c := range []struct {
		o    Options
		want []string
	}{
		{Options{Name: "mine"}, []string{"mine is in use", "another name"}},
		{Options{Name: "mine", Portable: true}, []string{"mine", "another name"}},
		{Options{Name: "lo"}, []string{"lo of another kind exists", "ip link delete lo"}},
		{Options{Name: "much-too-long-a-name"}, []string{"at most 15 bytes"}},
		{Options{MTU: 67}, []string{"67 bytes", "68 to 65535"}},
		{Options{Queues: 257}, []string{"257 queues", "1 to 256"}},
		{Options{Queues: 2, Portable: true}, []string{"leave out Portable"}},
	} {
		expectOpenError(t, c.o, c.want...)
	}
	dropCapabilities(t, unix.CAP_NET_ADMIN)
	expectOpenError(t, Options{Name: "other"}, "not permitted", "CAP_NET_ADMIN")
	expectOpenError(t, Options{Name: "other", Portable: true}, "not permitted", "CAP_NET_ADMIN")
	if err := openError("x", &os.PathError{Op: "open", Path: cloneDevice, Err: unix.ENOENT}); !strings.Contains(err.Error(), "modprobe tun") {
		t.Errorf("no device: %v", err)
	}
}

func expectOpenError(t *testing.T, o Options, want ...string) {
	t.Helper()
	d, err := Open(o)
	if err == nil {
		d.Close()
		t.Errorf("%+v: opened", o)
		return
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%+v: the error does not say %q: %v", o, w, err)
		}
	}
}

// Many flows spread over the queues of one device, and each packet comes once.
func TestQueues(t *testing.T) {
	inNamespace(t)
	d := openUp(t, Options{Queues: 3}, "10.103.0.1/24")
	if len(d.Queues()) != 3 {
		t.Fatalf("%d queues", len(d.Queues()))
	}
	const flows = 64
	var mu sync.Mutex
	seen := map[uint16]int{}
	enough := make(chan bool)
	for _, q := range d.Queues() {
		go func() {
			buf := make([]byte, Headroom+MaxSuper)
			for {
				s, err := q.Read(buf)
				if err != nil {
					return
				}
				p := s.Packet
				if len(p) < 28 || p[0] != 0x45 || p[9] != unix.IPPROTO_UDP || [4]byte(p[16:]) != [4]byte{10, 103, 0, 9} {
					continue
				}
				mu.Lock()
				port := binary.BigEndian.Uint16(p[22:])
				seen[port]++
				if len(seen) == flows {
					close(enough)
				}
				mu.Unlock()
			}
		}()
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for port := range flows {
		if err := unix.Sendto(fd, []byte("x"), 0, &unix.SockaddrInet4{Port: 1000 + port, Addr: [4]byte{10, 103, 0, 9}}); err != nil {
			t.Fatal(err)
		}
	}
	<-enough
	mu.Lock()
	defer mu.Unlock()
	for port, n := range seen {
		if n != 1 {
			t.Errorf("the packet to port %d came %d times", port, n)
		}
	}
}

func TestNoAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for name, o := range kinds {
		t.Run(name, func(t *testing.T) {
			inNamespace(t)
			q := openUp(t, o, "10.103.0.1/24").Queues()[0]
			buf, request := make([]byte, Headroom+MaxSuper), echo(1000, 1)
			more := [][]byte{request[28:500], request[500:]}
			allocs := testing.AllocsPerRun(100, func() {
				if err := q.Write(Super{Packet: request[:28]}, more); err != nil {
					t.Fatal(err)
				}
				if _, err := readEcho(q, buf); err != nil {
					t.Fatal(err)
				}
			})
			if allocs != 0 {
				t.Errorf("%v allocations per packet", allocs)
			}
		})
	}
}

func FuzzDecodeHeader(f *testing.F) {
	for _, fl := range flows {
		s := fl.super(1, 2, 0x19, make([]byte, 100), 33)
		h := make([]byte, vnetHeader)
		if !encodeHeader(h, &s) {
			f.Fatal("cannot describe a good superpacket")
		}
		f.Add(h, s.Packet)
	}
	f.Fuzz(func(t *testing.T, header, packet []byte) {
		if len(header) != vnetHeader {
			return
		}
		s, err := decodeHeader(header, packet)
		if err != nil {
			return
		}
		if s.Segments() == 0 || s.GSO == GSONone && s.Segments() != 1 {
			t.Errorf("%x accepted, but %d segments", header, s.Segments())
		}
		again := make([]byte, vnetHeader)
		if len(packet) == 0 || !encodeHeader(again, &s) {
			return
		}
		if r, err := decodeHeader(again, packet); err != nil || fmt.Sprint(r) != fmt.Sprint(s) {
			t.Errorf("%x: written and read again: %v, %v", header, r, err)
		}
	})
}

// A host that does not forward makes superpackets that fit; on one that forwards the limit would hurt others.
func TestTCPPayload(t *testing.T) {
	for forwarding, want := range map[string]uint32{"0": 60000 + kernelHeaders, "1": 65536} {
		inNamespace(t)
		for _, path := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
			if err := os.WriteFile("/proc/sys/net/"+path, []byte(forwarding), 0o644); err != nil && !errors.Is(err, os.ErrNotExist) {
				lacking(t, "sysctl: %v", err)
			}
		}
		d := open(t, Options{Offload: true, TCPPayload: 60000})
		link, err := netlink.LinkByIndex(d.Index())
		if err != nil {
			t.Fatal(err)
		}
		if got := link.Attrs().GSOMaxSize; got != want {
			t.Errorf("forwarding %s: superpackets of up to %d bytes, want %d", forwarding, got, want)
		}
	}
}
