package sim

import (
	"net/netip"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/ike"
)

// behind are the ways to stand behind NAT boxes.
var behind = []struct {
	name string
	put  func(*scene)
}{
	{"the caller behind a router", func(s *scene) { s.Masquerade("198.51.100.7", time.Minute, s.a) }},
	{"the called behind a 1:1 box", func(s *scene) { s.OneToOne(addrB, s.b); s.b.Addr = privateB }},
	{"both", func(s *scene) {
		s.Masquerade("198.51.100.7", time.Minute, s.a)
		s.OneToOne(addrB, s.b)
		s.b.Addr = privateB
	}},
}

// natScene is the reference case behind boxes. Only a can call.
func natScene(t *testing.T, seed uint64, put func(*scene)) *scene {
	s := newScene(t, seed, func(_, b *side) { b.peer = "" })
	put(s)
	return s
}

// TestNAT sets up, carries traffic and rekeys through NAT boxes, and keeps the mappings alive.
func TestNAT(t *testing.T) {
	for _, c := range behind {
		t.Run(c.name, func(t *testing.T) {
			s := natScene(t, 1, c.put)
			s.up()
			a, _ := s.a.Current(conn)
			b, _ := s.b.Current(conn)
			if a.NAT.LocalNAT != (s.a.nat != nil) || b.NAT.LocalNAT != (s.b.nat != nil) {
				t.Errorf("a says %v, b says %v", a.NAT, b.NAT)
			}
			// Long silence: only keepalives hold the mapping.
			s.Run(time.Hour)
			flows := s.Traffic(conn, child, 100*time.Millisecond, s.b, s.a)
			for _, h := range []*Host{s.b, s.a} {
				h.Rekey(conn, child)
				s.Run(5 * time.Second)
				h.Rekey(conn, "")
				s.Run(5 * time.Second)
			}
			s.wantNoLoss(flows)
			s.wantUp()
			s.wantEnd()
		})
	}
}

// TestRebinding: the box of the caller gives it another port, or another address, in the middle of everything. The other end
// follows the next packet, of whatever kind (RFC 7296 2.23).
//
// Cases: BUG-29.
func TestRebinding(t *testing.T) {
	for _, c := range []struct {
		name   string
		rebind func(*NAT)
	}{
		{"another port", (*NAT).Rebind},
		{"another address", func(n *NAT) { n.Readdress("198.51.100.200") }},
	} {
		for _, traffic := range []bool{true, false} {
			name := c.name + map[bool]string{true: ", with traffic", false: ", without"}[traffic]
			t.Run(name, func(t *testing.T) {
				s := natScene(t, 2, func(s *scene) { s.Masquerade("198.51.100.7", time.Minute, s.a) })
				s.up()
				if traffic {
					s.Traffic(conn, child, time.Second, s.a, s.b)
				}
				s.Run(15 * time.Second)
				was, _ := s.b.Current(conn)
				c.rebind(s.nats[0])
				s.Run(2 * time.Minute)
				now, ok := s.b.Current(conn)
				if !ok || now.SPIi != was.SPIi || now.Path == was.Path || s.b.Seen(ike.PathChanged) == 0 {
					t.Errorf("b did not follow: %v, then %v", was.Path, now.Path)
				}
				s.StopTraffic()
				flows := s.Traffic(conn, child, time.Second, s.a, s.b)
				s.Run(10 * time.Second)
				s.wantNoLoss(flows)
				s.wantUp()
				s.wantEnd()
			})
		}
	}
}

// TestNotFollowed: neither a replayed packet nor a repeated request turns the path back (RFC 7296 2.23).
//
// Cases: BUG-29.
func TestNotFollowed(t *testing.T) {
	s := natScene(t, 3, func(s *scene) { s.Masquerade("198.51.100.7", time.Minute, s.a) })
	s.up()
	var recorded []Datagram
	s.Lose = func(d *Datagram) bool {
		if d.From == s.a && (d.IsESP() || d.IsIKE()) {
			recorded = append(recorded, *d)
		}
		return false
	}
	s.Traffic(conn, child, time.Second, s.a)
	s.a.Rekey(conn, child)
	s.Run(5 * time.Second)
	s.StopTraffic()
	s.Run(time.Second)
	s.Lose = nil
	was, _ := s.b.Current(conn)
	for _, d := range recorded {
		d.Src = netip.MustParseAddrPort("198.51.100.66:4500")
		d.Dst = netip.AddrPortFrom(s.b.Addr, 4500)
		s.arrive(d)
	}
	if now, _ := s.b.Current(conn); now.Path != was.Path || len(recorded) < 5 {
		t.Errorf("%d old packets moved the path from %v to %v", len(recorded), was.Path, now.Path)
	}
	s.wantUp()
}
