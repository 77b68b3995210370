package ike

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/natt"
	"github.com/culvert-vpn/culvert/suite"
	"github.com/culvert-vpn/culvert/ts"
)

// Rules of RFC 7296 that no other test is about; docs/conformance.md names them.

// backwards is the same payloads, the last one first.
func backwards(list []wire.Payload) []wire.Payload {
	list = slices.Clone(list)
	slices.Reverse(list)
	return list
}

// TestAnyPayloadOrder: payloads are taken in any order, in requests and in answers (RFC 7296 2.5).
func TestAnyPayloadOrder(t *testing.T) {
	t.Run("requests", func(t *testing.T) {
		s := newScript(t, nil)
		s.initiator, s.spiI = true, 0xaaaa
		list := s.initPayloads(testProposal(suite.IKE, testIKE), suite.CURVE25519, 1)
		s.first = s.send(s.header(wire.IKE_SA_INIT, 0, false), backwards(list)...)
		s.theirFirst = s.sends[0].Data
		h, c := s.want("answers IKE_SA_INIT", wire.IKE_SA_INIT, true)
		s.spiR, s.nonceR = h.SPIr, slices.Clone(c.nonce.Data)
		s.derive(c.ke.Data)
		s.nextID = 1
		s.request(wire.IKE_AUTH, backwards(append(s.auth(s.id, s.secret), s.childPayloads(1)...))...)
		if _, c = s.want("answers IKE_AUTH", wire.IKE_AUTH, true); c.auth == nil || c.sa == nil || s.installs() != 2 {
			t.Fatalf("not established: %v", s.texts())
		}
		s.request(wire.CREATE_CHILD_SA, backwards(s.newChild(suite.CURVE25519))...)
		if _, c = s.want("grants a child", wire.CREATE_CHILD_SA, true); c.sa == nil {
			t.Errorf("no child: %v", s.texts())
		}
	})
	t.Run("answers", func(t *testing.T) {
		s := newScript(t, nil)
		s.give(Initiate{Conn: "c"})
		s.theirFirst = s.sends[0].Data
		h, c := s.want("calls", wire.IKE_SA_INIT, false)
		s.spiI, s.spiR, s.nonceI = h.SPIi, 0xbbbb, slices.Clone(c.nonce.Data)
		list := s.initPayloads([]suite.Proposal{one(testProposal(suite.IKE, testIKE)[0], 0)}, suite.CURVE25519, 1)
		public, path := slices.Clone(c.ke.Data), s.path
		s.derive(public)
		s.path = path
		s.first = s.send(s.header(wire.IKE_SA_INIT, 0, true), backwards(list)...)
		s.path = s.path.Float()
		s.want("authenticates", wire.IKE_AUTH, false)
		s.answer(wire.IKE_AUTH, 1, backwards(append(s.auth(s.id, s.secret), s.childPayloads(1)...))...)
		if s.installs() != 2 {
			t.Errorf("not established: %v", s.texts())
		}
	})
}

// types are the payloads of the next message of the endpoint, in order; a notify is its own type.
func (s *script) types(x wire.Exchange) []string {
	s.t.Helper()
	if len(s.sends) == 0 {
		s.t.Fatalf("nothing is sent: %v", s.texts())
	}
	data := slices.Clone(s.sends[0].Data)
	m, err := wire.Parse(data)
	if err != nil || m.Header.Exchange != x {
		s.t.Fatalf("%v, %v", m, err)
	}
	list := m.Payloads
	if m.Encrypted != nil {
		if list, err = wire.OpenSealed(data, m, s.keys.in); err != nil {
			s.t.Fatal(err)
		}
	}
	var names []string
	for _, p := range list {
		names = append(names, p.String())
	}
	return names
}

// wantOrder checks that these payloads are in the next message, in this order; there may be others between them.
func (s *script) wantOrder(x wire.Exchange, want ...string) {
	s.t.Helper()
	got := s.types(x)
	rest := got
	for _, name := range want {
		i := slices.Index(rest, name)
		if i < 0 {
			s.t.Errorf("%v: no %s in its place in %v", x, name, got)
			return
		}
		rest = rest[i+1:]
	}
}

// TestPayloadOrder: what is sent stands in the order of the figures (RFC 7296 2.5, 1.2, 1.3), the notifies of NAT detection behind the
// nonce (2.23). IKE_AUTH has no transform of a key exchange (1.2).
func TestPayloadOrder(t *testing.T) {
	s := newScript(t, nil)
	s.give(Initiate{Conn: "c"})
	s.wantOrder(wire.IKE_SA_INIT, "SA", "KE", "No", "N(NAT_DETECTION_SOURCE_IP)", "N(NAT_DETECTION_DESTINATION_IP)", "V")
	if h, _ := wire.ParseHeader(s.sends[0].Data); h.SPIr != 0 || h.SPIi == 0 || h.Response || !h.Initiator {
		t.Errorf("the first message has the header %+v", h)
	}
	s.takeCall()
	s.wantOrder(wire.IKE_AUTH, "IDi", "IDr", "AUTH", "SA", "TSi", "TSr")
	_, c := s.want("authenticates", wire.IKE_AUTH, false)
	for _, p := range c.sa.Proposals {
		if len(p.All(suite.TypeKE)) > 0 {
			t.Errorf("IKE_AUTH offers a key exchange: %v", p)
		}
	}

	s = newScript(t, nil)
	s.initiator, s.spiI = true, 0xaaaa
	s.send(s.header(wire.IKE_SA_INIT, 0, false), s.initPayloads(testProposal(suite.IKE, testIKE), suite.CURVE25519, 1)...)
	s.wantOrder(wire.IKE_SA_INIT, "SA", "KE", "No", "N(NAT_DETECTION_SOURCE_IP)", "N(NAT_DETECTION_DESTINATION_IP)")

	s = newScript(t, nil)
	s.call()
	s.request(wire.IKE_AUTH, append(s.auth(s.id, s.secret), s.childPayloads(1)...)...)
	s.wantOrder(wire.IKE_AUTH, "IDr", "AUTH", "SA", "TSi", "TSr")

	s = called(t, nil)
	s.request(wire.CREATE_CHILD_SA, s.newChild(suite.CURVE25519)...)
	s.wantOrder(wire.CREATE_CHILD_SA, "SA", "No", "KE", "TSi", "TSr")

	s = called(t, nil)
	s.give(Rekey{Conn: "c", Child: "net"})
	s.wantOrder(wire.CREATE_CHILD_SA, "N(REKEY_SA)", "SA", "No", "KE", "TSi", "TSr")

	s = called(t, nil)
	s.give(Rekey{Conn: "c"})
	s.wantOrder(wire.CREATE_CHILD_SA, "SA", "No", "KE")
}

