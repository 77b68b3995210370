package sim

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/ike/wire"
)

// fragmented is the reference case with messages that take several packets, over a path that carries no longer ones.
func fragmented(t *testing.T, seed uint64, mtu int, change func(a, b *side)) *scene {
	s := newScene(t, seed, func(a, b *side) {
		a.large, b.large = true, true
		if change != nil {
			change(a, b)
		}
	})
	s.Link.MTU = mtu
	return s
}

// TestNarrowPath sets up and rekeys over a path on which large messages get lost: only fragments make it possible.
func TestNarrowPath(t *testing.T) {
	yes, accept, no := ike.FragmentationYes, ike.FragmentationAccept, ike.FragmentationNo
	for _, c := range []struct {
		a, b   ike.Fragmentation
		mtu    int
		ip6    bool
		passes bool
	}{
		{yes, yes, 0, false, true},
		{yes, yes, 1280, false, true},
		{yes, yes, 1280, true, true},
		{yes, yes, 576, false, true}, // after a probe with larger ones
		{no, no, 0, false, true},
		{yes, no, 0, false, true},
		{yes, no, 1280, false, false},
		{no, yes, 1280, false, false},
		{accept, yes, 1280, false, false}, // the request is the larger one
		{accept, accept, 0, false, true},
	} {
		t.Run(fmt.Sprintf("%d and %d, MTU %d, IPv6 %v", c.a, c.b, c.mtu, c.ip6), func(t *testing.T) {
			s := fragmented(t, 1, c.mtu, func(a, b *side) {
				a.fragmentation, b.fragmentation = c.a, c.b
				if c.ip6 {
					a.peer, b.peer = "2001:db8::b", "2001:db8::a"
				}
			})
			if c.ip6 {
				s.a.Addr, s.b.Addr = netip.MustParseAddr("2001:db8::a"), netip.MustParseAddr("2001:db8::b")
			}
			pieces := map[bool]int{} // by whether they are of answers
			s.Lose = func(d *Datagram) bool {
				if d.IKE.Next == wire.TypeSKF {
					pieces[d.IKE.Response]++
				}
				return false
			}
			up := s.RunUntil(time.Minute, func() bool { return s.a.Up(conn, child) == 1 && s.b.Up(conn, child) == 1 })
			if up != c.passes {
				t.Fatalf("it comes up: %v", up)
			}
			if want := c.a == yes && c.b == yes; (pieces[false] > 1) != want || (pieces[true] > 1) != want {
				t.Errorf("%d fragments of requests and %d of answers", pieces[false], pieces[true])
			}
			if !up {
				return
			}
			flows := s.Traffic(conn, child, 50*time.Millisecond, s.a, s.b)
			for _, h := range []*Host{s.a, s.b} {
				h.Rekey(conn, child)
				s.Run(30 * time.Second)
				h.Rekey(conn, "")
				s.Run(30 * time.Second)
			}
			s.wantNoLoss(flows)
			if a, b := s.a.Seen(ike.ChildRekeyed), s.b.Seen(ike.ChildRekeyed); a != 2 || b != 2 {
				t.Errorf("rekeyed %d and %d times", a, b)
			}
			if n := s.a.Seen(ike.Failed) + s.b.Seen(ike.Failed); n > 0 {
				t.Errorf("%d failures", n)
			}
			s.wantUp()
			s.wantEnd()
		})
	}
}

// TestLostFragments loses each fragment of each message in turn, once.
func TestLostFragments(t *testing.T) {
	for _, kind := range []wire.Exchange{wire.IKE_AUTH, wire.CREATE_CHILD_SA} {
		for _, response := range []bool{false, true} {
			for n := 1; n <= 2; n++ {
				t.Run(fmt.Sprintf("%v, answer %v, fragment %d", kind, response, n), func(t *testing.T) {
					s := fragmented(t, 11, 1280, nil)
					seen, lost := 0, 0
					s.Lose = func(d *Datagram) bool {
						if d.IKE.Exchange != kind || d.IKE.Response != response || d.IKE.Next != wire.TypeSKF {
							return false
						}
						if seen++; seen == n {
							lost++
							return true
						}
						return false
					}
					s.up()
					flows := s.Traffic(conn, child, 10*time.Millisecond, s.a, s.b)
					s.b.Rekey(conn, child)
					s.Run(30 * time.Second)
					if lost != 1 {
						t.Errorf("%d fragments were lost, want 1", lost)
					}
					s.wantNoLoss(flows)
					s.wantUp()
					s.wantEnd()
				})
			}
		}
	}
}

// TestRepeatedFragments delivers every fragment again, later: a request that was answered is answered again once for
// each time that it comes, not for each fragment (RFC 7383 2.6.1).
//
// Cases: ikev2-frag-03-retrans.
func TestRepeatedFragments(t *testing.T) {
	s := fragmented(t, 3, 1280, nil)
	var requests []Datagram
	answers := 0
	s.Lose = func(d *Datagram) bool {
		if d.IKE.Exchange == wire.IKE_AUTH && !d.IKE.Response {
			requests = append(requests, *d)
		}
		if d.IKE.Exchange == wire.IKE_AUTH && d.IKE.Response {
			answers++
		}
		return false
	}
	s.up()
	once := answers
	for range 3 {
		for _, d := range requests {
			s.arrive(d)
		}
	}
	if len(requests) < 3 || once < 2 || answers != 4*once {
		t.Errorf("%d fragments came 4 times, and %d were answered, want %d", len(requests), answers, 4*once)
	}
	s.wantUp()
}
