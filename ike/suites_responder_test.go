package ike

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/ident"
	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/psk"
	"github.com/culvert-vpn/culvert/suite"
)

// What hostile peers are known to do to an endpoint that they call, or that called them, where no other test does it.

// twoPeers configures a second peer, @other, with a secret of its own.
func twoPeers(c *Config) {
	store := psk.NewStore()
	for owner, secret := range map[string]string{"@peer": "secret", "@other": "another secret"} {
		if err := store.Add("ike"+owner, []byte(secret), []ident.Pattern{testPattern(owner)}); err != nil {
			panic(err)
		}
	}
	c.Secrets = store
	other := *c.Connections[0]
	other.Name, other.RemoteID = "other", testPattern("@other")
	c.Connections = append(c.Connections, &other)
}

// TestStolenIdentities: an AUTH is good for one identity, of one type, under the secret of that identity, of one role, and whole (RFC
// 7296 2.15).
//
// Cases: BUG-03; add_notify.
func TestStolenIdentities(t *testing.T) {
	withID := func(id ident.ID) func(*script) []wire.Payload {
		return func(s *script) []wire.Payload {
			l := s.auth(s.id, s.secret)
			l[0] = &wire.ID{Responder: !s.initiator, ID: id, Raw: id.AppendWire(nil)}
			return l
		}
	}
	withData := func(change func([]byte) []byte) func(*script) []wire.Payload {
		return func(s *script) []wire.Payload {
			l := s.auth(s.id, s.secret)
			a := l[1].(*wire.Auth)
			a.Data = change(a.Data)
			return l
		}
	}
	for name, list := range map[string]func(*script) []wire.Payload{
		"the AUTH of one, the identity of the other":   withID(testID("@other")),
		"the secret of one, the identity of the other": func(s *script) []wire.Payload { return s.auth(testID("@other"), s.secret) },
		"the name as a key ID":                         func(s *script) []wire.Payload { return s.auth(testID("keyid:peer"), s.secret) },
		"the name as a mail address":                   func(s *script) []wire.Payload { return s.auth(testID("userfqdn:peer"), s.secret) },
		"one octet":                                    withData(func(b []byte) []byte { return b[:1] }),
		"all but one octet":                            withData(func(b []byte) []byte { return b[:len(b)-1] }),
		"one octet more":                               withData(func(b []byte) []byte { return append(b, 0) }),
		"a bit":                                        withData(func(b []byte) []byte { b[7] ^= 0x10; return b }),
		"signed without the nonce": func(s *script) []wire.Payload {
			defer func(i, r []byte) { s.nonceI, s.nonceR = i, r }(s.nonceI, s.nonceR)
			s.nonceI, s.nonceR = nil, nil
			return s.auth(s.id, s.secret)
		},
		"signed with its own nonce": func(s *script) []wire.Payload {
			defer func(i, r []byte) { s.nonceI, s.nonceR = i, r }(s.nonceI, s.nonceR)
			s.nonceI, s.nonceR = s.nonceR, s.nonceI
			return s.auth(s.id, s.secret)
		},
		"signed over another first message": func(s *script) []wire.Payload {
			defer func(b []byte) { s.first = b }(s.first)
			s.first = slices.Clone(s.first)
			s.first[len(s.first)-1] ^= 1
			return s.auth(s.id, s.secret)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScript(t, twoPeers)
			s.call()
			s.request(wire.IKE_AUTH, append(list(s), s.childPayloads(1)...)...)
			s.wantNotify("refuses the caller", wire.IKE_AUTH, wire.AUTHENTICATION_FAILED)
			s.wantEvent("tells", Failed)
			if s.installs() != 0 || len(s.Snapshot()) != 0 {
				t.Error("the caller has something")
			}

			s = newScript(t, twoPeers)
			s.give(Initiate{Conn: "c"})
			s.takeCall()
			s.want("authenticates", wire.IKE_AUTH, false)
			s.answer(wire.IKE_AUTH, 1, append(list(s), s.childPayloads(1)...)...)
			h, c := s.want("refuses who was called", wire.INFORMATIONAL, false)
			if c.notify(wire.AUTHENTICATION_FAILED) == nil {
				t.Errorf("told %v", c.notifies)
			}
			s.answer(wire.INFORMATIONAL, h.MessageID)
			if s.installs() != 0 || len(s.Snapshot()) != 0 {
				t.Error("who was called has something")
			}
		})
	}
}

