package ike

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/suite"
	"github.com/culvert-vpn/culvert/ts"
)

// What public conformance suites do to an initiator, where no other test does it. The peer is played by hand.

// sealRaw seals payloads after change had the octets of the header and of the payloads in its hands.
func (s *script) sealRaw(h wire.Header, change func(header, chain []byte), payloads ...wire.Payload) []byte {
	clearText := wire.AppendMessage(nil, h, payloads)
	change(clearText[:wire.HeaderLen], clearText[wire.HeaderLen:])
	first, chain := clearText[16], append(clearText[wire.HeaderLen:], 0)
	c := s.keys.out
	msg := append(slices.Clone(clearText[:wire.HeaderLen]), first, 0)
	msg = binary.BigEndian.AppendUint16(msg, uint16(4+c.IVLen()+len(chain)+c.TagLen()))
	msg[16] = byte(wire.TypeSK)
	msg = append(msg, make([]byte, c.IVLen())...)
	msg = append(append(msg, chain...), make([]byte, c.TagLen())...)
	binary.BigEndian.PutUint32(msg[24:], uint32(len(msg)))
	s.keys.iv++
	c.Seal(msg, wire.HeaderLen+4, s.keys.iv, false)
	return msg
}

// TestRequestsOfInitiator reads the headers of what the endpoint sends, octet by octet, and what is inside (RFC 7296 1.2, 1.3, 3.1).
//
// Cases: SGW.I.1.1.1.1 A-D; SGW.I.1.1.1.2 A-H; SGW.I.1.1.6.3-.6.6; SGW.I.1.2.1.1; SGW.I.1.2.3.1; SGW.I.1.2.3.4; SGW.I.1.2.4.4;
// FCS_IPSEC_EXT.1.10.
func TestRequestsOfInitiator(t *testing.T) {
	s := newScript(t, func(c *Config) {
		c.Connections[0].Proposals = append(testProposal(suite.IKE, testIKE), testProposal(suite.IKE, "aes256-aes128-sha256-sha384-x25519-ecp256")...)
		c.Connections[0].Children[0].Proposals = append(testProposal(suite.ESP, testESP), testProposal(suite.ESP, "aes256-aes128-sha256-sha384-x25519")...)
	})
	header := func(why string, first wire.PayloadType, x wire.Exchange, flags byte, id uint32) {
		t.Helper()
		b := s.sends[0].Data
		if b[16] != byte(first) || b[17] != 0x20 || b[18] != byte(x) || b[19] != flags || binary.BigEndian.Uint32(b[20:]) != id ||
			int(binary.BigEndian.Uint32(b[24:])) != len(b) || binary.BigEndian.Uint64(b) == 0 {
			t.Errorf("%s: header % x of %d octets", why, b[:28], len(b))
		}
	}
	s.give(Initiate{Conn: "c"})
	header("IKE_SA_INIT", wire.TypeSA, wire.IKE_SA_INIT, 0x08, 0)
	if spi := s.sends[0].Data[8:16]; !bytes.Equal(spi, make([]byte, 8)) {
		t.Errorf("the responder's SPI is % x in the first message", spi)
	}
	first, err := wire.Parse(slices.Clone(s.sends[0].Data))
	if err != nil {
		t.Fatal(err)
	}
	init, err := collect(first.Payloads)
	if err != nil || len(init.sa.Proposals) != 2 || init.sa.Proposals[0].Number != 1 || init.sa.Proposals[1].Number != 2 ||
		len(init.sa.Proposals[1].All(suite.TypeENCR)) != 2 || len(init.sa.Proposals[1].All(suite.TypeKE)) != 2 || len(init.sa.Proposals[0].SPI) != 0 {
		t.Errorf("%v: offers %v", err, init.sa)
	}
	if n := len(init.nonce.Data); n < 16 || n > 256 || len(init.ke.Data) != 32 {
		t.Errorf("a nonce of %d octets, a public value of %d", n, len(init.ke.Data))
	}
	s.takeCall()
	header("IKE_AUTH", wire.TypeSK, wire.IKE_AUTH, 0x08, 1)
	_, auth := s.want("authenticates", wire.IKE_AUTH, false)
	if auth.idi == nil || auth.auth == nil || auth.auth.Method != wire.AuthSharedKey || len(auth.sa.Proposals) != 2 || len(auth.sa.Proposals[1].All(suite.TypeENCR)) != 2 ||
		auth.tsi == nil || auth.tsr == nil || auth.ke != nil || auth.nonce != nil || len(auth.sa.Proposals[0].SPI) != 4 {
		t.Errorf("IKE_AUTH holds %+v", auth)
	}
	s.childOut = auth.sa.Proposals[0].SPI
	s.answer(wire.IKE_AUTH, 1, append(s.auth(s.id, s.secret), s.childPayloads(1)...)...)

	s.give(Rekey{Conn: "c", Child: "net"})
	header("CREATE_CHILD_SA", wire.TypeSK, wire.CREATE_CHILD_SA, 0x08, 2)
	_, rekey := s.want("rekeys", wire.CREATE_CHILD_SA, false)
	n := rekey.notify(wire.REKEY_SA)
	if n == nil || n.Protocol != suite.ESP || !bytes.Equal(n.SPI, s.childOut) || rekey.nonce == nil || rekey.tsi == nil || len(rekey.sa.Proposals) != 2 {
		t.Fatalf("CREATE_CHILD_SA holds %+v", rekey)
	}
	s.answer(wire.CREATE_CHILD_SA, 2, s.grant(make([]byte, 32))...)
	header("INFORMATIONAL", wire.TypeSK, wire.INFORMATIONAL, 0x08, 3)
	_, del := s.want("deletes the old child", wire.INFORMATIONAL, false)
	if len(del.deletes) != 1 || del.deletes[0].Protocol != suite.ESP || !bytes.Equal(del.deletes[0].SPIs[0], s.childOut) {
		t.Errorf("deletes %v", del.deletes)
	}
	s.answer(wire.INFORMATIONAL, 3, &wire.Delete{Protocol: suite.ESP, SPIs: [][]byte{{0, 0, 9, 9}}})
	s.give(Rekey{Conn: "c"})
	header("CREATE_CHILD_SA", wire.TypeSK, wire.CREATE_CHILD_SA, 0x08, 4)
	if _, ike := s.want("rekeys the IKE SA", wire.CREATE_CHILD_SA, false); len(ike.sa.Proposals) != 2 || len(ike.sa.Proposals[1].SPI) != 8 || ike.tsi != nil || ike.ke == nil {
		t.Errorf("CREATE_CHILD_SA for the IKE SA holds %+v", ike)
	}
}

