package gateway

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/ike"
)

func TestAllowance(t *testing.T) {
	start := time.Unix(1000, 0)
	var a allowance
	for i, step := range []struct {
		after    time.Duration // since the start
		ok       bool
		withheld int
	}{
		{0, true, 0}, {0, true, 0}, {0, true, 0}, // the burst
		{0, false, 0}, {999 * time.Millisecond, false, 0},
		{time.Second, true, 2},
		{time.Second, false, 0},
		{2 * time.Second, true, 1},
		{time.Hour, true, 0}, {time.Hour, true, 0}, {time.Hour, true, 0}, // a burst again, and no more for the long wait
		{time.Hour, false, 0},
	} {
		withheld, ok := a.take(start.Add(step.after), 3)
		if ok != step.ok || withheld != step.withheld {
			t.Errorf("step %d: %d, %v; want %d, %v", i, withheld, ok, step.withheld, step.ok)
		}
	}
}

// Strangers must not fill the log, nor keep the failures of a connection out of it.
//
// Cases: BUG-31; impair-41-log-rate-limit.
func TestLogOfStrangers(t *testing.T) {
	var out bytes.Buffer
	l := &eventLog{log: slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	start := time.Now()
	for range 10000 {
		l.event(ike.Event{Kind: ike.Failed, Text: "no common proposal"})
		l.event(ike.Event{Kind: ike.Dropped, Text: "malformed header"})
	}
	most := failureBurst + 1 + 2*int(time.Since(start)/quietTime+1)
	if lines := strings.Count(out.String(), "\n"); lines < failureBurst+1 || lines > most {
		t.Errorf("%d lines, want %d to %d", lines, failureBurst+1, most)
	}
	out.Reset()
	for range 3 {
		l.event(ike.Event{Kind: ike.Failed, Conn: "site", Text: "the peer does not answer"})
	}
	if lines := strings.Count(out.String(), "connection=site"); lines != 3 {
		t.Errorf("%d lines, want 3:\n%s", lines, &out)
	}
}