// TestUnknownNotifies: an error that is not known means that the request failed if it is in the answer; all other notifies that are not
// known, or not of use, are ignored (RFC 7296 3.10.1). IPCOMP_SUPPORTED is among them (2.22).
func TestUnknownNotifies(t *testing.T) {
	strange := []wire.Payload{&wire.Notify{Kind: 50000, Data: []byte("x")}, &wire.Notify{Kind: 9000},
		&wire.Notify{Kind: wire.IPCOMP_SUPPORTED, Data: []byte{0, 1, 3}}, &wire.Notify{Kind: wire.INVALID_SELECTORS, Protocol: suite.ESP, SPI: []byte{1, 2, 3, 4}}}
	t.Run("in a request", func(t *testing.T) {
		s := called(t, nil)
		s.request(wire.CREATE_CHILD_SA, append(s.newChild(suite.CURVE25519), strange...)...)
		_, c := s.want("grants a child", wire.CREATE_CHILD_SA, true)
		if c.sa == nil || len(c.notifies) > 0 {
			t.Errorf("not as without them: %v", c.notifies)
		}
		s.request(wire.INFORMATIONAL, strange...)
		if _, c = s.want("is alive", wire.INFORMATIONAL, true); len(c.notifies) > 0 || !s.sa().isCurrent() {
			t.Errorf("answered %v", c.notifies)
		}
	})
	answer := func(t *testing.T, extra wire.Payload) *script {
		s := called(t, nil)
		s.give(Rekey{Conn: "c", Child: "net"})
		h, _ := s.want("rekeys", wire.CREATE_CHILD_SA, false)
		l := s.newChild(suite.CURVE25519)
		l[0] = number([]suite.Proposal{one(testProposal(suite.ESP, testESP)[0], 0)}, s.childIn)
		mine, other := ts.Resolve(testSpec("10.1.0.0/16")), ts.Resolve(testSpec("10.2.0.0/16"))
		l = append(l[:3:3], &wire.TS{Selectors: mine}, &wire.TS{Responder: true, Selectors: other}, extra)
		s.answer(wire.CREATE_CHILD_SA, h.MessageID, l...)
		return s
	}
	t.Run("a status in an answer", func(t *testing.T) {
		if s := answer(t, &wire.Notify{Kind: 50000}); s.installs() != 4 {
			t.Errorf("%d halves: %v", s.installs(), s.texts())
		}
	})
	t.Run("an error in an answer", func(t *testing.T) {
		s := answer(t, &wire.Notify{Kind: 9000})
		if s.installs() != 2 {
			t.Errorf("%d halves", s.installs())
		}
		s.wantEvent("tells", ChildFailed, "ERROR_9000")
	})
}

// TestVendorIDs: any number of vendor IDs, known or not, changes nothing (RFC 7296 3.12).
func TestVendorIDs(t *testing.T) {
	for _, ids := range [][]string{{vendorID}, {"another"}, {"another", "one", "more", "", vendorID, vendorID}} {
		s := newScript(t, nil)
		s.initiator, s.spiI = true, 0xaaaa
		list := s.initPayloads(testProposal(suite.IKE, testIKE), suite.CURVE25519, 1)
		list = slices.DeleteFunc(list, func(p wire.Payload) bool { return p.Type() == wire.TypeVENDOR })
		for _, id := range ids {
			list = append([]wire.Payload{&wire.Vendor{Data: []byte(id)}}, list...)
		}
		s.send(s.header(wire.IKE_SA_INIT, 0, false), list...)
		if _, c := s.want("answers", wire.IKE_SA_INIT, true); shapeInit.check(c) != nil || len(c.notifies) != 3 {
			t.Errorf("%q: answered %v", ids, c.notifies)
		}
	}
}

// TestFreshKeys: each exchange has a nonce and a public value of its own, of the group that is in use or the first that is configured
// (RFC 7296 2.10, 2.12, 2.18, 3.4, 3.9).
func TestFreshKeys(t *testing.T) {
	s := called(t, nil)
	seen := make(map[string]bool)
	for i := range 6 {
		child := []string{"", "net"}[i%2]
		s.give(Rekey{Conn: "c", Child: child})
		h, c := s.want("rekeys", wire.CREATE_CHILD_SA, false)
		if c.nonce == nil || len(c.nonce.Data) < 32 || c.ke == nil || c.ke.Group != suite.CURVE25519 {
			t.Fatalf("nonce %v, key exchange %v", c.nonce, c.ke)
		}
		for _, p := range c.sa.Proposals {
			groups := p.All(suite.TypeKE)
			if groups[0].ID != c.ke.Group || slices.ContainsFunc(groups, func(g suite.Transform) bool { return g.ID == suite.KE_NONE }) {
				t.Errorf("KE of group %d, offered are %v", c.ke.Group, groups)
			}
		}
		for _, b := range [][]byte{c.nonce.Data, c.ke.Data} {
			if seen[string(b)] {
				t.Error("used before")
			}
			seen[string(b)] = true
		}
		s.answer(wire.CREATE_CHILD_SA, h.MessageID, notifyOf(wire.NO_ADDITIONAL_SAS)...)
		s.sends = nil
	}
	s.request(wire.CREATE_CHILD_SA, s.newChild(suite.CURVE25519)...)
	if _, c := s.want("grants a child", wire.CREATE_CHILD_SA, true); seen[string(c.nonce.Data)] || seen[string(c.ke.Data)] {
		t.Error("the answer has what was used before")
	}
}

