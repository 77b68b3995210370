package conformance

import (
	"fmt"
	"strings"
)

// check compares the rows of one RFC with its sections and with the tree. Each complaint names the row.
func check(rs []row, sections []section, t *tree) []string {
	complaints := compare(rs, sections)
	for _, r := range rs {
		for _, c := range r.check(t) {
			complaints = append(complaints, fmt.Sprintf("%s (line %d): %s", r.number, r.line, c))
		}
	}
	return complaints
}

// compare wants exactly one row for each key word, in the order of the RFC.
func compare(rs []row, sections []section) []string {
	type place struct{ number, keyword string }
	var want []place
	known := make(map[string]bool)
	for _, s := range sections {
		for i, k := range s.keywords {
			p := place{fmt.Sprintf("%s-%d", s.number, i+1), k}
			want = append(want, p)
			known[p.number] = true
		}
	}
	var complaints []string
	have := make(map[string]row)
	for _, r := range rs {
		switch _, double := have[r.number]; {
		case !known[r.number]:
			complaints = append(complaints, fmt.Sprintf("%s (line %d): the RFC has no such key word", r.number, r.line))
		case double:
			complaints = append(complaints, fmt.Sprintf("%s (line %d): a second row", r.number, r.line))
		default:
			have[r.number] = r
		}
	}
	last := row{}
	for _, w := range want {
		r, ok := have[w.number]
		switch {
		case !ok:
			complaints = append(complaints, fmt.Sprintf("%s: no row for this %s", w.number, w.keyword))
			continue
		case r.keyword != w.keyword:
			complaints = append(complaints, fmt.Sprintf("%s (line %d): the RFC says %s, not %s", w.number, r.line, w.keyword, r.keyword))
		case r.line < last.line:
			complaints = append(complaints, fmt.Sprintf("%s (line %d): stands before %s", w.number, r.line, last.number))
		}
		last = r
	}
	return complaints
}

// How many words a rule and a reason must have to say something.
const (
	leastRule   = 2
	leastReason = 3
)

// check wants a row that says what the rule is, where it is obeyed and what shows it, or why there is nothing to show, and whose
// references lead somewhere.
func (r row) check(t *tree) []string {
	var complaints []string
	complain := func(format string, args ...any) { complaints = append(complaints, fmt.Sprintf(format, args...)) }

	tests := 0
	for _, name := range quoted(r.shown) {
		if m := testName.FindStringSubmatch(name); m != nil {
			tests++
			if c := t.checkTest(m[1], m[2], m[3]); c != "" {
				complain("%s: %s", name, c)
			}
		}
	}
	for _, ref := range quoted(r.code) {
		if c := t.checkCode(ref); c != "" {
			complain("%s: %s", ref, c)
		}
	}
	reason := len(strings.Fields(r.shown)) >= leastReason
	if len(strings.Fields(r.rule)) < leastRule {
		complain("does not say what the rule is")
	}
	switch r.status {
	case yes:
		if len(quoted(r.code)) == 0 {
			complain("names no code")
		}
		if tests == 0 && !reason {
			complain("names neither a test nor a reason why there is none")
		}
	case no, absent:
		if !reason {
			complain("gives no reason")
		}
		optional := r.keyword == "MAY" || r.keyword == "OPTIONAL"
		if r.status == no && !optional && !strings.Contains(r.shown, "](../deviations.md)") {
			complain("what is not done as the RFC wants has its place in docs/deviations.md: link to it")
		}
	default:
		complain("status %q", r.status)
	}
	return complaints
}

// checkCode looks a reference to code up: a file, or a declaration in it, after a colon.
func (t *tree) checkCode(ref string) string {
	file, name, named := strings.Cut(ref, ":")
	switch {
	case !t.files[file]:
		return "no such file"
	case named && !t.names[file][name]:
		return "not declared there"
	}
	return ""
}

// checkTest looks a test up. Its package is named by its path or the end of it: without, the row would mean another test, or none, as soon
// as a second package has one of this name.
func (t *tree) checkTest(dir, name, sub string) string {
	var found []test
	for _, one := range t.tests[name] {
		if one.dir == dir || strings.HasSuffix(one.dir, "/"+dir) {
			found = append(found, one)
		}
	}
	switch {
	case dir == "":
		return "name its package"
	case len(found) == 0:
		return "no such test"
	case len(found) > 1:
		return "there are several: name more of the package's path"
	}
	for _, part := range strings.FieldsFunc(sub, func(r rune) bool { return r == '/' }) {
		if !t.mentions(found[0].dir, part) {
			return fmt.Sprintf("no test file of %s contains %q", found[0].dir, part)
		}
	}
	return ""
}

// mentions reports whether a test file of a package contains the name of a subtest, as it is or as the testing package writes it. A name
// may be put together of several, with commas between.
func (t *tree) mentions(dir, sub string) bool {
	contains := func(part string) bool {
		return strings.Contains(t.texts[dir], part) || strings.Contains(t.texts[dir], strings.ReplaceAll(part, "_", " "))
	}
	if contains(sub) {
		return true
	}
	for _, piece := range strings.Split(sub, ",") {
		if !contains(strings.Trim(piece, "_ ")) {
			return false
		}
	}
	return true
}

// differences are the sections in which the facts and an RFC differ.
func differences(facts, rfc []section) []string {
	said := make(map[string]string)
	for _, s := range facts {
		said[s.number] = s.String()
	}
	var complaints []string
	for _, s := range rfc {
		if said[s.number] != s.String() {
			complaints = append(complaints, fmt.Sprintf("the text has %q, the facts have %q", s, said[s.number]))
		}
		delete(said, s.number)
	}
	for _, s := range facts {
		if line, left := said[s.number]; left {
			complaints = append(complaints, fmt.Sprintf("the text does not have %q", line))
		}
	}
	return complaints
}
