package ike

import (
	"bytes"
	"time"

	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/suite"
)

// exchange is something that we want of the peer, in one request and its answer.
type exchange interface {
	// kind is the exchange type.
	kind() wire.Exchange
	// request makes the payloads of the request when its turn comes; wanted is false if there is no need any more.
	request(sa *ikeSA) (payloads []wire.Payload, wanted bool)
	// reply takes the answer.
	reply(sa *ikeSA, c *content)
	// clash says what to do with a request of the peer while this one is under way. child is the one that the
	// request is about, if it is about one.
	clash(w wish, child *childSA) verdict
	// abandon gives back what the exchange holds. There will be no answer.
	abandon(sa *ikeSA)
}

// solitary is an exchange that may not be under way beside any other one of ours.
type solitary interface {
	// excludes reports whether it has to be alone with regard to another one.
	excludes(other exchange) bool
}

// excludes asks an exchange whether another one of ours may be under way beside it.
func excludes(x, other exchange) bool {
	s, ok := x.(solitary)
	return ok && s.excludes(other)
}

// wish is what a request of the peer is about.
type wish uint8

const (
	theyCreateChild wish = iota
	theyRekeyChild
	theyDeleteChild
	theyRekeyIKE
	theyDeleteIKE
)

// verdict is how a request of the peer is answered that crosses one of ours (RFC 7296 2.25).
type verdict uint8

const (
	accept verdict = iota // as usual
	refuse                // with TEMPORARY_FAILURE
	omit                  // without a Delete payload
)

// parting is the verdict while the IKE SA is on its way out.
func parting(w wish) verdict {
	switch w {
	case theyDeleteIKE:
		return accept
	case theyDeleteChild:
		return omit
	}
	return refuse
}

// clash asks all exchanges that are under way. What one of them refuses is refused.
func (sa *ikeSA) clash(w wish, child *childSA) verdict {
	all := accept
	for x := range sa.underWay() {
		switch v := x.clash(w, child); {
		case v == refuse:
			return refuse
		case v == omit:
			all = omit
		}
	}
	return all
}

// retryAfter is how long we wait after TEMPORARY_FAILURE; the peer needs time to finish (RFC 7296 2.25).
const retryAfter = 5 * time.Second

// maxTemporary is how often an exchange is tried again after TEMPORARY_FAILURE, over several minutes, until the states of
// the two ends are thought to differ (RFC 7296 2.25).
const maxTemporary = 20

// lowest is the lower of two nonces, octet by octet; a prefix is the lower (RFC 7296 2.8.1).
func lowest(a, b []byte) []byte {
	if bytes.Compare(a, b) <= 0 {
		return a
	}
	return b
}

// again puts an exchange off after TEMPORARY_FAILURE, or gives the IKE SA up when that happened too often.
func (sa *ikeSA) again(x exchange, tries *int) {
	*tries++
	if *tries > maxTemporary {
		sa.event(Failed, "the peer has been busy for too long", "")
		x.abandon(sa)
		sa.close("the states of the two ends differ")
		return
	}
	sa.deferExchange(x, retryAfter+sa.end.jitter(retryAfter))
}

// alive asks for a sign of life (RFC 7296 2.4).
type alive struct{}

func (*alive) kind() wire.Exchange { return wire.INFORMATIONAL }
func (*alive) request(sa *ikeSA) ([]wire.Payload, bool) {
	return append(sa.detection(), sa.roomForToken()...), true
}
func (*alive) reply(sa *ikeSA, c *content)  { sa.seen(c) }
func (*alive) clash(wish, *childSA) verdict { return accept }
func (*alive) abandon(*ikeSA)               {}

// orphan takes the place of an exchange whose answer is of no interest any more.
type orphan struct{ of wire.Exchange }

func (x orphan) kind() wire.Exchange                 { return x.of }
func (orphan) request(*ikeSA) ([]wire.Payload, bool) { return nil, false }
func (orphan) reply(*ikeSA, *content)                {}
func (orphan) clash(w wish, _ *childSA) verdict      { return parting(w) }
func (orphan) abandon(*ikeSA)                        {}

// farewell tells the peer of a fatal error in its answer; the IKE SA ends with it (RFC 7296 2.21.2).
type farewell struct{ error wire.NotifyType }

func (*farewell) kind() wire.Exchange { return wire.INFORMATIONAL }
func (x *farewell) request(*ikeSA) ([]wire.Payload, bool) {
	return notifyOf(x.error), true
}
func (*farewell) reply(sa *ikeSA, _ *content)      { sa.linger() }
func (*farewell) clash(w wish, _ *childSA) verdict { return parting(w) }
func (*farewell) abandon(*ikeSA)                   {}

// deleteIKE closes the IKE SA (RFC 7296 1.4.1).
type deleteIKE struct{ why string }

func (*deleteIKE) kind() wire.Exchange { return wire.INFORMATIONAL }

func (*deleteIKE) request(*ikeSA) ([]wire.Payload, bool) {
	return []wire.Payload{&wire.Delete{Protocol: suite.IKE}}, true
}

func (x *deleteIKE) reply(sa *ikeSA, _ *content) {
	if sa.successor == nil && sa.predecessor == nil {
		sa.event(Closed, x.why, "")
	}
	sa.linger()
}

// clash: the peer's own Delete is answered as usual, and ours forgotten; whatever needs the IKE SA to live on is refused (RFC
// 7296 2.25.2). The children are closed with it (1.4.1).
func (*deleteIKE) clash(w wish, _ *childSA) verdict { return parting(w) }

// excludes: what is asked beside it would not be answered. What nobody waits for does not hold it up.
func (*deleteIKE) excludes(other exchange) bool {
	_, nobodyWaits := other.(orphan)
	return !nobodyWaits
}

func (*deleteIKE) abandon(*ikeSA) {}

// deleteChildren closes Child SAs (RFC 7296 1.4.1).
type deleteChildren struct {
	children []*childSA
	why      string
}

func (*deleteChildren) kind() wire.Exchange { return wire.INFORMATIONAL }

func (x *deleteChildren) request(*ikeSA) ([]wire.Payload, bool) {
	var spis [][]byte
	for _, c := range x.children {
		if !c.gone {
			spis = append(spis, spiBytes(c.in))
		}
	}
	return []wire.Payload{&wire.Delete{Protocol: suite.ESP, SPIs: spis}}, len(spis) > 0
}

// reply closes our side as well, whether or not the answer names the peer's SPIs: it omits them if the peer was
// deleting too.
func (x *deleteChildren) reply(_ *ikeSA, _ *content) {
	for _, c := range x.children {
		c.finish(x.why)
	}
}

// clash: RFC 7296 2.25.1.
func (x *deleteChildren) clash(w wish, child *childSA) verdict {
	mine := false
	for _, c := range x.children {
		mine = mine || c == child
	}
	switch {
	case w == theyRekeyIKE:
		return refuse
	case w == theyRekeyChild && mine:
		return refuse
	case w == theyDeleteChild && mine:
		return omit
	}
	return accept
}

func (x *deleteChildren) abandon(*ikeSA) {}
