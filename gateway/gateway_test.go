package gateway

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/udp/udptest"
)

// Cases: FCS_IPSEC_EXT.1.1 T1.
func TestTunnel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, box := pair(t, confA, confB)
		b.up()
		a.up()
		secret := "in clear nobody must see this"
		there, back := ping(hostB, hostA, secret), ping(hostA, hostB, secret)
		b.send(there)
		a.wants(there)
		a.send(back)
		b.wants(back)
		if box.crossed([]byte(secret)) {
			t.Error("a packet crossed the network in clear")
		}

		conn := a.g.Status().Connections[0]
		if !conn.Up || len(conn.IKE) != 1 || len(conn.IKE[0].Children) != 1 {
			t.Fatalf("status of A: %+v", conn)
		}
		sa := conn.IKE[0]
		if sa.Remote != "192.0.2.10:4500" || sa.RemoteID != "@foo" || !strings.Contains(sa.NAT, "the peer is behind a NAT") {
			t.Errorf("status of A's IKE SA: %+v", sa)
		}
		if c := sa.Children[0]; c.PacketsIn != 1 || c.PacketsOut != 1 || c.MTU == 0 {
			t.Errorf("status of A's Child SA: %+v", c)
		}
		if sa := b.g.Status().Connections[0].IKE[0]; !strings.Contains(sa.NAT, "we are behind a NAT") {
			t.Errorf("B says of NAT: %q", sa.NAT)
		}
		finish(t, b, a)
	})
}

// What is configured but not up is dropped: before the child is up, and after it was closed.
func TestFailClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, box := pair(t, confA, replace(confB, "start_action = start", "start_action = none"))
		packet := ping(hostB, hostA, "fail closed")
		b.send(packet)
		time.Sleep(time.Minute)
		a.wantsNothing()
		if len(box.seen) != 0 {
			t.Fatalf("%d datagrams left for a child that nobody asked for", len(box.seen))
		}
		if n := b.drops(DropNoSA); n != 1 {
			t.Errorf("%s = %d, want 1", DropNoSA, n)
		}

		ctx := context.Background()
		if err := b.g.Up(ctx, "to-a", "net", nil); err != nil {
			t.Fatal(err)
		}
		b.send(packet)
		a.wants(packet)

		if err := b.g.Down(ctx, "to-a", "", nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if a.g.Status().Connections[0].Up {
			t.Error("A still has an IKE SA after B closed it")
		}
		before := len(box.seen)
		b.send(packet)
		time.Sleep(time.Minute)
		a.wantsNothing()
		if len(box.seen) != before {
			t.Errorf("%d datagrams left after the connection was closed", len(box.seen)-before)
		}
		if n := b.drops(DropNoSA); n != 2 {
			t.Errorf("%s = %d, want 2", DropNoSA, n)
		}
		b.send(ping(hostB, netip.MustParseAddr("198.51.100.1"), "no policy"))
		synctest.Wait()
		if n := b.drops(DropNoPolicy); n != 1 {
			t.Errorf("%s = %d, want 1", DropNoPolicy, n)
		}
		finish(t, b, a)
	})
}

func TestAcquire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, _ := pair(t, confA, replace(confB, "start_action = start", "start_action = trap"))
		packet := ping(hostB, hostA, "knock knock")
		for range 10 {
			b.send(packet)
		}
		b.up()
		b.received()
		a.received() // those that came when it was up already
		b.send(packet)
		a.wants(packet)
		finish(t, b, a)
	})
}

// Packets keep flowing both ways while both kinds of SA are rekeyed from either side, and none is lost.
//
// Cases: SGW.I.1.2.3.8.
func TestRekeyUnderTraffic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, _ := pair(t, confA, confB)
		a.up()
		b.up()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		rekey := func(s *site, conn, child string) {
			t.Helper()
			if err := s.g.Rekey(ctx, conn, child, nil); err != nil {
				t.Errorf("rekey %s %q: %v", conn, child, err)
			}
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for range 3 {
				rekey(b, "to-a", "net")
				time.Sleep(7 * time.Second)
				rekey(a, "to-b", "net")
				time.Sleep(7 * time.Second)
				rekey(b, "to-a", "")
				time.Sleep(7 * time.Second)
				rekey(a, "to-b", "")
			}
		}()
		for i := range 1000 {
			there, back := ping(hostB, hostA, fmt.Sprint("there ", i)), ping(hostA, hostB, fmt.Sprint("back ", i))
			b.send(there)
			a.send(back)
			a.wants(there)
			b.wants(back)
			time.Sleep(100 * time.Millisecond)
		}
		<-ended
		for _, s := range []*site{a, b} {
			sas := s.g.Status().Connections[0].IKE
			if len(sas) != 1 || len(sas[0].Children) != 1 {
				t.Errorf("after rekeying there are the SAs %+v", sas)
			}
		}
		finish(t, a, b)
	})
}

