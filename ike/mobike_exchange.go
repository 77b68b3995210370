package ike

import (
	"bytes"
	"slices"

	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/natt"
)

// cookie2Len is the length of our COOKIE2 in bytes; 8 to 64 are allowed (RFC 4555 4.2.5).
const cookie2Len = 16

// informational is what all exchanges of MOBIKE have in common: they change nothing that another request could cross.
type informational struct{}

func (informational) kind() wire.Exchange          { return wire.INFORMATIONAL }
func (informational) clash(wish, *childSA) verdict { return accept }
func (informational) abandon(*ikeSA)               {}
func (informational) ofMOBIKE()                    {}

// excludes: what one of them finds out may make the next one needless, and the peer is to hear of our addresses in the order of our
// decisions.
func (informational) excludes(other exchange) bool {
	_, both := other.(interface{ ofMOBIKE() })
	return both
}

// journey is the way that a request and its answer took.
type journey struct {
	along []natt.Path
	by    natt.Path
}

func (j *journey) travelled(along []natt.Path, by natt.Path) { j.along, j.by = along, by }

// isClear reports whether the answer proves anything about where the peer receives: not if the request went to several places
// (RFC 4555 3.7).
func (j *journey) isClear() bool { return len(j.along) == 1 }

// cookie2 is the secret that only who gets the request can answer with.
type cookie2 []byte

func (k *cookie2) payload(sa *ikeSA) wire.Payload {
	*k = sa.end.random(cookie2Len)
	return &wire.Notify{Kind: wire.COOKIE2, Data: *k}
}

// verify closes the IKE SA if the answer has another one: it MUST be closed (RFC 4555 3.7).
func (k cookie2) verify(sa *ikeSA, c *content) bool {
	n := c.notify(wire.COOKIE2)
	if n != nil && bytes.Equal(n.Data, k) {
		return true
	}
	cur := sa.heir()
	cur.event(Failed, "the peer answered without the COOKIE2 of our request", "the answer was made by somebody who did not see the request, or the peer's MOBIKE is defective: mobike = no avoids it")
	sa.end.keeperOf(sa.conn).misunderstood()
	cur.close("the peer answered without the COOKIE2 of our request")
	return false
}

// updateAddresses tells the peer where we are, and by that where it is to send (RFC 4555 3.5).
type updateAddresses struct {
	informational
	journey
	cookie     cookie2
	generation uint64
}

func (x *updateAddresses) request(sa *ikeSA) ([]wire.Payload, bool) {
	m := sa.mob
	x.generation = m.generation
	list := notifyOf(wire.UPDATE_SA_ADDRESSES)
	list = append(list, natHashes(sa.spiI, sa.spiR, sa.path)...)
	list = append(list, sa.addressList()...)
	return append(list, x.cookie.payload(sa)), true
}

func (x *updateAddresses) reply(sa *ikeSA, c *content) {
	m, cur := sa.mob, sa.heir()
	if !x.cookie.verify(sa, c) || x.generation != m.generation || !cur.isCurrent() {
		return // another one follows if the addresses changed since
	}
	switch {
	case c.notify(wire.UNACCEPTABLE_ADDRESSES) != nil, c.notify(wire.UNEXPECTED_NAT_DETECTED) != nil:
		cur.unacceptable()
		return
	case !x.isClear():
		cur.update()
		return
	}
	m.agreed = cur.path
	m.prove(cur.path.Remote.Addr())
	cur.setTraffic(cur.path)
	sa.takeDetection(c, x.by)
}

// takeDetection takes the NAT detection of an answer.
func (sa *ikeSA) takeDetection(c *content, by natt.Path) {
	if n := c.notify(wire.NAT_DETECTION_DESTINATION_IP); n != nil {
		sa.mob.mapping = clone(n.Data)
	}
	sa.setNAT(sa.detect(c, by))
}

// detect reads the NAT detection of a message in an IKE SA that is established.
func (sa *ikeSA) detect(c *content, p natt.Path) natt.Situation {
	s := natSituation(wire.Header{SPIi: sa.spiI, SPIr: sa.spiR}, c, p)
	s.Certain = s.Supported && sa.nat.Certain
	return s
}

