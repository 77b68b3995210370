package ike

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/culvert-vpn/culvert/ike/wire"
)

const (
	// DefaultWindow is how many requests each end may have unanswered if nothing else is configured: enough for the children
	// that a restart or a rekeying brings about at once, and little to keep.
	DefaultWindow = 5
	// MaxWindow bounds it.
	MaxWindow = 64
)

// The message numbers of an IKE SA end before they would begin anew (RFC 7296 2.2): at softNumber it gets a successor, at
// hardNumber, if that did not come to be, it is closed. What is left after that is for the Delete.
const (
	softNumber = math.MaxUint32 - 1<<16
	hardNumber = math.MaxUint32 - 4*MaxWindow
)

// spent closes an IKE SA whose message numbers are used up.
func (sa *ikeSA) spent() {
	if sa.isCurrent() {
		sa.event(Closed, "its message numbers are used up", "")
		sa.close("its message numbers are used up")
	}
}

// inbox is what an IKE SA knows of the peer's requests: which are new, and the answers to those that may be repeated
// (RFC 7296 2.3).
type inbox struct {
	// size is how many requests at once we promised to take; 0 is 1.
	size uint32
	// next is the lowest number that is not answered.
	next uint32
	// answers are those to the last size requests.
	answers []answer
}

type answer struct {
	id      uint32
	message *packed
}

// takes reports whether a request is new and within the window. The peer has the answers to all requests up to the size before
// the first that it sends again, so it has none beyond the size after next.
func (in *inbox) takes(id uint32) bool {
	return id >= in.next && id-in.next < max(in.size, 1) && id != math.MaxUint32 && in.answer(id) == nil
}

// answer is what a request was answered with; nil if it was not, or if the answer is not kept any more.
func (in *inbox) answer(id uint32) *packed {
	for _, a := range in.answers {
		if a.id == id {
			return a.message
		}
	}
	return nil
}

// keep notes the answer to a request. The peer has those to all requests that are the size or more before it.
func (in *inbox) keep(id uint32, message *packed) {
	in.answers = append(in.answers, answer{id, message})
	for in.answer(in.next) != nil {
		in.next++
	}
	highest := slices.MaxFunc(in.answers, func(a, b answer) int { return int(int64(a.id) - int64(b.id)) }).id
	in.answers = slices.DeleteFunc(in.answers, func(a answer) bool { return highest-a.id >= max(in.size, 1) })
}

// ownWindow is how many requests at once we take, and send if the peer takes them.
func (sa *ikeSA) ownWindow() uint32 {
	if n := sa.conn.Window; n > 0 {
		return uint32(min(n, MaxWindow))
	}
	return DefaultWindow
}

// announceWindow is the notify that promises to take several requests at once, and from now on we do; nil if there is nothing to
// promise or it was said before. Nothing makes it less again (RFC 7296 2.3).
func (sa *ikeSA) announceWindow() []wire.Payload {
	n := sa.ownWindow()
	if n == 1 || sa.win.in.size > 0 {
		return nil
	}
	sa.win.in.size = n
	return []wire.Payload{&wire.Notify{Kind: wire.SET_WINDOW_SIZE, Data: binary.BigEndian.AppendUint32(nil, n)}}
}

// takeWindow takes the peer's promise, if there is one in an authentic message. A window cannot shrink (RFC 7296 2.3).
func (sa *ikeSA) takeWindow(c *content) {
	n := c.notify(wire.SET_WINDOW_SIZE)
	switch {
	case n == nil:
	case len(n.Data) != 4 || binary.BigEndian.Uint32(n.Data) == 0:
		sa.event(Warned, "the peer announces a window of no size", "")
	case binary.BigEndian.Uint32(n.Data) < max(sa.win.announced, 1):
		sa.event(Warned, fmt.Sprintf("the peer makes its window smaller, which IKEv2 does not allow: it stays at %d", sa.win.announced), "")
	default:
		sa.win.announced = binary.BigEndian.Uint32(n.Data)
		sa.win.size = min(sa.win.announced, sa.ownWindow())
	}
}

// introduce tells the peer of a new IKE SA, of whose rekeying we were the initiator, what we said in IKE_AUTH of the first one: our
// token (RFC 6290 4.3), and how many requests we take at once, if the peer knows windows (RFC 7296 2.3). The answer says the latter of
// the peer.
type introduce struct{ window bool }

func (*introduce) kind() wire.Exchange { return wire.INFORMATIONAL }
func (x *introduce) request(sa *ikeSA) ([]wire.Payload, bool) {
	payloads := sa.tokenNotify()
	if x.window {
		payloads = append(payloads, sa.announceWindow()...)
	}
	return payloads, payloads != nil
}
func (*introduce) reply(*ikeSA, *content)       {}
func (*introduce) clash(wish, *childSA) verdict { return accept }
func (*introduce) abandon(*ikeSA)               {}