// TestReflectedAuth: our own proof, with our own identity or the one that we want, proves nothing (RFC 7296 2.15).
//
// Cases: BUG-03.
func TestReflectedAuth(t *testing.T) {
	for _, id := range []string{"@us", "@peer"} {
		s := newScript(t, nil)
		s.give(Initiate{Conn: "c"})
		s.takeCall()
		_, ours := s.want("authenticates", wire.IKE_AUTH, false)
		raw := testID(id)
		s.answer(wire.IKE_AUTH, 1, append([]wire.Payload{&wire.ID{Responder: true, ID: raw, Raw: raw.AppendWire(nil)},
			&wire.Auth{Method: wire.AuthSharedKey, Data: slices.Clone(ours.auth.Data)}}, s.childPayloads(1)...)...)
		h, c := s.want("refuses", wire.INFORMATIONAL, false)
		if c.notify(wire.AUTHENTICATION_FAILED) == nil {
			t.Errorf("told %v", c.notifies)
		}
		s.answer(wire.INFORMATIONAL, h.MessageID)
		if s.installs() != 0 || len(s.Snapshot()) != 0 {
			t.Errorf("our own AUTH as %s is accepted", id)
		}
	}
}

// TestStrangeIdentities: identities of types that do not exist, and such that hold nothing, too much or bytes that end a text
// elsewhere. None is taken for another one, and nothing is left (RFC 7296 3.5).
//
// Cases: BUG-05; BUG-08; BUG-22; FCS_IPSEC_EXT.1.14.
func TestStrangeIdentities(t *testing.T) {
	bodies := map[string][]byte{
		"empty": {2, 0, 0, 0}, "no type": {}, "half a header": {2, 0}, "NUL at the end": append([]byte{2, 0, 0, 0}, "peer\x00"...),
		"NUL inside": append([]byte{2, 0, 0, 0}, "peer\x00.example"...), "64 KiB": append([]byte{2, 0, 0, 0}, bytes.Repeat([]byte{'x'}, 60000)...),
		"an address of 3 octets": {1, 0, 0, 0, 1, 2, 3}, "an address of 5 octets": {1, 0, 0, 0, 1, 2, 3, 4, 5},
	}
	for _, kind := range []byte{0, 4, 6, 7, 8, 12, 13, 200, 201, 255} {
		bodies[fmt.Sprintf("type %d", kind)] = append([]byte{kind, 0, 0, 0}, "peer"...)
	}
	for name, body := range bodies {
		t.Run(name, func(t *testing.T) {
			s := newScript(t, nil)
			s.call()
			data := s.secret.Lookup(s.id, testID("@us"))[0].Auth(s.keys.prf, s.keys.signed(append(slices.Clone(s.first), s.nonceR...), s.keys.pi, body))
			list := []wire.Payload{&wire.Unknown{Kind: wire.TypeIDi, Body: body}, &wire.Auth{Method: wire.AuthSharedKey, Data: data}}
			s.request(wire.IKE_AUTH, append(list, s.childPayloads(1)...)...)
			_, c := s.want("refuses", wire.IKE_AUTH, true)
			if c.notify(wire.AUTHENTICATION_FAILED) == nil && c.notify(wire.INVALID_SYNTAX) == nil || c.auth != nil {
				t.Errorf("answers %v", c.notifies)
			}
			s.wantEvent("tells", Failed)
			for _, text := range s.texts() {
				if bytes.ContainsAny([]byte(text), "\x00\n\x1b") || len(text) > 4096 {
					t.Errorf("told %.100q", text)
				}
			}
			s.pass(time.Hour)
			if s.order.len()+s.halfOpen.all+len(s.held)+len(s.agenda.entries) > 0 {
				t.Error("something is left")
			}
		})
	}
}

