package ike

import (
	"testing"
	"time"
)

// TestSchedule: the waits that the manuals promise.
func TestSchedule(t *testing.T) {
	for _, test := range []struct {
		r        Retransmit
		patience time.Duration
	}{
		{DefaultRetransmit, 165 * time.Second},
		{Retransmit{Timeout: 2 * time.Second, Base: 1, Tries: 3}, 8 * time.Second},
		{Retransmit{Timeout: time.Second, Base: 2, Tries: 4, Limit: 5 * time.Second}, 17 * time.Second},
		{Retransmit{Timeout: time.Second, Base: 10, Tries: 100}, 96*longestWait + 11111*time.Second},
	} {
		if got := test.r.Patience().Round(time.Second); got != test.patience {
			t.Errorf("%+v: %v, want %v", test.r, got, test.patience)
		}
	}
}

// TestScheduleOfConnection: the schedule of a connection goes before that of all, and jitter only shortens a wait.
func TestScheduleOfConnection(t *testing.T) {
	s := called(t, func(c *Config) {
		c.Connections[0].Retransmit = Retransmit{Timeout: 10 * time.Second, Base: 1, Tries: 2, Jitter: 20}
		c.Connections[0].DPDDelay = 0
	})
	s.give(Rekey{Conn: "c", Child: "net"})
	begin := s.now
	var waits []time.Duration
	for last := begin; s.order.len() > 0; {
		at, ok := s.Deadline()
		if !ok || at.Sub(begin) > time.Minute {
			t.Fatalf("not given up: %v", s.texts())
		}
		s.now = at
		s.give(Tick{})
		waits = append(waits, at.Sub(last))
		last = at
	}
	if len(waits) != 3 || waits[0] == waits[1] && waits[1] == waits[2] {
		t.Errorf("waits %v, want 3 different ones", waits)
	}
	for _, w := range waits {
		if w > 10*time.Second || w < 8*time.Second {
			t.Errorf("wait of %v, want 8 to 10 s", w)
		}
	}
	if len(s.sends) != 3 {
		t.Errorf("%d transmissions, want 3", len(s.sends))
	}
}
