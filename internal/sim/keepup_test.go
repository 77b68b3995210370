package sim

import (
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/ike"
)

// TestDayAway: the peer is away for a day. It is called all the time, but not too often, and comes back soon after it can.
func TestDayAway(t *testing.T) {
	s := newScene(t, 1, nil)
	s.up()
	calls := s.a.Seen(ike.Initiating)
	s.b.SetDown(true)
	s.Run(24 * time.Hour)
	calls = s.a.Seen(ike.Initiating) - calls
	// An attempt takes 165 s, and the pause between two grows to a minute, more or less a quarter.
	if least, most := int(24*time.Hour/(241*time.Second))-2, int(24*time.Hour/(209*time.Second)+3); calls < least || calls > most {
		t.Errorf("%d calls in a day, want %d to %d", calls, least, most)
	}
	s.b.SetDown(false)
	if !s.RunUntil(2*time.Minute, func() bool { return s.b.Up(conn, child) == 1 }) {
		t.Error("not up two minutes after the peer is back")
	}
	s.wantUp()
	s.wantEnd()
}

// TestBothReboot: a power cut takes both. Neither knows the other any more, and they end with one tunnel, whoever keeps it up.
func TestBothReboot(t *testing.T) {
	for seed := range uint64(20) {
		for _, apart := range []time.Duration{0, 10 * time.Millisecond, 3 * time.Second} {
			s := newScene(t, seed, func(_, b *side) {
				if seed%2 == 0 {
					b.start = ike.Start
				}
			})
			s.up()
			s.a.Reboot()
			s.Run(apart)
			s.b.Reboot()
			s.Run(30 * time.Second)
			s.wantUp()
			if n := len(s.a.Snapshot()) + len(s.b.Snapshot()); n != 2 {
				t.Errorf("%d ends of IKE SAs, want 2", n)
			}
		}
	}
}

// TestNap: after a short sleep everything is as before, but for a probe at once.
func TestNap(t *testing.T) {
	s := newScene(t, 1, func(a, _ *side) { a.dpd = -1 })
	s.up()
	before, _ := s.a.Current(conn)
	s.a.Suspend(20 * time.Second)
	s.Run(time.Minute)
	s.wantUp()
	if after, _ := s.a.Current(conn); after.SPIi != before.SPIi {
		t.Error("another IKE SA")
	}
}

// TestSleep: the peer gave up who slept for long. That is found out when it wakes, although it does not probe peers by itself, and all
// is up again before long; and what was to be rekeyed meanwhile is.
//
// Cases: BUG-26.
func TestSleep(t *testing.T) {
	s := newScene(t, 1, func(a, _ *side) { a.dpd = -1; a.soft.Time, a.hard.Time = time.Hour, 2*time.Hour })
	s.up()
	before, _ := s.a.Current(conn)
	s.a.Suspend(90 * time.Minute)
	s.Run(89 * time.Minute)
	if len(s.b.Snapshot()) != 0 {
		t.Fatal("the peer still waits")
	}
	s.Run(time.Minute + 4*time.Minute) // the probe and its repetitions take 165 s
	s.wantUp()
	if after, _ := s.a.Current(conn); after.SPIi == before.SPIi {
		t.Error("the old IKE SA is still there")
	}
	s.wantEnd()
}
