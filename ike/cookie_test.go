package ike

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/suite"
)

// firstMessage is an IKE_SA_INIT request from an address; change may alter its payloads.
func (s *script) firstMessage(spi uint64, from netip.AddrPort, change func([]wire.Payload) []wire.Payload) []byte {
	s.t.Helper()
	s.initiator, s.spiI, s.spiR, s.path.Remote = true, spi, 0, from
	list := s.initPayloads(testProposal(suite.IKE, testIKE), suite.CURVE25519, 1)
	if change != nil {
		list = change(list)
	}
	return wire.AppendMessage(nil, s.header(wire.IKE_SA_INIT, 0, false), list)
}

// withCookie puts a cookie in front of a first message.
func withCookie(t *testing.T, first, cookie []byte) []byte {
	t.Helper()
	m, err := wire.Parse(first)
	if err != nil {
		t.Fatal(err)
	}
	return wire.AppendMessage(nil, m.Header, append([]wire.Payload{&wire.Notify{Kind: wire.COOKIE, Data: cookie}}, m.Payloads...))
}

// address is one of many.
func address(n int) netip.AddrPort {
	b := [4]byte{10}
	binary.BigEndian.PutUint32(b[:], 10<<24|uint32(n))
	return netip.AddrPortFrom(netip.AddrFrom4(b), 500)
}

// load makes as many IKE SAs half-open as it takes to be asked for a cookie.
func (s *script) load() {
	s.t.Helper()
	for i := range cookieThreshold {
		s.deliver(s.firstMessage(uint64(1000+i), address(i), nil))
		s.want("answers", wire.IKE_SA_INIT, true)
	}
	if s.halfOpen.all != cookieThreshold || s.cookies.secrets[0] != nil {
		s.t.Fatalf("%d half-open, a secret: %v", s.halfOpen.all, s.cookies.secrets[0] != nil)
	}
}

// wantCookie takes an answer that asks for a cookie.
func (s *script) wantCookie(why string) []byte {
	s.t.Helper()
	h, _ := wire.ParseHeader(s.sends[0].Data)
	n := s.wantNotify(why, wire.IKE_SA_INIT, wire.COOKIE)
	if h.SPIr != 0 || h.SPIi != s.spiI || h.MessageID != 0 || h.Initiator || len(n.Data) < 1 || len(n.Data) > 64 {
		s.t.Fatalf("%s: %+v with %d bytes", why, h, len(n.Data))
	}
	return slices.Clone(n.Data)
}

var honest = netip.MustParseAddrPort("192.0.2.2:500")

// TestCookie: under load a first message gets a cookie and nothing is kept; with it, it is answered, and leads to an IKE SA.
//
// Cases: BUG-14.
func TestCookie(t *testing.T) {
	s := newScript(t, nil)
	s.load()
	first := s.firstMessage(0xaaaa, honest, nil)
	before := stateOf(s)
	s.deliver(first)
	cookie := s.wantCookie("asks for a cookie")
	s.deliver(first)
	if !bytes.Equal(s.wantCookie("asks again"), cookie) {
		t.Error("the same request gets another cookie")
	}
	if stateOf(s) != before {
		t.Error("something is kept")
	}
	s.first = withCookie(t, first, cookie)
	s.deliver(s.first)
	h, c := s.want("answers the request with the cookie", wire.IKE_SA_INIT, true)
	s.spiR, s.nonceR, s.nextID = h.SPIr, slices.Clone(c.nonce.Data), 1
	s.derive(c.ke.Data)
	s.request(wire.IKE_AUTH, append(s.auth(s.id, s.secret), s.childPayloads(1)...)...)
	s.want("answers IKE_AUTH", wire.IKE_AUTH, true)
	if s.installs() != 2 || s.halfOpen.all != cookieThreshold {
		t.Errorf("not established: %v", s.texts())
	}
}

