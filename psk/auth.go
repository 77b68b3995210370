package psk

import (
	"crypto/subtle"
	"fmt"

	"github.com/culvert-vpn/culvert/ident"
	"github.com/culvert-vpn/culvert/suite"
)

// keyPad is the pad of RFC 7296 2.15: 17 characters without a terminator.
const keyPad = "Key Pad for IKEv2"

// Secret is one secret as found for a pair of identities. The zero Secret is a decoy: it makes no AUTH and verifies
// none, but takes as long over it as a true one.
type Secret struct {
	redacted
	entry         *entry
	local, remote match
}

// Decoy stands in for the secret that was not found, so that a peer whose identity is unknown is refused after the
// same work as one whose secret is wrong. Verify uses it by itself.
func (s *Store) Decoy() Secret { return Secret{} }

// Verify checks a received AUTH against every secret eligible between two identities, as several peers may share an
// identity's secrets. It returns the secret that verified. If none is eligible the work of one is done all the same:
// a stranger cannot tell an unknown identity from a wrong secret by the time the refusal takes.
func (s *Store) Verify(local, remote ident.ID, prf suite.PRF, signed, auth []byte) (Secret, bool) {
	eligible := s.Lookup(local, remote)
	if len(eligible) == 0 {
		eligible = []Secret{s.Decoy()}
	}
	for _, secret := range eligible {
		if secret.Verify(prf, signed, auth) {
			return secret, true
		}
	}
	return Secret{}, false
}

// Name is what the configuration calls the secret; empty for a decoy.
func (s Secret) Name() string {
	if s.entry == nil {
		return ""
	}
	return s.entry.name
}

// bytes is the secret and 1, or for a decoy, and for a secret wiped since it was found, a known key and 0.
func (s Secret) bytes() (secret []byte, valid int) {
	if s.entry != nil {
		if secret := s.entry.secret(); len(secret) > 0 {
			return secret, 1
		}
	}
	return decoyKey, 0
}

// decoyKey has the length of a good secret. It is public and never changed.
var decoyKey = make([]byte, 32)

// Auth is the data of the AUTH payload over the signed octets (RFC 7296 2.15), prf.Size() bytes that the caller
// owns; nil for a decoy or a wiped secret, with which nobody may authenticate.
func (s Secret) Auth(prf suite.PRF, signed []byte) []byte {
	secret, valid := s.bytes()
	if valid == 0 {
		return nil
	}
	return mac(prf, secret, signed)
}

// Verify reports whether auth is the AUTH data over the signed octets. Its time does not depend on the secret or on
// where auth differs.
func (s Secret) Verify(prf suite.PRF, signed, auth []byte) bool {
	secret, valid := s.bytes()
	return verify(prf, secret, signed, auth)&valid == 1
}

// mac is prf(prf(secret, "Key Pad for IKEv2"), signed).
func mac(prf suite.PRF, secret, signed []byte) []byte {
	padded := prf.Sum(secret, []byte(keyPad))
	defer clear(padded)
	return prf.Sum(padded, signed)
}

// verify is 1 if auth is right and 0 if not.
func verify(prf suite.PRF, secret, signed, auth []byte) int {
	want := mac(prf, secret, signed)
	defer clear(want) // a valid AUTH; it must not outlive a refusal
	return subtle.ConstantTimeCompare(want, auth)
}

// Reason says how the secret was found, "owner @foo matches the peer exactly".
func (s Secret) Reason() string {
	switch {
	case s.entry == nil:
		return "no secret was found"
	case len(s.entry.owners) == 0:
		return "no owners: matches any peer"
	case s.remote.how != ident.NoMatch:
		return s.remote.reason("the peer")
	}
	return s.local.reason("our own identity")
}

func (m match) reason(whom string) string {
	switch {
	case m.how == ident.Exact:
		return fmt.Sprintf("owner %v matches %s exactly", m.owner, whom)
	case m.owner.IsAny():
		return fmt.Sprintf("owner %v matches anyone", m.owner)
	}
	return fmt.Sprintf("owner %v covers %s", m.owner, whom)
}

// Find returns the secret of this store that stands for one of another store: it has the same bytes and is eligible
// between the two identities. ok is false if there is none, and for a decoy or a wiped secret.
func (s *Store) Find(was Secret, local, remote ident.ID) (found Secret, ok bool) {
	old, valid := was.bytes()
	if valid == 0 {
		return Secret{}, false
	}
	for _, secret := range s.Lookup(local, remote) {
		if b, valid := secret.bytes(); valid == 1 && subtle.ConstantTimeCompare(b, old) == 1 {
			return secret, true
		}
	}
	return Secret{}, false
}
