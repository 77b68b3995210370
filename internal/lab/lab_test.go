//go:build linux

package lab

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func requireRoot(t *testing.T) {
	t.Helper()
	if err := Usable(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
}

// behindNAT is a private host, its 1:1 NAT and a public host.
func behindNAT(t T) (private, public *Host) {
	n := New(t)
	private, nat, public := n.Host("private"), n.Router("nat"), n.Host("public")
	n.Link(private, []string{"172.16.0.1/24"}, nat, []string{"172.16.0.254/24"})
	n.Link(nat, []string{"192.0.2.10/24"}, public, []string{"192.0.2.254/24"})
	private.Route("default", "172.16.0.254")
	nat.NAT1to1(private.Addr(), netip.MustParseAddr("192.0.2.10"))
	return private, public
}

func TestNAT1to1(t *testing.T) {
	requireRoot(t)
	private, public := behindNAT(t)
	listen := func(h *Host, address string) net.PacketConn {
		t.Helper()
		var conn net.PacketConn
		Must(t, h.Do(func() (err error) { conn, err = net.ListenPacket("udp4", address); return err }))
		t.Cleanup(func() { conn.Close() })
		Must(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
		return conn
	}
	inner, outer := listen(private, "172.16.0.1:4500"), listen(public, "192.0.2.254:500")
	for _, step := range []struct {
		from, at   net.PacketConn
		to, seenAs string
	}{
		{outer, inner, "192.0.2.10:4500", "192.0.2.254:500"}, // nobody inside asked for it
		{inner, outer, "192.0.2.254:500", "192.0.2.10:4500"},
	} {
		_, err := step.from.WriteTo([]byte("hello"), net.UDPAddrFromAddrPort(netip.MustParseAddrPort(step.to)))
		Must(t, err)
		_, source, err := step.at.ReadFrom(make([]byte, 16))
		Must(t, err)
		if source.String() != step.seenAs {
			t.Errorf("a packet to %s is seen as from %v, want %s", step.to, source, step.seenAs)
		}
	}
}

func TestTraffic(t *testing.T) {
	requireRoot(t)
	private, public := behindNAT(t)
	ping, err := private.Ping(public.Addr(), Ping{Count: 5, Interval: time.Millisecond})
	if err != nil || ping.Lost() != 0 || ping.Received != 5 {
		t.Errorf("%v, %v", ping, err)
	}
	const size = 1<<20 + 1
	transfer, err := private.Transfer(public, public.Addr(), size)
	if err != nil || transfer.Bytes != size || !transfer.Intact() {
		t.Errorf("%v, %v", transfer, err)
	}
	// Nobody knows the way to a private address.
	ping, err = public.Ping(private.Addr(), Ping{Patience: 50 * time.Millisecond})
	if err == nil && ping.Received != 0 {
		t.Errorf("a private address answers: %v", ping)
	}
}

// Datagrams arrive in their order, and what the network does to them is noticed.
func TestDatagrams(t *testing.T) {
	requireRoot(t)
	private, public := behindNAT(t)
	for _, d := range []Datagrams{
		{Bytes: 1 << 20, Size: 1200}, {Bytes: 1 << 20, Size: 1200, Trains: true}, {Bytes: 1 << 16, Size: MinDatagram, Trains: true, Class: 2},
	} {
		r, err := private.Datagrams(public, public.Addr(), d)
		if err != nil || !r.Intact() || r.Early != 0 || int64(r.Sent) < d.Bytes/int64(d.Size) || d.Trains && r.Trains == 0 {
			t.Errorf("%+v: %v, %v", d, r, err)
		}
	}
	if n := public.Counters()["UdpInDatagrams"]; n < 1<<20/1200 {
		t.Errorf("the kernel counts %d datagrams", n)
	}
	r, err := private.Datagrams(public, netip.MustParseAddr("192.0.2.253"), Datagrams{Bytes: 1 << 17, Size: 1200, Patience: time.Millisecond})
	if err != nil || r.Intact() || r.Received != 0 {
		t.Errorf("to nobody: %v, %v", r, err)
	}
}

// What is damaged, doubled or early counts as that.
func TestDatagramsReceiver(t *testing.T) {
	one := func(number byte) []byte {
		b := append(make([]byte, 8), 0, 0, 0, 0, 'x', number)
		b[7] = number
		binary.BigEndian.PutUint32(b[8:], crc32.ChecksumIEEE(b[MinDatagram:]))
		return b
	}
	r := receiver{sum: sha256.New(), seen: map[uint64]bool{}}
	bad := one(4)
	bad[13] ^= 1
	for _, b := range [][]byte{one(0), one(2), one(1), one(1), bad, one(4), one(4)} {
		r.take(b)
	}
	want := DatagramsResult{Received: 4, Damaged: 1, Doubles: 2, Early: 2}
	if r.result != want {
		t.Errorf("got %v, want %v", r.result, want)
	}
}

func TestCensus(t *testing.T) {
	requireRoot(t)
	n := New(t)
	a, router, b := n.Host("a"), n.Router("router"), n.Host("b")
	n.Link(a, []string{"192.0.2.1/25"}, router, []string{"192.0.2.126/25"})
	n.Link(b, []string{"192.0.2.129/25"}, router, []string{"192.0.2.254/25"})
	a.Route("default", "192.0.2.126")
	b.Route("default", "192.0.2.254")
	census := router.Census(500, 4500)
	for _, to := range []string{"192.0.2.129:4500", "192.0.2.129:4500", "192.0.2.129:500", "192.0.2.129:4501"} {
		Must(t, a.Do(func() error {
			conn, err := net.Dial("udp", to)
			if err == nil {
				_, err = conn.Write([]byte("hello"))
				conn.Close()
			}
			return err
		}))
	}
	// The answers, "port unreachable", are others too, or not there yet.
	ports, others, err := census.Read()
	if err != nil || !slices.Equal(ports, []uint64{1, 2}) || others < 1 {
		t.Errorf("%v, %d others, %v; want [1 2] and more than 1", ports, others, err)
	}
}

// ending is a T whose context the test ends.
type ending struct {
	*testing.T
	ctx context.Context
}

func (e ending) Context() context.Context { return e.ctx }

func TestTrafficEndsWithContext(t *testing.T) {
	requireRoot(t)
	ctx, cancel := context.WithCancel(t.Context())
	private, public := behindNAT(ending{t, ctx})
	time.AfterFunc(20*time.Millisecond, cancel)
	if _, err := private.Ping(public.Addr(), Ping{Count: 1 << 30}); err != nil {
		t.Error(err)
	}
	if _, err := private.Transfer(public, public.Addr(), 1<<40); err == nil {
		t.Error("a transfer goes on after the end of its context")
	}
}

func TestProcess(t *testing.T) {
	requireRoot(t)
	private, _ := behindNAT(t)
	file := t.TempDir() + "/in"
	Must(t, os.WriteFile(file, []byte("outside"), 0o600))
	inside := func() error { return mountOver(t, file) }
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestProcessChild$")
	var out strings.Builder
	cmd.Env, cmd.Stdout = []string{"LAB_CHILD=" + file}, &out
	p, err := private.Start("child", cmd, inside)
	Must(t, err)
	if err := p.Wait(); err != nil || !strings.Contains(out.String(), "sees 172.16.0.1/24 and inside") {
		t.Errorf("%v: %s", err, &out)
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "outside" {
		t.Errorf("the mount of the child is seen outside: %q, %v", text, err)
	}

	cmd = exec.Command("/bin/sleep", "1000")
	p, err = private.Start("sleep", cmd, func() error { return nil })
	Must(t, err)
	if err := p.Stop(10 * time.Second); err != nil {
		t.Error(err)
	}
	if err := p.Wait(); err == nil {
		t.Error("a program that SIGTERM ended ended well")
	}
}

// mountOver hides a file under another one.
func mountOver(t *testing.T, file string) error {
	other := t.TempDir() + "/other"
	if err := os.WriteFile(other, []byte("inside"), 0o600); err != nil {
		return err
	}
	return unix.Mount(other, file, "", unix.MS_BIND, "")
}

// TestProcessChild is the program of TestProcess, and does nothing by itself.
func TestProcessChild(t *testing.T) {
	file := os.Getenv("LAB_CHILD")
	if file == "" {
		return
	}
	addrs, err := net.InterfaceAddrs()
	Must(t, err)
	text, err := os.ReadFile(file)
	Must(t, err)
	for _, a := range addrs {
		fmt.Printf("sees %v and %s\n", a, text)
	}
}
