package gateway

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/culvert-vpn/culvert/config"
	"github.com/culvert-vpn/culvert/esp"
	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/natt"
	"github.com/culvert-vpn/culvert/ts"
	"github.com/culvert-vpn/culvert/udp"
)

// datapath is what the control goroutine writes and the forwarders read: atomic pointers, copied on write.
type datapath struct {
	policies atomic.Pointer[ts.Table[*flow]]
	// capture takes copies of packets; nil unless somebody captures.
	capture atomic.Pointer[capture]
	// inbound finds an SA by the lower bits of its SPI, as esp.Slots gives them out.
	inbound [1 << slotBits]atomic.Pointer[inboundSA]

	early    early
	mail     *mailbox
	counters *counters
	start    time.Time // of the datapath's clock
	// deviceMTU is the MTU of the TUN device in bytes.
	deviceMTU int
}

// slotBits is the binary logarithm of the number of inbound SAs there may be.
const slotBits = 16

// now is the time on the datapath's clock, which is cheap to read and never stands at zero.
func (d *datapath) now() int64 { return int64(time.Since(d.start)) + 1 }

// inboundSA returns the SA of an SPI, or nil.
func (d *datapath) inboundSA(spi uint32) *inboundSA {
	sa := d.inbound[spi%uint32(len(d.inbound))].Load()
	if sa == nil || sa.esp.SPI() != spi {
		return nil
	}
	return sa
}

// flow is some traffic of a child, and the SA that carries it now. What it is of a configured child exists all the
// time, so that traffic without an SA is known for what it is, and never leaves in clear.
type flow struct {
	child         *kept
	shunt         *shunt // instead of a child
	local, remote []ts.Selector
	current       atomic.Pointer[outboundSA] // nil: none
	configured    bool
	assigned      bool // configured as long as we have the address
	// next carries the traffic while this one is down: the flow of another configured child with the same selectors, which is
	// a backup connection, or what the child had before the configuration changed.
	next atomic.Pointer[flow]
	// order is its Order in the table: negative for what was agreed upon with a peer.
	order int64
	// stack holds the SAs that can carry it, the last installed on top. It is the control goroutine's.
	stack []*outboundSA
}

// carrier returns the SA that carries the flow now, or nil.
func (f *flow) carrier() *outboundSA {
	for ; f != nil; f = f.next.Load() {
		if sa := f.current.Load(); sa != nil {
			return sa
		}
	}
	return nil
}

// shunt is a policy without a tunnel.
type shunt struct {
	cfg     config.Shunt
	dropped atomic.Uint64
}

// passes reports whether the traffic goes its usual way, in clear.
func (f *flow) passes() bool { return f.shunt != nil && f.shunt.cfg.Pass }

// kept is a configured child. What it points to is the control goroutine's.
type kept struct {
	conn    *ike.Connection
	cfg     *ike.Child
	ask     ike.Acquire   // for it
	noSA    atomic.Uint64 // packets dropped for want of an SA
	asked   atomic.Int64  // when the last Acquire was sent, on the datapath's clock; 0: never
	account account
	tally   tally
	// flows are those of the configuration, carried is how many flows have an SA.
	flows   []*flow
	carried int
}

// askAgain is the least time between two Acquires of a child.
const askAgain = int64(time.Second)

// acquire tells the control loop, not too often, that a packet wants a child that is not up.
func (d *datapath) acquire(k *kept, p *ts.Packet) {
	k.noSA.Add(1)
	now, last := d.now(), k.asked.Load()
	if last != 0 && now-last < askAgain || !k.asked.CompareAndSwap(last, now) {
		return
	}
	ask := k.ask
	ask.Packet = *p
	if !d.mail.tell(ask) {
		k.asked.Store(0)
	}
}

// outboundSA is an SA that packets are sent on.
type outboundSA struct {
	esp         esp.Outbound
	owner       *owner
	pair        uint32 // the inbound SPI of the Child SA
	copyDSCP    bool
	bare        int // length of the IP header that is not sealed, in transport mode; else 0
	tfc         int // up to which length packets are padded, as ike.Child.TFCPadding
	route       atomic.Pointer[route]
	soft, spent notice
	flow        *flow // the control goroutine's
}

// maxPacket is the length of the longest packet that becomes at most room bytes of ESP.
func (sa *outboundSA) maxPacket(room int) int { return sa.esp.MaxInner(room) + sa.bare }