// unacceptable takes another path when the peer does not accept the one that we decided for; if there is none left, the one that
// both ends know of (RFC 4555 3.5).
func (sa *ikeSA) unacceptable() {
	m := sa.mob
	m.refused = append(m.refused, sa.path)
	sa.event(Warned, "the peer does not accept the path "+sa.path.String(), "compare local_addrs and remote_addrs of both sides with the addresses of the path")
	for _, p := range m.ways {
		if p != m.agreed && !slices.Contains(m.refused, p) {
			sa.move(p)
			return
		}
	}
	m.generation++
	sa.setPath(m.agreed)
	sa.setTraffic(m.agreed)
}

// addressList are the notifies that tell of our addresses; nothing if they are not known. They are taken for told.
func (sa *ikeSA) addressList() []wire.Payload {
	if sa.end.addrs == nil {
		return nil
	}
	m := sa.mob
	m.ours, m.announced = sa.otherAddresses(), true
	if len(m.ours) == 0 {
		return notifyOf(wire.NO_ADDITIONAL_ADDRESSES)
	}
	return addressNotifies(m.ours)
}

// tellAddresses tells of our addresses (RFC 4555 3.6).
type tellAddresses struct {
	informational
	journey
}

func (x *tellAddresses) request(sa *ikeSA) ([]wire.Payload, bool) {
	list := sa.addressList()
	return list, len(list) > 0
}

func (x *tellAddresses) reply(sa *ikeSA, c *content) {
	cur := sa.heir()
	if !cur.isCurrent() {
		return
	}
	// An address of ours is in the header: sent from several, the request did not say which.
	local := func(p natt.Path) bool { return p.Local == cur.path.Local }
	if c.notify(wire.UNEXPECTED_NAT_DETECTED) != nil || slices.IndexFunc(x.along, func(p natt.Path) bool { return !local(p) }) >= 0 {
		sa.mob.announced = false
	}
	cur.announce()
}

// checkPath asks the peer to prove that it receives at the end of a path (RFC 4555 3.7).
type checkPath struct {
	informational
	journey
	cookie     cookie2
	path       natt.Path
	generation uint64
}

func (x *checkPath) request(sa *ikeSA) ([]wire.Payload, bool) {
	if x.generation != sa.mob.generation {
		return nil, false
	}
	return []wire.Payload{x.cookie.payload(sa)}, true
}

func (x *checkPath) reply(sa *ikeSA, c *content) {
	m, cur := sa.mob, sa.heir()
	if !x.cookie.verify(sa, c) || x.generation != m.generation || !cur.isCurrent() {
		return
	}
	switch {
	case !x.isClear():
		if x.path == cur.path {
			cur.check(x.path)
		}
	case m.decides:
		m.prove(x.path.Remote.Addr())
		cur.move(x.path)
	default:
		m.prove(x.path.Remote.Addr())
		cur.setPath(x.path)
		cur.setTraffic(x.path)
	}
}

// detection is what a sign of life asks for beside it: how the peer sees us, if a NAT is between that may change its mind (RFC
// 4555 3.8).
func (sa *ikeSA) detection() []wire.Payload {
	if sa.mob == nil || !sa.mob.decides || !sa.nat.LocalNAT {
		return nil
	}
	return natHashes(sa.spiI, sa.spiR, sa.path)
}

// seen compares how the peer sees us with how it saw us before.
func (sa *ikeSA) seen(c *content) {
	m, n := sa.mob, c.notify(wire.NAT_DETECTION_DESTINATION_IP)
	if m == nil || !m.decides || n == nil {
		return
	}
	// What it said in IKE_SA_INIT was about port 500: the first time there is always a change.
	changed := !bytes.Equal(m.mapping, n.Data)
	m.mapping = clone(n.Data)
	if cur := sa.heir(); changed && cur.isCurrent() {
		cur.update()
	}
}
