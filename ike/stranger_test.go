package ike

import (
	"crypto/sha256"
	"encoding/binary"
	"io"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/suite"
)

// TestInvalidIKESPI: a sealed request to an IKE SA that we do not have, as after a restart, is answered by a notify with the same
// SPIs and number; an answer is not (RFC 7296 2.21.4).
func TestInvalidIKESPI(t *testing.T) {
	s := called(t, nil)
	s.sa().remove()
	for _, x := range []wire.Exchange{wire.IKE_AUTH, wire.CREATE_CHILD_SA, wire.INFORMATIONAL} {
		request := s.seal(x, 7, false)
		s.deliver(request)
		if len(s.sends[0].Data) > len(request) || s.sends[0].Path != s.path {
			t.Errorf("%d bytes for %d, to %v", len(s.sends[0].Data), len(request), s.sends[0].Path)
		}
		h, c := s.want("tells", x, true)
		if h.SPIi != s.spiI || h.SPIr != s.spiR || h.MessageID != 7 || h.Initiator || c.notify(wire.INVALID_IKE_SPI) == nil {
			t.Errorf("answers %+v %v", h, c.notifies)
		}
		s.deliver(s.seal(x, 7, true))
		s.wantIdle("does not answer an answer")
	}
	// Cut down to less than the answer would be.
	short := wire.AppendMessage(nil, s.header(wire.INFORMATIONAL, 7, false), nil)
	short[16] = byte(wire.TypeSK)
	s.deliver(short)
	s.wantIdle("answers with more than was asked")
	s.spiI = 0
	s.deliver(s.seal(wire.INFORMATIONAL, 7, false))
	s.wantIdle("answers to the SPI 0")
}

// TestComplaintsAreLimited: one source, and all together, hear of their mistakes a few times and then now and then.
//
// Cases: BUG-13; BUG-28.
func TestComplaintsAreLimited(t *testing.T) {
	s := called(t, nil)
	s.sa().remove()
	count := func(n int, from func(int) netip.AddrPort) int {
		s.sends = nil
		for i := range n {
			s.path.Remote = from(i)
			s.deliver(s.seal(wire.INFORMATIONAL, 7, false))
		}
		return len(s.sends)
	}
	one := func(int) netip.AddrPort { return honest }
	if n := count(1000, one); n != complaintBurstPerSource {
		t.Errorf("one source gets %d", n)
	}
	s.now = s.now.Add(complaintIntervalPerSource)
	if n := count(1000, one); n != 1 {
		t.Errorf("one source gets %d more", n)
	}
	s.now = s.now.Add(time.Minute)
	if n := count(5000, address); n != complaintBurst {
		t.Errorf("all get %d", n)
	}
	s.now = s.now.Add(time.Minute)
	if n := count(1, one); n != 1 {
		t.Error("is never told again")
	}
}

// hints are all the ways in which a stranger can say that an SA is lost.
func (s *script) hints() map[string][]byte {
	answer := func(x wire.Exchange, kind wire.NotifyType, id uint32) []byte {
		return wire.AppendMessage(nil, s.header(x, id, true), notifyOf(kind))
	}
	return map[string][]byte{
		"INVALID_IKE_SPI":            answer(wire.INFORMATIONAL, wire.INVALID_IKE_SPI, 0),
		"INVALID_IKE_SPI to a child": answer(wire.CREATE_CHILD_SA, wire.INVALID_IKE_SPI, 99),
		"INVALID_SPI": wire.AppendMessage(nil, wire.Header{Exchange: wire.INFORMATIONAL, Initiator: true},
			[]wire.Payload{&wire.Notify{Kind: wire.INVALID_SPI, Data: s.childIn}}),
	}
}