// TestCookieBinding: a cookie is good for one SPI, one nonce and one address, and while its secret lives or the one after it.
//
// Cases: BUG-14; ddos-01; corrupt_encrypted.
func TestCookieBinding(t *testing.T) {
	flip := func(i int) func([]byte) []byte {
		return func(b []byte) []byte { b = slices.Clone(b); b[(i+len(b))%len(b)] ^= 1; return b }
	}
	for _, c := range []struct {
		name   string
		cookie func([]byte) []byte
		spi    uint64
		from   netip.AddrPort
		nonce  bool // another one
		later  time.Duration
		good   bool
	}{
		{name: "as it was given", good: true},
		{name: "from another port", from: netip.MustParseAddrPort("192.0.2.2:1024"), good: true},
		{name: "just before the secret retires", later: cookieLife - 1, good: true},
		{name: "one generation later", later: 2*cookieLife - 2, good: true},
		{name: "after an idle life", later: 2 * cookieLife},
		{name: "much later", later: 1000 * cookieLife},
		{name: "from another address", from: netip.MustParseAddrPort("192.0.2.3:500")},
		{name: "with another SPI", spi: 0xbbbb},
		{name: "with another nonce", nonce: true},
		{name: "another secret's number", cookie: flip(0)},
		{name: "another first byte", cookie: flip(1)},
		{name: "another last byte", cookie: flip(-1)},
		{name: "cut short", cookie: func(b []byte) []byte { return b[:len(b)-1] }},
		{name: "too long", cookie: func(b []byte) []byte { return append(b, 0) }},
		{name: "the number alone", cookie: func(b []byte) []byte { return b[:1] }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScript(t, nil)
			s.load()
			first := s.firstMessage(0xaaaa, honest, nil)
			s.deliver(first)
			cookie := s.wantCookie("asks for a cookie")
			if c.cookie != nil {
				cookie = c.cookie(cookie)
			}
			s.pass(c.later)
			s.keepLoad()
			if c.spi != 0 {
				binary.BigEndian.PutUint64(first, c.spi)
				s.spiI = c.spi
			}
			if c.nonce {
				m, _ := wire.Parse(first)
				for _, p := range m.Payloads {
					if n, ok := p.(*wire.Nonce); ok {
						n.Data[0] ^= 1 // borrowed from first
					}
				}
			}
			s.path.Remote = honest
			if c.from.IsValid() {
				s.path.Remote = c.from
			}
			was := s.halfOpen.all
			s.deliver(withCookie(t, first, cookie))
			if c.good {
				s.want("answers", wire.IKE_SA_INIT, true)
			} else if bytes.Equal(s.wantCookie("asks for another"), cookie) {
				t.Error("the same cookie is asked for again")
			}
			if (s.halfOpen.all > was) != c.good {
				t.Errorf("%d half-open, %d before", s.halfOpen.all, was)
			}
		})
	}
}

// keepLoad puts others in the place of half-open IKE SAs that were forgotten meanwhile.
func (s *script) keepLoad() {
	for i := s.halfOpen.all; i < cookieThreshold; i++ {
		s.halfOpen.add(address(i).Addr())
	}
}

// TestCookieSecrets: of two secrets the older one goes, and is zeroed.
//
// Cases: BUG-14.
func TestCookieSecrets(t *testing.T) {
	var c cookies
	fill := byte(0)
	random := func(n int) []byte { fill++; return bytes.Repeat([]byte{fill}, n) }
	now := time.Unix(0, 0)
	var old []byte
	for i := range 600 {
		first := c.secrets[0]
		c.rotate(now, random)
		c.rotate(now, random)
		if i > 0 && (bytes.Equal(first, c.secrets[0]) || !bytes.Equal(first, c.secrets[1]) || c.number != byte(i+1)) {
			t.Fatalf("round %d: %+v", i, c)
		}
		if bytes.Count(old, []byte{0}) != len(old) {
			t.Fatal("an old secret is kept")
		}
		old = c.secrets[1]
		now = now.Add(cookieLife)
	}
	kept := c.secrets[0]
	now = now.Add(cookieLife)
	c.rotate(now, random)
	if c.secrets[1] != nil || bytes.Count(kept, []byte{0}) != len(kept) {
		t.Error("a secret outlives two lives")
	}
}