// TestUnknownPayloadsInAnswer: an answer with a payload that we do not know is good if that is not critical, and refused with it if it
// is (RFC 7296 2.5).
//
// Cases: SGW.I.1.1.4.1 A-D; SGW.I.1.1.4.2 A-D; ikev2-unknown-payload-01..03.
func TestUnknownPayloadsInAnswer(t *testing.T) {
	for _, kind := range []wire.PayloadType{1, 32, 49, 255} {
		for _, critical := range []bool{false, true} {
			s := calling(t, nil)
			s.give(Rekey{Conn: "c", Child: "net"})
			h, _ := s.want("rekeys", wire.CREATE_CHILD_SA, false)
			strange := &wire.Unknown{Kind: kind, Critical: critical, Body: []byte{1, 2, 3, 4}}
			installed := s.installs()
			s.answer(wire.CREATE_CHILD_SA, h.MessageID, append([]wire.Payload{strange}, s.grant(make([]byte, 32))...)...)
			if got := s.installs() > installed; got == critical {
				t.Errorf("payload %d, critical %v: the answer is taken: %v; %v", kind, critical, got, s.texts())
			}
		}
	}
}

// TestChosenForTheChild: what the peer chose for the first child was never offered. The child is not used, the IKE SA is (RFC 7296
// 3.3.6, 2.21.2).
//
// Cases: BUG-09; SGW.I.1.1.6.10.
func TestChosenForTheChild(t *testing.T) {
	for name, p := range map[string]suite.Proposal{
		"another algorithm":   one(testProposal(suite.ESP, "aes256-sha512")[0], 0),
		"another key length":  one(testProposal(suite.ESP, "aes256gcm16")[0], 0),
		"a key exchange":      one(testProposal(suite.ESP, testESP)[0], 0),
		"two of one type":     testProposal(suite.ESP, "aes128gcm16-aes256gcm16")[0],
		"extended numbers":    {Protocol: suite.ESP, Transforms: []suite.Transform{{Type: suite.TypeENCR, ID: suite.ENCR_AES_GCM_16, KeyBits: 128}, {Type: suite.TypeESN, ID: suite.ESN}}},
		"nothing but numbers": {Protocol: suite.ESP, Transforms: []suite.Transform{{Type: suite.TypeESN}}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScript(t, nil)
			s.give(Initiate{Conn: "c"})
			s.takeCall()
			s.want("authenticates", wire.IKE_AUTH, false)
			l := s.childPayloads(1)
			l[0] = numbered([]suite.Proposal{p}, s.childIn, 1)
			s.answer(wire.IKE_AUTH, 1, append(s.auth(s.id, s.secret), l...)...)
			s.wantEvent("the IKE SA is up", Established)
			s.wantEvent("the child is not", ChildFailed, "not offered")
			if s.installs() != 0 {
				t.Error("something is installed")
			}
			h, c := s.want("disowns the child", wire.INFORMATIONAL, false)
			if len(c.deletes) != 1 {
				t.Errorf("holds %+v", c)
			}
			s.answer(wire.INFORMATIONAL, h.MessageID)
			s.request(wire.INFORMATIONAL)
			s.want("is alive", wire.INFORMATIONAL, true)
		})
	}
}