// TestHints: word that an SA is lost makes us ask the peer whether it is alive, once in a while, and changes nothing else
// (RFC 7296 2.21.4).
//
// Cases: BUG-16; SGW.I.1.1.3.2.
func TestHints(t *testing.T) {
	for name := range called(t, nil).hints() {
		t.Run(name, func(t *testing.T) {
			s := called(t, nil)
			hint := s.hints()[name]
			for i := range 100 {
				s.deliver(hint)
				if i > 0 {
					s.wantIdle("asks again at once")
					continue
				}
				h, c := s.want("asks", wire.INFORMATIONAL, false)
				if len(c.notifies)+len(c.deletes) > 0 {
					t.Errorf("asks %+v", c)
				}
				s.answer(wire.INFORMATIONAL, h.MessageID)
			}
			s.pass(hintInterval)
			s.deliver(hint)
			h, _ := s.want("asks again later", wire.INFORMATIONAL, false)
			s.deliver(hint)
			s.answer(wire.INFORMATIONAL, h.MessageID)
			s.wantIdle("has one question at a time")
			if s.installs() != 2 || !s.sa().isCurrent() {
				t.Error("something changed")
			}
		})
		t.Run(name+" from somewhere else", func(t *testing.T) {
			s := called(t, nil)
			hint := s.hints()[name]
			s.path.Remote = netip.MustParseAddrPort("192.0.2.66:4500")
			s.deliver(hint)
			s.wantIdle("asks")
		})
		t.Run(name+" and silence", func(t *testing.T) {
			s := called(t, nil)
			s.deliver(s.hints()[name])
			s.pass(time.Minute)
			s.wantEvent("notices", Failed, "does not answer")
			if s.installs() != 0 {
				t.Error("children stay")
			}
		})
	}
	s := called(t, nil)
	s.deliver(wire.AppendMessage(nil, wire.Header{Exchange: wire.INFORMATIONAL, Initiator: true},
		[]wire.Payload{&wire.Notify{Kind: wire.INVALID_SPI, Data: s.childOut}}))
	s.wantIdle("asks because of an SPI that it does not send under")
}

// strangers makes first messages of all kinds, each as short as it gets and as it should be. They have one public value in common:
// only what the endpoint does is looked at.
func strangers(s *script) map[string]func(n int) []byte {
	payloads := s.initPayloads(testProposal(suite.IKE, testIKE), suite.CURVE25519, 1)
	with := func(change func([]wire.Payload) []wire.Payload) func(int) []byte {
		list := slices.Clone(payloads)
		if change != nil {
			list = change(list)
		}
		data := wire.AppendMessage(nil, wire.Header{SPIi: 1, Exchange: wire.IKE_SA_INIT, Initiator: true}, list)
		return func(n int) []byte {
			binary.BigEndian.PutUint64(data, uint64(n+1))
			return slices.Clone(data)
		}
	}
	bare := func(n int) func(int) []byte {
		return with(func(l []wire.Payload) []wire.Payload { return append(l[:n:n], l[n+1:]...) })
	}
	header := func(h wire.Header, first wire.PayloadType, extra int) func(int) []byte {
		return func(n int) []byte {
			h.SPIi, h.SPIr = uint64(n+1), uint64(n+2)
			b := append(wire.AppendMessage(nil, h, nil), make([]byte, extra)...)
			b[16], b[27] = byte(first), byte(len(b))
			if extra >= 4 {
				b[28+3] = byte(extra)
			}
			return b
		}
	}
	return map[string]func(int) []byte{
		"good":             with(nil),
		"no SA":            bare(0),
		"no KE":            bare(1),
		"no nonce":         bare(2),
		"no NAT traversal": with(func(l []wire.Payload) []wire.Payload { return l[:3] }),
		"short": with(func(l []wire.Payload) []wire.Payload {
			return []wire.Payload{number([]suite.Proposal{one(testProposal(suite.IKE, testIKE)[0], 0)}, nil), l[1], &wire.Nonce{Data: make([]byte, 16)}, l[3], l[4]}
		}),
		"critical": with(func(l []wire.Payload) []wire.Payload { return append(l, &wire.Unknown{Kind: 200, Critical: true}) }),
		"critical and nothing else": with(func(l []wire.Payload) []wire.Payload {
			return []wire.Payload{&wire.Nonce{Data: make([]byte, 16)}, &wire.Unknown{Kind: 200, Critical: true}}
		}),
		"nothing in common": with(func(l []wire.Payload) []wire.Payload {
			l[0] = number(testProposal(suite.IKE, "aes256-sha384-modp3072"), nil)
			return l
		}),
		"another group": with(func(l []wire.Payload) []wire.Payload {
			l[1] = &wire.KE{Group: suite.ECP256, Data: []byte{1}}
			l[0] = number(testProposal(suite.IKE, "aes128gcm16-prfsha256-x25519"), nil)
			return l
		}),
		"a bad public value": with(func(l []wire.Payload) []wire.Payload {
			l[1] = &wire.KE{Group: suite.CURVE25519, Data: make([]byte, 32)}
			return l
		}),
		"a wrong cookie": with(func(l []wire.Payload) []wire.Payload {
			return append([]wire.Payload{&wire.Notify{Kind: wire.COOKIE, Data: make([]byte, 1+cookieMAC)}}, l...)
		}),
		"version 3": func(n int) []byte {
			b := header(wire.Header{Exchange: wire.IKE_SA_INIT}, 0, 0)(n)
			b[17] = 0x30
			return b
		},
		"version 3 at length": func(n int) []byte {
			b := header(wire.Header{Exchange: wire.IKE_SA_INIT}, 41, 40)(n)
			b[17] = 0x30
			return b
		},
		"IKE_AUTH":        header(wire.Header{Exchange: wire.IKE_AUTH, Initiator: true}, wire.TypeSK, 60),
		"IKE_AUTH, short": header(wire.Header{Exchange: wire.IKE_AUTH, Initiator: true}, wire.TypeSK, 4),
		"INFORMATIONAL":   header(wire.Header{Exchange: wire.INFORMATIONAL}, wire.TypeSK, 40),
		"an answer":       header(wire.Header{Exchange: wire.INFORMATIONAL, Response: true}, wire.TypeSK, 40),
		"a bare header":   header(wire.Header{Exchange: wire.INFORMATIONAL, Initiator: true}, 0, 0),
	}
}

