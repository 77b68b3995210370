package udp

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
)

func listen(t *testing.T, addr string, o Options) Conn {
	t.Helper()
	c, err := Listen(netip.MustParseAddrPort(addr), o)
	if err != nil {
		if strings.HasPrefix(addr, "[") && strings.Contains(err.Error(), "address") {
			t.Skipf("no IPv6 here: %v", err)
		}
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// pattern is n bytes in which a lost or swapped piece shows.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8 + i>>16*3)
	}
	return b
}

// receive reads until it has all datagrams of want, and checks that they come as they were cut. It returns the trains
// with their buffers copied.
func receive(t *testing.T, c Conn, want Datagrams) []Datagrams {
	t.Helper()
	var trains []Datagrams
	batch := make([]Datagrams, 8)
	for got := 0; got < want.Len(); {
		n, err := c.Read(batch)
		if err != nil || n == 0 {
			t.Fatalf("after %d of %d datagrams: %d trains, %v", got, want.Len(), n, err)
		}
		for _, d := range batch[:n] {
			for i := range d.Len() {
				if got == want.Len() {
					t.Fatal("more datagrams than were sent")
				}
				if !bytes.Equal(d.At(i), want.At(got)) {
					t.Fatalf("datagram %d: %d bytes that differ from the %d sent", got, len(d.At(i)), len(want.At(got)))
				}
				got++
			}
			d.Buf = bytes.Clone(d.Buf)
			trains = append(trains, d)
		}
	}
	return trains
}

func TestTrainSlices(t *testing.T) {
	for _, c := range []struct {
		bytes, stride int
		want          []int
	}{
		{0, 0, []int{0}}, {5, 0, []int{5}}, {5, 5, []int{5}}, {5, 9, []int{5}}, {5, -1, []int{5}},
		{6, 3, []int{3, 3}}, {7, 3, []int{3, 3, 1}}, {3, 1, []int{1, 1, 1}},
	} {
		d := Datagrams{Buf: pattern(c.bytes), Stride: c.stride}
		if d.Len() != len(c.want) {
			t.Errorf("%d bytes, stride %d: %d datagrams, want %d", c.bytes, c.stride, d.Len(), len(c.want))
			continue
		}
		var joined []byte
		for i, n := range c.want {
			if at := d.At(i); len(at) != n {
				t.Errorf("%d bytes, stride %d: datagram %d has %d bytes, want %d", c.bytes, c.stride, i, len(at), n)
			}
			joined = append(joined, d.At(i)...)
		}
		if !bytes.Equal(joined, d.Buf) {
			t.Errorf("%d bytes, stride %d: the datagrams are not the train", c.bytes, c.stride)
		}
	}
}

func TestTrains(t *testing.T) {
	for _, kind := range []struct {
		name string
		o    Options
	}{{"native", Options{}}, {"portable", Options{Portable: true}}} {
		for _, host := range []string{"127.0.0.1:0", "[::1]:0"} {
			t.Run(kind.name+host, func(t *testing.T) {
				a, b := listen(t, host, kind.o), listen(t, host, kind.o)
				for _, c := range []struct{ bytes, stride int }{
					{0, 0}, {1, 0}, {100, 100}, {1000, 300}, {65, 1}, {200, 1}, {64 * 1400, 1400}, {90000, 1472},
					{65000, 32500}, {65001, 32500}, {65000, 1000}, {100000, 9000}, {65000, 64999}, {100000, 50000},
				} {
					d := Datagrams{Buf: pattern(c.bytes), Stride: c.stride, Remote: b.LocalAddr()}
					if err := a.Write(d); err != nil {
						t.Fatalf("%d bytes, stride %d: %v", c.bytes, c.stride, err)
					}
					for _, got := range receive(t, b, d) {
						if got.Remote != a.LocalAddr() || got.Local != b.LocalAddr() {
							t.Fatalf("from %v at %v, want from %v at %v", got.Remote, got.Local, a.LocalAddr(), b.LocalAddr())
						}
					}
				}
			})
		}
	}
}

func TestClose(t *testing.T) {
	for _, o := range []Options{{}, {Portable: true}} {
		c := listen(t, "127.0.0.1:0", o)
		done := make(chan error)
		go func() {
			_, err := c.Read(make([]Datagrams, 1))
			done <- err
		}()
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != net.ErrClosed {
			t.Errorf("Read after Close: %v", err)
		}
		if err := c.Write(Datagrams{Buf: []byte("x"), Remote: c.LocalAddr()}); err != net.ErrClosed {
			t.Errorf("Write after Close: %v", err)
		}
		if err := c.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a second Close: %v", err)
		}
	}
}

func TestListenErrors(t *testing.T) {
	taken := listen(t, "127.0.0.1:0", Options{}).LocalAddr()
	for _, c := range []struct {
		addr netip.AddrPort
		want []string
	}{
		{netip.AddrPort{}, []string{"no address to listen on"}},
		{taken, []string{taken.String(), "in use by", "stop it"}},
		{netip.MustParseAddrPort("192.0.2.1:0"), []string{"192.0.2.1 is no address of this host", "0.0.0.0:0"}},
	} {
		conn, err := Listen(c.addr, Options{})
		if err == nil {
			conn.Close()
			t.Errorf("listening on %v succeeds", c.addr)
			continue
		}
		for _, w := range c.want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("listening on %v: the error does not say %q: %v", c.addr, w, err)
			}
		}
	}
}
