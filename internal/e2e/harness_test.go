//go:build linux

package e2e

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"
)

// TestHarnessTranslation looks at the reference topology from both sides: what B's packets come from, and whether A
// reaches B unasked.
func TestHarnessTranslation(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name         string
		plan         Plan
		keepsPort    bool // B's port 4500 is seen as 4500
		reachesB     bool // A's first packet to B's public address reaches gwB
		localAddress string
	}{
		{"direct", Plan{}, true, true, "192.0.2.10"},
		{"one to one", Plan{B: OneToOne}, true, true, "172.16.0.1"},
		{"both one to one", Plan{A: OneToOne, B: OneToOne}, true, true, "172.16.0.1"},
		{"masquerade", Plan{B: Masquerade}, false, false, "172.16.0.1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ref := NewReference(t, test.plan)
			if got := ref.B.Local.String(); got != test.localAddress {
				t.Errorf("gwB is %s, want %s", got, test.localAddress)
			}
			server := listenUDP(t, ref.A.Host, netip.AddrPortFrom(ref.A.Local, 4500))
			client := listenUDP(t, ref.B.Host, netip.AddrPortFrom(ref.B.Local, 4500))

			patience := sure
			if !test.reachesB {
				patience = never
			}
			unasked := deliver(t, server, client, netip.AddrPortFrom(ref.B.Public, 4500), patience)
			if unasked.IsValid() != test.reachesB {
				t.Errorf("a packet to B that it did not ask for came from %v, want it to arrive: %v", unasked, test.reachesB)
			}
			if test.reachesB && unasked != netip.AddrPortFrom(ref.A.Public, 4500) {
				t.Errorf("B sees A as %v, want %v:4500", unasked, ref.A.Public)
			}
			seen := deliver(t, client, server, netip.AddrPortFrom(ref.A.Public, 4500), sure)
			if seen.Addr() != ref.B.Public || (seen.Port() == 4500) != test.keepsPort {
				t.Errorf("A sees B as %v, want %v, port kept: %v", seen, ref.B.Public, test.keepsPort)
			}
			if back := deliver(t, server, client, seen, sure); !back.IsValid() {
				t.Errorf("the answer to %v did not arrive", seen)
			}
			ping, err := ref.B.Client.Ping(ref.B.Host.Addr6(), Ping{Count: 3})
			if err != nil || ping.Lost() != 0 {
				t.Errorf("IPv6 on the site: %v, %v", ping, err)
			}
			ping, err = ref.B.Host.Ping(ref.A.Local6, Ping{Count: 3, From: ref.B.Local6})
			if err != nil || ping.Lost() != 0 {
				t.Errorf("IPv6 between the gateways: %v, %v", ping, err)
			}
			// Private addresses are unknown to the internet.
			ping, err = ref.B.Client.Ping(ref.A.Client.Addr(), Ping{Count: 3, Patience: never})
			if err != nil || ping.Received != 0 {
				t.Errorf("the sites reach each other without a tunnel: %v, %v", ping, err)
			}
		})
	}
}

// TestHarnessMappings has two gateways behind one masquerading box, which loses its mappings.
func TestHarnessMappings(t *testing.T) {
	t.Parallel()
	ref := NewReference(t, Plan{B: Masquerade, C: true})
	server := listenUDP(t, ref.A.Host, netip.AddrPortFrom(ref.A.Local, 4500))
	b := listenUDP(t, ref.B.Host, netip.AddrPortFrom(ref.B.Local, 4500))
	c := listenUDP(t, ref.C.Host, netip.AddrPortFrom(ref.C.Local, 4500))
	to := netip.AddrPortFrom(ref.A.Public, 4500)

	seenB, seenC := deliver(t, b, server, to, sure), deliver(t, c, server, to, sure)
	if seenB.Addr() != ref.B.Public || seenC.Addr() != ref.B.Public || seenB == seenC {
		t.Fatalf("B is seen as %v and C as %v, want two ports of %v", seenB, seenC, ref.B.Public)
	}
	if again := deliver(t, b, server, to, sure); again != seenB {
		t.Errorf("the second packet of B comes from %v, want %v as before", again, seenB)
	}
	if back := deliver(t, server, c, seenC, sure); !back.IsValid() {
		t.Errorf("the answer to C at %v did not arrive", seenC)
	}
	ref.B.NAT.ForgetMappings()
	if got := deliver(t, server, b, seenB, never); got.IsValid() {
		t.Errorf("a packet to B's mapping arrived although the NAT forgot it")
	}
	moved := deliver(t, b, server, to, sure)
	if moved.Addr() != ref.B.Public || moved == seenB {
		t.Errorf("B is seen as %v after the NAT forgot %v", moved, seenB)
	}
	if got := deliver(t, server, b, moved, sure); !got.IsValid() {
		t.Errorf("a packet to B's new mapping did not arrive")
	}
}