// TestChildWithoutKeyExchange: if no key exchange is chosen, KE of the request is ignored and not answered (RFC 7296 3.3.6); if none is
// offered, none is sent (3.4).
func TestChildWithoutKeyExchange(t *testing.T) {
	plain := func(c *Config) { c.Connections[0].Children[0].Proposals = testProposal(suite.ESP, "aes128gcm16") }
	s := called(t, plain)
	l := s.newChild(suite.CURVE25519)
	l[0] = number(testProposal(suite.ESP, "aes128gcm16-x25519-none"), s.childIn)
	s.request(wire.CREATE_CHILD_SA, l...)
	_, c := s.want("answers", wire.CREATE_CHILD_SA, true)
	if c.sa == nil || c.ke != nil || s.installs() != 4 {
		t.Fatalf("SA %v, KE %v: %v", c.sa, c.ke, s.texts())
	}
	if g := c.sa.Proposals[0].Group(); g != suite.KE_NONE {
		t.Errorf("chose group %d", g)
	}

	s = called(t, plain)
	s.give(Rekey{Conn: "c", Child: "net"})
	if _, c = s.want("rekeys", wire.CREATE_CHILD_SA, false); c.ke != nil {
		t.Error("KE of a group that is not offered")
	}
}

// TestNoneIsNoIKEGroup: an IKE SA is not rekeyed without a key exchange, even if it is offered so (RFC 7296 2.18).
func TestNoneIsNoIKEGroup(t *testing.T) {
	s := called(t, nil)
	l := s.newChild(suite.CURVE25519)
	p := testProposal(suite.IKE, testIKE)[0]
	p.Transforms = slices.DeleteFunc(slices.Clone(p.Transforms), func(tr suite.Transform) bool { return tr.Type == suite.TypeKE })
	p.Transforms = append(p.Transforms, suite.Transform{Type: suite.TypeKE, ID: suite.KE_NONE})
	s.request(wire.CREATE_CHILD_SA, number([]suite.Proposal{p}, []byte("12345678")), l[1], l[2])
	s.wantNotify("refuses", wire.CREATE_CHILD_SA, wire.NO_PROPOSAL_CHOSEN)
}

// scripted hands out prepared bytes before those of the source behind it.
type scripted struct {
	head []byte
	rand interface{ Read([]byte) (int, error) }
}

func (r *scripted) Read(b []byte) (int, error) {
	if len(r.head) > 0 {
		n := copy(b, r.head)
		r.head = r.head[n:]
		return n, nil
	}
	return r.rand.Read(b)
}

// TestNewSPI: an IKE SPI is not zero, and no other IKE SA has it (RFC 7296 2.6, 3.1). All of it is random (RFC 6290 9.3).
func TestNewSPI(t *testing.T) {
	s := called(t, nil)
	used := s.sa().spi()
	head := make([]byte, 8)
	head = binary.BigEndian.AppendUint64(head, used)
	head = binary.BigEndian.AppendUint64(head, 0x1122334455667788)
	s.Endpoint.cfg.Rand = &scripted{head, s.rand}
	if spi := s.newSPI(); spi != 0x1122334455667788 {
		t.Errorf("SPI %x", spi)
	}
}

// TestReplicated: INITIAL_CONTACT is in the first IKE_AUTH request, unless there is another IKE SA to the peer, or may be one elsewhere:
// that is what unique = never says. In another message it means nothing (RFC 7296 2.4).
func TestReplicated(t *testing.T) {
	for unique, want := range map[Unique]bool{UniqueNo: true, UniqueKeep: true, UniqueReplace: true, UniqueNever: false} {
		s := newScript(t, func(c *Config) { c.Connections[0].Unique = unique })
		s.give(Initiate{Conn: "c"})
		s.takeCall()
		_, c := s.want("authenticates", wire.IKE_AUTH, false)
		if got := c.notify(wire.INITIAL_CONTACT) != nil; got != want {
			t.Errorf("unique %v: INITIAL_CONTACT %v", unique, got)
		}
	}
	s := called(t, nil)
	s.request(wire.INFORMATIONAL, notifyOf(wire.INITIAL_CONTACT)...)
	s.want("is alive", wire.INFORMATIONAL, true)
	if !s.sa().isCurrent() || s.installs() != 2 {
		t.Error("INITIAL_CONTACT outside of IKE_AUTH changes something")
	}
}

// TestWindow: a second request waits until the first is answered, and those of the peer are answered meanwhile (RFC 7296 2.3).
func TestWindow(t *testing.T) {
	s := called(t, nil)
	s.give(Rekey{Conn: "c", Child: "net"})
	h, _ := s.want("rekeys", wire.CREATE_CHILD_SA, false)
	s.sa().enqueue(&alive{})
	s.sa().enqueue(&alive{})
	s.touch(s.sa())
	s.give(Tick{})
	s.wantIdle("waits for the answer")
	s.request(wire.INFORMATIONAL)
	s.want("answers while it waits", wire.INFORMATIONAL, true)
	s.wantIdle("still waits")
	s.answer(wire.CREATE_CHILD_SA, h.MessageID, notifyOf(wire.NO_ADDITIONAL_SAS)...)
	for i := range uint32(2) {
		next, _ := s.want("goes on", wire.INFORMATIONAL, false)
		if next.MessageID != h.MessageID+1+i {
			t.Errorf("message %d after %d", next.MessageID, h.MessageID)
		}
		s.wantIdle("one at a time")
		s.answer(wire.INFORMATIONAL, next.MessageID)
	}
}

// TestRetransmission: a request is repeated with the same bytes, with growing pauses, until the peer is taken to have failed; then all is
// forgotten (RFC 7296 2.1, 2.2, 2.4).
func TestRetransmission(t *testing.T) {
	s := called(t, func(c *Config) { c.Connections[0].DPDDelay = time.Minute })
	s.pass(time.Minute)
	first := s.sends[0].Data
	_, c := s.want("asks for a sign of life", wire.INFORMATIONAL, false)
	if len(c.notifies)+len(c.deletes) > 0 {
		t.Errorf("asks %+v", c)
	}
	r := s.cfg.Retransmit
	for n := 1; n <= r.Tries; n++ {
		s.pass(r.wait(n) - 1)
		s.wantIdle("waits")
		s.pass(1)
		if len(s.sends) != 1 || !bytes.Equal(s.sends[0].Data, first) {
			t.Fatalf("repetition %d: %d messages", n, len(s.sends))
		}
		s.sends = nil
		if n > 1 && r.wait(n) < 2*r.wait(n-1) {
			t.Errorf("waits %v after %v", r.wait(n), r.wait(n-1))
		}
	}
	if s.installs() != 2 {
		t.Error("gives up too early")
	}
	s.sends = nil
	s.pass(r.wait(r.Tries + 1))
	if s.installs() != 0 || slices.ContainsFunc(s.sends, func(x Send) bool { h, _ := wire.ParseHeader(x.Data); return h.SPIr == s.spiR }) {
		t.Errorf("%d halves are left, or a message is sent", s.installs())
	}
	s.wantEvent("tells", Failed, "does not answer")
}

