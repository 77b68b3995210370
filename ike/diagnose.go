package ike

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/culvert-vpn/culvert/explain"
	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/natt"
	"github.com/culvert-vpn/culvert/suite"
)

// What is known of a failure becomes an explain.Diagnosis here and in the other files diagnose_*.go; the handlers of messages say only
// that it is one.

// maxNamed is how many connections one diagnosis names.
const maxNamed = 4

// change is a fix that consists of settings of a connection, or of a section inside of it.
func (c *Connection) change(side explain.Side, text string, settings []string, below ...string) explain.Fix {
	return explain.Fix{Side: side, Text: text, Lines: explain.Lines(settings, append([]string{"connections", c.Name}, below...)...)}
}

// set is a change of one setting.
func (c *Connection) set(side explain.Side, text, key, value string, below ...string) explain.Fix {
	return c.change(side, text, []string{explain.Set(key, value)}, below...)
}

// noConnection tells of a first message between two addresses for which there is no connection.
func (e *Endpoint) noConnection(p natt.Path) *explain.Diagnosis {
	d := &explain.Diagnosis{Cause: explain.NoConnection, Text: "no connection is configured for this pair of addresses"}
	local, remote := p.Local.Addr(), p.Remote.Addr()
	miss := func(c *Connection) (n int) {
		if !within(c.LocalAddrs, local) {
			n++
		}
		if !within(c.RemoteAddrs, remote) {
			n += 2 // that the peer is another one is likelier than that we are
		}
		return n
	}
	conns := slices.Clone(e.cfg.Connections)
	slices.SortStableFunc(conns, func(a, b *Connection) int { return miss(a) - miss(b) })
	d.Connections = namesOf(conns)
	for _, c := range conns[:len(d.Connections)] {
		d.Compared = append(d.Compared, explain.Compared{
			What: "addresses of the peer and here, " + c.Name, Sent: fmt.Sprintf("%v to %v", remote, local),
			Configured: fmt.Sprintf("%s to %s", prefixes(c.RemoteAddrs), prefixes(c.LocalAddrs)),
		})
	}
	if len(conns) == 0 {
		d.Fixes = append(d.Fixes, explain.Fix{Side: explain.Here, Text: "configure a connection: there is none"})
		return d
	}
	c := conns[0]
	if !within(c.RemoteAddrs, remote) {
		d.Fixes = append(d.Fixes,
			c.set(explain.Here, fmt.Sprintf("set remote_addrs = %v in connection %s, if it is the one that is meant", remote, c.Name), "remote_addrs", remote.String()),
			c.set(explain.Here, fmt.Sprintf("set remote_addrs = %%any in connection %s, if the address of the peer changes; then only the peer can call", c.Name), "remote_addrs", "%any"))
	}
	if !within(c.LocalAddrs, local) {
		d.Fixes = append(d.Fixes, c.set(explain.Here, fmt.Sprintf("set local_addrs = %%any in connection %s: the request came to %v", c.Name, local), "local_addrs", "%any"))
	}
	return d
}

func prefixes(list []netip.Prefix) string {
	if len(list) == 0 {
		return "%any"
	}
	var texts []string
	for _, p := range list[:min(len(list), maxNamed)] {
		if p.IsSingleIP() {
			texts = append(texts, p.Addr().String())
		} else {
			texts = append(texts, p.String())
		}
	}
	return strings.Join(texts, ", ")
}

// connectedAlready tells of a peer that is there a second time.
func (sa *ikeSA) connectedAlready() *explain.Diagnosis {
	first := "another IKE SA"
	if other := sa.end.otherWith(sa); other != nil {
		first = other.path.Remote.String()
	}
	return &explain.Diagnosis{
		Cause: explain.ConnectedAlready, Text: "the peer is connected already, and unique = keep",
		Compared: []explain.Compared{{What: "address of " + sa.remoteID.String(), Sent: sa.path.Remote.String(), Configured: "connected from " + first}},
		Fixes: []explain.Fix{
			sa.conn.set(explain.Here, "set unique = replace, if the later one is to stay", "unique", "replace"),
			sa.conn.set(explain.Here, "set unique = never, if several peers share the identity", "unique", "never"),
			{Side: explain.Peer, Text: "give each peer an identity of its own"},
		},
	}
}

