package ike

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/ident"
	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/natt"
	"github.com/culvert-vpn/culvert/psk"
	"github.com/culvert-vpn/culvert/suite"
	"github.com/culvert-vpn/culvert/ts"
)

const (
	testIKE = "aes128gcm16-prfsha256-x25519-ecp256"
	testESP = "aes128gcm16-x25519-ecp256"
)

// script plays the peer of an endpoint, message by message. The endpoint is @us, the peer @peer.
type script struct {
	*Endpoint
	t    *testing.T
	now  time.Time
	rand *rand.ChaCha8
	held map[uint32]bool
	// sends and events are what the endpoint returned and the test did not ask for yet; all is everything but that.
	sends  []Send
	events []Event
	all    []Effect

	path natt.Path // as the endpoint sees it

	// The peer's own state.
	initiator      bool
	spiI, spiR     uint64
	nonceI, nonceR []byte
	keys           *keys
	secret         *psk.Store
	id             ident.ID
	first          []byte // our IKE_SA_INIT message
	theirFirst     []byte
	nextID         uint32
	childOut       []byte // the endpoint's inbound SPI, and ours
	childIn        []byte
	private        suite.KEPrivate
	announces      bool // that it takes fragments
	childless      bool // it announces that it takes IKE_AUTH without a child
	dns            map[string]string
	elsewhere      bool // hosts are where their addresses say
}

func (s *script) AllocSPI() (uint32, bool) {
	spi := uint32(0x1000 + len(s.all) + len(s.held)*256)
	s.held[spi] = true
	return spi, true
}
func (s *script) FreeSPI(spi uint32)     { delete(s.held, spi) }
func (s *script) Received(uint32) uint64 { return 0 }
func (s *script) Sent(uint32) uint64     { return 0 }

func testSecrets(t testing.TB, secret string, owners ...string) *psk.Store {
	store := psk.NewStore()
	var patterns []ident.Pattern
	for _, o := range owners {
		patterns = append(patterns, testPattern(o))
	}
	if err := store.Add("ike-peer", []byte(secret), patterns); err != nil {
		t.Fatal(err)
	}
	return store
}

func testPattern(text string) ident.Pattern {
	p, err := ident.ParsePattern(text)
	if err != nil {
		panic(err)
	}
	return p
}

func testID(text string) ident.ID {
	id, err := ident.Parse(text)
	if err != nil {
		panic(err)
	}
	return id
}

func testProposal(p suite.Protocol, text string) []suite.Proposal {
	v, err := suite.ParseProposal(p, text)
	if err != nil {
		panic(err)
	}
	return []suite.Proposal{v}
}

func testSpec(text string) []ts.Spec {
	v, err := ts.ParseSpec(text)
	if err != nil {
		panic(err)
	}
	return []ts.Spec{v}
}

// newScript makes an endpoint with one connection. change may alter its configuration.
func newScript(t *testing.T, change func(*Config)) *script {
	s := &script{
		t: t, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), rand: rand.NewChaCha8([32]byte{1}), held: make(map[uint32]bool),
		path:   natt.Path{Local: netip.MustParseAddrPort("192.0.2.1:500"), Remote: netip.MustParseAddrPort("192.0.2.2:500")},
		secret: testSecrets(t, "secret"), id: testID("@peer"), childIn: []byte{0, 0, 9, 9},
	}
	s.Endpoint = New(s.config(change))
	s.give(Tick{})
	return s
}

// config is a configuration of one connection with one child. change may alter it.
func (s *script) config(change func(*Config)) Config {
	cfg := Config{
		Rand: s.rand, Datapath: s, Secrets: testSecrets(s.t, "secret"), Retransmit: Retransmit{Timeout: time.Second, Base: 2, Tries: 3},
		Connections: []*Connection{{
			Name: "c", RemoteHost: "192.0.2.2", LocalPort: 500, RemotePort: 500, LocalID: testID("@us"), RemoteID: testPattern("@peer"),
			Proposals: testProposal(suite.IKE, testIKE), Window: 1,
			Children: []*Child{{Name: "net", LocalTS: testSpec("10.1.0.0/16"), RemoteTS: testSpec("10.2.0.0/16"),
				Proposals: testProposal(suite.ESP, testESP), StartAction: Trap}},
		}},
	}
	if change != nil {
		change(&cfg)
	}
	return cfg
}

