// Package secrecy finds secrets in what a program has written, in every way in which a program may come to write one: as they are,
// escaped, in hexadecimal, in base64, as a list of numbers. Tests tell it the secrets that they use, and show it all that comes out.
package secrecy

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Secrets are those that must not be found. The zero value has none. All methods may be called at the same time.
type Secrets struct {
	mu    sync.Mutex
	known map[string]bool
	// long are the spellings of at least window bytes by their first ones, so that a text is searched for all of them at once;
	// short are the others. The value says which secret it is without telling it.
	long  map[[window]byte][]spelling
	short []spelling
}

// window is the length of the part of a spelling by which it is looked up.
const window = 12

// spelling is a form of a secret.
type spelling struct {
	text []byte
	kind string
	name string
}

// least is the length in bytes below which a secret is not looked for: a few letters or digits are found everywhere.
const least = 5

// Know adds a secret of at least 5 bytes; name is what it is called when it is found.
func (s *Secrets) Know(name string, secret []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(secret) < least || s.known[string(secret)] {
		return
	}
	if s.known == nil {
		s.known, s.long = make(map[string]bool), make(map[[window]byte][]spelling)
	}
	s.known[string(secret)] = true
	for kind, text := range spellings(secret) {
		if kind != "plain" && text == string(secret) {
			continue // the same once more
		}
		sp := spelling{[]byte(text), kind, name}
		if len(text) < window {
			s.short = append(s.short, sp)
			continue
		}
		key := [window]byte(sp.text)
		s.long[key] = append(s.long[key], sp)
	}
}

// spellings are the forms of a secret by what they are called.
func spellings(secret []byte) map[string]string {
	forms := map[string]string{"plain": string(secret)}
	if escaped, err := json.Marshal(string(secret)); err == nil {
		forms["as JSON"] = strings.Trim(string(escaped), `"`)
	}
	quoted := strconv.Quote(string(secret))
	forms["quoted"] = quoted[1 : len(quoted)-1]
	digits := hex.EncodeToString(secret)
	forms["hexadecimal"], forms["HEXADECIMAL"] = digits, strings.ToUpper(digits)
	for separator, kind := range map[string]string{":": "hexadecimal with colons", " ": "hexadecimal with spaces"} {
		var pairs []string
		for pair := range slices.Chunk([]byte(digits), 2) {
			pairs = append(pairs, string(pair))
		}
		forms[kind] = strings.Join(pairs, separator)
	}
	forms["base64"] = base64.RawStdEncoding.EncodeToString(secret)
	forms["base64 for URLs"] = base64.RawURLEncoding.EncodeToString(secret)
	forms["numbers"] = strings.Trim(fmt.Sprint(secret), "[]")
	return forms
}

// setting finds the secrets in a configuration: in quotes, or to the end of the line, a comment or a brace.
var setting = regexp.MustCompile(`(?m)\bsecret[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^"\n#}]+))`)

// KnowConfiguration adds the secrets of a configuration, as they are written and what they mean.
func (s *Secrets) KnowConfiguration(text string) {
	for i, m := range setting.FindAllStringSubmatch(text, -1) {
		written := m[1]
		if written == "" {
			written = strings.TrimSpace(m[2])
		}
		name := fmt.Sprintf("secret %d of a configuration", i+1)
		s.Know(name, []byte(written))
		meant := written
		if unquoted, err := strconv.Unquote(`"` + written + `"`); err == nil {
			meant = unquoted
		}
		s.Know(name, []byte(meant))
		if digits, ok := strings.CutPrefix(meant, "0x"); ok {
			raw, _ := hex.DecodeString(digits)
			s.Know(name, raw)
		}
		if digits, ok := strings.CutPrefix(meant, "0s"); ok {
			raw, _ := base64.StdEncoding.DecodeString(digits)
			s.Know(name, raw)
		}
	}
}

// key finds keys in the tables of Wireshark's: runs of digits as long as the shortest key, of 128 bits. An SPI of IKE has half of that.
var key = regexp.MustCompile(`\b(?:0x)?([0-9a-fA-F]{32,})\b`)

// KnowKeys adds the keys of a key log, in which a table has one line for each SA.
func (s *Secrets) KnowKeys(table []byte) {
	for _, m := range key.FindAllSubmatch(table, -1) {
		if raw, err := hex.DecodeString(string(m[1])); err == nil {
			s.Know("a key of the key log", raw)
		}
	}
}

// Find says which secrets are in a text, each with the line, without telling them.
func (s *Secrets) Find(text []byte) (found []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	report := func(sp spelling, at int) {
		found = append(found, fmt.Sprintf("line %d holds %s, %s", bytes.Count(text[:at], []byte("\n"))+1, sp.name, sp.kind))
	}
	for _, sp := range s.short {
		if at := bytes.Index(text, sp.text); at >= 0 {
			report(sp, at)
		}
	}
	if len(s.long) == 0 {
		return found
	}
	for i := 0; i+window <= len(text); i++ {
		for _, sp := range s.long[[window]byte(text[i:])] {
			if bytes.HasPrefix(text[i:], sp.text) {
				report(sp, i)
			}
		}
	}
	return found
}
