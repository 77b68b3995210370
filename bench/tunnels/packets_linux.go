package main

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/culvert-vpn/culvert/esp"
	"github.com/culvert-vpn/culvert/internal/inet"
	"github.com/culvert-vpn/culvert/internal/lab"
	"github.com/culvert-vpn/culvert/natt"
	"github.com/culvert-vpn/culvert/suite"
	"github.com/culvert-vpn/culvert/udp"
)

const (
	payload   = 1200  // bytes of UDP in an inner packet
	perRound  = 8000  // an eighth of a second: the machine's moods last longer, and are the same for neighbours
	perSecond = 64000 // far from what the gateway can do
	burst     = 64    // packets between two pauses of the sender
	flows     = 10000 // inner ones, whatever the number of tunnels: a train is of one
	firstFlow = 20000 // is its port on the peer's side
	port      = 9000

	longestLag = 5 * time.Millisecond // of the sender
)

// traffic sends packets through the tunnels, and counts what arrives.
type traffic struct {
	fleet   *fleet
	inside  udp.Conn // on the gateway's side of the tunnels
	arrived atomic.Int64
	out     []*esp.Outbound // of the peers
	random  *rand.Rand
	// zeros and buf are what is sent, in clear and encrypted: garbage would be collected at the gateway's expense.
	zeros, buf []byte
}

// packets compares what a packet costs the gateway if all are in one tunnel, and if each train of them is in one that is drawn among
// all: in turns, in each direction, in trains of one packet, of 16, and of as many as a superpacket of TCP has.
func (f *fleet) packets(h *lab.Host, pid, rounds int) {
	x := &traffic{fleet: f, random: rand.New(rand.NewPCG(1, 1)), zeros: make([]byte, udp.MaxTrain), buf: make([]byte, udp.MaxTrain)}
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
	at := newSink(f.t, f.host, h.Name, x.out[0].PacketLen(ip4Header+udpHeader+payload))
	x.warmUp()
	for _, way := range []struct {
		name string
		send func(tunnel, train int)
		got  func() int
	}{
		{"to the peers", x.toPeer, at.count},
		{"from the peers", x.fromPeer, func() int { return int(x.arrived.Load()) }},
	} {
		for _, train := range []int{1, 16, 45} {
			var toOne, toFew []float64
			for range rounds {
				one := x.round(pid, way.send, way.got, 1, train)
				few := x.round(pid, way.send, way.got, min(fewTunnels, len(f.spokes)), train)
				all := x.round(pid, way.send, way.got, len(f.spokes), train)
				toOne, toFew = append(toOne, all/one), append(toFew, all/few)
			}
			fmt.Printf("%-14s trains of %2d: a packet in one of %d tunnels costs %s of one in a single tunnel, %s of one in one of %d\n",
				way.name, train, len(f.spokes), spread(toOne), spread(toFew), fewTunnels)
		}
	}
}

// warmUp uses each tunnel twice: of the first packet of an SA the gateway takes note, and its memory of flows grows.
func (x *traffic) warmUp() {
	for k := range 2 * len(x.fleet.spokes) {
		i := k % len(x.fleet.spokes)
		x.toPeer(i, 1)
		x.fromPeer(i, 1)
		if i%64 == 0 {
			time.Sleep(5 * time.Millisecond)
		}
	}
	time.Sleep(time.Second)
}

// fewTunnels have as few neighbours in a train as thousands have, and are as often in the caches as one.
const fewTunnels = 64

// spread is the median, and where the middle half of the rounds lies.
func spread(list []float64) string {
	list = slices.Sorted(slices.Values(list))
	return fmt.Sprintf("%.2f (%.2f to %.2f)", list[len(list)/2], list[len(list)/4], list[len(list)*3/4])
}

// round is the gateway's processor time in nanoseconds for each packet that arrived.
func (x *traffic) round(pid int, send func(tunnel, train int), got func() int, tunnels, train int) float64 {
	cpu, before := cpuOf(pid), got()
	due := time.Now()
	for sent, rest := 0, 0; sent < perRound; sent += train {
		send(x.random.IntN(tunnels), train)
		for rest += train; rest >= burst; rest -= burst {
			due = due.Add(burst * time.Second / perSecond)
		}
		if late := time.Since(due); late > longestLag {
			due = due.Add(late) // else all that was missed would come at once, more than a device queues
		}
		time.Sleep(time.Until(due))
	}
	time.Sleep(20 * time.Millisecond)
	arrived := got() - before
	if arrived < perRound*8/10 {
		fmt.Printf("  only %d of %d packets arrived\n", arrived, perRound)
	}
	return float64(cpuOf(pid)-cpu) / float64(max(arrived, 1))
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

// toPeer sends a train into a tunnel from the gateway's side.
func (x *traffic) toPeer(tunnel, train int) {
	_ = x.inside.Write(udp.Datagrams{Buf: x.zeros[:train*payload], Stride: payload, Remote: netip.AddrPortFrom(inner(tunnel).Addr(), x.flow())})
}

// flow is the port of a flow, drawn among all.
func (x *traffic) flow() uint16 { return uint16(firstFlow + x.random.IntN(flows)) }

// fromPeer sends a train into it from the peer's side.
func (x *traffic) fromPeer(tunnel, train int) {
	s, o := x.fleet.spokes[tunnel], x.out[tunnel]
	const n = ip4Header + udpHeader + payload
	stride := o.PacketLen(n)
	first, ok := o.Reserve(train)
	if !ok {
		return
	}
	from := netip.AddrPortFrom(inner(tunnel).Addr(), x.flow())
	buf := x.buf[:train*stride]
	clear(buf)
	for i := range train {
		place, seq := buf[i*stride:(i+1)*stride], first+uint64(i)
		header(place[o.HeadLen():], from, netip.AddrPortFrom(netip.MustParseAddr(insideAddr), port), n, uint16(seq))
		o.Seal(place, n, seq)
	}
	_ = x.fleet.natt.Write(udp.Datagrams{Buf: buf, Stride: stride, Local: s.path.Float().Local, Remote: netip.AddrPortFrom(s.path.Remote.Addr(), natt.PortNATT)})
}

// header writes the headers of a UDP datagram as a connected socket makes them: with an identification that counts up and a checksum. Its
// payload is zeros.
func header(b []byte, src, dst netip.AddrPort, n int, id uint16) {
	clear(b[:ip4Header+udpHeader])
	b[0], b[6], b[8], b[9] = 0x45, 0x40, 64, unix.IPPROTO_UDP
	binary.BigEndian.PutUint16(b[2:], uint16(n))
	binary.BigEndian.PutUint16(b[4:], id)
	copy(b[12:], src.Addr().AsSlice())
	copy(b[16:], dst.Addr().AsSlice())
	binary.BigEndian.PutUint16(b[10:], inet.Checksum(b[:ip4Header]))
	datagram := b[ip4Header:n]
	binary.BigEndian.PutUint16(datagram, src.Port())
	binary.BigEndian.PutUint16(datagram[2:], dst.Port())
	binary.BigEndian.PutUint16(datagram[4:], uint16(len(datagram)))
	sum := inet.AddPseudo(inet.Add(0, datagram), src.Addr(), dst.Addr(), unix.IPPROTO_UDP, len(datagram))
	binary.BigEndian.PutUint16(datagram[6:], ^inet.Fold(sum))
}
