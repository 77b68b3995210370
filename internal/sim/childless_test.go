package sim

import (
	"fmt"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/ike"
)

// TestChildless: whatever each side says of IKE SAs that are set up without a child (RFC 6023), the children come up, or the two cannot
// agree, because one side insists and the other refuses.
//
// Cases: childless.
func TestChildless(t *testing.T) {
	words := []string{"allow", "prefer", "force", "never"}
	for caller := range ike.ChildlessNever + 1 {
		for called := range ike.ChildlessNever + 1 {
			t.Run(fmt.Sprintf("%s calls %s", words[caller], words[called]), func(t *testing.T) {
				s := newScene(t, 70, func(a, b *side) {
					a.childless, b.childless, a.second, b.second = caller, called, true, true
				})
				without := caller == ike.ChildlessPrefer || caller == ike.ChildlessForce
				if caller == ike.ChildlessForce && called == ike.ChildlessNever || !without && called == ike.ChildlessForce {
					s.Run(5 * time.Minute)
					if n := s.a.Up(conn, child) + s.b.Up(conn, child); n > 0 {
						t.Errorf("%d Child SAs", n)
					}
					if s.a.Seen(ike.Failed) == 0 {
						t.Error("the caller does not say why")
					}
					s.wantEnd()
					return
				}
				s.upBoth()
				flows := s.both(9 * time.Millisecond)
				s.Run(10 * time.Second)
				s.a.Rekey(conn, child)
				s.Run(10 * time.Second)
				s.wantNoLoss(flows)
				s.wantBoth()
				s.wantEnd()
			})
		}
	}
}

// TestChildlessReauth sets the IKE SA up anew without a child, and loses no packet: the old one stays until the new one has all children.
func TestChildlessReauth(t *testing.T) {
	who := map[string]func(a, b *side){
		"the caller":   func(a, _ *side) { a.reauth = 2 * time.Minute },
		"the called":   func(_, b *side) { b.reauth = 2 * time.Minute },
		"both at once": func(a, b *side) { a.reauth, b.reauth = 2*time.Minute, 2*time.Minute },
		"by turn":      func(a, b *side) { a.reauth, b.reauth = 2*time.Minute, 3*time.Minute },
	}
	for name, change := range who {
		for _, unique := range []ike.Unique{ike.UniqueNo, ike.UniqueNever, ike.UniqueKeep, ike.UniqueReplace} {
			for _, jitter := range []time.Duration{0, 300 * time.Millisecond} {
				t.Run(fmt.Sprintf("%s, unique %d, jitter %v", name, unique, jitter), func(t *testing.T) {
					s := newScene(t, 71, func(a, b *side) {
						change(a, b)
						a.childless, b.childless = ike.ChildlessForce, ike.ChildlessForce
						a.unique, b.unique, a.second, b.second = unique, unique, true, true
					})
					s.Link.Jitter = jitter
					s.upBoth()
					flows := s.both(7 * time.Millisecond)
					s.Run(7*time.Minute - 30*time.Second)
					s.wantNoLoss(flows)
					if n := min(s.a.Seen(ike.Established), s.b.Seen(ike.Established)); n < 4 {
						t.Errorf("%d IKE SAs in seven minutes", n)
					}
					if n := s.a.Seen(ike.ChildDown) + s.b.Seen(ike.ChildDown); n > 0 {
						t.Errorf("%d times a child is said to be down", n)
					}
					s.wantEnd()
				})
			}
		}
	}
}

// TestChildlessLossy: the IKE SA comes up, and its children after it, over a network that loses, doubles and reorders.
func TestChildlessLossy(t *testing.T) {
	for seed := range uint64(40) {
		s := newScene(t, seed, func(a, b *side) {
			a.childless, b.childless, a.more, b.more = ike.ChildlessForce, ike.ChildlessForce, 2, 2
			if seed%2 == 0 {
				b.start = ike.Start // both call
			}
		})
		s.Link = Link{Latency: 10 * time.Millisecond, Jitter: 500 * time.Millisecond, Loss: 0.3, Double: 0.1}
		s.Run(3 * time.Minute)
		s.Link = Link{Latency: 20 * time.Millisecond}
		s.Run(3 * time.Minute)
		s.wantUp()
		s.wantEnd()
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}
