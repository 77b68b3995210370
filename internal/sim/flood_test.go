package sim

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/natt"
	"github.com/culvert-vpn/culvert/suite"
)

// flood sends first messages to a host from addresses that are not the sender's, one every so often, until stop is called.
type flood struct {
	s       *scene
	dst     netip.Addr
	group   uint16
	public  []byte
	sent    int
	stopped bool
}

func (s *scene) flood(dst string, group uint16, every time.Duration) *flood {
	f := &flood{s: s, dst: netip.MustParseAddr(dst), group: group}
	_, f.public, _ = must(suite.NewKE(group)).Offer(entropy{rand.NewChaCha8([32]byte{1})})
	var one func()
	one = func() {
		if !f.stopped {
			f.send()
			s.After(every, one)
		}
	}
	one()
	return f
}

func (f *flood) stop() { f.stopped = true }

// send sends a first message as good as any.
func (f *flood) send() {
	f.sent++
	r := f.s.Rand()
	random := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	}
	src := netip.AddrPortFrom(netip.AddrFrom4([4]byte{100, byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32())}), 500)
	dst := netip.AddrPortFrom(f.dst, 500)
	spi := binary.BigEndian.Uint64(random(8)) | 1
	from, to := natt.Hash(spi, 0, src), natt.Hash(spi, 0, dst)
	data := wire.AppendMessage(nil, wire.Header{SPIi: spi, Exchange: wire.IKE_SA_INIT, Initiator: true}, []wire.Payload{
		&wire.SA{Proposals: []wire.Proposal{{Number: 1, Proposal: must(suite.ParseProposal(suite.IKE, "aes128gcm16-prfsha256-x25519-ecp256"))}}},
		&wire.KE{Group: f.group, Data: f.public},
		&wire.Nonce{Data: random(32)},
		&wire.Notify{Kind: wire.NAT_DETECTION_SOURCE_IP, Data: from[:]},
		&wire.Notify{Kind: wire.NAT_DETECTION_DESTINATION_IP, Data: to[:]},
		&wire.Vendor{Data: []byte("anybody at all")},
	})
	f.s.arrive(Datagram{Src: src, Dst: dst, Data: data})
}

// halfOpen counts the IKE SAs of a host that are not established.
func (h *Host) halfOpen() int {
	n := 0
	for _, sa := range h.Snapshot() {
		if sa.Established.IsZero() {
			n++
		}
	}
	return n
}

// countCookies counts the answers of a host that ask the honest peer for a cookie.
func (s *scene) countCookies(h *Host) *int {
	n := 0
	s.Lose = func(d *Datagram) bool {
		if d.From == h && d.IsIKE() && d.IKE.Exchange == wire.IKE_SA_INIT && d.IKE.Response {
			if m, err := wire.Parse(d.Data); err == nil && len(m.Payloads) > 0 {
				if notify, ok := m.Payloads[0].(*wire.Notify); ok && notify.Kind == wire.COOKIE && d.Dst.Addr().As4()[0] != 100 {
					n++
				}
			}
		}
		return false
	}
	return &n
}

// mostHalfOpen is how many half-open IKE SAs a flood may cause: what is there before a cookie is asked for, and the honest peer.
const mostHalfOpen = 30 + 2

// TestFlood: while somebody floods the responder from forged addresses, an honest peer gets in at once, is not disturbed, and
// afterwards nothing is left of it all.
//
// Cases: BUG-12; BUG-14; ddos-01.
func TestFlood(t *testing.T) {
	s := newScene(t, 1, func(a, _ *side) { a.start = ike.Trap })
	cookies := s.countCookies(s.b)
	f := s.flood(addrB, suite.CURVE25519, 5*time.Millisecond)
	s.Run(10 * time.Second)
	s.a.Initiate(conn, child)
	if !s.RunUntil(time.Second, func() bool { return s.a.Up(conn, child) == 1 && s.b.Up(conn, child) == 1 }) {
		t.Error("the honest peer does not get in")
	}
	if *cookies != 1 {
		t.Errorf("it was asked for %d cookies", *cookies)
	}
	flows := s.Traffic(conn, child, 50*time.Millisecond, s.a, s.b)
	for range 30 {
		s.Run(time.Second)
		if n := s.b.halfOpen(); n > mostHalfOpen {
			t.Fatalf("%d half-open IKE SAs", n)
		}
	}
	s.b.Rekey(conn, "")
	s.Run(5 * time.Second)
	s.wantNoLoss(flows)
	f.stop()
	s.wantUp()
	if n := s.b.halfOpen(); n > 0 || f.sent < 5000 {
		t.Errorf("%d half-open IKE SAs are left of %d", n, f.sent)
	}
	s.wantEnd()
}

