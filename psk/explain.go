package psk

import (
	"fmt"
	"strings"

	"github.com/culvert-vpn/culvert/ident"
	"github.com/culvert-vpn/culvert/suite"
)

const (
	maxHints  = 8   // sentences of one Explain
	maxNames  = 4   // identities named in one sentence
	maxOthers = 256 // secrets of others tried by one Mismatch
	maxSpelt  = 16  // eligible secrets tried in other spellings by one Mismatch
)

// Owner is an owner of a secret that nearly is one of two identities.
type Owner struct {
	Secret string // as the configuration calls it
	Owner  ident.Pattern
	ID     ident.ID // the identity that it nearly matches
	Why    string   // a clause
}

// Near are the owners that nearly match one of two identities, those of the remote one first, and not more than a few.
func (s *Store) Near(local, remote ident.ID) (near []Owner) {
	for _, id := range []ident.ID{remote, local} {
		for _, e := range s.entries {
			for _, owner := range e.owners {
				if why, ok := ident.Why(owner, id); ok && len(near) < maxHints {
					near = append(near, Owner{e.name, owner, id, why})
				}
			}
		}
	}
	return near
}

// Names are what the configuration calls the secrets, in its order. The slice is the caller's.
func (s *Store) Names() (names []string) {
	for _, e := range s.entries {
		names = append(names, e.name)
	}
	return names
}

// Owners names a few of those to whom the secrets belong.
func (s *Store) Owners() string {
	if len(s.entries) == 0 {
		return "no pre-shared secret is configured"
	}
	var owners []ident.Pattern
	for _, e := range s.entries {
		owners = append(owners, e.owners...)
	}
	return list(owners)
}

// Explain says why there is no secret for a pair of identities: the owners that nearly match, or what owners there
// are. Each of its few sentences is fit for the log of this side; none contains a secret.
func (s *Store) Explain(local, remote ident.ID) (hints []string) {
	if len(s.entries) == 0 {
		return []string{s.Owners()}
	}
	for _, o := range s.Near(local, remote) {
		hints = append(hints, fmt.Sprintf("an owner of secret %q nearly matches: %v was presented where %v is configured: %s", o.Secret, o.ID, o.Owner, o.Why))
	}
	if len(hints) > 0 {
		return hints
	}
	return []string{fmt.Sprintf("the configured secrets belong to %s; none of them is %v or %v", s.Owners(), remote, local)}
}

// list names a few owners.
func list(owners []ident.Pattern) string {
	if len(owners) == 0 {
		return "anyone"
	}
	var names []string
	for _, owner := range owners[:min(len(owners), maxNames)] {
		names = append(names, owner.String())
	}
	if more := len(owners) - len(names); more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	return strings.Join(names, ", ")
}

// Finding is what is known of the secret with which a peer made an AUTH that no eligible secret verifies. It never has a secret in it.
type Finding struct {
	// Text is a sentence about it.
	Text string
	// Secret is the one of ours that is meant, as the configuration calls it. How says in a clause how the peer's differs from it.
	Secret, How string
	// Other is the secret of another peer that was used instead, Owners whose it is.
	Other, Owners string
	// Here and Peer are what to write for the secret in the file of one side or the other, with quotes, so that the two are the same.
	// In place of the secret stands in angle brackets how it follows from what stands there now. "" if there is no short way to write it.
	Here, Peer string
}

// Mismatch finds out what the peer did who made an auth that no eligible secret verifies: used the secret of another peer, or one of
// ours in another spelling. ok is false if neither is so. What it found is for this side only: told to the peer it would help
// guessing. It costs up to 1200 verifications, so call it for the few failures that are reported, not for each of a flood.
func (s *Store) Mismatch(prf suite.PRF, signed, auth []byte, local, remote ident.ID) (f Finding, ok bool) {
	eligible := s.Lookup(local, remote)
	isEligible := make(map[*entry]bool)
	for _, secret := range eligible {
		isEligible[secret.entry] = true
	}
	for _, e := range s.entries[:min(len(s.entries), maxOthers)] {
		if !isEligible[e] && verify(prf, e.secret(), signed, auth) == 1 {
			f := Finding{Other: e.name, Owners: list(e.owners)}
			if len(eligible) > 0 {
				f.Secret = eligible[0].Name()
			}
			f.Text = fmt.Sprintf("the peer used secret %q, which belongs to %s and neither to %v nor to %v", e.name, f.Owners, remote, local)
			return f, true
		}
	}
	for _, secret := range eligible[:min(len(eligible), maxSpelt)] {
		if v, ok := respelt(prf, secret.entry.secret(), signed, auth); ok {
			return Finding{
				Text:   fmt.Sprintf("the peer's copy of secret %q differs from ours only in spelling: %s", secret.Name(), v.how),
				Secret: secret.Name(), How: v.how, Here: v.here, Peer: v.peer,
			}, true
		}
	}
	return Finding{}, false
}

// respelt is the other spelling of a secret that verifies auth, without its secret; none if the secret itself does. It zeroes what it
// tries.
func respelt(prf suite.PRF, secret, signed, auth []byte) (found spelling, ok bool) {
	if verify(prf, secret, signed, auth) == 1 {
		return spelling{}, false
	}
	for _, v := range spellings(secret) {
		if !ok && len(v.secret) > 0 && verify(prf, v.secret, signed, auth) == 1 {
			found, ok = v, true
		}
		clear(v.secret)
	}
	found.secret = nil
	return found, ok
}