// TestAnswersToSomebodyElse: an answer under other SPIs is none to us, and the true one is taken after it (RFC 7296 2.6).
//
// Cases: SGW.I.1.1.8.1; set_ike_version.
func TestAnswersToSomebodyElse(t *testing.T) {
	for _, side := range []int{7, 15} {
		s := newScript(t, nil)
		s.give(Initiate{Conn: "c"})
		s.takeCall()
		s.want("authenticates", wire.IKE_AUTH, false)
		answer := s.seal(wire.IKE_AUTH, 1, true, append(s.auth(s.id, s.secret), s.childPayloads(1)...)...)
		wrong := slices.Clone(answer)
		wrong[side]++
		s.deliver(wrong)
		if s.installs() != 0 {
			t.Fatal("the answer to somebody else is taken")
		}
		s.deliver(answer)
		if s.installs() != 2 {
			t.Errorf("the true answer is not taken: %v", s.texts())
		}
	}
}

// TestReservedBits: reserved bits, the version flag and a minor version of a peer are ignored, in whatever message (RFC 7296 2.5, 3.1,
// 3.2).
//
// Cases: SGW.I.1.1.11.1; SGW.I.1.1.11.3; SGW.I.1.2.7.1; set_ike_version; corrupt_encrypted.
func TestReservedBits(t *testing.T) {
	// Bits 0 to 2, 4 (version) and 6 to 7 of the flags, and all bits but the critical one of each payload header.
	mark := func(header, chain []byte) {
		header[17] |= 0x0f
		header[19] |= 0b1101_0111
		for at := 0; at < len(chain); at += int(binary.BigEndian.Uint16(chain[at+2:])) {
			chain[at+1] |= 0x7f
		}
	}
	s := newScript(t, nil)
	s.give(Initiate{Conn: "c"})
	h, _ := s.want("calls", wire.IKE_SA_INIT, false)
	s.theirFirst = s.all[len(s.all)-1].(Send).Data
	m, err := wire.Parse(slices.Clone(s.theirFirst))
	if err != nil {
		t.Fatal(err)
	}
	c, err := collect(m.Payloads)
	if err != nil {
		t.Fatal(err)
	}
	s.initiator, s.spiI, s.spiR, s.nonceI = false, h.SPIi, 0xbbbb, slices.Clone(c.nonce.Data)
	payloads := s.initPayloads([]suite.Proposal{one(testProposal(suite.IKE, testIKE)[0], 0)}, suite.CURVE25519, 1)
	at := s.path
	s.derive(slices.Clone(c.ke.Data))
	s.path = at
	s.first = wire.AppendMessage(nil, s.header(wire.IKE_SA_INIT, 0, true), payloads)
	mark(s.first[:wire.HeaderLen], s.first[wire.HeaderLen:])
	s.deliver(s.first)
	s.path = s.path.Float()

	_, auth := s.want("takes the answer to IKE_SA_INIT", wire.IKE_AUTH, false)
	s.childOut = auth.sa.Proposals[0].SPI
	s.deliver(s.sealRaw(s.header(wire.IKE_AUTH, 1, true), mark, append(s.auth(s.id, s.secret), s.childPayloads(1)...)...))
	if s.installs() != 2 {
		t.Fatalf("the answer to IKE_AUTH is not taken: %v", s.texts())
	}
	s.give(Rekey{Conn: "c", Child: "net"})
	s.want("rekeys", wire.CREATE_CHILD_SA, false)
	s.deliver(s.sealRaw(s.header(wire.CREATE_CHILD_SA, 2, true), mark, s.grant(make([]byte, 32))...))
	s.want("takes the answer, and deletes the old child", wire.INFORMATIONAL, false)
	s.deliver(s.sealRaw(s.header(wire.INFORMATIONAL, 3, true), mark, &wire.Delete{Protocol: suite.ESP, SPIs: [][]byte{{0, 0, 9, 9}}}))
	s.pass(time.Minute)
	s.wantIdle("repeats nothing")
	s.deliver(s.sealRaw(s.header(wire.INFORMATIONAL, 0, false), mark))
	s.want("answers a request", wire.INFORMATIONAL, true)
}

