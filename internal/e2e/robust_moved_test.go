//go:build linux

package e2e

import (
	"testing"
	"time"
)

// TestRobustMoved gives a gateway another address under a running tunnel. It sends from what it has, the peer follows,
// and the SAs stay.
func TestRobustMoved(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name             string
		b                Translation
		mover            func(*Reference) *Gateway
		device, from, to string
		seen             string // by A, of B's address; by B, of A's
	}{
		{"who called", Direct, func(r *Reference) *Gateway { return r.B }, "internet", "192.0.2.10/24", "192.0.2.11/24", "192.0.2.11"},
		{"who was called", Direct, func(r *Reference) *Gateway { return r.A }, "internet", "203.0.113.1/24", "203.0.113.2/24", "203.0.113.2"},
		{"behind a NAT", Masquerade, func(r *Reference) *Gateway { return r.B }, "natB", "172.16.0.1/24", "172.16.0.99/24", "192.0.2.10"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ref := NewReference(t, Plan{B: test.b})
			a, b := matches[2].start(t, ref, referenceA, referenceB)
			before := settled(t, a, b, soon, nil)
			mover, other, watcher := test.mover(ref), ref.A, a
			if mover == ref.A {
				other, watcher = ref.B, b
			}
			pinger, err := mover.Client.StartPing(other.Client.Addr(), Ping{Interval: 20 * time.Millisecond})
			Must(t, err)
			answers(t, pinger, 20)
			mover.Host.Move(test.device, test.from, test.to)
			answers(t, pinger, 50)
			ping := pinger.Stop()
			if ping.LongestGap() > 500 {
				t.Errorf("%v, longest gap %d\n%s", ping, ping.LongestGap(), tails(a, b))
			}
			flows(t, other.Client, mover.Client, soon)
			after := settled(t, a, b, soon, nil)
			if after.SPIi != before.SPIi || after.Children[0].SPIIn != before.Children[0].SPIIn {
				t.Errorf("the SAs were set up anew:\n%+v\n%+v", before, after)
			}
			sas, err := watcher.SAs()
			Must(t, err)
			if len(sas) != 1 || sas[0].Remote.Addr().String() != test.seen {
				t.Errorf("the peer is seen elsewhere than at %s: %+v", test.seen, sas)
			}
			alone(t, a, b)
		})
	}
}
