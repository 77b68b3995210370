package conformance

import (
	"fmt"
	"regexp"
	"strings"
)

// The states of a row.
const (
	yes    = "yes" // Culvert does so
	no     = "no"  // it applies, and Culvert does otherwise
	absent = "n/a" // about something that Culvert does not have
)

// row is one key word of an RFC: a line of a table of the document.
type row struct {
	line    int    // in its file
	number  string // section and place, "2.3-4"
	keyword string
	rule    string // in our words
	status  string
	code    string // where it is obeyed: paths, or path:declaration
	shown   string // the tests, or the reason
}

var (
	numbered = regexp.MustCompile(`^\| *((?:\d+|[A-Z])(?:\.\d+)*-\d+) *\|`)
	unquoted = regexp.MustCompile("`([^`]*)`")
	testName = regexp.MustCompile(`^(?:([a-z0-9/]+)\.)?((?:Test|Fuzz|Benchmark|Example)\w*)(?:/(.*))?$`)
)

// rows reads the numbered rows of a document. A line that begins like one and is none is an error.
func rows(text string) ([]row, []string) {
	var (
		found      []row
		complaints []string
		n          int
	)
	for line := range strings.Lines(text) {
		n++
		if !numbered.MatchString(line) {
			continue
		}
		f := strings.Split(strings.TrimSpace(line), "|")
		if len(f) != 8 {
			complaints = append(complaints, fmt.Sprintf("line %d has %d cells, not 6", n, len(f)-2))
			continue
		}
		for i := range f {
			f[i] = strings.TrimSpace(f[i])
		}
		found = append(found, row{n, f[1], f[2], f[3], f[4], f[5], f[6]})
	}
	return found, complaints
}

// quoted are the words of a cell that stand in back quotes.
func quoted(cell string) []string {
	var words []string
	for _, m := range unquoted.FindAllStringSubmatch(cell, -1) {
		words = append(words, m[1])
	}
	return words
}

// tally counts rows by state.
type tally map[string]int

func count(rs []row) tally {
	t := make(tally)
	for _, r := range rs {
		t[r.status]++
		t[""]++
	}
	return t
}

// summary is the table of counts in docs/conformance.md: a line for each RFC, and one for all.
func summary(order []string, counts map[string]tally) string {
	all := make(tally)
	var b strings.Builder
	b.WriteString("| RFC | key words | yes | n/a | no |\n| --- | ---: | ---: | ---: | ---: |\n")
	line := func(name string, t tally) {
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %d |\n", name, t[""], t[yes], t[absent], t[no])
	}
	for _, rfc := range order {
		for status, n := range counts[rfc] {
			all[status] += n
		}
		line(fmt.Sprintf("[%s](conformance/rfc%s.md)", rfc, rfc), counts[rfc])
	}
	line("all", all)
	return b.String()
}
