package gateway

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-vpn/culvert/udp/udptest"
)

// The responder may send as soon as it sends its answer (RFC 7296 2.8). What overtakes that is not lost, however many packets are
// held for whoever else; nothing is held for long.
func TestEarly(t *testing.T) {
	for _, test := range []struct {
		name    string
		timeout string // after which B asks again
		arrives bool
	}{
		{"soon", "0.5", true},
		{"late", "3", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				box := &nat{public: public}
				net := udptest.NewNetwork()
				lost := 0
				net.Hook(func(p *udptest.Packet) bool {
					if p.From.Addr() == addrA && len(p.Data) > 200 && p.From.Port() == 4500 && lost == 0 {
						lost++
						return false // the answer to IKE_AUTH
					}
					return box.hook(p)
				})
				a := start(t, net, addrA, confA)
				synctest.Wait()
				b := start(t, net, addrB, replace(confB, "remote_addrs", "retransmit_timeout = "+test.timeout+"\n remote_addrs"))
				a.up()
				packet := ping(hostA, hostB, "faster than the answer")
				a.send(packet)
				b.wantsNothing()
				if lost != 1 || b.g.Status().Connections[0].Up {
					t.Fatalf("%d messages were lost", lost)
				}
				if n := b.drops(DropUnknownSPI); n != 0 {
					t.Errorf("%s = %d", DropUnknownSPI, n)
				}
				time.Sleep(4 * time.Second)
				if test.arrives {
					b.wants(packet)
				} else {
					b.wantsNothing()
				}
				b.up()
				finish(t, b, a)
			})
		})
	}
}

// What is held is bounded in number, in bytes and in time, and what is taken makes room.
func TestEarlyBounds(t *testing.T) {
	var e early
	packet := func(size int, at time.Duration) earlyPacket {
		return earlyPacket{data: make([]byte, size), at: int64(at)}
	}
	if e.hold(300, packet(100, 0)) {
		t.Error("a packet is held that nobody expects")
	}
	e.expect(300)
	e.expect(301)
	if e.hold(302, packet(100, 0)) {
		t.Error("a packet is held under another SPI")
	}
	for i := range 2 * earlyPackets {
		if got, want := e.hold(300, packet(100, 0)), i < earlyPackets; got != want {
			t.Fatalf("packet %d is held: %v", i, got)
		}
	}
	for e.hold(301, packet(60000, 0)) {
	}
	if e.bytes > earlyBytes || e.bytes < earlyBytes-60000 {
		t.Errorf("%d bytes are held", e.bytes)
	}
	if !e.hold(301, packet(60000, time.Duration(earlyTime)+1)) {
		t.Error("what is too old takes up room")
	}
	if n := len(e.take(301, earlyTime+1)); n != 1 {
		t.Errorf("%d packets are left, want the new one", n)
	}
	if n := len(e.take(300, 0)); n != earlyPackets {
		t.Errorf("%d packets are held", n)
	}
	if e.bytes != 0 || e.lent.Load() != 0 || e.hold(300, packet(100, 0)) {
		t.Errorf("%d bytes and %d SPIs are left", e.bytes, e.lent.Load())
	}
}