// padded is how long an inner packet of n bytes is to look (RFC 4303 2.7), where mtu is the longest that needs no fragments.
func (sa *outboundSA) padded(n, mtu int) int {
	switch {
	case sa.tfc == 0:
		return n
	case sa.tfc == ike.TFCPathMTU:
		return max(n, mtu)
	}
	return max(n, min(sa.tfc, mtu))
}

// inboundSA is an SA that packets are received on.
type inboundSA struct {
	owner         *owner
	local, remote []ts.Selector
	copyDSCP      bool
	ends          *ends // in transport mode, else nil
	// path is the one that the Child SA sends on; twin its other direction, nil if that is not installed.
	path              atomic.Pointer[natt.Path]
	twin              atomic.Pointer[outboundSA]
	used, soft, spent notice
	esp               esp.Inbound // begins with what each packet needs, as all of this does

	mu      sync.Mutex // guards what follows
	movedTo natt.Path
	movedAt int64
}

// repeatMove is how long the control loop is not told again of the same new path.
const repeatMove = int64(time.Second)

// elsewhere reports whether p is not the path that the Child SA sends on.
func (sa *inboundSA) elsewhere(p natt.Path) bool {
	cur := sa.path.Load()
	return cur.Remote != p.Remote || cur.Local.Addr() != p.Local.Addr() && !p.Local.Addr().IsUnspecified()
}

// moved reports whether a packet that came along a path elsewhere tells something new: that the peer sends from there now.
func (sa *inboundSA) moved(p natt.Path, now int64) bool {
	sa.mu.Lock()
	defer sa.mu.Unlock()
	if sa.movedTo == p && now-sa.movedAt < repeatMove {
		return false
	}
	sa.movedTo, sa.movedAt = p, now
	return true
}

// notice is news of an SA that the control loop has to hear once. It is offered until the mailbox takes it.
type notice struct{ raised, told atomic.Bool }

func (n *notice) raise()       { n.raised.Store(true) }
func (n *notice) due() bool    { return n.raised.Load() && !n.told.Load() }
func (n *notice) sent(ok bool) { n.told.Store(ok) }

// route is a way to a peer, shared by what is sent along it.
type route struct {
	path natt.Path
	conn udp.Conn // nil: there is no socket for it
	// room is how many bytes a datagram may have without being fragmented, as far as is known.
	room atomic.Int32
	// sent is when ESP was last sent along it, on the datapath's clock.
	sent atomic.Int64
	// users are the SAs on it. It is the control goroutine's.
	users int
}

const (
	defaultMTU = 1500
	ip4Header  = 20
	ip6Header  = 40
	udpHeader  = 8
)

// headers is what goes below ESP toward an address, in bytes.
func headers(remote netip.Addr) int {
	if remote.Is4() {
		return ip4Header + udpHeader
	}
	return ip6Header + udpHeader
}

// write sends a train to the peer.
func (r *route) write(d udp.Datagrams) error {
	if r.conn == nil {
		return udp.ErrUnreachable
	}
	d.Local, d.Remote = r.path.Local, r.path.Remote
	return r.again(d, r.conn.Write(d))
}

// again tries once more to send a train for which the socket has returned err, if there is hope.
func (r *route) again(d udp.Datagrams, err error) error {
	if err == nil || r.conn == nil || !errors.Is(err, udp.ErrSource) && !errors.Is(err, udp.ErrUnreachable) {
		return err
	}
	// Our address may be gone. From another one the peer can follow us, as it would follow a NAT's whim (RFC 7296
	// 2.23).
	d.Local = netip.AddrPort{}
	return r.conn.Write(d)
}

// dropOfSend is the reason why an error of sending is counted.
func dropOfSend(err error) Drop {
	switch {
	case errors.Is(err, udp.ErrTooBig):
		return DropSendTooBig
	case errors.Is(err, udp.ErrUnreachable), errors.Is(err, udp.ErrSource):
		return DropSendUnreachable
	case errors.Is(err, udp.ErrNoBuffers):
		return DropSendNoBuffers
	case errors.Is(err, udp.ErrDenied):
		return DropSendDenied
	}
	return DropSendOther
}

// spiOf reads the SPI of an ESP packet, which natt.Classify has found long enough.
func spiOf(b []byte) uint32 { return binary.BigEndian.Uint32(b) }
