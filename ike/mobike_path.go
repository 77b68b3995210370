package ike

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/culvert-vpn/culvert/natt"
)

// searchAfter is how often a request is sent along the path in use before other paths are tried as well.
const searchAfter = 2

// addressesChanged takes what the host has of addresses now; its routes may have changed with them.
func (e *Endpoint) addressesChanged(in Addresses) {
	other := e.addrs != nil && !slices.Equal(e.addrs, in.Local)
	e.addrs = append([]netip.Addr{}, in.Local...)
	for sa := range e.order.all() {
		gone := !e.isOurs(sa.path.Local.Addr())
		switch {
		case !sa.isCurrent():
			if gone && sa.initiator && sa.predecessor == nil && !sa.isEstablished() && !sa.isGone() {
				sa.fail(fmt.Sprintf("our address %v is gone", sa.path.Local.Addr()), "")
			}
		case gone, sa.mob != nil && sa.mob.decides:
			sa.survey()
		case sa.mob != nil:
			sa.announce()
		}
	}
	for _, k := range e.keepers {
		k.hurry(other)
	}
}

// survey asks for the paths to the peer.
func (sa *ikeSA) survey() {
	remotes := []netip.AddrPort{sa.path.Remote}
	if m := sa.mob; m != nil {
		port := natt.PortNATT
		if m.decides {
			port = sa.path.Remote.Port()
		}
		for _, a := range m.theirs {
			if a != sa.path.Remote.Addr() && sa.mayCallAt(a) {
				remotes = append(remotes, netip.AddrPortFrom(a, port))
			}
		}
	}
	sa.end.emit(Survey{IKE: sa.spi(), Conn: sa.conn, Remotes: remotes})
}

// surveyed takes the answer.
func (e *Endpoint) surveyed(in Surveyed) {
	sa := e.sas[in.IKE]
	if sa == nil || !sa.heir().isCurrent() {
		return
	}
	sa = sa.heir()
	e.touch(sa)
	var paths []natt.Path
	var usual natt.Path // invalid if the host knows no way to where the peer is
	for _, p := range in.Paths {
		if p.Local = sa.localFor(p); p.Valid() {
			paths = append(paths, p)
		}
		if p.Valid() && p.Remote == sa.path.Remote {
			usual = p
		}
	}
	switch m := sa.mob; {
	case m == nil:
		sa.depart(usual)
	case m.decides:
		m.ways, m.refused = sa.possible(paths), nil
		sa.choose(usual)
		sa.announce()
	default:
		m.ways = sa.possible(paths)
		sa.relocate(usual)
		sa.announce()
	}
}

// localFor is where to send from along a path that the host found: where it would, if the configuration allows that, or else from the
// first address of ours that is allowed.
func (sa *ikeSA) localFor(p natt.Path) netip.AddrPort {
	if sa.end.isOurs(p.Local.Addr()) && sa.isAllowed(p.Local.Addr()) {
		return p.Local
	}
	for _, a := range append([]netip.Addr{sa.path.Local.Addr()}, sa.end.addrs...) {
		if a.Is4() == p.Remote.Addr().Is4() && sa.end.isOurs(a) && sa.isAllowed(a) {
			return netip.AddrPortFrom(a, p.Local.Port())
		}
	}
	return netip.AddrPort{}
}

// possible are the paths that may lead to the peer: those that the host would choose, and from our other addresses.
func (sa *ikeSA) possible(paths []natt.Path) []natt.Path {
	var list []natt.Path
	add := func(p natt.Path) {
		if p.Valid() && p.NATT && len(list) < maxPaths && !slices.Contains(list, p) {
			list = append(list, p)
		}
	}
	for _, p := range paths {
		add(p)
	}
	for _, p := range paths {
		for _, a := range sa.end.addrs {
			if isPlace(a) && sa.mayBeAt(a) {
				add(natt.Path{Local: netip.AddrPortFrom(a, p.Local.Port()), Remote: p.Remote, NATT: p.NATT})
			}
		}
	}
	return list
}

// choose decides where we are from now on: where the host's routes lead, unless the path in use was found to be better. usual
// is the path that the host would choose to where the peer is.
func (sa *ikeSA) choose(usual natt.Path) {
	m := sa.mob
	gone := !sa.end.isOurs(sa.path.Local.Addr())
	switch {
	case usual.Valid() && (gone || usual.Remote == m.advised.Remote && usual.Local != m.advised.Local):
		sa.move(usual)
	case gone || !usual.Valid():
		// There is no way to where the peer is. If there is none to anywhere, another survey follows when that has changed.
		if i := slices.IndexFunc(m.ways, func(p natt.Path) bool { return p.Remote != sa.path.Remote }); i >= 0 {
			usual = m.ways[i]
			sa.move(usual)
		}
	}
	m.advised = usual
}

