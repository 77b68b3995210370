package ike

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/culvert-vpn/culvert/ident"
	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/natt"
	"github.com/culvert-vpn/culvert/suite"
)

const (
	// nonceLen of ours; at least 16 bytes and half of the PRF's key (RFC 7296 2.10).
	nonceLen = 32
	// firstNonceLen is that of an initiator's first nonce. It is longer by the announcement that stands in the answer only (RFC 6023
	// 4): an answer that is longer than the request costs a round trip for a cookie.
	firstNonceLen = nonceLen + 8
	// maxDetours is how many answers with COOKIE or INVALID_KE_PAYLOAD an attempt takes before it gives up.
	maxDetours = 8
	// afterError is how long we wait for a true answer after an error that anybody may have sent (RFC 7296 2.21.1).
	afterError = 10 * time.Second
)

// expectInitReply waits for the response to IKE_SA_INIT.
type expectInitReply struct {
	nonce   []byte
	group   uint16
	private suite.KEPrivate
	public  []byte
	cookie  []byte
	detours int
	refused wire.NotifyType // an error that was not authenticated
	major   uint8           // the version of the peer, if it is known by its header
	child   *Child
	// direct is the same request as it goes to port 4500, once it stays silent at port 500, where it was sent knocks times.
	direct *packed
	knocks int
}

// expectAuthReply waits for the response to IKE_AUTH.
type expectAuthReply struct {
	signedByPeer []byte // what the responder signs, but for its identity
	child        *childOffer
	// unwanted is why the IKE SA is to be closed as soon as the peer has answered.
	unwanted string
}

func (*expectInitReply) String() string { return "waiting for the answer to IKE_SA_INIT" }
func (s *expectAuthReply) String() string {
	if s.unwanted != "" {
		return "closing"
	}
	return "waiting for the answer to IKE_AUTH"
}

func (*expectInitReply) stage() stage { return initSent }
func (*expectAuthReply) stage() stage { return authSent }

// initiate sends IKE_SA_INIT on behalf of a connection. child is negotiated in IKE_AUTH, unless that is to go without; nil is none. renews is the IKE SA that is
// set up anew, if one is, way how we come there.
func (e *Endpoint) initiate(conn *Connection, child *Child, path natt.Path, renews *ikeSA, way detour) {
	sa := e.newSA(true, e.newSPI(), 0, path)
	sa.belong(conn)
	local, remote := conn.LocalID, ident.ID{}
	if local.IsZero() {
		local = ident.FromAddr(path.Local.Addr())
	}
	if id, ok := conn.RemoteID.ID(); ok {
		remote = id
	}
	sa.identify(local, remote)
	sa.origin.detour, sa.origin.redirectable = way, e.keeperOf(conn).takesRedirects(way)
	if renews != nil {
		sa.replace(renews)
	}
	s := &expectInitReply{nonce: e.random(firstNonceLen), child: child}
	sa.state = s
	e.keeperOf(conn).called(sa)
	sa.event(Initiating, fmt.Sprintf("calling %v from %v", path.Remote, path.Local), "")
	if err := s.newKey(sa, firstGroup(conn.Proposals)); err != nil {
		sa.fail(err.Error(), "")
		return
	}
	s.send(sa)
}

// firstGroup is the key exchange that an initiator guesses its peer to choose.
func firstGroup(proposals []suite.Proposal) uint16 {
	for _, p := range proposals {
		if t, ok := p.Get(suite.TypeKE); ok && t.ID != suite.KE_NONE {
			return t.ID
		}
	}
	return suite.KE_NONE
}

// offersGroup reports whether a group is in one of our proposals.
func offersGroup(proposals []suite.Proposal, group uint16) bool {
	return slices.ContainsFunc(proposals, func(p suite.Proposal) bool {
		return slices.ContainsFunc(p.All(suite.TypeKE), func(t suite.Transform) bool { return t.ID == group })
	})
}

func (s *expectInitReply) newKey(sa *ikeSA, group uint16) error {
	ke, err := suite.NewKE(group)
	if err != nil {
		return err
	}
	s.leave(sa)
	s.group = group
	s.private, s.public, err = ke.Offer(sa.end.cfg.Rand)
	return err
}

// leave forgets the private key.
func (s *expectInitReply) leave(*ikeSA) {
	if s.private != nil {
		s.private.Zero()
		s.private = nil
	}
}

// send sends the request.
func (s *expectInitReply) send(sa *ikeSA) {
	s.direct = nil
	sa.transmit(&request{kind: wire.IKE_SA_INIT, message: s.request(sa, sa.path)})
}

