//go:build linux

package e2e

import (
	"fmt"
	"slices"
	"strings"

	"github.com/culvert-vpn/culvert/explain"
)

// setting is a node of a configuration file in the language of swanctl.conf: a section, or a key with a value.
type setting struct {
	name      string
	value     string // of a key, without its quotes
	quoted    bool
	isSection bool
	body      []*setting
}

// Apply puts the lines of a fix into a configuration file as a person would who pastes them where they belong: settings take the
// place of those of their names, and what was not there is added. rename has the names that sections of the fix have in this file,
// if they have others. In place of a secret a line says how it follows from what stands there now, and that is done.
func Apply(conf string, fix explain.Fix, rename map[string]string) (string, error) {
	return ApplyFrom(conf, "", fix, rename)
}

// ApplyFrom is Apply for a fix that says to write what the other side has, whose file is other.
func ApplyFrom(conf, other string, fix explain.Fix, rename map[string]string) (string, error) {
	if len(fix.Lines) == 0 {
		return "", fmt.Errorf("the fix %q has no lines", fix)
	}
	file, err := parseConf(conf)
	if err != nil {
		return "", err
	}
	lines, err := parseConf(strings.Join(fix.Lines, "\n"))
	if err != nil {
		return "", fmt.Errorf("the lines of the fix %q: %w", fix, err)
	}
	there, err := parseConf(other)
	if err != nil {
		return "", err
	}
	if file.body, err = merge(file.body, lines.body, rename, secretsOf(there)); err != nil {
		return "", fmt.Errorf("the fix %q: %w", fix, err)
	}
	var b strings.Builder
	for _, s := range file.body {
		s.write(&b, "")
	}
	return b.String(), nil
}

// secretsOf are the secrets of a file by the names of their sections, and by their owners.
func secretsOf(file *setting) map[string]string {
	all := make(map[string]string)
	for _, top := range file.body {
		for _, section := range top.body {
			if top.name != "secrets" {
				continue
			}
			secret := section.value
			for _, s := range section.body {
				if s.name == "secret" {
					secret = s.value
				}
			}
			all[section.name] = secret
			for _, s := range section.body {
				if strings.HasPrefix(s.name, "id") {
					all[s.value] = secret
				}
			}
		}
	}
	return all
}

// merge puts lines into the body of a section. theirs are the secrets of the other side.
func merge(into, lines []*setting, rename, theirs map[string]string) ([]*setting, error) {
	for _, l := range lines {
		name := l.name
		if other, ok := rename[name]; ok && l.isSection {
			name = other
		}
		i := slices.IndexFunc(into, func(s *setting) bool { return s.name == name && s.isSection == l.isSection })
		if i < 0 {
			into = append(into, &setting{name: name, isSection: l.isSection})
			i = len(into) - 1
		}
		var err error
		if l.isSection {
			into[i].body, err = merge(into[i].body, l.body, rename, theirs)
			if err == nil {
				err = into[i].fetch(l, theirs)
			}
		} else {
			into[i].value, err = respell(l.value, into[i].value)
			into[i].quoted = l.quoted
		}
		if err != nil {
			return nil, err
		}
	}
	return into, nil
}

// fetch puts the secret of the other side into a section whose lines l say so.
func (s *setting) fetch(l *setting, theirs map[string]string) error {
	for _, c := range s.body {
		if c.name != "secret" || c.value != otherSide {
			continue
		}
		secret, ok := theirs[s.name]
		for _, o := range l.body {
			if of, found := theirs[o.value]; found && o.name == "id" {
				secret, ok = of, true
			}
		}
		if !ok {
			return fmt.Errorf("the other side has no secret %s", s.name)
		}
		c.value = secret
	}
	return nil
}

// otherSide stands for the secret of the other side.
const otherSide = "<what the other side has>"

// respell makes of a value in a fix what is to be written: what is in angle brackets follows from what stood there.
func respell(value, present string) (string, error) {
	before, rest, ok := strings.Cut(value, "<")
	how, after, closed := strings.Cut(rest, ">")
	if !ok || !closed {
		return value, nil
	}
	if value == otherSide {
		return value, nil // fetch does it, which knows the whole section
	}
	verb, ok := respellings[how]
	if !ok {
		return "", fmt.Errorf("nobody can tell what <%s> means", how)
	}
	return before + verb(present) + after, nil
}

// respellings are what people do who read this.
var respellings = map[string]func(string) string{
	"what stands there now": func(s string) string { return s },
	"what stands there now, without the white space around it": strings.TrimSpace,
	"what stands there now, without white space":               func(s string) string { return strings.Join(strings.Fields(s), "") },
	"what stands there now, without the quotes around it":      func(s string) string { return s[1 : len(s)-1] },
	"what stands there now, without its first two characters":  func(s string) string { return s[2:] },
}

func (s *setting) write(b *strings.Builder, indent string) {
	if !s.isSection {
		value := s.value
		if s.quoted {
			value = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`, "\t", `\t`).Replace(value) + `"`
		}
		fmt.Fprintf(b, "%s%s = %s\n", indent, s.name, value)
		return
	}
	fmt.Fprintf(b, "%s%s {\n", indent, s.name)
	for _, c := range s.body {
		c.write(b, indent+"\t")
	}
	fmt.Fprintf(b, "%s}\n", indent)
}

// parseConf reads what the scenarios and the fixes write: one setting or section a line, without comments.
func parseConf(text string) (*setting, error) {
	root := &setting{isSection: true}
	open := []*setting{root}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		top := open[len(open)-1]
		name, value, assigns := strings.Cut(line, "=")
		switch {
		case line == "":
		case line == "}" && len(open) > 1:
			open = open[:len(open)-1]
		case strings.HasSuffix(line, "{") && (!assigns || !strings.Contains(line, `"`)):
			s := &setting{name: strings.TrimSpace(strings.TrimSuffix(line, "{")), isSection: true}
			if i := slices.IndexFunc(top.body, func(o *setting) bool { return o.isSection && o.name == s.name }); i >= 0 {
				s = top.body[i]
			} else {
				top.body = append(top.body, s)
			}
			open = append(open, s)
		case assigns:
			s := &setting{name: strings.TrimSpace(name), value: strings.TrimSpace(value)}
			if v, ok := unquote(s.value); ok {
				s.value, s.quoted = v, true
			}
			top.body = append(top.body, s)
		default:
			return nil, fmt.Errorf("a line %q", line)
		}
	}
	if len(open) != 1 {
		return nil, fmt.Errorf("section %q is not closed", open[len(open)-1].name)
	}
	return root, nil
}

// unquote reads a value in double quotes, which know \n \r \t; a backslash before anything else is dropped.
func unquote(text string) (string, bool) {
	if len(text) < 2 || text[0] != '"' || text[len(text)-1] != '"' {
		return "", false
	}
	var b strings.Builder
	text = text[1 : len(text)-1]
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c == '\\' && i+1 < len(text) {
			i++
			switch c = text[i]; c {
			case 'n':
				c = '\n'
			case 'r':
				c = '\r'
			case 't':
				c = '\t'
			}
		}
		b.WriteByte(c)
	}
	return b.String(), true
}
