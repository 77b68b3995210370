package ike

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/culvert-vpn/culvert/explain"
	"github.com/culvert-vpn/culvert/ident"
	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/natt"
	"github.com/culvert-vpn/culvert/suite"
)

// expectAuth waits for the IKE_AUTH request.
type expectAuth struct {
	// what the two ends sign, but for their identities
	signed, signedByPeer []byte
	// candidates are the connections whose addresses and proposals fit.
	candidates []*Connection
	// childless: the peer was told that it may do without a child.
	childless bool
}

func (*expectAuth) String() string { return "waiting for IKE_AUTH" }
func (*expectAuth) stage() stage   { return initAnswered }

// respond takes an IKE_SA_INIT request for which there is no IKE SA. What costs work comes last: until the sender has proved
// where it is, if it has to, there is neither a parsed message nor a key exchange, and nothing is kept (RFC 7296 2.6).
func (e *Endpoint) respond(d Datagram) {
	first, ok := wire.ReadFirst(d.Data)
	if !ok || !first.Header.Initiator || first.Header.SPIi == 0 || first.Header.SPIr != 0 || len(d.Data) > maxFirst {
		e.drop(d, "malformed IKE_SA_INIT")
		return
	}
	if e.shutting {
		e.drop(d, "shutting down")
		return
	}
	from := d.Path.Remote.Addr()
	src, proved := source(from), e.proved(&first, from)
	if e.halfOpen.suspicious(src) && !proved {
		e.askCookie(d, &first)
		return
	}
	if e.halfOpen.full(src) {
		e.drop(d, "too many half-open IKE SAs")
		return
	}
	e.negotiate(d, &first, proved)
}

// proved reports whether a first message has a cookie of ours.
func (e *Endpoint) proved(f *wire.First, from netip.Addr) bool {
	if f.Cookie == nil {
		return false
	}
	e.cookies.rotate(e.now, e.random)
	return e.cookies.proves(f, from)
}

// askCookie answers with a cookie and keeps nothing. A cookie that was wrong is as good as none (RFC 7296 2.6).
func (e *Endpoint) askCookie(d Datagram, f *wire.First) {
	e.cookies.rotate(e.now, e.random)
	e.notice(d, f.Header, &wire.Notify{Kind: wire.COOKIE, Data: e.cookies.bake(f, d.Path.Remote.Addr())})
}

// readInit parses a first message. ok is false if that was answered, or dropped.
func (e *Endpoint) readInit(d Datagram, h wire.Header) (c *content, ok bool) {
	m, err := wire.Parse(d.Data)
	var critical *wire.UnknownCritical
	if errors.As(err, &critical) {
		e.refuse(d, h, complaint(err), malformed("IKE_SA_INIT with an unknown critical payload"))
		return nil, false
	}
	if err == nil {
		e.contains(m.Payloads)
		c, err = collect(m.Payloads)
	}
	if err == nil {
		err = shapeInit.check(c)
	}
	if err != nil {
		e.drop(d, "malformed IKE_SA_INIT")
		return nil, false
	}
	return c, true
}

// negotiate parses a first message and answers it.
func (e *Endpoint) negotiate(d Datagram, f *wire.First, proved bool) {
	h := f.Header
	c, ok := e.readInit(d, h)
	if !ok {
		return
	}
	conns := e.reachable(d.Path)
	if len(conns) == 0 {
		e.refuse(d, h, &wire.Notify{Kind: wire.NO_PROPOSAL_CHOSEN},
			e.noConnection(d.Path))
		return
	}
	nat := natSituation(h, c, d.Path)
	if !nat.Supported {
		e.refuse(d, h, &wire.Notify{Kind: wire.NO_PROPOSAL_CHOSEN}, noEncapsulation(conns...))
		return
	}
	offers, numbered := c.offers(suite.IKE, 0)
	for _, conn := range conns {
		i, chosen, ok := suite.Choose(offers, conn.Proposals, c.ke.Group)
		if !ok {
			continue
		}
		if t, _ := chosen.Get(suite.TypeKE); t.ID != c.ke.Group {
			e.notice(d, h, &wire.Notify{Kind: wire.INVALID_KE_PAYLOAD, Data: binary.BigEndian.AppendUint16(nil, t.ID)})
			return
		}
		answer := &wire.SA{Proposals: []wire.Proposal{{Number: numbered[i].Number, Proposal: chosen}}}
		told := extensions{
			fragments: announcesFragments(conns...) && c.notify(wire.IKEV2_FRAGMENTATION_SUPPORTED) != nil,
			childless: announcesChildless(conns),
		}
		if !proved && len(d.Data) < e.initAnswerLen(d, answer, c.ke.Group, told) {
			// The answer may be longer only if it goes to where the request came from.
			e.askCookie(d, f)
			return
		}
		e.acceptInit(d, h, c, nat, conns, answer, told)
		return
	}
	e.refuse(d, h, &wire.Notify{Kind: wire.NO_PROPOSAL_CHOSEN},
		noCommonIKE(conns, offers))
}