// TestNotifiesInAuth: an error that we do not know, in the answer to IKE_AUTH, is one; a status is not (RFC 7296 3.10.1).
//
// Cases: SGW.I.1.1.11.4; SGW.I.1.1.11.5; ikev2-mobike-07-unsolicited-response; add_notify.
func TestNotifiesInAuth(t *testing.T) {
	for kind, good := range map[wire.NotifyType]bool{8000: false, 16383: false, 32768: true, 40960: true, 65535: true} {
		s := newScript(t, nil)
		s.give(Initiate{Conn: "c"})
		s.takeCall()
		s.want("authenticates", wire.IKE_AUTH, false)
		list := append(s.auth(s.id, s.secret), &wire.Notify{Kind: kind, Data: []byte("whatever")})
		s.answer(wire.IKE_AUTH, 1, append(list, s.childPayloads(1)...)...)
		if got := s.installs() == 2; got != good {
			t.Errorf("notify %d: %d halves are installed; %v", kind, s.installs(), s.texts())
		}
	}
}

// TestLifetimesEnd: the peer refuses to rekey, and one after the other the child and the IKE SA reach their ends. Each is deleted by
// name, and nobody gets an answer under its keys afterwards (RFC 7296 1.4.1, 2.8).
//
// Cases: SGW.I.1.1.3.6; SGW.I.1.1.3.7; SGW.I.1.1.6.8; SGW.I.1.2.3.6; SGW.I.1.2.4.3; FCS_IPSEC_EXT.1.7.
func TestLifetimesEnd(t *testing.T) {
	s := calling(t, func(c *Config) {
		conn := c.Connections[0]
		conn.RekeyTime, conn.OverTime = time.Hour, 10*time.Minute
		conn.Children[0].Rekey.Time, conn.Children[0].Life.Time = 20*time.Minute, 25*time.Minute
		conn.Children[0].StartAction = None
	})
	sa, refused := s.sa(), 0
	var deleted []*wire.Delete
	for end := s.now.Add(2 * time.Hour); s.now.Before(end) && !sa.isGone(); s.pass(10 * time.Second) {
		for len(s.sends) > 0 {
			m, err := wire.ParseHeader(s.sends[0].Data)
			if err != nil {
				t.Fatal(err)
			}
			h, c := s.want("asks", m.Exchange, false)
			switch {
			case h.Exchange == wire.CREATE_CHILD_SA:
				refused++
				s.answer(h.Exchange, h.MessageID, notifyOf(wire.NO_PROPOSAL_CHOSEN)...)
			case len(c.deletes) == 0:
				t.Fatal("an empty request without cause")
			default:
				deleted = append(deleted, c.deletes...)
				if s.installs() != 0 && c.deletesIKE() {
					t.Error("a child outlives the IKE SA")
				}
				s.answer(h.Exchange, h.MessageID)
			}
		}
	}
	if refused < 2 || len(deleted) != 2 {
		t.Fatalf("%d requests, deletes %v; %v", refused, deleted, s.texts())
	}
	if d := deleted[0]; d.Protocol != suite.ESP || len(d.SPIs) != 1 || !bytes.Equal(d.SPIs[0], s.childOut) {
		t.Errorf("the child is deleted by %+v", d)
	}
	if d := deleted[1]; d.Protocol != suite.IKE || len(d.SPIs) != 0 {
		t.Errorf("the IKE SA is deleted by %+v", d)
	}
	s.request(wire.INFORMATIONAL)
	for _, x := range s.sends {
		if m, err := wire.Parse(slices.Clone(x.Data)); err != nil || m.Encrypted != nil {
			t.Errorf("an IKE SA that ended answers %v", m)
		}
	}
}