// TestMinorVersion: the minor version and the flags that are reserved mean nothing (RFC 7296 2.5, 3.1).
func TestMinorVersion(t *testing.T) {
	s := newScript(t, nil)
	s.initiator, s.spiI = true, 0xaaaa
	data := wire.AppendMessage(nil, s.header(wire.IKE_SA_INIT, 0, false), s.initPayloads(testProposal(suite.IKE, testIKE), suite.CURVE25519, 1))
	data[17] |= 0x0f        // minor version 15
	data[19] |= 0xff - 0x28 // all flags but R and I, which is set
	s.deliver(data)
	answer := s.sends[0].Data
	s.want("answers", wire.IKE_SA_INIT, true)
	if answer[17] != 0x20 || answer[19] != 0x20 {
		t.Errorf("answers with version %x and flags %x", answer[17], answer[19])
	}
}

// TestLifetimes: what is due is rekeyed, at a time with a random part; what cannot be rekeyed is closed when its life ends, and comes
// back if it is wanted (RFC 7296 2.8, 2.8.1, 4).
func TestLifetimes(t *testing.T) {
	const hour = time.Hour
	lives := func(c *Config) {
		conn := c.Connections[0]
		conn.RemoteHost = "" // or it calls by itself
		conn.RekeyTime, conn.OverTime, conn.RandTime = 4*hour, hour, hour
		conn.Children[0].Rekey.Time, conn.Children[0].Life.Time, conn.Children[0].Rand.Time = hour, 2*hour, hour/2
		conn.Children[0].StartAction = Start
	}
	refuse := func(t *testing.T, s *script, until time.Time) (asked time.Time) {
		for s.now.Before(until) {
			s.pass(time.Second)
			for len(s.sends) > 0 {
				h, _ := wire.ParseHeader(s.sends[0].Data)
				if h.Exchange != wire.CREATE_CHILD_SA {
					return asked
				}
				s.want("rekeys", wire.CREATE_CHILD_SA, false)
				if asked.IsZero() {
					asked = s.now
				}
				s.answer(wire.CREATE_CHILD_SA, h.MessageID, notifyOf(wire.NO_ADDITIONAL_SAS)...)
			}
		}
		return asked
	}
	t.Run("child", func(t *testing.T) {
		times := make(map[time.Duration]bool)
		for i := range 4 {
			s := called(t, func(c *Config) {
				lives(c)
				c.Connections[0].RekeyTime = 0
				c.Rand.Read(make([]byte, 8*i))
			})
			born := s.now
			asked := refuse(t, s, born.Add(2*hour+time.Minute)).Sub(born)
			if asked < hour/2 || asked > hour+time.Second {
				t.Errorf("rekeyed after %v", asked)
			}
			times[asked] = true
			if d := s.now.Sub(born); d < 2*hour || d > 2*hour+2*time.Second {
				t.Fatalf("closed after %v", d)
			}
			h, c := s.want("closes the child", wire.INFORMATIONAL, false)
			if len(c.deletes) != 1 || !bytes.Equal(c.deletes[0].SPIs[0], s.childOut) {
				t.Errorf("deletes %v", c.deletes)
			}
			s.answer(wire.INFORMATIONAL, h.MessageID, &wire.Delete{Protocol: suite.ESP, SPIs: [][]byte{s.childIn}})
			s.pass(drainTime)
			if s.installs() != 0 || !s.sa().isCurrent() {
				t.Errorf("%d halves are left", s.installs())
			}
			s.pass(time.Minute)
			if _, c = s.want("asks for a new one", wire.CREATE_CHILD_SA, false); c.notify(wire.REKEY_SA) != nil {
				t.Error("rekeys what is gone")
			}
		}
		if len(times) < 2 {
			t.Errorf("always rekeyed at the same time: %v", times)
		}
	})
	t.Run("IKE SA", func(t *testing.T) {
		s := called(t, func(c *Config) {
			lives(c)
			c.Connections[0].Children[0].Rekey, c.Connections[0].Children[0].Life = Lifetime{}, Lifetime{}
		})
		born := s.now
		if asked := refuse(t, s, born.Add(6*hour)).Sub(born); asked < 3*hour || asked > 4*hour+time.Second {
			t.Errorf("rekeyed after %v", asked)
		}
		if d := s.now.Sub(born); d < 5*hour || d > 5*hour+2*time.Second {
			t.Fatalf("closed after %v", d)
		}
		if _, c := s.want("closes the IKE SA", wire.INFORMATIONAL, false); !c.deletesIKE() || s.installs() != 0 {
			t.Error("no Delete, or children stay")
		}
		s.wantEvent("tells", Closed, "lifetime")
	})
}

// TestNoAdditionalSAs: a child that the peer does not let us rekey is closed and made anew (RFC 7296 4).
func TestNoAdditionalSAs(t *testing.T) {
	s := called(t, func(c *Config) {
		child := c.Connections[0].Children[0]
		c.Connections[0].RemoteHost = "" // or it calls by itself
		child.StartAction, child.Rekey.Time, child.Life.Time = Start, time.Minute, 2*time.Minute
	})
	s.pass(time.Minute)
	h, c := s.want("rekeys", wire.CREATE_CHILD_SA, false)
	if c.notify(wire.REKEY_SA) == nil {
		t.Fatal("no REKEY_SA")
	}
	s.answer(wire.CREATE_CHILD_SA, h.MessageID, notifyOf(wire.NO_ADDITIONAL_SAS)...)
	end := s.now.Add(time.Hour)
	for deleted := false; ; {
		for len(s.sends) == 0 {
			s.pass(time.Second)
			if s.now.After(end) {
				t.Fatal("nothing comes")
			}
		}
		if h, _ = wire.ParseHeader(s.sends[0].Data); h.Exchange == wire.INFORMATIONAL {
			s.want("deletes the old one", wire.INFORMATIONAL, false)
			s.answer(wire.INFORMATIONAL, h.MessageID)
			deleted = true
			continue
		}
		_, c = s.want("asks", wire.CREATE_CHILD_SA, false)
		if again := c.notify(wire.REKEY_SA) != nil; again == deleted {
			t.Fatalf("REKEY_SA %v, deleted %v", again, deleted)
		}
		if deleted {
			return
		}
		s.answer(wire.CREATE_CHILD_SA, h.MessageID, notifyOf(wire.NO_ADDITIONAL_SAS)...)
	}
}

