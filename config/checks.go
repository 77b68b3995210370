package config

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/culvert-vpn/culvert/ident"
	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/suite"
	"github.com/culvert-vpn/culvert/ts"
)

// check looks for what is well written and cannot work, or not as meant.
func (b *builder) check() {
	for i, c := range b.config.Connections {
		b.checkSecret(c, b.places[i])
		b.checkConnection(c, b.places[i])
	}
	b.checkTwins()
	b.checkPoolsUsed()
	b.checkSecretOwners()
}

// checkConnection looks at one connection by itself.
func (b *builder) checkConnection(c *ike.Connection, at placed) {
	b.checkIdentity(c, at)
	b.checkStart(c, at)
	b.checkInner(c, at)
	b.checkProposals("connection "+c.Name, c.Proposals, at.proposals)
	for j, child := range c.Children {
		b.checkSelectors(c, child, at.localTS[j], at.remoteTS[j])
		b.checkProposals("child "+child.Name, child.Proposals, at.espProposals[j])
	}
}

const useName = "id = @name, the same name in the peer's remote section; it need not exist in DNS"

// checkIdentity warns of an identity that does not survive a NAT.
func (b *builder) checkIdentity(c *ike.Connection, at placed) {
	if addr, ok := c.LocalID.Addr(); ok && addr.IsPrivate() {
		b.warn(at.localID, useName, "the identity of this side is a private address; a peer beyond a NAT will expect the public one")
	}
	if at.localIDIsWritten {
		return
	}
	for _, p := range c.LocalAddrs {
		if p.IsSingleIP() && !p.Addr().IsPrivate() {
			return // it will be this address
		}
	}
	b.warn(at.localID, useName, "connection %s has no local id; this side shows the address it sends from, and behind a NAT that is the private one", c.Name)
}

// checkSecret refuses a connection whose identities own no secret. Where one of them is not known
// beforehand it is silent as long as there is any secret.
func (b *builder) checkSecret(c *ike.Connection, at placed) {
	if b.badSecrets {
		return // a secret that was refused is not missing
	}
	if len(b.config.SecretEntries) == 0 {
		b.fail(at.conn, "secrets { ike-"+c.Name+" { id = ...  secret = ... } }", "there is no secret for connection %s", c.Name)
		return
	}
	remote, known := c.RemoteID.ID()
	if !known || c.LocalID.IsZero() || len(b.config.Secrets.Lookup(c.LocalID, remote)) > 0 {
		return
	}
	b.fail(at.remoteID, strings.Join(b.config.Secrets.Explain(c.LocalID, remote), "; "),
		"no secret belongs to %v or %v, the identities of connection %s", c.LocalID, remote, c.Name)
}

// checkStart looks at who calls whom.
func (b *builder) checkStart(c *ike.Connection, at placed) {
	if len(c.Children) == 0 {
		b.warn(at.conn, "children { net { local_ts = ...  remote_ts = ... } }", "connection %s has no children and carries no traffic", c.Name)
		return
	}
	calls := false
	for i, child := range c.Children {
		if child.StartAction == ike.None {
			continue
		}
		calls = true
		switch {
		case c.RemoteHost != "":
		case child.StartAction == ike.Trap: // the peer may have called when a packet asks
			b.warn(at.startAction[i], "remote_addrs = ADDRESS", "child %s waits for the peer to call: remote_addrs of connection %s names nobody to call when a packet asks for it", child.Name, c.Name)
		default:
			b.fail(at.startAction[i], "remote_addrs = ADDRESS", "child %s is to be started by this side, but remote_addrs of connection %s names nobody to call", child.Name, c.Name)
		}
	}
	if !calls && c.RemoteHost != "" {
		b.warn(at.children[0], "start_action = start on the side that can reach the other", "no child of connection %s is started by this side; if the peer does not call either, both wait", c.Name)
	}
}

