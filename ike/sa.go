package ike

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/culvert-vpn/culvert/explain"
	"github.com/culvert-vpn/culvert/ident"
	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/natt"
	"github.com/culvert-vpn/culvert/psk"
	"github.com/culvert-vpn/culvert/suite"
)

// ikeSA is one IKE SA, from the first message on.
type ikeSA struct {
	end    *Endpoint
	number uint64 // in the order of their making
	// conn is nil while a responder does not know yet who is calling.
	conn *Connection
	// initiator of the IKE SA: who sent IKE_SA_INIT, or the rekey that made it.
	initiator  bool
	spiI, spiR uint64
	path       natt.Path
	asked      natt.Path // where the peer's current request came from
	askedID    uint32    // and its number
	nat        natt.Situation
	mob        *mobility // nil without MOBIKE
	state      state
	keys       *keys
	proposal   suite.Proposal
	win        window
	fragments  fragmentation
	sounding   sounding
	timers     timers
	entry      entry

	localID, remoteID ident.ID
	secret            psk.Secret // that the peer has proved
	token             []byte     // by which the peer proves that it lost the IKE SA; nil if it gave none
	// born is when the first message was sent or came; established when it was complete.
	born, established time.Time
	origin            origin
	initial           initialKey // of the first request, if it was the peer's
	unproven          bool       // it is on the account of half-open ones of initial's source
	nextHint          time.Time  // when a hint that it is lost is heard again
	heard             time.Time
	nonces            keyInput // Ni and Nr of IKE_SA_INIT, for the child in IKE_AUTH (RFC 7296 2.17)
	nonceMin          []byte   // the lower of the two nonces that made it (RFC 7296 2.8)
	// successor replaces it after a rekey.
	successor *ikeSA
	// predecessor is what it is to replace, while we do not know yet whether it will: both ends made a successor.
	predecessor *ikeSA
	// renews is the IKE SA whose place it is to take, while that is up; renewing is the way back. renewals counts
	// the attempts that failed (see reauth.go).
	renews, renewing *ikeSA
	renewals         int
	// anewAt is when it is to be set up anew whatever its age, by us or, if the peer is awaited, by us after all; zero: by its age.
	anewAt   time.Time
	awaited  bool // the peer had the time to do that
	sentAway bool // the peer wants us to be with another gateway

	children []*childSA
	loans    []loan // what the peer has of us

	// spared: the secret that the peer has proved is gone, and that is no reason to replace it.
	spared bool
	// outdated: it was set up under another configuration, and is to be replaced.
	outdated         bool
	touched, removed bool
}

// origin is what an IKE SA has from the IKE_SA_INIT and IKE_AUTH that it goes back to; successors inherit it.
type origin struct {
	called        bool // we sent IKE_SA_INIT
	detour        detour
	redirectable  bool // we said that we can be redirected
	mayRedirect   bool // the peer, who called, said so
	authenticated time.Time
	nonceMin      []byte
	assigned      []netip.Addr // to us
	// reauthAt is when it is to be set up anew by reauth_time, authUntil by word of the peer; zero: never.
	reauthAt, authUntil time.Time
}

// state is what an IKE SA waits for.
type state interface {
	// stage is its name in the table of what is admitted.
	stage() stage
	// message takes a message that was admitted. It is parsed, but nothing of it is authenticated.
	message(sa *ikeSA, d Datagram, m *wire.Message)
	// silence is called when a request stayed unanswered for all its retransmissions.
	silence(sa *ikeSA)
	// String is the name of the state for users.
	String() string
}

// newSA enters a new IKE SA under our SPI.
func (e *Endpoint) newSA(initiator bool, ours, theirs uint64, path natt.Path) *ikeSA {
	sa := &ikeSA{end: e, initiator: initiator, spiI: ours, spiR: theirs, path: path, born: e.now, heard: e.now}
	if !initiator {
		sa.spiI, sa.spiR = theirs, ours
	}
	e.made++
	sa.number = e.made
	sa.entry.owner = sa
	e.sas[ours] = sa
	e.order.join(sa)
	e.touch(sa)
	return sa
}

// spi is our SPI, which names the IKE SA here.
func (sa *ikeSA) spi() uint64 {
	if sa.initiator {
		return sa.spiI
	}
	return sa.spiR
}

func (sa *ikeSA) peerSPI() uint64 {
	if sa.initiator {
		return sa.spiR
	}
	return sa.spiI
}

// isEstablished reports whether exchanges may be started.
func (sa *ikeSA) isEstablished() bool {
	_, ok := sa.state.(*established)
	return ok
}

