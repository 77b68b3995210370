package ike

import (
	"fmt"
	"net/netip"

	"github.com/culvert-vpn/culvert/explain"
	"github.com/culvert-vpn/culvert/ident"
	"github.com/culvert-vpn/culvert/natt"
	"github.com/culvert-vpn/culvert/suite"
	"github.com/culvert-vpn/culvert/ts"
)

// Effect is what the caller of Handle has to do. Effects are to be carried out in order.
type Effect interface{ effect() }

// Send sends an IKE message. Data is without the non-ESP marker, which belongs in front of it if Path.NATT. Data
// belongs to the endpoint and stays unchanged until the next call.
type Send struct {
	Path natt.Path
	Data []byte
}

// Dial asks to find the path to a connection's peer: to resolve its name, and to find the local address that reaches it.
// The answer is a Resolved.
type Dial struct {
	Conn *Connection
	// Host is whom to call, a literal address or a DNS name: the RemoteHost of Conn, unless that has sent us elsewhere (RFC 5685).
	Host string
}

// Install puts one direction of a Child SA in place.
type Install struct {
	Dir Direction
	// SPI is ours for In, the peer's for Out. Pair is the inbound SPI in both and names the Child SA.
	SPI, Pair uint32
	// IKE is our SPI of the IKE SA.
	IKE   uint64
	Conn  *Connection
	Child *Child

	Encr, Integ suite.Transform
	// EncKey and IntegKey pass to the caller, who zeroes them after use.
	EncKey, IntegKey []byte
	ESN              bool

	Local, Remote []ts.Selector
	Path          natt.Path
	Mode          Mode
	// Original are the addresses that packets of the peer have where it seals them, in transport mode.
	Original Original
	// TFC is the length up to which the inner packets of the outbound direction are padded, as in Child.TFCPadding.
	TFC int
	// Soft limits ask for an Expiring, hard ones end the Child SA; the time limits are kept by the endpoint.
	Soft, Hard Lifetime
}

// Original are the addresses of the peer's packets as the peer sees them. Where a NAT stands between, they are not the ones that
// the packets arrive with; the checksums of what they carry are about these (RFC 7296 2.23.1, RFC 3948 3.1.2).
type Original struct{ Src, Dst netip.Addr }

// Remove takes one direction of a Child SA away.
type Remove struct {
	Dir  Direction
	SPI  uint32
	Pair uint32
}

// Repath changes where the Child SAs of an IKE SA send to.
type Repath struct {
	IKE  uint64
	Path natt.Path
	// Pairs are the inbound SPIs of the Child SAs; borrowed until the next call.
	Pairs []uint32
}

// Survey asks which paths lead to the addresses of a peer, of which the first is the one in use. The answer is a Surveyed.
type Survey struct {
	// IKE is our SPI of the IKE SA.
	IKE     uint64
	Conn    *Connection
	Remotes []netip.AddrPort
}

// Probe asks to find out what ICMP says of a peer that does not answer, unless that is being done: by a packet that means nothing to
// it, from another port than ours. The answer, if there is one, is an Unreached.
type Probe struct {
	// IKE is our SPI of the IKE SA.
	IKE  uint64
	Path natt.Path
}

// Keepalive asks for a NAT keepalive on a path (RFC 3948 2.3), unless something was sent there of late.
type Keepalive struct{ Path natt.Path }

// Assign says what a connection has of its peer from now on, in place of what it had; the zero Assignment is nothing. It stays
// while the connection is down and to come back.
type Assign struct {
	Conn *Connection
	Assignment
}

// Keys are the keys of an IKE SA, for a protocol analyser. They are only returned if Config.LogKeys is set.
type Keys struct {
	SPIi, SPIr             uint64
	SKei, SKer, SKai, SKar []byte
	Encr, Integ            suite.Transform
}

// Reconfigured tells what a Reconfigure has come to. It comes before all other effects of it.
type Reconfigured struct {
	// Connections are those in effect now, in order. One that was known before is the same object, with other contents,
	// and so are its children.
	Connections []*Connection
	// Changes are about every connection and, if that was configured before as well, about each of its children.
	Changes []Change
}

