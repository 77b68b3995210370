package gateway

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/culvert-vpn/culvert/config"
	"github.com/culvert-vpn/culvert/ike"
)

// Reloaded is what a new configuration has come to, fit for JSON.
type Reloaded struct {
	// Changes are about every connection and, if that was there before as well, about its children.
	Changes []ChangeInfo `json:"changes"`
	// Warnings are what the user should know; each is a sentence.
	Warnings []string `json:"warnings,omitempty"`
}

// ChangeInfo is an ike.Change in words.
type ChangeInfo struct {
	Conn  string `json:"conn"`
	Child string `json:"child,omitempty"` // empty: about the connection itself
	// Kind is "unchanged", "changed", "added" or "removed".
	Kind string `json:"kind"`
	// Keys have other values. How is what is done about it: "in place", "rekeyed", "negotiated anew", "IKE SA rekeyed" or "set up anew".
	Keys []string `json:"keys,omitempty"`
	How  string   `json:"how,omitempty"`
}

// Reload puts another configuration into effect. Tunnels that are the same in both are not touched; those that have changed are
// changed in place or replaced, make before break where it can be done; added and removed ones are set up and closed. That goes
// on when Reload has returned. An error leaves everything as it was.
//
// The gateway takes the connections of cfg, and borrows the secrets until the next Reload. It does not use the former secrets any
// more, so that their owner can wipe them. What was loaded over vici stays beside it; it is an error if both have something of one
// name. Before Run, Reload waits until the gateway runs.
func (g *Gateway) Reload(ctx context.Context, cfg config.Config) (Reloaded, error) {
	cfg.Secrets = orEmpty(cfg.Secrets)
	if err := unambiguous(cfg.Connections); err != nil {
		return Reloaded{}, err
	}
	var result Reloaded
	var refused error
	err := g.do(ctx, func(c *control) {
		var next *sources
		if next, refused = c.sources.withFile(cfg); refused != nil {
			return
		}
		merged := next.merged()
		if result, refused = c.reload(merged, false); refused == nil {
			g.cfg, g.cfg.Connections, c.sources = merged, c.configured(), next
			next.inEffect(g.cfg.Connections)
			result.Changes = slices.DeleteFunc(result.Changes, func(i ChangeInfo) bool {
				return i.Kind == ike.Unchanged.String() && next.conn(i.Conn) >= 0
			})
		}
	})
	if err == nil {
		err = refused
	}
	return result, err
}

// reload puts another configuration into effect. spare: nothing that is up is set up anew because its secret is gone.
func (c *control) reload(cfg config.Config, spare bool) (Reloaded, error) {
	mtu := deviceMTU(cfg.Connections)
	former := c.shunts
	c.changes, c.shunts = nil, cfg.Shunts
	c.leases.Configure(ranges(cfg.Pools))
	c.handle(ike.Reconfigure{Secrets: cfg.Secrets, Connections: cfg.Connections, Retransmit: cfg.Retransmit, Spare: spare})
	if c.changes == nil {
		return Reloaded{}, ErrStopped // the endpoint says good-bye already
	}
	r := Reloaded{Changes: []ChangeInfo{}}
	for _, change := range c.changes {
		r.Changes = append(r.Changes, changeInfo(change))
	}
	r.Changes = append(r.Changes, shuntChanges(former, cfg.Shunts)...)
	if mtu < c.deviceMTU {
		r.Warnings = append(r.Warnings, fmt.Sprintf("the TUN device keeps its MTU of %d, which is too large for the algorithms of this configuration: restart to make it %d", c.deviceMTU, mtu))
	}
	if off := cfg.NoOffload; off != c.noOffload {
		r.Warnings = append(r.Warnings, fmt.Sprintf("no_offload = %v has no effect before the daemon is restarted", off))
	}
	return r, nil
}

// changeInfo puts a change in words.
func changeInfo(change ike.Change) ChangeInfo {
	info := ChangeInfo{Conn: change.Conn, Child: change.Child, Kind: change.Kind.String()}
	var most ike.Impact
	for _, d := range change.Differences {
		info.Keys = append(info.Keys, d.Key)
		most = max(most, d.Impact)
	}
	info.How = most.String()
	return info
}

// shuntChanges says what has become of shunts: they are compared with those of the same name.
func shuntChanges(former, next []config.Shunt) (list []ChangeInfo) {
	find := func(in []config.Shunt, s config.Shunt) *config.Shunt {
		i := slices.IndexFunc(in, func(o config.Shunt) bool { return o.Conn == s.Conn && o.Name == s.Name })
		if i < 0 {
			return nil
		}
		return &in[i]
	}
	for _, s := range next {
		info := ChangeInfo{Conn: s.Conn, Child: s.Name, Kind: ike.Unchanged.String()}
		if was := find(former, s); was == nil {
			info.Kind = ike.Added.String()
		} else if !reflect.DeepEqual(*was, s) {
			info.Kind = ike.Changed.String()
		}
		list = append(list, info)
	}
	for _, s := range former {
		if find(next, s) == nil {
			list = append(list, ChangeInfo{Conn: s.Conn, Child: s.Name, Kind: ike.Removed.String()})
		}
	}
	return list
}

// reconfigured follows the endpoint to another configuration.
func (c *control) reconfigured(e ike.Reconfigured) {
	c.changes = append([]ike.Change{}, e.Changes...)
	if c.isSame(e) {
		return
	}
	c.policies.configure(e.Connections, c.shunts)
	for _, name := range c.inner.order {
		c.policies.assign(name, c.inner.assigned[name].Addrs)
	}
	c.configure(e.Connections)
	c.counts.forget(c.conns)
	for w := range c.watches {
		if w.conn != "" && c.conns[w.conn] == nil {
			w.over <- fmt.Errorf("connection %s is not configured any more", w.conn)
			delete(c.watches, w)
		}
	}
}

// isSame reports whether traffic is told apart as before. Thousands of connections may be loaded one by one, and again.
func (c *control) isSame(e ike.Reconfigured) bool {
	former := slices.EqualFunc(c.order, e.Connections, func(conn *connection, cfg *ike.Connection) bool { return conn.cfg == cfg })
	shunts := slices.EqualFunc(c.policies.shunts, c.shunts, func(s *shunt, cfg config.Shunt) bool { return reflect.DeepEqual(s.cfg, cfg) })
	return former && shunts && !slices.ContainsFunc(e.Changes, func(change ike.Change) bool { return change.Kind != ike.Unchanged })
}

// configure takes the connections that there are now.
func (c *control) configure(conns []*ike.Connection) {
	former := c.conns
	c.order, c.conns = nil, make(map[string]*connection)
	for _, cfg := range conns {
		conn := former[cfg.Name]
		if conn == nil || conn.cfg != cfg {
			conn = &connection{cfg: cfg, since: time.Now()}
		}
		conn.children = nil
		for _, child := range cfg.Children {
			conn.children = append(conn.children, c.policies.byConfig[child])
		}
		conn.trace.room(share(len(conns)))
		c.order = append(c.order, conn)
		c.conns[cfg.Name] = conn
	}
	c.claimsChanged = true
}

// configured are the connections that there are now.
func (c *control) configured() []*ike.Connection {
	var list []*ike.Connection
	for _, conn := range c.order {
		list = append(list, conn.cfg)
	}
	return list
}