// TestMutatedRequests: one wrong field at a time, of an authenticated peer (RFC 7296 1.4.1, 2.21.3, 2.25, 3.3, 3.10, 3.11, 3.13). What
// cannot be read closes the IKE SA, everything else is refused or ignored, and no child is touched that was not named.
//
// Cases: BUG-01; BUG-05; BUG-07; ke_payload.
func TestMutatedRequests(t *testing.T) {
	raw := func(kind wire.PayloadType, body ...byte) wire.Payload { return &wire.Unknown{Kind: kind, Body: body} }
	rekey := func(protocol, size byte, spi ...byte) func(*script) (wire.Exchange, []wire.Payload) {
		return func(s *script) (wire.Exchange, []wire.Payload) {
			n := raw(wire.TypeNOTIFY, append([]byte{protocol, size, byte(wire.REKEY_SA >> 8), byte(wire.REKEY_SA & 255)}, spi...)...)
			return wire.CREATE_CHILD_SA, append([]wire.Payload{n}, s.newChild(suite.CURVE25519)...)
		}
	}
	erase := func(protocol, size byte, count uint16, spis ...byte) func(*script) (wire.Exchange, []wire.Payload) {
		return func(*script) (wire.Exchange, []wire.Payload) {
			return wire.INFORMATIONAL, []wire.Payload{raw(wire.TypeDELETE, append([]byte{protocol, size, byte(count >> 8), byte(count)}, spis...)...)}
		}
	}
	child := func(at int, p ...wire.Payload) func(*script) (wire.Exchange, []wire.Payload) {
		return func(s *script) (wire.Exchange, []wire.Payload) {
			l := s.newChild(suite.CURVE25519)
			return wire.CREATE_CHILD_SA, slices.Concat(l[:at], p, l[at+1:])
		}
	}
	gcm := []byte{3, 0, 0, 12, 1, 0, 0, 20, 128, 14, 0, 128}
	group := []byte{3, 0, 0, 8, 4, 0, 0, 31}
	esn := []byte{0, 0, 0, 8, 5, 0, 0, 0}
	offer := func(protocol, size, count byte, spi []byte, transforms ...[]byte) wire.Payload {
		body := slices.Concat(append([][]byte{{0, 0, 0, 0, 1, protocol, size, count}, spi}, transforms...)...)
		binary.BigEndian.PutUint16(body[2:], uint16(len(body)))
		return raw(wire.TypeSA, body...)
	}
	spi := []byte{0, 0, 8, 8}
	with := func(attribute ...byte) []byte {
		return append([]byte{3, 0, 0, byte(8 + len(attribute)), 1, 0, 0, 20}, attribute...)
	}
	// The endpoint's answer: the notify, or 0 for success, and whether the IKE SA ends with it.
	syntax := wire.INVALID_SYNTAX
	for name, c := range map[string]struct {
		ask    func(*script) (wire.Exchange, []wire.Payload)
		answer []wire.NotifyType
		closed bool
	}{
		"REKEY_SA, protocol 0":              {rekey(0, 4, 0, 0, 9, 9), []wire.NotifyType{syntax, wire.CHILD_SA_NOT_FOUND}, false},
		"REKEY_SA, protocol 1":              {rekey(1, 4, 0, 0, 9, 9), []wire.NotifyType{syntax, wire.CHILD_SA_NOT_FOUND}, false},
		"REKEY_SA, protocol 2":              {rekey(2, 4, 0, 0, 9, 9), []wire.NotifyType{wire.CHILD_SA_NOT_FOUND}, false},
		"REKEY_SA, protocol 255":            {rekey(255, 4, 0, 0, 9, 9), []wire.NotifyType{syntax, wire.CHILD_SA_NOT_FOUND}, false},
		"REKEY_SA, no SPI":                  {rekey(3, 0), []wire.NotifyType{syntax, wire.CHILD_SA_NOT_FOUND}, false},
		"REKEY_SA, an SPI of 3 octets":      {rekey(3, 3, 0, 9, 9), []wire.NotifyType{syntax}, true},
		"REKEY_SA, an SPI of 5 octets":      {rekey(3, 5, 0, 0, 9, 9, 0), []wire.NotifyType{syntax}, true},
		"REKEY_SA, an SPI of 8 octets":      {rekey(3, 8, 0, 0, 9, 9, 0, 0, 9, 9), []wire.NotifyType{syntax}, true},
		"REKEY_SA, an SPI that is too long": {rekey(3, 200, 0, 0, 9, 9), []wire.NotifyType{syntax}, true},
		"REKEY_SA, an unknown SPI":          {rekey(3, 4, 7, 7, 7, 7), []wire.NotifyType{wire.CHILD_SA_NOT_FOUND}, false},
		"REKEY_SA twice": {func(s *script) (wire.Exchange, []wire.Payload) {
			n := &wire.Notify{Protocol: suite.ESP, SPI: s.childIn, Kind: wire.REKEY_SA}
			return wire.CREATE_CHILD_SA, append([]wire.Payload{n, n}, s.newChild(suite.CURVE25519)...)
		}, []wire.NotifyType{0, syntax}, false},
		"Delete of nothing":                    {erase(3, 4, 0), []wire.NotifyType{0}, false},
		"Delete of 65535 SPIs that are absent": {erase(3, 4, 65535), []wire.NotifyType{syntax}, true},
		"Delete of a protocol that is none":    {erase(0, 4, 1, 0, 0, 9, 9), []wire.NotifyType{syntax}, true},
		"Delete of SPIs of 3 octets":           {erase(3, 3, 1, 0, 9, 9), []wire.NotifyType{syntax}, true},
		"Delete of the IKE SA with an SPI":     {erase(1, 8, 1, 1, 2, 3, 4, 5, 6, 7, 8), []wire.NotifyType{syntax}, true},
		"Delete of 1000 children": {func(*script) (wire.Exchange, []wire.Payload) {
			var spis []byte
			for i := range 1000 {
				spis = binary.BigEndian.AppendUint32(spis, uint32(0x70000+i))
			}
			return erase(3, 4, 1000, spis...)(nil)
		}, []wire.NotifyType{0, syntax}, true},
		"no KE":             {child(2), []wire.NotifyType{wire.INVALID_KE_PAYLOAD, syntax, wire.NO_PROPOSAL_CHOSEN}, false},
		"an empty KE":       {child(2, raw(wire.TypeKE, 0, 31, 0, 0)), []wire.NotifyType{syntax}, true},
		"a KE of zeros":     {child(2, raw(wire.TypeKE, append([]byte{0, 31, 0, 0}, make([]byte, 32)...)...)), []wire.NotifyType{syntax}, true},
		"a KE of 10 kB":     {child(2, raw(wire.TypeKE, append([]byte{0, 31, 0, 0}, make([]byte, 10000)...)...)), []wire.NotifyType{syntax}, true},
		"no selector":       {child(3, raw(wire.TypeTSi, 0, 0, 0, 0)), []wire.NotifyType{syntax, wire.TS_UNACCEPTABLE}, true},
		"absent selectors":  {child(4, raw(wire.TypeTSr, 200, 0, 0, 0)), []wire.NotifyType{syntax}, true},
		"an empty offer":    {child(0, raw(wire.TypeSA)), []wire.NotifyType{syntax, wire.NO_PROPOSAL_CHOSEN}, true},
		"an offer of AH":    {child(0, offer(2, 4, 3, spi, gcm, group, esn)), []wire.NotifyType{wire.NO_PROPOSAL_CHOSEN}, false},
		"an offer of 0":     {child(0, offer(0, 4, 3, spi, gcm, group, esn)), []wire.NotifyType{syntax, wire.NO_PROPOSAL_CHOSEN}, false},
		"an offer, no SPI":  {child(0, offer(3, 0, 3, nil, gcm, group, esn)), []wire.NotifyType{syntax, wire.NO_PROPOSAL_CHOSEN}, true},
		"no transforms":     {child(0, offer(3, 4, 0, spi)), []wire.NotifyType{syntax}, true},
		"too few":           {child(0, offer(3, 4, 4, spi, gcm, group, esn)), []wire.NotifyType{syntax}, true},
		"too many":          {child(0, offer(3, 4, 2, spi, gcm, group, esn)), []wire.NotifyType{syntax}, true},
		"no key length":     {child(0, offer(3, 4, 3, spi, with(), group, esn)), []wire.NotifyType{wire.NO_PROPOSAL_CHOSEN}, false},
		"a key length of 0": {child(0, offer(3, 4, 3, spi, with(128, 14, 0, 0), group, esn)), []wire.NotifyType{wire.NO_PROPOSAL_CHOSEN, syntax}, false},
		"two key lengths":   {child(0, offer(3, 4, 3, spi, with(128, 14, 1, 0, 128, 14, 0, 128), group, esn)), []wire.NotifyType{wire.NO_PROPOSAL_CHOSEN, syntax}, false},
		"an odd key length": {child(0, offer(3, 4, 3, spi, with(128, 14, 0, 129), group, esn)), []wire.NotifyType{wire.NO_PROPOSAL_CHOSEN}, false},
		"a long attribute":  {child(0, offer(3, 4, 3, spi, with(0, 14, 0, 2, 0, 128), group, esn)), []wire.NotifyType{wire.NO_PROPOSAL_CHOSEN, syntax}, false},
		"as it should be":   {child(0, offer(3, 4, 3, spi, gcm, group, esn)), []wire.NotifyType{0}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := called(t, nil)
			sa, first := s.sa(), s.sa().children[0]
			x, list := c.ask(s)
			s.request(x, list...)
			_, got := s.want("answers", x, true)
			kind := wire.NotifyType(0)
			if len(got.notifies) > 0 && got.notifies[0].Kind.IsError() {
				kind = got.notifies[0].Kind
			}
			if !slices.Contains(c.answer, kind) {
				t.Errorf("answers %v, want one of %v; %v", got.notifies, c.answer, s.texts())
			}
			if sa.isGone() && !c.closed || first.gone && !sa.isGone() {
				t.Errorf("IKE SA gone: %v, child gone: %v; %v", sa.isGone(), first.gone, s.texts())
			}
			if !sa.isGone() {
				s.request(wire.INFORMATIONAL)
				s.want("is alive", wire.INFORMATIONAL, true)
			}
		})
	}
}

