package config

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxDepth bounds how deep sections may be nested; the language needs five.
const maxDepth = 32

// statement is one thing that a file says: a setting, a section or an include.
type statement struct {
	kind  kind
	pos   Pos         // of the name
	name  string      // of the setting or section
	value string      // of the setting; the pattern of the include
	at    Pos         // of the value
	refs  []reference // sections the section inherits from
	body  []statement // of the section
}

type kind uint8

const (
	isSetting kind = iota
	isSection
	isInclude
)

// reference names another section by its absolute path, "a.b.c".
type reference struct {
	path string
	pos  Pos
}

// parse reads the text of one file:
//
//	statements = { section | setting | include }
//	section    = name [ ":" name { "," name } ] "{" statements "}"
//	setting    = name "=" value newline
//	include    = "include" pattern
//
// A comment runs from # to the end of the line. An unquoted value ends at #, } or the end of the line,
// and white space inside it counts as one space; a quoted one may span lines and knows \n \r \t, a
// backslash before the end of a line joins lines, and a backslash before anything else is dropped.
//
// Complaints never quote the text: a slip of the pen may have put a secret anywhere.
func parse(file, text string, r *report) []statement {
	p := &parser{file: file, text: strings.TrimPrefix(text, "\ufeff"), line: 1, col: 1, report: r}
	body := p.statements(0)
	for !p.eof() { // a } without its {
		r.fail(p.pos(), "", "this } closes no section")
		p.next()
		body = append(body, p.statements(0)...)
	}
	return body
}

type parser struct {
	file      string
	text      string
	off       int
	line, col int
	gaveUp    bool
	report    *report
}

func (p *parser) eof() bool { return p.off >= len(p.text) }
func (p *parser) pos() Pos  { return Pos{p.file, p.line, p.col} }

// peek is the next byte, 0 at the end of the text. All characters with a meaning are ASCII.
func (p *parser) peek() byte {
	if p.eof() {
		return 0
	}
	return p.text[p.off]
}

// next consumes one character.
func (p *parser) next() {
	c, n := utf8.DecodeRuneInString(p.text[p.off:])
	p.off += n
	p.col++
	if c == '\n' {
		p.line++
		p.col = 1
	}
}

// blanks skips white space and comments; with lines also the ends of lines.
func (p *parser) blanks(lines bool) {
	for !p.eof() {
		switch c := p.peek(); {
		case c == '#':
			p.skipLine()
		case c == ' ' || c == '\t' || c == '\r' || lines && c == '\n':
			p.next()
		default:
			return
		}
	}
}

// skipLine goes to the end of the line, in front of the newline.
func (p *parser) skipLine() {
	for !p.eof() && p.peek() != '\n' {
		p.next()
	}
}

// statements reads up to the end of the text or a } and leaves that unread.
func (p *parser) statements(depth int) []statement {
	var body []statement
	for {
		p.blanks(true)
		if p.eof() || p.peek() == '}' {
			return body
		}
		if s, ok := p.statement(depth); ok {
			body = append(body, s)
		}
	}
}

func (p *parser) statement(depth int) (statement, bool) {
	s := statement{pos: p.pos(), name: p.name()}
	if s.name == "include" && (p.peek() == ' ' || p.peek() == '\t') {
		p.blanks(false)
		if p.peek() != '=' {
			return p.include(s)
		}
	}
	p.blanks(false)
	if s.name != "" && p.peek() == '=' {
		p.next()
		s.kind = isSetting
		s.value, s.at = p.value()
		return s, true
	}
	off, line, col := p.off, p.line, p.col // the opening brace may stand on a later line
	p.blanks(true)
	if s.name != "" && p.peek() == ':' {
		p.next()
		s.refs = p.references()
	}
	if p.peek() == '{' {
		s.kind = isSection
		if s.name == "" {
			p.report.fail(s.pos, "", "a section needs a name before the {")
		}
		return s, p.section(&s, depth) && s.name != ""
	}
	p.off, p.line, p.col = off, line, col
	switch {
	case s.name == "":
		p.report.fail(s.pos, "put a value in double quotes after name =", "a name was expected here")
	case s.name == "include":
		p.report.fail(s.pos, "include conf.d/*.conf", "include needs a file name")
	default:
		p.report.fail(s.pos, "name = value, or name { ... }", "after this name a = or a { was expected")
	}
	p.recover()
	return s, false
}

// recover skips the rest of a line that was not understood, but not a brace that closes the section.
func (p *parser) recover() {
	for !p.eof() && p.peek() != '\n' && p.peek() != '}' && p.peek() != '#' {
		p.next()
	}
}