// TestNoAmplification: before a sender proved that it receives at its address, it gets no byte more than it sent.
//
// Cases: BUG-13.
func TestNoAmplification(t *testing.T) {
	for name, stranger := range strangers(newScript(t, nil)) {
		t.Run(name, func(t *testing.T) {
			s := newScript(t, nil)
			in, out := make(map[netip.Addr]int), make(map[netip.Addr]int)
			for n := range 300 {
				s.path.Remote = address(n / 4)
				data := stranger(n / 2) // each twice
				in[s.path.Remote.Addr()] += len(data)
				s.sends = nil
				s.deliver(data)
				for _, x := range s.sends {
					if len(x.Data) > len(data) || x.Path != s.path {
						t.Fatalf("%d bytes to %v for %d", len(x.Data), x.Path, len(data))
					}
					out[x.Path.Remote.Addr()] += len(x.Data)
				}
				s.now = s.now.Add(100 * time.Millisecond)
				s.sends = nil
				s.give(Tick{})
				s.wantIdle("sends by itself")
			}
			for a, n := range out {
				if n > in[a] {
					t.Errorf("%v sent %d bytes and got %d", a, in[a], n)
				}
			}
		})
	}
}

// inUse is how many bytes are in use.
func inUse() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestHalfOpenMemory: what one half-open IKE SA holds, in bytes (docs/threats.md): most of it is the key schedules and the two
// first messages.
//
// Cases: BUG-12.
func TestHalfOpenMemory(t *testing.T) {
	for _, c := range []struct {
		name  string
		first int // bytes of the first message
		most  int64
	}{{"usual", 0, 6 << 10}, {"longest", maxFirst, 12 << 10}} {
		t.Run(c.name, func(t *testing.T) {
			s := newScript(t, nil)
			data := s.firstMessage(1, honest, nil)
			if pad := c.first - len(data) - (8 + 1 + cookieMAC) - 4; pad > 0 {
				data = s.firstMessage(1, honest, func(l []wire.Payload) []wire.Payload { return append(l, &wire.Vendor{Data: make([]byte, pad)}) })
			}
			const count = 1000
			deliver := func(n int, b []byte) []byte {
				path := s.path
				path.Remote = address(n)
				for _, e := range s.Handle(s.now, Datagram{Path: path, Data: slices.Clone(b)}) {
					if x, ok := e.(Send); ok {
						return x.Data
					}
				}
				return nil
			}
			base := inUse()
			for n := range count {
				binary.BigEndian.PutUint64(data, uint64(n+1))
				if m, err := wire.Parse(deliver(n, data)); err == nil && m.Header.SPIr == 0 {
					deliver(n, withCookie(t, data, m.Payloads[0].(*wire.Notify).Data))
				}
			}
			held := (inUse() - base) / count
			if s.halfOpen.all != count {
				t.Fatalf("%d half-open", s.halfOpen.all)
			}
			t.Logf("%d bytes each", held)
			if held > c.most {
				t.Errorf("%d bytes each, more than %d", held, c.most)
			}
			runtime.KeepAlive(s)
		})
	}
}

