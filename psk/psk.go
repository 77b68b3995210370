// Package psk keeps pre-shared secrets: who owns each of them, which are eligible for a pair of identities, and the
// AUTH payloads made and checked with them. The secret bytes never leave the package.
package psk

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/culvert-vpn/culvert/ident"
)

// Store holds the secrets of one configuration. Build it with Add; from then on it is read-only and safe for
// concurrent use, until Wipe ends its life.
type Store struct {
	redacted
	entries []*entry
	// named are those whose owners are all spelt out, by each of these; patterns are the others. A store of thousands of secrets, one for
	// each peer, is not walked over for one of them.
	named    map[ident.ID][]*entry
	patterns []*entry
}

// entry is one secret and whose it is. The bytes hide behind a function: fmt cannot call the methods of redacted on
// an unexported field of somebody's struct, but follows pointers and slices there; it never looks into a function.
type entry struct {
	redacted
	number int // in the order of addition
	name   string
	secret func() []byte
	wipe   func()
	owners []ident.Pattern
}

// NewStore makes an empty store.
func NewStore() *Store { return &Store{} }

// Add puts a secret in the store. It takes secret: the bytes are copied, and the argument is zeroed even if Add
// fails. name is what the configuration calls the secret and may appear in logs. Without owners the secret matches
// any pair of identities. An empty secret is refused: it would let anybody in.
func (s *Store) Add(name string, secret []byte, owners []ident.Pattern) error {
	defer clear(secret)
	if len(secret) == 0 {
		return fmt.Errorf("secret %q is empty", name)
	}
	own := bytes.Clone(secret)
	s.enter(&entry{name: name, owners: slices.Clone(owners),
		secret: func() []byte { return own },
		wipe:   func() { clear(own); own = nil },
	})
	return nil
}

func (s *Store) enter(e *entry) {
	e.number = len(s.entries)
	s.entries = append(s.entries, e)
	spelt := func(p ident.Pattern) bool { _, ok := p.ID(); return ok }
	if len(e.owners) == 0 || slices.ContainsFunc(e.owners, func(p ident.Pattern) bool { return !spelt(p) }) {
		s.patterns = append(s.patterns, e)
		return
	}
	if s.named == nil {
		s.named = make(map[ident.ID][]*entry)
	}
	for _, owner := range e.owners {
		id, _ := owner.ID()
		s.named[id.Canonical()] = append(s.named[id.Canonical()], e)
	}
}

// Join makes a store of what other stores hold, in their order. It has no copies of the secrets: what is wiped in one is wiped in
// the other.
func Join(stores ...*Store) *Store {
	joined := NewStore()
	for _, s := range stores {
		for _, e := range s.entries {
			own := *e
			joined.enter(&own)
		}
	}
	return joined
}

// about are the entries that may match one of two identities, each once, in the order of addition.
func (s *Store) about(local, remote ident.ID) []*entry {
	list := slices.Concat(s.patterns, s.named[local.Canonical()], s.named[remote.Canonical()])
	slices.SortFunc(list, func(a, b *entry) int { return a.number - b.number })
	return slices.Compact(list)
}

// Wipe zeroes every secret and empties the store. Secrets looked up before verify nothing afterwards. Nobody else
// may use the store or its secrets at the same time.
func (s *Store) Wipe() {
	for _, e := range s.entries {
		e.wipe()
	}
	s.entries, s.named, s.patterns = nil, nil, nil
}

// Lookup returns the secrets eligible between two identities, best first. A secret is eligible if one of its owners
// matches either side, or if it has none. The order is how closely the owners describe the remote side, then the
// local side, then the order of addition. Make AUTH with the first; check AUTH against all of them (Verify).
//
// So a secret that lists our own identity is eligible for every peer: name only the remote side where peers do not
// share a secret.
//
// A zero ID is an identity not known yet; only secrets without owners or owned by %any match it.
func (s *Store) Lookup(local, remote ident.ID) []Secret {
	var found []Secret
	for _, e := range s.about(local, remote) {
		secret := Secret{entry: e, local: e.match(local), remote: e.match(remote)}
		if secret.local.how != ident.NoMatch || secret.remote.how != ident.NoMatch {
			found = append(found, secret)
		}
	}
	slices.SortStableFunc(found, func(a, b Secret) int {
		if a.remote.how != b.remote.how {
			return int(b.remote.how - a.remote.how)
		}
		return int(b.local.how - a.local.how)
	})
	return found
}

// match is the owner that describes an identity most closely, and how closely.
type match struct {
	how   ident.Specificity
	owner ident.Pattern
}

func (e *entry) match(id ident.ID) match {
	if len(e.owners) == 0 {
		return match{how: ident.Pattern{}.Match(id)} // as if owned by %any
	}
	var best match
	for _, owner := range e.owners {
		if how := owner.Match(id); how > best.how {
			best = match{how, owner}
		}
	}
	return best
}

// The ways in which a secret cannot be read. The errors do not quote it.
var (
	errEmpty  = errors.New("the secret is empty")
	errHex    = errors.New("the secret begins with 0x but what follows is not an even number of hex digits")
	errBase64 = errors.New("the secret begins with 0s but what follows is not base64")
)

// ParseSecret reads the text of a secret: hex after 0x, base64 after 0s (padding may be missing), otherwise the
// bytes of the text itself. Errors never contain the text. The caller owns the result and hands it to Add; the text
// is a string and cannot be zeroed.
func ParseSecret(text string) ([]byte, error) {
	raw := []byte(text)
	switch {
	case len(raw) == 0:
		return nil, errEmpty
	case strings.HasPrefix(text, "0x"), strings.HasPrefix(text, "0X"):
		return decoded(raw, decodeHex, errHex)
	case strings.HasPrefix(text, "0s"), strings.HasPrefix(text, "0S"):
		return decoded(raw, decodeBase64, errBase64)
	}
	return raw, nil
}

// decoded applies decode to what follows the two characters of the prefix, and zeroes raw.
func decoded(raw []byte, decode func([]byte) ([]byte, bool), bad error) ([]byte, error) {
	defer clear(raw)
	secret, ok := decode(raw[2:])
	switch {
	case !ok:
		return nil, bad
	case len(secret) == 0:
		return nil, errEmpty
	}
	return secret, nil
}

// decodeHex reads hex digits, with or without colons between the bytes. It leaves no copy behind.
func decodeHex(text []byte) ([]byte, bool) {
	digits := bytes.ReplaceAll(text, []byte(":"), nil)
	defer clear(digits)
	secret := make([]byte, hex.DecodedLen(len(digits)))
	if _, err := hex.Decode(secret, digits); err != nil {
		clear(secret)
		return nil, false
	}
	return secret, true
}

// decodeBase64 reads standard base64, padded or not. It leaves no copy behind.
func decodeBase64(text []byte) ([]byte, bool) {
	text = bytes.TrimRight(text, "=")
	secret := make([]byte, base64.RawStdEncoding.DecodedLen(len(text)))
	n, err := base64.RawStdEncoding.Decode(secret, text)
	if err != nil {
		clear(secret)
		return nil, false
	}
	return secret[:n], true
}