// With remote_port = 4500 nothing goes to port 500, from the first message on (RFC 7296 2.23), and with another port the
// box in front of the peer may forward what it likes.
//
// Cases: cloudflare-ikev2-ipv4-4500.
func TestRemotePort(t *testing.T) {
	for _, port := range []uint16{4500, 14500} {
		synctest.Test(t, func(t *testing.T) {
			box := &nat{public: public}
			net := udptest.NewNetwork()
			net.Hook(box.hook)
			var seen []netip.AddrPort
			net.Hook(func(p *udptest.Packet) bool {
				if p.To.Addr() == addrA {
					seen = append(seen, p.From, p.To)
					p.To = netip.AddrPortFrom(addrA, 4500)
				} else if p.From.Addr() == addrA {
					p.From = netip.AddrPortFrom(addrA, port)
				}
				return true
			})
			a := start(t, net, addrA, confA)
			synctest.Wait()
			b := start(t, net, addrB, replace(confB, "remote_addrs = ", fmt.Sprintf("remote_port = %d\n    remote_addrs = ", port)))
			b.up()
			a.up()
			there, back := ping(hostB, hostA, "there"), ping(hostA, hostB, "back")
			b.send(there)
			a.wants(there)
			a.send(back)
			b.wants(back)
			want := []netip.AddrPort{netip.AddrPortFrom(public, 4500), netip.AddrPortFrom(addrA, port)}
			for i, addr := range seen {
				if addr != want[i%2] {
					t.Errorf("datagram %d: %v, want %v", i/2, addr, want[i%2])
				}
			}
			finish(t, b, a)
		})
	}
}

// The NAT gives B another address and other ports: A follows the first authentic packet.
//
// Cases: BUG-29.
func TestRoaming(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, box := pair(t, confA, confB)
		b.up()
		a.up()
		moved := netip.MustParseAddr("198.51.100.77")
		box.move(moved, 1000)
		there, back := ping(hostB, hostA, "I am elsewhere"), ping(hostA, hostB, "I see")
		b.send(there)
		a.wants(there)
		a.send(back)
		b.wants(back)
		if got := a.g.Status().Connections[0].IKE[0].Remote; got != "198.51.100.77:5500" {
			t.Errorf("A sends to %s", got)
		}
		if _, ok := a.saw(ike.PathChanged); !ok {
			t.Error("A says nothing of the new path")
		}
		finish(t, b, a)
	})
}

// A host that does not take its packets, and strangers that flood the control loop, cost packets, not the tunnel.
func TestBackpressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, _ := pair(t, confA, confB)
		b.up()
		a.up()
		packet := ping(hostB, hostA, "more")
		for i := range 3000 {
			b.send(packet)
			if i%500 == 0 {
				synctest.Wait()
			}
		}
		synctest.Wait()
		if n := a.drops(DropDeviceFull); n == 0 {
			t.Errorf("%s = 0 although the host took nothing", DropDeviceFull)
		}
		got := a.received()
		if len(got) == 0 {
			t.Fatal("nothing arrived")
		}
		b.send(packet)
		a.wants(packet)
		finish(t, b, a)
	})
}

// B says good-bye; A hears it at once. The bubble ends only if no goroutine is left.
func TestShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, _ := pair(t, confA, confB)
		b.up()
		a.up()
		began := time.Now()
		finish(t, b)
		if took := time.Since(began); took > shutdownGrace/2 {
			t.Errorf("closing took %v although the peer answers", took)
		}
		synctest.Wait()
		if conn := a.g.Status().Connections[0]; conn.Up || conn.Children[0].Up {
			t.Errorf("A was not told: %+v", conn)
		}
		if s := b.g.Status(); s.Connections[0].Up {
			t.Errorf("status of a gateway that has ended: %+v", s)
		}
		if err := b.g.Up(t.Context(), "to-a", "", nil); err != ErrStopped {
			t.Errorf("Up of a gateway that has ended: %v", err)
		}
		if err := b.g.Run(t.Context()); err == nil {
			t.Error("a gateway ran twice")
		}
		finish(t, a)
	})
}