// halves are the installs and removals since the last call, in order.
func (s *script) halves() (list []string) {
	for _, e := range s.all {
		switch e := e.(type) {
		case Install:
			list = append(list, map[Direction]string{In: "in", Out: "out"}[e.Dir])
		case Remove:
			list = append(list, map[Direction]string{In: "-in", Out: "-out"}[e.Dir])
		case Send:
			list = append(list, "send")
		}
	}
	s.all = nil
	return list
}

// TestInstallOrder: a responder can hear a new Child SA before its answer leaves, and uses a successor only when the peer does, or when
// the peer deletes the old one; an initiator has both halves with the answer, and then closes the old Child SA (RFC 7296 2.8).
func TestInstallOrder(t *testing.T) {
	wantHalves := func(s *script, why string, want ...string) {
		t.Helper()
		if got := s.halves(); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", why, got, want)
		}
	}
	rekey := func() *script {
		s := called(t, nil)
		s.all = nil
		old := s.childIn
		s.request(wire.CREATE_CHILD_SA, append([]wire.Payload{&wire.Notify{Protocol: suite.ESP, SPI: old, Kind: wire.REKEY_SA}}, s.newChild(suite.CURVE25519)...)...)
		wantHalves(s, "answers a rekeying", "in", "send")
		s.childOut = old // the peer's SPI of the old one
		s.sends = nil
		return s
	}
	s := called(t, nil)
	s.all = nil
	s.request(wire.CREATE_CHILD_SA, s.newChild(suite.CURVE25519)...)
	wantHalves(s, "answers with a new child", "in", "out", "send")

	s = rekey()
	s.give(Used{SPI: s.sa().children[1].in})
	wantHalves(s, "the peer uses the successor", "out")

	s = rekey()
	s.request(wire.INFORMATIONAL, &wire.Delete{Protocol: suite.ESP, SPIs: [][]byte{s.childOut}})
	wantHalves(s, "the peer deletes the old one", "out", "-out", "send")
	s.pass(drainTime)
	wantHalves(s, "the old one is heard a little longer", "-in")

	s = called(t, nil)
	s.give(Rekey{Conn: "c", Child: "net"})
	h, _ := s.want("rekeys", wire.CREATE_CHILD_SA, false)
	s.all = nil
	l := s.newChild(suite.CURVE25519)
	l[0] = number([]suite.Proposal{one(testProposal(suite.ESP, testESP)[0], 0)}, s.childIn)
	mine, other := ts.Resolve(testSpec("10.1.0.0/16")), ts.Resolve(testSpec("10.2.0.0/16"))
	s.answer(wire.CREATE_CHILD_SA, h.MessageID, append(l[:3:3], &wire.TS{Selectors: mine}, &wire.TS{Responder: true, Selectors: other})...)
	wantHalves(s, "takes the answer to a rekeying", "in", "out", "send")
}

// TestRekeySelectors: the rekeying of a child proposes its policy, whatever it was narrowed to, and grants no less than what is in use
// (RFC 7296 2.8, 2.9.2).
func TestRekeySelectors(t *testing.T) {
	s := called(t, nil)
	narrow := ts.Resolve(testSpec("10.2.3.0/24"))
	ask := func(selectors []ts.Selector, old []byte) *content {
		l := s.newChild(suite.CURVE25519)
		l = append(l[:3:3], &wire.TS{Selectors: selectors}, &wire.TS{Responder: true, Selectors: ts.Resolve(testSpec("10.1.0.0/16"))})
		if old != nil {
			l = append(l, &wire.Notify{Protocol: suite.ESP, SPI: old, Kind: wire.REKEY_SA})
		}
		s.request(wire.CREATE_CHILD_SA, l...)
		_, c := s.want("grants", wire.CREATE_CHILD_SA, true)
		if c.sa == nil {
			t.Fatalf("refused: %v", c.notifies)
		}
		return c
	}
	c := ask(narrow, nil)
	if !slices.Equal(c.tsi.Selectors, narrow) {
		t.Fatalf("narrowed to %v", c.tsi.Selectors)
	}
	for _, more := range []string{"10.2.3.0/24", "10.2.0.0/16", "10.0.0.0/8", "0.0.0.0/0"} {
		if c = ask(ts.Resolve(testSpec(more)), s.childIn); !ts.Subset(narrow, c.tsi.Selectors) {
			t.Errorf("asked for %s, granted %v, in use was %v", more, c.tsi.Selectors, narrow)
		}
	}
	s.sa().children[len(s.sa().children)-1].startRekey()
	s.give(Tick{})
	_, c = s.want("rekeys", wire.CREATE_CHILD_SA, false)
	if c.notify(wire.REKEY_SA) == nil || !slices.Equal(c.tsr.Selectors, ts.Resolve(testSpec("10.2.0.0/16"))) || !slices.Equal(c.tsi.Selectors, ts.Resolve(testSpec("10.1.0.0/16"))) {
		t.Errorf("proposes %v === %v", c.tsi.Selectors, c.tsr.Selectors)
	}
}

// TestFirstSelectors: of several policies that fit, the one is taken that contains the first selectors of the request, which are those
// of the packet that caused it (RFC 7296 2.9).
func TestFirstSelectors(t *testing.T) {
	s := called(t, func(c *Config) {
		conn := c.Connections[0]
		next := *conn.Children[0]
		conn.Children[0].RemoteTS = testSpec("10.2.0.0/17")
		next.Name, next.RemoteTS = "next", testSpec("10.2.128.0/17")
		conn.Children = append(conn.Children, &next)
	})
	for packet, want := range map[string]string{"10.2.1.1/32": "10.2.0.0/17", "10.2.200.1/32": "10.2.128.0/17"} {
		l := s.newChild(suite.CURVE25519)
		tsi := append(ts.Resolve(testSpec(packet)), ts.Resolve(testSpec("10.2.0.0/16"))...)
		tsr := append(ts.Resolve(testSpec("10.1.0.9/32")), ts.Resolve(testSpec("10.1.0.0/16"))...)
		s.request(wire.CREATE_CHILD_SA, append(l[:3:3], &wire.TS{Selectors: tsi}, &wire.TS{Responder: true, Selectors: tsr})...)
		_, c := s.want("grants", wire.CREATE_CHILD_SA, true)
		if c.sa == nil || !ts.Subset(tsi[:1], c.tsi.Selectors) || !ts.Subset(c.tsi.Selectors, ts.Resolve(testSpec(want))) {
			t.Errorf("a packet of %s: granted %v, notifies %v", packet, c.tsi, c.notifies)
		}
	}
}

