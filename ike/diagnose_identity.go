package ike

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/culvert-vpn/culvert/explain"
	"github.com/culvert-vpn/culvert/ident"
)

// acquaintance is a connection that is not for a peer, and how far from it.
type acquaintance struct {
	conn *Connection
	miss miss
	why  string // of a near miss, in a clause
}

// miss is in what a connection differs from what a peer says; the least is the nearest.
type miss uint8

const (
	otherProposals miss = iota // the identities fit, and the proposals do not
	otherLocal                 // the peer is meant, and wants somebody else
	seenThere                  // it is expected to present the address at which we see it, and presents the one behind its NAT
	nearlyRemote               // the identity of the peer is nearly right
	anyRemote                  // it is for any peer, and this one wants somebody else
	unrelated
)

// How many connections are looked at for a near miss: that is work which a stranger can cause.
const (
	maxNearMisses = 2048
	fewNearMisses = 64 // if it was done a lot of late
)

// acquaintances are the connections between the addresses of a peer that belongs to none, the nearest first. Of very many connections
// only those that are for the peer are all among them.
func (sa *ikeSA) acquaintances(candidates []*Connection, c *content) (list []acquaintance) {
	limit := fewNearMisses
	if len(candidates) > limit && sa.end.maySearch() {
		limit = maxNearMisses
	}
	for i, conn := range candidates {
		a := acquaintance{conn: conn, miss: unrelated}
		if i >= limit && conn.RemoteID.Match(c.idi.ID) == ident.NoMatch {
			continue
		}
		if conn.RemoteID.Match(c.idi.ID) != ident.NoMatch {
			a.miss = otherLocal
			if conn.RemoteID.IsAny() {
				a.miss = anyRemote
			}
			if match, _ := sa.matchLocal(conn, c); match != ident.NoMatch {
				a.miss = otherProposals
			}
		} else if why, ok := ident.Why(conn.RemoteID, c.idi.ID); ok {
			a.miss, a.why = nearlyRemote, why
			if _, hidden := sa.presentedAddress(c.idi.ID); hidden && conn.RemoteID.Match(ident.FromAddr(sa.path.Remote.Addr())) != ident.NoMatch {
				a.miss = seenThere
			}
		}
		list = append(list, a)
	}
	slices.SortStableFunc(list, func(a, b acquaintance) int {
		return cmp.Or(int(a.miss)-int(b.miss), narrowness(b.conn)-narrowness(a.conn))
	})
	return list
}

// narrowness says how closely a connection tells where its peer is.
func narrowness(c *Connection) (bits int) {
	for _, p := range c.RemoteAddrs {
		bits = max(bits, p.Bits()+128-p.Addr().BitLen())
	}
	return bits
}

// stranger tells of a peer that is in no connection: what is nearest to it, and what would make it fit.
func (sa *ikeSA) stranger(candidates []*Connection, c *content) *explain.Diagnosis {
	text := fmt.Sprintf("no connection for a peer that says it is %v%s", c.idi.ID, wanted(c))
	list := sa.acquaintances(candidates, c)
	if len(list) == 0 {
		return &explain.Diagnosis{Cause: explain.UnknownIdentity, Text: text}
	}
	var d *explain.Diagnosis
	nearest := list[0]
	switch nearest.miss {
	case otherProposals:
		// What was agreed upon is of another connection: IKE_SA_INIT does not tell who is calling.
		d = sa.otherProposals(nearest.conn, fmt.Sprintf("%s: connection %s is for this peer, but its proposals do not allow what the peer offers, %v", text, nearest.conn.Name, sa.proposal))
	case otherLocal, anyRemote:
		d = sa.wantsAnother(text, nearest.conn, c)
	default:
		d = sa.unexpected(text, list, c.idi.ID)
	}
	var like []*Connection
	for _, a := range list {
		if a.miss == nearest.miss {
			like = append(like, a.conn)
		}
	}
	d.Connections = namesOf(like)
	return d
}

