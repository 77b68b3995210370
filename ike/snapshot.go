package ike

import (
	"net/netip"
	"slices"
	"time"

	"github.com/culvert-vpn/culvert/ident"
	"github.com/culvert-vpn/culvert/natt"
	"github.com/culvert-vpn/culvert/suite"
	"github.com/culvert-vpn/culvert/ts"
)

// SAInfo describes an IKE SA at one moment. Nothing in it is shared with the endpoint, and nothing in it is secret.
type SAInfo struct {
	// ID is its number, from 1 on: no other IKE SA of the endpoint ever has it.
	ID   uint64
	Conn string
	// State in words. Current is true if the IKE SA is up and has no successor.
	State     string
	Current   bool
	Initiator bool
	SPIi,
	SPIr uint64
	Path natt.Path
	// MOBIKE: the addresses may change (RFC 4555). PeerAddrs are those of the peer besides the one in use, as it told.
	MOBIKE    bool
	PeerAddrs []netip.Addr
	NAT       natt.Situation
	// Redirectable: the peer called, and said that it can be sent to another gateway (RFC 5685 3).
	Redirectable bool
	// RedirectedBy is the gateway that sent us to the peer (RFC 5685); the zero address if none did.
	RedirectedBy      netip.Addr
	LocalID, RemoteID ident.ID
	// Secret says how the pre-shared key was found.
	Secret   string
	Proposal suite.Proposal
	// Established is when both ends were authenticated. RekeyAt, ReauthAt and ExpireAt are zero if there is no such limit.
	Established, RekeyAt, ReauthAt, ExpireAt time.Time
	Children                                 []ChildInfo
	// Assigned are our inner addresses, Lent those that the peer has of us.
	Assigned, Lent []netip.Addr
	// Asking are the exchanges of ours that wait for their answers, Waiting those that wait for their turn.
	Asking, Waiting []Task
}

// ChildInfo describes a Child SA.
type ChildInfo struct {
	// ID is its number, from 1 on: no other Child SA of the endpoint ever has it.
	ID   uint64
	Name string
	// State is "up", "replaced", "closing" or "draining". Rekeying: we have asked the peer for a successor.
	State                   string
	Rekeying                bool
	In, Out                 uint32
	Mode                    Mode
	Proposal                suite.Proposal
	Local, Remote           []ts.Selector
	Born, RekeyAt, ExpireAt time.Time
}

// Snapshot describes all IKE SAs but those of which only answers are kept, the oldest first.
func (e *Endpoint) Snapshot() []SAInfo {
	var list []SAInfo
	for sa := range e.order.all() {
		if sa.isGone() {
			continue
		}
		info := sa.info()
		for _, c := range sa.children {
			info.Children = append(info.Children, c.info())
		}
		list = append(list, info)
	}
	return list
}

// info describes the IKE SA, without its children.
func (sa *ikeSA) info() SAInfo {
	info := SAInfo{
		ID: sa.number, State: sa.state.String(), Current: sa.isCurrent(), Initiator: sa.initiator, SPIi: sa.spiI, SPIr: sa.spiR,
		Path: sa.path, NAT: sa.nat, LocalID: sa.localID, RemoteID: sa.remoteID,
		Proposal: sa.proposal, Established: sa.established, RedirectedBy: sa.origin.detour.by, Redirectable: sa.origin.mayRedirect,
		Assigned: slices.Clone(sa.origin.assigned), Lent: sa.lent(),
		RekeyAt: sa.timers[timerRekey], ReauthAt: sa.timers[timerReauth], ExpireAt: sa.timers[timerExpire],
	}
	if !sa.established.IsZero() {
		info.Secret = sa.secret.Reason()
	}
	if sa.mob != nil {
		info.MOBIKE, info.PeerAddrs = true, slices.Clone(sa.mob.theirs)
	}
	if sa.conn != nil {
		info.Conn = sa.conn.Name
	}
	if sa.successor != nil {
		info.State = "replaced"
	} else if sa.outdated && sa.isCurrent() {
		info.State = "outdated"
	}
	if sa.renewing != nil {
		info.State = "established, being set up anew"
	}
	for x := range sa.underWay() {
		info.Asking = append(info.Asking, taskOf(x))
	}
	for _, x := range sa.win.queue {
		info.Waiting = append(info.Waiting, taskOf(x))
	}
	return info
}

func (c *childSA) info() ChildInfo {
	state := "up"
	switch {
	case c.gone:
		state = "draining"
	case c.deleting:
		state = "closing"
	case c.isReplaced():
		state = "replaced"
	case c.isOutdated():
		state = "outdated"
	}
	return ChildInfo{
		ID: c.number, Name: c.cfg.Name, State: state, Rekeying: c.isRekeying(), In: c.in, Out: c.out, Mode: c.mode, Proposal: c.proposal,
		Local: slices.Clone(c.local), Remote: slices.Clone(c.remote),
		Born: c.born, RekeyAt: c.rekeyAt, ExpireAt: c.expireAt,
	}
}

// Wish is what a connection's keeper is about.
type Wish struct {
	Conn, Child string
	// Wanted: the child is to be brought up or kept up. Held: it is down by order of the operator. Trapped: a packet brings it up.
	Wanted, Held, Trapped bool
	// Attempts without success so far, and when the next one is made (zero: at once, or none is needed).
	Attempts int
	NotYet   time.Time
}

// Wishes lists every configured child and what is wanted of it.
func (e *Endpoint) Wishes() []Wish {
	var list []Wish
	for _, k := range e.keepers {
		for _, c := range k.children {
			list = append(list, Wish{
				Conn: k.conn.Name, Child: c.cfg.Name, Wanted: c.keep || c.once, Held: c.held, Trapped: c.isTrapped(),
				Attempts: max(k.attempts, c.attempts), NotYet: earlier(c.notYet, k.notYet),
			})
		}
	}
	return list
}

// Task is what an exchange is for.
type Task uint8

// The tasks.
const (
	TaskOther Task = iota
	TaskCreateChild
	TaskRekeyChild
	TaskDeleteChild
	TaskRekey
	TaskDelete
	TaskProbe
	TaskMove
)

// taskOf says what an exchange is for.
func taskOf(x exchange) Task {
	switch x := x.(type) {
	case *childExchange:
		if x.old != nil {
			return TaskRekeyChild
		}
		return TaskCreateChild
	case *deleteChildren:
		return TaskDeleteChild
	case *rekeyIKE:
		return TaskRekey
	case *deleteIKE:
		return TaskDelete
	case *alive:
		return TaskProbe
	case *updateAddresses, *tellAddresses, *checkPath:
		return TaskMove
	}
	return TaskOther
}

// isRekeying reports whether a successor is being asked for.
func (c *childSA) isRekeying() bool {
	_, ok := find(c.sa, func(x *childExchange) bool { return x.old == c })
	return ok
}

// Exists reports whether there is an IKE SA of a number or, if child is not 0, a Child SA of it that carries packets.
func (e *Endpoint) Exists(id, child uint64) bool {
	sa := e.numbered(id)
	if sa == nil || sa.isGone() {
		return false
	}
	if child == 0 {
		return true
	}
	c := sa.childNumbered(child)
	return c != nil && !c.gone
}

// Info describes the IKE SA of a number, without its children; ok is false if there is none any more.
func (e *Endpoint) Info(id uint64) (info SAInfo, ok bool) {
	sa := e.numbered(id)
	if sa == nil || sa.isGone() {
		return SAInfo{}, false
	}
	return sa.info(), true
}

// Scheduled is how many things wait for their time.
func (e *Endpoint) Scheduled() int { return len(e.agenda.entries) }