// request is the request as it goes along a path; a COOKIE comes first and everything else stays as it was (RFC 7296 2.6).
func (s *expectInitReply) request(sa *ikeSA, p natt.Path) *packed {
	var payloads []wire.Payload
	if s.cookie != nil {
		payloads = append(payloads, &wire.Notify{Kind: wire.COOKIE, Data: s.cookie})
	}
	payloads = append(payloads,
		number(sa.conn.Proposals, nil),
		&wire.KE{Group: s.group, Data: s.public},
		&wire.Nonce{Data: s.nonce})
	payloads = append(payloads, natDetection(sa.spiI, 0, p)...)
	if announcesFragments(sa.conn) {
		payloads = append(payloads, &wire.Notify{Kind: wire.IKEV2_FRAGMENTATION_SUPPORTED})
	}
	payloads = append(payloads, sa.announceRedirects()...)
	return sa.end.pack([][]byte{wire.AppendMessage(nil, sa.header(wire.IKE_SA_INIT, 0, false), payloads)}, payloads)
}

// natDetection are the two notifies of RFC 7296 2.23, and who we are.
func natDetection(spiI, spiR uint64, p natt.Path) []wire.Payload {
	return append(natHashes(spiI, spiR, p), &wire.Vendor{Data: []byte(vendorID)})
}

// natHashes are the two notifies. The source never matches, so that the peer encapsulates ESP in UDP: a user-space daemon cannot
// count on receiving IP protocol 50.
func natHashes(spiI, spiR uint64, p natt.Path) []wire.Payload {
	src := natt.ForcedSource(spiI, spiR, p.Local)
	dst := natt.Hash(spiI, spiR, p.Remote)
	return []wire.Payload{
		&wire.Notify{Kind: wire.NAT_DETECTION_SOURCE_IP, Data: src[:]},
		&wire.Notify{Kind: wire.NAT_DETECTION_DESTINATION_IP, Data: dst[:]},
	}
}

// natSituation reads the same notifies of the peer.
func natSituation(h wire.Header, c *content, p natt.Path) natt.Situation {
	var src [][]byte
	var dst []byte
	for _, n := range c.notifies {
		switch n.Kind {
		case wire.NAT_DETECTION_SOURCE_IP:
			src = append(src, n.Data)
		case wire.NAT_DETECTION_DESTINATION_IP:
			dst = n.Data
		}
	}
	s := natt.Detect(h.SPIi, h.SPIr, p, src, dst)
	s.Certain = s.Supported && c.culvert
	return s
}

func (s *expectInitReply) message(sa *ikeSA, d Datagram, m *wire.Message) {
	c, err := collect(m.Payloads)
	if err != nil {
		sa.end.drop(d, "malformed answer to IKE_SA_INIT")
		return
	}
	s.came(sa, d)
	switch refusal := c.refusal(); {
	case c.notify(wire.COOKIE) != nil:
		s.takeCookie(sa, d, c.notify(wire.COOKIE))
	case c.notify(wire.REDIRECT) != nil:
		s.takeRedirect(sa, d, c.notify(wire.REDIRECT))
	case refusal != nil && refusal.Kind == wire.INVALID_KE_PAYLOAD:
		s.takeGroup(sa, d, refusal)
	case refusal != nil:
		s.takeError(sa, refusal.Kind)
	default:
		s.accept(sa, d, m.Header, c)
	}
}

// detour counts answers that ask for another request.
func (s *expectInitReply) detour(sa *ikeSA) bool {
	s.detours++
	if s.detours > maxDetours {
		sa.fail("the peer keeps asking for another first message", "an endless COOKIE or INVALID_KE_PAYLOAD is a defect of the peer")
		return false
	}
	return true
}

func (s *expectInitReply) takeCookie(sa *ikeSA, d Datagram, n *wire.Notify) {
	// 1 to 64 bytes (RFC 7296 2.6).
	if len(n.Data) < 1 || len(n.Data) > 64 {
		sa.end.drop(d, "COOKIE of a wrong length")
		return
	}
	if bytes.Equal(n.Data, s.cookie) {
		// An answer that came twice: the request with this cookie is under way already.
		sa.end.drop(d, "COOKIE that we have sent back")
		return
	}
	if s.detour(sa) {
		s.cookie = clone(n.Data)
		s.send(sa)
	}
}

// takeGroup repeats the request with the group that the peer wants, if it is one that we offered (RFC 7296 1.2).
func (s *expectInitReply) takeGroup(sa *ikeSA, d Datagram, n *wire.Notify) {
	if len(n.Data) != 2 {
		sa.end.drop(d, "INVALID_KE_PAYLOAD of a wrong length")
		return
	}
	group := binary.BigEndian.Uint16(n.Data)
	if group == s.group || !offersGroup(sa.conn.Proposals, group) {
		sa.end.drop(d, "INVALID_KE_PAYLOAD with a group that was not offered")
		return
	}
	if !s.detour(sa) {
		return
	}
	if err := s.newKey(sa, group); err != nil {
		sa.fail(err.Error(), "")
		return
	}
	s.send(sa)
}

