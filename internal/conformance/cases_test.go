package conformance

import (
	"encoding/csv"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	casesDocument = top + "/docs/conformance/cases.md"
	reference     = top + "/../shared/reference/"
)

// caseRow is a row of docs/conformance/cases.md: a known bug or a case of a public suite, the tests that show it, and remarks.
type caseRow struct {
	line  int
	label string // the row's name in its list, or the beginning of it
	tests []string
	text  string // the remarks
}

// readCases reads the rows of the document, which are those of tables with three columns, by their first cell in back quotes.
func readCases(text string) (rs []caseRow) {
	n := 0
	for line := range strings.Lines(text) {
		n++
		f := strings.Split(strings.TrimSpace(line), "|")
		if len(f) != 5 || !strings.HasPrefix(strings.TrimSpace(f[1]), "`") {
			continue
		}
		rs = append(rs, caseRow{n, quoted(f[1])[0], quoted(f[2]), strings.TrimSpace(f[3])})
	}
	return rs
}

// casesOf are the labels that the comments of tests name behind "Cases:", by directory and function.
func casesOf(dir string) (map[test]map[string][]string, error) {
	found := make(map[test]map[string][]string)
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(name, "_test.go") {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, filepath.Dir(name))
		if err != nil {
			return err
		}
		where := test{filepath.ToSlash(rel)}
		for _, decl := range f.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok || fn.Doc == nil {
				continue
			}
			if _, list, ok := strings.Cut("\n"+fn.Doc.Text(), "\nCases: "); ok {
				list = strings.Join(strings.Fields(list), " ")
				if found[where] == nil {
					found[where] = make(map[string][]string)
				}
				found[where][fn.Name.Name] = strings.Split(strings.TrimSuffix(list, "."), "; ")
			}
		}
		return nil
	})
	return found, err
}

// compareComments wants a row and the tests that it names to name each other.
func compareComments(rs []caseRow, t *tree, said map[test]map[string][]string) (complaints []string) {
	left := make(map[string]bool) // what comments say and no row does
	for where, of := range said {
		for name, labels := range of {
			for _, l := range labels {
				left[fmt.Sprintf("%s %s: %s", where.dir, name, l)] = true
			}
		}
	}
	for _, r := range rs {
		for _, full := range r.tests {
			m := testName.FindStringSubmatch(full)
			if m == nil {
				continue
			}
			for _, where := range t.tests[m[2]] {
				if where.dir != m[1] && !strings.HasSuffix(where.dir, "/"+m[1]) {
					continue
				}
				if !slices.Contains(said[where][m[2]], r.label) {
					complaints = append(complaints, fmt.Sprintf("%s (line %d): %s does not name it behind \"Cases:\"", r.label, r.line, full))
				}
				delete(left, fmt.Sprintf("%s %s: %s", where.dir, m[2], r.label))
			}
		}
	}
	for l := range left {
		complaints = append(complaints, l+": the row does not name the test")
	}
	slices.Sort(complaints)
	return complaints
}

// names reports whether a label means a row: it is its name, or the beginning of it up to a mark.
func names(label, id string) bool {
	rest, ok := strings.CutPrefix(id, label)
	return ok && (rest == "" || strings.ContainsRune(" ,(./{;", rune(rest[0])))
}

// checkCases wants each row to be named by tests that exist, or to give a reason, and each label once.
func checkCases(rs []caseRow, t *tree) (complaints []string) {
	seen := make(map[string]bool)
	for _, r := range rs {
		complain := func(format string, args ...any) {
			complaints = append(complaints, fmt.Sprintf("%s (line %d): ", r.label, r.line)+fmt.Sprintf(format, args...))
		}
		if seen[r.label] {
			complain("a second row")
		}
		seen[r.label] = true
		if len(r.tests) == 0 && len(strings.Fields(r.text)) < leastReason {
			complain("names neither a test nor a reason")
		}
		for _, name := range r.tests {
			m := testName.FindStringSubmatch(name)
			if m == nil {
				complain("%s is no test", name)
			} else if c := t.checkTest(m[1], m[2], m[3]); c != "" {
				complain("%s: %s", name, c)
			}
		}
	}
	return complaints
}