// initAnswerLen is how long an answer to IKE_SA_INIT will be, in bytes.
func (e *Endpoint) initAnswerLen(d Datagram, answer *wire.SA, group uint16, told extensions) int {
	payloads := initAnswer(answer, group, make([]byte, suite.KEPublicLen(group)), make([]byte, nonceLen), told)
	payloads = append(payloads, natDetection(0, 0, d.Path)...)
	return len(wire.AppendMessage(nil, wire.Header{}, payloads))
}

// extensions are what an answer to IKE_SA_INIT announces.
type extensions struct{ fragments, childless bool }

// initAnswer are the payloads of an answer to IKE_SA_INIT, but for NAT detection.
func initAnswer(answer *wire.SA, group uint16, public, nonce []byte, told extensions) []wire.Payload {
	list := []wire.Payload{answer, &wire.KE{Group: group, Data: public}, &wire.Nonce{Data: nonce}}
	if told.fragments {
		list = append(list, &wire.Notify{Kind: wire.IKEV2_FRAGMENTATION_SUPPORTED})
	}
	if told.childless {
		list = append(list, &wire.Notify{Protocol: suite.IKE, Kind: wire.CHILDLESS_IKEV2_SUPPORTED})
	}
	return list
}

// reachable are the connections whose addresses fit a path.
func (e *Endpoint) reachable(p natt.Path) []*Connection {
	var found []*Connection
	for _, c := range e.cfg.Connections {
		if within(c.LocalAddrs, p.Local.Addr()) && within(c.RemoteAddrs, p.Remote.Addr()) {
			found = append(found, c)
		}
	}
	return found
}

// refuse answers a first message with an error, tells why, and keeps nothing. It does so for as many as the limit allows:
// neither the network nor a log is to be flooded.
func (e *Endpoint) refuse(d Datagram, h wire.Header, n *wire.Notify, why *explain.Diagnosis) {
	if !e.complaints.allow(e.now, d.Path.Remote.Addr()) {
		e.drop(d, "too many requests that cannot be granted")
		return
	}
	e.emit(Event{Kind: Failed, Path: d.Path}.because(why))
	e.notice(d, h, n)
}

// acceptInit answers IKE_SA_INIT with the chosen proposal and computes the keys.
func (e *Endpoint) acceptInit(d Datagram, h wire.Header, c *content, nat natt.Situation, conns []*Connection, answer *wire.SA, told extensions) {
	ke, err := suite.NewKE(c.ke.Group)
	if err != nil {
		e.drop(d, "key exchange of an unknown group")
		return
	}
	public, shared, err := ke.Answer(e.cfg.Rand, c.ke.Data)
	if err != nil {
		e.refuse(d, h, &wire.Notify{Kind: wire.INVALID_SYNTAX}, malformed("the peer sends an invalid public value"))
		return
	}
	nonce := e.random(nonceLen)
	sa := e.newSA(false, e.newSPI(), h.SPIi, d.Path)
	sa.nat = nat
	sa.origin.mayRedirect = c.notify(wire.REDIRECT_SUPPORTED) != nil || c.notify(wire.REDIRECTED_FROM) != nil
	in := keyInput{nonceI: clone(c.nonce.Data), nonceR: nonce, spiI: sa.spiI, spiR: sa.spiR, shared: shared}
	if !sa.takeKeys(answer.Proposals[0].Proposal, in, nil) {
		return
	}
	sa.fragments.agreed = told.fragments
	payloads := initAnswer(answer, c.ke.Group, public, nonce, told)
	payloads = append(payloads, natDetection(sa.spiI, sa.spiR, d.Path)...)
	response := wire.AppendMessage(nil, sa.header(wire.IKE_SA_INIT, 0, true), payloads)
	s := &expectAuth{signed: append(response, in.nonceI...), signedByPeer: append(clone(d.Data), nonce...), candidates: conns, childless: told.childless}
	sa.state = s
	sa.win.in.keep(0, e.pack([][]byte{s.signed[:len(response):len(response)]}, payloads))
	sa.timers[timerGiveUp] = e.now.Add(halfOpenTime)
	sa.initial = initialKey{h.SPIi, d.Path.Remote}
	e.initial[sa.initial] = sa
	sa.unproven = true
	e.halfOpen.add(source(d.Path.Remote.Addr()))
	sa.send(d.Path, sa.win.in.answer(0))
}

