package doctor

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/natt"
	"github.com/culvert-vpn/culvert/suite"
)

var (
	ours   = netip.MustParseAddrPort("172.16.0.1:500")
	theirs = netip.MustParseAddrPort("203.0.113.1:500")
)

func proposal(t testing.TB, words string) suite.Proposal {
	t.Helper()
	p, err := suite.ParseProposal(suite.IKE, words)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// responder is a peer that follows a script of one answer after the other, and checks the requests.
type responder struct {
	t       *testing.T
	path    natt.Path
	answers []func(m *wire.Message) []wire.Payload
	seen    netip.AddrPort // where it sees us
	sizes   []int
	from    netip.AddrPort
	waiting [][]byte
	errs    []error
}

func (r *responder) Send(b []byte) error {
	r.t.Helper()
	r.sizes = append(r.sizes, len(b)+headers(r.path.Remote.Addr()))
	if r.path.NATT {
		if !bytes.Equal(b[:natt.MarkerLen], make([]byte, natt.MarkerLen)) {
			r.t.Error("no non-ESP marker")
		}
		b = b[natt.MarkerLen:]
	}
	m, err := wire.Parse(b)
	if err != nil || m.Header.Exchange != wire.IKE_SA_INIT || !m.Header.Initiator || m.Header.SPIr != 0 || m.Header.MessageID != 0 {
		r.t.Fatalf("the request %+v: %v", m, err)
	}
	if len(r.answers) == 0 {
		return nil
	}
	payloads := r.answers[0](m)
	r.answers = r.answers[1:]
	if payloads == nil {
		return nil
	}
	const spiR = 77
	src, dst := natt.Hash(m.Header.SPIi, spiR, r.path.Remote), natt.Hash(m.Header.SPIi, spiR, r.seen)
	payloads = append(payloads, &wire.Notify{Kind: wire.NAT_DETECTION_SOURCE_IP, Data: src[:]}, &wire.Notify{Kind: wire.NAT_DETECTION_DESTINATION_IP, Data: dst[:]})
	r.waiting = append(r.waiting, wire.AppendMessage(natt.AppendIKE(nil, r.path, nil), wire.Header{SPIi: m.Header.SPIi, SPIr: spiR, Exchange: wire.IKE_SA_INIT, Response: true}, payloads))
	return nil
}

func (r *responder) Receive(buf []byte, until time.Time) (int, netip.AddrPort, error) {
	if len(r.errs) > 0 {
		err := r.errs[0]
		r.errs = r.errs[1:]
		return 0, netip.AddrPort{}, err
	}
	if len(r.waiting) == 0 {
		time.Sleep(time.Until(until)) // in a bubble
		return 0, netip.AddrPort{}, os.ErrDeadlineExceeded
	}
	n := copy(buf, r.waiting[0])
	r.waiting = r.waiting[1:]
	return n, r.from, nil
}

func (r *responder) Whole() error          { return nil }
func (r *responder) Local() netip.AddrPort { return r.path.Local }
func (r *responder) Close() error          { return nil }

// accept answers with a proposal.
func accept(p suite.Proposal, more ...wire.Payload) func(*wire.Message) []wire.Payload {
	return func(*wire.Message) []wire.Payload {
		return append([]wire.Payload{&wire.SA{Proposals: []wire.Proposal{{Number: 1, Proposal: p}}}, &wire.KE{Group: p.Group(), Data: make([]byte, 32)}, &wire.Nonce{Data: make([]byte, 32)}}, more...)
	}
}

func notify(kind wire.NotifyType, data ...byte) func(*wire.Message) []wire.Payload {
	return func(*wire.Message) []wire.Payload { return []wire.Payload{&wire.Notify{Kind: kind, Data: data}} }
}

func TestProbe(t *testing.T) {
	offers := []suite.Proposal{proposal(t, "aes256gcm16-prfsha256-x25519"), proposal(t, "aes128-sha256-ecp256")}
	second := offers[1]
	for _, c := range []struct {
		name    string
		answers []func(*wire.Message) []wire.Payload
		single  bool
		errs    []error
		check   func(t *testing.T, o outcome)
	}{
		{name: "accepted", answers: []func(*wire.Message) []wire.Payload{accept(offers[0], &wire.Vendor{Data: []byte("Culvert")}, &wire.Notify{Kind: wire.IKEV2_FRAGMENTATION_SUPPORTED})},
			check: func(t *testing.T, o outcome) {
				if o.answer.refused != 0 || !reflect.DeepEqual(o.answer.chosen, offers[0]) || o.answer.nat.String() != "we are behind a NAT" || !o.answer.nat.Certain ||
					!o.answer.has(wire.IKEV2_FRAGMENTATION_SUPPORTED) || !slices.Equal(o.answer.vendors, []string{"Culvert"}) {
					t.Errorf("%+v", o.answer)
				}
				if !o.answer.seen(addr("192.0.2.10"), 500) || o.answer.seen(addr("192.0.2.11"), 500) {
					t.Error("who we are seen as")
				}
			}},
		{name: "cookie, then another group", answers: []func(*wire.Message) []wire.Payload{
			notify(wire.COOKIE, 1, 2, 3),
			func(m *wire.Message) []wire.Payload {
				if n, ok := m.Payloads[0].(*wire.Notify); !ok || n.Kind != wire.COOKIE || !bytes.Equal(n.Data, []byte{1, 2, 3}) {
					t.Errorf("the cookie is not first: %v", m.Payloads)
				}
				return notify(wire.INVALID_KE_PAYLOAD, 0, 19)(m)
			},
			func(m *wire.Message) []wire.Payload {
				if ke := m.Payloads[2].(*wire.KE); ke.Group != suite.ECP256 || len(ke.Data) != 64 {
					t.Errorf("the group is %d", ke.Group)
				}
				return accept(second)(m)
			},
		}, check: func(t *testing.T, o outcome) {
			if o.answer.detours != 2 || !reflect.DeepEqual(o.answer.chosen, second) {
				t.Errorf("%+v", o.answer)
			}
		}},
		{name: "what was not offered", answers: []func(*wire.Message) []wire.Payload{accept(proposal(t, "aes128-sha1-modp1024"))}, check: silence},
		{name: "a group that was not offered", answers: []func(*wire.Message) []wire.Payload{notify(wire.INVALID_KE_PAYLOAD, 0, 14)}, check: func(t *testing.T, o outcome) {
			if o.answer.refused != wire.INVALID_KE_PAYLOAD || o.answer.wants != 14 {
				t.Errorf("%+v", o.answer)
			}
		}},
		{name: "endless cookies", answers: []func(*wire.Message) []wire.Payload{notify(wire.COOKIE, 1), notify(wire.COOKIE, 2), notify(wire.COOKIE, 3), notify(wire.COOKIE, 4), notify(wire.COOKIE, 5)},
			check: silence},
		{name: "refused", answers: []func(*wire.Message) []wire.Payload{notify(wire.NO_PROPOSAL_CHOSEN)}, check: func(t *testing.T, o outcome) {
			if o.answer.refused != wire.NO_PROPOSAL_CHOSEN {
				t.Errorf("%+v", o.answer)
			}
		}},
		{name: "nobody listens", errs: []error{&icmpError{from: theirs.Addr()}}, check: func(t *testing.T, o outcome) {
			if o.answer != nil || o.icmp == nil || o.icmp.Error() != "203.0.113.1 says that nobody listens at the port" {
				t.Errorf("%+v", o)
			}
		}},
		{name: "alone, accepted", single: true, answers: []func(*wire.Message) []wire.Payload{func(m *wire.Message) []wire.Payload {
			sa := m.Payloads[0].(*wire.SA)
			ke := m.Payloads[1].(*wire.KE)
			if len(sa.Proposals) != 2 || ke.Group == suite.CURVE25519 || sa.Proposals[1].Group() != ke.Group || suite.Supported(sa.Proposals[1].Transforms[0]) {
				t.Errorf("%+v, group %d", sa, ke.Group)
			}
			return notify(wire.INVALID_KE_PAYLOAD, 0, 31)(m)
		}}, check: func(t *testing.T, o outcome) {
			if o.answer.refused != wire.INVALID_KE_PAYLOAD || o.answer.wants != suite.CURVE25519 {
				t.Errorf("%+v", o.answer)
			}
		}},
	} {
		for _, marked := range []bool{false, true} {
			t.Run(c.name, func(t *testing.T) {
				path := natt.Path{Local: ours, Remote: theirs, NATT: marked}
				p, err := newProbe(rand.Reader, path, offers)
				if c.single {
					p, err = single(rand.Reader, path, offers[0])
				}
				if err != nil {
					t.Fatal(err)
				}
				r := &responder{t: t, path: path, answers: c.answers, seen: netip.MustParseAddrPort("192.0.2.10:500"), from: theirs, errs: c.errs}
				x := &examination{Options: Options{Rand: rand.Reader}}
				synctest.Test(t, func(t *testing.T) { c.check(t, x.ask(context.Background(), r, p, firstWait, DefaultPatience)) })
			})
		}
	}
}

func silence(t *testing.T, o outcome) {
	t.Helper()
	if o.answer != nil {
		t.Errorf("an answer %+v", o.answer)
	}
}

// TestPadding wants probes of exactly the length asked for.
func TestPadding(t *testing.T) {
	for _, remote := range []string{"203.0.113.1:500", "203.0.113.1:4500", "[2001:db8::1]:4500"} {
		to := netip.MustParseAddrPort(remote)
		for _, size := range []int{576, 1280, 1500} {
			p, err := newProbe(rand.Reader, pathOf(ours, to), []suite.Proposal{nobodys(suite.CURVE25519)})
			if err != nil {
				t.Fatal(err)
			}
			p.size = size
			if got := len(p.message()) + headers(to.Addr()); got != size {
				t.Errorf("%v: %d bytes, want %d", remote, got, size)
			}
		}
	}
}

// TestMeasure finds the limit of a path within few probes, with and without routers that tell it.
func TestMeasure(t *testing.T) {
	for _, c := range []struct {
		limit, top    int
		tells         bool
		arrives, lost int
	}{
		{1500, 1500, false, 1500, 0},
		{9000, 1500, false, 1500, 0},
		{1400, 1400, false, 1400, 0},
		{1430, 1500, false, 1420, 1440},
		{1280, 1500, false, 1280, 1320},
		{600, 1500, false, 576, 1006},
		{1390, 1500, true, 1390, 1500},
		{1499, 1500, true, 1499, 1500},
		{300, 1500, false, 300, 576}, // nothing but what is known
	} {
		path := natt.Path{Local: ours, Remote: theirs}
		x := &examination{Options: Options{Rand: rand.Reader}}
		r := &limited{responder: responder{t: t, path: path, seen: ours, from: theirs}, limit: c.limit, tells: c.tells}
		var got reach
		var err error
		synctest.Test(t, func(t *testing.T) {
			got, err = x.measure(context.Background(), r, func(size int) (*probe, error) {
				p, err := newProbe(rand.Reader, path, []suite.Proposal{nobodys(suite.CURVE25519)})
				if p != nil {
					p.size = size
				}
				return p, err
			}, c.top, 300, 0)
		})
		if err != nil || got.arrives != c.arrives || got.lost != c.lost || got.probes > maxSizes {
			t.Errorf("limit %d: %+v, %v, want %d and %d", c.limit, got, err, c.arrives, c.lost)
		}
	}
}

// limited loses what is too long.
type limited struct {
	responder
	limit int
	tells bool
}

func (l *limited) Send(b []byte) error {
	if size := len(b) + 28; size > l.limit {
		if l.tells {
			l.errs = []error{&icmpError{from: addr("192.0.2.254"), code: tooBig, mtu: l.limit}}
		}
		return nil
	}
	l.answers = []func(*wire.Message) []wire.Payload{notify(wire.NO_PROPOSAL_CHOSEN)}
	return l.responder.Send(b)
}

func TestNearest(t *testing.T) {
	for _, c := range []struct{ offers, accepted, best, differs string }{
		{"aes256gcm16-prfsha256-x25519", "aes256gcm16-prfsha384-x25519", "aes256gcm16-prfsha256-x25519", "pseudorandom function"},
		{"aes256gcm16-prfsha256-x25519 aes128-sha256-modp2048", "aes256-sha256-modp2048", "aes128-sha256-prfsha256-modp2048", "encryption"},
		{"aes256gcm16-prfsha256-x25519", "aes128-sha1-modp1024", "aes256gcm16-prfsha256-x25519", "encryption, integrity, pseudorandom function and key exchange"},
	} {
		var offers []suite.Proposal
		for _, w := range strings.Fields(c.offers) {
			offers = append(offers, proposal(t, w))
		}
		best, differs := nearest(offers, proposal(t, c.accepted))
		if best.String() != c.best || words(differs) != c.differs {
			t.Errorf("%s is nearest to %v, it differs in %s; want %s, %s", c.accepted, best, words(differs), c.best, c.differs)
		}
	}
	if len(everything()) != 2 {
		t.Error("not everything is offered")
	}
}

func TestVendorName(t *testing.T) {
	for id, want := range map[string]string{
		"Culvert": "Culvert", "OE-Libreswan-5.2": "Libreswan", "CISCO-DELETE-REASON": "Cisco", "\x88/\xe5m\x6f\xd2\x0d\xbc\x22\x51\x61\x3b\x2e\xbe\x5b\xeb": "strongSwan",
		"\x1b[31m": "unknown (1b5b33316d)", strings.Repeat("x", 100): "unknown (" + strings.Repeat("78", 16) + "...)",
	} {
		if got := vendorName([]byte(id)); got != want {
			t.Errorf("%q is %q, want %q", id, got, want)
		}
	}
}

// FuzzProbe: whatever comes from anywhere, it is an answer, another request, or neither; never both, and never for ever.
func FuzzProbe(f *testing.F) {
	path := natt.Path{Local: ours, Remote: theirs}
	offers := suite.Default(suite.IKE)
	const spi = 0x0101010101010101
	header := wire.Header{SPIi: spi, SPIr: 77, Exchange: wire.IKE_SA_INIT, Response: true}
	for _, payloads := range [][]wire.Payload{
		{&wire.Notify{Kind: wire.COOKIE, Data: []byte{1}}}, {&wire.Notify{Kind: wire.INVALID_KE_PAYLOAD, Data: []byte{0, 19}}}, {&wire.Notify{Kind: wire.NO_PROPOSAL_CHOSEN}},
		accept(proposal(f, "aes256gcm16-prfsha256-x25519"))(nil), {&wire.Vendor{Data: []byte("x")}, &wire.Notify{Kind: wire.REDIRECT}},
	} {
		f.Add(wire.AppendMessage(nil, header, payloads))
	}
	one := binary.BigEndian.AppendUint64(nil, spi)
	f.Add(append(one, make([]byte, 20)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := newProbe(bytes.NewReader(bytes.Repeat([]byte{1}, 4096)), path, offers)
		if err != nil {
			t.Fatal(err)
		}
		random := bytes.NewReader(bytes.Repeat([]byte{1}, 1<<16))
		for range maxDetours + 2 {
			a, again, err := p.take(random, b)
			if err != nil && (a != nil || again) || a != nil && again {
				t.Fatalf("%+v, %v, %v", a, again, err)
			}
			if !again {
				if err == nil && a == nil {
					t.Fatal("neither an answer nor an error")
				}
				return
			}
			p.message()
		}
		t.Fatal("one datagram asks for ever")
	})
}

func TestICMPWords(t *testing.T) {
	for _, e := range []*icmpError{{code: portUnreachable}, {code: hostUnreachable}, {code: prohibited}, {code: tooBig, mtu: 1400}, {code: otherError}} {
		var err error = e
		var target *icmpError
		if !errors.As(err, &target) || !strings.HasPrefix(err.Error(), "this host says") {
			t.Errorf("%v", err)
		}
	}
}