// section reads the body of s, from { to }.
func (p *parser) section(s *statement, depth int) bool {
	if depth >= maxDepth {
		p.report.fail(s.pos, "", "sections are nested more than %d deep", maxDepth)
		p.giveUp()
		return false
	}
	p.next()
	s.body = p.statements(depth + 1)
	if !p.eof() {
		p.next()
	} else if !p.gaveUp {
		p.report.fail(s.pos, "add a }", "this section is not closed")
	}
	return true
}

// giveUp ends parsing after an error behind which nothing sensible can be read.
func (p *parser) giveUp() {
	p.off = len(p.text)
	p.gaveUp = true
}

// name reads the name of a setting or section. "::" stands for ":" in it.
func (p *parser) name() string {
	var b strings.Builder
	for !p.eof() {
		c, n := utf8.DecodeRuneInString(p.text[p.off:])
		switch {
		case strings.HasPrefix(p.text[p.off:], "::"):
			p.next()
		case strings.ContainsRune(",:{}=\"# \t\r\n", c):
			return b.String()
		case c == utf8.RuneError && n == 1, !unicode.IsPrint(c):
			p.report.fail(p.pos(), "", "a character that cannot be printed in a name")
			c = '?' // the name was refused; let it not disturb a terminal
		}
		b.WriteRune(c)
		p.next()
	}
	return b.String()
}

func (p *parser) references() []reference {
	var refs []reference
	for {
		p.blanks(true)
		ref := reference{pos: p.pos(), path: p.name()}
		if ref.path == "" {
			p.report.fail(ref.pos, "name : other.section { ... }", "the name of a section to inherit from was expected here")
		} else {
			refs = append(refs, ref)
		}
		p.blanks(true)
		if p.peek() != ',' {
			return refs
		}
		p.next()
	}
}

// value reads the value of a setting up to the end of the line. Its parts, words and quoted strings, are
// joined by one space.
func (p *parser) value() (string, Pos) {
	var parts []string
	p.spaces()
	at := p.pos()
	for !p.eof() {
		switch p.peek() {
		case '\n', '}':
			return strings.Join(parts, " "), at
		case '#':
			if len(parts) > 0 && p.off > 0 && !strings.ContainsRune(" \t\r", rune(p.text[p.off-1])) {
				p.report.warn(p.pos(), "put the value in double quotes if the # is part of it", "a comment starts in the middle of a word")
			}
			p.skipLine()
		case '"':
			parts = append(parts, p.quoted())
		default:
			start := p.off
			for !p.eof() && !strings.ContainsRune("#}\" \t\r\n", rune(p.peek())) {
				p.next()
			}
			parts = append(parts, p.text[start:p.off])
		}
		p.spaces()
	}
	return strings.Join(parts, " "), at
}

func (p *parser) spaces() {
	for !p.eof() && (p.peek() == ' ' || p.peek() == '\t' || p.peek() == '\r') {
		p.next()
	}
}

// quoted reads a string in double quotes.
func (p *parser) quoted() string {
	var b strings.Builder
	open := p.pos()
	p.next()
	for !p.eof() {
		start := p.off
		c := p.peek()
		p.next()
		switch c {
		case '"':
			return b.String()
		case '\r': // files may have been written on another system
		case '\\':
			p.escape(&b)
		default:
			b.WriteString(p.text[start:p.off])
		}
	}
	p.report.fail(open, "add a closing double quote", "this string has no end")
	p.giveUp()
	return b.String()
}

// escape reads what follows a backslash in a string.
func (p *parser) escape(b *strings.Builder) {
	if strings.HasPrefix(p.text[p.off:], "\r\n") {
		p.next()
	}
	if p.eof() {
		return
	}
	start := p.off
	c := p.peek()
	p.next()
	switch c {
	case 'n':
		b.WriteByte('\n')
	case 'r':
		b.WriteByte('\r')
	case 't':
		b.WriteByte('\t')
	case '\n': // joins lines
	default:
		b.WriteString(p.text[start:p.off])
	}
}

// include reads the pattern of an include statement, quoted or not. In an unquoted one a backslash
// keeps the meaning of the character after it away.
func (p *parser) include(s statement) (statement, bool) {
	s.kind, s.at = isInclude, p.pos()
	if p.peek() == '"' {
		s.value = p.quoted()
	} else {
		var b strings.Builder
		for !p.eof() && !strings.ContainsRune("#} \t\r\n", rune(p.peek())) {
			if p.peek() == '\\' && p.off+1 < len(p.text) && strings.ContainsRune("\"#} ", rune(p.text[p.off+1])) {
				p.next()
			}
			start := p.off
			p.next()
			b.WriteString(p.text[start:p.off])
		}
		s.value = b.String()
	}
	if s.value == "" {
		p.report.fail(s.pos, "include conf.d/*.conf", "include needs a file name")
		return s, false
	}
	return s, true
}
