package gateway

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/natt"
)

// resolver finds the ways to peers. One goroutine asks the host, a few others the DNS, which may take its time: a name server that
// is down holds up only those peers that are known by name, and one name that is not answered for none but itself.
type resolver struct {
	host Host
	// lookup asks the DNS.
	lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)
	edges  *edges
	// answer runs something on the control goroutine.
	answer func(func(*control))

	// dials and names are what waits for the host and for the DNS: each connection once.
	dials, names *queue[ike.Connection]
	found        chan addresses
	ways         chan netip.Addr
	// calls counts the calls of each connection, so that the addresses of a name take turns.
	calls map[string]int
}

// addresses is what the DNS says.
type addresses struct {
	conn ike.Connection
	list []netip.Addr
	err  error
}

const (
	dnsTimeout = 10 * time.Second
	// dnsQuestions is how many names are asked for at a time.
	dnsQuestions = 8
	// waysLane is how many peers wait for their path MTU. More go without: the default is used.
	waysLane = 64
)

func newResolver(o *options, e *edges, answer func(func(*control))) *resolver {
	r := &resolver{
		host: o.host, lookup: o.lookup, edges: e, answer: answer,
		dials: newQueue[ike.Connection](), names: newQueue[ike.Connection](),
		found: make(chan addresses), ways: make(chan netip.Addr, waysLane),
		calls: make(map[string]int),
	}
	switch {
	case r.lookup != nil:
	case r.host != nil:
		r.lookup = markedDNS().LookupNetIP
	default:
		r.lookup = net.DefaultResolver.LookupNetIP
	}
	return r
}

// dial asks for the path to a connection's peer, as the connection is now: a new configuration may change it.
func (r *resolver) dial(d ike.Dial) {
	c := *d.Conn
	c.RemoteHost = d.Host
	r.dials.put(c)
}

// way asks for the path MTU toward an address, if that is not too much to ask.
func (r *resolver) way(remote netip.Addr) {
	if r.host == nil {
		return
	}
	select {
	case r.ways <- remote:
	default:
	}
}

// lookUp is what each goroutine does that asks the DNS.
func (r *resolver) lookUp(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.names.some:
		}
		c, ok := r.names.take()
		if !ok {
			continue
		}
		asking, cancel := context.WithTimeout(ctx, dnsTimeout)
		list, err := r.lookup(asking, "ip", c.RemoteHost)
		cancel()
		select {
		case <-ctx.Done():
			return
		case r.found <- addresses{conn: c, list: list, err: err}:
		}
	}
}

// run is the goroutine that asks the host.
func (r *resolver) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.dials.some:
			c, ok := r.dials.take()
			if !ok {
				continue
			}
			if a, err := netip.ParseAddr(c.RemoteHost); err == nil {
				r.resolve(addresses{conn: c, list: []netip.Addr{a}})
			} else {
				r.names.put(c)
			}
		case a := <-r.found:
			r.resolve(a)
		case remote := <-r.ways:
			if _, mtu, err := r.host.RouteTo(remote); err == nil {
				r.answer(func(c *control) { c.learnMTU(remote, mtu) })
			}
		}
	}
}

// resolve answers a dial.
func (r *resolver) resolve(a addresses) {
	result := ike.Resolved{Conn: a.conn.Name}
	var mtu int
	if a.err != nil {
		result.Err = nameNotResolved(&a.conn, plainDNS(a.err))
	} else {
		result.Path, mtu, result.Err = r.choose(a)
	}
	r.answer(func(c *control) {
		if result.Err == nil {
			c.learnMTU(result.Path.Remote.Addr(), mtu)
		}
		c.handle(result)
	})
}

// plainDNS leaves out of an error of the DNS what the sentence around it says already.
func plainDNS(err error) error {
	var e *net.DNSError
	if errors.As(err, &e) {
		return errors.New(e.Err)
	}
	return err
}

// choose returns the first path that leads anywhere. The addresses of a name take turns from call to call: the first
// one may lead to a host that does not answer.
func (r *resolver) choose(a addresses) (path natt.Path, mtu int, err error) {
	if len(a.list) == 0 {
		return path, 0, nameNotResolved(&a.conn, errors.New("it has no address"))
	}
	turn := r.calls[a.conn.Name] % len(a.list)
	r.calls[a.conn.Name]++
	for _, remote := range slices.Concat(a.list[turn:], a.list[:turn]) {
		var thisErr error
		if path, mtu, thisErr = r.pathTo(&a.conn, remote.Unmap()); thisErr == nil {
			return path, mtu, nil
		}
		if err == nil {
			err = thisErr
		}
	}
	return natt.Path{}, 0, err
}

// pathTo finds our end of the path to an address.
func (r *resolver) pathTo(c *ike.Connection, remote netip.Addr) (natt.Path, int, error) {
	// At any other port than 500 the peer expects the non-ESP marker, and at 500 it does not.
	p := natt.Path{Remote: netip.AddrPortFrom(remote, c.RemotePort), NATT: c.RemotePort != natt.Port}
	local, mtu, err := r.local(c, p)
	if err != nil {
		return p, 0, err
	}
	p.Local = netip.AddrPortFrom(local, c.LocalPort)
	conn := r.edges.conn(p)
	if conn == nil {
		return p, 0, noSocket(p)
	}
	p.Local = netip.AddrPortFrom(local, conn.LocalAddr().Port())
	return p, mtu, nil
}

// local finds our address toward a peer: the one that is configured, or the one that the host would use.
func (r *resolver) local(c *ike.Connection, p natt.Path) (netip.Addr, int, error) {
	remote := p.Remote.Addr()
	local, mtu, err := r.route(p)
	if err == nil && slices.ContainsFunc(c.LocalAddrs, func(l netip.Prefix) bool { return l.Contains(local) }) {
		return local, mtu, nil
	}
	for _, prefix := range c.LocalAddrs {
		if prefix.Addr().Is4() == remote.Is4() && prefix.IsSingleIP() {
			return prefix.Addr(), mtu, nil
		}
	}
	switch {
	case err != nil:
		return local, 0, noRoute(c, remote, err)
	case len(c.LocalAddrs) > 0:
		return local, 0, otherSource(c, remote, local)
	}
	return local, mtu, nil
}

// route asks the host, or does without it. An MTU of 0 is not known.
func (r *resolver) route(p natt.Path) (netip.Addr, int, error) {
	if r.host != nil {
		return r.host.RouteTo(p.Remote.Addr())
	}
	if conn := r.edges.conn(p); conn != nil {
		if bound := conn.LocalAddr().Addr(); !bound.IsUnspecified() {
			return bound, 0, nil
		}
	}
	local, err := r.localFor(p.Remote)
	return local, 0, err
}

// localFor finds the address that we send to a peer from. The host knows it past our own routes; without one the kernel
// is asked which address it would send from. Nothing is sent.
func (r *resolver) localFor(remote netip.AddrPort) (netip.Addr, error) {
	if r.host != nil {
		local, _, err := r.host.RouteTo(remote.Addr())
		return local, err
	}
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(remote))
	if err != nil {
		return netip.Addr{}, err
	}
	defer c.Close()
	local, ok := c.LocalAddr().(*net.UDPAddr)
	if !ok {
		return netip.Addr{}, errors.New("the kernel does not tell the local address")
	}
	return local.AddrPort().Addr().Unmap(), nil
}