// again takes the first message once more. The same bytes get the same answer (RFC 7296 2.1); so do those with a cookie that we
// asked for because of another copy, and they are what the peer signs, since it sent them last.
func (s *expectAuth) again(sa *ikeSA, d Datagram) {
	sa.end.arrival.Repeated = true
	nonce := sa.nonces.nonceR
	if was := s.signedByPeer[:len(s.signedByPeer)-len(nonce)]; !bytes.Equal(d.Data, was) {
		first, ok := wire.ReadFirst(d.Data)
		if !ok || !bytes.Equal(first.Nonce, sa.nonces.nonceI) || len(d.Data) > maxFirst || !sa.end.proved(&first, d.Path.Remote.Addr()) {
			sa.end.drop(d, "another first message under the SPI of a half-open IKE SA")
			return
		}
		s.signedByPeer = append(clone(d.Data), nonce...)
	}
	sa.send(d.Path, sa.win.in.answer(0))
}

// silence ends the wait for IKE_AUTH.
func (s *expectAuth) silence(sa *ikeSA) {
	if !sa.isSpare() {
		sa.tell(Failed, s.explain(sa))
	}
	sa.remove()
}

func (s *expectAuth) message(sa *ikeSA, d Datagram, m *wire.Message) {
	if m.Header.Exchange == wire.IKE_SA_INIT {
		s.again(sa, d)
		return
	}
	c, ok, err := sa.open(d, m)
	if !ok {
		return
	}
	// The request is authentic as far as the key exchange goes; it came by port 4500 after the float.
	sa.path, sa.asked, sa.askedID = d.Path, d.Path, m.Header.MessageID
	sa.heard = sa.end.now
	if err == nil && c.idi != nil && c.auth == nil {
		// That is how a peer asks for EAP (RFC 7296 2.16).
		sa.rejectAuth(&wire.Notify{Kind: wire.AUTHENTICATION_FAILED},
			sa.otherMethod(fmt.Sprintf("the peer %v sends no AUTH: it wants to authenticate by EAP", c.idi.ID), "EAP"))
		return
	}
	if err == nil {
		err = shapeAuthRequest.check(c)
	}
	if err == nil && !c.isChildless() {
		err = shapeChildAuth.check(c)
	}
	if err != nil {
		sa.rejectAuth(complaint(err), malformed("malformed IKE_AUTH: "+err.Error()))
		return
	}
	s.authenticate(sa, c)
}

// rejectAuth answers IKE_AUTH with an error and gives up. The answer is kept no longer than a half-open IKE SA would be, and
// on the same account: whoever fails to authenticate costs no more than who does not try (RFC 8019 4.2).
func (sa *ikeSA) rejectAuth(n *wire.Notify, d *explain.Diagnosis) {
	sa.tell(Failed, d)
	sa.reply(wire.IKE_AUTH, []wire.Payload{n})
	sa.linger()
	sa.timers[timerGiveUp] = sa.end.now.Add(halfOpenTime)
}

// authenticate checks who is calling. Whatever is wrong, the peer is told AUTHENTICATION_FAILED and no more.
func (s *expectAuth) authenticate(sa *ikeSA, c *content) {
	remote := c.idi.ID
	conn, local := sa.choosePeer(s.candidates, c)
	if conn == nil {
		local, d := ident.FromAddr(sa.path.Local.Addr()), sa.stranger(s.candidates, c)
		// The work of a wrong secret, so that time does not tell who is known.
		sa.verify(local, remote, sa.keys.signed(s.signedByPeer, sa.keys.pi, c.idi.Raw), c.auth)
		sa.identify(local, remote)
		sa.rejectAuth(&wire.Notify{Kind: wire.AUTHENTICATION_FAILED}, d)
		return
	}
	sa.belong(conn)
	sa.identify(local, remote)
	signed := sa.keys.signed(s.signedByPeer, sa.keys.pi, c.idi.Raw)
	secret, ok := sa.verify(local, remote, signed, c.auth)
	if !ok {
		sa.rejectAuth(&wire.Notify{Kind: wire.AUTHENTICATION_FAILED}, sa.unverified(local, remote, signed, c.auth))
		return
	}
	initial := c.notify(wire.INITIAL_CONTACT) != nil
	if sa.end.refuseSecond(sa, initial) {
		sa.rejectAuth(&wire.Notify{Kind: wire.AUTHENTICATION_FAILED}, sa.connectedAlready())
		return
	}
	if !sa.isUntouched(c) {
		sa.rejectAuth(&wire.Notify{Kind: wire.UNEXPECTED_NAT_DETECTED}, natForbidden())
		return
	}
	if d := conn.refusesShape(c, s.childless); d != nil {
		sa.rejectAuth(&wire.Notify{Kind: wire.INVALID_SYNTAX}, d)
		return
	}
	sa.secret = secret
	body := local.AppendWire(nil)
	auth := secret.Auth(sa.keys.prf, sa.keys.signed(s.signed, sa.keys.pr, body))
	if initial {
		sa.end.initialContact(sa)
	}
	sa.timers[timerGiveUp] = zeroTime
	if conn.MOBIKE && c.notify(wire.MOBIKE_SUPPORTED) != nil {
		sa.startMobility(c)
	}
	sa.establish()
	payloads := []wire.Payload{&wire.ID{Responder: true, ID: local, Raw: body}, &wire.Auth{Method: wire.AuthSharedKey, Data: auth}}
	payloads = append(payloads, sa.tokenNotify()...)
	sa.takeToken(c)
	payloads = append(payloads, sa.lifetimeNotify()...)
	payloads = append(payloads, sa.announceWindow()...)
	sa.takeWindow(c)
	config, ok := sa.answerConfig(c)
	payloads = append(payloads, config...)
	if ok {
		payloads = append(payloads, sa.answerChildAuth(c)...)
	}
	if sa.mob != nil {
		payloads = append(payloads, sa.announceMobility()...)
	}
	sa.reply(wire.IKE_AUTH, payloads)
	sa.end.keeperOf(conn).succeeded(sa)
}