// give lets the endpoint take an input.
func (s *script) give(in Input) {
	s.t.Helper()
	var dials []Dial
	for _, e := range s.Handle(s.now, in) {
		s.all = append(s.all, e)
		switch e := e.(type) {
		case Send:
			e.Data = slices.Clone(e.Data)
			s.sends = append(s.sends, e)
		case Event:
			s.events = append(s.events, e)
		case Dial:
			dials = append(dials, e)
		}
	}
	for _, d := range dials {
		s.give(s.resolve(d))
	}
}

// resolve finds the configured peer where it is, and others by their address or in the DNS.
func (s *script) resolve(d Dial) Resolved {
	path := s.path
	if d.Host != d.Conn.RemoteHost || s.elsewhere {
		addr, err := netip.ParseAddr(orElse(s.dns[d.Host], d.Host))
		if err != nil {
			return Resolved{Conn: d.Conn.Name, Err: err}
		}
		path = natt.Path{Local: netip.AddrPortFrom(s.path.Local.Addr(), 500), Remote: netip.AddrPortFrom(addr, 500)}
	}
	return Resolved{Conn: d.Conn.Name, Path: path}
}

func orElse(text, fallback string) string {
	if text == "" {
		return fallback
	}
	return text
}

// pass lets time pass, with a tick whenever one is due.
func (s *script) pass(d time.Duration) {
	s.t.Helper()
	end := s.now.Add(d)
	for n := 0; ; n++ {
		at, ok := s.Deadline()
		if !ok || at.After(end) {
			break
		}
		if n > 1000 {
			s.t.Fatal("a busy loop")
		}
		if at.After(s.now) {
			s.now = at
		}
		s.give(Tick{})
	}
	s.now = end
}

// deliver gives the endpoint a message of the peer.
func (s *script) deliver(data []byte) {
	s.t.Helper()
	s.give(Datagram{Path: s.path, Data: slices.Clone(data)})
}

// send sends a clear message.
func (s *script) send(h wire.Header, payloads ...wire.Payload) []byte {
	s.t.Helper()
	data := wire.AppendMessage(nil, h, payloads)
	s.deliver(data)
	return data
}

// header of a message of the peer.
func (s *script) header(x wire.Exchange, id uint32, response bool) wire.Header {
	return wire.Header{SPIi: s.spiI, SPIr: s.spiR, Major: 2, Exchange: x, Initiator: s.initiator, Response: response, MessageID: id}
}

// seal makes an encrypted message of the peer.
func (s *script) seal(x wire.Exchange, id uint32, response bool, payloads ...wire.Payload) []byte {
	s.keys.iv++
	return wire.AppendSealed(nil, s.header(x, id, response), payloads, s.keys.out, s.keys.iv)
}

// request sends the peer's next request.
func (s *script) request(x wire.Exchange, payloads ...wire.Payload) []byte {
	s.t.Helper()
	data := s.seal(x, s.nextID, false, payloads...)
	s.nextID++
	s.deliver(data)
	return data
}

// answer sends the peer's answer to a request.
func (s *script) answer(x wire.Exchange, id uint32, payloads ...wire.Payload) {
	s.t.Helper()
	s.deliver(s.seal(x, id, true, payloads...))
}

// want takes the next message that the endpoint sent, which must be of this exchange.
func (s *script) want(why string, x wire.Exchange, response bool) (wire.Header, *content) {
	s.t.Helper()
	if len(s.sends) == 0 {
		s.t.Fatalf("%s: nothing is sent; events: %v", why, s.texts())
	}
	data := slices.Clone(s.sends[0].Data)
	s.sends = s.sends[1:]
	m, err := wire.Parse(data)
	if err != nil {
		s.t.Fatalf("%s: %v", why, err)
	}
	if m.Header.Exchange != x || m.Header.Response != response {
		s.t.Fatalf("%s: %v is sent", why, m)
	}
	payloads := m.Payloads
	if m.Encrypted != nil {
		if payloads, err = wire.OpenSealed(data, m, s.keys.in); err != nil {
			s.t.Fatalf("%s: %v", why, err)
		}
	}
	c, err := collect(payloads)
	if err != nil {
		s.t.Fatalf("%s: %v", why, err)
	}
	return m.Header, c
}

// wantNotify takes the next message, which must carry a notify.
func (s *script) wantNotify(why string, x wire.Exchange, kind wire.NotifyType) *wire.Notify {
	s.t.Helper()
	_, c := s.want(why, x, true)
	n := c.notify(kind)
	if n == nil {
		s.t.Fatalf("%s: no %v but %v", why, kind, c.notifies)
	}
	return n
}