// TestEveryTransform offers every encryption and every other algorithm that has a number, with every key length that anybody may think
// of, for the IKE SA. What is chosen is in our list, and echoed as it was offered (RFC 7296 3.3.6).
//
// Cases: BUG-09; add_notify.
func TestEveryTransform(t *testing.T) {
	configured := testProposal(suite.IKE, testIKE)[0]
	tried, chosen := 0, 0
	for _, which := range []suite.Type{suite.TypeENCR, suite.TypePRF, suite.TypeINTEG, suite.TypeKE} {
		for id := range uint16(41) {
			lengths := []uint16{0, 1, 64, 128, 192, 256, 65535}
			if which != suite.TypeENCR {
				lengths = lengths[:1]
			}
			for _, bits := range lengths {
				offer := one(configured, 0)
				offer.Transforms = slices.DeleteFunc(offer.Transforms, func(x suite.Transform) bool { return x.Type == which })
				offer.Transforms = append(offer.Transforms, suite.Transform{Type: which, ID: id, KeyBits: bits})
				s := newScript(t, nil)
				s.initiator, s.spiI = true, 0xaaaa
				list := s.initPayloads([]suite.Proposal{offer}, suite.CURVE25519, 1)
				s.send(s.header(wire.IKE_SA_INIT, 0, false), list...)
				_, c := s.want("answers", wire.IKE_SA_INIT, true)
				tried++
				if c.sa == nil {
					if s.order.len() > 0 {
						t.Fatalf("%v is refused and kept", offer.Transforms)
					}
					continue
				}
				chosen++
				got := c.sa.Proposals[0].Proposal
				for _, x := range got.Transforms {
					if !slices.Contains(configured.Transforms, x) && x.ID != suite.AUTH_NONE || !slices.Contains(offer.Transforms, x) {
						t.Errorf("of %v %v is chosen", offer.Transforms, got.Transforms)
					}
				}
			}
		}
	}
	// The cipher, its function, no integrity algorithm of its own (AUTH_NONE), and two groups, one of which is asked for.
	if tried != 41*7+3*41 || chosen < 4 || chosen > 5 {
		t.Errorf("%d of %d offers are accepted", chosen, tried)
	}
}

