//go:build linux

package e2e

import (
	"strings"
	"testing"
	"time"
)

// TestRobustAuthLifetime has the side that is called say how long the authentication holds, and the other one repeat it in time (RFC 4478). The
// tunnel is set up anew twice. strongSwan that is called says nothing here, and calls itself.
func TestRobustAuthLifetime(t *testing.T) {
	t.Parallel()
	for _, m := range matches[1:] {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			ref := NewReference(t, Plan{B: OneToOne})
			// strongSwan begins by over_time before the end, which is long by default.
			a, b := m.start(t, ref, with(referenceA, "reauth_time = 40s", ""), with(referenceB, "over_time = 5s", ""))
			now := settled(t, a, b, soon, nil)
			begun := time.Now()
			for range 2 {
				was := now.SPIi
				now = settled(t, a, b, soon, func(sa SA) bool { return sa.SPIi != was })
				flows(t, ref.A.Client, ref.B.Client, soon)
			}
			t.Logf("set up anew twice in %v", time.Since(begun))
			heard := "the peer wants to be authenticated anew within"
			if m.strongB {
				heard = "received AUTH_LIFETIME"
			}
			if log := b.Log(); !strings.Contains(log, heard) {
				t.Errorf("the side that called was not told:\n%s", log)
			}
			alone(t, a, b)
		})
	}
}
