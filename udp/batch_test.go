package udp

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/culvert-vpn/culvert/offload"
)

// Trains that are sent together arrive as the same datagrams, in the same order, whatever the socket makes use of.
func TestWriteBatch(t *testing.T) {
	for _, host := range []string{"127.0.0.1:0", "[::1]:0"} {
		for name, o := range map[string]Options{
			"all": {}, "without batch": {Without: offload.Batch}, "without segment": {Without: offload.Segment},
			"without": {Without: offload.All}, "portable": {Portable: true},
		} {
			a, b := listen(t, host, o), listen(t, host, Options{})
			for seed := range uint64(4) {
				trains, want := randomTrains(rand.New(rand.NewPCG(seed, 1)), b)
				if n, err := a.WriteBatch(trains); n != len(trains) || err != nil {
					t.Fatalf("%s: %d of %d trains sent: %v", name, n, len(trains), err)
				}
				var got [][]byte
				for into := make([]Datagrams, 8); len(got) < len(want); {
					n, err := b.Read(into)
					if err != nil {
						t.Fatal(err)
					}
					for _, d := range into[:n] {
						for i := range d.Len() {
							got = append(got, bytes.Clone(d.At(i)))
						}
					}
				}
				if !slices.EqualFunc(got, want, bytes.Equal) {
					t.Errorf("%s, %s: %d datagrams arrived, %d were sent: they are not the same", name, host, len(got), len(want))
				}
			}
		}
	}
}

// randomTrains are trains to b, and the datagrams they are made of.
func randomTrains(r *rand.Rand, b Conn) (trains []Datagrams, want [][]byte) {
	for range 40 {
		stride := []int{1, 64, 500, 1400}[r.IntN(4)]
		n := stride * []int{1, 1, 2, 30, 100}[r.IntN(5)]
		d := Datagrams{Buf: pattern(min(n, 65000) - r.IntN(stride)), Stride: stride, Remote: b.LocalAddr()}
		d.Buf[0] = byte(r.Uint32())
		if r.IntN(8) == 0 {
			d.Buf, d.Stride = d.Buf[:1], 0
		}
		trains = append(trains, d)
		for i := range d.Len() {
			want = append(want, d.At(i))
		}
	}
	return trains, want
}

// The first train that cannot be sent ends the batch, and those before it are sent.
func TestWriteBatchErrors(t *testing.T) {
	for name, o := range map[string]Options{"native": {}, "portable": {Portable: true}} {
		a, b := listen(t, "127.0.0.1:0", o), listen(t, "127.0.0.1:0", Options{})
		good := Datagrams{Buf: []byte("good"), Remote: b.LocalAddr()}
		tooBig := Datagrams{Buf: make([]byte, 65535), Remote: b.LocalAddr()}
		for _, c := range []struct {
			trains []Datagrams
			n      int
			err    error
		}{
			{[]Datagrams{good, good, tooBig, good}, 2, ErrTooBig},
			{[]Datagrams{tooBig}, 0, ErrTooBig},
			{[]Datagrams{good, tooBig}, 1, ErrTooBig},
			{[]Datagrams{good}, 1, nil},
			{nil, 0, nil},
		} {
			if n, err := a.WriteBatch(c.trains); n != c.n || !errors.Is(err, c.err) {
				t.Errorf("%s: %d of %d trains sent, want %d: %v", name, n, len(c.trains), c.n, err)
			}
			for range c.n {
				receive(t, b, good)
			}
		}
	}
}

// A destination of the other family is refused, not misread.
func TestWriteOtherFamily(t *testing.T) {
	a, b := listen(t, "127.0.0.1:0", Options{}), listen(t, "[::1]:0", Options{})
	for _, d := range []Datagrams{{Remote: b.LocalAddr()}, {}} {
		if err := a.Write(d); err == nil {
			t.Errorf("a datagram to %v was sent", d.Remote)
		}
	}
}
