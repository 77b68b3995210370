package sim

import (
	"net/netip"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/ike/wire"
)

func TestPlain(t *testing.T) {
	s := newScene(t, 1, nil)
	s.up()
	flows := s.Traffic(conn, child, 50*time.Millisecond, s.a, s.b)
	s.Run(time.Minute)
	s.wantNoLoss(flows)
	s.wantUp()
	if n := s.a.Seen(ike.Failed) + s.b.Seen(ike.Failed); n > 0 {
		t.Errorf("%d failures", n)
	}
	s.wantEnd()
}

// TestIPv6 is the same between addresses of IPv6, with networks of IPv4 inside.
func TestIPv6(t *testing.T) {
	s := newScene(t, 1, func(a, b *side) { a.peer, b.peer = "2001:db8::b", "2001:db8::a" })
	s.a.Addr, s.b.Addr = netip.MustParseAddr("2001:db8::a"), netip.MustParseAddr("2001:db8::b")
	s.up()
	flows := s.Traffic(conn, child, 50*time.Millisecond, s.a, s.b)
	s.b.Rekey(conn, child)
	s.Run(time.Minute)
	s.wantNoLoss(flows)
	s.wantUp()
	s.wantEnd()
}

// TestSameSeedSameRun: a run is a function of its seed.
func TestSameSeedSameRun(t *testing.T) {
	run := func() string {
		s := newScene(t, 7, nil)
		s.Link = Link{Latency: 10 * time.Millisecond, Jitter: time.Second, Loss: 0.3, Double: 0.2}
		s.Run(10 * time.Minute)
		var text writer
		must(0, s.Ladder(&text))
		return string(text)
	}
	if first, second := run(), run(); first != second {
		t.Error("the same seed gave two runs")
	}
}

type writer []byte

func (w *writer) Write(b []byte) (int, error) { *w = append(*w, b...); return len(b), nil }