// wantsAnother tells of a peer that calls us by an identity that we do not have in its connection.
func (sa *ikeSA) wantsAnother(text string, conn *Connection, c *content) *explain.Diagnosis {
	ours, theirs := conn.LocalID, c.idr.ID
	d := &explain.Diagnosis{
		Cause: explain.UnknownIdentity,
		Text:  fmt.Sprintf("%s: connection %s fits the peer, but our identity there is %s", text, conn.Name, orAddress(ours)),
		Compared: []explain.Compared{
			{What: "identity of the peer", Sent: c.idi.ID.String(), Configured: conn.RemoteID.String()},
			{What: "identity of this gateway", Sent: theirs.String(), Configured: orAddress(ours)},
		},
	}
	if why, ok := ident.Why(ident.Literal(ours), theirs); ok && !ours.IsZero() {
		d.Text += ": " + why
	}
	here := conn.set(explain.Here, fmt.Sprintf("set local.id = %v in connection %s", theirs, conn.Name), "id", theirs.String(), "local")
	here.Lines = append(here.Lines, sa.owning(ours, c.idi.ID, theirs, c.idi.ID, theirs)...)
	d.Fixes = []explain.Fix{here}
	if !ours.IsZero() {
		d.Fixes = append(d.Fixes, conn.set(explain.Peer, fmt.Sprintf("set remote.id = %v", ours), "id", ours.String(), "remote"))
	}
	return d
}

// unexpected tells of a peer whose identity is that of no connection.
func (sa *ikeSA) unexpected(text string, list []acquaintance, got ident.ID) *explain.Diagnosis {
	nearest := list[0]
	conn, want := nearest.conn, nearest.conn.RemoteID
	d := &explain.Diagnosis{Cause: explain.UnknownIdentity, Text: text}
	why, hidden := sa.presentedAddress(got)
	switch {
	case hidden:
		d.Text += ": " + why
	case nearest.why != "":
		d.Text += fmt.Sprintf(": connection %s expects %v, and %s", conn.Name, want, nearest.why)
	}
	for _, a := range list[:min(len(list), maxNamed)] {
		if a.miss == nearest.miss {
			d.Compared = append(d.Compared, explain.Compared{What: "identity of the peer, " + a.conn.Name, Sent: got.String(), Configured: a.conn.RemoteID.String()})
		}
	}
	d.Fixes = sa.adopt(conn, got)
	if len(list) > 1 && nearest.miss == unrelated {
		d.Fixes[0].Text = fmt.Sprintf("set remote.id = %v in the connection that is meant for this peer, %s perhaps", got, conn.Name)
	}
	if hidden && len(d.Fixes) == 2 {
		// The identity would change with the address behind the NAT.
		slices.Reverse(d.Fixes)
	}
	return d
}

// presentedAddress says in words that an identity is the address of a peer behind a NAT.
func (sa *ikeSA) presentedAddress(id ident.ID) (why string, hidden bool) {
	addr, ok := id.Addr()
	if !ok || !ident.IsPrivate(addr) || addr.Unmap() == sa.path.Remote.Addr().Unmap() {
		return "", false
	}
	return fmt.Sprintf("the peer is behind a NAT and presents its private address %v as its identity, as gateways do on which no identity is set; we see it at %v",
		addr, sa.path.Remote.Addr()), true
}

// adopt is what makes a connection and the identity of its peer the same: here, or on the peer.
func (sa *ikeSA) adopt(conn *Connection, got ident.ID) []explain.Fix {
	here := conn.set(explain.Here, fmt.Sprintf("set remote.id = %v in connection %s", got, conn.Name), "id", got.String(), "remote")
	want, literal := conn.RemoteID.ID()
	local := conn.LocalID
	if local.IsZero() {
		local = ident.FromAddr(sa.path.Local.Addr())
	}
	here.Lines = append(here.Lines, sa.owning(local, want, local, got, got)...)
	if !literal {
		return []explain.Fix{here, {Side: explain.Peer, Text: fmt.Sprintf("give the peer an identity that fits %v", conn.RemoteID)}}
	}
	return []explain.Fix{here, conn.set(explain.Peer, fmt.Sprintf("set local.id = %v", want), "id", want.String(), "local")}
}

// owning are the lines that give the secret of one pair of identities a further owner, if it would not be found for another pair.
func (sa *ikeSA) owning(local, remote, newLocal, newRemote, owner ident.ID) []string {
	store := sa.end.cfg.Secrets
	had := store.Lookup(local, remote)
	if len(had) == 0 || len(store.Lookup(newLocal, newRemote)) > 0 {
		return nil
	}
	return explain.Lines([]string{explain.Set("id-culvert", owner.String())}, "secrets", had[0].Name())
}

