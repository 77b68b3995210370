package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/internal/lab"
	"github.com/culvert-vpn/culvert/natt"
	"github.com/culvert-vpn/culvert/udp"
)

// fleet is all peers, on one host with two sockets.
type fleet struct {
	t         *teller
	host      *lab.Host
	ike, natt udp.Conn
	nat       bool

	mu     sync.Mutex
	spokes []*spoke
	bySPI  map[uint64]*spoke // of theirs
	next   uint32            // ESP SPI
	called int
	up     int
	last   time.Time
	resent int
	rekeys []int // Child SAs that the gateway rekeyed, in each second
	began  time.Time
}

func newFleet(t *teller, h *lab.Host, o options) *fleet {
	f := &fleet{t: t, host: h, nat: o.nat, bySPI: make(map[uint64]*spoke), next: 1000}
	lab.Must(t, h.Do(func() (err error) {
		f.ike, err = udp.Listen(netip.AddrPortFrom(netip.IPv4Unspecified(), natt.Port), udp.Options{})
		if err == nil {
			f.natt, err = udp.Listen(netip.AddrPortFrom(netip.IPv4Unspecified(), natt.PortNATT), udp.Options{})
		}
		return err
	}))
	hub := netip.AddrPortFrom(netip.MustParseAddr(hubAddr), natt.Port)
	for i := range o.n {
		at := netip.AddrPortFrom(outer(i), natt.Port)
		if o.nat {
			at = netip.AddrPortFrom(outer(0), natt.Port)
		}
		f.spokes = append(f.spokes, newSpoke(i, at, hub, &f.next))
	}
	go f.read(f.ike, false)
	go f.read(f.natt, true)
	return f
}

// read takes what the gateway sends.
func (f *fleet) read(c udp.Conn, encapsulated bool) {
	list := make([]udp.Datagrams, 32)
	for {
		n, err := c.Read(list)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		f.mu.Lock()
		for _, d := range list[:n] {
			for i := range d.Len() {
				if kind, msg := natt.Classify(encapsulated, d.At(i)); kind == natt.IKE {
					f.message(natt.Path{Local: d.Local, Remote: d.Remote, NATT: encapsulated}, msg)
				}
			}
		}
		f.mu.Unlock()
	}
}

func (f *fleet) message(p natt.Path, msg []byte) {
	h, err := wire.ParseHeader(msg)
	if err != nil {
		return
	}
	ours := h.SPIi
	if h.Initiator {
		ours = h.SPIr
	}
	if s := f.bySPI[ours]; s != nil {
		f.carryOut(s, s.Handle(time.Now(), ike.Datagram{Path: p, Data: msg}))
	}
}

// carryOut does what a peer wants.
func (f *fleet) carryOut(s *spoke, effects []ike.Effect) {
	for _, x := range effects {
		switch x := x.(type) {
		case ike.Send:
			h, _ := wire.ParseHeader(x.Data)
			if h.Initiator {
				f.bySPI[h.SPIi] = s
			} else {
				f.bySPI[h.SPIr] = s
			}
			c := f.ike
			if x.Path.NATT {
				c = f.natt
			}
			_ = c.Write(udp.Datagrams{Buf: natt.AppendIKE(nil, x.Path, x.Data), Local: x.Path.Local, Remote: x.Path.Remote})
		case ike.Install:
			if x.Dir == ike.Out {
				s.child = x
			}
		case ike.Event:
			switch x.Kind {
			case ike.ChildUp:
				f.up, f.last = f.up+1, time.Now()
				f.callNext()
			case ike.ChildRekeyed:
				f.rekeyed()
			case ike.Failed, ike.ChildFailed:
				fmt.Fprintln(os.Stderr, x.Kind, x.Text, x.Remedy)
			}
		}
	}
}

// callNext lets the next peer call.
func (f *fleet) callNext() {
	if f.called < len(f.spokes) {
		s := f.spokes[f.called]
		f.called++
		f.carryOut(s, s.call(time.Now()))
	}
}

func (f *fleet) start(parallel int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for range parallel {
		f.callNext()
	}
}

// tick lets the timers of the peers run.
func (f *fleet) tick() {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	for _, s := range f.spokes[:f.called] {
		if at, ok := s.Deadline(); ok && !at.After(now) {
			if s.child.SPI == 0 {
				f.resent++
			}
			f.carryOut(s, s.Handle(now, ike.Tick{}))
		}
	}
}

func (f *fleet) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.up
}

func (f *fleet) lastUp() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last
}

func (f *fleet) rekeyed() {
	if f.began.IsZero() {
		return
	}
	for second := int(time.Since(f.began).Seconds()); len(f.rekeys) <= second; {
		f.rekeys = append(f.rekeys, 0)
	}
	f.rekeys[len(f.rekeys)-1]++
}

// watchRekeys waits until the gateway has rekeyed all children once.
func (f *fleet) watchRekeys(pid int, within time.Duration) {
	f.mu.Lock()
	f.began = time.Now()
	f.mu.Unlock()
	var busiest time.Duration
	before := cpuOf(pid)
	began := before
	for time.Since(f.began) < within {
		time.Sleep(time.Second)
		f.tick()
		now := cpuOf(pid)
		busiest = max(busiest, now-before)
		before = now
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	sum, most := 0, 0
	for _, n := range f.rekeys {
		sum, most = sum+n, max(most, n)
	}
	fmt.Printf("rekeying: %d Child SAs in %v, %.0f in the mean second and %d in the busiest; CPU of the gateway: %v for each, %.0f%% in the busiest second, %.0f%% in the mean\n",
		sum, within, float64(sum)/within.Seconds(), most, ((before - began) / time.Duration(max(sum, 1))).Round(time.Microsecond),
		100*busiest.Seconds(), 100*(before-began).Seconds()/within.Seconds())
}
