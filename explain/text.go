package explain

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Format tells the case for a terminal of so many columns, at least 40; every line ends in a newline.
func (d *Diagnosis) Format(width int) string {
	t := text{width: max(width, 40)}
	t.paragraph("", d.Text)
	if len(d.Compared) > 0 {
		t.line("")
		t.table(d.Compared)
	}
	t.fixes(d.Fixes)
	return t.String()
}

// Format tells what the entry says, likewise.
func (e Entry) Format(width int) string {
	t := text{width: max(width, 40)}
	t.paragraph("", fmt.Sprintf("%s (%s)", e.Title, e.Cause))
	t.line("")
	t.paragraph("  ", e.Meaning)
	t.line("")
	t.paragraph("", "Seen as:")
	for _, s := range e.Symptoms {
		t.item("  - ", s)
	}
	t.fixes(e.Fixes)
	return t.String()
}

// text is what is written so far.
type text struct {
	strings.Builder
	width int
}

func (t *text) line(s string) {
	t.WriteString(strings.TrimRight(s, " "))
	t.WriteByte('\n')
}

// paragraph writes lines that begin with an indentation.
func (t *text) paragraph(indent, s string) {
	for _, l := range wrap(s, t.width-len(indent)) {
		t.line(indent + l)
	}
}

// item writes a paragraph with a mark in front of its first line.
func (t *text) item(mark, s string) {
	for _, l := range wrap(s, t.width-len(mark)) {
		t.line(mark + l)
		mark = strings.Repeat(" ", len(mark))
	}
}

// fixes are numbered, in the order in which they should be tried. Lines to paste are never wrapped.
func (t *text) fixes(list []Fix) {
	if len(list) == 0 {
		return
	}
	t.line("")
	if len(list) == 1 {
		t.paragraph("", "To change:")
	} else {
		t.paragraph("", "To change, whichever suits, the likeliest first:")
	}
	for i, f := range list {
		t.line("")
		t.item(fmt.Sprintf("  %d. ", i+1), f.where()+": "+f.Text)
		for _, l := range f.Lines {
			t.line("         " + l)
		}
	}
}

// where says in words who must change something.
func (f Fix) where() string {
	switch f.Side {
	case Peer:
		return "on the peer"
	case Between:
		return "between the two"
	}
	return "here"
}

// table puts what the peer sent beside what is configured.
func (t *text) table(rows []Compared) {
	const gap = "  "
	first := 0
	for _, r := range rows {
		first = max(first, utf8.RuneCountInString(r.What))
	}
	first = min(first, t.width/4)
	other := (t.width - 2 - first - 2*len(gap)) / 2
	write := func(a, b, c string) {
		cells := [][]string{wrap(a, first), wrap(b, other), wrap(c, other)}
		for i := range max(len(cells[0]), len(cells[1]), len(cells[2])) {
			at := func(n int) string {
				if i < len(cells[n]) {
					return cells[n][i]
				}
				return ""
			}
			t.line(fmt.Sprintf("  %-*s%s%-*s%s%s", first, at(0), gap, other, at(1), gap, at(2)))
		}
	}
	write("", "the peer sent", "configured here")
	write(strings.Repeat("-", first), strings.Repeat("-", other), strings.Repeat("-", other))
	for _, r := range rows {
		write(r.What, orDash(r.Sent), orDash(r.Configured))
	}
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// wrap breaks a text into lines of a width, at spaces; a word that is longer than a line is broken after a dash or a comma, or anywhere.
func wrap(s string, width int) (lines []string) {
	line := ""
	for _, word := range strings.Fields(strings.ToValidUTF8(s, "\ufffd")) {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) <= width {
			line += " " + word
			continue
		}
		if line != "" {
			lines = append(lines, line)
		}
		for utf8.RuneCountInString(word) > width {
			head := string([]rune(word)[:width])
			if i := strings.LastIndexAny(head, "-,/"); i > 0 {
				head = head[:i+1]
			}
			lines = append(lines, head)
			word = word[len(head):]
		}
		line = word
	}
	if line != "" || len(lines) == 0 {
		lines = append(lines, line)
	}
	return lines
}