// TestThresholds: when a cookie is asked for and how many half-open IKE SAs there may be, in all and from one source.
//
// Cases: BUG-14; BUG-28; ddos-01.
func TestThresholds(t *testing.T) {
	for _, c := range []struct {
		name string
		from func(i int) netip.AddrPort
		// free are answered without a cookie, all of them with one.
		free, all int
	}{
		{"one address", func(int) netip.AddrPort { return honest }, cookieThresholdPerSource, maxHalfOpen / 2},
		{"one address, other ports", func(i int) netip.AddrPort { return netip.AddrPortFrom(honest.Addr(), uint16(1000+i)) },
			cookieThresholdPerSource, maxHalfOpen / 2},
		{"one /64", func(i int) netip.AddrPort {
			a := netip.MustParseAddr("2001:db8:1:2::").As16()
			binary.BigEndian.PutUint64(a[8:], uint64(i+1)<<40)
			return netip.AddrPortFrom(netip.AddrFrom16(a), 500)
		}, cookieThresholdPerSource, maxHalfOpen / 2},
		{"many /64", func(i int) netip.AddrPort {
			a := netip.MustParseAddr("2001:db8::1").As16()
			binary.BigEndian.PutUint16(a[6:], uint16(i))
			return netip.AddrPortFrom(netip.AddrFrom16(a), 500)
		}, cookieThreshold, maxHalfOpen},
		{"many addresses", address, cookieThreshold, maxHalfOpen},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScript(t, nil)
			free, all := 0, 0
			for i := range c.all + 5 {
				first := s.firstMessage(uint64(i+1), c.from(i), nil)
				s.deliver(first)
				h, got := s.want("answers", wire.IKE_SA_INIT, true)
				if h.SPIr != 0 {
					free++
					all++
					continue
				}
				s.deliver(withCookie(t, first, slices.Clone(got.notify(wire.COOKIE).Data)))
				if len(s.sends) > 0 {
					s.want("answers", wire.IKE_SA_INIT, true)
					all++
				}
			}
			if free != c.free || all != c.all || s.halfOpen.all != c.all || s.order.len() != c.all {
				t.Errorf("%d without a cookie, %d in all, want %d and %d", free, all, c.free, c.all)
			}
			s.wantEvent("tells", Dropped, "too many half-open")
			s.pass(halfOpenTime)
			if s.order.len()+len(s.initial)+len(s.halfOpen.of)+s.halfOpen.all+len(s.sas)+len(s.agenda.entries) > 0 {
				t.Error("half-open IKE SAs are kept")
			}
			s.deliver(s.firstMessage(0xaaaa, c.from(0), nil))
			if _, got := s.want("answers", wire.IKE_SA_INIT, true); got.ke == nil {
				t.Error("the load is not forgotten")
			}
		})
	}
}

// TestRepeatsAreNotNew: the same first message again and again opens no second IKE SA and brings no cookie (RFC 7296 2.1).
//
// Cases: BUG-27.
func TestRepeatsAreNotNew(t *testing.T) {
	s := newScript(t, nil)
	first := s.firstMessage(0xaaaa, honest, nil)
	var answer []byte
	for range 10 * cookieThreshold {
		s.deliver(first)
		if answer != nil && !bytes.Equal(s.sends[0].Data, answer) || len(s.sends) != 1 {
			t.Fatal("another answer")
		}
		answer, s.sends = s.sends[0].Data, nil
	}
	if s.halfOpen.all != 1 || s.order.len() != 1 || s.cookies.secrets[0] != nil {
		t.Errorf("%d half-open IKE SAs", s.halfOpen.all)
	}
	// Another message under the same SPI is none of it, and not answered.
	s.deliver(s.firstMessage(0xaaaa, honest, nil))
	s.wantIdle("ignores another first message")
	s.deliver(withCookie(t, first, make([]byte, 1+cookieMAC)))
	s.wantIdle("ignores a forged cookie")
}

// TestCookieOvertaken: two copies of the first message; one is asked for a cookie, the other is answered because the load is over.
// The peer signs the one with the cookie, which it sent last.
func TestCookieOvertaken(t *testing.T) {
	s := newScript(t, nil)
	s.load()
	first := s.firstMessage(0xaaaa, honest, nil)
	s.deliver(first)
	cookie := s.wantCookie("asks for a cookie")
	private, nonce := s.private, s.nonceI
	s.pass(halfOpenTime)
	s.path.Remote, s.private, s.nonceI = honest, private, nonce
	s.deliver(first)
	h, c := s.want("answers", wire.IKE_SA_INIT, true)
	answer := slices.Clone(c.ke.Data)
	s.first = withCookie(t, first, cookie)
	s.deliver(s.first)
	s.want("answers", wire.IKE_SA_INIT, true)
	s.deliver(first)
	s.wantIdle("does not go back")
	s.spiR, s.nonceR, s.nextID = h.SPIr, slices.Clone(c.nonce.Data), 1
	s.derive(answer)
	s.request(wire.IKE_AUTH, append(s.auth(s.id, s.secret), s.childPayloads(1)...)...)
	if s.installs() != 2 {
		t.Errorf("not established: %v", s.texts())
	}
}

