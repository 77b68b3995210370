package doctor

import (
	"fmt"
	"net/netip"
	"time"
)

// line is a socket towards a peer. Its methods are called by one goroutine.
type line interface {
	// Send sends a datagram. The error is an *icmpError if it is about one that was sent before.
	Send(b []byte) error
	// Receive waits for a datagram from anybody, until a time. Errors: os.ErrDeadlineExceeded, *icmpError, others.
	Receive(buf []byte, until time.Time) (n int, from netip.AddrPort, err error)
	// Whole has datagrams sent with DF, and without regard to what the kernel knows of the path.
	Whole() error
	// Local is the address that datagrams leave from.
	Local() netip.AddrPort
	Close() error
}

// icmpError is what a router or the peer says of a datagram of ours. Anybody can forge it.
type icmpError struct {
	from netip.Addr // who says it; invalid: this host itself
	// code is what is wrong.
	code icmpCode
	mtu  int // bytes, with tooBig
}

type icmpCode int

const (
	portUnreachable icmpCode = iota
	hostUnreachable          // or its network
	prohibited               // by a firewall
	tooBig
	otherError
)

func (e *icmpError) Error() string {
	who := "this host"
	if e.from.IsValid() {
		who = e.from.String()
	}
	switch e.code {
	case portUnreachable:
		return who + " says that nobody listens at the port"
	case hostUnreachable:
		return who + " says that it cannot be reached"
	case prohibited:
		return who + " says that it is prohibited"
	case tooBig:
		return fmt.Sprintf("%s says that a packet may have %d bytes", who, e.mtu)
	}
	return who + " says that it could not be delivered"
}
