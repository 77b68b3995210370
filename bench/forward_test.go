package bench

import (
	"context"
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/culvert-vpn/culvert/config"
	"github.com/culvert-vpn/culvert/gateway"
	"github.com/culvert-vpn/culvert/tun"
	"github.com/culvert-vpn/culvert/tun/tuntest"
	"github.com/culvert-vpn/culvert/udp"
	"github.com/culvert-vpn/culvert/udp/udptest"
)

// BenchmarkForward brings packets from one TUN device to another one through two gateways: all of the datapath but the kernel. What
// is allocated is allocated by the devices and the network in memory, which copy.
func BenchmarkForward(b *testing.B) {
	for _, suite := range []string{"aes128gcm16", "aes256gcm16", "chacha20poly1305", "aes256-sha256"} {
		for _, load := range []struct {
			name    string
			packets tun.Super
		}{
			{"udp64", tun.Super{Packet: udpPacket(netip.MustParseAddr("10.1.0.1"), netip.MustParseAddr("10.2.0.1"), 92)}},
			{"udp1300", tun.Super{Packet: udpPacket(netip.MustParseAddr("10.1.0.1"), netip.MustParseAddr("10.2.0.1"), 1328)}},
			{"tcp", superpacket(45, 1378)},
		} {
			b.Run(suite+"/"+load.name, func(b *testing.B) { forward(b, suite, load.packets) })
		}
	}
}

// inFlight is how many packets or superpackets are on their way at once: fewer than what the queues in memory hold.
const inFlight = 128

// forward has a packet or superpacket sent again and again. Its payload must come out.
func forward(b *testing.B, suite string, s tun.Super) {
	network := udptest.NewNetwork()
	from, to := &counted{Queue: tuntest.NewQueue()}, &counted{Queue: tuntest.NewQueue(), came: make(chan struct{}, 1)}
	ctx, stop := context.WithCancel(b.Context())
	ended := make(chan error, 2)
	initiator := newGateway(b, network, 1, 2, suite, from)
	for _, g := range []*gateway.Gateway{newGateway(b, network, 2, 1, suite, to), initiator} {
		go func() { ended <- g.Run(ctx) }()
	}
	defer func() {
		stop()
		for range 2 {
			if err := <-ended; err != nil {
				b.Error(err)
			}
		}
	}()
	if err := initiator.Up(ctx, "peer", "net", nil); err != nil {
		b.Fatal(err)
	}
	header := int64(28)
	if s.GSO != tun.GSONone {
		header = int64(s.HdrLen)
	}
	to.header = header
	payload := int64(len(s.Packet)) - header
	b.SetBytes(payload)
	b.ReportAllocs()
	sent := int64(0)
	for b.Loop() {
		to.await(sent - inFlight*payload)
		if err := from.Send(s); err != nil {
			b.Fatal(err)
		}
		sent += payload
	}
	to.await(sent)
}

// counted is a queue whose host counts the payload that comes out, and does nothing else with it.
type counted struct {
	*tuntest.Queue
	header  int64         // bytes before the payload
	arrived atomic.Int64  // bytes of payload
	came    chan struct{} // a hint that more has
}

// Write takes what comes out of the tunnel.
func (q *counted) Write(s tun.Super, more [][]byte) error {
	n := int64(len(s.Packet)) - q.header
	for _, m := range more {
		n += int64(len(m))
	}
	q.arrived.Add(n)
	select {
	case q.came <- struct{}{}:
	default:
	}
	return nil
}

// await waits until so much has arrived.
func (q *counted) await(bytes int64) {
	for q.arrived.Load() < bytes {
		<-q.came
	}
}

// newGateway makes one of the gateways 192.0.2.1 and 192.0.2.2, with the networks 10.1.0.0/16 and 10.2.0.0/16.
func newGateway(b *testing.B, network *udptest.Network, own, peer int, suite string, queue tun.Queue) *gateway.Gateway {
	b.Helper()
	text := fmt.Sprintf(`
		connections {
			peer {
				remote_addrs = 192.0.2.%[2]d
				local {
					auth = psk
					id = @%[1]d
				}
				remote {
					auth = psk
					id = @%[2]d
				}
				children {
					net {
						local_ts = 10.%[1]d.0.0/16
						remote_ts = 10.%[2]d.0.0/16
						esp_proposals = %[3]s
					}
				}
			}
		}
		secrets {
			ike-peer {
				id-1 = @%[2]d
				secret = "only for measurements"
			}
		}`, own, peer, suite)
	cfg, _, err := config.Parse("bench", []byte(text), config.Options{})
	if err != nil {
		b.Fatal(err)
	}
	addr := netip.AddrFrom4([4]byte{192, 0, 2, byte(own)})
	host := network.Host(addr)
	var conns gateway.Conns
	for port, list := range map[uint16]*[]udp.Conn{500: &conns.IKE, 4500: &conns.NATT} {
		conn, err := host.Listen(netip.AddrPortFrom(addr, port))
		if err != nil {
			b.Fatal(err)
		}
		*list = append(*list, conn)
	}
	g, err := gateway.New(*cfg, gateway.WithTUN(queue), gateway.WithConns(conns))
	if err != nil {
		b.Fatal(err)
	}
	return g
}