// isCurrent reports whether the IKE SA is established, has no successor and is not being closed.
func (sa *ikeSA) isCurrent() bool {
	s, ok := sa.state.(*established)
	return ok && !s.closing && sa.successor == nil && sa.predecessor == nil
}

// isGone reports whether only answers are kept.
func (sa *ikeSA) isGone() bool {
	_, ok := sa.state.(lingering)
	return ok || sa.removed
}

// fire runs the timers that are due.
func (sa *ikeSA) fire() {
	sa.end.touch(sa)
	now := sa.end.now
	due := func(t timer) bool { return !sa.removed && sa.timers.take(t, now) }
	if due(timerGiveUp) {
		sa.outlived()
	}
	if due(timerRetransmit) {
		sa.unanswered()
	}
	if due(timerExpire) {
		sa.event(Closed, "its lifetime ended before a successor was agreed upon", "")
		sa.close("its lifetime is over")
	}
	if due(timerReauth) {
		sa.reauthenticate()
	}
	if due(timerRekey) {
		sa.startRekey()
	}
	if due(timerChildren) {
		sa.childTimers()
	}
	if due(timerDeferred) {
		sa.resume()
	}
	if due(timerProbe) {
		sa.probe()
	}
	if due(timerAnswer) {
		sa.answerNow()
	}
	if due(timerFragments) {
		sa.fragmentsLate()
	}
	if due(timerKeepalive) {
		sa.keepalive()
	}
}

// outlived ends an IKE SA that had a limited time: to be set up, or to linger.
func (sa *ikeSA) outlived() {
	switch s := sa.state.(type) {
	case lingering:
		sa.remove()
	case *established:
		// It has a successor, and the peer should have deleted it.
		sa.giveWay("it was replaced")
	default:
		s.silence(sa)
	}
}

// fail gives an IKE SA up that was not established; text and remedy say why.
func (sa *ikeSA) fail(text, remedy string) {
	sa.event(Failed, text, remedy)
	if sa.initiator && sa.conn != nil {
		sa.attemptFailed(text)
	}
	sa.remove()
}

// failBecause is fail with a cause that is known.
func (sa *ikeSA) failBecause(d *explain.Diagnosis) {
	sa.tell(Failed, d)
	if sa.initiator && sa.conn != nil {
		sa.attemptFailed(d.Text)
	}
	sa.remove()
}

// remove forgets the IKE SA and all that belongs to it, without a message.
func (sa *ikeSA) remove() {
	if sa.removed {
		return
	}
	sa.vacate((*childSA).vanish)
	sa.abandonOutstanding()
	sa.leaveAccount()
	sa.forgetFragments()
	sa.removed = true
	e := sa.end
	delete(e.sas, sa.spi())
	if e.initial[sa.initial] == sa {
		delete(e.initial, sa.initial)
	}
	e.order.leave(sa)
	sa.beNobody()
	if sa.conn != nil {
		e.keeperOf(sa.conn).sas.leave(sa)
	}
	sa.state = lingering{}
	sa.dropToken()
	sa.keys.wipe()
	sa.timers = timers{}
	e.touch(sa)
}

// leaveAccount takes the IKE SA off the account of the half-open ones: its peer is authenticated, or it is gone.
func (sa *ikeSA) leaveAccount() {
	if sa.unproven {
		sa.unproven = false
		sa.end.halfOpen.remove(source(sa.initial.from.Addr()))
	}
}

// vacate ends the exchanges that wait for their turn and takes the children down, each by end.
func (sa *ikeSA) vacate(end func(*childSA)) {
	if s, ok := sa.state.(interface{ leave(sa *ikeSA) }); ok {
		s.leave(sa)
	}
	sa.partRenewal()
	sa.abandonQueued()
	for _, c := range append([]*childSA(nil), sa.children...) {
		end(c)
	}
	sa.repay()
	if sa.conn != nil {
		sa.end.keeperOf(sa.conn).changed()
	}
}

// lingerTime is how long the answer to the last request is kept for a peer that did not get it: longer than
// the peer goes on asking.
const lingerTime = 3 * time.Minute

// linger keeps only what answers a repeated request.
func (sa *ikeSA) linger() {
	sa.vacate((*childSA).depart)
	sa.abandonOutstanding()
	sa.forgetFragments()
	sa.timers = timers{timerGiveUp: sa.end.now.Add(lingerTime)}
	sa.state = lingering{}
	sa.dropToken()
	sa.keys.wipeSecrets()
}

// follow moves the IKE SA to the path of an authentic, new packet (RFC 7296 2.23).
func (sa *ikeSA) follow(p natt.Path) {
	if !sa.isEstablished() || !natt.MayFollow(sa.path, p, sa.nat) {
		return
	}
	was := sa.info()
	sa.path = p
	sa.became(PathChanged, was, fmt.Sprintf("the peer is now at %v", p.Remote))
	sa.repath()
}