// A peer that is gone does not keep the gateway from ending.
func TestShutdownWithoutPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, box := pair(t, confA, confB)
		b.up()
		box.move(netip.MustParseAddr("198.51.100.99"), 60000) // nothing finds its way back
		began := time.Now()
		finish(t, b)
		if took := time.Since(began); took > shutdownGrace {
			t.Errorf("closing took %v", took)
		}
		finish(t, a)
	})
}

// Cases: BUG-30.
func TestDeviceFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, udptest.NewNetwork(), addrB, confB, WithTUN(brokenQueue{}))
		if err := <-s.done; err == nil || !strings.Contains(err.Error(), "the TUN device has failed") {
			t.Errorf("Run: %v", err)
		}
	})
}

func TestWrongSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, _ := pair(t, confA, replace(confB, `"qwerty"`, `"qwerty "`, "start_action = start", "start_action = none"))
		var progress []string
		err := b.g.Up(t.Context(), "to-a", "", func(ev ike.Event) { progress = append(progress, ev.Kind.String()) })
		if err == nil {
			t.Fatal("up succeeded with the wrong secret")
		}
		if !slices.Contains(progress, "initiating") {
			t.Errorf("progress: %v", progress)
		}
		synctest.Wait()
		ev, ok := a.saw(ike.Failed)
		if !ok || ev.Remedy == "" {
			t.Errorf("A says %+v", ev)
		}
		f := b.g.Status().Connections[0].LastFailure
		if f == nil || f.Text == "" || f.Remedy == "" {
			t.Errorf("B's last failure: %+v", f)
		}
		for _, s := range []*site{a, b} {
			for _, ev := range s.events {
				if strings.Contains(ev.Text+ev.Remedy, "qwerty") {
					t.Errorf("an event tells the secret: %+v", ev)
				}
			}
		}
		finish(t, b, a)
	})
}

func TestOrdersAreChecked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, udptest.NewNetwork(), addrA, confA)
		synctest.Wait()
		ctx := t.Context()
		for _, c := range []struct {
			what string
			err  error
			want string
		}{
			{"up of an unknown connection", s.g.Up(ctx, "nobody", "", nil), `no connection "nobody"`},
			{"down of an unknown child", s.g.Down(ctx, "to-b", "nothing", nil), `no child "nothing"`},
			{"rekey of what is down", s.g.Rekey(ctx, "to-b", "net", nil), "not up"},
		} {
			if c.err == nil || !strings.Contains(c.err.Error(), c.want) {
				t.Errorf("%s: %v, want %q", c.what, c.err, c.want)
			}
		}
		if err := s.g.Down(ctx, "to-b", "", nil); err != nil {
			t.Errorf("down of what is down: %v", err)
		}
		finish(t, s)
	})
}

// A peer that has several policies for what is one here gives several Child SAs, of which each packet takes its own (RFC 7296 2.9): at
// once if the child is kept up, else as packets ask.
func TestParts(t *testing.T) {
	for _, start := range []string{"start", "trap"} {
		synctest.Test(t, func(t *testing.T) {
			divided := replace(confA, "local_ts = 10.103.0.0/24", "local_ts = 10.103.0.0/25", "children {", `children {
				upper {
					local_ts = 10.103.0.128/25
					remote_ts = 10.104.0.0/24
				}`)
			a, b, _ := pair(t, divided, replace(confB, "start_action = start", "start_action = "+start+"\ninactivity = 0"))
			upper := netip.MustParseAddr("10.103.0.200")
			for _, to := range []netip.Addr{hostA, upper} {
				packet := ping(hostB, to, "to a half")
				for range 5 {
					b.send(packet)
					time.Sleep(2 * time.Second)
				}
				if got := a.received(); len(got) == 0 || !bytes.Equal(got[len(got)-1], packet) {
					t.Fatalf("start_action = %s: to %v arrived %x; %+v", start, to, got, b.g.Status())
				}
			}
			if n := len(b.g.Status().Connections[0].IKE[0].Children); n != 2 {
				t.Errorf("start_action = %s: %d Child SAs", start, n)
			}
			finish(t, b, a)
		})
	}
}
