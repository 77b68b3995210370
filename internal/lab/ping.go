//go:build linux

package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Ping says how to send ICMP echo requests. The zero value of a field chooses what is in its comment.
type Ping struct {
	Count    int           // requests to send; 1
	Interval time.Duration // between requests; 10 ms
	Size     int           // length of the IP packet in bytes; 84
	DF       bool          // don't fragment, not even here
	From     netip.Addr    // a source address of this host; the kernel's choice
	Patience time.Duration // for answers after the last request, while any is missing; 5 s
}

// PingResult is what came of a ping. Requests are numbered from 0.
type PingResult struct {
	Sent, Received int
	Missing        []int // numbers of requests without an answer
	Doubles        int   // answers beyond the first to a request
	Err            error // why the last request that could not be sent was not (it counts as sent and missing)
}

// Lost is the number of requests without an answer.
func (r PingResult) Lost() int { return r.Sent - r.Received }

// LongestGap is the longest run of requests in a row without an answer.
func (r PingResult) LongestGap() (longest int) {
	run := 0
	for i, n := range r.Missing {
		if i == 0 || n != r.Missing[i-1]+1 {
			run = 0
		}
		run++
		longest = max(longest, run)
	}
	return longest
}

func (r PingResult) String() string {
	text := fmt.Sprintf("%d of %d echo requests lost", r.Lost(), r.Sent)
	if r.Err != nil {
		text += fmt.Sprintf(" (%v)", r.Err)
	}
	return text
}

// Ping sends echo requests to an address and waits for the answers.
func (h *Host) Ping(to netip.Addr, o Ping) (PingResult, error) {
	o.Count = max(o.Count, 1)
	p, err := h.StartPing(to, o)
	if err != nil {
		return PingResult{}, err
	}
	<-p.sent
	return p.Stop(), nil
}

// Pinger is a ping that goes on until it is stopped.
type Pinger struct {
	conn     *net.IPConn
	to       netip.Addr
	id       uint16
	o        Ping
	over     <-chan struct{} // the end of the T
	stop     chan struct{}
	stopping sync.Once
	sent     chan struct{} // closed when nothing more will be sent
	received chan struct{} // closed when nothing more will be received
	all      chan struct{} // a hint that an answer came

	mu       sync.Mutex
	answered []int // answers by number of the request; its length is the number of requests
	err      error
}

var pingers atomic.Uint32 // gives every Pinger its ICMP identifier

// StartPing sends echo requests until it is stopped, or until Count of them were sent if that is not 0.
func (h *Host) StartPing(to netip.Addr, o Ping) (*Pinger, error) {
	if o.Interval == 0 {
		o.Interval = 10 * time.Millisecond
	}
	if o.Patience == 0 {
		o.Patience = 5 * time.Second
	}
	p := &Pinger{to: to, id: uint16(pingers.Add(1)), o: o, over: h.t.Context().Done(), stop: make(chan struct{}),
		sent: make(chan struct{}), received: make(chan struct{}), all: make(chan struct{}, 1)}
	err := h.Do(func() (err error) {
		p.conn, err = pingSocket(to, o)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("ping %v: %w", to, err)
	}
	h.t.Cleanup(func() { p.conn.Close() })
	go p.send()
	go p.receive()
	return p, nil
}

func pingSocket(to netip.Addr, o Ping) (*net.IPConn, error) {
	network, level, option := "ip4:icmp", unix.IPPROTO_IP, unix.IP_MTU_DISCOVER
	if to.Is6() {
		network, level, option = "ip6:ipv6-icmp", unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER
	}
	pmtu := unix.IP_PMTUDISC_DONT // the values for IPv6 are the same
	if o.DF {
		pmtu = unix.IP_PMTUDISC_DO
	}
	var local *net.IPAddr
	if o.From.IsValid() {
		local = &net.IPAddr{IP: o.From.AsSlice()}
	}
	conn, err := net.ListenIP(network, local)
	if err != nil {
		return nil, err
	}
	if err := setsockopt(conn, level, option, pmtu); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

func setsockopt(conn syscall.Conn, level, option, value int) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = raw.Control(func(fd uintptr) { inner = unix.SetsockoptInt(int(fd), level, option, value) })
	return errors.Join(err, inner)
}

func (p *Pinger) send() {
	defer close(p.sent)
	tick := time.NewTicker(p.o.Interval)
	defer tick.Stop()
	for n := 0; p.o.Count == 0 || n < p.o.Count; n++ {
		if n > 0 {
			select {
			case <-p.stop:
				return
			case <-p.over:
				return
			case <-tick.C:
			}
		}
		p.mu.Lock()
		p.answered = append(p.answered, 0)
		p.mu.Unlock()
		if _, err := p.conn.WriteToIP(p.request(n), &net.IPAddr{IP: p.to.AsSlice()}); err != nil {
			p.mu.Lock()
			p.err = err
			p.mu.Unlock()
		}
	}
}

// request is echo request n. The number is in the sequence field and, because that wraps, again in the data.
func (p *Pinger) request(n int) []byte {
	kind, header := byte(8), 20
	if p.to.Is6() {
		kind, header = 128, 40
	}
	size := p.o.Size
	if size == 0 {
		size = 84
	}
	b := make([]byte, max(size-header, 16))
	b[0] = kind
	binary.BigEndian.PutUint16(b[4:], p.id)
	binary.BigEndian.PutUint16(b[6:], uint16(n))
	binary.BigEndian.PutUint64(b[8:], uint64(n))
	for i := range b[16:] {
		b[16+i] = byte(i)
	}
	if p.to.Is4() { // for IPv6 the kernel fills the checksum in
		binary.BigEndian.PutUint16(b[2:], checksum(b))
	}
	return b
}

// checksum is the internet checksum, RFC 1071.
func checksum(b []byte) uint16 {
	var sum uint32
	for len(b) >= 2 {
		sum += uint32(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

func (p *Pinger) receive() {
	defer close(p.received)
	reply := byte(0)
	if p.to.Is6() {
		reply = 129
	}
	buf := make([]byte, 1<<16)
	for {
		n, from, err := p.conn.ReadFromIP(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		// A raw socket sees all ICMP of the host, and reports errors about earlier packets here.
		if err != nil || n < 16 || buf[0] != reply || binary.BigEndian.Uint16(buf[4:]) != p.id {
			continue
		}
		if addr, ok := netip.AddrFromSlice(from.IP); !ok || addr.Unmap() != p.to {
			continue
		}
		p.mu.Lock()
		if seq := binary.BigEndian.Uint64(buf[8:]); seq < uint64(len(p.answered)) {
			p.answered[seq]++
		}
		p.mu.Unlock()
		select {
		case p.all <- struct{}{}:
		default:
		}
	}
}

// Result is the state of things so far.
func (p *Pinger) Result() PingResult {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := PingResult{Sent: len(p.answered), Err: p.err}
	for n, answers := range p.answered {
		if answers == 0 {
			r.Missing = append(r.Missing, n)
			continue
		}
		r.Received++
		r.Doubles += answers - 1
	}
	return r
}

// Stop sends nothing more, waits for the answers that are missing as long as Patience allows, and reports.
func (p *Pinger) Stop() PingResult {
	p.stopping.Do(func() { close(p.stop) })
	<-p.sent
	patience := time.After(p.o.Patience)
	for waiting := true; waiting && p.Result().Lost() > 0; {
		select {
		case <-p.all:
		case <-patience:
			waiting = false
		case <-p.over:
			waiting = false
		}
	}
	p.conn.Close()
	<-p.received
	return p.Result()
}
