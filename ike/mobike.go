package ike

import (
	"net/netip"
	"slices"
	"time"

	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/natt"
	"github.com/culvert-vpn/culvert/ts"
)

const (
	// maxAddresses is how many addresses we announce, and how many of the peer's we remember.
	maxAddresses = 16
	// maxPaths is how many paths are tried when the one in use seems to be broken.
	maxPaths = 8
	// checkInterval is the least time between two checks of where ESP came from unannounced.
	checkInterval = 10 * time.Second
	// longPatience is how long the end that does not decide goes on asking, at least: the other one needs time to notice that
	// a path is broken, and to find another (RFC 4555 3.11).
	longPatience = 5 * time.Minute
)

// mobility is what MOBIKE (RFC 4555) knows of an IKE SA. It is shared with the successors, as the addresses are.
//
// A path changes in two steps: the IKE SA takes it at once, the Child SAs when the peer is known to receive there (RFC 4555 3.7).
type mobility struct {
	// decides: we sent the first IKE_SA_INIT, and choose the addresses (RFC 4555 3.5).
	decides bool
	// generation counts the decisions. Answers to what was asked before the last one say nothing about it.
	generation uint64
	// traffic is the path of the Child SAs, agreed the last one that both ends know of.
	traffic, agreed natt.Path
	// proved are the addresses of the peer at which it has answered.
	proved []netip.Addr

	// theirs are the peer's addresses besides the one it uses, ours those of which we told the peer; announced: we did so.
	theirs, ours []netip.Addr
	announced    bool
	// lastUpdate and lastList are the newest requests of their kind.
	lastUpdate, lastList occasion

	// advised is the path that the host chose last to where the peer was. ways are all paths that may work, refused those that
	// the peer did not accept.
	advised       natt.Path
	found         natt.Path // by which an answer came last when there was a search
	ways, refused []natt.Path

	// mapping is how the peer saw us when it told last: the data of a NAT_DETECTION_DESTINATION_IP (RFC 4555 3.8).
	mapping []byte
	// strayed: ESP came another way than it should (RFC 4555 3.12). nextCheck is when that may lead to a check again.
	strayed   bool
	nextCheck time.Time
}

// occasion is when the peer sent a request: in which IKE SA of several generations, and as which message there.
type occasion struct {
	established time.Time
	id          uint32
}

// before reports whether it was earlier than o: requests may overtake each other in a window (RFC 4555 3.5).
func (x occasion) before(o occasion) bool {
	if !x.established.Equal(o.established) {
		return x.established.Before(o.established)
	}
	return x.id < o.id
}

// announceMobility are the notifies that say in IKE_AUTH that we support MOBIKE, and under which other addresses we are there
// (RFC 4555 3.2, 3.4).
func (sa *ikeSA) announceMobility() []wire.Payload {
	return append(notifyOf(wire.MOBIKE_SUPPORTED), addressNotifies(sa.otherAddresses())...)
}

// startMobility is called when both ends support MOBIKE, with what the peer said in IKE_AUTH.
func (sa *ikeSA) startMobility(c *content) {
	m := &mobility{
		decides: sa.initiator, traffic: sa.path, agreed: sa.path, proved: []netip.Addr{sa.path.Remote.Addr()},
		advised: sa.path, ours: sa.otherAddresses(), announced: true,
	}
	m.theirs, _ = readAddresses(c)
	sa.mob = m
}

// trafficPath is where the Child SAs send.
func (sa *ikeSA) trafficPath() natt.Path {
	if sa.mob != nil {
		return sa.mob.traffic
	}
	return sa.path
}

// heir is the last of its successors, or the IKE SA itself.
func (sa *ikeSA) heir() *ikeSA {
	for sa.successor != nil {
		sa = sa.successor
	}
	return sa
}

// eachRelative runs f for all IKE SAs that share the path: those that are replaced, and those that may replace it.
func (sa *ikeSA) eachRelative(f func(*ikeSA)) {
	for _, s := range sa.relatives() {
		if s.mob == sa.mob {
			f(s)
			sa.end.touch(s)
		}
	}
}

// prove notes that the peer receives at an address.
func (m *mobility) prove(a netip.Addr) {
	if slices.Contains(m.proved, a) {
		return
	}
	if len(m.proved) >= maxAddresses {
		m.proved = m.proved[1:]
	}
	m.proved = append(m.proved, a)
}