// compareCases wants exactly one row for each name of the lists.
func compareCases(rs []caseRow, ids []string) (complaints []string) {
	for _, id := range ids {
		var found []string
		for _, r := range rs {
			if r.label == id {
				found = []string{id}
				break
			}
			if names(r.label, id) {
				found = append(found, r.label)
			}
		}
		if len(found) != 1 {
			complaints = append(complaints, fmt.Sprintf("%s: has the rows %q", id, found))
		}
	}
	for _, r := range rs {
		if !slices.ContainsFunc(ids, func(id string) bool { return names(r.label, id) }) {
			complaints = append(complaints, fmt.Sprintf("%s (line %d): is in no list", r.label, r.line))
		}
	}
	return complaints
}

// column reads a column of a table with tabs between its fields, without the first line.
func column(t *testing.T, file string, n int) (values []string, ok bool) {
	f, err := os.Open(reference + file)
	if errors.Is(err, fs.ErrNotExist) {
		t.Logf("%s is not at hand: the rows are not compared with it", file)
		return nil, false
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := csv.NewReader(f)
	r.Comma, r.LazyQuotes = '\t', true
	lines, err := r.ReadAll()
	if err != nil || len(lines) < 2 {
		t.Fatalf("%s: %d lines, %v", file, len(lines), err)
	}
	for _, line := range lines[1:] {
		values = append(values, line[n])
	}
	return values, true
}

// The number of rows, so that none is lost where the lists are not at hand.
const (
	knownBugs  = 31
	suiteCases = 183
)

// TestCases: each known bug and each case of a public suite has its row, with tests that exist or a reason.
func TestCases(t *testing.T) {
	tree, err := readTree(top)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(casesDocument)
	if err != nil {
		t.Fatal(err)
	}
	rs := readCases(string(text))
	if len(rs) != knownBugs+suiteCases {
		t.Errorf("%d rows, want %d", len(rs), knownBugs+suiteCases)
	}
	for _, c := range checkCases(rs, tree) {
		t.Error(c)
	}
	said, err := casesOf(top)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range compareComments(rs, tree, said) {
		t.Error(c)
	}
	bugs, ok := column(t, "bug-classes.tsv", 0)
	cases, also := column(t, "conformance-cases.tsv", 2)
	if ok && also {
		for _, c := range compareCases(rs, append(bugs, cases...)) {
			t.Error(c)
		}
	}
}

// TestCommentsAltered: a comment that names another row, or none, is refused.
func TestCommentsAltered(t *testing.T) {
	rs := readCases("| `BUG-1` | `a.TestAnswer/one_more` | |\n| `BUG-2` | `a.TestAnswer` | |\n")
	where := test{"a"}
	for _, c := range []struct {
		labels []string
		want   int
	}{
		{[]string{"BUG-1", "BUG-2"}, 0}, {[]string{"BUG-1"}, 1}, {nil, 2}, {[]string{"BUG-1", "BUG-2", "BUG-3"}, 1}, {[]string{"BUG-1", "BUG-3"}, 2},
	} {
		said := map[test]map[string][]string{where: {"TestAnswer": c.labels}}
		if got := compareComments(rs, sampleTree(t), said); len(got) != c.want {
			t.Errorf("%q: %q", c.labels, got)
		}
	}
}

// TestCasesAltered: what TestCases accepts is refused when a row is missing, twice there, or names what does not exist.
func TestCasesAltered(t *testing.T) {
	const sample = "| `BUG-1` | `a.TestAnswer` | |\n| `collision` | | there is no such thing |\n| `collision_late` | `a.TestAnswer/one_more` | |\n"
	ids := []string{"BUG-1", "collision (+more)", "collision_late"}
	tr := sampleTree(t)
	for _, c := range []struct{ name, old, new, want string }{
		{"as it is", "", "", ""},
		{"missing", "| `collision_late` |", "| |", "collision_late: has the rows []"},
		{"twice", "`collision_late`", "`BUG-1`", "a second row"},
		{"in no list", "`BUG-1`", "`BUG-2`", "is in no list"},
		{"of several", "`collision_late`", "`collision_later`", "is in no list"},
		{"missing test", "a.TestAnswer`", "a.TestQuestion`", "no such test"},
		{"no test", "a.TestAnswer`", "answer`", "is no test"},
		{"no reason", "there is no such thing", "no", "neither a test nor a reason"},
	} {
		t.Run(c.name, func(t *testing.T) {
			rs := readCases(strings.Replace(sample, c.old, c.new, 1))
			got := strings.Join(append(checkCases(rs, tr), compareCases(rs, ids)...), "\n")
			if c.want == "" && got != "" || !strings.Contains(got, c.want) {
				t.Errorf("says %q, wanted %q", got, c.want)
			}
		})
	}
}