// TestAdditionalSelectors: ADDITIONAL_TS_POSSIBLE says that other traffic was asked for that another child would carry (RFC 7296 2.9).
func TestAdditionalSelectors(t *testing.T) {
	for _, two := range []bool{true, false} {
		s := called(t, func(c *Config) {
			next := *c.Connections[0].Children[0]
			next.Name, next.RemoteTS = "next", testSpec("10.9.0.0/16")
			if two {
				c.Connections[0].Children = append(c.Connections[0].Children, &next)
			}
		})
		l := s.newChild(suite.CURVE25519)
		wide := ts.Resolve(testSpec("10.0.0.0/8"))
		s.request(wire.CREATE_CHILD_SA, append(l[:3:3], &wire.TS{Selectors: wide}, &wire.TS{Responder: true, Selectors: wide})...)
		_, c := s.want("grants", wire.CREATE_CHILD_SA, true)
		if got := c.notify(wire.ADDITIONAL_TS_POSSIBLE) != nil; c.sa == nil || got != two {
			t.Errorf("two policies %v: ADDITIONAL_TS_POSSIBLE %v", two, got)
		}
	}
}

// TestForgetsKeys: the private value of a key exchange is gone when its answer came, or none will come, and SK_p when both ends are
// authenticated (RFC 7296 2.12).
func TestForgetsKeys(t *testing.T) {
	s := newScript(t, nil)
	s.give(Initiate{Conn: "c"})
	init := s.sa().state.(*expectInitReply)
	s.takeCall()
	if init.private != nil {
		t.Error("the private value of IKE_SA_INIT is kept")
	}
	s.want("authenticates", wire.IKE_AUTH, false)
	pi := s.sa().keys.pi
	s.answer(wire.IKE_AUTH, 1, append(s.auth(s.id, s.secret), s.childPayloads(1)...)...)
	if !bytes.Equal(pi, make([]byte, len(pi))) || s.sa().keys.pi != nil {
		t.Error("SK_pi is kept")
	}
	s.give(Rekey{Conn: "c"})
	h, _ := s.want("rekeys", wire.CREATE_CHILD_SA, false)
	x, _ := find(s.sa(), func(*rekeyIKE) bool { return true })
	s.answer(wire.CREATE_CHILD_SA, h.MessageID, notifyOf(wire.NO_ADDITIONAL_SAS)...)
	if x.private != nil {
		t.Error("the private value of a refused rekeying is kept")
	}
	s.give(Rekey{Conn: "c", Child: "net"})
	s.want("rekeys", wire.CREATE_CHILD_SA, false)
	y, _ := find(s.sa(), func(*childExchange) bool { return true })
	d := s.sa().keys.d
	s.give(Terminate{Conn: "c"})
	if y.offer != nil {
		t.Error("the private value of an abandoned rekeying is kept")
	}
	s.sa().remove()
	if !bytes.Equal(d, make([]byte, len(d))) {
		t.Error("SK_d is kept")
	}
}

