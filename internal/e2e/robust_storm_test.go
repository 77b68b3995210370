//go:build linux

package e2e

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// lossyPath loses one frame in twenty, at random, with some delay so that requests cross, and counts the ESP packets among them.
type lossyPath struct {
	random   *rand.Rand
	toA, toB crossing
	clean    atomic.Bool // lose nothing more
}

// crossing counts packets of ESP in one direction: those that came, and those of them that were lost.
type crossing struct{ came, lost atomic.Int64 }

func newLossyPath() *lossyPath { return &lossyPath{random: rand.New(rand.NewPCG(5, 20))} }

// fate is a Fate.
func (p *lossyPath) fate(frame []byte) []time.Duration {
	const delay = 10 * time.Millisecond
	ip := frame[12] == 8 && frame[13] == 0 // what is not, as ARP, must not be lost: it costs packets that nobody counts
	esp := len(frame) > frameIKE+4 && frame[frameIP] == 0x45 && frame[frameIP+9] == unix.IPPROTO_UDP &&
		binary.BigEndian.Uint16(frame[frameUDP+2:]) == 4500 && binary.BigEndian.Uint32(frame[frameIKE:]) != 0
	lost := ip && !p.clean.Load() && p.random.IntN(20) == 0
	if esp {
		way := &p.toA
		if netip.AddrFrom4([4]byte(frame[frameIP+12:])) == netip.MustParseAddr(sideA.public) {
			way = &p.toB
		}
		way.came.Add(1)
		if lost {
			way.lost.Add(1)
		}
	}
	if lost {
		return nil
	}
	return []time.Duration{delay}
}

// tally says what became of echo requests from B's client to A's, and of the answers. An ESP packet carries one of them, and nothing
// else makes one, so whatever is missing at one station was lost since the last.
type tally struct {
	path              int // lost by the path
	bSends, a, bGives int // lost in gateway B before the path, in A, and in B behind the path
}

func (p *lossyPath) counts() [4]int {
	return [...]int{int(p.toA.came.Load()), int(p.toA.lost.Load()), int(p.toB.came.Load()), int(p.toB.lost.Load())}
}

// account is the tally of a ping since the counters of the path were at before.
func (p *lossyPath) account(before [4]int, ping PingResult) tally {
	n := p.counts()
	for i := range n {
		n[i] -= before[i]
	}
	asked, askedLost, answered, answeredLost := n[0], n[1], n[2], n[3]
	return tally{
		path: askedLost + answeredLost, bSends: ping.Sent - asked,
		a: asked - askedLost - answered, bGives: answered - answeredLost - ping.Received,
	}
}

// TestRobustRekeyStorm has both ends rekey the child every 3 s and the IKE SA every 10 s, at the same moments, over a path that loses
// one packet in twenty (RFC 7296 2.8, 2.8.1, 2.8.2). A ping loses what the path loses, to the packet, and when the storm is over there
// is one Child SA, and nothing is left of the others.
//
// Two strongSwans lose more: if the answer to a rekeying is lost, the end that gave it may rekey the child that it made by it, is told
// CHILD_SA_NOT_FOUND, and destroys the child that the other end will use as soon as it has asked again. We answer TEMPORARY_FAILURE
// while an answer may be under way that tells of the child, and told CHILD_SA_NOT_FOUND we keep the child (RFC 7296 2.25).
//
// Cases: BUG-25.
func TestRobustRekeyStorm(t *testing.T) {
	t.Parallel()
	lasting := 25 * time.Second
	if *long {
		lasting = 5 * time.Minute
	}
	for _, m := range matches {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			path := newLossyPath()
			ref := NewReference(t, Plan{Fate: path.fate})
			path.clean.Store(true)
			// Over IPv6, to which MOBIKE moves what is not answered, nothing is lost or counted.
			a, b := m.start(t, ref, with(referenceA, "mobike = no", ""), with(referenceB, "mobike = no", ""))
			flows(t, ref.B.Client, ref.A.Client, soon)
			path.clean.Store(false)
			before := path.counts()

			pinger, err := ref.B.Client.StartPing(ref.A.Client.Addr(), Ping{})
			Must(t, err)
			seen := rekeyBoth(t, lasting, a, b)
			ping := pinger.Stop()
			path.clean.Store(true)

			sum := path.account(before, ping)
			t.Logf("%v: %v; lost by the path %d, in B %d and %d, in A %d; %d IKE SAs and %d Child SAs",
				lasting, ping, sum.path, sum.bSends, sum.bGives, sum.a, seen.ike, seen.children)
			if sum != (tally{path: ping.Lost()}) || ping.Doubles != 0 || sum.path == 0 {
				t.Errorf("%v, %d doubles, longest gap %d: %+v\n%s", ping, ping.Doubles, ping.LongestGap(), sum, tails(a, b))
			}
			if least := int(lasting / (20 * time.Second)); seen.ike < least || seen.children < 2*least {
				t.Errorf("only %d IKE SAs and %d Child SAs were seen in %v", seen.ike, seen.children, lasting)
			}
			flows(t, ref.B.Client, ref.A.Client, soon)
			nothingLeaks(t, m, a, b)
		})
	}
}

// nothingLeaks waits until nothing is left at either peer but what they agree on, and Culvert lends no other SPI.
func nothingLeaks(t *testing.T, m match, a, b Peer) {
	t.Helper()
	patience := soon
	if m.strongA || m.strongB {
		// An end that nobody answers gives up after 165 s, in two cases. strongSwan forgets an IKE SA as soon as it has answered our
		// Delete, so if the path loses the answer there is no other. And if the path loses its answer to our rekeying of the IKE SA, and
		// its own rekeying, which crossed ours, is done before we ask again, then the Delete of the old IKE SA ends our rekeying
		// (RFC 7296 2.25.2): strongSwan waits 10 s for the Delete of a successor that we never had, and sends one itself.
		patience = deadAfter
	}
	aloneWithin(t, patience, a, b)
	for _, p := range []Peer{a, b} {
		if c, ok := p.(*Culvert); ok && !eventually(soon, func() bool { s, err := c.Status(); return err == nil && s.SPIs == 1 }) {
			s, err := c.Status()
			t.Errorf("%d inbound SPIs are lent for one child (%v)", s.SPIs, err)
		}
	}
}

// sightings counts SAs by their SPIs.
type sightings struct{ ike, children int }

// rekeyBoth has both peers rekey at the same moments, for so long, and counts the SAs that B had meanwhile. When it returns nothing is
// under way by order.
func rekeyBoth(t *testing.T, lasting time.Duration, a, b Peer) sightings {
	t.Helper()
	var orders sync.WaitGroup
	spis, children := map[uint64]bool{}, map[uint32]bool{}
	begin := time.Now()
	for second := 1; ; second++ {
		time.Sleep(time.Until(begin.Add(time.Duration(second) * time.Second)))
		if time.Since(begin) >= lasting {
			break
		}
		for _, p := range []Peer{a, b} {
			// Whoever gives way to the other, or finds the SA replaced, may say so.
			if second%3 == 0 {
				orders.Go(func() { _ = p.RekeyChild("net") })
			}
			if second%10 == 0 {
				orders.Go(func() { _ = p.RekeyIKE("site") })
			}
		}
		sas, err := b.SAs()
		Must(t, err)
		for _, sa := range sas {
			spis[sa.SPIi] = true
			for _, c := range sa.Children {
				children[c.SPIIn] = true
			}
		}
	}
	orders.Wait()
	return sightings{len(spis), len(children)}
}
