package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-vpn/culvert/udp/udptest"
)

// fakeHost notes what it is told.
type fakeHost struct {
	local        netip.Addr
	mtu          int
	protects     [][]Policy
	assigned     [][]netip.Addr
	names        chan Names
	namesFailure error
	device       string
	closed       bool
	released     bool
	failure      error
	news         chan struct{} // of addresses; nil: there are none
}

func (h *fakeHost) Setup(device string, _ int) error { h.device = device; return nil }
func (h *fakeHost) Protect(p []Policy) error {
	h.protects = append(h.protects, p)
	return h.failure
}
func (h *fakeHost) RouteTo(netip.Addr) (netip.Addr, int, error) { return h.local, h.mtu, nil }
func (h *fakeHost) Addresses() ([]netip.Addr, error)            { return []netip.Addr{h.local}, nil }
func (h *fakeHost) Watch(ctx context.Context, changed func()) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.news:
			changed()
		}
	}
}
func (h *fakeHost) Assign(addrs []netip.Addr) error {
	h.assigned = append(h.assigned, addrs)
	return h.failure
}
func (h *fakeHost) Resolve(_ context.Context, n Names) error {
	h.names <- n
	return h.namesFailure
}
func (h *fakeHost) Close() error   { h.closed = true; return nil }
func (h *fakeHost) Release() error { h.released = true; return nil }

// The host protects the configured traffic from the start, what is agreed upon as long as it is up, and tells the MTU.
func TestHostIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := &nat{public: public}
		net := udptest.NewNetwork()
		net.Hook(box.hook)
		hostOfA := &fakeHost{local: addrA, mtu: 1400}
		hostOfB := &fakeHost{local: addrB, mtu: 1300}
		a := start(t, net, addrA, replace(confA, "remote_ts = 10.104.0.0/24", "remote_ts = 0.0.0.0/0"), WithHost(hostOfA))
		synctest.Wait()
		if len(hostOfA.protects) != 1 || len(hostOfA.protects[0]) != 1 {
			t.Errorf("before a child is up, to be protected: %v", hostOfA.protects)
		}
		b := start(t, net, addrB, confB, WithHost(hostOfB))
		b.up()
		a.up()
		if got := b.g.Status().Connections[0].IKE[0].Children[0].MTU; got != 1300-28-8-8-16-2 {
			t.Errorf("the MTU of B's Child SA is %d", got)
		}
		synctest.Wait()
		if got := a.g.Status().Connections[0].IKE[0].Children[0].MTU; got != 1400-28-8-8-16-2 {
			t.Errorf("the MTU of A's Child SA is %d", got)
		}
		narrowed := Policy{
			Local:  []netip.Prefix{netip.MustParsePrefix("10.103.0.0/24")},
			Remote: []netip.Prefix{netip.MustParsePrefix("10.104.0.0/24")},
		}
		last := hostOfA.protects[len(hostOfA.protects)-1]
		if len(last) != 2 || fmt.Sprint(last[1]) != fmt.Sprint(narrowed) {
			t.Errorf("with a narrowed child up, to be protected: %v", last)
		}
		if n := len(hostOfB.protects); n != 1 {
			t.Errorf("the host was told %d times of the same traffic: %v", n, hostOfB.protects)
		}
		finish(t, b)
		synctest.Wait()
		if last := hostOfA.protects[len(hostOfA.protects)-1]; len(last) != 1 {
			t.Errorf("with the child down, to be protected: %v", last)
		}
		finish(t, a)
		if !hostOfA.closed || !hostOfB.closed {
			t.Error("the host was not tidied up")
		}
		bad := &fakeHost{failure: errors.New("no")}
		c := start(t, net, netip.MustParseAddr("192.0.2.200"), confA, WithHost(bad))
		if err := <-c.done; err == nil || bad.closed || !bad.released {
			t.Errorf("a gateway runs on a host that does not protect its traffic: %v, or leaves it open: %+v", err, bad)
		}
	})
}