// TestSuccessor: a rekeyed IKE SA begins to count messages at 0 in both directions, its initiator is who asked for it, and nothing but
// its Delete follows under the old one (RFC 7296 2.8, 2.18, 3.1).
func TestSuccessor(t *testing.T) {
	s := called(t, nil)
	old := s.sa()
	s.give(Rekey{Conn: "c"})
	h, c := s.want("rekeys", wire.CREATE_CHILD_SA, false)
	if h.Initiator {
		t.Error("the responder of the IKE SA sets the Initiator flag")
	}
	spi := binary.BigEndian.Uint64(c.sa.Proposals[0].SPI)
	// What waits goes to the successor.
	old.enqueue(&alive{})
	ke, _ := suite.NewKE(c.ke.Group)
	public, shared, err := ke.Answer(s.rand, c.ke.Data)
	if err != nil {
		t.Fatal(err)
	}
	chosen := one(testProposal(suite.IKE, testIKE)[0], 0)
	in := keyInput{nonceI: slices.Clone(c.nonce.Data), nonceR: bytes.Repeat([]byte{7}, 32), spiI: spi, spiR: 0xcccc, shared: shared}
	next, err := deriveKeys(chosen, in.rekeySeed(s.keys), in, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.answer(wire.CREATE_CHILD_SA, h.MessageID, number([]suite.Proposal{chosen}, binary.BigEndian.AppendUint64(nil, 0xcccc)),
		&wire.Nonce{Data: in.nonceR}, &wire.KE{Group: c.ke.Group, Data: public})

	of := func(spi uint64) func(Send) bool {
		return func(x Send) bool { h, _ := wire.ParseHeader(x.Data); return h.SPIi == spi }
	}
	var under, above []Send
	for _, x := range s.sends {
		if of(s.spiI)(x) {
			under = append(under, x)
		} else if of(spi)(x) {
			above = append(above, x)
		}
	}
	if len(under) != 1 || len(above) != 1 {
		t.Fatalf("%d messages under the old IKE SA, %d under the new one", len(under), len(above))
	}
	s.sends = under
	if _, c = s.want("deletes the old one", wire.INFORMATIONAL, false); !c.deletesIKE() {
		t.Error("no Delete")
	}
	s.initiator, s.spiI, s.spiR, s.keys, s.sends = false, spi, 0xcccc, next, above
	h, _ = s.want("goes on under the new one", wire.INFORMATIONAL, false)
	if h.MessageID != 0 || !h.Initiator {
		t.Errorf("message %d, Initiator %v", h.MessageID, h.Initiator)
	}
	s.nextID = 0
	s.request(wire.INFORMATIONAL)
	if h, _ = s.want("answers", wire.INFORMATIONAL, true); h.MessageID != 0 || !h.Initiator {
		t.Errorf("message %d, Initiator %v", h.MessageID, h.Initiator)
	}
}

// TestProposalNumbers: an offer begins with number 1, and the SPI of the first negotiation is empty; the answer has the number of what
// was chosen (RFC 7296 3.3.1).
func TestProposalNumbers(t *testing.T) {
	try := func(alter func(*wire.SA)) *script {
		s := newScript(t, nil)
		s.initiator, s.spiI = true, 0xaaaa
		offers := slices.Concat(testProposal(suite.IKE, "aes256-sha1-modp2048"), testProposal(suite.IKE, testIKE))
		l := s.initPayloads(offers, suite.CURVE25519, 1)
		alter(l[0].(*wire.SA))
		s.send(s.header(wire.IKE_SA_INIT, 0, false), l...)
		return s
	}
	_, c := try(func(*wire.SA) {}).want("chooses", wire.IKE_SA_INIT, true)
	if c.sa == nil || len(c.sa.Proposals) != 1 || c.sa.Proposals[0].Number != 2 || len(c.sa.Proposals[0].SPI) > 0 {
		t.Errorf("chose %v", c.sa)
	}
	from2 := try(func(sa *wire.SA) { sa.Proposals[0].Number, sa.Proposals[1].Number = 2, 3 })
	from2.wantNotify("refuses what begins with 2", wire.IKE_SA_INIT, wire.NO_PROPOSAL_CHOSEN)
	spi := try(func(sa *wire.SA) { sa.Proposals[1].SPI = make([]byte, 8) })
	spi.wantNotify("refuses an SPI", wire.IKE_SA_INIT, wire.NO_PROPOSAL_CHOSEN)
}

// TestVersionIsNotTold: who asks for our version gets an empty string for it (RFC 7296 2.20).
func TestVersionIsNotTold(t *testing.T) {
	s := called(t, nil)
	s.request(wire.INFORMATIONAL, &wire.CP{Kind: wire.CFG_REQUEST, Attributes: []wire.Attribute{{Type: wire.APPLICATION_VERSION}}})
	_, c := s.want("answers", wire.INFORMATIONAL, true)
	if c.cp == nil || c.cp.Kind != wire.CFG_REPLY || len(c.cp.Attributes) != 1 || c.cp.Attributes[0].Type != wire.APPLICATION_VERSION || len(c.cp.Attributes[0].Data) > 0 {
		t.Errorf("answers %+v", c.cp)
	}
}

// TestConflictingPeers: who calls second cannot have the traffic of another peer: in transport mode, in which all peers behind one NAT have one
// address, unless they differ in their ports; in tunnel mode if a policy is for many peers (RFC 3948 5.1, 5.2). A peer may have its
// own anew.
func TestConflictingPeers(t *testing.T) {
	for _, c := range []struct {
		id, tsi, tsr string
		granted      bool
	}{
		{"@other", "10.0.0.7", "192.0.2.1", false},
		{"@other", "10.0.0.8", "192.0.2.1[tcp/80]", false},
		{"@other", "10.0.0.7", "192.0.2.1[udp]", true},
		{"@peer", "10.0.0.7", "192.0.2.1", true},
		{"@other", "10.2.3.0/24", "10.1.0.0/16", false},
		{"@other", "10.2.0.0/16", "10.1.9.0/24", false},
		{"@other", "10.2.4.0/24", "10.1.0.0/16", true},
		{"@peer", "10.2.3.0/24", "10.1.0.0/16", true},
	} {
		t.Run(c.id+" "+c.tsi+" "+c.tsr, func(t *testing.T) {
			tunnel := strings.HasPrefix(c.tsr, "10.")
			s := newScript(t, func(cfg *Config) {
				if !tunnel {
					hostToHost(cfg)
				}
				cfg.Connections[0].RemoteID = testPattern("%any")
				cfg.Connections[0].Unique = UniqueNever
			})
			call := func(id, tsi, tsr string) *content {
				s.path.NATT, s.path.Local, s.path.Remote = false, netip.MustParseAddrPort("192.0.2.1:500"), netip.MustParseAddrPort("192.0.2.2:500")
				s.initiator, s.spiI, s.spiR = true, s.spiI+1, 0
				s.first = s.send(s.header(wire.IKE_SA_INIT, 0, false), s.initPayloads(testProposal(suite.IKE, testIKE), suite.CURVE25519, 1)...)
				h, got := s.want("answers IKE_SA_INIT", wire.IKE_SA_INIT, true)
				s.spiR, s.nonceR = h.SPIr, slices.Clone(got.nonce.Data)
				s.derive(got.ke.Data)
				s.sas[s.spiR].nat = natt.Situation{Supported: true, RemoteNAT: true}
				s.nextID = 1
				var kinds []wire.NotifyType
				if !tunnel {
					kinds = []wire.NotifyType{wire.USE_TRANSPORT_MODE}
				}
				s.request(wire.IKE_AUTH, append(s.auth(testID(id), s.secret), s.childWith(tsi, tsr, kinds...)...)...)
				_, got = s.want("answers IKE_AUTH", wire.IKE_AUTH, true)
				return got
			}
			tsi, tsr := "10.0.0.7", "192.0.2.1[tcp]"
			if tunnel {
				tsi, tsr = "10.2.3.0/24", "10.1.0.0/16"
			}
			if got := call("@peer", tsi, tsr); got.sa == nil || s.installs() != 2 {
				t.Fatalf("the first is refused: %v, %v", got.notifies, s.texts())
			}
			got := call(c.id, c.tsi, c.tsr)
			if (got.sa != nil) != c.granted || (got.notify(wire.TS_UNACCEPTABLE) == nil) != c.granted {
				t.Errorf("granted %v, notifies %v", got.sa != nil, got.notifies)
			}
			if !c.granted {
				s.wantEvent("tells", Warned, "@peer", "already")
			}
		})
	}
}

// TestFragmentSize: packets of 1280 bytes are usual, those of 576 only for IPv4 after silence, and what fits in a packet is not split
// (RFC 7383 2.4, 2.5.1).
func TestFragmentSize(t *testing.T) {
	four, six := netip.MustParseAddrPort("192.0.2.2:4500"), netip.MustParseAddrPort("[2001:db8::2]:4500")
	for _, c := range []struct {
		path         natt.Path
		packet, want int
	}{
		{natt.Path{Remote: four, NATT: true}, usualPacket, 1280 - 20 - 8 - 4}, {natt.Path{Remote: six, NATT: true}, usualPacket, 1280 - 40 - 8 - 4},
		{natt.Path{Remote: four, NATT: true}, smallPacket, 576 - 20 - 8 - 4}, {natt.Path{Remote: four}, usualPacket, 1280 - 20 - 8},
	} {
		if got := room(c.path, c.packet); got != c.want {
			t.Errorf("%v in %d: %d, want %d", c.path, c.packet, got, c.want)
		}
	}
	for name, remote := range map[string]netip.AddrPort{"IPv4": four, "IPv6": six} {
		s := newScript(t, large)
		s.announces = true
		s.give(Initiate{Conn: "c"})
		s.takeCall()
		takeFrom(s)
		sa := s.sa()
		sa.path.Remote = remote
		r := sa.win.out[0]
		r.message = sa.seal(r.kind, r.id, false, r.payloads)
		r.sends = probes
		if got := sa.splitSmaller(r); got != (name == "IPv4") {
			t.Errorf("%s: split in smaller ones: %v", name, got)
		}
		if list := sa.seal(wire.INFORMATIONAL, 7, false, nil).datagrams; len(list) != 1 || wire.PayloadType(list[0][16]) != wire.TypeSK {
			t.Errorf("%s: a small message is split", name)
		}
	}
}

// TestMOBIKESupportedData: the notify is empty, and what a peer writes into it means nothing (RFC 4555 4.2.1).
func TestMOBIKESupportedData(t *testing.T) {
	s := newScript(t, withMOBIKE)
	s.call()
	extra := &wire.Notify{Kind: wire.MOBIKE_SUPPORTED, Data: []byte("of the future")}
	s.request(wire.IKE_AUTH, append(append(s.auth(s.id, s.secret), s.childPayloads(1)...), extra)...)
	_, c := s.want("answers", wire.IKE_AUTH, true)
	if n := c.notify(wire.MOBIKE_SUPPORTED); n == nil || len(n.Data) > 0 || s.sa().mob == nil {
		t.Errorf("answers %v", n)
	}
}

// TestMOBIKEListFromSeveralAddresses: a request that tells of our addresses and went out from several of them is followed by a new one,
// because the peer takes one of them from the IP header (RFC 4555 3.6).
func TestMOBIKEListFromSeveralAddresses(t *testing.T) {
	s := mobileCalled(t)
	s.give(Addresses{Local: []netip.Addr{s.path.Local.Addr(), ourSecond}})
	h, _ := s.want("tells", wire.INFORMATIONAL, false)
	r := s.sa().win.out[0]
	r.along = append(r.along, natt.Path{Local: netip.AddrPortFrom(ourSecond, 4500), Remote: s.path.Remote, NATT: true})
	s.answer(wire.INFORMATIONAL, h.MessageID)
	again, c := s.want("tells once more", wire.INFORMATIONAL, false)
	if list, told := readAddresses(c); !told || !slices.Equal(list, []netip.Addr{ourSecond}) || again.MessageID != h.MessageID+1 {
		t.Errorf("message %d after %d tells of %v", again.MessageID, h.MessageID, list)
	}
	s.answer(wire.INFORMATIONAL, again.MessageID)
	s.wantIdle("all is told")
}

// TestAttributes: INTERNAL_ADDRESS_EXPIRY of older versions is ignored (RFC 7296 1.7), and an address of IPv6 may be asked for (3.15.3).
func TestAttributes(t *testing.T) {
	_, change := gives(t, "10.9.0.1")
	s := newScript(t, change)
	s.call()
	expiry := wire.Attribute{Type: 5, Data: []byte{0, 0, 14, 16}}
	s.request(wire.IKE_AUTH, s.asks(expiry, any4)...)
	_, c := s.want("answers", wire.IKE_AUTH, true)
	if c.cp == nil || c.sa == nil || slices.ContainsFunc(c.cp.Attributes, func(a wire.Attribute) bool { return a.Type == 5 }) {
		t.Errorf("answers %s, %v", attributesText(c.cp), c.notifies)
	}
	s = newScript(t, roadWarrior("2001:db8::5"))
	s.takeCall()
	_, c = s.want("authenticates", wire.IKE_AUTH, false)
	if want := wire.AddrAttribute(wire.INTERNAL_IP6_ADDRESS, addrOf("2001:db8::5")); c.cp == nil || !sameAttribute(c.cp.Attributes[0], want) {
		t.Errorf("asks for %s", attributesText(c.cp))
	}
}

// TestTransportTrigger: in transport mode, too, the selectors of the packet that asks for a child stand first, and are not repeated when
// rekeying (RFC 7296 2.9, 2.9.2, 2.23.1).
func TestTransportTrigger(t *testing.T) {
	s := newScript(t, hostToHost)
	p := ts.Packet{Src: s.path.Local.Addr(), Dst: s.path.Remote.Addr(), Protocol: 6, SrcPort: 4000, DstPort: 80, HasPorts: true}
	s.give(Acquire{Conn: "c", Child: "net", Packet: p})
	s.takeCall()
	_, ask := s.want("authenticates", wire.IKE_AUTH, false)
	tsi, tsr := slices.Concat(sel("192.0.2.1[tcp/4000]"), sel("192.0.2.1")), slices.Concat(sel("192.0.2.2[tcp/80]"), sel("192.0.2.2"))
	if ask.notify(wire.USE_TRANSPORT_MODE) == nil || !slices.Equal(ask.tsi.Selectors, tsi) || !slices.Equal(ask.tsr.Selectors, tsr) {
		t.Fatalf("asks for %v === %v", ask.tsi.Selectors, ask.tsr.Selectors)
	}
	s.answer(wire.IKE_AUTH, 1, append(s.auth(s.id, s.secret), s.childWith("192.0.2.1", "192.0.2.2", wire.USE_TRANSPORT_MODE)...)...)
	if s.lastInstall(In).Mode != Transport {
		t.Fatalf("not established: %v", s.texts())
	}
	s.give(Rekey{Conn: "c", Child: "net"})
	if _, ask = s.want("rekeys", wire.CREATE_CHILD_SA, false); !slices.Equal(ask.tsi.Selectors, sel("192.0.2.1")) || !slices.Equal(ask.tsr.Selectors, sel("192.0.2.2")) {
		t.Errorf("rekeys %v === %v", ask.tsi.Selectors, ask.tsr.Selectors)
	}
}
