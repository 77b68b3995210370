package main

import (
	"context"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/gateway"
	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/natt"
	"github.com/culvert-vpn/culvert/tun/tuntest"
	"github.com/culvert-vpn/culvert/udp"
)

// cable is a socket of a gateway in this process.
type cable struct {
	local netip.AddrPort
	in    chan udp.Datagrams
	out   chan udp.Datagrams
	done  chan struct{}
}

func newCable(port uint16) *cable {
	return &cable{netip.AddrPortFrom(netip.MustParseAddr(hubIP), port), make(chan udp.Datagrams, 16), make(chan udp.Datagrams, 16), make(chan struct{})}
}

const hubIP = "10.0.0.1"

func (w *cable) Read(into []udp.Datagrams) (int, error) {
	select {
	case into[0] = <-w.in:
		return 1, nil
	case <-w.done:
		return 0, net.ErrClosed
	}
}

func (w *cable) Write(d udp.Datagrams) error {
	d.Buf = slices.Clone(d.Buf)
	w.out <- d
	return nil
}

func (w *cable) WriteBatch(list []udp.Datagrams) (int, error) {
	for _, d := range list {
		_ = w.Write(d)
	}
	return len(list), nil
}

func (w *cable) LocalAddr() netip.AddrPort { return w.local }

func (w *cable) Close() error {
	close(w.done)
	return nil
}

// hub is a gateway in this process.
type hub struct {
	ike, natt *cable
	queue     *tuntest.Queue
	next      uint32
}

func startHub(t testing.TB) *hub {
	h := &hub{ike: newCable(500), natt: newCable(4500), queue: tuntest.NewQueue(), next: 1000}
	g, err := gateway.New(*parse(hubConfig(0)), gateway.WithTUN(h.queue),
		gateway.WithConns(gateway.Conns{IKE: []udp.Conn{h.ike}, NATT: []udp.Conn{h.natt}}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- g.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		for {
			select {
			case err := <-ended:
				if err != nil {
					t.Error(err)
				}
				return
			case <-h.ike.out:
			case <-h.natt.out: // nobody answers the good-bye
			}
		}
	})
	return h
}

// add sets up the i-th tunnel, and forgets the peer.
func (h *hub) add(t testing.TB, i int) (in, out ike.Install) {
	s := newSpoke(i, netip.AddrPortFrom(outer(i), 500), netip.AddrPortFrom(netip.MustParseAddr(hubIP), 500), &h.next)
	effects := s.call(time.Now())
	for {
		for _, x := range effects {
			switch x := x.(type) {
			case ike.Send:
				w := h.ike
				if x.Path.NATT {
					w = h.natt
				}
				w.in <- udp.Datagrams{Buf: natt.AppendIKE(nil, x.Path, x.Data), Local: x.Path.Remote, Remote: x.Path.Local}
			case ike.Install:
				if x.Dir == ike.In {
					in = x
				} else {
					out = x
				}
			case ike.Event:
				if x.Kind == ike.Failed || x.Kind == ike.ChildFailed {
					t.Fatal(x.Text, x.Remedy)
				}
			}
		}
		if out.SPI != 0 {
			return in, out
		}
		var d udp.Datagrams
		encapsulated := false
		select {
		case d = <-h.ike.out:
		case d = <-h.natt.out:
			encapsulated = true
		}
		_, msg := natt.Classify(encapsulated, d.Buf)
		effects = s.Handle(time.Now(), ike.Datagram{Path: natt.Path{Local: d.Remote, Remote: d.Local, NATT: encapsulated}, Data: msg})
	}
}

// heap is what is in use after a collection.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// A tunnel takes 24 KiB at most, all of it together: the IKE SA with its keys, answers and timers, the Child SA with both ESP SAs and
// the replay window, the policy and the route.
func TestMemoryOfOneTunnel(t *testing.T) {
	const base, n = 300, 1000
	h := startHub(t)
	for i := range base {
		h.add(t, i)
	}
	before := heap()
	for i := range n {
		h.add(t, base+i)
	}
	each := (heap() - before) / n
	t.Logf("%d bytes each", each)
	if most := uint64(24 << 10); each > most {
		t.Errorf("a tunnel takes %d bytes of heap, want %d at most", each, most)
	}
}
