package gateway

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/ts"
)

// inner is what peers have assigned to us. The control goroutine owns it, but for names.
type inner struct {
	host     Host
	assigned map[string]ike.Assignment // by connection
	order    []string                  // the connections that have something
	// names are what is to be used by now, for the goroutine that tells the host; failure is why that does not work.
	names   chan Names
	last    Names
	failure string
}

func newInner(h Host) *inner {
	return &inner{host: h, assigned: make(map[string]ike.Assignment), names: make(chan Names, 1)}
}

// assign carries out that a connection has something else of its peer now.
func (c *control) assign(e ike.Assign) {
	in := c.inner
	name := e.Conn.Name
	in.put(name, e.Assignment)
	c.policies.assign(name, e.Addrs)
	if in.host == nil {
		if !e.IsZero() {
			c.log.log.Warn("what the peer assigned is not put in place: there is no host to change", "conn", e.Conn.Name, "assigned", e.Assignment.String())
		}
		return
	}
	addrs, names := in.all()
	if err := in.host.Assign(addrs); err != nil {
		c.log.error("the addresses that peers have assigned are not in place", err)
	}
	in.tell(names)
	if other := in.yields(name); other != "" {
		c.log.log.Warn("the name servers that a peer assigned are not used", "conn", name, "servers", fmt.Sprint(e.DNS), "reason", yieldText(other),
			"remedy", "have one connection up at a time, or have one gateway name the servers for both")
	}
}

// put notes what a connection has. It keeps its place among the others as long as it has something.
func (in *inner) put(conn string, a ike.Assignment) {
	switch {
	case a.IsZero():
		in.order = slices.DeleteFunc(in.order, func(o string) bool { return o == conn })
		delete(in.assigned, conn)
		return
	case !slices.Contains(in.order, conn):
		in.order = append(in.order, conn)
	}
	in.assigned[conn] = a
}

// all is what all connections have together. The device has one list of name servers, and each of them would be asked for the names of
// all: one peer would learn the names of the other's network, and could answer for it. So the list is that of the connection that was
// first, and of others with the same servers (RFC 8598 8).
func (in *inner) all() (addrs []netip.Addr, n Names) {
	whole := false
	for _, conn := range in.order {
		a := in.assigned[conn]
		addrs = append(addrs, a.Addrs...)
		if len(a.DNS) == 0 || in.yields(conn) != "" {
			continue
		}
		n.Servers = a.DNS
		whole = whole || len(a.Domains) == 0
		for _, d := range a.Domains {
			if !slices.Contains(n.Domains, d) {
				n.Domains = append(n.Domains, d)
			}
		}
	}
	if whole {
		n.Domains = nil
	}
	return addrs, n
}

// yields is the connection whose name servers are used instead of those of conn; "" if there is none.
func (in *inner) yields(conn string) string {
	i := slices.IndexFunc(in.order, func(o string) bool { return len(in.assigned[o].DNS) > 0 })
	servers := in.assigned[conn].DNS
	if i < 0 || len(servers) == 0 || slices.Equal(servers, in.assigned[in.order[i]].DNS) {
		return ""
	}
	return in.order[i]
}

func yieldText(other string) string {
	return fmt.Sprintf("those of connection %q are in use: this host asks the servers of one gateway at a time", other)
}

// tell passes the names on, in place of those that were not taken yet.
func (in *inner) tell(n Names) {
	if slices.Equal(n.Servers, in.last.Servers) && slices.Equal(n.Domains, in.last.Domains) {
		return
	}
	in.last = n
	select {
	case <-in.names:
	default:
	}
	in.names <- n
}

// namesPatience is how long the host may take to use other name servers.
const namesPatience = 10 * time.Second

// run is the goroutine that tells the host of name servers: that may take a while. Those that are in use when ctx ends are taken
// back, for the device may be there longer than the gateway.
func (in *inner) run(ctx context.Context, answer func(func(*control))) {
	used := false
	resolve := func(n Names) error {
		asking, cancel := context.WithTimeout(context.WithoutCancel(ctx), namesPatience)
		defer cancel()
		return in.host.Resolve(asking, n)
	}
	for {
		select {
		case <-ctx.Done():
			if used {
				_ = resolve(Names{})
			}
			return
		case n := <-in.names:
			if len(n.Servers) == 0 && !used {
				continue
			}
			err := resolve(n)
			used = err == nil && len(n.Servers) > 0
			answer(func(c *control) { c.namesAre(n, err) })
		}
	}
}

// namesAre remembers what came of it.
func (c *control) namesAre(n Names, err error) {
	c.inner.failure = ""
	switch {
	case err != nil && len(n.Servers) > 0:
		c.inner.failure = err.Error()
		c.log.log.Warn("the name servers that a peer assigned are not used: "+err.Error(), "servers", fmt.Sprint(n.Servers), "domains", fmt.Sprint(n.Domains),
			"remedy", "run systemd-resolved, or enter them in /etc/resolv.conf by hand")
	case err != nil:
		c.log.error("the name servers of a peer may still be in use", err)
	case len(n.Servers) > 0:
		c.log.log.Info("the name servers that a peer assigned are in use", "servers", fmt.Sprint(n.Servers), "domains", fmt.Sprint(n.Domains))
	default:
		c.log.log.Info("the name servers of the peer are not used any more")
	}
}

// assign protects the traffic of our inner addresses, as long as a connection has them.
func (p *policies) assign(conn string, addrs []netip.Addr) {
	mine := func(f *flow) bool { return f.assigned && f.child.conn.Name == conn }
	for _, f := range p.flows {
		if mine(f) && len(f.stack) == 0 {
			delete(p.bySelectors, keyOf(f.child, f.local, f.remote))
		}
	}
	p.flows = slices.DeleteFunc(p.flows, mine)
	for _, k := range p.children {
		if k.conn.Name != conn {
			continue
		}
		for _, f := range k.flows {
			if f.assigned {
				f.assigned, f.configured = false, false
			}
		}
		k.flows = slices.DeleteFunc(k.flows, func(f *flow) bool { return !f.configured })
		if len(addrs) > 0 && slices.ContainsFunc(k.cfg.LocalTS, func(s ts.Spec) bool { return s.Dynamic }) {
			p.keep(k, ts.Resolve(k.cfg.LocalTS, addrs...), k.remote())
		}
	}
	p.rebuild()
}

// keep makes a flow of a child one that is protected whether or not there is an SA.
func (p *policies) keep(k *kept, local, remote []ts.Selector) {
	if len(local) == 0 || len(remote) == 0 {
		return
	}
	f := p.bySelectors[keyOf(k, local, remote)]
	if f == nil {
		f = &flow{child: k, local: local, remote: remote}
	}
	if !f.configured {
		p.enter(f)
	}
	f.assigned = true
}

// status is what a connection has of its peer, nil if it has nothing.
func (in *inner) status(conn *ike.Connection) *AssignedStatus {
	a, ok := in.assigned[conn.Name]
	if !ok {
		return nil
	}
	s := &AssignedStatus{Addresses: texts(a.Addrs), Servers: texts(a.DNS), Domains: a.Domains, Networks: texts(a.Subnets)}
	if len(a.DNS) > 0 {
		s.Unused = in.failure
	}
	if other := in.yields(conn.Name); other != "" {
		s.Unused = yieldText(other)
	}
	return s
}
