package config

import (
	"strings"
)

// setting is a key and its value as written.
type setting struct {
	name  string
	value string
	pos   Pos // of the name
	at    Pos // of the value
	// binary: the value holds what cannot be printed, and comes from no file.
	binary bool
}

// section is a section after files were joined and equal names merged. Order is that of the files.
type section struct {
	name     string
	pos      Pos // where it was opened first
	refs     []reference
	settings []setting
	sections []*section

	settingAt map[string]int // index in settings
	sectionAt map[string]int // index in sections
}

func newSection(name string, pos Pos) *section {
	return &section{name: name, pos: pos, settingAt: map[string]int{}, sectionAt: map[string]int{}}
}

func (s *section) setting(name string) (setting, bool) {
	i, ok := s.settingAt[name]
	if !ok {
		return setting{}, false
	}
	return s.settings[i], true
}

func (s *section) section(name string) *section {
	i, ok := s.sectionAt[name]
	if !ok {
		return nil
	}
	return s.sections[i]
}

// set adds or replaces a setting.
func (s *section) set(t setting) {
	if i, ok := s.settingAt[t.name]; ok {
		s.settings[i] = t
		return
	}
	s.settingAt[t.name] = len(s.settings)
	s.settings = append(s.settings, t)
}

// put adds or replaces a section.
func (s *section) put(sub *section) {
	if i, ok := s.sectionAt[sub.name]; ok {
		s.sections[i] = sub
		return
	}
	s.sectionAt[sub.name] = len(s.sections)
	s.sections = append(s.sections, sub)
}

// clone is a copy that shares the sections below.
func (s *section) clone() *section {
	c := newSection(s.name, s.pos)
	for _, t := range s.settings {
		c.set(t)
	}
	for _, sub := range s.sections {
		c.put(sub)
	}
	return c
}

// Limits of includes: a loop of them must end, and end with a message.
const (
	maxIncludeDepth = 16
	maxFiles        = 4096
)

// loader builds the tree of sections.
type loader struct {
	*report
	include func(from, pattern string) ([]Source, error)
	exposed map[string]Source // the files that others than their owner may access
}

// read parses one file and adds what it says to s.
func (l *loader) read(src Source, s *section, depth int) {
	l.files = append(l.files, src.Name)
	if others := src.Mode.Perm() & 0o077; others != 0 && !(src.Daemons && others == 0o040) {
		l.exposed[src.Name] = Source{Mode: src.Mode, Daemons: src.Daemons}
	}
	l.add(s, parse(src.Name, string(src.Text), l.report), depth)
}

// add merges statements into s: sections extend what is there, settings replace it.
func (l *loader) add(s *section, body []statement, depth int) {
	for _, st := range body {
		switch st.kind {
		case isSetting:
			if old, ok := s.setting(st.name); ok && old.pos.File == st.pos.File {
				hint := ""
				if st.name == "id" {
					hint = "where several are meant, give them different suffixes: id-1, id-2"
				}
				l.warn(old.pos, hint, "this is set again in line %d, and only that counts", st.pos.Line)
			}
			s.set(setting{name: st.name, value: st.value, pos: st.pos, at: st.at})
		case isSection:
			sub := s.section(st.name)
			if sub == nil {
				sub = newSection(st.name, st.pos)
				s.put(sub)
			}
			sub.refs = append(sub.refs, st.refs...)
			l.add(sub, st.body, depth)
		case isInclude:
			l.addIncluded(s, st, depth)
		}
	}
}

func (l *loader) addIncluded(s *section, st statement, depth int) {
	switch {
	case l.include == nil:
		l.fail(st.pos, "", "include is not possible here")
		return
	case depth >= maxIncludeDepth:
		l.fail(st.pos, "does a file include itself?", "includes are nested more than %d deep", maxIncludeDepth)
		return
	}
	sources, err := l.include(st.pos.File, st.value)
	if err != nil {
		l.fail(st.at, "", "%v", err)
	}
	for _, src := range sources {
		if len(l.files) >= maxFiles {
			l.fail(st.pos, "does a file include itself?", "more than %d files are included", maxFiles)
			return
		}
		l.read(src, s, depth+1)
	}
}

// resolver gives sections what they inherit. References are resolved after everything is read, so a
// section may refer to one that follows it or stands in another file.
type resolver struct {
	*report
	root   *section
	done   map[*section]*section
	busy   map[*section]bool
	used   map[*section]bool // the sections that references name or pass through
	merged map[[2]*section]*section
}

func newResolver(root *section, r *report) *resolver {
	return &resolver{report: r, root: root, done: map[*section]*section{}, busy: map[*section]bool{},
		used: map[*section]bool{}, merged: map[[2]*section]*section{}}
}

// effective is s with its own settings first and the inherited ones behind them. The result is shared
// and must not be changed.
func (r *resolver) effective(s *section) *section {
	if e := r.done[s]; e != nil {
		return e
	}
	r.busy[s] = true
	e := s.clone()
	for _, sub := range s.sections {
		e.put(r.effective(sub))
	}
	for _, ref := range s.refs {
		from := r.find(ref)
		switch {
		case from == nil:
		case r.busy[from]:
			r.fail(ref.pos, "", "a section inherits from itself")
		default:
			e = r.merge(e, r.effective(from))
		}
	}
	delete(r.busy, s)
	r.done[s] = e
	return e
}

// find looks up the section that a reference names, nil if there is none.
func (r *resolver) find(ref reference) *section {
	s := r.root
	for name := range strings.SplitSeq(ref.path, ".") {
		sub := s.section(name)
		if sub == nil && len(s.refs) > 0 && !r.busy[s] {
			sub = r.effective(s).section(name) // itself inherited
		}
		if sub == nil {
			var known []string
			for _, other := range s.sections {
				known = append(known, other.name)
			}
			r.fail(ref.pos, didYouMean(name, known), "there is no section %q to inherit from", ref.path)
			return nil
		}
		s = sub
		r.used[s] = true
	}
	return s
}

// merge is own with what it lacks taken from base. Results are kept, so that sections which inherit the
// same ones on many ways cost no more than their number.
func (r *resolver) merge(own, base *section) *section {
	if own == base {
		return own
	}
	pair := [2]*section{own, base}
	if e := r.merged[pair]; e != nil {
		return e
	}
	e := own.clone()
	for _, t := range base.settings {
		if _, ok := own.setting(t.name); !ok {
			e.set(t)
		}
	}
	for _, sub := range base.sections {
		if mine := own.section(sub.name); mine != nil {
			sub = r.merge(mine, sub)
		}
		e.put(sub)
	}
	r.merged[pair] = e
	return e
}
