// Package udp has the sockets of the daemon: datagrams in trains, with the address they arrived on and the address they
// are to leave from.
//
// On Linux a train is one system call in either direction where the kernel can (UDP_SEGMENT, UDP_GRO), and many where it
// cannot; the caller sees no difference. Elsewhere (and with Options.Portable) each datagram is one call, and the kernel
// chooses the source address.
//
// A socket serves one address family. Both families need two.
package udp

import (
	"errors"
	"net/netip"

	"github.com/culvert-vpn/culvert/offload"
)

// Datagrams is a train: datagrams of one flow, laid one behind the other in Buf, each Stride bytes long except for the
// last, which may be shorter. Stride 0 means a single datagram.
type Datagrams struct {
	Buf    []byte
	Stride int
	// Local is the address on this host: of a received train the destination it was sent to, of a train to be sent the
	// source it leaves from (an unspecified or invalid address leaves the choice to the kernel). Its port is the socket's,
	// and is ignored in Write.
	Local  netip.AddrPort
	Remote netip.AddrPort
	TOS    byte // the TOS (IPv4) or Traffic Class (IPv6) byte: DSCP in the upper six bits, ECN in the lower two
}

// Len is the number of datagrams, at least 1: an empty datagram is one too.
func (d *Datagrams) Len() int {
	if d.Stride <= 0 || d.Stride >= len(d.Buf) {
		return 1
	}
	return (len(d.Buf) + d.Stride - 1) / d.Stride
}

// At returns datagram i of 0 to Len()-1, a slice of Buf.
func (d *Datagrams) At(i int) []byte {
	if d.Stride <= 0 || d.Stride >= len(d.Buf) {
		return d.Buf
	}
	end := min((i+1)*d.Stride, len(d.Buf))
	return d.Buf[i*d.Stride : end : end]
}

// Conn is an unconnected socket. Read is called by one goroutine at a time, Write by any number.
type Conn interface {
	// Read waits until there is something, and returns the number of trains it has put into into: as many as are there, as
	// there is room for and as the socket finds good to work on at once. Their Buf is the socket's, and the caller may change
	// it until the next Read. into must not be empty.
	// Errors: net.ErrClosed once the socket is closed; all others concern this one call (ErrTruncated, ErrNoBuffers),
	// and reading goes on; there may be trains as well. What ICMP reports about earlier sends is no error of Read.
	Read(into []Datagrams) (n int, err error)

	// Write sends a train. It waits when the socket's buffer is full. On an error a part of the train may have been sent.
	// Errors, to be told apart by errors.Is: net.ErrClosed, ErrTooBig, ErrNoBuffers, ErrUnreachable, ErrSource, ErrDenied.
	Write(d Datagrams) error

	// WriteBatch sends trains one after the other, in as few calls as possible. n is the number of those that were sent
	// before the one that err is about, which is as with Write; those behind it were not tried.
	WriteBatch(trains []Datagrams) (n int, err error)

	// LocalAddr is the address bound; its port is never 0.
	LocalAddr() netip.AddrPort

	// Close unblocks Read and Write.
	Close() error
}

// MaxTrain is the number of bytes that a train of Read can have at most.
const MaxTrain = 65535

// Errors about one train, for callers to count.
var (
	ErrTruncated   = errors.New("udp: datagram longer than the buffer")
	ErrTooBig      = errors.New("udp: datagram too big for the path")
	ErrNoBuffers   = errors.New("udp: the kernel has no room for the datagram")
	ErrUnreachable = errors.New("udp: no way to the destination") // later Linux kernels: also for a foreign IPv4 source
	ErrSource      = errors.New("udp: the source address is not one of this host")
	ErrDenied      = errors.New("udp: the host's firewall or policy refuses the datagram")
)

// Options of a socket. The zero value is good.
type Options struct {
	Mark       uint32 // SO_MARK on Linux, so that routing can tell the daemon's own packets; 0: none; needs CAP_NET_ADMIN
	RecvBuffer int    // bytes; 0: DefaultBuffer. Without CAP_NET_ADMIN the kernel caps it at net.core.rmem_max
	SendBuffer int    // bytes; 0: DefaultBuffer. Without CAP_NET_ADMIN the kernel caps it at net.core.wmem_max
	// ReusePort lets several sockets of this user share the port; the kernel keeps one flow on one socket (Linux).
	ReusePort bool
	// Without are fast paths that the socket does without: Segment, GRO and Batch mean something here.
	Without offload.Set
	// Portable selects the plain socket on Linux too: no trains, no source address, no TOS.
	Portable bool
}

// DefaultBuffer is the size in bytes of the socket's buffers.
const DefaultBuffer = 4 << 20

// Listen opens a socket on addr, which may be 0.0.0.0:500 or [::]:500 (IPv6 only); port 0 lets the kernel choose.
// Datagrams leave without DF, so that they pass a path with a smaller MTU when ICMP is blocked on it.
// The error is one sentence that says what to change.
func Listen(addr netip.AddrPort, o Options) (Conn, error) {
	if !addr.IsValid() {
		return nil, errors.New("udp: no address to listen on: name one, such as 0.0.0.0:500 or [::]:500")
	}
	addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	if o.RecvBuffer == 0 {
		o.RecvBuffer = DefaultBuffer
	}
	if o.SendBuffer == 0 {
		o.SendBuffer = DefaultBuffer
	}
	if o.Portable || !nativeSocket {
		return listenPortable(addr, o)
	}
	return listenNative(addr, o)
}
