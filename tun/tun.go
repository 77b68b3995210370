// Package tun opens TUN devices: the point where the kernel hands over IP packets for the tunnel and takes back those
// which came out of it.
//
// A device has one or more queues. A queue is read by one goroutine; packets of one flow stay on one queue. On Linux the
// queues carry the virtio-net header, so that one Read may return a superpacket (a TCP or UDP burst which the kernel
// did not segment, Super) and one Write may pass one on. Where the platform has less (Options.Portable, macOS), every
// Super is one plain packet, and the same loop works.
package tun

import (
	"errors"
	"fmt"

	"github.com/culvert-vpn/culvert/offload"
)

// Queue is one queue of a device.
//
// Read and TryRead are called by one goroutine at a time, Write by any number. Close unblocks all.
type Queue interface {
	// Read waits for a packet or superpacket and places it Headroom bytes into buf, which it points into: it is the
	// caller's, as buf is, and what stands before it is overwritten. Behind Headroom buf must have room for the biggest
	// packet: the MTU, or MaxSuper when Options.Offload is on.
	// Errors: os.ErrClosed once the queue is closed; ErrMalformed or io.ErrShortBuffer for one packet that cannot be used,
	// after which reading goes on; others mean that the device is gone.
	Read(buf []byte) (Super, error)

	// TryRead is Read that does not wait: if nothing is there, waiting is false and err is nil. A queue that cannot tell
	// always says so.
	TryRead(buf []byte) (s Super, waiting bool, err error)

	// Write passes one packet or superpacket to the kernel: s.Packet followed by the pieces of more, as if they were
	// joined. s says how it is to be segmented, and whether its checksum is still to be completed; the zero value of
	// the other fields means a plain, complete packet. Nothing is kept after return.
	// Errors: os.ErrClosed; ErrMalformed; ErrDown while the interface is down; ErrNoBuffers when the kernel drops it.
	Write(s Super, more [][]byte) error

	// Close closes this queue; Device.Close closes all of them.
	Close() error
}

// Device is an open TUN device. It disappears from the host when it is closed. SetMTU and Close are not called at once.
type Device interface {
	Name() string
	// Index is the interface index, 0 where it is not known.
	Index() int
	// MTU is the biggest packet in bytes, as set when opened or by SetMTU.
	MTU() int
	SetMTU(bytes int) error
	// Offloads are the fast paths of reading that the kernel has agreed to: of TSO and USO.
	Offloads() offload.Set
	// Queues returns the queues, at least one; the slice is the device's.
	Queues() []Queue
	Close() error
}

// Options say what device to open. The zero value is a device named by the kernel, with one queue.
type Options struct {
	Name   string // up to 15 bytes; empty: the kernel chooses. A "%d" is replaced by the first free number (Linux)
	MTU    int    // bytes, 68 to 65535; 0: DefaultMTU
	Queues int    // 0: 1. More than one needs Linux without Portable
	// Offload asks the kernel for superpackets and for packets whose checksum is still to be completed (Linux without
	// Portable; elsewhere it changes nothing). Without it every packet read is plain and complete.
	Offload bool
	// Without are fast paths that Offload does not ask for: TSO and USO mean something here. Without both it asks for
	// nothing.
	Without offload.Set
	// TCPPayload is how many bytes of payload a superpacket of the host's own TCP has at most, so that all of it fits in
	// what it becomes; 0: as many as the kernel likes. It is a wish, on Linux; superpackets of others may be longer.
	TCPPayload int
	// Portable selects the plain queue of github.com/songgao/water on Linux too: one queue, no offload.
	Portable bool
}

const (
	// DefaultMTU leaves room for the outer headers of ESP in UDP on a path of 1500 bytes.
	DefaultMTU = 1400
	// MaxSuper is the length in bytes of the longest superpacket: the total length of an IP packet has 16 bits, and the
	// payload length of IPv6 does not count its header of 40 bytes.
	MaxSuper = 65535 + 40

	// Headroom is how many bytes of a buffer stand before the packet that Read places in it.
	Headroom = 16

	minMTU    = 68 // RFC 791 3.2: every internet module must be able to forward 68 bytes
	maxMTU    = 65535
	maxQueues = 256 // MAX_TAP_QUEUES of Linux
	maxName   = 15  // IFNAMSIZ less the terminating zero
)

// Errors about one packet, for callers to count.
var (
	ErrMalformed = errors.New("tun: superpacket whose description does not fit its bytes")
	ErrDown      = errors.New("tun: the interface is down")
	ErrNoBuffers = errors.New("tun: the kernel has no room for the packet")
)

// Open makes the device. The error is one sentence that says what to change.
func Open(o Options) (Device, error) {
	if o.MTU == 0 {
		o.MTU = DefaultMTU
	}
	if o.Queues == 0 {
		o.Queues = 1
	}
	if err := checkMTU(o.MTU); err != nil {
		return nil, err
	}
	switch {
	case o.Queues < 0 || o.Queues > maxQueues:
		return nil, fmt.Errorf("tun: %d queues are not possible: choose 1 to %d", o.Queues, maxQueues)
	case len(o.Name) > maxName:
		return nil, fmt.Errorf("tun: the interface name %q is too long: choose one of at most %d bytes", o.Name, maxName)
	}
	if o.Portable || !nativeQueues {
		if o.Queues > 1 {
			return nil, fmt.Errorf("tun: %d queues need the Linux device: leave out Portable or choose one queue", o.Queues)
		}
		return openPortable(o)
	}
	return openNative(o)
}

// OpenPortable opens a device with one plain queue, as Open does with Options.Portable.
func OpenPortable(name string) (Device, error) {
	return Open(Options{Name: name, Portable: true})
}

func checkMTU(bytes int) error {
	if bytes < minMTU || bytes > maxMTU {
		return fmt.Errorf("tun: an MTU of %d bytes is not possible: choose %d to %d", bytes, minMTU, maxMTU)
	}
	return nil
}
