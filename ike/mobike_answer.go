package ike

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/natt"
)

// takeMobility takes what an INFORMATIONAL request of the peer says about addresses, and returns what to answer (RFC 4555 3.5 to
// 3.9). id is the number of the message.
func (sa *ikeSA) takeMobility(c *content, id uint32) []wire.Payload {
	m := sa.mob
	if m == nil {
		return nil
	}
	answer := sa.returnCookie2(c)
	refuse := func(kind wire.NotifyType) []wire.Payload { return append(notifyOf(kind), answer...) }
	updates := c.notify(wire.UPDATE_SA_ADDRESSES) != nil && !m.decides
	list, lists := readAddresses(c)
	if (updates || lists) && !sa.isUntouched(c) {
		return refuse(wire.UNEXPECTED_NAT_DETECTED)
	}
	now, cur := occasion{sa.established, id}, sa.heir()
	if updates && cur.isCurrent() && !now.before(m.lastUpdate) {
		if !cur.acceptable(sa.asked) {
			return refuse(wire.UNACCEPTABLE_ADDRESSES)
		}
		m.lastUpdate = now
		sa.takeUpdate(c)
	}
	if lists && !now.before(m.lastList) {
		m.lastList = now
		m.theirs = slices.DeleteFunc(list, func(a netip.Addr) bool { return a == sa.asked.Remote.Addr() })
		sa.takeList()
	}
	if c.notify(wire.NAT_DETECTION_SOURCE_IP) != nil || c.notify(wire.NAT_DETECTION_DESTINATION_IP) != nil {
		answer = append(answer, natHashes(sa.spiI, sa.spiR, sa.asked)...)
	}
	return answer
}

// returnCookie2 copies the COOKIE2 of any INFORMATIONAL request (RFC 4555 3.7), if it has a length that is allowed (4.2.5).
func (sa *ikeSA) returnCookie2(c *content) []wire.Payload {
	n := c.notify(wire.COOKIE2)
	if sa.mob == nil || n == nil || len(n.Data) < 8 || len(n.Data) > 64 {
		return nil
	}
	return []wire.Payload{&wire.Notify{Kind: wire.COOKIE2, Data: n.Data}}
}

// isUntouched reports whether the addresses of a request are those that the peer sent it with, if it insists on that (RFC 4555
// 3.9).
func (sa *ikeSA) isUntouched(c *content) bool {
	n := c.notify(wire.NO_NATS_ALLOWED)
	return n == nil || bytes.Equal(n.Data, addressesOf(natt.Path{Local: sa.asked.Remote, Remote: sa.asked.Local}))
}

// addressesOf is the data of a NO_NATS_ALLOWED notify for what is sent along a path (RFC 4555 4.2.6).
func addressesOf(p natt.Path) []byte {
	b := append(p.Local.Addr().Unmap().AsSlice(), p.Remote.Addr().Unmap().AsSlice()...)
	b = binary.BigEndian.AppendUint16(b, p.Local.Port())
	return binary.BigEndian.AppendUint16(b, p.Remote.Port())
}

// takeUpdate goes along with the peer, which decided to be where its request came from. The Child SAs follow when the peer has
// proved to be there; that it is at another port of the same address needs no proof.
func (sa *ikeSA) takeUpdate(c *content) {
	m, cur, p := sa.mob, sa.heir(), sa.asked
	m.generation++
	cur.setPath(p)
	sa.setNAT(sa.detect(c, p))
	switch {
	case p == m.traffic:
	case p.Remote.Addr() == m.traffic.Remote.Addr():
		cur.setTraffic(p)
	default:
		cur.check(p)
	}
}

// takeList goes to where the peer is if it has left the address that we use (RFC 4555 3.5). Who does not decide waits for the
// peer's decision.
func (sa *ikeSA) takeList() {
	m, cur := sa.mob, sa.heir()
	inUse := cur.path.Remote.Addr()
	if !m.decides || !cur.isCurrent() || inUse == sa.asked.Remote.Addr() || slices.Contains(m.theirs, inUse) || !cur.acceptable(sa.asked) {
		return
	}
	cur.move(sa.asked)
}
