//go:build linux

package e2e

import (
	"strings"
	"testing"
	"time"
)

// The reference case kept up: Culvert is told to by start_action alone. strongSwan needs more for the same, which Culvert
// understands as well.
const (
	keepUp = "start_action = start\nclose_action = start\ndpd_action = restart"
	// impatient makes strongSwan give an unanswered request up after ten seconds.
	impatient = "retransmit_tries = 2\nretransmit_timeout = 2"
)

// TestRobustBlackHole loses everything for a minute. The SAs outlive it, for that is less than it takes to call a peer
// dead; traffic flows when the way is free again.
func TestRobustBlackHole(t *testing.T) {
	t.Parallel()
	const hole = 60 * time.Second
	for _, m := range matches {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			ref := NewReference(t, Plan{B: OneToOne})
			confA, confB := with(referenceA, "dpd_delay = 5s", ""), with(referenceB, "dpd_delay = 5s", "")
			if !m.strongB {
				confB = with(confB, "", "start_action = start")
			}
			a, b := m.start(t, ref, confA, confB)
			flows(t, ref.B.Client, ref.A.Client, soon)
			before := settled(t, a, b, soon, nil)
			filter := ref.Router.Blackhole()
			pinger, err := ref.B.Client.StartPing(ref.A.Client.Addr(), Ping{Interval: time.Second})
			Must(t, err)
			time.Sleep(hole)
			if r := pinger.Result(); r.Received != 0 {
				t.Errorf("%v in a black hole", r)
			}
			filter.Remove()
			answers(t, pinger, 3)
			after := settled(t, a, b, deadAfter, nil)
			if after.SPIi != before.SPIi {
				t.Logf("the IKE SA was set up anew")
			}
			flows(t, ref.A.Client, ref.B.Client, soon)
			alone(t, a, b)
		})
	}
}

// TestRobustForgotten has a peer that gives up during an outage, and does not call. Culvert finds out, and calls.
func TestRobustForgotten(t *testing.T) {
	t.Parallel()
	ref := NewReference(t, Plan{B: OneToOne})
	a := NewStrongSwan(ref.A.Host, with(referenceA, "dpd_delay = 2s", ""), impatient)
	b := NewCulvert(ref.B.Host, with(referenceB, "dpd_delay = 5s", "start_action = start"))
	Must(t, a.Start(), b.Start())
	before := settled(t, a, b, soon, nil)
	filter := ref.Router.Blackhole()
	await(t, a, func(sas []SA) bool { return len(sas) == 0 })
	filter.Remove()
	settled(t, a, b, deadAfter, func(sa SA) bool { return sa.SPIi != before.SPIi })
	flows(t, ref.B.Client, ref.A.Client, soon)
	alone(t, a, b)
}

// TestRobustDelete closes the child, then the IKE SA, from either side. What start_action = start keeps up comes back
// when the peer closes it, and stays down when its own operator does, until he wants it up again.
//
// Cases: auto-keep-01/02.
func TestRobustDelete(t *testing.T) {
	t.Parallel()
	for _, m := range matches {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			ref := NewReference(t, Plan{})
			confA, confB := with(referenceA, "remote_addrs = 192.0.2.10", ""), referenceB
			if m.strongB { // who keeps it up is Culvert
				confA = with(confA, "", "start_action = start")
			} else {
				confB = with(confB, "", "start_action = start")
			}
			a, b := m.a(ref.A.Host, confA), m.b(ref.B.Host, confB)
			Must(t, a.Start(), b.Start())
			keeper, other := b, a
			if m.strongB {
				keeper, other = a, b
			}
			now := settled(t, a, b, soon, nil)

			Must(t, closeChild(other))
			now = settled(t, a, b, soon, func(sa SA) bool { return sa.Children[0].SPIIn != now.Children[0].SPIIn })
			flows(t, ref.B.Client, ref.A.Client, soon)
			Must(t, other.Terminate("site"))
			now = settled(t, a, b, soon, func(sa SA) bool { return sa.SPIi != now.SPIi })
			flows(t, ref.A.Client, ref.B.Client, soon)
			alone(t, a, b)

			Must(t, closeChild(keeper))
			none := func(sas []SA) bool { return len(Installed(sas, "net")) == 0 }
			await(t, other, none)
			stays(t, keeper, none)
			Must(t, keeper.Initiate("net"))
			settled(t, a, b, soon, func(sa SA) bool { return sa.Children[0].SPIIn != now.Children[0].SPIIn })
			flows(t, ref.B.Client, ref.A.Client, soon)
			Must(t, keeper.Terminate("site"))
			nothing := func(sas []SA) bool { return len(sas) == 0 }
			await(t, other, nothing)
			stays(t, keeper, nothing)
			Must(t, keeper.Initiate("net"))
			settled(t, a, b, soon, nil)
			flows(t, ref.A.Client, ref.B.Client, soon)
			alone(t, a, b)
		})
	}
}

// closeChild has a peer close the child and leave the IKE SA alone.
func closeChild(p Peer) error {
	switch p := p.(type) {
	case *StrongSwan:
		_, err := p.swanctl("--terminate", "--child", "net", "--timeout", "30")
		return err
	case *Culvert:
		return p.order("down", "net")
	}
	panic("a peer of an unknown kind")
}

