package udp

import (
	"bytes"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/culvert-vpn/culvert/offload"
)

// What waits comes in one call once the socket has seen that there is much to read, in the order in which it was sent.
func TestReadBatch(t *testing.T) {
	for _, host := range []string{"127.0.0.1:0", "[::1]:0"} {
		for _, o := range []Options{{}, {Without: offload.Batch}, {Without: offload.GRO}, {Without: offload.All}, {Portable: true}} {
			a, b := listen(t, host, Options{}), listen(t, host, o)
			into := make([]Datagrams, 100)
			most := 0
			for round := range 5 {
				var want [][]byte
				for i := range 150 { // of different lengths, so that they are no train
					d := Datagrams{Buf: pattern(i + round), Remote: b.LocalAddr(), TOS: byte(4 * i)}
					want = append(want, d.Buf)
					if err := a.Write(d); err != nil {
						t.Fatal(err)
					}
				}
				for i := 0; i < len(want); {
					n, err := b.Read(into)
					if err != nil {
						t.Fatal(err)
					}
					most = max(most, n)
					for _, d := range into[:n] {
						if d.Len() != 1 || !bytes.Equal(d.Buf, want[i]) || d.Remote != a.LocalAddr() || d.Local != b.LocalAddr() {
							t.Fatalf("%s %+v, datagram %d: %d of %d bytes from %v at %v", host, o, i, d.Len(), len(d.Buf), d.Remote, d.Local)
						}
						if !o.Portable && d.TOS != byte(4*i) {
							t.Fatalf("datagram %d: TOS %d", i, d.TOS)
						}
						i++
					}
				}
			}
			if batch := !o.Portable && !o.Without.Has(offload.Batch); batch != (most > 1) || most > maxReceived {
				t.Errorf("%s %+v: %d at once", host, o, most)
			}
		}
	}
}

// Trains come several at once too, but no more than are worked on from the cache.
func TestReadTrains(t *testing.T) {
	a, b := listen(t, "127.0.0.1:0", Options{}), listen(t, "127.0.0.1:0", Options{RecvBuffer: 16 << 20})
	if !a.(*conn).gso.Load() {
		lacking(t, "this kernel has no UDP_SEGMENT")
	}
	into := make([]Datagrams, maxReceived)
	most, trains := 0, min(20, b.(*conn).facts.Recv.Granted/(100<<10)) // who may not have the buffer asked for has room for two
	for range 4 {
		for i := range trains {
			if err := a.Write(Datagrams{Buf: pattern(40*1400 + i), Stride: 1400, Remote: b.LocalAddr()}); err != nil {
				t.Fatal(err)
			}
		}
		for i := 0; i < trains; {
			n, err := b.Read(into)
			if err != nil {
				t.Fatal(err)
			}
			most = max(most, n)
			for _, d := range into[:n] {
				if d.Stride != 1400 || !bytes.Equal(d.Buf, pattern(40*1400+i)) {
					t.Fatalf("train %d: %d bytes, stride %d", i, len(d.Buf), d.Stride)
				}
				i++
			}
		}
	}
	if r := b.(*conn).receiver; most < 2 || r.want > batchBytes/(40*1400) {
		t.Errorf("%d trains at once, and the next call is for %d", most, r.want)
	}
}

// A datagram that is cut off is reported, and what came with it is not lost.
func TestTruncated(t *testing.T) {
	a, b := listen(t, "127.0.0.1:0", Options{}), listen(t, "127.0.0.1:0", Options{})
	r := b.(*conn).receiver
	r.grow(4)
	for _, s := range r.slots {
		s.iov.SetLen(50)
	}
	for _, n := range []int{10, 100, 11} {
		if err := a.Write(Datagrams{Buf: pattern(n), Remote: b.LocalAddr()}); err != nil {
			t.Fatal(err)
		}
	}
	into := make([]Datagrams, 4)
	n, err := b.Read(into)
	if !errors.Is(err, ErrTruncated) || n != 2 || !bytes.Equal(into[0].Buf, pattern(10)) || !bytes.Equal(into[1].Buf, pattern(11)) {
		t.Errorf("%d trains and %v: %+v", n, err, into[:n])
	}
}

// A sender on the link is known with the name of the interface, as elsewhere.
func TestLinkLocalSender(t *testing.T) {
	lo := inNamespace(t, 0)
	addAddr(t, lo, "fe80::1/128")
	a, b := listen(t, "[fe80::1%lo]:0", Options{}), listen(t, "[::]:0", Options{})
	to := netip.AddrPortFrom(a.LocalAddr().Addr(), b.LocalAddr().Port())
	for range 2 {
		if err := a.Write(Datagrams{Buf: pattern(9), Remote: to}); err != nil {
			t.Fatal(err)
		}
		got := receive(t, b, Datagrams{Buf: pattern(9)})[0]
		if got.Remote != a.LocalAddr() || got.Local.Addr() != to.Addr() || !strings.HasSuffix(got.Remote.Addr().String(), "%lo") {
			t.Errorf("from %v at %v, want from %v", got.Remote, got.Local, a.LocalAddr())
		}
	}
}
