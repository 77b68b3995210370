package ike

import (
	"fmt"

	"github.com/culvert-vpn/culvert/ike/wire"
)

// What an operator wants of one SA, which has a number. What is wanted of a connection is the keeper's business.

// numbered is the IKE SA of a number, nil if there is none any more.
func (e *Endpoint) numbered(id uint64) *ikeSA {
	i, ok := e.order.find(&ikeSA{number: id})
	if !ok {
		return nil
	}
	return e.order.places[i].sa
}

// childNumbered is a child of a number, nil if there is none any more.
func (sa *ikeSA) childNumbered(id uint64) *childSA {
	for _, c := range sa.children {
		if c.number == id {
			return c
		}
	}
	return nil
}

// terminateSA closes one SA by order of the operator.
func (e *Endpoint) terminateSA(in TerminateSA) {
	const why = "the operator closed it"
	sa := e.numbered(in.ID)
	if sa == nil || sa.isGone() {
		return
	}
	e.touch(sa)
	if in.Child != 0 {
		if c := sa.childNumbered(in.Child); c != nil {
			sa.withhold(func(o *childSA) bool { return o == c })
			c.closeWith(why)
		}
		return
	}
	sa.withhold(func(*childSA) bool { return true })
	sa.close(why)
	if in.Force && !sa.isGone() {
		sa.pump()
		sa.event(Closed, why, "")
		sa.remove()
	}
}

// withhold has the keeper not bring back what is about to be closed: the children of an IKE SA for which match is true, as far as no
// other Child SA carries the same, and what is still to be set up in it. What packets bring up, they may bring up again.
func (sa *ikeSA) withhold(match func(*childSA) bool) {
	if sa.conn == nil {
		return
	}
	k := sa.end.keeperOf(sa.conn)
	k.changed()
	hopes := sa == k.current() || sa.initiator && !sa.isEstablished()
	for _, kept := range k.children {
		ends, stays := false, false
		for _, c := range kept.carriers {
			switch {
			case !c.isWorking():
			case c.sa == sa && match(c):
				ends = true
			default:
				stays = true
			}
		}
		if ends && !stays || !ends && !stays && hopes && match(nil) {
			kept.held = kept.cfg.StartAction != Trap && !kept.trapped
			kept.keep, kept.once = false, false
		}
	}
}

// rekeySA gives new keys to one SA by order of the operator.
func (e *Endpoint) rekeySA(in RekeySA) {
	sa := e.numbered(in.ID)
	if sa == nil || sa.isGone() {
		return
	}
	e.touch(sa)
	switch {
	case in.Child != 0:
		if c := sa.childNumbered(in.Child); c != nil {
			c.startRekey()
		}
	case in.Reauth:
		sa.reauthenticate()
	default:
		sa.startRekey()
	}
}

// redirectSA sends a peer that takes it to another gateway by order of the operator.
func (e *Endpoint) redirectSA(in RedirectSA) {
	sa := e.numbered(in.ID)
	if sa == nil || !sa.isCurrent() || !sa.origin.mayRedirect {
		return
	}
	sa.enqueue(&sendAway{to: in.To})
	e.touch(sa)
}

// sendAway has the peer go to another gateway (RFC 5685 5). It closes the IKE SA when it is there; we leave it the time.
type sendAway struct{ to wire.Gateway }

func (*sendAway) kind() wire.Exchange { return wire.INFORMATIONAL }

// request names the gateway, and has no nonce.
func (x *sendAway) request(*ikeSA) ([]wire.Payload, bool) {
	return []wire.Payload{&wire.Notify{Kind: wire.REDIRECT, Data: wire.AppendGateway(nil, x.to)}}, true
}

func (x *sendAway) reply(sa *ikeSA, _ *content) {
	sa.event(Redirected, fmt.Sprintf("the peer was told to go to %v", x.to), "")
}
func (*sendAway) clash(wish, *childSA) verdict { return accept }
func (*sendAway) abandon(*ikeSA)               {}