// otherPeer tells that whom we called is not whom we expect.
func (sa *ikeSA) otherPeer(got ident.ID) *explain.Diagnosis {
	d := &explain.Diagnosis{
		Cause:    explain.UnknownIdentity,
		Text:     fmt.Sprintf("the peer says it is %v, the configuration expects %v", got, sa.conn.RemoteID),
		Compared: []explain.Compared{{What: "identity of the peer", Sent: got.String(), Configured: sa.conn.RemoteID.String()}},
		Fixes:    sa.adopt(sa.conn, got),
	}
	if why, hidden := sa.presentedAddress(got); hidden {
		d.Text += ": " + why
		slices.Reverse(d.Fixes)
	} else if why, ok := ident.Why(sa.conn.RemoteID, got); ok {
		d.Text += ": " + why
	}
	return d
}

// nobody tells of a peer whose identity is of a type that says nothing, ID_NULL say.
func (sa *ikeSA) nobody() *explain.Diagnosis {
	return &explain.Diagnosis{
		Cause: explain.UnknownIdentity, Text: "the peer's identity is of an unknown type",
		Compared: []explain.Compared{{What: "identity of the peer", Sent: "of an unknown type", Configured: sa.conn.RemoteID.String()}},
		Fixes:    []explain.Fix{{Side: explain.Peer, Text: "give the peer a name or an address for its identity"}},
	}
}

// refusesUs tells that the peer does not authenticate us. It says AUTHENTICATION_FAILED whatever is wrong, as it should,
// or it would help who tries: what is known is what we sent.
func (sa *ikeSA) refusesUs(text string) *explain.Diagnosis {
	const silent = "AUTHENTICATION_FAILED, and not why"
	secret := "none"
	if list := sa.end.cfg.Secrets.Lookup(sa.localID, sa.expectedPeer()); len(list) > 0 {
		secret = fmt.Sprintf("%s, because %s", list[0].Name(), list[0].Reason())
	}
	d := &explain.Diagnosis{
		Cause: explain.PeerRefusesUs,
		Text:  fmt.Sprintf("%s whether it knows no %v, is not %v itself, or has another secret", text, sa.localID, sa.conn.RemoteID),
		Compared: []explain.Compared{
			{What: "identity of this gateway", Sent: silent, Configured: sa.localID.String()},
			{What: "identity of the peer", Sent: silent, Configured: sa.conn.RemoteID.String()},
			{What: "secret", Sent: silent, Configured: secret},
		},
	}
	if fix, hidden := sa.presentsAddress(); hidden {
		d.Text += "; most likely the first: we are behind a NAT and present our private address as our identity"
		d.Fixes = append(d.Fixes, fix)
	}
	settings := explain.Lines([]string{explain.Set("id", sa.localID.String())}, "remote")
	if id, ok := sa.conn.RemoteID.ID(); ok {
		settings = append(settings, explain.Lines([]string{explain.Set("id", id.String())}, "local")...)
	}
	d.Fixes = append(d.Fixes, explain.Fix{
		Side: explain.Peer, Text: fmt.Sprintf("its log says which; see that it expects the identity %v of us and has %v itself", sa.localID, sa.conn.RemoteID),
		Lines: explain.Lines(settings, "connections", sa.conn.Name),
	})
	if list := sa.end.cfg.Secrets.Lookup(sa.localID, sa.expectedPeer()); len(list) > 0 {
		d.Fixes = append(d.Fixes, copied(explain.Peer, list[0].Name(), fmt.Sprintf("see that its secret for %v is the same as ours", sa.localID)))
	}
	return d
}

// presentsAddress is what to change if our identity is the private address that we have behind a NAT.
func (sa *ikeSA) presentsAddress() (explain.Fix, bool) {
	addr, ok := sa.localID.Addr()
	if !ok || !ident.IsPrivate(addr) || !sa.nat.LocalNAT {
		return explain.Fix{}, false
	}
	name := ident.Literal(ident.ID{})
	if id, err := ident.Parse("@" + strings.ToLower(sa.conn.Name)); err == nil {
		name = ident.Literal(id)
	}
	return sa.conn.set(explain.Here, fmt.Sprintf("set local.id to the identity that the peer has for us in its remote.id: our public address, or better a name such as %v on both sides", name),
		"id", name.String(), "local"), true
}
