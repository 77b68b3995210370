package ike

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/culvert-vpn/culvert/ike/wire"
)

// Repeated authentication (RFC 4478): who was called says how long the authentication holds, and who called repeats it in time.

const (
	// leastLifetime is how long an authentication holds whatever the peer says, so that nobody keeps us busy.
	leastLifetime = 10 * time.Second
	// longestLifetime bounds what is reckoned with: whoever says more might as well say nothing.
	longestLifetime = 10 * 365 * 24 * time.Hour
)

// lifetimeNotify says when we shall want the IKE SA set up anew; nil if never, or if it is not for us to say, since we called.
func (sa *ikeSA) lifetimeNotify() []wire.Payload {
	if sa.origin.called || sa.origin.reauthAt.IsZero() {
		return nil
	}
	left := max(sa.origin.reauthAt.Sub(sa.end.now), 0)
	data := binary.BigEndian.AppendUint32(nil, uint32(min(left, longestLifetime)/time.Second))
	return []wire.Payload{&wire.Notify{Kind: wire.AUTH_LIFETIME, Data: data}}
}

// takeLifetime takes the word of the peer, if there is one in an authentic message: the IKE SA is set up anew a while before, by chance
// between a fifth and a tenth of the time that is left.
func (sa *ikeSA) takeLifetime(c *content) {
	n := c.notify(wire.AUTH_LIFETIME)
	if n == nil || !sa.origin.called || len(n.Data) != 4 {
		return
	}
	left := min(time.Duration(binary.BigEndian.Uint32(n.Data))*time.Second, longestLifetime)
	at := sa.end.now.Add(left - left/10 - sa.end.jitter(left/10))
	at = later(at, sa.origin.authenticated.Add(leastLifetime))
	sa.event(Warned, fmt.Sprintf("the peer wants to be authenticated anew within %v", left), "")
	sa.reauthenticateBy(at)
}

// tellLifetime tells the peer of another time than was said before (RFC 4478 2).
type tellLifetime struct{}

func (*tellLifetime) kind() wire.Exchange { return wire.INFORMATIONAL }
func (*tellLifetime) request(sa *ikeSA) ([]wire.Payload, bool) {
	payloads := sa.lifetimeNotify()
	return payloads, payloads != nil && sa.isCurrent()
}
func (*tellLifetime) reply(*ikeSA, *content)       {}
func (*tellLifetime) clash(wish, *childSA) verdict { return accept }
func (*tellLifetime) abandon(*ikeSA)               {}
