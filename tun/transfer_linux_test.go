package tun

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// Two hosts, each a namespace with a TUN device, and between them goroutines that carry packets:
//
//	namespace 1: TCP, UDP -- tun 10.103.0.1 == carry ==> tun 10.103.0.2 -- TCP, UDP :namespace 2
//
// The kernel's own TCP and UDP are the judges of the packets that Cut makes and of the superpackets that Write passes on.
type pair struct {
	one, two Device
	supers   atomic.Int64 // superpackets of more than one segment
	failures chan error
}

// A carrier writes s, read from one device, to the other.
type carrier func(s Super, to Queue, scratch []byte) error

// carryCut writes each segment as a packet of its own.
func carryCut(s Super, to Queue, scratch []byte) error {
	for i := range s.Segments() {
		if err := to.Write(Super{Packet: scratch[:s.Cut(i, scratch)]}, nil); err != nil {
			return err
		}
	}
	return nil
}

// carryWhole passes the superpacket on, in three pieces.
func carryWhole(s Super, to Queue, _ []byte) error {
	header, payload := s.HdrLen, [][]byte(nil)
	if s.GSO != GSONone {
		rest := s.Packet[header:]
		payload = [][]byte{rest[:len(rest)/3], nil, rest[len(rest)/3:]}
		s.Packet = s.Packet[:header]
	}
	return to.Write(s, payload)
}

// newPair makes the devices; the test's goroutine is in namespace 2 afterwards. inOne is called in namespace 1.
func newPair(t *testing.T, o Options, carry carrier, inOne func()) *pair {
	t.Helper()
	p := &pair{failures: make(chan error, 2)}
	inNamespace(t)
	p.one = openUp(t, o, "10.103.0.1/24", "fd00::1/64")
	inOne()
	inNamespace(t)
	p.two = openUp(t, o, "10.103.0.2/24", "fd00::2/64")
	var carriers sync.WaitGroup
	for _, way := range [][2]Queue{{p.one.Queues()[0], p.two.Queues()[0]}, {p.two.Queues()[0], p.one.Queues()[0]}} {
		carriers.Go(func() { p.carry(way[0], way[1], carry) })
	}
	t.Cleanup(func() {
		p.one.Close()
		p.two.Close()
		carriers.Wait()
		close(p.failures)
		for err := range p.failures {
			t.Errorf("carrying: %v", err)
		}
	})
	return p
}

func (p *pair) carry(from, to Queue, carry carrier) {
	buf, scratch := make([]byte, Headroom+MaxSuper), make([]byte, MaxSuper)
	for {
		s, err := from.Read(buf)
		if err == nil {
			if s.Segments() > 1 {
				p.supers.Add(1)
			}
			err = carry(s, to, scratch)
		}
		if errors.Is(err, os.ErrClosed) {
			return
		}
		if err != nil {
			p.failures <- err
			return
		}
	}
}

var transfers = []struct {
	name  string
	o     Options
	carry carrier
	super bool
}{
	{"plain", Options{}, carryCut, false},
	{"portable", Options{Portable: true}, carryCut, false},
	{"cut", Options{Offload: true}, carryCut, true},
	{"whole", Options{Offload: true}, carryWhole, true},
}

// pattern is n bytes in which a lost or swapped piece shows.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8 + i>>16*3)
	}
	return b
}

// badChecksums is the number of packets with bad checksums that the namespace of the thread has counted.
func badChecksums(t *testing.T) (bad int) {
	t.Helper()
	snmp, err := os.ReadFile("/proc/thread-self/net/snmp")
	if err != nil {
		t.Fatal(err)
	}
	snmp6, _ := os.ReadFile("/proc/thread-self/net/snmp6")
	lines := strings.Split(string(snmp), "\n")
	for i := 1; i < len(lines); i += 2 {
		names, values := strings.Fields(lines[i-1]), strings.Fields(lines[i])
		for j, name := range names {
			if name == "InCsumErrors" || name == "InHdrErrors" {
				n, _ := strconv.Atoi(values[j])
				bad += n
			}
		}
	}
	for line := range strings.Lines(string(snmp6)) {
		if f := strings.Fields(line); len(f) == 2 && (strings.HasSuffix(f[0], "InCsumErrors") || strings.HasSuffix(f[0], "InHdrErrors")) {
			n, _ := strconv.Atoi(f[1])
			bad += n
		}
	}
	return bad
}

