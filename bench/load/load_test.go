//go:build linux

package load

import (
	"os"
	"slices"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/internal/lab"
)

// ends are two hosts with a link between them.
func ends(t *testing.T) (a, b End) {
	t.Helper()
	if err := lab.Usable(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	n := lab.New(t)
	hostA, hostB := n.Host("a"), n.Host("b")
	n.Link(hostA, []string{"192.0.2.1/24", "2001:db8::1/64"}, hostB, []string{"192.0.2.2/24", "2001:db8::2/64"})
	return End{hostA, hostA.Addr()}, End{hostB, hostB.Addr()}
}

// until waits for what is a matter of time.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s does not come about", what)
		}
	}
}

func TestStreams(t *testing.T) {
	a, b := ends(t)
	s, err := StartTCP(a, b, 3)
	if err != nil {
		t.Fatal(err)
	}
	until(t, "a transfer of 10 MB", func() bool { return s.Bytes() > 10e6 })
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
	if len(s.fds) != 6 {
		t.Errorf("%d sockets for 3 streams", len(s.fds))
	}
}

func TestStreamsWithoutPeer(t *testing.T) {
	a, b := ends(t)
	b.Host = a.Host // where the address of b is nobody's
	if s, err := StartTCP(a, b, 1); err == nil {
		s.Stop()
		t.Error("a stream to an address that nobody has")
	}
}

// TestDatagrams sends at a rate at which nothing is lost: what is counted must agree, and be in order.
func TestDatagrams(t *testing.T) {
	for _, shape := range []Shape{{Size: 64}, {Size: 1300}, {Size: 64, Segments: true}, {Size: 1300, Segments: true}} {
		a, b := ends(t)
		if shape.Size == 64 {
			a.Addr, b.Addr = a.Host.(*lab.Host).Addr6(), b.Host.(*lab.Host).Addr6()
		}
		d, err := StartUDP(a, b, shape, 10_000)
		if err != nil {
			t.Fatal(err)
		}
		until(t, "the arrival of 2000 datagrams", func() bool { return d.Arrived() >= 2000 })
		d.SetRate(1000) // so that hardly any is on its way at the end
		until(t, "the arrival of all", func() bool { sent := d.Sent(); return d.Arrived() >= sent })
		d.Stop()
		if d.Late() != 0 {
			t.Errorf("%+v: %d of %d came late", shape, d.Late(), d.Arrived())
		}
	}
}

// TestLate lets the receiver see datagrams in disorder.
func TestLate(t *testing.T) {
	c := counter{size: MinSize}
	for _, number := range []byte{0, 1, 3, 2, 4, 5, 9, 7} {
		c.take([]byte{0, 0, 0, 0, 0, 0, 0, number})
	}
	c.take([]byte{0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 11, 1}) // two joined ones, and a rest that is none
	if c.arrived != 10 || c.late != 2 {
		t.Errorf("%d arrived and %d late, should be 10 and 2", c.arrived, c.late)
	}
}

func TestTooSmall(t *testing.T) {
	if _, err := StartUDP(End{}, End{}, Shape{Size: MinSize - 1}, 0); err == nil {
		t.Error("datagrams without room for their number")
	}
}

func TestEcho(t *testing.T) {
	a, b := ends(t)
	e, err := NewEchoer(a, b)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	times := e.Measure(0, 50*time.Millisecond)
	if len(times.Trips) == 0 || times.Lost != 0 || !slices.IsSorted(times.Trips) {
		t.Errorf("%d answers, %d lost", len(times.Trips), times.Lost)
	}
	if p50, p99 := times.Quantile(0.5), times.Quantile(0.99); p50 <= 0 || p99 < p50 {
		t.Errorf("a half within %v, 99%% within %v", p50, p99)
	}
}

func TestQuantile(t *testing.T) {
	times := Times{Trips: []time.Duration{1, 2, 3, 4}}
	for _, test := range []struct {
		q    float64
		want time.Duration
	}{{0, 1}, {0.5, 3}, {0.99, 4}, {1, 4}} {
		if got := times.Quantile(test.q); got != test.want {
			t.Errorf("quantile %v is %d, want %d", test.q, got, test.want)
		}
	}
	if (Times{}).Quantile(0.5) != 0 {
		t.Error("there is a quantile of nothing")
	}
}