// TestAgenda compares the agenda with a list that is searched: nothing comes before its time, nothing is lost, however it is moved and
// however far the times lie apart.
//
// Cases: BUG-28.
func TestAgenda(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var a agenda
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	entries := make([]*entry, 200)
	for i := range entries {
		entries[i] = &entry{owner: owner(i)}
	}
	model := make(map[int]time.Time)
	now := begin
	for range 20000 {
		i := rnd.IntN(len(entries))
		switch rnd.IntN(4) {
		case 0:
			a.set(entries[i], time.Time{})
			delete(model, i)
		case 1:
			now = now.Add(time.Duration(rnd.Int64N(int64(time.Hour))))
			for x := a.due(now); x != nil; x = a.due(now) {
				at, known := model[int(x.(owner))]
				if !known || at.After(now) {
					t.Fatalf("%d comes at %v, is due %v", x, now, at)
				}
				delete(model, int(x.(owner)))
			}
			for i, at := range model {
				if !at.After(now) {
					t.Fatalf("%d was due %v and did not come", i, at)
				}
			}
		default:
			// Up to 290 years ahead, as far as a Duration reaches.
			at := now.Add(time.Duration(rnd.Int64() >> rnd.IntN(40)))
			a.set(entries[i], at)
			model[i] = at
		}
		first, ok := a.next()
		for _, at := range model {
			if at.Before(first) {
				t.Fatalf("%v is not the first: %v", first, at)
			}
		}
		if ok != (len(model) > 0) || len(a.entries) != len(model) {
			t.Fatalf("%d entries, want %d", len(a.entries), len(model))
		}
	}
}

