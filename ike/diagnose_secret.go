package ike

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/culvert-vpn/culvert/explain"
	"github.com/culvert-vpn/culvert/ident"
	"github.com/culvert-vpn/culvert/ike/wire"
)

// How often it is searched for what a peer has nearly right: once in a while, and a few times one right after the other.
const (
	searchInterval = time.Second
	searchBurst    = 8
)

// maySearch asks to do work which a stranger can cause, and which only says more of a failure.
func (e *Endpoint) maySearch() bool {
	if earliest := e.now.Add(-searchBurst * searchInterval); e.nextSearch.Before(earliest) {
		e.nextSearch = earliest
	}
	if e.now.Before(e.nextSearch) {
		return false
	}
	e.nextSearch = e.nextSearch.Add(searchInterval)
	return true
}

// fromOther is what to write for a secret that the other side has.
const fromOther = `secret = "<what the other side has>"`

// copied is to write the secret of the other side into the file of one.
func copied(side explain.Side, secret, text string) explain.Fix {
	return explain.Fix{Side: side, Text: text, Lines: explain.Lines([]string{fromOther}, "secrets", secret)}
}

// noSecret tells that no secret belongs to the two identities, and whose there are.
func (sa *ikeSA) noSecret(peer ident.ID) *explain.Diagnosis {
	store := sa.end.cfg.Secrets
	d := &explain.Diagnosis{
		Cause: explain.NoSecret, Text: fmt.Sprintf("no secret for us as %v and the peer as %v", sa.localID, peer),
		Compared: []explain.Compared{{What: "identity of the peer, owners of secrets", Sent: peer.String(), Configured: store.Owners()}},
	}
	own := func(name, text string) explain.Fix {
		return explain.Fix{Side: explain.Here, Text: text, Lines: explain.Lines([]string{explain.Set("id-culvert", peer.String())}, "secrets", name)}
	}
	for _, near := range store.Near(sa.localID, peer) {
		if len(d.Fixes) == 0 {
			d.Text += fmt.Sprintf(": an owner of secret %q nearly matches: %v was presented where %v is configured: %s", near.Secret, near.ID, near.Owner, near.Why)
			d.Compared = []explain.Compared{{What: "identity of the peer, owner of secret " + near.Secret, Sent: near.ID.String(), Configured: near.Owner.String()}}
			d.Fixes = append(d.Fixes, own(near.Secret, fmt.Sprintf("give secret %s the owner %v", near.Secret, peer)))
		}
	}
	names := store.Names()
	if len(names) == 1 && len(d.Fixes) == 0 {
		d.Fixes = append(d.Fixes, own(names[0], fmt.Sprintf("give secret %s the owner %v, if it is meant for this peer", names[0], peer)))
	}
	name := "ike-" + sa.conn.Name
	for n := 2; slices.Contains(names, name); n++ {
		name = fmt.Sprintf("ike-%s-%d", sa.conn.Name, n)
	}
	d.Fixes = append(d.Fixes, explain.Fix{
		Side: explain.Here, Text: fmt.Sprintf("add a secret with id = %v", peer),
		Lines: explain.Lines([]string{explain.Set("id", peer.String()), fromOther}, "secrets", name),
	})
	return d
}

// unverified tells why the AUTH of a peer proves nothing.
func (sa *ikeSA) unverified(local, remote ident.ID, signed []byte, auth *wire.Auth) *explain.Diagnosis {
	switch {
	case auth.Method != wire.AuthSharedKey:
		return sa.otherMethod(fmt.Sprintf("the peer %v authenticates by %v", remote, auth.Method), auth.Method.String())
	case len(sa.end.cfg.Secrets.Lookup(local, remote)) == 0:
		return sa.noSecret(remote)
	}
	return sa.wrongSecret(local, remote, signed, auth)
}

// wrongSecret tells of an AUTH that no secret verifies: in what the peer's differs, as far as that can be found out.
func (sa *ikeSA) wrongSecret(local, remote ident.ID, signed []byte, auth *wire.Auth) *explain.Diagnosis {
	text := fmt.Sprintf("the peer %v has another secret than we have for it", remote)
	d := &explain.Diagnosis{Cause: explain.WrongSecret, Text: text}
	var mine []string
	for _, s := range sa.end.cfg.Secrets.Lookup(local, remote) {
		mine = append(mine, s.Name())
	}
	d.Compared = []explain.Compared{{What: "secret", Sent: "another one", Configured: strings.Join(mine, ", ")}}
	sa.compareSecrets(d, local, remote, signed, auth)
	if len(d.Fixes) == 0 {
		d.Fixes = []explain.Fix{{Side: explain.Peer, Text: "compare the secrets of both sides, and write the same for both: 0s and the output of `openssl rand -base64 32` cannot be misread"}}
	}
	d.Fixes = append(d.Fixes, copied(explain.Peer, mine[0], "write its secret as it is written here for "+mine[0]),
		copied(explain.Here, mine[0], fmt.Sprintf("write secret %s as it is written on the peer", mine[0])))
	return d
}

// compareSecrets looks for what the peer did to the secret. That is work which a stranger can cause: it is not done for each.
func (sa *ikeSA) compareSecrets(d *explain.Diagnosis, local, remote ident.ID, signed []byte, auth *wire.Auth) {
	if !sa.end.maySearch() {
		return
	}
	f, ok := sa.end.cfg.Secrets.Mismatch(sa.keys.prf, signed, auth.Data, local, remote)
	if !ok {
		return
	}
	d.Text += ": " + f.Text
	if f.Other != "" {
		d.Compared[0].Sent = fmt.Sprintf("%s, which is for %s", f.Other, f.Owners)
		return
	}
	d.Compared[0] = explain.Compared{What: "secret " + f.Secret, Sent: f.How, Configured: "as it is"}
	spell := func(side explain.Side, value, text string) {
		if value != "" {
			d.Fixes = append(d.Fixes, explain.Fix{Side: side, Text: text, Lines: explain.Lines([]string{"secret = " + value}, "secrets", f.Secret)})
		}
	}
	spell(explain.Peer, f.Peer, "change how its secret is written: "+f.How)
	spell(explain.Here, f.Here, fmt.Sprintf("change how secret %s is written: %s", f.Secret, f.How))
}
