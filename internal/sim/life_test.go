package sim

import (
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/ike"
)

// TestReboot: an end forgets everything and calls again, or is called.
//
// Cases: crossing-streams-20-peer-restarts-*.
func TestReboot(t *testing.T) {
	for _, c := range []struct {
		name   string
		reboot func(*scene) *Host
	}{
		{"the caller", func(s *scene) *Host { return s.a }},
		{"the called", func(s *scene) *Host { return s.b }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScene(t, 2, nil)
			s.up()
			s.Traffic(conn, child, time.Second, s.a, s.b)
			c.reboot(s).Reboot()
			// INITIAL_CONTACT tells at once; otherwise a probe goes unanswered.
			s.Run(5 * time.Minute)
			s.StopTraffic()
			s.wantUp()
			s.wantEnd()
		})
	}
}

// TestInitialContact: the peer of a rebooted caller drops the old IKE SA as soon as the new one is there (RFC 7296 2.4).
//
// Cases: SGW.I.1.1.3.4.
func TestInitialContact(t *testing.T) {
	s := newScene(t, 2, nil)
	s.up()
	old := s.b.Snapshot()[0]
	s.a.Reboot()
	s.Run(2 * time.Second)
	if list := s.b.Snapshot(); len(list) != 1 || list[0].SPIi == old.SPIi {
		t.Errorf("after INITIAL_CONTACT b has %d IKE SAs", len(list))
	}
	s.wantUp()
}

// TestDeadPeer: the peer vanishes, and comes back after an hour.
//
// Cases: SGW.I.1.1.3.5; SGW.I.1.3.1.1; TestResponderDpd.
func TestDeadPeer(t *testing.T) {
	s := newScene(t, 4, func(a, _ *side) { a.retransmit = ike.DefaultRetransmit })
	s.up()
	s.b.SetDown(true)
	s.Run(195*time.Second + time.Second)
	if _, ok := s.a.Current(conn); ok {
		t.Error("the IKE SA outlived a dead peer")
	}
	if n := s.a.Seen(ike.Failed); n == 0 {
		t.Error("nobody was told")
	}
	s.Run(time.Hour)
	s.b.SetDown(false)
	// The longest wait between attempts and the longest within one.
	s.RunUntil(4*time.Minute, func() bool { return s.a.Up(conn, child) == 1 })
	s.wantUp()
	s.wantEnd()
}

// TestShortOutage: an outage that ends before the last retransmission, some two minutes after the silence began, changes nothing.
func TestShortOutage(t *testing.T) {
	s := newScene(t, 4, nil)
	s.up()
	was, _ := s.a.Current(conn)
	s.Lose = func(*Datagram) bool { return true }
	s.Run(90 * time.Second)
	s.Lose = nil
	s.wantUp()
	if now, _ := s.a.Current(conn); now.SPIi != was.SPIi {
		t.Error("the IKE SA was set up anew")
	}
}

// TestTrafficIsLife: no probe is sent while packets come from the peer (RFC 7296 2.4).
//
// Cases: ikev2-mobike-08-nat-expire-liveness-*; ikev2-liveness-11-silent.
func TestTrafficIsLife(t *testing.T) {
	s := newScene(t, 4, nil)
	s.up()
	s.Traffic(conn, child, time.Second, s.a, s.b)
	probes := 0
	s.Lose = func(d *Datagram) bool {
		if d.IsIKE() {
			probes++
		}
		return false
	}
	s.Run(10 * time.Minute)
	if probes > 0 {
		t.Errorf("%d IKE messages during traffic", probes)
	}
}

// TestSuspend: the clock of an end steps by hours, as after a suspend.
//
// Cases: BUG-26.
func TestSuspend(t *testing.T) {
	for _, step := range []time.Duration{time.Minute, time.Hour, 100 * time.Hour} {
		s := newScene(t, 6, func(a, b *side) { a.soft.Time, a.hard.Time = 30*time.Minute, 45*time.Minute; b.reauth = 8 * time.Hour })
		s.up()
		s.a.StepClock(step)
		s.Run(5 * time.Minute)
		s.b.StepClock(step)
		s.Run(5 * time.Minute)
		s.wantUp()
		s.wantEnd()
	}
}

