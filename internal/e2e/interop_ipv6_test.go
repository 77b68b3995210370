//go:build linux

package e2e

import (
	"testing"
)

// TestInteropIPv6 has IPv6 outside, inside, both, and both families in one child.
func TestInteropIPv6(t *testing.T) {
	t.Parallel()
	four, six := numbered(1, "in4"), numbered(2, "in6")
	six.a.nets, six.b.nets = site6(103, 2), site6(104, 2)
	both := numbered(3, "both")
	both.a.nets, both.b.nets = site(103, 3)+","+site6(103, 3), site(104, 3)+","+site6(104, 3)
	for _, outer := range []struct {
		name  string
		a, b  string
		pacts []pact
	}{
		{"IPv4 outside", "203.0.113.1", "192.0.2.10", []pact{six, both}},
		{"IPv6 outside", "2001:db8:a::1", "2001:db8:b::1", []pact{four, six, both}},
	} {
		var pacts []pact
		for _, p := range outer.pacts {
			p.a.addr, p.b.addr = outer.a, outer.b
			pacts = append(pacts, p)
		}
		confA, confB := confs(pacts...)
		for _, cast := range casts {
			t.Run(outer.name+"/"+cast.name, func(t *testing.T) {
				t.Parallel()
				ref := NewReference(t, Plan{})
				ref.subnets(3)
				p := cast.play(t, ref, confA, confB)
				for _, call := range p.calls() {
					for _, pact := range pacts {
						saA, saB := call.up(pact.name, pact.name)
						if saA.Remote.Addr().String() != outer.b || saB.Remote.Addr().String() != outer.a {
							call.fail("A sees B at %v, B sees A at %v", saA.Remote, saB.Remote)
						}
						call.use(pact, 5)
						call.down(call.responder, pact.name)
					}
				}
			})
		}
	}
}