// natForbidden tells of a peer that asked for a path without NAT.
func natForbidden() *explain.Diagnosis {
	return &explain.Diagnosis{
		Cause: explain.NATForbidden, Text: "the peer allows no NAT, and there is one between us",
		Fixes: []explain.Fix{{Side: explain.Peer, Text: "allow NAT traversal on the peer"}},
	}
}

// otherMethod tells of a peer that proves itself in another way than by a secret.
func (sa *ikeSA) otherMethod(text, method string) *explain.Diagnosis {
	d := &explain.Diagnosis{
		Cause: explain.OtherMethod, Text: text,
		Compared: []explain.Compared{{What: "authentication of the peer", Sent: method, Configured: "pre-shared key (auth = psk)"}},
	}
	fix := explain.Fix{Side: explain.Peer, Text: "set it to a pre-shared key"}
	if sa.conn != nil {
		fix = sa.conn.set(explain.Peer, fix.Text, "auth", "psk", "local")
	}
	d.Fixes = []explain.Fix{fix}
	return d
}

// malformed tells of an authentic message that is not as the RFC has it: a defect of one of the two programs.
func malformed(text string) *explain.Diagnosis {
	return &explain.Diagnosis{
		Cause: explain.MalformedMessages, Text: text,
		Fixes: []explain.Fix{{Side: explain.Peer, Text: "update its software, and report the message to whoever of the two is wrong: the peer's log may say more"}},
	}
}

// noInnerAddress tells of a peer that cannot have an address of ours.
func (sa *ikeSA) noInnerAddress() *explain.Diagnosis {
	d := &explain.Diagnosis{Cause: explain.NoInnerAddress}
	if len(sa.conn.Pools) == 0 {
		d.Text = "the peer wants an address, and the connection has no pools"
		d.Compared = []explain.Compared{{What: "inner address", Sent: "asked for", Configured: "no pools in connection " + sa.conn.Name}}
		d.Fixes = []explain.Fix{
			{Side: explain.Here, Text: "set pools in the connection", Lines: append(
				explain.Lines([]string{"pools = clients"}, "connections", sa.conn.Name), explain.Lines([]string{"addrs = 10.99.0.0/24"}, "pools", "clients")...)},
			{Side: explain.Peer, Text: "remove vips on the peer, or what its implementation calls a virtual address"},
		}
		return d
	}
	var pools []string
	for _, p := range sa.conn.Pools {
		pools = append(pools, p.Name)
	}
	d.Text = fmt.Sprintf("no address is left for %v", sa.remoteID)
	d.Compared = []explain.Compared{{What: "inner address", Sent: "asked for", Configured: "pools " + strings.Join(pools, ", ")}}
	d.Fixes = []explain.Fix{{Side: explain.Here, Text: "the pools of the connection have none of this family, or all are in use: give them more"}}
	return d
}

// addressWanted tells of a peer without an inner address of ours whose own address is in no child.
func (sa *ikeSA) addressWanted(c *content) *explain.Diagnosis {
	return &explain.Diagnosis{
		Cause: explain.NoInnerAddress, Text: fmt.Sprintf("the peer did not ask for an address, and %v is in no child", c.tsi.Selectors),
		Compared: []explain.Compared{{What: "inner address", Sent: "not asked for", Configured: "from the pools of connection " + sa.conn.Name}},
		Fixes: []explain.Fix{
			sa.conn.set(explain.Peer, "set vips = 0.0.0.0 on the peer, or what its implementation calls a virtual address", "vips", "0.0.0.0"),
		},
	}
}