// Change is what has become of a connection, or of a child of it.
type Change struct {
	Conn, Child string // Child is empty if it is about the connection itself
	Kind        ChangeKind
	// Differences, if it has changed.
	Differences []Difference
}

// ChangeKind is what has become of something configured.
type ChangeKind uint8

// The kinds of changes.
const (
	Unchanged ChangeKind = iota
	Changed
	Added
	Removed
)

// String is the kind in a word.
func (k ChangeKind) String() string {
	return [...]string{"unchanged", "changed", "added", "removed"}[k]
}

// Event is something worth telling. Its texts are safe to print: peer-supplied bytes are quoted, secrets never appear.
type Event struct {
	Kind EventKind
	Conn string
	// Child is set if the event is about a child.
	Child string

	SPIi, SPIr        uint64
	Path              natt.Path
	LocalID, RemoteID ident.ID
	// SPIIn and SPIOut are the ESP SPIs of a child.
	SPIIn, SPIOut uint32

	// SA is the IKE SA that the event is about, and of its children the one that it is about; nil if it is about none. Old is what
	// SA took the place of, after Rekeyed and ChildRekeyed, or what it was before, after PathChanged. Nobody changes them.
	SA, Old *SAInfo

	// Text says what happened in a sentence, Remedy what to change and where; both may be empty.
	Text, Remedy string
	// Diagnosis is the same at length, of a failure whose cause is known. Nobody changes it.
	Diagnosis *explain.Diagnosis
}

// because is the event with what a diagnosis says of it.
func (ev Event) because(d *explain.Diagnosis) Event {
	ev.Text, ev.Remedy, ev.Diagnosis = d.Text, d.Remedy(), d
	return ev
}

func (Send) effect()         {}
func (Dial) effect()         {}
func (Install) effect()      {}
func (Remove) effect()       {}
func (Repath) effect()       {}
func (Survey) effect()       {}
func (Probe) effect()        {}
func (Keepalive) effect()    {}
func (Assign) effect()       {}
func (Keys) effect()         {}
func (Event) effect()        {}
func (Reconfigured) effect() {}

// EventKind says what an Event is about.
type EventKind uint8

// The kinds of events.
const (
	Initiating      EventKind = iota + 1 // the first message is on its way
	Established                          // the IKE SA is up, both ends are authenticated
	Rekeyed                              // the IKE SA has a successor
	Closed                               // the IKE SA is gone, as wanted by one side
	Failed                               // the IKE SA could not be set up, or broke
	ChildUp                              // a Child SA is up
	ChildRekeyed                         // a Child SA has a successor
	ChildDown                            // a Child SA is gone and has no successor
	ChildFailed                          // a Child SA could not be set up
	Retrying                             // the next attempt is scheduled
	PathChanged                          // the peer is reached another way
	Dropped                              // a message was not acted upon; Text is the reason
	Warned                               // something to know that changes nothing
	Assigned                             // the peer has an inner address of us, or we of it
	Reauthenticated                      // the IKE SA took the place of one that was set up before
	Redirected                           // the peer sends us to another gateway
)

// EventKinds is how many kinds there are; the first of them is 1.
const EventKinds = Redirected

var eventNames = [...]string{
	Initiating: "initiating", Established: "established", Rekeyed: "rekeyed", Closed: "closed", Failed: "failed",
	ChildUp: "child-up", ChildRekeyed: "child-rekeyed", ChildDown: "child-down", ChildFailed: "child-failed",
	Retrying: "retrying", PathChanged: "path-changed", Dropped: "dropped", Warned: "warning",
	Assigned: "assigned", Reauthenticated: "reauthenticated", Redirected: "redirected",
}

// String is the kind in lower case, with hyphens.
func (k EventKind) String() string {
	if int(k) < len(eventNames) && eventNames[k] != "" {
		return eventNames[k]
	}
	return fmt.Sprintf("event-%d", uint8(k))
}
