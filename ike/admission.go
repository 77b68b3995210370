package ike

import "github.com/culvert-vpn/culvert/ike/wire"

// Every message passes here before anything else is done with it. The table below lists all that is admitted, by what is in the
// clear: who we are in the IKE SA, what it waits for, and the header. What is not in the table is dropped.

// stage is what an IKE SA waits for.
type stage uint8

const (
	absent       stage = iota // there is no IKE SA
	initSent                  // our IKE_SA_INIT is unanswered
	initAnswered              // we answered IKE_SA_INIT and wait for IKE_AUTH
	authSent                  // our IKE_AUTH is unanswered
	up                        // both ends are authenticated
	closing                   // so they are, and our Delete is under way or about to be
	rejecting                 // the peer's AUTH was not right, and we are telling it so
	closed                    // only answers are kept
	numStages
)

// role is whose IKE SA it is: who sent IKE_SA_INIT, or the rekey that made it.
type role uint8

const (
	nobody role = 1 << iota
	initiator
	responder
	either = initiator | responder
)

func (sa *ikeSA) role() role {
	switch {
	case sa == nil:
		return nobody
	case sa.initiator:
		return initiator
	}
	return responder
}

func (sa *ikeSA) stage() stage {
	if sa == nil {
		return absent
	}
	return sa.state.stage()
}

// direction tells requests from answers.
type direction bool

const (
	asking    direction = false
	answering direction = true
)

// form is whether the payloads stand in the clear or in an Encrypted payload.
type form bool

const (
	bare   form = false
	sealed form = true
)

// formOf tells the form from the header. In a sealed message nothing clear stands beside the Encrypted payload, or the Encrypted
// Fragment payload (RFC 7383): it would be authentic, but no exchange has a use for it.
func formOf(h wire.Header) form { return form(h.Next == wire.TypeSK || h.Next == wire.TypeSKF) }

// ids is which message ID is right (RFC 7296 2.2, 2.3).
type ids uint8

const (
	anyID   ids = iota // whatever it is: the message changes nothing
	zeroID             // 0, of a first message
	nextID             // of a request of the peer that is new and within the window
	lastID             // of a request whose answer we still have
	askedID            // of an unanswered request of ours, whose exchange it must be too
)

// fits compares a header with the window.
func (n ids) fits(sa *ikeSA, h wire.Header) bool {
	switch n {
	case anyID:
		return true
	case zeroID:
		return h.MessageID == 0
	case nextID:
		return sa.win.in.takes(h.MessageID)
	case lastID:
		return sa.win.in.answer(h.MessageID) != nil
	case askedID:
		r := sa.request(h.MessageID)
		return r != nil && h.Exchange == r.kind
	}
	return false
}

// act is what is done with a message.
type act uint8

const (
	drop    act = iota // nothing
	begin              // it may become an IKE SA
	take               // the state takes it
	repeat             // it is answered once more, if it is authentic, and changes nothing
	suspect            // it is a hint that anybody may have given: worth a question, no more (RFC 7296 2.4, 2.21.4)
	unknown            // its sender is told that there is no such IKE SA (RFC 7296 2.21.4)
)

// admission is a line of the table.
type admission struct {
	role      role
	stage     stage
	exchange  wire.Exchange
	direction direction
	form      form
	ids       ids
	act       act
}

// admissions is the table.
var admissions = [...]admission{
	{nobody, absent, wire.IKE_SA_INIT, asking, bare, zeroID, begin},
	// INVALID_SPI outside of an IKE SA: a request in form, which must not be answered (RFC 7296 1.5).
	{nobody, absent, wire.INFORMATIONAL, asking, bare, anyID, suspect},
	{nobody, absent, wire.IKE_AUTH, asking, sealed, anyID, unknown},
	{nobody, absent, wire.CREATE_CHILD_SA, asking, sealed, anyID, unknown},
	{nobody, absent, wire.INFORMATIONAL, asking, sealed, anyID, unknown},

	{initiator, initSent, wire.IKE_SA_INIT, answering, bare, askedID, take},

	// The first message once more, or its repetition with a cookie: which one the peer signs may depend on it.
	{responder, initAnswered, wire.IKE_SA_INIT, asking, bare, lastID, take},
	{responder, initAnswered, wire.IKE_AUTH, asking, sealed, nextID, take},

	{initiator, authSent, wire.IKE_AUTH, answering, sealed, askedID, take},

	{responder, up, wire.IKE_AUTH, asking, sealed, lastID, repeat},
	{either, up, wire.CREATE_CHILD_SA, asking, sealed, nextID, take},
	{either, up, wire.CREATE_CHILD_SA, asking, sealed, lastID, repeat},
	{either, up, wire.CREATE_CHILD_SA, answering, sealed, askedID, take},
	{either, up, wire.CREATE_CHILD_SA, answering, bare, anyID, suspect},
	{either, up, wire.INFORMATIONAL, asking, sealed, nextID, take},
	{either, up, wire.INFORMATIONAL, asking, sealed, lastID, repeat},
	{either, up, wire.INFORMATIONAL, answering, sealed, askedID, take},
	{either, up, wire.INFORMATIONAL, answering, bare, anyID, suspect},

	{responder, closing, wire.IKE_AUTH, asking, sealed, lastID, repeat},
	{either, closing, wire.CREATE_CHILD_SA, asking, sealed, nextID, take},
	{either, closing, wire.CREATE_CHILD_SA, asking, sealed, lastID, repeat},
	{either, closing, wire.CREATE_CHILD_SA, answering, sealed, askedID, take},
	{either, closing, wire.INFORMATIONAL, asking, sealed, nextID, take},
	{either, closing, wire.INFORMATIONAL, asking, sealed, lastID, repeat},
	{either, closing, wire.INFORMATIONAL, answering, sealed, askedID, take},
	{either, closing, wire.INFORMATIONAL, answering, bare, anyID, suspect},

	// The peer proved nothing: it has no requests.
	{initiator, rejecting, wire.INFORMATIONAL, answering, sealed, askedID, take},

	{responder, closed, wire.IKE_AUTH, asking, sealed, lastID, repeat},
	{either, closed, wire.CREATE_CHILD_SA, asking, sealed, lastID, repeat},
	{either, closed, wire.INFORMATIONAL, asking, sealed, lastID, repeat},
}

// refusals say why a message is dropped that has no line for its number, exchange, direction or form; by stage.
var refusals = [numStages]string{
	absent:       "unknown IKE SPI",
	initSent:     "not an answer to IKE_SA_INIT",
	initAnswered: "not an IKE_AUTH request",
	authSent:     "not an answer to IKE_AUTH",
	up:           "no message for an established IKE SA",
	closing:      "no message for an IKE SA that is being closed",
	rejecting:    "message of a peer that is not authenticated",
	closed:       "message for a closed IKE SA",
}

// admit looks a message up. sa is nil if there is no IKE SA; why is the reason if it is to be dropped.
func admit(sa *ikeSA, h wire.Header) (what act, why string) {
	r, st, dir, f := sa.role(), sa.stage(), direction(h.Response), formOf(h)
	why = refusals[st]
	for i := range admissions {
		a := &admissions[i]
		if a.role&r == 0 || a.stage != st || a.exchange != h.Exchange || a.direction != dir || a.form != f {
			continue
		}
		if a.ids.fits(sa, h) {
			return a.act, ""
		}
		why = "message ID outside the window"
		if dir == answering {
			why = "answer to no request"
		}
	}
	return drop, why
}
