package explain

// Cause is why something failed, in words with hyphens. It is stable: scripts and alerts may compare it.
type Cause string

// The causes. Those that a peer's message proves:
const (
	UnknownIdentity   Cause = "unknown-identity"     // no connection for who the peer says it is, or whom it wants
	NoSecret          Cause = "no-secret"            // the identities are known, and no secret belongs to the pair
	WrongSecret       Cause = "wrong-secret"         // AUTH is not that of any secret of the pair
	NoProposal        Cause = "no-proposal"          // no algorithms in common
	SelectorsDiffer   Cause = "selectors-differ"     // the traffic selectors do not meet
	PeerRefusesUs     Cause = "peer-refuses-us"      // AUTHENTICATION_FAILED of the peer, which does not say why
	OtherMethod       Cause = "other-auth-method"    // the peer proves itself by EAP or a certificate
	ChildlessDiffers  Cause = "childless-differs"    // one side wants a child in IKE_AUTH and the other none
	ConnectedAlready  Cause = "connected-already"    // unique = keep, and the peer is there a second time
	NATForbidden      Cause = "nat-forbidden"        // the peer allows no NAT, and there is one
	NoConnection      Cause = "no-connection"        // no connection for this pair of addresses
	IKEv1Only         Cause = "ikev1-only"           // the peer speaks IKEv1 only, or called with it
	NoEncapsulation   Cause = "no-udp-encapsulation" // the peer refuses ESP in UDP
	NoInnerAddress    Cause = "no-inner-address"     // no address could be lent, or was
	PeerRefusesChild  Cause = "peer-refuses-child"   // another error notify about a child
	MalformedMessages Cause = "malformed-messages"   // what came is not IKEv2 as the RFC has it
)

// Those that follow from what the network and the host do:
const (
	SilentPeer      Cause = "silent-peer"          // no answer at all
	Silent4500      Cause = "silent-4500"          // answers at port 500, none at 4500
	Silent500       Cause = "silent-500"           // none at port 500, but the peer lives at 4500
	Unreachable     Cause = "unreachable"          // ICMP says that nobody is there
	OtherAddress    Cause = "other-address"        // answers came from another address than was called
	PortInUse       Cause = "port-in-use"          // another daemon holds UDP 500 or 4500
	BothWait        Cause = "both-wait"            // neither side starts
	NotForwarded    Cause = "not-forwarded"        // a NAT in front of us does not hand on what comes to its ports
	MTUBlackHole    Cause = "mtu-black-hole"       // long packets vanish
	RestartLoop     Cause = "restart-loop"         // the IKE SA comes up and goes again and again
	ClockJumps      Cause = "clock-jumps"          // the host's clock is wrong or jumps
	OverlappingNets Cause = "overlapping-networks" // the same network at both ends, or in two connections
	NameNotResolved Cause = "name-not-resolved"    // DNS has no address for remote_addrs
	NoRoute         Cause = "no-route"             // the host has no route to the peer
)