// move decides for a path (RFC 4555 3.5). The Child SAs follow at once if the peer is known to receive there.
func (sa *ikeSA) move(p natt.Path) {
	if p == sa.path || !p.Valid() {
		return
	}
	m := sa.mob
	m.generation++
	sa.setPath(p)
	if slices.Contains(m.proved, p.Remote.Addr()) {
		sa.setTraffic(p)
	}
	sa.update()
}

// update has the peer told where we are.
func (sa *ikeSA) update() {
	sa.mob.generation++
	if !waits[*updateAddresses](sa) {
		sa.enqueueFirst(&updateAddresses{})
		sa.end.touch(sa)
	}
}

// waits reports whether an exchange of a kind waits for its turn.
func waits[T exchange](sa *ikeSA) bool {
	return slices.ContainsFunc(sa.win.queue, func(x exchange) bool { _, ok := x.(T); return ok })
}

// setPath lets the IKE SA take a path. What is unanswered goes on there, with the same bytes (RFC 4555 3.5).
func (sa *ikeSA) setPath(p natt.Path) {
	if p == sa.path {
		return
	}
	sa.eachRelative(func(s *ikeSA) {
		s.path = p
		for _, r := range s.win.out {
			r.sends = 0
			s.retransmit(r)
		}
		s.awaitAnswers()
	})
}

// setTraffic lets the Child SAs take a path.
func (sa *ikeSA) setTraffic(p natt.Path) {
	old := sa.mob.traffic
	if p == old {
		return
	}
	sa.mob.traffic = p
	var text string
	switch {
	case p.Local.Addr() == old.Local.Addr():
		text = fmt.Sprintf("the peer is now at %v", p.Remote)
	case p.Remote == old.Remote:
		text = fmt.Sprintf("we are now at %v", p.Local)
	default:
		text = fmt.Sprintf("we are now at %v, the peer at %v", p.Local, p.Remote)
	}
	was := sa.info()
	was.Path = old
	sa.became(PathChanged, was, text)
	sa.eachRelative((*ikeSA).repath)
}

// setNAT takes what was found out about NATs on the path. Only who is behind one sends keepalives.
func (sa *ikeSA) setNAT(s natt.Situation) {
	if !s.Supported || s == sa.nat {
		return
	}
	sa.eachRelative(func(r *ikeSA) { r.nat = s })
	if cur := sa.heir(); cur.isCurrent() && cur.timers[timerKeepalive].IsZero() {
		cur.keepalive()
	}
}

// waysOf are the paths that a request is sent along now. If it stays unanswered, all that may work are tried: the answer tells
// by the way it takes which of them does (RFC 4555 3.6, 3.10).
func (sa *ikeSA) waysOf(r *request) []natt.Path {
	list := []natt.Path{sa.path}
	m := sa.mob
	if m == nil || !sa.isEstablished() {
		return list
	}
	if x, ok := r.exchange.(*checkPath); ok && x.path != sa.path {
		list = []natt.Path{x.path}
		if r.sends > 1 || x.generation != m.generation {
			list = append(list, sa.path) // the window is not to stay closed for nothing
		}
	}
	_, tells := r.exchange.(*tellAddresses)
	if !m.decides && !tells || !sa.heir().isCurrent() {
		return list
	}
	if r.sends == searchAfter {
		sa.heir().survey()
	}
	if r.sends > searchAfter || sa.isGuess(r) {
		r.searching = true
		for _, p := range m.ways {
			if !slices.Contains(list, p) && !slices.Contains(m.refused, p) {
				list = append(list, p)
			}
		}
	}
	return list
}

// isGuess reports whether a request tells of a decision for an address at which the peer was never heard: the address in use is gone,
// and there may be several others.
func (sa *ikeSA) isGuess(r *request) bool {
	_, updates := r.exchange.(*updateAddresses)
	return updates && sa.path != sa.mob.found && !slices.Contains(sa.mob.proved, sa.path.Remote.Addr())
}

