package ike

import (
	"fmt"

	"github.com/culvert-vpn/culvert/explain"
	"github.com/culvert-vpn/culvert/ident"
	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/psk"
)

// signed completes what one end signs with its identity: RealMessage | Nonce of the other | prf(SK_p, ID body) (RFC
// 7296 2.15).
func (k *keys) signed(message, skp, id []byte) []byte {
	return append(clone(message), k.prf.Sum(skp, id)...)
}

// sendAuth sends the IKE_AUTH request. signed is our first message and the peer's nonce, signedByPeer the peer's first
// message and our nonce.
func (sa *ikeSA) sendAuth(child *Child, signed, signedByPeer []byte) {
	conn := sa.conn
	secrets := sa.end.cfg.Secrets.Lookup(sa.localID, sa.expectedPeer())
	if len(secrets) == 0 {
		sa.failBecause(sa.noSecret(sa.expectedPeer()))
		return
	}
	body := sa.localID.AppendWire(nil)
	auth := secrets[0].Auth(sa.keys.prf, sa.keys.signed(signed, sa.keys.pi, body))
	payloads := []wire.Payload{&wire.ID{ID: sa.localID, Raw: body}}
	if id, ok := conn.RemoteID.ID(); ok {
		payloads = append(payloads, &wire.ID{Responder: true, ID: id})
	}
	payloads = append(payloads, &wire.Auth{Method: wire.AuthSharedKey, Data: auth})
	payloads = append(payloads, sa.tokenNotify()...)
	if sa.renews == nil && conn.Unique != UniqueNever && sa.end.otherWith(sa) == nil {
		// Not by somebody who may be connected from elsewhere too (RFC 7296 2.4).
		payloads = append(payloads, &wire.Notify{Kind: wire.INITIAL_CONTACT})
	}
	payloads = append(payloads, sa.announceWindow()...)
	s := &expectAuthReply{signedByPeer: signedByPeer}
	payloads = append(payloads, sa.configRequest()...)
	if child != nil {
		offer, err := sa.newOffer(child, sa.end.keeperOf(conn).ask(sa, child), false, 0)
		if err != nil {
			sa.fail(err.Error(), "")
			return
		}
		s.child = offer
		payloads = append(payloads, offer.payloads(false)...)
	}
	if conn.MOBIKE {
		payloads = append(payloads, sa.announceMobility()...)
	}
	sa.state = s
	sa.ask(wire.IKE_AUTH, 1, payloads, nil)
}

// expectedPeer is the identity to look the secret up with before the peer said who it is: the configured one, or else its
// address.
func (sa *ikeSA) expectedPeer() ident.ID {
	if id, ok := sa.conn.RemoteID.ID(); ok {
		return id
	}
	if from := sa.origin.detour.from; from.IsValid() {
		return ident.FromAddr(from) // as if the first gateway had served us (RFC 5685 3)
	}
	return ident.FromAddr(sa.path.Remote.Addr())
}

// verify looks for a secret with which the peer's AUTH is right. All eligible ones are tried; an unknown identity costs the
// work of a wrong secret, so that the time does not tell them apart.
func (sa *ikeSA) verify(local, remote ident.ID, signed []byte, auth *wire.Auth) (psk.Secret, bool) {
	secret, ok := sa.end.cfg.Secrets.Verify(local, remote, sa.keys.prf, signed, auth.Data)
	return secret, ok && auth.Method == wire.AuthSharedKey
}

