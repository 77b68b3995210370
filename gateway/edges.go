package gateway

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"syscall"

	"github.com/culvert-vpn/culvert/esp"
	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/natt"
	"github.com/culvert-vpn/culvert/offload"
	"github.com/culvert-vpn/culvert/suite"
	"github.com/culvert-vpn/culvert/tun"
	"github.com/culvert-vpn/culvert/udp"
)

// edges are where packets come in and go out.
type edges struct {
	device  tun.Device // nil if the queues were brought
	name    string     // of the device, if it is known
	queues  []tun.Queue
	ordered offload.Set // fast paths that are off by order
	without offload.Set // fast paths that are off, be it for want of a host that has them
	conns   Conns
}

// open makes the edges that were not brought.
func (o *options) open(mtu int) (*edges, error) {
	e := &edges{queues: o.queues, name: o.deviceName, ordered: o.without, without: o.without}
	if o.conns != nil {
		e.conns = *o.conns
	} else if err := e.listen(o); err != nil {
		e.close()
		return nil, err
	}
	if e.queues == nil {
		device, err := tun.Open(tun.Options{
			Name: o.name(), MTU: mtu, Queues: o.queueCount(), Offload: true, Without: o.without, Portable: o.portable,
			TCPPayload: burst(mtu),
		})
		if err != nil {
			e.close()
			return nil, err
		}
		e.device, e.name, e.queues = device, device.Name(), device.Queues()
		if o.portable || runtime.GOOS != "linux" {
			e.without |= offload.Coalesce // superpackets need the virtio-net header
		}
	}
	return e, nil
}

// queueCount is how many queues the device is to have.
func (o *options) queueCount() int {
	if o.without.Has(offload.Queues) {
		return 1
	}
	return o.deviceQueues
}

// name is what the device is to be called. macOS names its devices itself.
func (o *options) name() string {
	if o.deviceName == "" && runtime.GOOS == "linux" {
		return "culvert%d"
	}
	return o.deviceName
}

// listen opens the sockets of both families. A host without IPv6 does without.
func (e *edges) listen(o *options) error {
	opts := udp.Options{Without: o.without}
	if o.host != nil {
		opts.Mark = Mark
	}
	for _, addr := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		ikeConn, err := listen(netip.AddrPortFrom(addr, natt.Port), opts)
		if err != nil && addr.Is6() && (errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, syscall.EADDRNOTAVAIL)) {
			o.log.Info("this host has no IPv6, so that peers cannot be reached over it")
			return nil
		}
		if err != nil {
			return err
		}
		e.conns.IKE = append(e.conns.IKE, ikeConn)
		nattConn, err := listen(netip.AddrPortFrom(addr, natt.PortNATT), opts)
		if err != nil {
			return err
		}
		e.conns.NATT = append(e.conns.NATT, nattConn)
	}
	return nil
}

// conn is the socket for a path: one bound to its local address before one bound to all. It is nil if there is none.
func (e *edges) conn(p natt.Path) udp.Conn {
	list := e.conns.IKE
	if p.NATT {
		list = e.conns.NATT
	}
	var found udp.Conn
	for _, c := range list {
		bound := c.LocalAddr().Addr()
		switch {
		case bound.Is4() != p.Remote.Addr().Is4():
		case bound == p.Local.Addr():
			return c
		case bound.IsUnspecified() || found == nil:
			found = c
		}
	}
	return found
}

// writer is for what comes from one socket.
func (e *edges) writer(c *counters) *writer {
	return &writer{queues: e.queues, counters: c, merge: !e.without.Has(offload.Coalesce)}
}

// close closes all of it, and thereby ends the forwarders.
func (e *edges) close() {
	for _, c := range e.sockets() {
		_ = c.Close()
	}
	if e.device != nil {
		_ = e.device.Close()
		return
	}
	for _, q := range e.queues {
		_ = q.Close()
	}
}

// minDeviceMTU lets IPv6 pass the device (RFC 8200 5).
const minDeviceMTU = 1280

// deviceMTU is the longest packet that every configured child can carry over a path of 1500 bytes, whatever the peer
// chooses and whichever IP version the path has. For narrower paths packets are judged one by one. Where no connection is
// configured some may be loaded later: room is left for the default proposals.
func deviceMTU(conns []*ike.Connection) int {
	mtu := defaultMTU - ip6Header - udpHeader
	var known []suite.Proposal // thousands of children have few different ones
	allow := func(proposals []suite.Proposal) {
		for _, p := range proposals {
			if !slices.ContainsFunc(known, func(k suite.Proposal) bool { return slices.Equal(k.Transforms, p.Transforms) }) {
				known = append(known, p)
				mtu = min(mtu, innerMTU(p, defaultMTU-ip6Header-udpHeader))
			}
		}
	}
	if len(conns) == 0 {
		allow(suite.Default(suite.ESP))
	}
	for _, conn := range conns {
		for _, child := range conn.Children {
			allow(child.Proposals)
		}
	}
	return max(mtu, minDeviceMTU)
}

// burst is how much payload of TCP a train holds, in packets as long as the device's MTU.
func burst(mtu int) int {
	const headers = ip4Header + tcpMinimum + 12 // with timestamps; those of IPv6 leave a rest that is too short for a packet
	return fit(defaultMTU-ip6Header-udpHeader) * (mtu - headers)
}

// innerMTU is the longest packet that ESP brings into so many bytes with the most spendthrift choice of p.
func innerMTU(p suite.Proposal, room int) int {
	longest := room
	integs := append(p.All(suite.TypeINTEG), suite.Transform{})
	for _, encr := range p.All(suite.TypeENCR) {
		for _, integ := range integs {
			encLen, integLen, err := suite.KeyLens(encr, integ)
			if err != nil {
				continue
			}
			cipher, err := suite.NewCipher(encr, integ, make([]byte, encLen), make([]byte, integLen))
			if err != nil {
				continue
			}
			longest = min(longest, esp.NewOutbound(esp.OutboundConfig{SPI: 1 << 31, Cipher: cipher}).MaxInner(room))
		}
	}
	return longest
}

// noSocket says why a path cannot be used.
func noSocket(p natt.Path) error {
	family := "IPv4"
	if p.Remote.Addr().Is6() {
		family = "IPv6"
	}
	port := natt.Port
	if p.NATT {
		port = natt.PortNATT
	}
	return fmt.Errorf("no %s socket for port %d is open: the peer %s cannot be called from here", family, port, p.Remote.Addr())
}
