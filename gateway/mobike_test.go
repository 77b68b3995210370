package gateway

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/udp"
	"github.com/culvert-vpn/culvert/udp/udptest"
)

// roamer is a gateway with an address that may change, on sockets that are bound to none, as the daemon's are.
type roamer struct {
	*site
	machine *udptest.Host
	host    *fakeHost
}

func startRoamer(t *testing.T, net *udptest.Network, addr netip.Addr, conf string) *roamer {
	t.Helper()
	r := &roamer{machine: net.Host(addr), host: &fakeHost{local: addr, mtu: 1400, news: make(chan struct{})}}
	listen := func(port uint16) []udp.Conn {
		c, err := r.machine.Listen(netip.AddrPortFrom(netip.IPv4Unspecified(), port))
		if err != nil {
			t.Fatal(err)
		}
		return []udp.Conn{c}
	}
	conns := Conns{IKE: listen(500), NATT: listen(4500)}
	b := addr.As4()
	r.site = start(t, net, netip.AddrFrom4([4]byte{10, 99, b[2], b[3]}), conf, WithHost(r.host), WithConns(conns))
	return r
}

// move gives the machine another address, of which the gateway is told.
func (r *roamer) move(addr netip.Addr) {
	r.machine.SetAddrs(addr)
	r.host.local = addr
	r.host.news <- struct{}{}
}

// TestRoam changes the address of one side and then of the other under a running tunnel, with MOBIKE and without. With it the SAs
// stay; without it the tunnel is set up anew at once by the side that calls, and the other one is followed.
func TestRoam(t *testing.T) {
	public2, addrA2 := netip.MustParseAddr("192.0.2.11"), netip.MustParseAddr("203.0.113.2")
	for _, mobike := range []bool{true, false} {
		for _, caller := range []bool{true, false} {
			t.Run(map[bool]string{true: "MOBIKE", false: "no MOBIKE"}[mobike]+map[bool]string{true: ", who called", false: ", who was called"}[caller], func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					net := udptest.NewNetwork()
					confA, confB := confA, confB
					if !mobike {
						confA = replace(confA, "to-b {", "to-b {\nmobike = no")
						confB = replace(confB, "to-a {", "to-a {\nmobike = no")
					}
					a, b := startRoamer(t, net, addrA, confA), startRoamer(t, net, public, confB)
					b.up()
					a.up()
					before := a.g.Status().Connections[0].IKE[0]
					if before.MOBIKE != mobike {
						t.Errorf("MOBIKE: %v", before.MOBIKE)
					}
					mover, to := a, addrA2
					if caller {
						mover, to = b, public2
					}
					mover.move(to)
					time.Sleep(time.Second)
					synctest.Wait()
					for i := range 3 {
						there := ipPacket(hostA, hostB, 99, []byte{byte(i)})
						a.send(there)
						b.wants(there)
						back := ipPacket(hostB, hostA, 99, []byte{byte(i)})
						b.send(back)
						a.wants(back)
					}
					after := mover.g.Status().Connections[0].IKE[0]
					if got := netip.MustParseAddrPort(after.Local).Addr(); got != to {
						t.Errorf("the IKE SA is at %v", got)
					}
					if stays := after.SPIi == before.SPIi; stays != (mobike || !caller) {
						t.Errorf("the same IKE SA: %v", stays)
					}
					if _, told := mover.saw(ike.PathChanged); told != (mobike || !caller) {
						t.Errorf("the path has changed: %v", told)
					}
				})
			})
		}
	}
}
