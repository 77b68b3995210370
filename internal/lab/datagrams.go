//go:build linux

package lab

import (
	"bytes"
	"context"
	crand "crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Datagrams says what datagrams to send over UDP.
type Datagrams struct {
	Bytes int64 // of payload in all
	Size  int   // bytes of payload of a datagram, at least MinDatagram; the last of a train is shorter now and then
	Even  bool  // no, none is
	// Trains has the sender give the kernel trains to cut (UDP_SEGMENT), and the receiver take trains (UDP_GRO), as programs with
	// QUIC do.
	Trains bool
	Class  byte // the TOS or traffic class byte, ECN in its lower bits
	// Patience is how long to wait for what is on its way before it counts as lost; 0: 2 s.
	Patience time.Duration
}

// DatagramsResult is what came of them.
type DatagramsResult struct {
	Sent, Received int
	Damaged        int // came with other bytes than were sent
	Early          int // came before one that was sent before
	Doubles        int
	Trains         int      // receptions of more than one
	SentSum        [32]byte // SHA-256 of all that was sent
	ReceivedSum    [32]byte // and of what came, in its order
}

// Intact tells whether all came once, as they were and in their order.
func (r DatagramsResult) Intact() bool {
	return r.Sent == r.Received && r.Damaged == 0 && r.Doubles == 0 && r.SentSum == r.ReceivedSum
}

func (r DatagramsResult) String() string {
	return fmt.Sprintf("%d of %d datagrams, %d in trains, %d damaged, %d early, %d double, intact: %v", r.Received, r.Sent, r.Trains, r.Damaged,
		r.Early, r.Doubles, r.Intact())
}

const (
	// MinDatagram is room for the number and the checksum of a datagram.
	MinDatagram = 12
	// datagramWindow is how many datagrams are on their way at most, less than the queue of a device holds; windowBytes how many bytes
	// of them, less than the buffers of sockets hold.
	datagramWindow = 200
	windowBytes    = 96 << 10
	trainBytes     = 60000
	trainSegments  = 64
)

// Datagrams sends datagrams from this host to an address of another one. They do not overtake the receiver, so that on a network
// that loses nothing nothing is lost.
func (h *Host) Datagrams(to *Host, addr netip.Addr, d Datagrams) (DatagramsResult, error) {
	if d.Patience == 0 {
		d.Patience = 2 * time.Second
	}
	far, err := to.datagramSocket(addr, netip.AddrPort{})
	if err != nil {
		return DatagramsResult{}, fmt.Errorf("datagrams: %w", err)
	}
	defer far.Close()
	near, err := h.datagramSocket(addr, netip.AddrPortFrom(addr, far.LocalAddr().(*net.UDPAddr).AddrPort().Port()))
	if err != nil {
		return DatagramsResult{}, fmt.Errorf("datagrams: %w", err)
	}
	defer near.Close()
	for _, c := range []*net.UDPConn{near, far} {
		defer context.AfterFunc(h.t.Context(), func() { c.Close() })()
	}
	r := receiver{conn: far, trains: d.Trains, sum: sha256.New(), seen: map[uint64]bool{}}
	if err := r.setUp(); err != nil {
		return DatagramsResult{}, fmt.Errorf("datagrams: %w", err)
	}
	done := make(chan error, 1)
	go func() { done <- r.run() }()
	s := sender{conn: near, d: d, sum: sha256.New(), arrived: &r.bytes}
	err = s.run()
	far.SetReadDeadline(time.Now()) // all has come, or what is missing was waited for
	err = errors.Join(err, <-done)
	result := r.result
	result.Sent = int(s.next)
	s.sum.Sum(result.SentSum[:0])
	r.sum.Sum(result.ReceivedSum[:0])
	if err != nil {
		return result, fmt.Errorf("datagrams: %w", err)
	}
	return result, nil
}

// datagramSocket opens a socket, connected if there is somebody to connect to.
func (h *Host) datagramSocket(family netip.Addr, remote netip.AddrPort) (conn *net.UDPConn, err error) {
	network := "udp4"
	if family.Is6() {
		network = "udp6"
	}
	err = h.Do(func() (err error) {
		if remote.IsValid() {
			conn, err = net.DialUDP(network, nil, net.UDPAddrFromAddrPort(remote))
		} else {
			conn, err = net.ListenUDP(network, nil)
		}
		return err
	})
	return conn, err
}

// sender draws datagrams and sends them.
type sender struct {
	conn    *net.UDPConn
	d       Datagrams
	sum     hash.Hash
	next    uint64
	arrived *atomic.Int64
}

func (s *sender) run() error {
	if err := setOption(s.conn, s.setUp); err != nil {
		return err
	}
	var seed [32]byte
	_, _ = crand.Read(seed[:]) // never fails
	source := rand.NewChaCha8(seed)
	odd := rand.New(source)
	var sent int64
	window := min(windowBytes, int64(datagramWindow*s.d.Size))
	for sent < s.d.Bytes {
		segments := 1
		if s.d.Trains {
			segments = 1 + odd.IntN(min(trainSegments, trainBytes/s.d.Size))
		}
		n := segments * s.d.Size
		if !s.d.Even && odd.IntN(4) == 0 {
			n -= odd.IntN(s.d.Size - MinDatagram + 1)
		}
		train := make([]byte, n)
		_, _ = source.Read(train) // never fails
		for rest := train; len(rest) > 0; {
			one := rest[:min(s.d.Size, len(rest))]
			rest = rest[len(one):]
			binary.BigEndian.PutUint64(one, s.next)
			binary.BigEndian.PutUint32(one[8:], crc32.ChecksumIEEE(one[MinDatagram:]))
			s.next++
		}
		s.sum.Write(train)
		if err := s.send(train); err != nil {
			return err
		}
		sent += int64(n)
		if !s.await(sent - window) {
			s.arrived.Add(window) // lost
		}
	}
	s.await(sent)
	return nil
}

func (s *sender) setUp(fd int) error {
	var err error
	if s.d.Trains {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT, s.d.Size)
	}
	if s.conn.RemoteAddr().(*net.UDPAddr).IP.To4() == nil {
		return errors.Join(err, unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_TCLASS, int(s.d.Class)))
	}
	// Without DF, so that none is lost for finding out how long they may be.
	return errors.Join(err, unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TOS, int(s.d.Class)),
		unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT))
}

