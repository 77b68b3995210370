package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/culvert-vpn/culvert/doctor"
)

// colors are those of the results.
var colors = map[doctor.Result]string{doctor.OK: "32", doctor.Note: "36", doctor.Unknown: "35", doctor.Warning: "33", doctor.Failure: "31;1"}

// writeReport writes a table of the checks by groups, and then what to do, the worst last: that is what stands above the prompt.
func writeReport(w io.Writer, r *doctor.Report, colored bool) error {
	t := &reportText{w: w, colored: colored}
	for _, part := range chapters(r.Checks) {
		t.line("%s", part.title)
		for _, c := range part.checks {
			t.line("  %s  %-18s  %s", t.paint(c.Result, fmt.Sprintf("%-7s", c.Result)), c.ID, wrapped(c.Text, 31))
		}
	}
	for _, result := range []doctor.Result{doctor.OK, doctor.Note, doctor.Unknown, doctor.Warning, doctor.Failure} {
		for _, c := range r.Checks {
			if c.Result == result && len(c.Fixes) > 0 {
				t.fixes(&c)
			}
		}
	}
	t.line("")
	t.line("%s", summary(r))
	return t.err
}

// chapter is a table with a title.
type chapter struct {
	title  string
	checks []doctor.Check
}

// chapters are the groups, and of peers the connections.
func chapters(checks []doctor.Check) (list []chapter) {
	for _, c := range checks {
		title := string(c.Group)
		if c.Group == doctor.Peer {
			title = "peer of connection " + c.Connection
		}
		if len(list) == 0 || list[len(list)-1].title != title {
			list = append(list, chapter{title: title})
		}
		if c.Group != doctor.Peer && c.Connection != "" {
			c.Text = "connection " + c.Connection + ": " + c.Text
		}
		last := &list[len(list)-1]
		last.checks = append(last.checks, c)
	}
	return list
}

// summary says how many checks had which result.
func summary(r *doctor.Report) string {
	var words []string
	for _, result := range []doctor.Result{doctor.Failure, doctor.Warning, doctor.Unknown} {
		if n := r.Count(result); n > 0 {
			name := map[doctor.Result]string{doctor.Failure: "failure", doctor.Warning: "warning", doctor.Unknown: "unknown"}[result]
			if result == doctor.Unknown {
				words = append(words, fmt.Sprintf("%d not known", n))
				continue
			}
			words = append(words, count(n, name))
		}
	}
	if words == nil {
		return fmt.Sprintf("%s, and nothing is wrong", count(len(r.Checks), "check"))
	}
	return fmt.Sprintf("%s: %s", count(len(r.Checks), "check"), strings.Join(words, ", "))
}

type reportText struct {
	w       io.Writer
	colored bool
	err     error
}

func (t *reportText) line(format string, args ...any) {
	if t.err == nil {
		_, t.err = fmt.Fprintf(t.w, format+"\n", args...)
	}
}

func (t *reportText) paint(result doctor.Result, text string) string {
	if !t.colored {
		return text
	}
	return "\x1b[" + colors[result] + "m" + text + "\x1b[0m"
}

// fixes writes what there is to do about a check.
func (t *reportText) fixes(c *doctor.Check) {
	t.line("")
	name := c.ID
	if c.Connection != "" {
		name += ", connection " + c.Connection
	}
	t.line("%s  %s", t.paint(c.Result, fmt.Sprintf("%-7s", strings.ToUpper(string(c.Result)))), wrapped(name+": "+c.Text, 9))
	for _, f := range c.Fixes {
		t.line("  - %s", wrapped(f.String(), 4))
		for _, l := range f.Lines {
			t.line("        %s", l)
		}
	}
}

// wrapped breaks a text so that it fits into lines of 120 characters that begin after an indent.
func wrapped(text string, indent int) string {
	var b strings.Builder
	length := 0
	for i, word := range strings.Fields(text) {
		switch {
		case i == 0:
		case indent+length+1+len(word) > 120:
			b.WriteString("\n" + strings.Repeat(" ", indent))
			length = 0
		default:
			b.WriteByte(' ')
			length++
		}
		b.WriteString(word)
		length += len(word)
	}
	return b.String()
}
