//go:build linux

package lab

import (
	"context"
	crand "crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"
)

// Transfer is what came of sending a stream of random bytes over TCP.
type Transfer struct {
	Bytes    int64    // that arrived
	Sent     [32]byte // SHA-256 of what was sent
	Received [32]byte // SHA-256 of what arrived
	Took     time.Duration
}

// Intact tells whether what arrived is what was sent.
func (t Transfer) Intact() bool { return t.Sent == t.Received }

func (t Transfer) String() string {
	return fmt.Sprintf("%d bytes in %v (%.1f Mbit/s), intact: %v", t.Bytes, t.Took.Round(time.Millisecond),
		float64(t.Bytes)*8e-6/t.Took.Seconds(), t.Intact())
}

// These bound a transfer that stands still; they are no measure of speed.
const (
	dialPatience     = 20 * time.Second
	transferPatience = 2 * time.Minute // and what it takes at 1 MB/s
)

// deadline is when a transfer of n bytes that begins now is given up.
func deadline(n int64) time.Time {
	return time.Now().Add(transferPatience + time.Duration(n)*time.Microsecond)
}

// Transfer sends n random bytes over TCP from this host to an address of another one, which may be one that a NAT gives to it.
func (h *Host) Transfer(to *Host, addr netip.Addr, n int64) (Transfer, error) {
	var listener net.Listener
	any := netip.IPv4Unspecified()
	if addr.Is6() {
		any = netip.IPv6Unspecified()
	}
	err := to.Do(func() (err error) {
		listener, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(any, 0)))
		return err
	})
	if err != nil {
		return Transfer{}, fmt.Errorf("transfer: %w", err)
	}
	defer listener.Close()
	defer context.AfterFunc(h.t.Context(), func() { listener.Close() })()

	type arrival struct {
		n   int64
		sum [32]byte
		err error
	}
	arrived := make(chan arrival, 1)
	go func() {
		var a arrival
		a.n, a.sum, a.err = receive(listener, deadline(n))
		arrived <- a
	}()

	start := time.Now()
	result := Transfer{}
	// Dialling inside of Do is right: for one literal address the net package makes the socket on this goroutine.
	dialer := net.Dialer{Timeout: dialPatience}
	var stream net.Conn
	err = h.Do(func() (err error) {
		stream, err = dialer.DialContext(h.t.Context(), "tcp", netip.AddrPortFrom(addr, listener.Addr().(*net.TCPAddr).AddrPort().Port()).String())
		return err
	})
	if err != nil {
		return result, fmt.Errorf("transfer: %w", err)
	}
	conn := stream.(*net.TCPConn)
	defer conn.Close()
	defer context.AfterFunc(h.t.Context(), func() { conn.Close() })()
	if err := conn.SetDeadline(deadline(n)); err != nil {
		return result, fmt.Errorf("transfer: %w", err)
	}
	hash := sha256.New()
	var seed [32]byte
	_, _ = crand.Read(seed[:]) // never fails
	source := rand.NewChaCha8(seed)
	if _, err := io.CopyN(io.MultiWriter(conn, hash), source, n); err != nil {
		return result, fmt.Errorf("transfer: %w", err)
	}
	hash.Sum(result.Sent[:0])
	if err := conn.CloseWrite(); err != nil {
		return result, fmt.Errorf("transfer: %w", err)
	}
	a := <-arrived
	result.Bytes, result.Received, result.Took = a.n, a.sum, time.Since(start)
	if a.err != nil {
		return result, fmt.Errorf("transfer: %w", a.err)
	}
	return result, nil
}

// receive takes one connection and reads it to its end.
func receive(listener net.Listener, deadline time.Time) (n int64, sum [32]byte, err error) {
	conn, err := listener.Accept()
	if err != nil {
		return 0, sum, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(deadline); err != nil {
		return 0, sum, err
	}
	hash := sha256.New()
	n, err = io.Copy(hash, conn)
	hash.Sum(sum[:0])
	return n, sum, err
}
