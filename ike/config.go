package ike

import (
	"io"
	"math"
	"net/netip"
	"time"

	"github.com/culvert-vpn/culvert/ident"
	"github.com/culvert-vpn/culvert/psk"
	"github.com/culvert-vpn/culvert/suite"
	"github.com/culvert-vpn/culvert/ts"
)

// Config is everything an Endpoint knows of policy and takes from the world. The endpoint takes the Connections: each stands for
// its peer as long as one of its name is configured, and only the endpoint changes what is in it, when it is told to Reconfigure.
// Between the calls of Handle the caller may read them. Everything else is borrowed for life, or until Reconfigure replaces it.
type Config struct {
	// Rand is the only source of randomness: SPIs, nonces, private keys, jitter.
	Rand io.Reader
	// Datapath lends inbound SPIs and tells of received traffic.
	Datapath Datapath
	// Secrets holds the pre-shared keys.
	Secrets *psk.Store
	// Lender lends inner addresses; nil lends none.
	Lender Lender
	// Connections are tried in order when a request arrives; the first that fits is used.
	Connections []*Connection
	// Retransmit is the schedule of unanswered requests; the zero value means DefaultRetransmit. A connection may have
	// its own.
	Retransmit Retransmit
	// TokenSecret makes the tokens by which a peer learns for certain that we lost an IKE SA (RFC 6290): 32 random bytes that are
	// the same after a restart, and that no other endpoint has, or anybody could have IKE SAs closed. nil: no tokens are made.
	TokenSecret []byte
	// LogKeys makes the endpoint return Keys effects. They hold secrets; it is for
	// debugging with a protocol analyser only.
	LogKeys bool
	// Tracer, unless nil, hears of every message.
	Tracer Tracer
}

// Datapath is what the endpoint asks of the side that carries packets. Its methods are called from inside
// Handle and must not block.
type Datapath interface {
	// AllocSPI lends an inbound ESP SPI above 255 (RFC 4303 2.1) that is in use nowhere else. ok is
	// false when there is none left.
	AllocSPI() (spi uint32, ok bool)
	// FreeSPI gives an SPI back. The endpoint returned its Remove, if it was installed, before.
	FreeSPI(spi uint32)
	// Received is the number of packets that authenticated under an inbound SPI so far.
	Received(spi uint32) uint64
	// Sent is the number of packets that were sent so far by the other direction of the Child SA that an inbound SPI names.
	Sent(spi uint32) uint64
}

// Connection is one peer, or one kind of peer, and what may be agreed with it.
type Connection struct {
	Name string

	// LocalAddrs are the addresses this connection is bound to; empty means any.
	LocalAddrs []netip.Prefix
	// RemoteAddrs limits the addresses a peer may come from; empty means any.
	RemoteAddrs []netip.Prefix
	// RemoteHost is whom to call as initiator: a literal address or a DNS name, empty if the peer
	// cannot be called. Whoever runs the endpoint resolves it (see Dial).
	RemoteHost string
	// LocalPort and RemotePort are the UDP ports of the first message, normally 500.
	LocalPort, RemotePort uint16

	// LocalID is our identity; the zero ID means the local address of the IKE SA.
	LocalID ident.ID
	// RemoteID is the identity the peer must prove.
	RemoteID ident.Pattern

	// Proposals for the IKE SA, the best first.
	Proposals []suite.Proposal

	// RekeyTime is the age at which the IKE SA is rekeyed, less a random part of RandTime; 0: never.
	// OverTime is how much later the IKE SA is closed if rekeying it did not succeed.
	RekeyTime, OverTime, RandTime time.Duration
	// ReauthTime is the age at which the IKE SA is set up anew, less a random part of RandTime; 0: never. That happens next to
	// the old one, which is deleted when it is done, or with BreakBeforeMake after the old one was deleted.
	ReauthTime      time.Duration
	BreakBeforeMake bool
	// DPDDelay is the silence after which the peer is probed (RFC 7296 2.4); 0: never.
	DPDDelay time.Duration
	// CrashDetection exchanges tokens with the peer, by which each end learns at once that the other one has restarted (RFC
	// 6290).
	CrashDetection bool
	// Retransmit is the schedule of unanswered requests to this peer; the zero value means that of the Config.
	Retransmit Retransmit
	// Window is how many requests at once we take of the peer, and send it if it takes them (RFC 7296 2.3): 1 to MaxWindow; 0 is
	// DefaultWindow. What goes to the peer may overtake one another then.
	Window int
	// Fragmentation says whether large messages are sent in fragments if the peer takes them.
	Fragmentation Fragmentation
	// Childless says whether the IKE SA is set up without a child, and its children afterwards (RFC 6023).
	Childless Childless
	// FollowRedirects says whether whom we call may send us to another gateway (RFC 5685), which has to prove the same as the first.
	FollowRedirects bool
	// MOBIKE says whether the addresses of an IKE SA may change under the rules of RFC 4555, if the peer does it too.
	MOBIKE bool
	// Unique says what happens when the same peer identity appears twice.
	Unique Unique
	// KeyingTries is how often establishing is tried before giving up a connection that no child
	// keeps up; 0: for ever.
	KeyingTries int

	// VIPs are the inner addresses to ask the peer for when we call it; an unspecified one is any of its family.
	VIPs []netip.Addr
	// Pools are where the addresses for a peer that asks come from, the first first.
	Pools []*Pool

	Children []*Child
}

// Fragmentation is what may be done with IKE messages that are too large for a packet (RFC 7383).
type Fragmentation uint8