func TestHarnessLoss(t *testing.T) {
	t.Parallel()
	ref := NewReference(t, Plan{})
	ping := func(count int, patience time.Duration) PingResult {
		t.Helper()
		result, err := ref.B.Host.Ping(ref.A.Public, Ping{Count: count, Interval: time.Millisecond, Patience: patience})
		Must(t, err)
		return result
	}
	if r := ping(50, sure); r.Lost() != 0 {
		t.Errorf("%v on a sound network", r)
	}
	// A quarter of 400 requests and of the answers is lost; that none is, or all are, happens once in 10^100 years.
	loss := ref.Router.Lose(4)
	if r := ping(400, never); r.Lost() == 0 || r.Received == 0 {
		t.Errorf("%v, want some of them", r)
	}
	loss.Remove()
	hole := ref.Router.Blackhole()
	if r := ping(10, never); r.Received != 0 || r.LongestGap() != 10 {
		t.Errorf("%v in a black hole, longest gap %d", r, r.LongestGap())
	}
	hole.Remove()

	only := ref.Router.Drop("udp dport 4500")
	a := listenUDP(t, ref.A.Host, netip.AddrPortFrom(ref.A.Local, 4500))
	b := listenUDP(t, ref.B.Host, netip.AddrPortFrom(ref.B.Local, 500))
	if got := deliver(t, b, a, netip.AddrPortFrom(ref.A.Public, 4500), never); got.IsValid() {
		t.Errorf("a packet to port 4500 arrived")
	}
	if got := deliver(t, a, b, netip.AddrPortFrom(ref.B.Public, 500), sure); !got.IsValid() {
		t.Errorf("a packet to port 500 did not arrive")
	}
	only.Remove()

	pinger, err := ref.B.Host.StartPing(ref.A.Public, Ping{Interval: time.Millisecond})
	Must(t, err)
	for pinger.Result().Received < 20 {
		time.Sleep(time.Millisecond)
	}
	if r := pinger.Stop(); r.Lost() != 0 || r.Doubles != 0 {
		t.Errorf("%v, %d doubles after everything was put right", r, r.Doubles)
	}
}

// TestHarnessFate delays frames, doubles every third one that carries an echo request and loses every fifth.
func TestHarnessFate(t *testing.T) {
	t.Parallel()
	const delay = 5 * time.Millisecond
	requests := 0
	ref := NewReference(t, Plan{Fate: func(frame []byte) []time.Duration {
		const echoRequest = 8
		if len(frame) < 35 || frame[12] != 8 || frame[13] != 0 || frame[23] != syscall.IPPROTO_ICMP || frame[34] != echoRequest {
			return []time.Duration{delay}
		}
		requests++
		switch {
		case requests%5 == 0:
			return nil
		case requests%3 == 0:
			return []time.Duration{delay, 2 * delay}
		}
		return []time.Duration{delay}
	}})
	start := time.Now()
	ping, err := ref.B.Host.Ping(ref.A.Public, Ping{Count: 30, Interval: time.Millisecond, Patience: 2 * time.Second})
	Must(t, err)
	// 1 to 30: six are divisible by 5; of the ten divisible by 3 two are among those.
	if ping.Lost() != 6 || ping.Doubles != 8 || ping.LongestGap() != 1 {
		t.Errorf("%v, %d doubles, longest gap %d; want 6, 8, 1", ping, ping.Doubles, ping.LongestGap())
	}
	if took := time.Since(start); took < 2*delay {
		t.Errorf("there and back in %v in spite of a delay of %v", took, delay)
	}
	transfer, err := ref.B.Host.Transfer(ref.A.Host, ref.A.Local, 1<<18)
	if err != nil || !transfer.Intact() {
		t.Errorf("%v, %v", transfer, err)
	}
}