func (s *expectAuthReply) message(sa *ikeSA, d Datagram, m *wire.Message) {
	c, ok, err := sa.open(d, m)
	if !ok {
		return
	}
	sa.heard = sa.end.now
	sa.answered(m.Header.MessageID)
	if s.unwanted != "" {
		s.part(sa, c)
		return
	}
	if err != nil {
		s.reject(sa, wire.INVALID_SYNTAX, malformed("malformed answer to IKE_AUTH: "+err.Error()))
		return
	}
	if r := c.refusal(); r != nil && (c.auth == nil || r.Kind == wire.INVALID_SYNTAX || r.Kind == wire.AUTHENTICATION_FAILED) {
		// The two end the IKE SA at the peer too, whatever stands beside them (RFC 7296 2.21.2).
		s.refused(sa, r.Kind)
		return
	}
	if err := shapeAuthResponse.check(c); err != nil {
		s.reject(sa, wire.INVALID_SYNTAX, malformed(err.Error()))
		return
	}
	if c.idr.ID.IsZero() {
		// An identity of no use, ID_NULL say, is nobody: not even anybody.
		s.reject(sa, wire.AUTHENTICATION_FAILED, sa.nobody())
		return
	}
	if !sa.conn.RemoteID.IsAny() && sa.conn.RemoteID.Match(c.idr.ID) == ident.NoMatch {
		s.reject(sa, wire.AUTHENTICATION_FAILED, sa.otherPeer(c.idr.ID))
		return
	}
	signed := sa.keys.signed(s.signedByPeer, sa.keys.pr, c.idr.Raw)
	secret, good := sa.verify(sa.localID, c.idr.ID, signed, c.auth)
	if !good {
		s.reject(sa, wire.AUTHENTICATION_FAILED, sa.unverified(sa.localID, c.idr.ID, signed, c.auth))
		return
	}
	sa.identify(sa.localID, c.idr.ID)
	sa.secret = secret
	if s.takeRedirect(sa, c) {
		return
	}
	child := s.child
	s.child = nil
	if sa.conn.MOBIKE && c.notify(wire.MOBIKE_SUPPORTED) != nil {
		sa.startMobility(c)
	}
	sa.establish()
	sa.takeWindow(c)
	sa.takeLifetime(c)
	sa.takeToken(c)
	if !sa.takeAssignment(c) {
		if child != nil {
			child.release(sa)
		}
		sa.close("the peer assigns no address")
		return
	}
	if child != nil {
		child.finishAuth(sa, c)
	}
	sa.end.keeperOf(sa.conn).succeeded(sa)
}

// refused takes an error in the answer to IKE_AUTH that came instead of the peer's AUTH.
func (s *expectAuthReply) refused(sa *ikeSA, kind wire.NotifyType) {
	s.leave(sa)
	sa.failBecause(sa.refusal(kind))
}

// reject gives up because the answer to IKE_AUTH was not right, and tells the peer in an exchange of its own, since it
// believes that the IKE SA is up (RFC 7296 2.21.2).
func (s *expectAuthReply) reject(sa *ikeSA, kind wire.NotifyType, d *explain.Diagnosis) {
	s.leave(sa)
	sa.tell(Failed, d)
	sa.state = &established{closing: true, rejected: true}
	sa.enqueue(&farewell{error: kind})
	sa.attemptFailed(d.Text)
}

// renounce waits for the answer only to close the IKE SA after it: the peer may believe that it is up.
func (s *expectAuthReply) renounce(sa *ikeSA, why string) {
	s.unwanted = why
	sa.vacate((*childSA).vanish)
}

// part deletes an IKE SA that is not wanted any more, if the peer believes that there is one; c is nil if its answer could not be
// read. Whether it is the right peer does not matter now, so it is heard no further than in the stage of those that are not.
func (s *expectAuthReply) part(sa *ikeSA, c *content) {
	if c != nil && c.auth == nil && c.refusal() != nil {
		sa.event(Closed, s.unwanted, "")
		sa.remove()
		return
	}
	sa.state = &established{closing: true, rejected: true}
	sa.enqueue(&deleteIKE{why: s.unwanted})
}

// leave gives back what the child in IKE_AUTH took.
func (s *expectAuthReply) leave(sa *ikeSA) {
	if s.child != nil {
		s.child.release(sa)
		s.child = nil
	}
}

func (s *expectAuthReply) silence(sa *ikeSA) {
	if s.unwanted != "" {
		sa.event(Closed, s.unwanted, "")
		sa.remove()
		return
	}
	sa.failBecause(s.explain(sa))
}

// establish makes the IKE SA usable: both ends are authenticated.
func (sa *ikeSA) establish() {
	sa.state = &established{}
	sa.leaveAccount()
	sa.keys.wipeAuth()
	sa.established = sa.end.now
	sa.origin = sa.newOrigin()
	sa.end.keeperOf(sa.conn).authenticated(sa)
	sa.origin.reauthAt = sa.reauthTime()
	sa.heard = sa.end.now
	sa.scheduleLifetime()
	sa.event(Established, fmt.Sprintf("%v; %s", sa.nat, sa.secret.Reason()), "")
}

// otherWith is another established IKE SA between the same two identities, or nil. A peer that did not say yet who it is may be
// any at its address.
func (e *Endpoint) otherWith(sa *ikeSA) *ikeSA {
	if sa.remoteID.IsZero() {
		for other := range e.order.all() {
			if other != sa && other.isCurrent() && other.localID.Equal(sa.localID) && other.path.Remote.Addr() == sa.path.Remote.Addr() {
				return other
			}
		}
		return nil
	}
	for _, other := range sa.relatives() {
		if other != sa && other.isCurrent() {
			return other
		}
	}
	return nil
}
