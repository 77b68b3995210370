//go:build linux

package e2e

import (
	"fmt"
	"os"
	"testing"
	"time"
)

// holdings is what a daemon has.
type holdings struct {
	files, threads, ikeSAs, spis int
	memory                       uint64 // resident, in bytes
}

func holdingsOf(t *testing.T, c *Culvert) (h holdings) {
	t.Helper()
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", c.Process().Pid()))
	Must(t, err)
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", c.Process().Pid()))
	Must(t, err)
	status, err := c.Status()
	Must(t, err)
	for _, conn := range status.Connections {
		h.ikeSAs += len(conn.IKE)
	}
	h.files, h.threads, h.spis = len(list), len(tasks), status.SPIs
	h.ikeSAs += len(status.Strangers)
	h.memory = memory(t, c.Process().Pid(), "VmRSS")
	return h
}

// TestRobustSoak lives fast: the child is rekeyed every second and the IKE SA every three, by both ends; the peer is killed and comes
// back, the connection is closed and opened. In the end the daemon has what it had after the first time round.
func TestRobustSoak(t *testing.T) {
	t.Parallel()
	rounds := 2
	if *long {
		rounds = 30
	}
	// In memory the runtime and the kernel keep something back for a while.
	const moreThreads, moreMemory = 4, 12 << 20
	fast := func(conf string) string {
		return with(conf, "rekey_time = 3s\nover_time = 60s\nrand_time = 1s\ndpd_delay = 2s", "rekey_time = 1s\nlife_time = 60s\nrand_time = 0")
	}
	for _, m := range []match{matches[1], matches[2]} {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			ref := NewReference(t, Plan{B: OneToOne})
			// A peer that was killed is not waited for long.
			confA := with(fast(referenceA), "retransmit_tries = 2\nretransmit_timeout = 1", "")
			a, b := NewCulvert(ref.A.Host, confA), m.b(ref.B.Host, fast(referenceB))
			Must(t, a.Start(), b.Start())
			live := func(d time.Duration) {
				t.Helper()
				if err := b.Initiate("net"); err != nil {
					t.Fatalf("%v\n%s", err, tails(a, b))
				}
				flows(t, ref.B.Client, ref.A.Client, soon)
				time.Sleep(d)
			}
			around := func() (h holdings) {
				t.Helper()
				live(5 * time.Second)
				Must(t, b.Kill(), b.Start())
				live(5 * time.Second)
				Must(t, b.Terminate("site"))
				if !eventually(deadAfter, func() bool { h = holdingsOf(t, a); return h.ikeSAs == 0 && h.spis == 0 }) {
					t.Fatalf("after everything was closed there is %+v\n%s", h, tails(a, b))
				}
				return h
			}
			first := around()
			last := first
			for range rounds - 1 {
				last = around()
				if last.files != first.files || last.threads > first.threads+moreThreads || last.memory > first.memory+moreMemory {
					t.Fatalf("the daemon has %+v, and had %+v after the first time round", last, first)
				}
			}
			t.Logf("%d times round: %+v, after the first %+v", rounds, last, first)
		})
	}
}
