package psk

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
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

// Explain says why there is no secret for a pair of identities: the owners that nearly match, or what owners there
// are. Each of its few sentences is fit for the log of this side; none contains a secret.
func (s *Store) Explain(local, remote ident.ID) []string {
	if len(s.entries) == 0 {
		return []string{"no pre-shared secret is configured"}
	}
	var hints []string
	var owners []ident.Pattern
	for _, id := range []ident.ID{remote, local} {
		for _, e := range s.entries {
			for _, owner := range e.owners {
				if hint, ok := ident.NearMiss(owner, id); ok && len(hints) < maxHints {
					hints = append(hints, fmt.Sprintf("an owner of secret %q nearly matches: %s", e.name, hint))
				}
			}
		}
	}
	if len(hints) > 0 {
		return hints
	}
	for _, e := range s.entries {
		owners = append(owners, e.owners...)
	}
	return []string{fmt.Sprintf("the configured secrets belong to %s; none of them is %v or %v", list(owners), remote, local)}
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

// Mismatch says in one sentence what the peer did who made an auth that no eligible secret verifies: used the secret
// of another peer, or one of ours in another spelling. It is "" if neither is so. The sentence is for the log of this
// side only: told to the peer it would help guessing. It costs up to 700 verifications, so call it for the few
// failures that are reported, not for each of a flood.
func (s *Store) Mismatch(prf suite.PRF, signed, auth []byte, local, remote ident.ID) string {
	eligible := s.Lookup(local, remote)
	isEligible := make(map[*entry]bool)
	for _, secret := range eligible {
		isEligible[secret.entry] = true
	}
	for _, e := range s.entries[:min(len(s.entries), maxOthers)] {
		if !isEligible[e] && verify(prf, e.secret(), signed, auth) == 1 {
			return fmt.Sprintf("the peer used secret %q, which belongs to %s and neither to %v nor to %v", e.name, list(e.owners), remote, local)
		}
	}
	for _, secret := range eligible[:min(len(eligible), maxSpelt)] {
		if how := respelt(prf, secret.entry.secret(), signed, auth); how != "" {
			return fmt.Sprintf("the peer's copy of secret %q differs from ours only in spelling: %s", secret.Name(), how)
		}
	}
	return ""
}

// respelt says which other spelling of a secret verifies auth; none if the secret itself does. It zeroes what it tries.
func respelt(prf suite.PRF, secret, signed, auth []byte) (found string) {
	if verify(prf, secret, signed, auth) == 1 {
		return ""
	}
	for _, v := range spellings(secret) {
		if found == "" && len(v.secret) > 0 && verify(prf, v.secret, signed, auth) == 1 {
			found = v.how
		}
		clear(v.secret)
	}
	return found
}

// spelling is a secret as the peer may have read it.
type spelling struct {
	how    string
	secret []byte
}

// spellings are the accidents that happen to secrets between two configuration files. Secrets are copied into fresh
// slices, never strings, so that all of it can be zeroed.
func spellings(secret []byte) []spelling {
	var all []spelling
	add := func(how string, parts ...[]byte) {
		all = append(all, spelling{how, bytes.Join(parts, nil)})
	}
	around := func(how, before, after string) { add(how, []byte(before), secret, []byte(after)) }
	around("theirs ends in a newline", "", "\n")
	around("theirs ends in a carriage return and a newline", "", "\r\n")
	around("theirs ends in a carriage return", "", "\r")
	around("theirs ends in a space", "", " ")
	around("theirs begins with a space", " ", "")
	around("theirs ends in a NUL byte, which RFC 7296 2.15 forbids to add", "", "\x00")
	around("theirs includes double quotes around it", `"`, `"`)
	around("theirs includes single quotes around it", "'", "'")
	add("ours begins or ends with white space", bytes.TrimSpace(secret))
	add("ours contains white space", bytes.Fields(secret)...)
	if n := len(secret); n > 2 && secret[0] == secret[n-1] && (secret[0] == '"' || secret[0] == '\'') {
		add("ours includes quotes around it", secret[1:n-1])
	}

	digits := make([]byte, hex.EncodedLen(len(secret)))
	hex.Encode(digits, secret)
	upper := bytes.ToUpper(digits)
	base64ed := make([]byte, base64.StdEncoding.EncodedLen(len(secret)))
	base64.StdEncoding.Encode(base64ed, secret)
	const asHex, asBase64 = "they took the hex text itself for the secret", "they took the base64 text itself for the secret"
	add(asHex, digits)
	add(asHex, upper)
	add(asHex, []byte("0x"), digits)
	add(asHex, []byte("0x"), upper)
	add(asBase64, base64ed)
	add(asBase64, bytes.TrimRight(base64ed, "="))
	add(asBase64, []byte("0s"), base64ed)
	clear(digits)
	clear(upper)
	clear(base64ed)

	if decoded, ok := decodeHex(bytes.TrimPrefix(secret, []byte("0x"))); ok {
		all = append(all, spelling{"they decoded it as hex, ours is the text itself (write 0x in front)", decoded})
	}
	if decoded, ok := decodeBase64(bytes.TrimPrefix(secret, []byte("0s"))); ok {
		all = append(all, spelling{"they decoded it as base64, ours is the text itself (write 0s in front)", decoded})
	}
	return all
}