// What the host refuses is tried again until it succeeds, and told once; a gateway whose device breaks leaves the host
// protected, and one that is stopped does not.
func TestHostIsMended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text bytes.Buffer
		host := &fakeHost{local: addrB, mtu: 1500}
		network := udptest.NewNetwork()
		s := start(t, network, addrB, confB, WithHost(host), WithLogger(slog.New(slog.NewTextHandler(&text, nil))))
		synctest.Wait()
		if host.device != "tun-test" {
			t.Errorf("the device %q was set up", host.device)
		}
		fails := func(err error) {
			t.Helper()
			if err := s.g.do(t.Context(), func(*control) { host.failure = err }); err != nil {
				t.Fatal(err)
			}
		}
		fails(errors.New("the rules are gone, and cannot be made"))
		time.Sleep(10*protectEvery + 1)
		fails(nil)
		time.Sleep(10 * protectEvery)
		synctest.Wait()
		if n := len(host.protects); n != 21 {
			t.Errorf("in %v the host was asked %d times", 20*protectEvery, n)
		}
		for i, p := range host.protects {
			if fmt.Sprint(p) != fmt.Sprint(host.protects[0]) {
				t.Errorf("call %d asks for %v", i, p)
			}
		}
		for _, part := range []string{"the rules are gone", "protects all traffic of the tunnels again"} {
			if n := strings.Count(text.String(), part); n != 1 {
				t.Errorf("%q was logged %d times:\n%s", part, n, text.String())
			}
		}
		finish(t, s)
		if !host.closed || host.released {
			t.Errorf("after the end: %+v", host)
		}

		host = &fakeHost{local: addrA, mtu: 1500}
		s = start(t, network, addrA, confA, WithHost(host))
		synctest.Wait()
		s.stopFor(ErrRestart)
		if err := <-s.done; err != nil || host.closed || !host.released {
			t.Errorf("after the end for a restart: %v, %+v", err, host)
		}

		host = &fakeHost{local: addrA, mtu: 1500}
		text.Reset()
		s = start(t, network, addrA, confA, WithHost(host), WithTUN(brokenQueue{}), WithLogger(slog.New(slog.NewTextHandler(&text, nil))))
		if err := <-s.done; err == nil || host.closed || !host.released {
			t.Errorf("after the device broke: %v, %+v", err, host)
		}
		if !strings.Contains(text.String(), "the gateway has failed") {
			t.Errorf("the log does not tell that the host stays protected:\n%s", text.String())
		}
	})
	for _, device := range []string{"", "culvert%d"} {
		_, err := New(parse(t, confB), WithTUN(brokenQueue{}), WithHost(&fakeHost{}), WithDevice(device, 1))
		if err == nil || !strings.Contains(err.Error(), "WithDevice") {
			t.Errorf("queues of an unknown device and a host: %v", err)
		}
	}
}

// slowHost takes a while to protect anything.
type slowHost struct {
	fakeHost
	takes time.Duration
}

func (h *slowHost) Protect(p []Policy) error {
	time.Sleep(h.takes)
	return h.fakeHost.Protect(p)
}

// What comes after the start, or now and then, is told to the host at once, however long that takes; what never ends has a share of
// the time.
func TestGuardRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &guard{host: &slowHost{takes: 100 * time.Millisecond}}
		told := func(d time.Duration) (n int) {
			for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
				if g.isRested() {
					_ = g.protect(nil)
					n++
				}
			}
			return n
		}
		_ = g.protect(nil)
		for range 5 {
			if !g.isRested() {
				t.Fatal("the host is not told at once")
			}
			_ = g.protect(nil)
		}
		told(time.Minute)
		if n := told(time.Minute); n < 25 || n > 35 {
			t.Errorf("it was told %d times in a minute, want %v of the time", n, 1.0/guardShare)
		}
		time.Sleep(guardBurst)
		if !g.isRested() {
			t.Error("it is not told after a rest")
		}
	})
}