type owner int

func (owner) fire() {}

// TestDatapathRefuses: the datapath cannot use the keys of a child, in either role, and says so. The peer gets a Delete, no half stays,
// and what is to be kept up is not asked for again at once.
//
// Cases: impair-install-ipsec-sa-; install_*_sa.
func TestDatapathRefuses(t *testing.T) {
	for role, establish := range map[string]func(*testing.T, func(*Config)) *script{"initiator": calling, "responder": called} {
		for _, start := range []Action{None, Start} {
			t.Run(fmt.Sprint(role, ", start action ", start), func(t *testing.T) {
				s := establish(t, func(c *Config) {
					if c.Connections[0].Children[0].StartAction = start; role == "responder" {
						c.Connections[0].RemoteHost = ""
					}
				})
				s.give(Expiring{SPI: binary.BigEndian.Uint32(s.childOut), Hard: true})
				s.give(Expiring{SPI: binary.BigEndian.Uint32(s.childOut), Hard: true})
				h, c := s.want("tells the peer", wire.INFORMATIONAL, false)
				if len(c.deletes) != 1 || !bytes.Equal(c.deletes[0].SPIs[0], s.childOut) {
					t.Fatalf("deletes %v", c.deletes)
				}
				s.answer(wire.INFORMATIONAL, h.MessageID, &wire.Delete{Protocol: suite.ESP, SPIs: [][]byte{s.childIn}})
				if s.installs() > 1 {
					t.Errorf("%d halves are left", s.installs())
				}
				s.wantIdle("does not insist at once")
				s.wantEvent("tells", ChildDown)
				s.pass(2 * backoffMin)
				if asked := len(s.sends) > 0; asked != (start == Start) {
					t.Errorf("asks again: %v", asked)
				}
				s.pass(drainTime)
				if s.installs() != 0 {
					t.Errorf("%d halves are left", s.installs())
				}
			})
		}
	}
}