// wantIdle checks that nothing was sent.
func (s *script) wantIdle(why string) {
	s.t.Helper()
	if len(s.sends) > 0 {
		m, _ := wire.Parse(s.sends[0].Data)
		s.t.Fatalf("%s: %v is sent", why, m)
	}
}

// wantEvent checks that an event of the kind was told whose text and remedy contain these words.
func (s *script) wantEvent(why string, kind EventKind, words ...string) {
	s.t.Helper()
	for _, ev := range s.events {
		said := ev.Text + " / " + ev.Remedy
		if ev.Kind == kind && !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(said, w) }) {
			return
		}
	}
	s.t.Errorf("%s: no event %v with %q in %q", why, kind, words, s.texts())
}

func (s *script) texts() []string {
	var list []string
	for _, ev := range s.events {
		list = append(list, fmt.Sprintf("%v: %s / %s", ev.Kind, ev.Text, ev.Remedy))
	}
	return list
}

// installs counts the halves of Child SAs that were installed and not removed.
func (s *script) installs() int {
	n := 0
	for _, e := range s.all {
		switch e.(type) {
		case Install:
			n++
		case Remove:
			n--
		}
	}
	return n
}

// sa is the only IKE SA of the endpoint.
func (s *script) sa() *ikeSA {
	s.t.Helper()
	if s.order.len() != 1 {
		s.t.Fatalf("%d IKE SAs, want 1; events: %v", s.order.len(), s.texts())
	}
	return s.order.at(0)
}

// initPayloads are those of the peer's IKE_SA_INIT, with a new nonce and a new key.
func (s *script) initPayloads(proposals []suite.Proposal, group uint16, number uint8) []wire.Payload {
	s.t.Helper()
	ke, err := suite.NewKE(group)
	if err != nil {
		s.t.Fatal(err)
	}
	private, public, err := ke.Offer(s.rand)
	if err != nil {
		s.t.Fatal(err)
	}
	s.private = private
	nonce := make([]byte, 32)
	if s.initiator {
		nonce = make([]byte, firstNonceLen)
	}
	s.rand.Read(nonce)
	if s.initiator {
		s.nonceI = nonce
	} else {
		s.nonceR = nonce
	}
	list := []wire.Payload{numbered(proposals, nil, number), &wire.KE{Group: group, Data: public}, &wire.Nonce{Data: nonce}}
	back := natt.Path{Local: s.path.Remote, Remote: s.path.Local}
	if s.announces {
		list = append(list, &wire.Notify{Kind: wire.IKEV2_FRAGMENTATION_SUPPORTED})
	}
	if s.childless {
		list = append(list, &wire.Notify{Kind: wire.CHILDLESS_IKEV2_SUPPORTED})
	}
	return append(list, natDetection(s.spiI, s.spiR, back)...)
}

func numbered(proposals []suite.Proposal, spi []byte, first uint8) *wire.SA {
	sa := number(proposals, spi)
	for i := range sa.Proposals {
		sa.Proposals[i].Number = first + uint8(i)
	}
	return sa
}

// derive computes the keys, with the public value of the endpoint.
func (s *script) derive(public []byte) {
	s.t.Helper()
	shared, err := s.private.Finish(public)
	if err != nil {
		s.t.Fatal(err)
	}
	chosen := one(testProposal(suite.IKE, testIKE)[0], 0)
	prfT, _ := chosen.Get(suite.TypePRF)
	prf, _ := suite.NewPRF(prfT)
	in := keyInput{nonceI: s.nonceI, nonceR: s.nonceR, spiI: s.spiI, spiR: s.spiR, shared: shared}
	if s.keys, err = deriveKeys(chosen, in.skeyseed(prf), in, s.initiator, nil); err != nil {
		s.t.Fatal(err)
	}
	s.path = s.path.Float()
}

// one is a proposal with one transform of each type: of the key exchanges the n-th.
func one(p suite.Proposal, n int) suite.Proposal {
	out := suite.Proposal{Protocol: p.Protocol}
	for _, t := range []suite.Type{suite.TypeENCR, suite.TypePRF, suite.TypeINTEG, suite.TypeKE, suite.TypeESN} {
		if all := p.All(t); len(all) > 0 {
			if t == suite.TypeKE {
				all = all[n:]
			}
			out.Transforms = append(out.Transforms, all[0])
		}
	}
	return out
}

