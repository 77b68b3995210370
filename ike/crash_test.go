package ike

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/natt"
	"github.com/culvert-vpn/culvert/suite"
)

// withTokens lets both ends make and take tokens.
func withTokens(c *Config) {
	c.TokenSecret = bytes.Repeat([]byte{7}, 32)
	c.Connections[0].CrashDetection = true
}

func tokenOf(data []byte) *wire.Notify {
	return &wire.Notify{Protocol: suite.IKE, Kind: wire.QUICK_CRASH_DETECTION, Data: data}
}

// theirToken is what the peer of a script gives.
var theirToken = []byte("the token of the peer")

// takenWithToken establishes an IKE SA whose peer, the initiator, gave a token, and returns that of the endpoint.
func takenWithToken(t *testing.T, change func(*Config)) (*script, []byte) {
	t.Helper()
	s := newScript(t, func(c *Config) {
		withTokens(c)
		if change != nil {
			change(c)
		}
	})
	s.call()
	s.request(wire.IKE_AUTH, append(append(s.auth(s.id, s.secret), tokenOf(theirToken)), s.childPayloads(1)...)...)
	_, c := s.want("answers IKE_AUTH", wire.IKE_AUTH, true)
	n := c.notify(wire.QUICK_CRASH_DETECTION)
	if n == nil || len(n.Data) < 16 || len(n.Data) > 128 {
		t.Fatalf("gives the token %v", n)
	}
	return s, n.Data
}

// TestTokenGiven: in IKE_AUTH both roles give a token of 16 to 128 octets, another one for each IKE SA, under protocol 1 (RFC 6290 4.1,
// 4.2, 5); none without a secret, or if the connection does not want it.
func TestTokenGiven(t *testing.T) {
	_, first := takenWithToken(t, nil)
	s := newScript(t, withTokens)
	s.give(Initiate{Conn: "c"})
	s.takeCall()
	_, c := s.want("authenticates", wire.IKE_AUTH, false)
	second := c.notify(wire.QUICK_CRASH_DETECTION)
	if second == nil || bytes.Equal(first, second.Data) {
		t.Errorf("gives %v after %x", second, first)
	}
	if raw := wire.AppendMessage(nil, wire.Header{}, s.sa().tokenNotify()); raw[wire.HeaderLen+4] != 1 || raw[wire.HeaderLen+5] != 0 {
		t.Errorf("protocol %d, SPI of %d bytes", raw[wire.HeaderLen+4], raw[wire.HeaderLen+5])
	}
	for name, change := range map[string]func(*Config){
		"no secret":  func(c *Config) { withTokens(c); c.TokenSecret = nil },
		"not wanted": func(c *Config) { withTokens(c); c.Connections[0].CrashDetection = false },
	} {
		s := newScript(t, change)
		s.call()
		s.request(wire.IKE_AUTH, append(append(s.auth(s.id, s.secret), tokenOf(theirToken)), s.childPayloads(1)...)...)
		if _, c := s.want("answers", wire.IKE_AUTH, true); c.notify(wire.QUICK_CRASH_DETECTION) != nil {
			t.Errorf("%s: gives a token", name)
		}
	}
}

// restarted is an endpoint after a restart, with what its peer had before.
func restarted(t *testing.T) (s *script, token []byte) {
	was, token := takenWithToken(t, nil)
	s = newScript(t, withTokens)
	s.initiator, s.spiI, s.spiR, s.keys, s.path = was.initiator, was.spiI, was.spiR, was.keys, was.path
	return s, token
}

// TestTokenShown: a request in an IKE SA that is lost is answered in the clear with INVALID_IKE_SPI and the token that was given with it, under its
// numbers (RFC 6290 4.5, RFC 7296 1.5). The answer is never longer than the request, and not too often.
func TestTokenShown(t *testing.T) {
	s, token := restarted(t)
	for _, x := range []wire.Exchange{wire.INFORMATIONAL, wire.CREATE_CHILD_SA} {
		request := s.seal(x, 77, false, &wire.Vendor{Data: []byte(vendorID)})
		s.deliver(request)
		if len(s.sends) != 1 || len(s.sends[0].Data) > len(request) {
			t.Fatalf("%d answers", len(s.sends))
		}
		h, c := s.want("shows it", x, true)
		if h.MessageID != 77 || h.SPIi != s.spiI || h.SPIr != s.spiR || h.Initiator == s.initiator {
			t.Errorf("header %+v", h)
		}
		n := c.notify(wire.QUICK_CRASH_DETECTION)
		if n == nil || !bytes.Equal(n.Data, token) || c.notify(wire.INVALID_IKE_SPI) == nil {
			t.Errorf("shows %v, want %x", c.notifies, token)
		}
	}
	short := s.seal(wire.INFORMATIONAL, 78, false)
	s.deliver(short)
	if len(s.sends[0].Data) > len(short) {
		t.Errorf("answers %d bytes with %d", len(short), len(s.sends[0].Data))
	}
	s.wantNotify("says at least so", wire.INFORMATIONAL, wire.INVALID_IKE_SPI)
	for range 20 {
		s.deliver(s.seal(wire.INFORMATIONAL, 79, false, &wire.Vendor{Data: []byte(vendorID)}))
	}
	if n := len(s.sends); n > complaintBurstPerSource {
		t.Errorf("%d answers at once", n)
	}
}