// takeError remembers an error that anybody may have sent, and waits a while for a true answer (RFC 7296 2.21.1).
func (s *expectInitReply) takeError(sa *ikeSA, kind wire.NotifyType) {
	if s.refused != 0 {
		return
	}
	s.refused = kind
	sa.timers[timerGiveUp] = sa.end.now.Add(afterError)
	if kind == wire.INVALID_MAJOR_VERSION {
		sa.tell(Warned, sa.otherMajor(s.major))
		return
	}
	sa.tell(Warned, sa.refusal(kind))
}

func (s *expectInitReply) silence(sa *ikeSA) {
	if s.refused == wire.INVALID_MAJOR_VERSION {
		sa.failBecause(sa.otherMajor(s.major))
		return
	}
	if s.refused != 0 {
		sa.failBecause(sa.refusal(s.refused))
		return
	}
	sa.failBecause(s.explain(sa))
}

// accept takes the response: the peer chose, and both ends can compute the keys.
func (s *expectInitReply) accept(sa *ikeSA, d Datagram, h wire.Header, c *content) {
	if err := shapeInit.check(c); err != nil || h.SPIr == 0 {
		sa.end.drop(d, "incomplete answer to IKE_SA_INIT")
		return
	}
	p, ok := c.chosen(sa.conn.Proposals, suite.IKE, 0)
	if !ok {
		sa.end.drop(d, "answer to IKE_SA_INIT with a proposal that was not offered")
		return
	}
	if t, _ := p.Get(suite.TypeKE); t.ID != s.group || c.ke.Group != s.group {
		sa.end.drop(d, "answer to IKE_SA_INIT with a key exchange of another group")
		return
	}
	nat := natSituation(h, c, sa.path)
	if !nat.Supported {
		sa.failBecause(noEncapsulation())
		return
	}
	child, ok := sa.conn.inAuth(s.child, c.notify(wire.CHILDLESS_IKEV2_SUPPORTED) != nil)
	if !ok {
		sa.failBecause(sa.conn.childlessDiffers("the peer does not take an IKE SA without a child", "no", "prefer", "allow"))
		return
	}
	shared, err := s.private.Finish(c.ke.Data)
	if err != nil {
		sa.end.drop(d, "answer to IKE_SA_INIT with an invalid public value")
		return
	}
	in := keyInput{nonceI: s.nonce, nonceR: c.nonce.Data, spiI: sa.spiI, spiR: h.SPIr, shared: shared}
	if !sa.takeKeys(p.Proposal, in, nil) {
		return
	}
	s.leave(sa)
	sa.spiR, sa.nat = h.SPIr, nat
	sa.fragments.agreed = announcesFragments(sa.conn) && c.notify(wire.IKEV2_FRAGMENTATION_SUPPORTED) != nil
	sa.timers[timerGiveUp] = zeroTime
	first := sa.answered(0).message
	// Port 4500 from here on, both ends (RFC 7296 2.23).
	if !sa.path.NATT {
		sa.sounding.first = first
	}
	sa.path = sa.path.Float()
	signed := append(clone(first.datagrams[0]), c.nonce.Data...)
	sa.sendAuth(child, signed, append(clone(d.Data), s.nonce...))
}

// takeKeys derives the keys of the IKE SA; old is the predecessor in a rekey. It zeroes the shared secret.
func (sa *ikeSA) takeKeys(chosen suite.Proposal, in keyInput, old *keys) bool {
	defer clear(in.shared)
	prfT, _ := chosen.Get(suite.TypePRF)
	prf, err := suite.NewPRF(prfT)
	if err != nil {
		sa.fail(err.Error(), "")
		return false
	}
	seed := func() []byte {
		if old != nil {
			return in.rekeySeed(old)
		}
		return in.skeyseed(prf)
	}()
	var logged *Keys
	if sa.end.cfg.LogKeys {
		logged = &Keys{}
	}
	sa.keys, err = deriveKeys(chosen, seed, in, sa.initiator, logged)
	if err != nil {
		sa.fail(err.Error(), "")
		return false
	}
	if logged != nil {
		sa.end.emit(*logged)
	}
	sa.proposal = chosen
	sa.nonces = keyInput{nonceI: clone(in.nonceI), nonceR: clone(in.nonceR)}
	sa.nonceMin = lowest(sa.nonces.nonceI, sa.nonces.nonceR)
	return true
}
