package ike

import (
	"fmt"
	"strings"

	"github.com/culvert-vpn/culvert/explain"
	"github.com/culvert-vpn/culvert/ts"
)

// selectorsDiffer tells of traffic that the peer asks for and no policy allows: which half does not meet, and what would.
func (sa *ikeSA) selectorsDiffer(c *content, policies []*Child) *explain.Diagnosis {
	asked := traffic{local: c.tsr.Selectors, remote: c.tsi.Selectors}
	d := &explain.Diagnosis{
		Cause: explain.SelectorsDiffer, Text: fmt.Sprintf("no child fits the peer's traffic selectors %v === %v", asked.local, asked.remote),
	}
	best, meets := -1, 0
	for i, p := range policies {
		t := sa.trafficOf(p)
		n := 0
		if len(ts.Narrow(asked.local, t.local)) > 0 {
			n++
		}
		if len(ts.Narrow(asked.remote, t.remote)) > 0 {
			n++
		}
		if best < 0 || n > meets {
			best, meets = i, n
		}
	}
	if best < 0 {
		d.Fixes = []explain.Fix{{Side: explain.Here, Text: "configure a child: connection " + sa.conn.Name + " has none"}}
		return d
	}
	cfg := policies[best]
	t := sa.trafficOf(cfg)
	d.Compared = []explain.Compared{
		{What: "network here, child " + cfg.Name, Sent: selectorList(asked.local), Configured: specList(cfg.LocalTS)},
		{What: "network of the peer, child " + cfg.Name, Sent: selectorList(asked.remote), Configured: specList(cfg.RemoteTS)},
	}
	localMeets, remoteMeets := len(ts.Narrow(asked.local, t.local)) > 0, len(ts.Narrow(asked.remote, t.remote)) > 0
	d.Text += ": " + sa.howTheyMiss(asked, t, cfg, localMeets, remoteMeets)
	if localMeets && remoteMeets {
		d.Fixes = []explain.Fix{{Side: explain.Here, Text: "the peers of a connection need selectors that do not overlap, and those behind one NAT, in transport mode, ports of their own"}}
		return d
	}
	d.Fixes = append(sa.conn.meet(explain.Here, cfg, asked, localMeets, remoteMeets), sa.conn.meet(explain.Peer, cfg, t, localMeets, remoteMeets)...)
	return d
}

// howTheyMiss says in a clause why a policy does not allow any of what is asked for.
func (sa *ikeSA) howTheyMiss(asked, policy traffic, cfg *Child, localMeets, remoteMeets bool) string {
	if _, swapped := (traffic{local: asked.remote, remote: asked.local}).narrow(policy); swapped {
		return fmt.Sprintf("child %s has the same with local_ts and remote_ts exchanged", cfg.Name)
	}
	if addr, one := onlyAddr(asked.remote); one && !remoteMeets && (addr == sa.path.Remote.Addr().Unmap() || addr.IsPrivate() && sa.nat.RemoteNAT) {
		return fmt.Sprintf("%v is the peer's own address, which is what a peer asks for that has no local_ts", addr)
	}
	switch {
	case !localMeets && !remoteMeets:
		return fmt.Sprintf("neither network of child %s overlaps with what the peer has of it", cfg.Name)
	case !localMeets:
		return fmt.Sprintf("the peer's remote_ts does not overlap with local_ts of child %s, %s", cfg.Name, specList(cfg.LocalTS))
	case !remoteMeets:
		return fmt.Sprintf("the peer's local_ts does not overlap with remote_ts of child %s, %s", cfg.Name, specList(cfg.RemoteTS))
	}
	return fmt.Sprintf("another peer has that part of child %s", cfg.Name)
}

// meet is the change on one side that makes it allow some traffic, as we see it: what already meets stays.
func (c *Connection) meet(side explain.Side, cfg *Child, t traffic, localMeets, remoteMeets bool) []explain.Fix {
	local, remote := "local_ts", "remote_ts"
	if side == explain.Peer {
		local, remote = remote, local
	}
	var settings []string
	if !localMeets {
		settings = append(settings, explain.SetList(local, texts(t.local)))
	}
	if !remoteMeets {
		settings = append(settings, explain.SetList(remote, texts(t.remote)))
	}
	if len(settings) == 0 {
		return nil
	}
	return []explain.Fix{c.change(side, fmt.Sprintf("set %s in child %s", strings.Join(settings, " and "), cfg.Name), settings, "children", cfg.Name)}
}

// selectorsRefused: the peer's answer is TS_UNACCEPTABLE. All that is known is what we asked for.
func (sa *ikeSA) selectorsRefused(cfg *Child) *explain.Diagnosis {
	t := sa.trafficOf(cfg)
	const sent = "TS_UNACCEPTABLE: it allows none of it, and does not say what it has"
	return &explain.Diagnosis{
		Cause: explain.SelectorsDiffer,
		Text:  fmt.Sprintf("the peer refuses: TS_UNACCEPTABLE, it has no child for %v === %v", t.local, t.remote),
		Compared: []explain.Compared{
			{What: "network here, child " + cfg.Name, Sent: sent, Configured: specList(cfg.LocalTS)},
			{What: "network of the peer, child " + cfg.Name, Sent: sent, Configured: specList(cfg.RemoteTS)},
		},
		Fixes: append(sa.conn.meet(explain.Peer, cfg, t, false, false),
			explain.Fix{Side: explain.Here, Text: "or set local_ts and remote_ts to what the peer has, with the two exchanged: local_ts of one side must overlap remote_ts of the other, both ways; the peer's log has its own"}),
	}
}

// selectorList, specList and texts are selectors as a configuration has them.
func selectorList(list []ts.Selector) string { return strings.Join(texts(list), ", ") }
func specList(list []ts.Spec) string         { return strings.Join(texts(list), ", ") }

func texts[T fmt.Stringer](list []T) (out []string) {
	for _, s := range list {
		out = append(out, s.String())
	}
	return out
}
