package gateway

import (
	"net/netip"
	"slices"
	"sync/atomic"

	"github.com/culvert-vpn/culvert/esp"
	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/natt"
	"github.com/culvert-vpn/culvert/udp"
)

// child is an installed Child SA, or one direction of it.
type child struct {
	in      *inboundSA
	out     *outboundSA
	account *account // nil: it is not configured
	// usedIn and usedOut are what was seen of their traffic last.
	usedIn, usedOut use
}

// carryOut does what the endpoint asks for.
func (c *control) carryOut(effect ike.Effect) {
	switch e := effect.(type) {
	case ike.Send:
		c.send(e)
	case ike.Dial:
		c.resolver.dial(e)
	case ike.Install:
		c.install(e)
	case ike.Remove:
		c.remove(e)
	case ike.Repath:
		c.repath(e)
	case ike.Survey:
		c.survey(e)
	case ike.Probe:
		c.prober.ask(e)
	case ike.Keepalive:
		c.keepalive(e.Path)
	case ike.Assign:
		c.assign(e)
	case ike.Keys:
		if err := c.keys.ikeSA(e); err != nil {
			c.log.error("the keys of an IKE SA could not be logged", err)
		}
	case ike.Reconfigured:
		c.reconfigured(e)
	case ike.Event:
		c.event(e)
	}
}

// send sends an IKE message.
func (c *control) send(s ike.Send) {
	c.mail.answer(s.Data)
	if err := c.routeOf(s.Path).write(udp.Datagrams{Buf: natt.AppendIKE(nil, s.Path, s.Data)}); err != nil {
		c.counters.drop(dropOfSend(err))
		c.log.sendFailed(s.Path, err)
	}
}

// keepaliveRest is how long ago ESP must have been sent for a keepalive to be left out. As the next one is due an
// interval later, a longer rest would add up to a silence that some NATs do not survive.
const keepaliveRest = natt.KeepaliveInterval / 4

// keepalive keeps a NAT's mapping alive, unless ESP has just done so (RFC 3948 4).
func (c *control) keepalive(p natt.Path) {
	r := c.routeOf(p)
	if last := r.sent.Load(); last != 0 && c.now()-last < int64(keepaliveRest) {
		return
	}
	if err := r.write(udp.Datagrams{Buf: []byte{natt.KeepaliveByte}}); err != nil {
		c.counters.drop(dropOfSend(err))
		return
	}
	c.counters.keepalivesOut.Add(1)
}

// routeOf is the route of a path, for one message.
func (c *control) routeOf(p natt.Path) *route {
	if r := c.routes[p]; r != nil {
		return r
	}
	return &route{path: p, conn: c.edges.conn(p)}
}

// install puts one direction of a Child SA in place, and zeroes its keys.
func (c *control) install(in ike.Install) {
	defer clear(in.EncKey)
	defer clear(in.IntegKey)
	if err := c.keys.espSA(in); err != nil {
		c.log.error("the keys of a Child SA could not be logged", err)
	}
	cipher, err := cipherOf(in)
	if err != nil {
		c.log.error("a Child SA cannot be installed", err)
		c.mail.tell(ike.Expiring{SPI: in.Pair, Hard: true})
		return
	}
	ch := c.children[in.Pair]
	if ch == nil {
		ch = &child{}
		c.children[in.Pair] = ch
		if k := c.policies.byConfig[in.Child]; k != nil {
			ch.account = &k.account
		}
	}
	limits := esp.Limits{
		SoftBytes: in.Soft.Bytes, HardBytes: in.Hard.Bytes,
		SoftPackets: in.Soft.Packets, HardPackets: in.Hard.Packets,
	}
	if in.Dir == ike.In {
		ch.in = &inboundSA{
			local: in.Local, remote: in.Remote, copyDSCP: in.Child.CopyDSCP&ike.In != 0,
			ends: endsOf(in), owner: ownerOf(in),
		}
		ch.in.esp.Init(esp.InboundConfig{
			SPI: in.SPI, Cipher: cipher, ESN: in.ESN, Window: in.Child.ReplayWindow, Limits: limits,
			Transport: in.Mode == ike.Transport,
		})
		path := in.Path
		ch.in.path.Store(&path)
		ch.account.enterIn(&ch.in.esp)
		c.place(in.SPI).Store(ch.in)
		c.installed = append(c.installed, in.SPI)
	} else {
		ch.out = &outboundSA{
			pair: in.Pair, owner: ownerOf(in), copyDSCP: in.Child.CopyDSCP&ike.Out != 0,
			bare: bareHeader(in), tfc: in.TFC,
		}
		ch.out.route.Store(c.takeRoute(in.Path))
		ch.out.esp.Init(esp.OutboundConfig{SPI: in.SPI, Cipher: cipher, ESN: in.ESN, Limits: limits})
		ch.account.enterOut(&ch.out.esp)
		c.policies.add(in.Child, in.Local, in.Remote, ch.out)
	}
	if ch.in != nil {
		ch.in.twin.Store(ch.out)
	}
}

