package convert

import (
	"fmt"
	"strings"
)

// Source is a file by its name, which stands in notes.
type Source struct {
	Name string
	Text []byte
}

// param is a setting of an ipsec.conf.
type param struct {
	file       string
	line       int
	key, value string
	fate       fate
}

// conn is a section of an ipsec.conf.
type conn struct {
	kind, name string // kind is "conn", "config" or "ca"
	file       string
	line       int
	params     []*param
}

// confParser reads an ipsec.conf with what it includes.
type confParser struct {
	document *document
	include  func(from, pattern string) ([]Source, error)
	conns    []*conn
	current  *conn
	files    []string
	lines    int
}

// maxIncludes bounds how many files are read.
const maxIncludes = 100

func (p *confParser) read(s Source) error {
	if len(s.Text) > maxSource || len(p.files) >= maxIncludes {
		return fmt.Errorf("%s: the source has more than %d bytes or %d files", s.Name, maxSource, maxIncludes)
	}
	p.files = append(p.files, s.Name)
	for i, line := range strings.Split(string(s.Text), "\n") {
		if p.lines++; p.lines > maxWords {
			return fmt.Errorf("%s: the source has more than %d lines", s.Name, maxWords)
		}
		if err := p.statement(s.Name, i+1, strings.TrimRight(line, "\r")); err != nil {
			return err
		}
	}
	p.current = nil
	return nil
}

// statement reads one line. A section begins in the first column, what is in it does not.
func (p *confParser) statement(file string, number int, line string) error {
	text := strings.TrimSpace(withoutComment(line))
	if text == "" {
		return nil
	}
	if line[0] == ' ' || line[0] == '\t' {
		p.setting(file, number, text)
		return nil
	}
	fields := strings.Fields(text)
	p.current = nil
	switch {
	case fields[0] == "include" && len(fields) == 2:
		return p.includes(file, number, fields[1])
	case fields[0] == "version":
	case (fields[0] == "conn" || fields[0] == "ca" || fields[0] == "config") && len(fields) == 2:
		for _, c := range p.conns {
			if c.kind == fields[0] && c.name == fields[1] {
				p.current = c
				return nil
			}
		}
		p.current = &conn{kind: fields[0], name: fields[1], file: file, line: number}
		p.conns = append(p.conns, p.current)
	case strings.Contains(text, "="): // somebody forgot to indent it
		p.document.note(file, number, brief(keyOf(text)), "a setting has to begin with white space, and strongSwan refuses this file as well")
	default:
		p.document.note(file, number, brief(fields[0])+" ...", "it is no section that is known here")
	}
	return nil
}

func (p *confParser) setting(file string, number int, text string) {
	key, value, ok := strings.Cut(text, "=")
	switch {
	case !ok:
		p.document.note(file, number, "a line", "it is no setting: there is no = in it")
	case p.current == nil:
		p.document.note(file, number, brief(keyOf(text)), "it stands in no section that is known here")
	default:
		value = strings.TrimSpace(value)
		if n := len(value); n > 1 && value[0] == '"' && value[n-1] == '"' {
			value = value[1 : n-1]
		}
		p.current.params = append(p.current.params, &param{file: file, line: number, key: strings.ToLower(strings.TrimSpace(key)), value: value})
	}
}

func keyOf(text string) string {
	key, _, _ := strings.Cut(text, "=")
	return strings.TrimSpace(key)
}

// includes reads other files in the place of the statement.
func (p *confParser) includes(file string, number int, pattern string) error {
	if p.include == nil {
		p.document.note(file, number, "include "+brief(pattern), "files are not included here: convert that one as well")
		return nil
	}
	sources, err := p.include(file, pattern)
	if err != nil {
		p.document.note(file, number, "include "+brief(pattern), "%s", brief(err.Error()))
	}
	for _, s := range sources {
		if err := p.read(s); err != nil {
			return err
		}
	}
	return nil
}

// withoutComment cuts a comment off. It begins with a # at the beginning of a word, outside of quotes.
func withoutComment(line string) string {
	quote := byte(0)
	for i := range len(line) {
		switch c := line[i]; {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"':
			quote = c
		case c == '#' && (i == 0 || line[i-1] == ' ' || line[i-1] == '\t'):
			return line[:i]
		}
	}
	return line
}

// view is a conn with what it takes from others: its own settings first, then those of the conns that also names, then %default.
type view struct {
	*conn
	params  map[string]*param
	swapped bool // right is this side
}

// maxAlso bounds how deep conns refer to each other.
const maxAlso = 20

func (p *confParser) view(c *conn) *view {
	v := &view{conn: c, params: map[string]*param{}}
	p.collect(v, c, 0)
	if d := p.find("%default"); d != nil && d != c {
		p.collect(v, d, 0)
	}
	return v
}

func (p *confParser) find(name string) *conn {
	for _, c := range p.conns {
		if c.kind == "conn" && c.name == name {
			return c
		}
	}
	return nil
}

func (p *confParser) collect(v *view, c *conn, depth int) {
	own := map[string]*param{}
	for _, s := range c.params {
		if s.key == "also" {
			continue
		}
		if former := own[s.key]; former != nil && former.fate == unread {
			p.document.note(former.file, former.line, text(former), "line %d says it again, and counts", s.line)
			former.fate = told
		}
		own[s.key] = s
	}
	for key, s := range own {
		if v.params[key] == nil {
			v.params[key] = s
		}
	}
	for _, s := range c.params {
		if s.key != "also" {
			continue
		}
		other := p.find(s.value)
		if other == nil || depth == maxAlso || len(v.params) > maxDepth*4 {
			continue // stays unread, and is listed
		}
		s.fate = max(s.fate, carried)
		p.collect(v, other, depth+1)
	}
}

// side is the name of a key of this side, or of the other one.
func (v *view) side(local bool, key string) string {
	if local != v.swapped {
		return "left" + key
	}
	return "right" + key
}

// peek is the first of some keys that has a value.
func (v *view) peek(keys ...string) string {
	for _, key := range keys {
		if s := v.params[key]; s != nil && s.value != "" {
			return s.value
		}
	}
	return ""
}

// take is peek of what is carried over.
func (v *view) take(keys ...string) string {
	for _, key := range keys {
		if s := v.params[key]; s != nil && s.value != "" {
			s.fate = max(s.fate, carried)
			return s.value
		}
	}
	return ""
}

func (v *view) takeSide(local bool, keys ...string) string {
	for _, key := range keys {
		if value := v.take(v.side(local, key)); value != "" {
			return value
		}
	}
	return ""
}