// TestSuites establishes and rekeys with every kind of algorithm, and with groups that the responder has to ask for.
//
// Cases: SGW.I.1.1.6.1; SGW.I.1.2.3.7; SGW.I.1.2.4.4; Ipsec.Conf.3.1.3 J; TestResponderPsk; child_rekey regular.
func TestSuites(t *testing.T) {
	for _, c := range []struct {
		name             string
		ikeA, ikeB, espA []string
		espB             []string
	}{
		{"CBC and HMAC", []string{"aes256-sha256-ecp256"}, []string{"aes256-sha256-ecp256"}, []string{"aes256-sha256"}, []string{"aes256-sha256"}},
		{"ChaCha20", []string{"chacha20poly1305-prfsha512-x25519"}, []string{"chacha20poly1305-prfsha512-x25519"}, []string{"chacha20poly1305-esn"}, []string{"chacha20poly1305-esn"}},
		{"INVALID_KE_PAYLOAD", []string{"aes128gcm16-prfsha256-x25519-ecp256"}, []string{"aes128gcm16-prfsha256-ecp256"}, []string{"aes128gcm16-x25519-ecp256"}, []string{"aes128gcm16-ecp256"}},
		{"the responder prefers", []string{"aes128-sha256-x25519", "aes256gcm16-prfsha384-x25519"}, []string{"aes256gcm16-prfsha384-x25519", "aes128-sha256-x25519"}, nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScene(t, 3, func(a, b *side) { a.ike, b.ike, a.esp, b.esp = c.ikeA, c.ikeB, c.espA, c.espB })
			s.up()
			flows := s.Traffic(conn, child, 20*time.Millisecond, s.a, s.b)
			s.Run(time.Second)
			for _, h := range []*Host{s.a, s.b} {
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

// TestRekey rekeys the child and the IKE SA, by either side and by both at once, and loses no packet over it.
//
// Cases: BUG-25; SGW.I.1.2.3.2; SGW.I.1.2.4.1; SGW.I.1.2.4.2; TestResponderRekey; child_rekey regular; child_rekey collision;
// ike_rekey regular; ike_rekey collision.
func TestRekey(t *testing.T) {
	rekey := func(who []int, what string) func(*scene) {
		return func(s *scene) {
			for _, i := range who {
				[]*Host{s.a, s.b}[i].Rekey(conn, what)
			}
		}
	}
	for _, c := range []struct {
		name       string
		do         func(*scene)
		newA, newB bool // a new child is expected
	}{
		{"child by the initiator", rekey([]int{0}, child), true, true},
		{"child by the responder", rekey([]int{1}, child), true, true},
		{"child by both", rekey([]int{0, 1}, child), true, true},
		{"IKE SA by the initiator", rekey([]int{0}, ""), false, false},
		{"IKE SA by the responder", rekey([]int{1}, ""), false, false},
		{"IKE SA by both", rekey([]int{0, 1}, ""), false, false},
		{"child by one, IKE SA by the other", func(s *scene) { s.a.Rekey(conn, child); s.b.Rekey(conn, "") }, true, true},
		{"IKE SA and child by one", func(s *scene) { s.a.Rekey(conn, ""); s.a.Rekey(conn, child) }, true, true},
		{"everything by both", func(s *scene) {
			for _, h := range []*Host{s.a, s.b} {
				h.Rekey(conn, "")
				h.Rekey(conn, child)
			}
		}, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			for seed := range uint64(12) {
				s := newScene(t, seed, nil)
				s.Link.Jitter = 30 * time.Millisecond
				s.up()
				was := s.a.Snapshot()[0].Children[0].In
				wasIKE := s.a.Snapshot()[0].SPIi
				flows := s.Traffic(conn, child, 10*time.Millisecond, s.a, s.b)
				s.Run(time.Second)
				c.do(s)
				s.Run(40 * time.Second)
				s.wantNoLoss(flows)
				s.wantUp()
				now := s.a.Snapshot()[0]
				if c.newA && now.Children[0].In == was {
					t.Error("the child was not rekeyed")
				}
				if !c.newA && now.SPIi == wasIKE {
					t.Error("the IKE SA was not rekeyed")
				}
				if n := s.a.Seen(ike.ChildDown) + s.b.Seen(ike.ChildDown); n > 0 {
					t.Errorf("%d reports of a child that went down", n)
				}
				if t.Failed() {
					return
				}
				s.wantEnd()
			}
		})
	}
}

// TestRekeyByLimits rekeys when the datapath counted to a limit, over and over.
func TestRekeyByLimits(t *testing.T) {
	s := newScene(t, 5, func(a, b *side) { a.soft.Packets, a.hard.Packets = 100, 1000; b.soft.Packets = 150 })
	s.up()
	flows := s.Traffic(conn, child, 10*time.Millisecond, s.a, s.b)
	s.Run(time.Minute)
	s.wantNoLoss(flows)
	if n := s.a.Seen(ike.ChildRekeyed); n < 20 {
		t.Errorf("%d times rekeyed", n)
	}
	s.wantUp()
}

// TestLostReplies loses the first answer of each exchange in turn.
//
// Cases: SGW.I.1.1.2.2; SGW.I.1.3.1.1; inbound/outbound.
func TestLostReplies(t *testing.T) {
	for _, kind := range []wire.Exchange{wire.IKE_SA_INIT, wire.IKE_AUTH, wire.CREATE_CHILD_SA, wire.INFORMATIONAL} {
		for _, response := range []bool{false, true} {
			name := kind.String() + map[bool]string{false: " request", true: " answer"}[response]
			t.Run(name, func(t *testing.T) {
				s := newScene(t, 11, nil)
				lost := 0
				s.Lose = func(d *Datagram) bool {
					if d.IsIKE() && d.IKE.Exchange == kind && d.IKE.Response == response && lost < 2 {
						lost++
						return true
					}
					return false
				}
				s.up()
				flows := s.Traffic(conn, child, 10*time.Millisecond, s.a, s.b)
				s.b.Rekey(conn, child)
				s.Run(30 * time.Second)
				s.a.Rekey(conn, "")
				s.Run(30 * time.Second)
				if lost != 2 {
					t.Errorf("%d messages were lost, want 2", lost)
				}
				s.wantNoLoss(flows)
				s.wantUp()
				s.wantEnd()
			})
		}
	}
}