const (
	// FragmentationYes sends and takes fragments.
	FragmentationYes Fragmentation = iota
	// FragmentationAccept takes them, and sends messages whole.
	FragmentationAccept
	// FragmentationNo does neither.
	FragmentationNo
)

// Childless says whether an IKE SA comes up without a child in IKE_AUTH (RFC 6023). Its first child then has a key exchange of its
// own, and names no algorithm or traffic before the peer is authenticated.
type Childless uint8

const (
	// ChildlessAllow takes such IKE SAs of peers, and calls with a child.
	ChildlessAllow Childless = iota
	// ChildlessPrefer takes them, and calls without a child if the peer takes that.
	ChildlessPrefer
	// ChildlessForce wants them, whoever calls: others are refused.
	ChildlessForce
	// ChildlessNever does not announce that they are taken, refuses them, and calls with a child.
	ChildlessNever
)

// word is that of the configuration.
func (c Childless) word() string { return [...]string{"allow", "prefer", "force", "never"}[c] }

// Unique is the policy for a second IKE SA with the same pair of identities.
type Unique uint8

const (
	// UniqueNo replaces the old IKE SA only if the peer sends INITIAL_CONTACT.
	UniqueNo Unique = iota
	// UniqueNever ignores INITIAL_CONTACT as well, and does not send it.
	UniqueNever
	// UniqueKeep refuses the new IKE SA.
	UniqueKeep
	// UniqueReplace deletes the old IKE SA.
	UniqueReplace
)

// Child is one policy: the traffic of a Child SA and how it is protected.
type Child struct {
	Name string
	// LocalTS and RemoteTS are the traffic selectors of the policy.
	LocalTS, RemoteTS []ts.Spec
	// Proposals for the Child SA, the best first.
	Proposals []suite.Proposal

	// Rekey is when a successor is negotiated, Life when the Child SA is closed for good. In each,
	// 0 means no such limit. Rand is the upper bound of what is subtracted from Rekey at random.
	Rekey, Life, Rand Lifetime

	StartAction Action // when the configuration is loaded
	CloseAction Action // when the peer deletes the child
	DPDAction   Action // when the peer vanished
	// Inactivity is how long a Child SA without traffic in either direction stays up; 0: for ever. One that was closed for
	// this comes back when a packet asks for it.
	Inactivity time.Duration

	// Mode is how packets are carried. Transport is for LocalTS and RemoteTS that hold the addresses of the two ends; the
	// Child SA is in tunnel mode if the peer does not agree.
	Mode Mode
	// TFCPadding is the length up to which inner packets are padded, so that it does not tell what they are (RFC 4303 2.7);
	// 0: not at all, TFCPathMTU: as far as the path carries it.
	TFCPadding int
	// ReplayWindow is the size of the replay window in packets, 32 to 4096; 0 is the default.
	ReplayWindow int
	// CopyDSCP says where the DSCP of the inner header is copied (RFC 4301 5.1.2.1).
	CopyDSCP Direction
	// Priority breaks ties between overlapping policies; higher wins.
	Priority int
}

// TFCPathMTU as TFCPadding makes all packets as long as the path carries without fragments.
const TFCPathMTU = -1

// KeepUp reports whether the child is to be up whenever it can be.
func (c *Child) KeepUp() bool { return c.StartAction == Start }

// Lifetime is a limit in three units; 0 means none in that unit.
type Lifetime struct {
	Time    time.Duration
	Bytes   uint64
	Packets uint64
}

// Action is what to do with a child in some situation.
type Action uint8

const (
	None  Action = iota // nothing
	Trap                // negotiate when a packet asks for it
	Start               // negotiate at once, and keep up
)

// Mode is how a Child SA carries packets (RFC 4301 4.1).
type Mode uint8

const (
	Tunnel    Mode = iota // whole packets, inside of others
	Transport             // what follows the IP header of packets between the two ends themselves
)

// String is the mode in lower case.
func (m Mode) String() string {
	if m == Transport {
		return "transport"
	}
	return "tunnel"
}

// Direction is a set of directions: Out is from the protected network to the peer.
type Direction uint8

const (
	In Direction = 1 << iota
	Out
)

// Retransmit is the schedule of an unanswered request (RFC 7296 2.1, 2.4): after the n-th transmission, counted from 0, the wait
// is Timeout * Base^n, but no more than Limit, less a random part; when Tries retransmissions stayed unanswered the peer is dead.
type Retransmit struct {
	Timeout time.Duration
	Base    float64
	Tries   int
	// Jitter is the upper bound of the random part in percent of the wait, 0 to 100.
	Jitter int
	// Limit is the longest wait; 0: none.
	Limit time.Duration
}

// DefaultRetransmit gives up after 165 s, as strongSwan does.
var DefaultRetransmit = Retransmit{Timeout: 4 * time.Second, Base: 1.8, Tries: 5}

// orDefault is the schedule, or the default one instead of none.
func (r Retransmit) orDefault() Retransmit {
	if r == (Retransmit{}) {
		return DefaultRetransmit
	}
	return r
}

// Patience is the longest time from the first transmission until the peer is given up.
func (r Retransmit) Patience() time.Duration {
	var sum time.Duration
	for n := range r.Tries + 1 {
		sum += r.wait(n + 1)
	}
	return sum
}

// longestWait keeps the sum of all waits far from an overflow.
const longestWait = 24 * time.Hour

// wait is the time from the n-th transmission, counted from 1, to the next, without jitter.
func (r Retransmit) wait(n int) time.Duration {
	limit := longestWait
	if r.Limit > 0 {
		limit = min(limit, r.Limit)
	}
	return time.Duration(min(float64(r.Timeout)*math.Pow(r.Base, float64(n-1)), float64(limit)))
}