// checkProposals warns of algorithms that are for peers that know nothing better.
func (b *builder) checkProposals(whose string, proposals []suite.Proposal, at Pos) {
	var seen []suite.Transform
	for _, p := range proposals {
		for _, t := range p.Transforms {
			if why := t.Weakness(); why != "" && !slices.Contains(seen, t) {
				seen = append(seen, t)
				word := suite.Proposal{Transforms: []suite.Transform{t}}
				b.warn(at, "", "%s allows %v: %s", whose, word, why)
			}
		}
	}
}

// checkSelectors warns of traffic selectors that contain what they should not.
func (b *builder) checkSelectors(c *ike.Connection, child *ike.Child, localAt, remoteAt Pos) {
	for _, l := range child.LocalTS {
		for _, r := range child.RemoteTS {
			if l.Dynamic || r.Dynamic {
				continue
			}
			both, ok := l.Sel.Intersect(r.Sel)
			switch {
			case !ok || l.Sel.Contains(r.Sel) && l.Sel != r.Sel, r.Sel.Contains(l.Sel) && l.Sel != r.Sel:
				// A net inside a larger one, such as 10.1.0.0/16 and everything: the usual star.
			default:
				b.warn(localAt, "", "child %s: local_ts and remote_ts overlap in %v; hosts there are on both sides", child.Name, both)
			}
		}
	}
	peer, err := netip.ParseAddr(c.RemoteHost)
	if err != nil {
		return
	}
	for _, r := range child.RemoteTS {
		if !r.Dynamic && r.Sel.Start.Compare(peer) <= 0 && peer.Compare(r.Sel.End) <= 0 && r.Sel.Is6() == peer.Is6() {
			b.warn(remoteAt, "", "child %s: remote_ts covers %v, the peer's own address; the tunnel's datagrams to it stay outside by their mark, all other traffic to it enters the tunnel", child.Name, peer)
			return
		}
	}
}

// maxTwins bounds the warnings about children that claim the same traffic.
const maxTwins = 20

// checkTwins warns of children that claim the same remote network for overlapping local ones. Larger
// and smaller remote networks are no trouble: the most specific one wins.
func (b *builder) checkTwins() {
	type claim struct {
		child *ike.Child
		conn  string
		at    Pos
	}
	claims := make(map[ts.Selector][]claim)
	twins := 0
	for i, c := range b.config.Connections {
		for j, child := range c.Children {
			for _, r := range child.RemoteTS {
				if r.Dynamic {
					continue
				}
				mine := claim{child, c.Name, b.places[i].remoteTS[j]}
				for _, other := range claims[r.Sel] {
					if twins == maxTwins {
						return
					}
					if other.child != child && other.child.Priority == child.Priority && overlap(other.child.LocalTS, child.LocalTS) {
						twins++
						b.warn(mine.at, "give one of them a priority", "%s of connection %s claims the same traffic to %v as %s of connection %s; the first one that is up gets it",
							child.Name, c.Name, r.Sel, other.child.Name, other.conn)
						break
					}
				}
				claims[r.Sel] = append(claims[r.Sel], mine)
			}
		}
	}
}

func overlap(a, b []ts.Spec) bool {
	return slices.ContainsFunc(a, func(x ts.Spec) bool {
		return slices.ContainsFunc(b, func(y ts.Spec) bool {
			_, ok := x.Sel.Intersect(y.Sel)
			return ok && !x.Dynamic && !y.Dynamic
		})
	})
}

// checkSecretOwners warns of different secrets with the same owners: only the first is used to build AUTH.
func (b *builder) checkSecretOwners() {
	byOwners := make(map[string]SecretEntry)
	for _, e := range b.config.SecretEntries {
		owners := ownerNames(e.Owners)
		if other, ok := byOwners[owners]; ok {
			b.warn(e.Pos, "remove one of them", "sections %s and %s hold secrets of the same identities (%s); this side authenticates with the first and accepts both", other.Name, e.Name, owners)
			continue
		}
		byOwners[owners] = e
	}
}

// ownerNames is the set of owners in words.
func ownerNames(owners []ident.Pattern) string {
	if len(owners) == 0 {
		return "anyone"
	}
	var names []string
	for _, o := range owners {
		names = append(names, o.String())
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ", ")
}