// TestTokenOfLiving: the token of an IKE SA that exists is never shown in the clear, whatever the message looks like (RFC 6290 9.2).
func TestTokenOfLiving(t *testing.T) {
	s, token := takenWithToken(t, nil)
	for _, x := range []wire.Exchange{wire.IKE_AUTH, wire.CREATE_CHILD_SA, wire.INFORMATIONAL} {
		for n := range 16 {
			h := s.header(x, uint32(n), n&1 != 0)
			h.Initiator = n&2 != 0
			if n&4 != 0 {
				h.SPIi, h.SPIr = h.SPIr, h.SPIi
			}
			if n&8 != 0 {
				h.SPIi++
			}
			s.keys.iv++
			s.deliver(wire.AppendSealed(nil, h, []wire.Payload{&wire.Vendor{Data: make([]byte, 100)}}, s.keys.in, s.keys.iv))
			for _, send := range s.sends {
				if bytes.Contains(send.Data, token) {
					t.Errorf("%v %d shows the token", x, n)
				}
			}
			s.sends = nil
			s.now = s.now.Add(time.Minute)
		}
	}
}

// TestTokenTaken: who shows the token has lost the IKE SA: it goes at once and without a word, from wherever that came, and what is to be
// up is called again (RFC 6290 3, 4.5). Four tokens of a message are looked at. Anything else changes nothing and is not answered.
func TestTokenTaken(t *testing.T) {
	wrong := tokenOf(make([]byte, len(theirToken)))
	for name, c := range map[string]struct {
		show []wire.Payload
		lost bool
	}{
		"alone":               {[]wire.Payload{tokenOf(theirToken)}, true},
		"as the RFC shows":    {[]wire.Payload{&wire.Notify{Kind: wire.INVALID_IKE_SPI}, tokenOf(theirToken)}, true},
		"after three others":  {[]wire.Payload{wrong, wrong, wrong, tokenOf(theirToken)}, true},
		"after four others":   {[]wire.Payload{wrong, wrong, wrong, wrong, tokenOf(theirToken)}, false},
		"another":             {[]wire.Payload{&wire.Notify{Kind: wire.INVALID_IKE_SPI}, wrong}, false},
		"the beginning of it": {[]wire.Payload{&wire.Notify{Kind: wire.INVALID_IKE_SPI}, tokenOf(theirToken[:16])}, false},
		"nothing":             {[]wire.Payload{tokenOf(nil)}, false},
	} {
		for _, x := range []wire.Exchange{wire.INFORMATIONAL, wire.CREATE_CHILD_SA} {
			s, _ := takenWithToken(t, func(c *Config) { c.Connections[0].Children[0].DPDAction = Start })
			s.path.Remote = netip.MustParseAddrPort("198.51.100.99:4500")
			s.send(s.header(x, 5, true), c.show...)
			if !c.lost {
				if s.wantIdle(name); s.order.len() != 1 || s.installs() != 2 {
					t.Errorf("%s: the IKE SA is gone", name)
				}
				s.wantEvent(name, Dropped, "QCD_TOKEN that is not the peer's")
				continue
			}
			s.wantIdle("without a word")
			s.wantEvent(name, Failed, "restarted")
			if s.order.len() != 0 || s.installs() != 0 {
				t.Errorf("%s: something is left", name)
			}
			s.pass(backoffMin)
			s.want("calls again", wire.IKE_SA_INIT, false)
		}
	}
}

// TestTokenWithInvalidSPI: a token may come with word of a lost Child SA (RFC 6290 4.5, 8.2).
func TestTokenWithInvalidSPI(t *testing.T) {
	s, _ := takenWithToken(t, nil)
	h := wire.Header{Exchange: wire.INFORMATIONAL, Initiator: true}
	s.send(h, &wire.Notify{Kind: wire.INVALID_SPI, Data: s.childIn}, tokenOf(theirToken))
	if s.order.len() != 0 {
		t.Errorf("the IKE SA is left: %v", s.texts())
	}
}

// TestTokenWhileClosing: the Delete of an IKE SA that the peer has lost is not repeated.
func TestTokenWhileClosing(t *testing.T) {
	s, _ := takenWithToken(t, nil)
	s.give(Terminate{Conn: "c"})
	s.want("deletes", wire.INFORMATIONAL, false)
	s.send(s.header(wire.INFORMATIONAL, 0, true), &wire.Notify{Kind: wire.INVALID_IKE_SPI}, tokenOf(theirToken))
	if s.order.len() != 0 {
		t.Errorf("the IKE SA is left: %v", s.texts())
	}
}

