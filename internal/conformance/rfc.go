package conformance

import (
	"regexp"
	"strings"
)

// section is a section of an RFC that contains key words: its number and the key words in the order of the text.
type section struct {
	number   string
	keywords []string
}

// String is the section as a line of the facts.
func (s section) String() string {
	var b strings.Builder
	b.WriteString(s.number)
	for _, k := range s.keywords {
		b.WriteString(" " + strings.ReplaceAll(k, " ", "_"))
	}
	return b.String()
}

var (
	pageFooter = regexp.MustCompile(`\[Page \d+\]\s*$`)
	pageHeader = regexp.MustCompile(`^RFC \d+\s.*\s\d{4}\s*$`)
	heading    = regexp.MustCompile(`^(?:Appendix )?((?:\d+|[A-Z])(?:\.\d+)*)\.? {1,3}\S`)
	leader     = regexp.MustCompile(`\. ?\. ?\.`) // of the table of contents
	keyword    = regexp.MustCompile(`\b(?:MUST\s+NOT|SHOULD\s+NOT|SHALL\s+NOT|NOT\s+RECOMMENDED|MUST|SHOULD|SHALL|REQUIRED|RECOMMENDED|MAY|OPTIONAL)\b`)
	paragraphs = regexp.MustCompile(`\n\s*\n`)
	language   = regexp.MustCompile(`(?s)^\s*The key words ".*are to be interpreted as described in`)
)

// read finds the key words in the text of an RFC. The lines at the head and foot of pages do not count, nor what comes before the first
// section, nor the one paragraph that says what the key words mean (RFC 2119).
func read(text string) []section {
	var (
		found  []section
		number string
		body   []string
	)
	end := func() {
		if words := keywords(strings.Join(body, "\n")); number != "" && len(words) > 0 {
			found = append(found, section{number, words})
		}
		body = body[:0]
	}
	for line := range strings.Lines(strings.ReplaceAll(text, "\f", "\n")) {
		line = strings.TrimRight(line, "\r\n")
		m := heading.FindStringSubmatch(line)
		switch {
		case pageFooter.MatchString(line) || pageHeader.MatchString(line):
		case m != nil && !leader.MatchString(line):
			end()
			number = m[1]
		default:
			body = append(body, line)
		}
	}
	end()
	return found
}

// keywords are the key words of a section's text. A paragraph may be cut by the end of a page, and a key word of two words by the end of
// a line; neither matters.
func keywords(body string) []string {
	var words []string
	for _, p := range paragraphs.Split(body, -1) {
		if language.MatchString(p) {
			continue
		}
		for _, w := range keyword.FindAllString(p, -1) {
			words = append(words, strings.Join(strings.Fields(w), " "))
		}
	}
	return words
}

// parseFacts reads sections as facts.go has them: one on a line, its number and its key words, the two words of one joined by "_".
func parseFacts(lines string) []section {
	var found []section
	for line := range strings.Lines(lines) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		s := section{number: f[0]}
		for _, w := range f[1:] {
			s.keywords = append(s.keywords, strings.ReplaceAll(w, "_", " "))
		}
		found = append(found, s)
	}
	return found
}