// TestRekeyingUnanswered: a request for a successor is repeated octet by octet, a finite number of times, and then the peer is dead:
// what is left of it carries nothing (RFC 7296 2.1, 2.4).
//
// Cases: SGW.I.1.1.2.2; SGW.I.1.2.2.1; SGW.I.1.2.3.3.
func TestRekeyingUnanswered(t *testing.T) {
	s := calling(t, func(c *Config) { c.Connections[0].Children[0].StartAction = None })
	s.give(Rekey{Conn: "c", Child: "net"})
	s.pass(5 * time.Minute)
	for _, x := range s.sends {
		if !bytes.Equal(x.Data, s.sends[0].Data) {
			t.Fatal("something else is sent")
		}
	}
	if len(s.sends) != 4 || s.installs() != 0 {
		t.Errorf("sent %d times, %d halves are left; %v", len(s.sends), s.installs(), s.texts())
	}
	s = calling(t, nil)
	s.give(Rekey{Conn: "c", Child: "net"})
	s.pass(2 * time.Second)
	h, _ := s.want("rekeys", wire.CREATE_CHILD_SA, false)
	s.sends = nil
	s.answer(wire.CREATE_CHILD_SA, h.MessageID, s.grant(make([]byte, 32))...)
	s.want("deletes the old child", wire.INFORMATIONAL, false)
	s.answer(wire.INFORMATIONAL, h.MessageID+1)
	s.pass(time.Minute)
	s.wantIdle("repeats nothing that was answered")
}

// TestGroupOfTheSuccessor: the peer wants another group for a rekeyed child; it gets the same proposals with it, under a new number
// (RFC 7296 1.3).
//
// Cases: SGW.I.1.1.6.7; child_rekey regular.
func TestGroupOfTheSuccessor(t *testing.T) {
	s := calling(t, nil)
	s.give(Rekey{Conn: "c", Child: "net"})
	h, first := s.want("rekeys", wire.CREATE_CHILD_SA, false)
	s.answer(wire.CREATE_CHILD_SA, h.MessageID, &wire.Notify{Kind: wire.INVALID_KE_PAYLOAD, Data: []byte{0, suite.ECP256}})
	next, second := s.want("tries the group", wire.CREATE_CHILD_SA, false)
	if next.MessageID != h.MessageID+1 || second.ke.Group != suite.ECP256 || second.sa.Proposals[0].String() != first.sa.Proposals[0].String() {
		t.Errorf("message %d offers %v with group %d", next.MessageID, second.sa.Proposals, second.ke.Group)
	}
	if len(s.held) != 2 {
		t.Errorf("%d SPIs are held", len(s.held))
	}
}

// TestSelectorsOfSuccessor: a peer that rekeys may not get more than the policy, whatever it asks for, and what is elsewhere it does
// not get (RFC 7296 2.8, 2.9).
//
// Cases: ikev2-child-rekey-10-impair-rekey-*-subnet/supernet.
func TestSelectorsOfSuccessor(t *testing.T) {
	for _, c := range []struct{ asks, gets string }{
		{"10.2.0.0/16", "10.2.0.0/16"}, {"10.2.7.0/24", "10.2.7.0/24"}, {"10.0.0.0/8", "10.2.0.0/16"}, {"10.9.0.0/16", ""},
	} {
		s := called(t, nil)
		old := &wire.Notify{Protocol: suite.ESP, SPI: s.childIn, Kind: wire.REKEY_SA}
		l := s.newChild(suite.CURVE25519)
		l[3] = &wire.TS{Selectors: ts.Resolve(testSpec(c.asks))}
		s.request(wire.CREATE_CHILD_SA, append([]wire.Payload{old}, l...)...)
		_, got := s.want("answers", wire.CREATE_CHILD_SA, true)
		switch {
		case c.gets == "":
			if got.notify(wire.TS_UNACCEPTABLE) == nil || s.installs() != 2 {
				t.Errorf("asked for %s: %v", c.asks, got.notifies)
			}
		case got.tsi == nil || !slices.Equal(got.tsi.Selectors, ts.Resolve(testSpec(c.gets))):
			t.Errorf("asked for %s: %+v", c.asks, got.tsi)
		}
	}
}
