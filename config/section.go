package config

import (
	"cmp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/culvert-vpn/culvert/ident"
	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/psk"
)

// Section is a section that stands in no file: it came over vici, or a program made it. It means what the same lines in a file mean,
// and is judged as they are, but by itself: what else there is may come later, or go.
type Section struct {
	Name     string
	Settings []Setting
	Sections []Section
}

// Setting is a key and its value. The elements of a list have commas between them.
type Setting struct{ Name, Value string }

// tree is s as it is read from a file. in is the path of the section around it.
func (s Section) tree(in string, depth int, r *report) *section {
	path := strings.TrimPrefix(in+"."+s.Name, ".")
	t := newSection(s.Name, Pos{File: path})
	if depth >= maxDepth {
		r.fail(t.pos, "", "sections are nested more than %d deep", maxDepth)
		return t
	}
	for _, kv := range s.Settings {
		at := Pos{File: path + "." + kv.Name}
		switch {
		case !isPlain(kv.Name):
			r.fail(t.pos, "", "a character that cannot be printed in the name of a key")
		case isPlain(kv.Value):
			t.set(setting{name: kv.Name, value: strings.TrimSpace(kv.Value), pos: at, at: at})
		default:
			t.set(setting{name: kv.Name, value: "...", pos: at, at: at, binary: true})
		}
	}
	for _, sub := range s.Sections {
		switch {
		case !isPlain(sub.Name) || sub.Name == "":
			r.fail(t.pos, "", "the name of a section is empty, or holds a character that cannot be printed")
		case t.section(sub.Name) != nil:
			r.failAt(t.pos, BadSection, sub.Name, "", "there are two sections %s", sub.Name)
		default:
			t.put(sub.tree(path, depth+1, r))
		}
	}
	return t
}

// isPlain reports whether text can be shown on a line.
func isPlain(text string) bool {
	return utf8.ValidString(text) && strings.IndexFunc(text, func(c rune) bool { return !unicode.IsPrint(c) && c != '\t' }) < 0
}

// isName reports whether something may be called so.
func isName(name string) bool { return name != "" && len(name) <= maxName && isPlain(name) }

// maxName bounds names that come from elsewhere, in bytes.
const maxName = 255

func badName(where, what string) error {
	return Errors{{Pos: Pos{File: where}, Msg: what + " cannot have this name"}}
}

// Connection reads a section of connections. Where it does not say something itself, what c says of all connections holds. The
// connection is nil if all its children are shunts. Its Pools have names only: whoever puts it into effect knows the pools. Whether
// there is a secret for it is not looked at. The error is of type Errors.
func (c *Config) Connection(s Section) (conn *ike.Connection, shunts []Shunt, warnings []Warning, err error) {
	b := &builder{report: &report{}, makeFirst: !c.breakFirst, follow: !c.stayPut, alone: true}
	b.config = &Config{Retransmit: cmp.Or(c.Retransmit, ike.DefaultRetransmit)}
	if !isName(s.Name) {
		return nil, nil, nil, badName("connections", "a connection")
	}
	b.addConnection(s.tree("connections", 0, b.report))
	for i, made := range b.config.Connections {
		conn = made
		b.checkConnection(made, b.places[i])
	}
	if warnings, err = b.result(); err != nil {
		return nil, nil, warnings, err
	}
	return conn, b.config.Shunts, warnings, nil
}

// Pool reads a section of pools. The error is of type Errors.
func (c *Config) Pool(s Section) (*ike.Pool, []Warning, error) {
	b := &builder{report: &report{}, config: &Config{}}
	if !isName(s.Name) {
		return nil, nil, badName("pools", "a pool")
	}
	t := s.tree("pools", 0, b.report)
	for _, sub := range t.sections {
		b.failAt(t.pos, BadSection, sub.name, "", "a pool has no sections")
	}
	b.addPool(t)
	warnings, err := b.result()
	if err != nil {
		return nil, warnings, err
	}
	return b.config.Pools[0], warnings, nil
}

// Secret makes a store of one pre-shared key. It takes key, and zeroes it whatever comes of it. owners are identities in the words of
// the file; none: it matches any peer. Errors and warnings do not quote the key. The error is of type Errors.
func (c *Config) Secret(name string, key []byte, owners []string) (*psk.Store, SecretEntry, []Warning, error) {
	defer clear(key)
	if name != "" && !isName(name) {
		return nil, SecretEntry{}, nil, badName("secrets", "a secret")
	}
	at := Pos{File: "secrets." + name}
	b := &builder{report: &report{}, secrets: map[[32]byte]string{}}
	e := SecretEntry{Name: name, Pos: at}
	for _, text := range owners {
		owner, err := ident.ParsePattern(text)
		if err != nil || !isPlain(text) {
			b.failAt(at, BadValue, "id", "", "an owner of the secret is no identity")
			continue
		}
		e.Owners = append(e.Owners, owner)
	}
	b.judge(name, at, key)
	store := psk.NewStore()
	if err := store.Add(name, key, e.Owners); err != nil {
		b.failAt(at, BadValue, "secret", "", "%v", err)
	}
	warnings, err := b.result()
	if err != nil {
		store.Wipe()
		return nil, e, warnings, err
	}
	return store, e, warnings, nil
}
