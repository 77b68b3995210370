//go:build linux

package e2e

import (
	"encoding/binary"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// long makes the scenarios that are a matter of time take it.
var long = flag.Bool("long", false, "let floods and storms of rekeying go on for minutes, and streams be of 1 GB")

const (
	// floodRate is how many messages a second a flood has, if the machine can send them.
	floodRate = 50_000
	// floodMemory is how much memory a gateway of two tunnels may have in a flood, in bytes.
	floodMemory = 64 << 20
)

// TestRobustFlood floods a gateway with first messages from random senders. Its tunnel keeps its traffic and its liveness, is rekeyed,
// an honest peer connects, memory stays in its bounds, and no sender gets more bytes back than it sent (RFC 7296 2.6).
//
// It is not parallel: it takes all of the machine that it can get.
//
// Cases: BUG-14.
func TestRobustFlood(t *testing.T) {
	for name, honest := range map[string]daemon{"Culvert connects": culvert, "strongSwan connects": strongSwan} {
		t.Run(name, func(t *testing.T) { floodWhile(t, honest) })
	}
}

func floodWhile(t *testing.T, honest daemon) {
	lasting := 4 * time.Second
	if *long {
		lasting = time.Minute
	}
	ref := NewReference(t, Plan{B: Masquerade, C: true})
	confA, confC := withSiteC(with(referenceA, "dpd_delay = 1s", ""), referenceB)
	a, b := NewCulvert(ref.A.Host, confA), NewCulvert(ref.B.Host, with(referenceB, "dpd_delay = 1s", ""))
	c := honest(ref.C.Host, confC)
	Must(t, a.Start(), b.Start(), c.Start(), b.Initiate("net"))
	flows(t, ref.B.Client, ref.A.Client, soon)
	before := ofPeer(t, a, "site")
	quietMemory := memory(t, a.Process().Pid(), "VmRSS")

	f := ref.A.flood(t, floodRate)
	pinger, err := ref.B.Client.StartPing(ref.A.Client.Addr(), Ping{})
	Must(t, err)
	time.Sleep(lasting)
	ping := pinger.Stop()
	began := time.Now()
	if err := c.Initiate("net"); err != nil {
		t.Errorf("the honest peer does not get in: %v\n%s", err, tails(a, c))
	}
	connected := time.Since(began)
	flows(t, ref.C.Client, ref.A.Client, soon)
	// Nothing but IKE between A and B: who asks for a sign of life gets one.
	wire := ref.Net.Capture(ref.B.Uplink)
	time.Sleep(lasting)
	Must(t, wire.Stop(), b.RekeyChild("net"), b.RekeyIKE("site"))
	took := time.Since(f.began)
	f.stop()
	f.check()

	peak := memory(t, a.Process().Pid(), "VmHWM")
	status, err := a.Status()
	Must(t, err)
	t.Logf("%d messages a second for %v: %d MB out, %d answers of %d MB; %v; an honest peer is up after %v; memory %d KiB before, %d KiB at most; drops %v %v",
		int(float64(f.sent)/took.Seconds()), took.Round(time.Second), f.bytesSent>>20, f.answers, f.bytesBack>>20, ping, connected.Round(time.Millisecond),
		quietMemory>>10, peak>>10, status.Drops, status.IKEDrops)
	if ping.Lost() > ping.Sent/100 {
		t.Errorf("%v in the flood, longest gap %d", ping, ping.LongestGap())
	}
	if peak > floodMemory {
		t.Errorf("%d MiB of memory, want no more than %d", peak>>20, floodMemory>>20)
	}
	if f.bytesBack > f.bytesSent || f.answers == 0 {
		t.Errorf("%d bytes were sent and %d came back", f.bytesSent, f.bytesBack)
	}
	probes, answered := livenessOf(t, wire, ref.A.Public)
	if probes < 2 || answered < probes-1 { // one may be under way at the end
		t.Errorf("%d signs of life were asked for, %d given", probes, answered)
	}
	if now := ofPeer(t, a, "site"); now.Remote != before.Remote || now.SPIi == before.SPIi {
		t.Errorf("after the flood and rekeying the IKE SA is\n%+v, was\n%+v", now, before)
	}
	flows(t, ref.B.Client, ref.A.Client, soon)
}

// ofPeer is the one IKE SA of a connection that is up.
func ofPeer(t *testing.T, p Peer, connection string) SA {
	t.Helper()
	sas, err := p.SAs()
	Must(t, err)
	list := Established(sas, connection)
	if len(list) != 1 {
		t.Fatalf("%d IKE SAs of %s: %+v", len(list), connection, sas)
	}
	return list[0]
}

// memory reads a line of /proc/PID/status, in bytes.
func memory(t *testing.T, pid int, line string) (n uint64) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	Must(t, err)
	for l := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(l, line+":"); ok {
			_, err := fmt.Sscan(value, &n)
			Must(t, err)
			return n << 10
		}
	}
	t.Fatalf("no %s in\n%s", line, text)
	return 0
}

// livenessOf counts the INFORMATIONAL requests in a capture, of either side, and those that were answered.
func livenessOf(t *testing.T, c *Capture, gateway netip.Addr) (requests, answered int) {
	t.Helper()
	file, err := os.ReadFile(c.Path)
	Must(t, err)
	type key struct {
		spi       uint64
		id        uint32
		initiator bool // who asked
	}
	asked, got := map[key]bool{}, map[key]bool{}
	const fileHeader, recordHeader = 24, 16
	for rest := file[fileHeader:]; len(rest) > recordHeader; {
		n := int(binary.NativeEndian.Uint32(rest[8:]))
		frame := rest[recordHeader : recordHeader+n]
		rest = rest[recordHeader+n:]
		if n < frameIKE+4+28 || frame[frameIP] != 0x45 || frame[frameIP+9] != unix.IPPROTO_UDP || binary.BigEndian.Uint32(frame[frameIKE:]) != 0 {
			continue
		}
		m := frame[frameIKE+4:]
		if m[18] != inform {
			continue
		}
		k := key{binary.BigEndian.Uint64(m), binary.BigEndian.Uint32(m[20:]), (m[19]&fromInitiator != 0) != (m[19]&isResponse != 0)}
		if m[19]&isResponse != 0 {
			got[k] = true
		} else {
			asked[k] = true
		}
	}
	for k := range asked {
		if got[k] {
			answered++
		}
	}
	return len(asked), answered
}
