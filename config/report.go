package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Pos is a place in a file. Line and Col count from 1; Col counts characters. Of what stands in no file Line is 0, and File is the
// path of the section or key: "connections.office.proposals".
type Pos struct {
	File string
	Line int
	Col  int
}

// String is the place as compilers write it, file:line:column.
func (p Pos) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Col)
}

// Fault is what an Error finds fault with, for those who have their own words for it.
type Fault uint8

// The faults. Of all but Other the Error names the key.
const (
	Other      Fault = iota
	UnknownKey       // a key that nobody knows there
	BadValue         // a value that cannot be read, or cannot be obeyed
	BadSection       // a section that nobody knows there, or that cannot be obeyed
)

// Error is one reason why a configuration is not accepted.
type Error struct {
	Pos
	Msg  string // what is wrong, one line
	Hint string // what to write instead, one line; may be empty

	Fault Fault
	Key   string // the key or section that Fault is about
}

// Error is the place, the message and the hint on one line.
func (e Error) Error() string { return line(e.Pos, "", e.Msg, e.Hint) }

// Errors are all the errors of a configuration, in the order in which they stand in the files.
type Errors []Error

// Error lists all of them, one a line.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i := range e {
		lines[i] = e[i].Error()
	}
	return strings.Join(lines, "\n")
}

// Warning is something the user should know about a configuration that is accepted.
type Warning struct {
	Pos
	Msg  string
	Hint string
}

// String is the place, the message and the hint on one line.
func (w Warning) String() string { return line(w.Pos, "warning: ", w.Msg, w.Hint) }

func line(p Pos, kind, msg, hint string) string {
	s := p.String() + ": " + kind + msg
	if hint != "" {
		s += " (" + hint + ")"
	}
	return s
}

// report collects what is to be said about a configuration. A statement that is inherited many times is
// judged many times; the report keeps one copy of each complaint.
type report struct {
	files    []string // in the order of reading
	errors   Errors
	warnings []Warning
	seen     map[Error]bool
}

func (r *report) fail(p Pos, hint, format string, args ...any) {
	r.failAt(p, Other, "", hint, format, args...)
}

// failAt is fail about a key, or a section.
func (r *report) failAt(p Pos, fault Fault, key, hint, format string, args ...any) {
	e := Error{Pos: p, Msg: fmt.Sprintf(format, args...), Hint: hint, Fault: fault, Key: key}
	if r.first(e) {
		r.errors = append(r.errors, e)
	}
}

func (r *report) warn(p Pos, hint, format string, args ...any) {
	e := Error{Pos: p, Msg: fmt.Sprintf(format, args...), Hint: hint}
	if r.first(e) {
		r.warnings = append(r.warnings, Warning{Pos: e.Pos, Msg: e.Msg, Hint: e.Hint})
	}
}

func (r *report) first(e Error) bool {
	if r.seen == nil {
		r.seen = make(map[Error]bool)
	}
	if r.seen[e] {
		return false
	}
	r.seen[e] = true
	return true
}

// result returns the complaints sorted by place; err is nil or of type Errors.
func (r *report) result() (warnings []Warning, err error) {
	rank := make(map[string]int, len(r.files))
	for i, f := range r.files {
		rank[f] = i
	}
	order := func(a, b Pos) int {
		return cmp.Or(cmp.Compare(rank[a.File], rank[b.File]), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col))
	}
	slices.SortStableFunc(r.errors, func(a, b Error) int { return order(a.Pos, b.Pos) })
	slices.SortStableFunc(r.warnings, func(a, b Warning) int { return order(a.Pos, b.Pos) })
	if len(r.errors) > 0 {
		return r.warnings, r.errors
	}
	return r.warnings, nil
}

// complaint is what the parser of a value says: an error, or a warning when harmless is set.
type complaint struct {
	msg, hint string
	harmless  bool
}

func (c *complaint) Error() string { return c.msg }

// wrong says that a value is not acceptable and what would be.
func wrong(hint, format string, args ...any) error {
	return &complaint{msg: fmt.Sprintf(format, args...), hint: hint}
}

// note accepts a value and tells the user something about it.
func note(hint, format string, args ...any) error {
	return &complaint{msg: fmt.Sprintf(format, args...), hint: hint, harmless: true}
}
