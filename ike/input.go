package ike

import (
	"fmt"
	"net/netip"

	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/natt"
	"github.com/culvert-vpn/culvert/psk"
	"github.com/culvert-vpn/culvert/ts"
)

// Input is something that happened, for Handle.
type Input interface{ input() }

// Datagram is an IKE message that arrived. Data is without the non-ESP marker; it is borrowed for the call and
// decrypted in place. Path.Local is the address it was sent to.
type Datagram struct {
	Path natt.Path
	Data []byte
}

// Tick says that Deadline has come.
type Tick struct{}

// Initiate asks for a child of a connection, or for all its children if Child is empty.
type Initiate struct{ Conn, Child string }

// Terminate asks to close a child of a connection, or the whole connection if Child is empty, and not to
// bring it back before the next Initiate.
type Terminate struct{ Conn, Child string }

// Rekey asks for new keys: of a child of a connection, or of its IKE SA if Child is empty.
type Rekey struct{ Conn, Child string }

// Reauth asks to set the IKE SAs of a connection up anew, with all their children (RFC 7296 2.8.3).
type Reauth struct{ Conn string }

// TerminateSA asks to close an IKE SA, or one of its Child SAs if Child is not 0, by the numbers of SAInfo and ChildInfo. What only
// that carried is not brought back before the next Initiate. With Force an IKE SA is gone at once: the peer is told, and its answer
// not awaited.
type TerminateSA struct {
	ID, Child uint64
	Force     bool
}

// RekeySA asks for new keys of an IKE SA or of one of its Child SAs, as TerminateSA names them. With Reauth an IKE SA is set up anew.
type RekeySA struct {
	ID, Child uint64
	Reauth    bool
}

// RedirectSA asks to send the peer of an IKE SA to another gateway (RFC 5685 5). It has no effect on one that is not Redirectable.
type RedirectSA struct {
	ID uint64
	To wire.Gateway
}

// Intercept has packets bring up a child of a connection that is down, or not any more, whatever its StartAction.
type Intercept struct {
	Conn, Child string
	On          bool
}

// Resolved answers a Dial: the path to the peer, or why there is none. Err may be an explain.Error.
type Resolved struct {
	Conn string
	Path natt.Path
	Err  error
}

// Acquire says that a packet asked for a child, of which no Child SA carries it. Packet may be zero.
type Acquire struct {
	Conn, Child string
	Packet      ts.Packet
}

// Expiring says that a Child SA reached a limit of bytes or packets. SPI is its inbound SPI whichever direction
// reached the limit; Hard that nothing more can be carried.
type Expiring struct {
	SPI  uint32
	Hard bool
}

// Used says that the first packet authenticated under an inbound SPI.
type Used struct{ SPI uint32 }

// Moved says that a packet, the newest so far, authenticated under an inbound SPI from another address than the
// one the Child SA sends to.
type Moved struct {
	SPI  uint32
	Path natt.Path
}

// Addresses says what addresses packets can leave from, the preferred ones first, whenever these or the routes of the host have
// changed, and once in the beginning. An endpoint that is never told does not look for other paths by itself.
type Addresses struct{ Local []netip.Addr }

// Surveyed answers a Survey: for each address of the peer that a route leads to, the path that the host would choose, whatever is configured. It goes over
// the encapsulation socket.
type Surveyed struct {
	IKE   uint64
	Paths []natt.Path
}

// Stray says that an ESP packet of Len bytes came under an SPI that is not installed. It need not be told of each.
type Stray struct {
	SPI  uint32
	Path natt.Path
	Len  int
}

// Unreached says what ICMP has said of a peer that does not answer. Anybody may have sent it: it explains a failure, and causes none.
type Unreached struct {
	// IKE is our SPI of the IKE SA that asked with a Probe.
	IKE    uint64
	Remote netip.AddrPort
	By     netip.Addr // who says so
	Why    Obstacle
}

// Obstacle is why something cannot be reached.
type Obstacle uint8

// The obstacles.
const (
	HostUnreachable Obstacle = iota + 1 // the network is there, and nobody has the address
	NetUnreachable                      // there is no way to the network
	PortClosed                          // the host is there, and nobody listens at the port
	Prohibited                          // a firewall refuses it
)

// String says it in a sentence.
func (u Unreached) String() string {
	switch u.Why {
	case NetUnreachable:
		return fmt.Sprintf("%v says that it knows no way to the network of %v", u.By, u.Remote.Addr())
	case PortClosed:
		return fmt.Sprintf("%v says that nobody listens at UDP port %d (port unreachable)", u.By, u.Remote.Port())
	case Prohibited:
		return fmt.Sprintf("%v refuses to pass packets on to %v (administratively prohibited)", u.By, u.Remote.Addr())
	}
	return fmt.Sprintf("%v says that the host %v cannot be reached", u.By, u.Remote.Addr())
}

// Woke says that the host was suspended, and the time went on meanwhile: the peer may have given us up, and a NAT forgotten. Every
// peer is asked for a sign of life at once (RFC 7296 2.4), and what waited to be tried again is tried now.
type Woke struct{}

// Shutdown asks to delete every IKE SA. The endpoint is finished when Idle reports so.
type Shutdown struct{}

// Reconfigure puts another configuration into effect. What is the same in both is not touched; what has changed is applied in
// place, rekeyed or set up anew, make before break, as Difference says; what is new is started, and what is gone is closed.
// Order and names of secrets mean nothing. The endpoint takes the Connections, as those of the Config; it borrows Secrets, and
// does not use the former ones any more.
type Reconfigure struct {
	Secrets     *psk.Store
	Connections []*Connection
	Retransmit  Retransmit
	// Spare: a peer that has proved a secret which is not there any more need not prove another one before its IKE SA ends. Else
	// a new IKE SA is set up.
	Spare bool
}

func (Datagram) input()    {}
func (Tick) input()        {}
func (Initiate) input()    {}
func (Terminate) input()   {}
func (Rekey) input()       {}
func (Reauth) input()      {}
func (TerminateSA) input() {}
func (RekeySA) input()     {}
func (RedirectSA) input()  {}
func (Intercept) input()   {}
func (Resolved) input()    {}
func (Acquire) input()     {}
func (Expiring) input()    {}
func (Used) input()        {}
func (Moved) input()       {}
func (Addresses) input()   {}
func (Surveyed) input()    {}
func (Stray) input()       {}
func (Unreached) input()   {}
func (Woke) input()        {}
func (Shutdown) input()    {}
func (Reconfigure) input() {}
