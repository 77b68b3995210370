//go:build linux

package e2e

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// Streams of bytes whose hash is compared: 32 MB each way, or with -long 1 GB.
const (
	shortTransfer = 32 << 20
	longTransfer  = 1 << 30
)

// condition is what streams have to get through.
type condition struct {
	name   string
	six    bool // inside and outside; else IPv4
	before func(*Reference)
	during func(*Reference) // again and again while a stream flows
	// after looks at what the receiving client has counted while a stream came.
	after func(t *testing.T, sender, receiver counts)
	rough bool // packets may come out of order or not at all
	share int  // of the bytes, where each costs more and the test is not -long: one in so many; 0 is all
}

// counts are the counters of a kernel while something happened.
type counts map[string]int

func (c counts) since(before counts) counts {
	diff := counts{}
	for name, n := range c {
		diff[name] = n - before[name]
	}
	return diff
}

var conditions = []condition{
	{name: "IPv4"},
	{name: "IPv6", six: true},
	{name: "no options of TCP", before: func(r *Reference) { r.tcp("tcp_timestamps", "0", "tcp_sack", "0", "tcp_window_scaling", "0") }, share: 4},
	{name: "packets that travel alone", before: func(r *Reference) { r.A.Uplink.separate(); r.B.Uplink.separate() }},
	{name: "wide cables", before: func(r *Reference) { r.widen(9000) }},
	{name: "ECN", before: func(r *Reference) { r.tcp("tcp_ecn", "1"); r.congest(200) }, after: congestionWasHeard("IpExt"), rough: true},
	{name: "ECN over IPv6", six: true, before: func(r *Reference) { r.tcp("tcp_ecn", "1"); r.congest(200) }, after: congestionWasHeard("Ip6"), rough: true},
	{name: "loss and SACK", before: func(r *Reference) {
		r.A.Uplink.separate()
		r.B.Uplink.separate()
		r.Router.Lose(500)
	}, after: func(t *testing.T, sender, _ counts) {
		if sender["TcpExtTCPSackRecovery"] == 0 {
			t.Errorf("nothing was lost and mended with SACK")
		}
	}, rough: true, share: 4},
	{name: "loss of trains", before: func(r *Reference) { r.Router.Lose(500) }, rough: true, share: 4},
	{name: "path that narrows and widens", during: narrowAndWiden, rough: true, share: 2},
	{name: "path that narrows and widens, IPv6", six: true, during: narrowAndWiden, rough: true, share: 2},
}

// tcp sets parameters of TCP on both clients, in pairs of name and value.
func (r *Reference) tcp(pairs ...string) {
	r.Net.t.Helper()
	for _, client := range []*Host{r.A.Client, r.B.Client} {
		for i := 0; i < len(pairs); i += 2 {
			client.Sysctl("net/ipv4/"+pairs[i], pairs[i+1])
		}
	}
}

// widen sets the MTU of every cable.
func (r *Reference) widen(mtu int) {
	r.Net.t.Helper()
	for _, g := range []*Gateway{r.A, r.B} {
		g.Uplink.SetMTU(mtu)
		newLink(g.Client, g.Host).SetMTU(mtu)
	}
}

// congest has the router mark one in so many packets whose senders understand it as having met congestion (RFC 3168).
func (r *Reference) congest(oneIn int) {
	r.Net.t.Helper()
	r.Router.nft(fmt.Sprintf(`
table inet congestion {
	chain through {
		type filter hook forward priority mangle
		ip ecn != not-ect numgen random mod %[1]d == 0 ip ecn set ce
		ip6 ecn != not-ect numgen random mod %[1]d == 0 ip6 ecn set ce
	}
}`, oneIn))
}

// congestionWasHeard checks that marks of the network reached the receiver as such, inside of the tunnel, and that it told the sender.
func congestionWasHeard(layer string) func(*testing.T, counts, counts) {
	return func(t *testing.T, sender, receiver counts) {
		if receiver[layer+"InCEPkts"] == 0 || receiver[layer+"InECT0Pkts"] < 10*receiver[layer+"InCEPkts"] {
			t.Errorf("the receiver saw %d packets with CE and %d with ECT(0)", receiver[layer+"InCEPkts"], receiver[layer+"InECT0Pkts"])
		}
		if sender["TcpExtTCPDeliveredCE"] == 0 {
			t.Errorf("the sender heard of no congestion")
		}
	}
}

// narrowAndWiden has the cable of A carry less for a while.
func narrowAndWiden(r *Reference) {
	for _, mtu := range []int{1400, 1280, 1500} {
		r.A.Uplink.SetMTU(mtu)
		time.Sleep(30 * time.Millisecond)
	}
}

