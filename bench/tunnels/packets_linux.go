package main

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/culvert-vpn/culvert/esp"
	"github.com/culvert-vpn/culvert/internal/lab"
	"github.com/culvert-vpn/culvert/natt"
	"github.com/culvert-vpn/culvert/suite"
	"github.com/culvert-vpn/culvert/udp"
)

const (
	payload   = 1200 // bytes of UDP in an inner packet
	perRound  = 64000
	perSecond = 64000 // far from what the gateway can do
	port      = 9000
)

// traffic sends packets through the tunnels, and counts what arrives.
type traffic struct {
	fleet   *fleet
	inside  udp.Conn // on the gateway's side of the tunnels
	arrived atomic.Int64
	out     []*esp.Outbound // of the peers
	random  *rand.Rand
}

// packets compares what a packet costs the gateway if all are in one tunnel, and if each train of them is in one that is drawn among
// all: in turns, in each direction, in trains of one packet and of 16.
func (f *fleet) packets(h *lab.Host, pid, rounds int) {
	x := &traffic{fleet: f, random: rand.New(rand.NewPCG(1, 1))}
	lab.Must(f.t, h.Do(func() (err error) {
		x.inside, err = udp.Listen(netip.AddrPortFrom(netip.MustParseAddr(insideAddr), port), udp.Options{})
		return err
	}))
	go x.count()
	for _, s := range f.spokes {
		c, err := suite.NewCipher(s.child.Encr, s.child.Integ, s.child.EncKey, s.child.IntegKey)
		lab.Must(f.t, err)
		x.out = append(x.out, esp.NewOutbound(esp.OutboundConfig{SPI: s.child.SPI, Cipher: c, ESN: s.child.ESN}))
	}
	for _, way := range []struct {
		name string
		send func(tunnel, train int)
		got  func() int
	}{
		{"to the peers", x.toPeer, x.atPeers},
		{"from the peers", x.fromPeer, func() int { return int(x.arrived.Load()) }},
	} {
		for _, train := range []int{1, 16} {
			var toOne, toFew, own []float64
			for range rounds {
				one := x.round(pid, way.send, way.got, 1, train)
				few := x.round(pid, way.send, way.got, min(fewTunnels, len(f.spokes)), train)
				all := x.round(pid, way.send, way.got, len(f.spokes), train)
				toOne, toFew, own = append(toOne, all.all/one.all), append(toFew, all.all/few.all), append(own, all.own/few.own)
			}
			fmt.Printf("%-14s trains of %2d: a packet in one of %d tunnels costs %s of one in a single tunnel, %s of one in one of %d; outside of the kernel %s\n",
				way.name, train, len(f.spokes), spread(toOne), spread(toFew), fewTunnels, spread(own))
		}
	}
}

// fewTunnels have as few neighbours in a train as thousands have, and are as often in the caches as one.
const fewTunnels = 64

// spread is the median, and how far the rounds lie apart.
func spread(list []float64) string {
	list = slices.Sorted(slices.Values(list))
	return fmt.Sprintf("%.2f (%.2f to %.2f)", list[len(list)/2], list[0], list[len(list)-1])
}

// cost is the processor time of the gateway for a packet, in all and outside of the kernel.
type cost struct{ all, own float64 }

// round is what each packet costs that arrived.
func (x *traffic) round(pid int, send func(tunnel, train int), got func() int, tunnels, train int) cost {
	cpu, own, before := cpuOf(pid), userTime(pid), got()
	began := time.Now()
	for sent := 0; sent < perRound; sent += train {
		send(x.random.IntN(tunnels), train)
		if due := began.Add(time.Duration(sent) * time.Second / perSecond); sent%64 == 0 {
			time.Sleep(time.Until(due))
		}
	}
	time.Sleep(20 * time.Millisecond)
	arrived := got() - before
	if arrived < perRound*8/10 {
		fmt.Printf("  only %d of %d packets arrived\n", arrived, perRound)
	}
	each := func(d time.Duration) float64 { return float64(d) / float64(max(arrived, 1)) }
	return cost{each(cpuOf(pid) - cpu), each(userTime(pid) - own)}
}

func (x *traffic) count() {
	list := make([]udp.Datagrams, 32)
	for {
		n, err := x.inside.Read(list)
		if err != nil {
			return
		}
		for _, d := range list[:n] {
			x.arrived.Add(int64(d.Len()))
		}
	}
}

func (x *traffic) atPeers() int {
	x.fleet.mu.Lock()
	defer x.fleet.mu.Unlock()
	return x.fleet.received
}

// toPeer sends a train into a tunnel from the gateway's side.
func (x *traffic) toPeer(tunnel, train int) {
	_ = x.inside.Write(udp.Datagrams{Buf: make([]byte, train*payload), Stride: payload, Remote: netip.AddrPortFrom(inner(tunnel).Addr(), port)})
}

// fromPeer sends a train into it from the peer's side.
func (x *traffic) fromPeer(tunnel, train int) {
	s, o := x.fleet.spokes[tunnel], x.out[tunnel]
	const n = 28 + payload
	stride := o.PacketLen(n)
	first, ok := o.Reserve(train)
	if !ok {
		return
	}
	buf := make([]byte, train*stride)
	for i := range train {
		place := buf[i*stride : (i+1)*stride]
		header(place[o.HeadLen():], inner(tunnel).Addr(), netip.MustParseAddr(insideAddr), n)
		o.Seal(place, n, first+uint64(i))
	}
	_ = x.fleet.natt.Write(udp.Datagrams{Buf: buf, Stride: stride, Local: s.path.Float().Local, Remote: netip.AddrPortFrom(s.path.Remote.Addr(), natt.PortNATT)})
}

// header writes the headers of a UDP datagram without a checksum.
func header(b []byte, src, dst netip.Addr, n int) {
	clear(b[:28])
	b[0], b[8], b[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(b[2:], uint16(n))
	copy(b[12:], src.AsSlice())
	copy(b[16:], dst.AsSlice())
	sum := uint32(0)
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(b[10:], ^uint16(sum+sum>>16))
	binary.BigEndian.PutUint16(b[20:], port)
	binary.BigEndian.PutUint16(b[22:], port)
	binary.BigEndian.PutUint16(b[24:], uint16(n-20))
}