// addressNotifies tell of addresses besides the one that the message is sent from.
func addressNotifies(list []netip.Addr) []wire.Payload {
	var payloads []wire.Payload
	for _, a := range list {
		kind := wire.ADDITIONAL_IP4_ADDRESS
		if a.Is6() {
			kind = wire.ADDITIONAL_IP6_ADDRESS
		}
		payloads = append(payloads, &wire.Notify{Kind: kind, Data: a.AsSlice()})
	}
	return payloads
}

// readAddresses reads them. told is false if the message says nothing about addresses. What is no address is ignored.
func readAddresses(c *content) (list []netip.Addr, told bool) {
	for _, n := range c.notifies {
		length := 0
		switch n.Kind {
		case wire.NO_ADDITIONAL_ADDRESSES:
			told = true
		case wire.ADDITIONAL_IP4_ADDRESS:
			length = 4
		case wire.ADDITIONAL_IP6_ADDRESS:
			length = 16
		}
		if length == 0 || len(n.Data) != length {
			continue
		}
		told = true
		a, _ := netip.AddrFromSlice(n.Data)
		if a = a.Unmap(); len(list) < maxAddresses && isPlace(a) && !slices.Contains(list, a) {
			list = append(list, a)
		}
	}
	return list, told
}

// isPlace reports whether a peer can be at an address as seen from anywhere.
func isPlace(a netip.Addr) bool { return a.IsGlobalUnicast() }

// otherAddresses are our addresses besides the one in use, as far as the peer is to know them: those the connection may use,
// and not those of the networks that the tunnel is there to protect.
func (sa *ikeSA) otherAddresses() []netip.Addr {
	var list []netip.Addr
	for _, a := range sa.end.addrs {
		if a != sa.path.Local.Addr() && isPlace(a) && sa.mayBeAt(a) && len(list) < maxAddresses {
			list = append(list, a)
		}
	}
	return list
}

// isAllowed reports whether the configuration lets us use an address. When none of those that it names is left, the tunnel is worth
// more than its letter.
func (sa *ikeSA) isAllowed(a netip.Addr) bool {
	list := sa.conn.LocalAddrs
	if within(list, a) {
		return true
	}
	return len(sa.end.addrs) > 0 && !slices.ContainsFunc(sa.end.addrs, func(o netip.Addr) bool { return within(list, o) })
}

// mayBeAt reports whether an address of ours that the host did not choose is worth a try. One that a peer
// has assigned to us leads into a tunnel.
func (sa *ikeSA) mayBeAt(a netip.Addr) bool {
	return sa.isAllowed(a) && !sa.end.isInner(a) && !behind(func(c *Child) []ts.Spec { return c.LocalTS }, sa.conn, a, sa.path.Local.Addr())
}

// mayCallAt reports whether an address that the peer told of is worth a try. One of the network behind the peer is not: from
// here it leads nowhere, or to somebody else.
func (sa *ikeSA) mayCallAt(a netip.Addr) bool {
	return (sa.mob.decides || within(sa.conn.RemoteAddrs, a)) && !behind(func(c *Child) []ts.Spec { return c.RemoteTS }, sa.conn, a, sa.path.Remote.Addr())
}

// behind reports whether an address belongs to a protected network. A network that the address in use belongs to as well,
// 0.0.0.0/0 say, tells nothing.
func behind(specs func(*Child) []ts.Spec, conn *Connection, a, inUse netip.Addr) bool {
	covers := func(s ts.Spec, a netip.Addr) bool {
		return !s.Dynamic && s.Sel.Start.Is4() == a.Is4() && s.Sel.Start.Compare(a) <= 0 && a.Compare(s.Sel.End) <= 0
	}
	for _, c := range conn.Children {
		for _, s := range specs(c) {
			if covers(s, a) && !covers(s, inUse) {
				return true
			}
		}
	}
	return false
}

// within reports whether a list of networks, which is empty if there is no limit, has an address.
func within(list []netip.Prefix, a netip.Addr) bool {
	return len(list) == 0 || slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a.Unmap()) })
}

// isOurs reports whether the host has an address, as far as is known.
func (e *Endpoint) isOurs(a netip.Addr) bool {
	return e.addrs == nil || slices.Contains(e.addrs, a)
}

// extend makes a schedule long enough for the end that does not decide (RFC 4555 3.11).
func (r Retransmit) extend() Retransmit {
	var total time.Duration
	tries := 0
	for ; total < longPatience && tries < 100; tries++ {
		total += r.wait(tries + 1)
	}
	r.Tries = max(r.Tries, tries-1)
	return r
}