func TestHarnessMTU(t *testing.T) {
	t.Parallel()
	ref := NewReference(t, Plan{})
	ref.A.Uplink.SetMTU(1300)
	for _, to := range []netip.Addr{ref.A.Local, ref.A.Local6} {
		ping := func(size int, df bool, patience time.Duration) PingResult {
			t.Helper()
			r, err := ref.B.Host.Ping(to, Ping{Count: 3, Size: size, DF: df, Patience: patience})
			Must(t, err)
			return r
		}
		silence := ref.Router.DropICMP()
		if r := ping(1400, true, never); r.Received != 0 {
			t.Errorf("%v: %v with ICMP dropped", to, r)
		}
		if r := ping(1400, true, never); r.Err != nil {
			t.Errorf("%v: the sender learned the MTU with ICMP dropped: %v", to, r.Err)
		}
		silence.Remove()
		if r := ping(1300, true, sure); r.Lost() != 0 {
			t.Errorf("%v: %v although they fit", to, r)
		}
		if r := ping(1400, true, never); r.Received != 0 || !errors.Is(r.Err, syscall.EMSGSIZE) {
			t.Errorf("%v: %v, want all lost and the sender to learn the MTU", to, r)
		}
		if r := ping(1400, false, sure); r.Lost() != 0 {
			t.Errorf("%v: %v although they may be fragmented", to, r)
		}
	}
}

func TestHarnessTransfer(t *testing.T) {
	t.Parallel()
	ref := NewReference(t, Plan{B: OneToOne})
	capture := ref.Net.Capture(ref.A.Uplink)
	const size = 3<<20 + 1
	result, err := ref.B.Host.Transfer(ref.A.Host, ref.A.Local, size)
	Must(t, err)
	if result.Bytes != size || !result.Intact() {
		t.Errorf("%v, want %d bytes", result, size)
	}
	Must(t, capture.Stop())
	frames, err := capture.Decode(Keys{}, "tcp.len", "ip.len")
	Must(t, err)
	carried := 0
	for _, f := range frames {
		carried += f.number(t, "tcp.len")
		if n := f.number(t, "ip.len"); n > 1500 {
			t.Fatalf("packet %d is %d bytes long, more than the MTU", f.Number, n)
		}
	}
	if carried < size {
		t.Errorf("the capture has %d bytes of %d", carried, size)
	}
}

// TestHarnessMove gives a gateway another address, and it still reaches its neighbours and the internet.
func TestHarnessMove(t *testing.T) {
	t.Parallel()
	ref := NewReference(t, Plan{})
	ref.B.Host.Move("internet", "192.0.2.10/24", "192.0.2.11/24")
	ping, err := ref.B.Host.Ping(ref.A.Public, Ping{Count: 3, From: netip.MustParseAddr("192.0.2.11")})
	if err != nil || ping.Lost() != 0 {
		t.Errorf("from the new address: %v, %v", ping, err)
	}
	if _, err := ref.B.Host.Ping(ref.A.Public, Ping{From: ref.B.Public}); !errors.Is(err, syscall.EADDRNOTAVAIL) {
		t.Errorf("from the old address: %v, want EADDRNOTAVAIL", err)
	}
}

func listenUDP(t *testing.T, h *Host, addr netip.AddrPort) *net.UDPConn {
	t.Helper()
	var conn *net.UDPConn
	Must(t, h.Do(func() (err error) {
		conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
		return err
	}))
	t.Cleanup(func() { conn.Close() })
	return conn
}

// How long to wait for a packet. The network is memory: what has not arrived soon never will.
const (
	sure  = 20 * time.Second       // it must arrive; a busy machine may take its time
	never = 300 * time.Millisecond // it must not
)

// deliver sends a packet and returns where it seems to come from, or zero when it does not arrive in time.
func deliver(t *testing.T, from, at *net.UDPConn, to netip.AddrPort, patience time.Duration) netip.AddrPort {
	t.Helper()
	if _, err := from.WriteToUDPAddrPort([]byte("hello"), to); err != nil {
		t.Fatal(err)
	}
	Must(t, at.SetReadDeadline(time.Now().Add(patience)))
	_, source, err := at.ReadFromUDPAddrPort(make([]byte, 16))
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return netip.AddrPort{}
	}
	Must(t, err)
	return netip.AddrPortFrom(source.Addr().Unmap(), source.Port())
}