// counter counts the bytes that are drawn: a key exchange and an SPI need some.
type counter struct {
	io.Reader
	bytes int
}

func (c *counter) Read(b []byte) (int, error) {
	c.bytes += len(b)
	return c.Reader.Read(b)
}

// TestNothingBeforeProof: under load there is no key exchange, no SPI and no memory for who did not prove where it is.
func TestNothingBeforeProof(t *testing.T) {
	drawn := &counter{}
	s := newScript(t, func(c *Config) { drawn.Reader, c.Rand = c.Rand, drawn })
	s.load()
	for name, stranger := range strangers(s) {
		before := stateOf(s)
		drawn.bytes = 0
		for n := range 100 {
			s.path.Remote = address(10000 + n)
			s.deliver(stranger(1<<20 + n))
		}
		if drawn.bytes > sha256.Size || stateOf(s) != before {
			t.Errorf("%s: %d bytes are drawn, or something is kept", name, drawn.bytes)
		}
		s.sends = nil
	}
}

// TestFloodMemory: first messages of all kinds, from ever other addresses, leave nothing behind.
//
// Cases: BUG-01; BUG-12.
func TestFloodMemory(t *testing.T) {
	total := 100_000
	if testing.Short() {
		total /= 10
	}
	s := newScript(t, nil)
	var kinds []func(int) []byte
	for _, stranger := range strangers(s) {
		kinds = append(kinds, stranger)
	}
	flood := func(from, to int) {
		for n := from; n < to; n++ {
			path := s.path
			path.Remote = address(n)
			data := kinds[n%len(kinds)](n)
			for _, e := range s.Handle(s.now, Datagram{Path: path, Data: data}) {
				x, ok := e.(Send)
				if !ok {
					continue
				}
				// One in eight is a real address.
				if m, err := wire.Parse(x.Data); err == nil && n%8 == 0 && m.Header.Exchange == wire.IKE_SA_INIT {
					if c, err := collect(m.Payloads); err == nil && c.notify(wire.COOKIE) != nil {
						cookie := slices.Clone(c.notify(wire.COOKIE).Data)
						if m, err := wire.Parse(data); err == nil {
							again := wire.AppendMessage(nil, m.Header, append([]wire.Payload{&wire.Notify{Kind: wire.COOKIE, Data: cookie}}, m.Payloads...))
							s.Handle(s.now, Datagram{Path: path, Data: again})
						}
					}
				}
			}
			s.now = s.now.Add(time.Millisecond)
			if at, ok := s.Deadline(); ok && !at.After(s.now) {
				s.Handle(s.now, Tick{})
			}
		}
	}
	// Tables that do not shrink take their size in the first part.
	flood(0, total/10)
	s.pass(halfOpenTime)
	base := inUse()
	flood(total/10, total)
	if s.halfOpen.all == 0 {
		t.Error("nothing was half-open")
	}
	s.pass(halfOpenTime)
	if n := s.order.len() + len(s.sas) + len(s.initial) + len(s.halfOpen.of) + s.halfOpen.all + len(s.agenda.entries) + len(s.touched); n > 0 {
		t.Errorf("%d things are left", n)
	}
	if left := inUse() - base; left > 64<<10 {
		t.Errorf("%d bytes are left of %d messages", left, total)
	}
	runtime.KeepAlive(kinds)
}