// repath tells the datapath where the children send to.
func (sa *ikeSA) repath() {
	var pairs []uint32
	for _, c := range sa.children {
		pairs = append(pairs, c.in)
	}
	if len(pairs) > 0 {
		sa.end.emit(Repath{IKE: sa.spi(), Path: sa.trafficPath(), Pairs: pairs})
	}
}

// keepalive asks for a keepalive if we are behind a NAT.
func (sa *ikeSA) keepalive() {
	if !sa.nat.LocalNAT || !sa.path.NATT {
		return
	}
	sa.end.emit(Keepalive{Path: sa.path})
	sa.timers[timerKeepalive] = sa.end.now.Add(natt.KeepaliveInterval)
}

// probe asks the peer for a sign of life, if nothing was heard since (RFC 7296 2.4): neither IKE nor ESP.
func (sa *ikeSA) probe() {
	if !sa.isCurrent() || sa.conn.DPDDelay == 0 {
		return
	}
	if sa.hasReceived() {
		if m := sa.mob; m == nil || !m.strayed { // RFC 4555 3.12
			sa.heard = sa.end.now
		}
	}
	if sa.mob != nil {
		sa.mob.strayed = false
	}
	next := sa.heard.Add(sa.conn.DPDDelay)
	if !next.After(sa.end.now) {
		if !sa.isAsking() {
			sa.enqueueFirst(&alive{})
		}
		next = sa.end.now.Add(sa.conn.DPDDelay)
	}
	sa.timers[timerProbe] = next
}

// hasReceived reports whether a child received anything since the last look.
func (sa *ikeSA) hasReceived() bool {
	any := false
	for _, c := range sa.children {
		n := sa.end.cfg.Datapath.Received(c.in)
		any = any || n != c.received
		c.received = n
	}
	return any
}

// dead is called when the peer did not answer at all.
func (sa *ikeSA) dead() {
	if !sa.isCurrent() {
		// It was to go anyway, and the peer may have forgotten it already.
		if sa.successor == nil && sa.predecessor == nil {
			sa.event(Closed, "the peer did not confirm it", "")
		}
		sa.remove()
		return
	}
	sa.forsaken(Event{Kind: Failed}.because(sa.fellSilent()))
}

// forsaken ends an IKE SA whose peer is gone, without a word.
func (sa *ikeSA) forsaken(why Event) {
	conn, mattered := sa.conn, sa.isCurrent()
	if mattered {
		sa.end.emit(sa.describe(why))
	}
	sa.remove()
	if mattered && conn != nil {
		sa.end.keeperOf(conn).peerVanished()
	}
}

// event tells of something about the IKE SA.
func (sa *ikeSA) event(kind EventKind, text, remedy string) {
	sa.end.emit(sa.describe(Event{Kind: kind, Text: text, Remedy: remedy}))
}

// tell tells of something about the IKE SA whose cause is known.
func (sa *ikeSA) tell(kind EventKind, d *explain.Diagnosis) {
	sa.end.emit(sa.describe(Event{Kind: kind}.because(d)))
}

// became tells of something by which the IKE SA is other than it was, or took the place of another one.
func (sa *ikeSA) became(kind EventKind, was SAInfo, text string) {
	ev := sa.describe(Event{Kind: kind, Text: text})
	ev.Old = &was
	sa.end.emit(ev)
}

func (sa *ikeSA) describe(ev Event) Event {
	info := sa.info()
	ev.SA = &info
	if sa.conn != nil {
		ev.Conn = sa.conn.Name
	}
	ev.SPIi, ev.SPIr, ev.Path = sa.spiI, sa.spiR, sa.path
	ev.LocalID, ev.RemoteID = sa.localID, sa.remoteID
	return ev
}

// open decrypts an encrypted message, or the last missing fragment of one. The error is about the syntax of what is
// authentic; ok is false if the message is not, and was dropped, or if it is not complete yet.
func (sa *ikeSA) open(d Datagram, m *wire.Message) (c *content, ok bool, err error) {
	if m.Fragment != nil {
		return sa.assemble(d, m)
	}
	inner, err := wire.OpenSealed(d.Data, m, sa.keys.in)
	if err != nil && !isAuthentic(err) {
		sa.end.drop(d, "integrity check failed")
		return nil, false, nil
	}
	sa.cameWhole(m.Header)
	if err != nil {
		return nil, true, err
	}
	sa.end.contains(inner)
	c, err = collect(inner)
	return c, true, err
}
