package gateway

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/culvert-vpn/culvert/esp"
	"github.com/culvert-vpn/culvert/internal/inet/inettest"
	"github.com/culvert-vpn/culvert/tun"
	"github.com/culvert-vpn/culvert/udp"
)

// BenchmarkInbound receives trains of full length into a device that takes everything: what the inbound loop itself costs, by
// the payload of the inner packets.
func BenchmarkInbound(b *testing.B) {
	for _, protocol := range []byte{inettest.TCP, inettest.UDP} {
		for _, size := range []int{64, 512, 1300} {
			b.Run(fmt.Sprintf("%s/%d", map[byte]string{inettest.TCP: "tcp", inettest.UDP: "udp"}[protocol], size), func(b *testing.B) {
				benchmarkInbound(b, protocol, size)
			})
		}
	}
}

func benchmarkInbound(b *testing.B, protocol byte, size int) {
	trains, perTrain := sealedTrains(protocol, size)
	r := newRig(way{})
	f := newInboundLoop(r.datapath, r.conn, true, &writer{queues: []tun.Queue{&nullQueue{}}, counters: &r.n, merge: true})
	buf := make([]byte, udp.MaxTrain)
	received := make([]udp.Datagrams, 1)
	b.SetBytes(int64(size * perTrain))
	b.ResetTimer()
	for i := range b.N {
		if i%len(trains) == 0 { // the numbers begin again
			b.StopTimer()
			r = newRig(way{})
			f.datapath = r.datapath
			b.StartTimer()
		}
		d := trains[i%len(trains)]
		d.Buf = buf[:copy(buf, d.Buf)]
		received[0] = d
		f.receiveAll(received)
	}
	b.StopTimer()
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*perTrain), "ns/packet")
	if drops := r.n.byReason(); len(drops) != 0 {
		b.Errorf("drops: %v", drops)
	}
}

// sealedTrains are trains of one flow.
func sealedTrains(protocol byte, size int) (trains []udp.Datagrams, perTrain int) {
	out := esp.NewOutbound(esp.OutboundConfig{SPI: spiFour, Cipher: testCipher()})
	d := inettest.NewDice(nil)
	p := d.Flow(hostA, hostB, false)
	p.Protocol, p.TCPOptions, p.Flags, p.Fragment, p.TOS = protocol, nil, inettest.ACK, 0x4000, 0
	for range 200 {
		train := udp.Datagrams{Local: netip.AddrPortFrom(addrB, 4500), Remote: netip.AddrPortFrom(addrA, 4500)}
		for perTrain = 0; perTrain < maxTrain; perTrain++ {
			p.Payload = make([]byte, size)
			inner := p.Bytes()
			p.Seq += uint32(size)
			p.ID++
			buf := make([]byte, esp.Headroom+len(inner)+esp.Tailroom)
			copy(buf[out.HeadLen():], inner)
			seq, _ := out.Reserve(1)
			sealed := out.Seal(buf, len(inner), seq)
			if len(train.Buf)+len(sealed) > udp.MaxTrain {
				p.Seq -= uint32(size)
				p.ID--
				break
			}
			train.Stride = len(sealed)
			train.Buf = append(train.Buf, sealed...)
		}
		trains = append(trains, train)
	}
	return trains, perTrain
}