// call begins as initiator: IKE_SA_INIT and its answer.
func (s *script) call() {
	s.t.Helper()
	s.initiator, s.spiI, s.spiR = true, 0xaaaa, 0
	s.first = s.send(s.header(wire.IKE_SA_INIT, 0, false), s.initPayloads(testProposal(suite.IKE, testIKE), suite.CURVE25519, 1)...)
	if len(s.sends) > 0 {
		s.theirFirst = s.sends[0].Data
	}
	h, c := s.want("answers IKE_SA_INIT", wire.IKE_SA_INIT, true)
	if err := shapeInit.check(c); err != nil {
		s.t.Fatal(err)
	}
	s.spiR, s.nonceR = h.SPIr, slices.Clone(c.nonce.Data)
	s.derive(c.ke.Data)
	s.nextID = 1
}

// auth makes the peer's AUTH with an identity and a secret.
func (s *script) auth(id ident.ID, secret *psk.Store) []wire.Payload {
	body := id.AppendWire(nil)
	nonce, skp := s.nonceR, s.keys.pi
	if !s.initiator {
		nonce, skp = s.nonceI, s.keys.pr
	}
	data := secret.Lookup(id, testID("@us"))[0].Auth(s.keys.prf, s.keys.signed(append(slices.Clone(s.first), nonce...), skp, body))
	return []wire.Payload{&wire.ID{Responder: !s.initiator, ID: id, Raw: body}, &wire.Auth{Method: wire.AuthSharedKey, Data: data}}
}

// childPayloads ask for the child or, as responder, grant it.
func (s *script) childPayloads(number uint8) []wire.Payload {
	mine, other := ts.Resolve(testSpec("10.2.0.0/16")), ts.Resolve(testSpec("10.1.0.0/16"))
	if !s.initiator {
		mine, other = other, mine
	}
	p := one(testProposal(suite.ESP, testESP)[0].WithoutKE(), 0)
	return []wire.Payload{numbered([]suite.Proposal{p}, s.childIn, number), &wire.TS{Selectors: mine}, &wire.TS{Responder: true, Selectors: other}}
}

// called establishes an IKE SA with a child, the peer being the initiator.
func called(t *testing.T, change func(*Config)) *script {
	t.Helper()
	s := newScript(t, change)
	s.call()
	s.request(wire.IKE_AUTH, append(s.auth(s.id, s.secret), s.childPayloads(1)...)...)
	_, c := s.want("answers IKE_AUTH", wire.IKE_AUTH, true)
	if c.auth == nil || c.sa == nil || s.installs() != 2 {
		t.Fatalf("not established: %v", s.texts())
	}
	s.childOut = c.sa.Proposals[0].SPI
	return s
}

// takeCall answers the IKE_SA_INIT of the endpoint, as responder.
func (s *script) takeCall() {
	s.t.Helper()
	if len(s.sends) > 0 {
		s.theirFirst = s.sends[0].Data
	}
	h, c := s.want("calls", wire.IKE_SA_INIT, false)
	s.initiator, s.spiI, s.spiR = false, h.SPIi, 0xbbbb
	s.nonceI = slices.Clone(c.nonce.Data)
	chosen := one(testProposal(suite.IKE, testIKE)[0], 0)
	payloads := s.initPayloads([]suite.Proposal{chosen}, suite.CURVE25519, 1)
	public := slices.Clone(c.ke.Data)
	floated := s.path
	s.derive(public)
	s.path = floated
	s.first = s.send(s.header(wire.IKE_SA_INIT, 0, true), payloads...)
	s.path = s.path.Float()
}

// calling lets the endpoint call and establishes an IKE SA with a child.
func calling(t *testing.T, change func(*Config)) *script {
	t.Helper()
	s := newScript(t, change)
	s.give(Initiate{Conn: "c"})
	s.takeCall()
	_, c := s.want("authenticates", wire.IKE_AUTH, false)
	s.childOut = c.sa.Proposals[0].SPI
	s.answer(wire.IKE_AUTH, 1, append(s.auth(s.id, s.secret), s.childPayloads(1)...)...)
	if s.installs() != 2 {
		t.Fatalf("not established: %v", s.texts())
	}
	return s
}

// at is the i-th IKE SA of those that there are.
func (r *roster) at(i int) *ikeSA { return slices.Collect(r.all())[i] }