// noAssignment tells of a peer that gave us no address.
func (sa *ikeSA) noAssignment(text string) *explain.Diagnosis {
	var wishes []string
	for _, w := range sa.conn.VIPs {
		wishes = append(wishes, w.String())
	}
	return &explain.Diagnosis{
		Cause: explain.NoInnerAddress, Text: text,
		Compared: []explain.Compared{{What: "inner address", Sent: "none", Configured: "vips = " + strings.Join(wishes, ", ")}},
		Fixes: []explain.Fix{
			{Side: explain.Peer, Text: "give the connection pools on the peer, with an address left and of this family"},
			{Side: explain.Here, Text: "remove vips here, if the peer is to reach networks behind us"},
		},
	}
}

// refusal tells of an error notify of the peer that ends an attempt to set up an IKE SA, or without an IKE SA to tell more of. The
// errors that say something of their own have functions of their own.
func (sa *ikeSA) refusal(kind wire.NotifyType) *explain.Diagnosis {
	switch kind {
	case wire.NO_PROPOSAL_CHOSEN:
		return sa.proposalsRefused()
	case wire.AUTHENTICATION_FAILED:
		return sa.refusesUs("the peer refuses: AUTHENTICATION_FAILED, and does not say")
	}
	return otherRefusal(explain.PeerRefusesUs, kind)
}

// otherRefusal tells of an error notify that has one usual reason, or none.
func otherRefusal(cause explain.Cause, kind wire.NotifyType) *explain.Diagnosis {
	d := &explain.Diagnosis{Cause: cause, Text: "the peer refuses: " + kind.String()}
	say := func(side explain.Side, text string) {
		d.Fixes = append(d.Fixes, explain.Fix{Side: side, Text: text})
	}
	switch kind {
	case wire.INVALID_SYNTAX:
		d.Text += ", it could not read our message"
		say(explain.Peer, "compare the secret: with a wrong one some peers say this")
		say(explain.Here, "do not set childless = force on one side and never on the other")
	case wire.NO_ADDITIONAL_SAS:
		d.Text += ", it allows no further child on this IKE SA"
		say(explain.Here, "put the selectors of all children into one child")
	case wire.INTERNAL_ADDRESS_FAILURE:
		d.Cause = explain.NoInnerAddress
		say(explain.Peer, "give its connection pools with an address left, and of this family")
		say(explain.Here, "remove vips")
	case wire.FAILED_CP_REQUIRED:
		d.Cause = explain.NoInnerAddress
		d.Text += ", it wants us to ask for an address"
		say(explain.Here, "set vips = 0.0.0.0 in the connection")
	case wire.SINGLE_PAIR_REQUIRED:
		d.Text += ", it wants one pair of addresses in each child"
		say(explain.Here, "use narrower traffic selectors")
	default:
		say(explain.Peer, "its log says why")
	}
	return d
}

// childRefused tells of an error notify of the peer about a child that we asked for. rekey is true for a successor of one that is up.
func (sa *ikeSA) childRefused(cfg *Child, kind wire.NotifyType, rekey bool) *explain.Diagnosis {
	switch kind {
	case wire.NO_PROPOSAL_CHOSEN:
		return sa.childProposalsRefused(cfg, rekey)
	case wire.TS_UNACCEPTABLE:
		return sa.selectorsRefused(cfg)
	case wire.FAILED_CP_REQUIRED:
		d := otherRefusal(explain.PeerRefusesChild, kind)
		d.Fixes[0].Lines = explain.Lines([]string{"vips = 0.0.0.0"}, "connections", sa.conn.Name)
		return d
	}
	return otherRefusal(explain.PeerRefusesChild, kind)
}

// offered is what a list of proposals is called, in the words of the configuration: one that names all that there is by default is so
// called.
func offered(list []suite.Proposal) []string {
	if len(list) == 0 {
		return []string{"none"}
	}
	var texts []string
	for _, p := range list {
		texts = append(texts, p.String())
	}
	standard := suite.Default(list[0].Protocol)
	for i := 0; i+len(standard) <= len(list); i++ {
		if slices.EqualFunc(list[i:i+len(standard)], standard, func(a, b suite.Proposal) bool { return slices.Equal(a.Transforms, b.Transforms) }) {
			return slices.Replace(texts, i, i+len(standard), "default")
		}
	}
	return texts
}
