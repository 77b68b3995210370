package sim

import (
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/ike"
)

// TestAuthLifetime: who called sets the IKE SA up anew in the time that who was called gives it, which does not have to do so itself then, and no packet
// is lost by it (RFC 4478).
func TestAuthLifetime(t *testing.T) {
	for seed := range uint64(5) {
		s := newScene(t, seed, func(_, b *side) { b.reauth, b.peer = 10*time.Minute, "" })
		s.up()
		flows := s.Traffic(conn, child, 100*time.Millisecond, s.a, s.b)
		s.Run(time.Hour)
		if n := s.a.Seen(ike.Reauthenticated); n < 6 || n > 8 {
			t.Errorf("a has set it up anew %d times in an hour", n)
		}
		if n := s.b.Seen(ike.Initiating); n > 0 {
			t.Errorf("b has called %d times", n)
		}
		s.wantNoLoss(flows)
		s.wantUp()
		s.wantEnd()
	}
}