// TestTokenOfSuccessor: after a rekeying the responder gives its token in the answer, the initiator in an exchange that follows at once; the token of
// the predecessor is worth nothing for it (RFC 6290 4.3).
func TestTokenOfSuccessor(t *testing.T) {
	s, first := takenWithToken(t, nil)
	e := &encounter{script: s}
	s.request(wire.CREATE_CHILD_SA, e.successor()...)
	_, c := s.want("grants a successor", wire.CREATE_CHILD_SA, true)
	n := c.notify(wire.QUICK_CRASH_DETECTION)
	if n == nil || bytes.Equal(n.Data, first) {
		t.Errorf("gives %v", n)
	}
	if next := s.order.at(1); next.token != nil {
		t.Error("a token is inherited")
	}

	s, first = takenWithToken(t, nil)
	s.give(Rekey{Conn: "c"})
	s.grantSuccessor()
	next := s.order.at(1)
	s.sends = slices.DeleteFunc(s.sends, func(x Send) bool { h, _ := wire.ParseHeader(x.Data); return h.SPIi != next.spiI })
	_, c = s.want("introduces itself", wire.INFORMATIONAL, false)
	if n := c.notify(wire.QUICK_CRASH_DETECTION); n == nil || bytes.Equal(n.Data, first) {
		t.Errorf("gives %v", n)
	}
	s.answer(wire.INFORMATIONAL, 0)
	// A new token may come at any time, and the last one counts (RFC 6290 4.4); one that is too short or too long is none.
	for _, token := range [][]byte{theirToken, []byte("the next token of the peer"), make([]byte, 15), make([]byte, 129)} {
		s.request(wire.INFORMATIONAL, tokenOf(token))
		s.want("takes it", wire.INFORMATIONAL, true)
	}
	if string(next.token) != "the next token of the peer" {
		t.Errorf("keeps %q", next.token)
	}
	kept := next.token
	s.request(wire.INFORMATIONAL, &wire.Delete{Protocol: suite.IKE})
	if next.token != nil || !bytes.Equal(kept, make([]byte, len(kept))) {
		t.Error("the token outlives its IKE SA (RFC 6290 5.3)")
	}
}

// TestProbeHasRoomForToken: a sign of life that is asked for can be answered with a token that is not longer than the question.
func TestProbeHasRoomForToken(t *testing.T) {
	s, _ := takenWithToken(t, func(c *Config) { c.Connections[0].DPDDelay = 10 * time.Second })
	s.pass(10 * time.Second)
	if len(s.sends) == 0 {
		t.Fatal("asks nothing")
	}
	both := []wire.Payload{&wire.Notify{Kind: wire.INVALID_IKE_SPI}, tokenOf(make([]byte, tokenLen))}
	if got, want := len(s.sends[0].Data), noticeLen(both); got < want {
		t.Errorf("asks with %d bytes, the answer has %d", got, want)
	}
}

// TestStray: ESP under an unknown SPI is answered with INVALID_SPI in the clear, not longer than the packet and not too often; not if there
// is an IKE SA with somebody there, since then it may be late (RFC 7296 1.5).
func TestStray(t *testing.T) {
	path := natt.Path{Local: netip.MustParseAddrPort("192.0.2.1:4500"), Remote: netip.MustParseAddrPort("192.0.2.2:4500"), NATT: true}
	s := newScript(t, nil)
	s.give(Stray{SPI: 0x01020304, Path: path, Len: 39})
	s.wantIdle("the packet is too short")
	s.give(Stray{SPI: 0x01020304, Path: path, Len: 100})
	if len(s.sends) != 1 || s.sends[0].Path != path || len(s.sends[0].Data) > 40 {
		t.Fatalf("sends %+v", s.sends)
	}
	h, c := s.want("tells", wire.INFORMATIONAL, false)
	if n := c.notify(wire.INVALID_SPI); h.SPIi != 0 || h.SPIr != 0 || !h.Initiator || n == nil || !bytes.Equal(n.Data, []byte{1, 2, 3, 4}) {
		t.Errorf("%+v %v", h, c.notifies)
	}
	for range 20 {
		s.give(Stray{SPI: 9999, Path: path, Len: 100})
	}
	if n := len(s.sends); n >= complaintBurstPerSource {
		t.Errorf("%d notices at once", n)
	}
	s = called(t, nil)
	s.give(Stray{SPI: 9999, Path: path, Len: 100})
	s.wantIdle("the packet is late")
	s.request(wire.INFORMATIONAL, &wire.Delete{Protocol: suite.IKE})
	s.sends = nil
	s.give(Stray{SPI: 9999, Path: path, Len: 100})
	s.want("tells when there is none", wire.INFORMATIONAL, false)
}