// TestOperator closes and opens a child and a connection by order.
//
// Cases: child_delete regular; ike_delete.
func TestOperator(t *testing.T) {
	for _, what := range []string{child, ""} {
		for _, by := range []func(*scene) *Host{func(s *scene) *Host { return s.a }, func(s *scene) *Host { return s.b }} {
			s := newScene(t, 8, func(a, b *side) { a.start, b.start = ike.Trap, ike.Trap })
			s.Run(time.Second)
			s.a.Initiate(conn, child)
			s.up()
			by(s).Terminate(conn, what)
			s.wantDown()
			if _, ok := s.a.Current(conn); ok != (what == child) {
				t.Errorf("after closing %q the IKE SA is up: %v", what, ok)
			}
			by(s).Initiate(conn, what)
			s.wantUp()
			s.wantEnd()
		}
	}
}

// TestKeptUp: what the peer closes comes back if the configuration keeps it up.
//
// Cases: auto-keep-01/02.
func TestKeptUp(t *testing.T) {
	for _, what := range []string{child, ""} {
		s := newScene(t, 8, nil)
		s.up()
		s.b.Terminate(conn, what)
		s.Run(time.Minute)
		s.wantUp()
	}
}

// TestAcquire: a packet brings up a child that waits for one, and no other.
func TestAcquire(t *testing.T) {
	for action, want := range map[ike.Action]int{ike.Trap: 1, ike.None: 0} {
		s := newScene(t, 9, func(a, _ *side) { a.start = action })
		s.Run(time.Minute)
		if s.a.Up(conn, child) != 0 {
			t.Error("up without a packet")
		}
		s.a.Give(ike.Acquire{Conn: conn, Child: child})
		s.Run(time.Minute)
		if n := s.a.Up(conn, child); n != want {
			t.Errorf("start action %d: %d Child SAs after a packet, want %d", action, n, want)
		}
		s.CheckQuiet()
	}
}

// TestLongLife runs for days with the lifetimes of a common configuration.
func TestLongLife(t *testing.T) {
	s := newScene(t, 10, func(a, b *side) {
		for _, x := range []*side{a, b} {
			x.soft.Time, x.hard.Time = time.Hour, 66*time.Minute
		}
	})
	s.up()
	flows := s.Traffic(conn, child, time.Second, s.a, s.b)
	s.Run(48 * time.Hour)
	s.wantNoLoss(flows)
	s.wantUp()
	s.wantEnd()
}

// TestWrongSecret: nothing is installed, and both ends say what is wrong.
func TestWrongSecret(t *testing.T) {
	s := newScene(t, 12, func(a, _ *side) { a.secret = "querty" })
	s.Run(5 * time.Minute)
	if n := s.a.Seen(ike.Established) + s.b.Seen(ike.Established); n > 0 {
		t.Errorf("%d times established", n)
	}
	if s.a.Seen(ike.Failed) == 0 || s.b.Seen(ike.Failed) == 0 || s.a.Seen(ike.Retrying) == 0 {
		t.Error("a failure that is not told of")
	}
	s.wantEnd()
}

// TestTerminateWhileCalling: whenever the operator changes his mind, the peer is left without an IKE SA that nobody else has, and soon.
func TestTerminateWhileCalling(t *testing.T) {
	for wait := time.Duration(0); wait < 150*time.Millisecond; wait += 5 * time.Millisecond {
		s := newScene(t, 1, func(a, b *side) { a.start, b.start = ike.Trap, ike.Trap })
		s.Link = Link{Latency: 20 * time.Millisecond}
		s.Run(time.Second)
		s.a.Initiate(conn, child)
		s.Run(wait)
		s.a.Terminate(conn, "")
		s.Run(time.Second)
		for _, h := range []*Host{s.a, s.b} {
			for _, sa := range h.Snapshot() {
				if sa.Current || !sa.Established.IsZero() {
					t.Errorf("after %v %s has an IKE SA that is %s", wait, h.Name, sa.State)
				}
			}
		}
		s.wantDown()
		s.wantEnd()
	}
}