// TestTransfer sends streams between two Culverts, each way, through what networks do to them. What arrives is what was sent; and where
// nothing is lost, no packet overtakes another one of its flow.
func TestTransfer(t *testing.T) {
	beside(t)
	for _, c := range conditions {
		t.Run(c.name, func(t *testing.T) {
			beside(t)
			ref := NewReference(t, Plan{})
			confA, confB := withIPv6(referenceA), withIPv6(referenceB)
			if c.six {
				confA, confB = outsideIPv6(confA), outsideIPv6(confB)
			}
			if c.before != nil {
				c.before(ref)
			}
			a, b := matches[2].start(t, ref, confA, confB)
			l := load{T: t, ref: ref, bytes: amount(max(1, c.share))}
			for _, way := range [][2]*Host{{ref.A.Client, ref.B.Client}, {ref.B.Client, ref.A.Client}} {
				before := [2]counts{way[0].Counters(), way[1].Counters()}
				stop := meanwhile(ref, c.during)
				l.stream(way[0], way[1], c.six)
				stop()
				if c.after != nil {
					c.after(t, counts(way[0].Counters()).since(before[0]), counts(way[1].Counters()).since(before[1]))
				}
			}
			if !c.rough {
				l.calm()
			}
			if n := drops(t, a)["esp-integrity"] + drops(t, b)["esp-integrity"]; n > 0 {
				t.Errorf("%d packets of ESP were damaged", n)
			}
			if t.Failed() {
				t.Logf("drops %v, %v\n%s", drops(t, a), drops(t, b), tails(a, b))
			}
		})
	}
}

// TestTransferSeveral has several streams and trains of datagrams in both directions at the same time.
func TestTransferSeveral(t *testing.T) {
	beside(t)
	ref := NewReference(t, Plan{})
	a, b := matches[2].start(t, ref, withIPv6(referenceA), withIPv6(referenceB))
	const streams = 4
	l := load{T: t, ref: ref, bytes: amount(2 * streams)}
	var all sync.WaitGroup
	for _, way := range [][2]*Host{{ref.A.Client, ref.B.Client}, {ref.B.Client, ref.A.Client}} {
		for i := range streams {
			all.Go(func() { l.stream(way[0], way[1], i%2 == 1) })
		}
		all.Go(func() {
			result, err := way[0].Datagrams(way[1], way[1].Addr(), Datagrams{Bytes: l.bytes / 8, Size: 1300, Trains: true})
			// Beside so many streams some may find a queue full.
			if err != nil || result.Damaged+result.Doubles > 0 || result.Received == 0 {
				t.Errorf("%v, %v", result, err)
			}
		})
	}
	all.Wait()
	if t.Failed() {
		t.Logf("drops %v, %v\n%s", drops(t, a), drops(t, b), tails(a, b))
	}
}

// TestTransferStrongSwan sends streams each way between Culvert and strongSwan, in both roles.
func TestTransferStrongSwan(t *testing.T) {
	beside(t)
	for _, m := range matches[:2] {
		t.Run(m.name, func(t *testing.T) {
			beside(t)
			ref := NewReference(t, Plan{})
			ref.tcp("tcp_ecn", "1")
			a, b := m.start(t, ref, withIPv6(referenceA), withIPv6(referenceB))
			size := amount(4) // libipsec is slow
			for _, way := range [][2]*Host{{ref.A.Client, ref.B.Client}, {ref.B.Client, ref.A.Client}} {
				t.Run("to "+way[1].Name, func(t *testing.T) {
					l := load{T: t, ref: ref, bytes: size}
					l.stream(way[0], way[1], false)
					l.bytes /= 16
					l.stream(way[0], way[1], true)
					if t.Failed() {
						t.Log(tails(a, b))
					}
				})
			}
		})
	}
}

// beside has a test run beside others, but for those that send much.
func beside(t *testing.T) {
	t.Helper()
	if !*long {
		t.Parallel()
	}
}

// amount is how many bytes a stream has where one in so many will do for every day.
func amount(oneIn int) int64 {
	if *long {
		return longTransfer
	}
	return shortTransfer / int64(oneIn)
}

// outsideIPv6 has the gateways of the reference case speak IPv6 with each other.
func outsideIPv6(conf string) string {
	return edit(conf, "_addrs = 203.0.113.1", "_addrs = 2001:db8:a::1")
}

// meanwhile does something again and again until the returned function is called.
func meanwhile(ref *Reference, f func(*Reference)) (stop func()) {
	if f == nil {
		return func() {}
	}
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			default:
				f(ref)
			}
		}
	}()
	return func() { close(done); <-ended }
}