// place is where the forwarders find an inbound SA.
func (d *datapath) place(spi uint32) *atomic.Pointer[inboundSA] {
	return &d.inbound[spi%uint32(len(d.inbound))]
}

// remove takes one direction of a Child SA away.
func (c *control) remove(e ike.Remove) {
	ch := c.children[e.Pair]
	if ch == nil {
		return
	}
	if e.Dir == ike.In && ch.in != nil {
		c.place(e.SPI).CompareAndSwap(ch.in, nil)
		ch.account.settleIn(&ch.in.esp)
		ch.in = nil
	}
	if e.Dir == ike.Out && ch.out != nil {
		c.policies.remove(ch.out)
		ch.account.settleOut(&ch.out.esp)
		c.leaveRoute(ch.out.route.Load())
		ch.out = nil
		if ch.in != nil {
			ch.in.twin.Store(nil)
		}
	}
	if ch.in == nil && ch.out == nil {
		delete(c.children, e.Pair)
	}
}

// repath lets the Child SAs of an IKE SA send elsewhere.
func (c *control) repath(e ike.Repath) {
	for _, pair := range e.Pairs {
		ch := c.children[pair]
		if ch == nil {
			continue
		}
		if ch.in != nil {
			ch.in.path.Store(&e.Path)
		}
		if ch.out != nil {
			old := ch.out.route.Swap(c.takeRoute(e.Path))
			c.leaveRoute(old)
		}
	}
}

// survey finds the paths to a peer; the endpoint hears of them when its effects are carried out. The host is asked at once, for it
// only has to look into its tables.
func (c *control) survey(e ike.Survey) {
	answer := ike.Surveyed{IKE: e.IKE}
	for _, remote := range e.Remotes {
		p := natt.Path{Remote: remote, NATT: true}
		local, mtu, err := c.resolver.route(p)
		conn := c.edges.conn(p)
		if err != nil || conn == nil {
			continue
		}
		c.learnMTU(remote.Addr(), mtu)
		p.Local = netip.AddrPortFrom(local, conn.LocalAddr().Port())
		answer.Paths = append(answer.Paths, p)
	}
	c.answers = append(c.answers, answer)
}

// takeRoute returns the route of a path for one more SA.
func (c *control) takeRoute(p natt.Path) *route {
	r := c.routes[p]
	if r == nil {
		r = c.routeOf(p)
		c.routes[p] = r
		c.routesTo[p.Remote.Addr()] = append(c.routesTo[p.Remote.Addr()], r)
		remote := p.Remote.Addr()
		if c.mtus[remote] == 0 {
			c.resolver.way(remote)
		}
		r.room.Store(c.roomTo(remote))
	}
	r.users++
	return r
}

func (c *control) leaveRoute(r *route) {
	if r.users--; r.users > 0 {
		return
	}
	delete(c.routes, r.path)
	remote := r.path.Remote.Addr()
	others := slices.DeleteFunc(c.routesTo[remote], func(o *route) bool { return o == r })
	if c.routesTo[remote] = others; len(others) == 0 {
		delete(c.routesTo, remote)
	}
}

// maxMTUs bounds what is remembered of the ways to peers.
const maxMTUs = 1 << 14

// learnMTU takes the MTU of the way to a peer; 0 is unknown.
func (c *control) learnMTU(remote netip.Addr, mtu int) {
	if mtu <= 0 {
		return
	}
	if c.mtus[remote] == mtu {
		return
	}
	if len(c.mtus) >= maxMTUs {
		clear(c.mtus)
	}
	c.mtus[remote] = mtu
	for _, r := range c.routesTo[remote] {
		r.room.Store(c.roomTo(remote))
	}
}

// roomTo is how many bytes of ESP a datagram to a peer can hold without being fragmented.
func (c *control) roomTo(remote netip.Addr) int32 {
	mtu := c.mtus[remote]
	if mtu == 0 {
		mtu = defaultMTU
	}
	return int32(min(max(mtu, 576), 65535) - headers(remote))
}
