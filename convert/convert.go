// Package convert turns the configurations of other gateways into that of Culvert: VyOS's `vpn ipsec`, and the ipsec.conf and
// ipsec.secrets of strongSwan and libreswan. What the source says is in the result, or is listed with its line and the reason; a
// statement that the converter does not know is listed as well, because every statement is accounted for.
//
// It decides and does no I/O. Sources are bounded, and what is wrong in them is told without giving a secret away.
package convert

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/culvert-vpn/culvert/internal/conftext"
)

// Result is a configuration and what is missing in it.
type Result struct {
	// Config is in the language of swanctl.conf. It holds secrets. It is "" if nothing could be carried over.
	Config string
	// Connections is how many it has.
	Connections int
	// NotCarried lists what is not in Config, or not quite as it was, in the order of the source.
	NotCarried []Note
}

// Note is about a line of the source.
type Note struct {
	File string // "" if there is only one
	Line int    // counted from 1
	Text string // the statement, without a secret
	Why  string // and what to do about it
}

// String is the note in one line.
func (n Note) String() string {
	place := fmt.Sprintf("line %d", n.Line)
	if n.File != "" {
		place = fmt.Sprintf("%s:%d", n.File, n.Line)
	}
	return fmt.Sprintf("%s: %s: %s", place, n.Text, n.Why)
}

// Bounds of a source: far more than any gateway has, far less than what would hurt.
const (
	maxSource = 4 << 20 // bytes
	maxWords  = 200_000
	maxDepth  = 64
	maxNotes  = 5000
)

// section is a section of the configuration that is made.
type section struct {
	name     string
	comment  string
	settings [][2]string
	subs     []*section
	taken    map[string]int // how many subs of a name there are
}

// set adds a setting; an empty value is none.
func (s *section) set(key, value string) {
	if value != "" {
		s.settings = append(s.settings, [2]string{key, value})
	}
}

// sub adds a section. If there is one of that name already it gets a number.
func (s *section) sub(name string) *section {
	name = conftext.Name(name)
	if s.taken == nil {
		s.taken = map[string]int{}
	}
	unique := name
	for s.taken[unique] > 0 {
		s.taken[name]++
		unique = fmt.Sprintf("%s-%d", name, s.taken[name])
	}
	s.taken[unique]++
	child := &section{name: unique}
	s.subs = append(s.subs, child)
	return child
}

func (s *section) write(w *conftext.Writer) {
	w.Comment(s.comment)
	w.Open(s.name)
	for _, kv := range s.settings {
		w.Set(kv[0], kv[1])
	}
	for _, sub := range s.subs {
		sub.write(w)
	}
	w.Close()
}

// document is the configuration that is made.
type document struct {
	connections, pools, secrets section
	notes                       []Note
}

func newDocument() *document {
	return &document{connections: section{name: "connections"}, pools: section{name: "pools"}, secrets: section{name: "secrets"}}
}

func (d *document) note(file string, line int, text, why string, args ...any) {
	if text == "" {
		text = "a line"
	}
	if len(d.notes) < maxNotes {
		d.notes = append(d.notes, Note{file, line, text, fmt.Sprintf(why, args...)})
	}
}

// secret adds a pre-shared key with its owners; none means that it is for everybody. value is in the form of the configuration.
func (d *document) secret(name string, owners []string, value string) {
	s := d.secrets.sub("ike-" + name)
	for i, owner := range owners {
		s.set(fmt.Sprintf("id-%d", i+1), owner)
	}
	s.set("secret", value)
}

// result writes everything down. Without a connection there is no configuration.
func (d *document) result(files []string) *Result {
	slices.SortStableFunc(d.notes, func(a, b Note) int {
		return cmp.Or(cmp.Compare(slices.Index(files, a.File), slices.Index(files, b.File)), cmp.Compare(a.Line, b.Line))
	})
	r := &Result{Connections: len(d.connections.subs), NotCarried: slices.Compact(d.notes)}
	if r.Connections == 0 {
		return r
	}
	var w conftext.Writer
	for _, s := range []*section{&d.connections, &d.pools, &d.secrets} {
		if len(s.subs) > 0 {
			s.write(&w)
		}
	}
	r.Config = w.String()
	return r
}

// ends are the two sections about who is who.
func ends(c *section, local, remote string) {
	for _, side := range [][2]string{{"local", local}, {"remote", remote}} {
		s := c.sub(side[0])
		s.set("auth", "psk")
		s.set("id", side[1])
	}
}