// TestCookieThroughNAT: the honest peer gets in through NAT boxes and a bad network, with the group that it guessed and with
// another, which costs it COOKIE and INVALID_KE_PAYLOAD together (RFC 7296 2.6.1).
//
// Cases: SGW.I.1.1.5.2.
func TestCookieThroughNAT(t *testing.T) {
	places := append(behind[:len(behind):len(behind)], struct {
		name string
		put  func(*scene)
	}{"no NAT", func(*scene) {}})
	for _, where := range places {
		for _, group := range []string{"the same group", "another group"} {
			t.Run(where.name+", "+group, func(t *testing.T) {
				for seed := range uint64(5) {
					wanted := uint16(suite.CURVE25519)
					s := newScene(t, seed, func(a, b *side) {
						a.start, b.peer = ike.Trap, ""
						if group == "another group" {
							a.ike, b.ike = []string{"aes128gcm16-prfsha256-x25519-ecp256"}, []string{"aes128gcm16-prfsha256-ecp256"}
							wanted = suite.ECP256
						}
					})
					where.put(s)
					cookies := s.countCookies(s.b)
					f := s.flood(addrB, wanted, 20*time.Millisecond)
					for range 40 {
						f.send()
					}
					s.Link = Link{Latency: 20 * time.Millisecond, Jitter: 2 * time.Second, Loss: 0.2, Double: 0.3}
					s.a.Initiate(conn, child)
					if !s.RunUntil(10*time.Minute, func() bool { return s.a.Up(conn, child) == 1 && s.b.Up(conn, child) == 1 }) {
						t.Error("the honest peer does not get in")
					}
					f.stop()
					s.Link = Link{Latency: 20 * time.Millisecond}
					if *cookies == 0 {
						t.Error("no cookie was asked for")
					}
					s.Run(time.Minute)
					s.wantUp()
					s.wantEnd()
					if t.Failed() {
						t.Logf("seed %d", seed)
						return
					}
				}
			})
		}
	}
}

// TestManyCallers: a responder that is called by many at once, as after it restarted, asks them for cookies and serves them all.
func TestManyCallers(t *testing.T) {
	const count = 60
	w := New(1)
	s := &scene{World: w, t: t}
	t.Cleanup(s.report)
	w.Link = Link{Latency: 20 * time.Millisecond, Jitter: 100 * time.Millisecond, Loss: 0.1, Double: 0.1}
	var all Config
	var callers []*Host
	for i := range count {
		a, b := sides()
		a.id, b.peerID, b.peer = fmt.Sprintf("@a%d", i), fmt.Sprintf("@a%d", i), ""
		a.local, b.far = fmt.Sprintf("10.%d.0.0/16", i), fmt.Sprintf("10.%d.0.0/16", i)
		a.ike, b.ike = []string{"aes128gcm16-prfsha256-x25519-ecp256"}, []string{"aes128gcm16-prfsha256-ecp256"}
		c := b.config()
		c.Connections[0].Name = b.peerID
		all.Secret = c.Secret
		all.Connections = append(all.Connections, c.Connections...)
		callers = append(callers, w.Host(a.id, netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}).String(), a.config()))
	}
	s.b = w.Host("b", addrB, all)
	begin := w.Now()
	cookies := s.countCookies(s.b)
	look := w.Lose
	w.Lose = func(d *Datagram) bool {
		// No IKE_AUTH at first, so that many are half-open.
		return look(d) || w.Now().Sub(begin) < 5*time.Second && d.IsIKE() && d.IKE.Exchange == wire.IKE_AUTH
	}
	up := func() bool {
		for _, h := range callers {
			if h.Up(conn, child) != 1 {
				return false
			}
		}
		return true
	}
	if !w.RunUntil(5*time.Minute, up) {
		t.Error("somebody does not get in")
	}
	if *cookies < count-mostHalfOpen {
		t.Errorf("%d cookies", *cookies)
	}
	w.Link = Link{Latency: 20 * time.Millisecond}
	s.quiet()
	for _, h := range append(callers, s.b) {
		h.Shutdown()
	}
	w.Run(10 * time.Minute)
	w.CheckGone()
}

// TestForgedHints: whoever sees the SPIs and forges word that the IKE SA is lost makes both ends ask each other now and then, and
// no more; when it is true, the silence is noticed (RFC 7296 2.4, 2.21.4).
func TestForgedHints(t *testing.T) {
	s := newScene(t, 1, func(a, b *side) { a.dpd, b.dpd = -1, -1 })
	s.up()
	sent := 0
	s.Lose = func(d *Datagram) bool {
		if d.IsIKE() && !d.IKE.Response {
			sent++
		}
		return false
	}
	flows := s.Traffic(conn, child, 100*time.Millisecond, s.a, s.b)
	for range 600 {
		sa, _ := s.b.Current(conn)
		data := wire.AppendMessage(nil, wire.Header{SPIi: sa.SPIi, SPIr: sa.SPIr, Exchange: wire.INFORMATIONAL, Response: true, Initiator: !sa.Initiator},
			[]wire.Payload{&wire.Notify{Kind: wire.INVALID_IKE_SPI}})
		s.arrive(Datagram{Src: sa.Path.Remote, Dst: sa.Path.Local, Data: natt.AppendIKE(nil, sa.Path, data)})
		s.Run(100 * time.Millisecond)
	}
	if sent < 2 || sent > 4 {
		t.Errorf("%d requests in a minute", sent)
	}
	s.wantNoLoss(flows)
	s.wantUp()
	s.wantEnd()
}

// TestRestartIsTold: after a restart the responder says that it does not know the IKE SA; the caller asks, gets no answer, and
// calls again.
func TestRestartIsTold(t *testing.T) {
	s := newScene(t, 2, func(_, b *side) { b.peer = "" })
	s.up()
	told := 0
	s.Lose = func(d *Datagram) bool {
		if d.From == s.b && d.IsIKE() && d.IKE.Response && d.IKE.Exchange == wire.INFORMATIONAL && d.IKE.Next == wire.TypeNOTIFY {
			told++
		}
		return false
	}
	s.b.Reboot()
	s.Run(10 * time.Minute)
	if told == 0 {
		t.Error("nobody is told")
	}
	s.wantUp()
	s.wantEnd()
}