// wanted says whom the peer wants to talk to, if it said so.
func wanted(c *content) string {
	if c.idr == nil {
		return ""
	}
	return fmt.Sprintf(" and calls us %v", c.idr.ID)
}

// choosePeer finds the connection for a peer's identity, and ours in it: of the candidates whose proposals allow what was
// chosen, the one whose identities fit most specifically, remote before local.
func (sa *ikeSA) choosePeer(candidates []*Connection, c *content) (*Connection, ident.ID) {
	var best *Connection
	var bestID ident.ID
	var bestMatch [2]ident.Specificity
	if c.idi.ID.IsZero() {
		return nil, ident.ID{}
	}
	for _, conn := range candidates {
		if !allows(conn.Proposals, sa.proposal) {
			continue
		}
		remote := conn.RemoteID.Match(c.idi.ID)
		local, id := sa.matchLocal(conn, c)
		if remote == ident.NoMatch || local == ident.NoMatch {
			continue
		}
		m := [2]ident.Specificity{remote, local}
		if best == nil || m[0] > bestMatch[0] || m[0] == bestMatch[0] && m[1] > bestMatch[1] {
			best, bestID, bestMatch = conn, id, m
		}
	}
	return best, bestID
}

// allows reports whether a chosen proposal is possible under a connection's own ones.
func allows(ours []suite.Proposal, chosen suite.Proposal) bool {
	return slices.ContainsFunc(ours, func(p suite.Proposal) bool { return suite.Accepts([]suite.Proposal{p}, chosen) })
}

// matchLocal compares the identity that the peer wants us to be with the connection's. A connection without an identity of
// its own is known by its address: the one the request came to, or the one that the peer sees in front of our NAT.
func (sa *ikeSA) matchLocal(conn *Connection, c *content) (ident.Specificity, ident.ID) {
	ours := conn.LocalID
	if c.idr == nil || c.idr.ID.IsZero() {
		if ours.IsZero() {
			ours = ident.FromAddr(sa.path.Local.Addr())
		}
		return 1, ours
	}
	if ours.IsZero() {
		if _, isAddr := c.idr.ID.Addr(); !isAddr {
			return ident.NoMatch, ident.ID{}
		}
		return 1, c.idr.ID
	}
	if !ours.Equal(c.idr.ID) {
		return ident.NoMatch, ident.ID{}
	}
	return ident.Exact, ours
}

func orAddress(id ident.ID) string {
	if id.IsZero() {
		return "our address"
	}
	return id.String()
}

// refuseSecond applies unique = keep. It does not to a peer that says it has no other IKE SA (RFC 7296 2.4), nor to one that authenticates
// anew: it is where it was, and knows the first. The peer may have lost the first IKE SA: it is asked, or it would be shut out for as long
// as nothing else finds out.
func (e *Endpoint) refuseSecond(sa *ikeSA, initial bool) bool {
	first := e.otherWith(sa)
	if sa.conn.Unique != UniqueKeep || first == nil || first.outdated || initial || first.path.Remote.Addr() == sa.path.Remote.Addr() {
		return false
	}
	if !first.isAsking() {
		first.enqueueFirst(&alive{})
		e.touch(first)
	}
	return true
}

// initialContact drops the IKE SAs that the peer does not know any more, without a word (RFC 7296 2.4). One that came up
// after the peer began this one is not among them: the two crossed.
func (e *Endpoint) initialContact(sa *ikeSA) {
	if sa.conn.Unique == UniqueNever {
		return
	}
	for _, other := range sa.relatives() {
		if other == sa || !other.isEstablished() || other.origin.authenticated.After(sa.born) {
			continue
		}
		other.event(Closed, "the peer started anew", "")
		e.keeperOf(other.conn).lived(other, startedAnew)
		other.remove()
	}
}