// cameBack is called when the answer to a request arrives along a path.
func (sa *ikeSA) cameBack(r *request, by natt.Path) {
	m := sa.mob
	if m == nil {
		return
	}
	if x, ok := r.exchange.(interface {
		travelled(along []natt.Path, by natt.Path)
	}); ok {
		x.travelled(r.along, by)
	}
	cur := sa.heir()
	if !r.searching || !slices.Contains(r.along, by) || !cur.isCurrent() {
		return
	}
	m.found = by
	if m.decides {
		cur.move(by)
	} else {
		cur.setPath(by) // what becomes of the Child SAs is for the peer to decide
	}
}

// relocate lets the end that does not decide go on when its own address is gone (RFC 4555 3.5, 3.6).
func (sa *ikeSA) relocate(usual natt.Path) {
	m := sa.mob
	if sa.end.isOurs(sa.path.Local.Addr()) {
		return
	}
	p := usual
	if !p.Valid() && len(m.ways) > 0 {
		p = m.ways[0]
	}
	if !p.Valid() {
		return
	}
	m.generation++
	m.announced = false
	sa.setPath(p)
	if t := m.traffic; !sa.end.isOurs(t.Local.Addr()) && t.Remote == p.Remote {
		sa.setTraffic(p)
	}
}

// announce tells the peer of our addresses if it knows others (RFC 4555 3.6).
func (sa *ikeSA) announce() {
	m := sa.mob
	if sa.end.addrs == nil || m.announced && slices.Equal(m.ours, sa.otherAddresses()) {
		return
	}
	if !waits[*updateAddresses](sa) && !waits[*tellAddresses](sa) { // they will tell
		sa.enqueueFirst(&tellAddresses{})
		sa.end.touch(sa)
	}
}

// strays takes news of ESP that came another way than we send it. RFC 4555 3.8 leaves it to us whether to follow.
func (sa *ikeSA) strays(p natt.Path) {
	m := sa.mob
	if p == m.traffic {
		return
	}
	m.strayed = true
	if !sa.isCurrent() || !sa.acceptable(p) || !natt.MayFollow(m.traffic, p, sa.nat) {
		return
	}
	switch {
	case !m.decides && p.Remote.Addr() == m.traffic.Remote.Addr():
		// The peer's NAT has another mapping for it, or it sends to another address of ours. Nobody else is there.
		m.generation++
		sa.setPath(p)
		sa.setTraffic(p)
	case !sa.end.now.Before(m.nextCheck):
		m.nextCheck = sa.end.now.Add(checkInterval)
		sa.check(p)
	}
}

// check asks the peer to prove that it receives at the other end of a path (RFC 4555 3.7).
func (sa *ikeSA) check(p natt.Path) {
	if sa.hasExchange(func(x exchange) bool {
		c, ok := x.(*checkPath)
		return ok && c.path == p && c.generation == sa.mob.generation
	}) {
		return
	}
	sa.enqueueFirst(&checkPath{path: p, generation: sa.mob.generation})
	sa.end.touch(sa)
}

// acceptable reports whether the configuration allows a path. What it says of the peer's addresses is whom to call and who may
// call: one that we called may go where it likes.
func (sa *ikeSA) acceptable(p natt.Path) bool {
	return p.Valid() && p.NATT && sa.isAllowed(p.Local.Addr()) && (sa.mob.decides || within(sa.conn.RemoteAddrs, p.Remote.Addr()))
}

// depart ends an IKE SA without MOBIKE whose address of ours is gone: nobody else can tell the peer where we are. If the peer
// cannot be called, we go on from another address, and it may follow (RFC 7296 2.23).
func (sa *ikeSA) depart(usual natt.Path) {
	if !usual.Valid() || usual.Local.Addr() == sa.path.Local.Addr() || sa.end.isOurs(sa.path.Local.Addr()) {
		return
	}
	was := sa.info()
	sa.path.Local = usual.Local
	if sa.conn.RemoteHost == "" {
		sa.became(PathChanged, was, fmt.Sprintf("our address %v is gone, we are now at %v", was.Path.Local.Addr(), usual.Local))
		sa.repath()
		if !sa.isAsking() {
			sa.enqueueFirst(&alive{})
		}
		return
	}
	k := sa.end.keeperOf(sa.conn)
	for _, c := range sa.children {
		if !c.gone && !c.deleting {
			k.want(c.cfg)
		}
	}
	sa.close(fmt.Sprintf("local address changed: %v is gone, and the peer does not support MOBIKE", was))
}