// stays looks on for a while that something remains as it is.
func stays(t *testing.T, p Peer, as func([]SA) bool) {
	t.Helper()
	for range 20 {
		sas, err := p.SAs()
		Must(t, err)
		if !as(sas) {
			t.Fatalf("it did not stay that way: %+v\n%s", sas, p.Log())
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// TestRobustRestart restarts one side, which may have said good-bye before or not. The tunnel comes back by itself.
func TestRobustRestart(t *testing.T) {
	t.Parallel()
	stop, kill := Peer.Stop, Peer.Kill
	for _, test := range []struct {
		name         string
		match        match
		childA, conA string // further settings of A: the waiting side
		childB, conB string // of B, which calls
		b            bool   // B is restarted, and not A
		end          func(Peer) error
		within       time.Duration
	}{
		{name: "Culvert, which calls strongSwan, stops", match: matches[0], childB: "start_action = start", b: true, end: stop, within: soon},
		{name: "Culvert, which calls strongSwan, is killed", match: matches[0], childB: "start_action = start", b: true, end: kill, within: soon},
		{name: "strongSwan, called by Culvert, stops", match: matches[0], childB: "start_action = start", end: stop, within: soon},
		{name: "strongSwan, called by Culvert, is killed", match: matches[0], childB: "start_action = start", conB: "dpd_delay = 2s",
			end: kill, within: deadAfter},
		{name: "strongSwan, which calls Culvert, stops", match: matches[1], childB: keepUp, b: true, end: stop, within: soon},
		{name: "strongSwan, which calls Culvert, is killed", match: matches[1], childB: keepUp, b: true, end: kill, within: soon},
		{name: "Culvert, called by strongSwan, stops", match: matches[1], childB: keepUp, end: stop, within: soon},
		{name: "Culvert, called by strongSwan, is killed", match: matches[1], childB: keepUp, conB: "dpd_delay = 2s", end: kill, within: deadAfter},
		{name: "Culvert, called by Culvert, stops", match: matches[2], childB: "start_action = start", end: stop, within: soon},
		{name: "Culvert, called by Culvert, is killed", match: matches[2], childB: "start_action = start", conB: "dpd_delay = 2s",
			end: kill, within: soon},
		{name: "Culvert, which calls Culvert, is killed", match: matches[2], childB: "start_action = start", b: true, end: kill, within: soon},
		{name: "Culvert is killed, and both call", match: matches[2], conA: "remote_addrs = 192.0.2.10",
			childA: "start_action = start", childB: "start_action = start", end: kill, within: soon},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ref := NewReference(t, Plan{B: OneToOne})
			a := test.match.a(ref.A.Host, with(referenceA, test.conA, test.childA))
			b := test.match.b(ref.B.Host, with(referenceB, test.conB, test.childB))
			if s, ok := b.(*StrongSwan); ok {
				b = NewStrongSwan(s.host, with(referenceB, test.conB, test.childB), impatient)
			}
			Must(t, a.Start(), b.Start())
			before := settled(t, a, b, soon, nil)
			flows(t, ref.A.Client, ref.B.Client, soon)
			victim := a
			if test.b {
				victim = b
			}
			Must(t, test.end(victim), victim.Start())
			settled(t, a, b, test.within, func(sa SA) bool { return sa.SPIi != before.SPIi })
			flows(t, ref.A.Client, ref.B.Client, soon)
			flows(t, ref.B.Client, ref.A.Client, soon)
			alone(t, a, b)
		})
	}
}

// TestRobustPowerCut kills both sides, which keep each other up, and starts them again at the same time: their calls
// may cross.
//
// Cases: crossing-streams-20-peer-restarts-*.
func TestRobustPowerCut(t *testing.T) {
	t.Parallel()
	ref := NewReference(t, Plan{})
	a := NewCulvert(ref.A.Host, with(referenceA, "remote_addrs = 192.0.2.10", "start_action = start"))
	b := NewCulvert(ref.B.Host, with(referenceB, "", "start_action = start"))
	for range 3 {
		started := make(chan error)
		go func() { started <- a.Start() }()
		Must(t, b.Start(), <-started)
		settled(t, a, b, soon, nil)
		flows(t, ref.A.Client, ref.B.Client, soon)
		flows(t, ref.B.Client, ref.A.Client, soon)
		alone(t, a, b)
		Must(t, a.Kill(), b.Kill())
	}
}

// TestRobustCrashDetection kills a side that cannot call. It has lost everything but the secret of its tokens, by which the other side learns of it
// at its first packet, or its first sign of life, and not only after all retransmissions (RFC 6290, RFC 7296 1.5).
func TestRobustCrashDetection(t *testing.T) {
	t.Parallel()
	for name, delay := range map[string]string{"with traffic": "dpd_delay = 1h", "idle": "dpd_delay = 5s"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ref := NewReference(t, Plan{B: OneToOne})
			a, b := NewCulvert(ref.A.Host, referenceA), NewCulvert(ref.B.Host, with(referenceB, delay, "start_action = start"))
			Must(t, a.Start(), b.Start())
			before := settled(t, a, b, soon, nil)
			flows(t, ref.B.Client, ref.A.Client, soon)
			for range 2 { // the second time with the IKE SA that was set up after the first
				if name == "with traffic" {
					pinger, err := ref.B.Client.StartPing(ref.A.Client.Addr(), Ping{Interval: 200 * time.Millisecond})
					Must(t, err)
					defer pinger.Result()
				}
				Must(t, a.Kill(), a.Start())
				was := before.SPIi
				before = settled(t, a, b, soon, func(sa SA) bool { return sa.SPIi != was })
				flows(t, ref.A.Client, ref.B.Client, soon)
			}
			if log := b.Log(); !strings.Contains(log, "has restarted and lost the IKE SA") || strings.Contains(log, "does not answer any more") {
				t.Errorf("not by its token:\n%s", log)
			}
			alone(t, a, b)
		})
	}
}
