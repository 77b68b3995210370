//go:build linux

package e2e

import (
	"strings"
	"testing"
)

// reauthenticate sets up the IKE SA of the reference case anew, with its Child SA.
func reauthenticate(p Peer) error {
	switch p := p.(type) {
	case *Culvert:
		_, err := p.Ctl("rekey", "site", "--reauth")
		return err
	case *StrongSwan:
		_, err := p.swanctl("--rekey", "--ike", "site", "--reauth")
		return err
	}
	panic("an unknown peer")
}

// makingFirst is strongSwan with make before break, which is its default from version 6.0 on.
func makingFirst(h *Host, conf string) Peer {
	return NewStrongSwan(h, conf, "make_before_break = yes")
}

// TestRobustReauth has each side set the IKE SA up anew, next to the old one, while a ping goes on in both directions
// (RFC 7296 2.8.3), whatever the side that is called does with a second IKE SA of the same peer. Nothing is lost. Two strongSwans lose
// packets at this, as their logs with esp = 2 say ("does not belong to an installed SA"), in two ways that Culvert makes good at its end:
// the responder sends under the new Child SA before its answer is out, which Culvert holds until it has the answer; and whoever deletes, or
// is told to, takes the old Child SA away at once with what has arrived under it, so Culvert sends under the new one for a while first.
func TestRobustReauth(t *testing.T) {
	t.Parallel()
	for _, m := range matches {
		for _, unique := range []string{"no", "keep", "replace"} {
			t.Run(m.name+", unique = "+unique, func(t *testing.T) {
				t.Parallel()
				ref := NewReference(t, Plan{B: OneToOne})
				m := m
				if m.strongA {
					m.a = makingFirst
				}
				if m.strongB {
					m.b = makingFirst
				}
				a, b := m.start(t, ref, with(referenceA, "unique = "+unique, ""), with(referenceB, "unique = "+unique, ""))
				now := settled(t, a, b, soon, nil)
				there, err := ref.B.Client.StartPing(ref.A.Client.Addr(), Ping{})
				Must(t, err)
				back, err := ref.A.Client.StartPing(ref.B.Client.Addr(), Ping{})
				Must(t, err)
				for range 3 {
					for _, p := range []Peer{a, b} {
						Must(t, reauthenticate(p))
						now = settled(t, a, b, soon, func(sa SA) bool {
							return sa.SPIi != now.SPIi && sa.Children[0].SPIIn != now.Children[0].SPIIn
						})
						alone(t, a, b)
						answers(t, there, 20)
						answers(t, back, 20)
					}
				}
				for _, pinger := range []*Pinger{there, back} {
					if ping := pinger.Stop(); ping.Lost() != 0 || ping.Doubles != 0 || ping.Sent < 100 {
						t.Errorf("%v, %d doubles over six reauthentications, longest gap %d\n%s", ping, ping.Doubles, ping.LongestGap(), tails(a, b))
					}
				}
				for _, p := range []Peer{a, b} {
					if c, ok := p.(*Culvert); ok && strings.Contains(c.Log(), "child-down") {
						t.Errorf("a child was down:\n%s", tail(c.Log()))
					}
				}
			})
		}
	}
}