func TestTCP(t *testing.T) {
	for _, c := range transfers {
		for _, addr := range []string{"10.103.0.1", "fd00::1"} {
			t.Run(c.name+"/"+addr, func(t *testing.T) {
				var server net.Listener
				p := newPair(t, c.o, c.carry, func() {
					var err error
					if server, err = net.Listen("tcp", net.JoinHostPort(addr, "0")); err != nil {
						t.Fatal(err)
					}
				})
				defer server.Close()
				data := pattern(4 << 20)
				served := make(chan error, 1)
				go func() { served <- serveBack(server) }()
				client, err := net.Dial("tcp", server.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				defer client.Close()
				go func() {
					client.Write(data) // what is missing shows in what comes back
					client.(*net.TCPConn).CloseWrite()
				}()
				back, err := io.ReadAll(client)
				if err != nil || !bytes.Equal(back, data) {
					t.Errorf("%d bytes came back of %d, equal: %v, %v", len(back), len(data), bytes.Equal(back, data), err)
				}
				if err := <-served; err != nil {
					t.Error(err)
				}
				if n := badChecksums(t); n != 0 {
					t.Errorf("the kernel counts %d packets with bad checksums", n)
				}
				if n := p.supers.Load(); (n > 0) != c.super {
					t.Errorf("%d superpackets", n)
				}
			})
		}
	}
}

// serveBack sends back what one client sends, when it has all.
func serveBack(server net.Listener) error {
	conn, err := server.Accept()
	if err != nil {
		return err
	}
	defer conn.Close()
	data, err := io.ReadAll(conn)
	if err != nil {
		return err
	}
	_, err = conn.Write(data)
	return err
}

// A train of datagrams, sent in one call, arrives whole whatever the devices do with it.
func TestUDP(t *testing.T) {
	for _, c := range transfers {
		for _, addr := range []string{"10.103.0.1", "fd00::1"} {
			t.Run(c.name+"/"+addr, func(t *testing.T) {
				var server net.PacketConn
				p := newPair(t, c.o, c.carry, func() {
					var err error
					if server, err = net.ListenPacket("udp", net.JoinHostPort(addr, "0")); err != nil {
						t.Fatal(err)
					}
				})
				defer server.Close()
				client, err := net.Dial("udp", server.LocalAddr().String())
				if err != nil {
					t.Fatal(err)
				}
				defer client.Close()
				const size, count = 1111, 20
				data := pattern(size*count - 500)
				if err := sendTrain(client.(*net.UDPConn), data, size); err != nil {
					t.Skipf("this kernel sends no trains: %v", err)
				}
				buf := make([]byte, 2000)
				for i := range count {
					n, _, err := server.ReadFrom(buf)
					if want := data[i*size : min((i+1)*size, len(data))]; err != nil || !bytes.Equal(buf[:n], want) {
						t.Fatalf("datagram %d: %d bytes, want %d, %v", i, n, len(want), err)
					}
				}
				if n := badChecksums(t); n != 0 {
					t.Errorf("the kernel counts %d packets with bad checksums", n)
				}
				if n := p.supers.Load(); n > 0 && !c.super {
					t.Errorf("%d superpackets although offload is off", n)
				} else if n == 0 && c.super {
					t.Log("this kernel segments datagrams itself")
				}
			})
		}
	}
}

// sendTrain sends data as datagrams of size bytes in one call.
func sendTrain(c *net.UDPConn, data []byte, size int) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var setErr error
	if err := raw.Control(func(fd uintptr) {
		setErr = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT, size)
	}); err != nil {
		return err
	}
	if setErr != nil {
		return fmt.Errorf("UDP_SEGMENT: %w", setErr)
	}
	_, err = c.Write(data)
	return err
}