// TestRefusedStaysOnAccount: peers that fail in IKE_AUTH count as half-open, and are forgotten as soon (RFC 8019 4.2).
func TestRefusedStaysOnAccount(t *testing.T) {
	s := newScript(t, nil)
	path := s.path
	for i := range cookieThresholdPerSource {
		s.path = path
		s.first = s.firstMessage(uint64(i+1), honest, nil)
		s.deliver(s.first)
		h, c := s.want("answers", wire.IKE_SA_INIT, true)
		s.spiR, s.nonceR, s.nextID = h.SPIr, slices.Clone(c.nonce.Data), 1
		s.derive(c.ke.Data)
		s.request(wire.IKE_AUTH, s.auth(s.id, testSecrets(t, "terces"))...)
		s.wantNotify("refuses", wire.IKE_AUTH, wire.AUTHENTICATION_FAILED)
	}
	s.path = path
	s.deliver(s.firstMessage(99, honest, nil))
	s.wantCookie("asks for a cookie")
	s.pass(halfOpenTime)
	if s.order.len()+s.halfOpen.all+len(s.halfOpen.of) > 0 {
		t.Error("something is kept")
	}
}

// TestShortRequest: a request whose answer would be longer has to prove where it comes from, whatever the load.
//
// Cases: BUG-13.
func TestShortRequest(t *testing.T) {
	s := newScript(t, nil)
	first := s.firstMessage(0xaaaa, honest, func(l []wire.Payload) []wire.Payload {
		l[0] = number([]suite.Proposal{one(testProposal(suite.IKE, testIKE)[0], 0)}, nil)
		l[2].(*wire.Nonce).Data = l[2].(*wire.Nonce).Data[:wire.MinNonce]
		return l[:5] // without the vendor's mark
	})
	s.deliver(first)
	if n := len(s.sends[0].Data); n > len(first) {
		t.Errorf("%d bytes answer %d", n, len(first))
	}
	cookie := s.wantCookie("asks for a cookie")
	s.deliver(withCookie(t, first, cookie))
	_, c := s.want("answers", wire.IKE_SA_INIT, true)
	if c.ke == nil || s.halfOpen.all != 1 {
		t.Error("not answered")
	}
}

// TestLongFirst: what has to be kept is bounded.
func TestLongFirst(t *testing.T) {
	for _, n := range []int{maxFirst, maxFirst + 1} {
		s := newScript(t, nil)
		first := s.firstMessage(0xaaaa, honest, nil)
		first = s.firstMessage(0xaaaa, honest, func(l []wire.Payload) []wire.Payload {
			return append(l, &wire.Vendor{Data: make([]byte, n-len(first)-4)})
		})
		s.deliver(first)
		if len(first) != n || (s.order.len() == 1) != (n <= maxFirst) {
			t.Errorf("%d bytes: %d IKE SAs", len(first), s.order.len())
		}
	}
}

func TestSource(t *testing.T) {
	for a, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::", "fe80::1%eth0": "fe80::",
	} {
		if got := source(netip.MustParseAddr(a)); got != netip.MustParseAddr(want) {
			t.Errorf("%s is of %v, want %s", a, got, want)
		}
	}
	source(netip.Addr{})
}

// FuzzCookie: of all first messages that anybody can think of, those with a cookie of ours prove something, and no others.
func FuzzCookie(f *testing.F) {
	var c cookies
	c.rotate(time.Unix(0, 0), func(n int) []byte { return bytes.Repeat([]byte{1}, n) })
	from := netip.MustParseAddr("192.0.2.2")
	first := &wire.First{Header: wire.Header{SPIi: 1}, Nonce: make([]byte, 32)}
	good := c.bake(first, from)
	f.Add(uint64(1), first.Nonce, good, []byte{192, 0, 2, 2})
	f.Add(uint64(2), first.Nonce, good, []byte{192, 0, 2, 2})
	f.Add(uint64(1), first.Nonce, good[:3], make([]byte, 16))
	f.Fuzz(func(t *testing.T, spi uint64, nonce, cookie, addr []byte) {
		a, ok := netip.AddrFromSlice(addr)
		if !ok {
			return
		}
		x := &wire.First{Header: wire.Header{SPIi: spi}, Nonce: nonce, Cookie: cookie}
		same := spi == 1 && bytes.Equal(nonce, first.Nonce) && a.Unmap() == from && bytes.Equal(cookie, good)
		if got := c.proves(x, a); got != same && !bytes.Equal(cookie, c.bake(x, a)) {
			t.Errorf("proves %v", got)
		}
	})
}