// send sends a train in one call: the socket knows how long its datagrams are.
func (s *sender) send(train []byte) error {
	_, err := s.conn.Write(train)
	if errors.Is(err, unix.EMSGSIZE) || errors.Is(err, unix.ECONNREFUSED) {
		return nil // what ICMP tells of an earlier one; this one is lost
	}
	return err
}

// await waits until so many bytes have come, or until nothing has come for a while.
func (s *sender) await(bytes int64) bool {
	last, since := s.arrived.Load(), time.Now()
	for last < bytes {
		time.Sleep(50 * time.Microsecond)
		if now := s.arrived.Load(); now != last {
			last, since = now, time.Now()
		} else if time.Since(since) > s.d.Patience {
			return false
		}
	}
	return true
}

// receiver looks at what comes.
type receiver struct {
	conn   *net.UDPConn
	trains bool
	sum    hash.Hash
	bytes  atomic.Int64
	seen   map[uint64]bool // numbers that have not come yet although a later one has, or the other way round
	next   uint64          // the least number that is not known to have come
	result DatagramsResult
}

func (r *receiver) setUp() error {
	return setOption(r.conn, func(fd int) error {
		err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20)
		if err == nil && r.trains {
			err = unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_GRO, 1)
		}
		return err
	})
}

func setOption(c *net.UDPConn, set func(fd int) error) (err error) {
	raw, callErr := c.SyscallConn()
	if callErr == nil {
		callErr = raw.Control(func(fd uintptr) { err = set(int(fd)) })
	}
	return errors.Join(callErr, err)
}

// run receives until the deadline of the socket.
func (r *receiver) run() error {
	buf, oob := make([]byte, 1<<16), make([]byte, 128)
	for {
		n, on, _, _, err := r.conn.ReadMsgUDP(buf, oob)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return err
		}
		size := segmentOf(oob[:on], n)
		if size < n {
			r.result.Trains++
		}
		for rest := buf[:n]; len(rest) > 0; {
			one := rest[:min(size, len(rest))]
			rest = rest[len(one):]
			r.take(one)
		}
		r.bytes.Add(int64(n))
	}
}

// segmentOf is the length of each datagram but the last in n bytes.
func segmentOf(oob []byte, n int) int {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return n
	}
	for _, m := range messages {
		if m.Header.Level == unix.IPPROTO_UDP && m.Header.Type == unix.UDP_GRO && len(m.Data) >= 4 {
			return int(binary.NativeEndian.Uint32(m.Data))
		}
	}
	return n
}

// take looks at one datagram.
func (r *receiver) take(b []byte) {
	r.sum.Write(b)
	if len(b) < MinDatagram || !bytes.Equal(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(b[MinDatagram:])), b[8:MinDatagram]) {
		r.result.Damaged++
		return
	}
	number := binary.BigEndian.Uint64(b)
	if number < r.next || r.seen[number] {
		r.result.Doubles++
		return
	}
	r.result.Received++
	r.seen[number] = true
	if number != r.next {
		r.result.Early++
	}
	for r.seen[r.next] {
		delete(r.seen, r.next)
		r.next++
	}
}
