package gateway

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/culvert-vpn/culvert/explain"
	"github.com/culvert-vpn/culvert/ike"
)

const (
	// waitLong is how long a connection that neither calls nor is called is left alone, waitShort how long it is if packets were dropped
	// for it: then somebody expects it to work.
	waitLong  = time.Minute
	waitShort = 3 * time.Second
	// loopForgotten is after how long nothing is said any more of an IKE SA that came and went.
	loopForgotten = 10 * time.Minute
)

// review looks for what is wrong although nothing happens. It is called now and then.
func (c *control) review() {
	now := time.Now()
	c.reviewClock()
	if c.claimsChanged {
		c.claimsChanged = false
		c.reviewNetworks()
	}
	for _, conn := range c.order {
		if waited := now.Sub(conn.since); conn.waits() && waited >= waitShort {
			if dropped := conn.dropped(); dropped > 0 || waited >= waitLong {
				conn.stirred = true // it is told once
				c.warn(conn, "", c.nobodyCalls(conn.cfg, dropped, waited))
			}
		}
		if slices.ContainsFunc(conn.warnings, func(f Failure) bool {
			return f.Diagnosis.Cause == explain.RestartLoop && now.Sub(f.Time) >= loopForgotten
		}) {
			conn.warnings.over(explain.RestartLoop)
		}
	}
}

// dropped is how many packets were dropped because a child was not up.
func (conn *connection) dropped() (n uint64) {
	for _, k := range conn.children {
		n += k.noSA.Load()
	}
	return n
}

// waits reports whether a connection does nothing, and nothing has happened to it.
func (conn *connection) waits() bool {
	if conn.stirred || len(conn.cfg.Children) == 0 {
		return false
	}
	for _, child := range conn.cfg.Children {
		if child.StartAction != ike.None {
			return false
		}
	}
	return true
}

// nobodyCalls explains that a connection which waits to be called is not. Whether the peer does not call, or its calls do not arrive,
// cannot be told apart from here.
func (c *control) nobodyCalls(cfg *ike.Connection, dropped uint64, waited time.Duration) *explain.Diagnosis {
	local, behind := c.standsBehindNAT(cfg)
	arrived := c.counters.ikeIn.Load()
	d := &explain.Diagnosis{
		Cause: explain.BothWait,
		Compared: []explain.Compared{
			{What: "calls of ours", Sent: "none", Configured: "no child with start_action"},
			{What: "calls of the peer", Sent: fmt.Sprintf("none in %v", waited.Round(time.Second)), Configured: "remote_addrs = " + orAnybody(cfg.RemoteHost)},
			{What: "IKE messages that came to UDP ports 500 and 4500", Sent: fmt.Sprint(arrived)},
			{What: "packets dropped because the tunnel is down", Sent: fmt.Sprint(dropped)},
		},
	}
	if behind {
		d.Compared = append(d.Compared, explain.Compared{What: "address of this host towards the peer", Sent: local.String() + ", private: there is a NAT in front of it"})
	}
	child := cfg.Children[0].Name
	start := explain.Lines([]string{"start_action = start"}, "connections", cfg.Name, "children", child)
	forward := explain.Fix{Side: explain.Between, Text: fmt.Sprintf("have the NAT in front of us forward UDP ports 500 and 4500 to %v", local)}
	callUs := explain.Fix{Side: explain.Peer, Text: "have the peer call: start_action = start there", Lines: start}
	why := ""
	if dropped > 0 {
		why = ", while packets want to go through the tunnel"
	}
	switch {
	case cfg.RemoteHost != "":
		d.Text = fmt.Sprintf("this side does not call %s, as no child has a start_action, and the peer has not called for %v: both wait for the other%s", cfg.RemoteHost, waited.Round(time.Second), why)
		d.Fixes = []explain.Fix{{Side: explain.Here, Text: "set start_action = start", Lines: start}, callUs}
		if behind {
			d.Fixes[0].Text += ": the side behind a NAT is the one to call, nothing has to be forwarded to it then"
		}
	case behind && arrived == 0:
		d.Cause = explain.NotForwarded
		d.Text = fmt.Sprintf("this side waits to be called%s, its address %v is private, so that a NAT stands in front of it, and not one IKE message has come: "+
			"either the NAT does not forward UDP ports 500 and 4500, or the peer does not call; from here the two look the same", why, local)
		d.Fixes = []explain.Fix{forward, callUs, {Side: explain.Here, Text: "or call the peer from here, which needs no forwarding: remote_addrs = its address, and start_action = start"}}
	default:
		d.Text = fmt.Sprintf("this side waits to be called%s, and the peer has not called for %v", why, waited.Round(time.Second))
		d.Fixes = []explain.Fix{callUs, {Side: explain.Here, Text: "or call the peer from here: remote_addrs = its address, and start_action = start"}}
	}
	return d
}

func orAnybody(host string) string {
	if host == "" {
		return "%any"
	}
	return host
}

// standsBehindNAT is our address towards the peer of a connection, and whether it is a private one although the peer may be anywhere.
func (c *control) standsBehindNAT(cfg *ike.Connection) (local netip.Addr, behind bool) {
	remote, err := netip.ParseAddr(cfg.RemoteHost)
	if err != nil {
		remote = netip.AddrFrom4([4]byte{192, 0, 2, 1}) // as good as any: where the default route leads
	}
	if c.options.host == nil {
		return local, false
	}
	local, _, err = c.options.host.RouteTo(remote)
	return local, err == nil && local.IsPrivate() && !remote.IsPrivate()
}
