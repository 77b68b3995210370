package conformance

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// sample is an RFC in small, as they are printed: with a table of contents, a paragraph on the key words, and a page that ends in the
// middle of a paragraph and of a key word.
const sample = `
RFC 9999                         Sample                     October 2014

   This memo MUST NOT count.

Table of Contents

1. Rules that MUST be kept .........................................2

1.  Introduction

   The key words "MUST", "MUST NOT", "SHOULD" and
   "MAY" in this document are to be interpreted as described in [X].

   A peer MUST answer and SHOULD
   NOT

Kaufman, et al.              Standards Track                    [Page 1]
` + "\f" + `
RFC 9999                   A Sample MUST                    October 2014


   ask, MAYBE it MAY.

1.1.  Nothing

   It must not count.

2.10  More

   It is NOT RECOMMENDED.

Appendix A.  Last

   REQUIRED
`

const sampleFacts = "1 MUST SHOULD_NOT MAY\n2.10 NOT_RECOMMENDED\nA REQUIRED\n"

// TestRead: what counts in the text of an RFC, and what does not.
func TestRead(t *testing.T) {
	if d := differences(parseFacts(sampleFacts), read(sample)); len(d) > 0 {
		t.Error(d)
	}
}

// TestDifferences: each change of the facts is seen.
func TestDifferences(t *testing.T) {
	for _, altered := range []string{
		"1 MUST SHOULD_NOT\n2.10 NOT_RECOMMENDED\nA REQUIRED\n",
		"1 MUST MAY SHOULD_NOT\n2.10 NOT_RECOMMENDED\nA REQUIRED\n",
		"1 MUST SHOULD_NOT MAY MAY\n2.10 NOT_RECOMMENDED\nA REQUIRED\n",
		"1 MUST SHOULD_NOT MAY\n2.10 RECOMMENDED\nA REQUIRED\n",
		"1 MUST SHOULD_NOT MAY\nA REQUIRED\n",
		"1 MUST SHOULD_NOT MAY\n2 MAY\n2.10 NOT_RECOMMENDED\nA REQUIRED\n",
	} {
		if d := differences(parseFacts(altered), read(sample)); len(d) != 1 {
			t.Errorf("%q: %q", altered, d)
		}
	}
}

const sampleRows = `
| no. | key word | rule | status | code | test or reason |
| --- | --- | --- | --- | --- | --- |
| 1-1 | MUST | answers every request | yes | ` + "`a/b.go:window.answer`, `a/b.go`" + ` | ` + "`a.TestAnswer/one_more`" + ` |
| 1-2 | SHOULD NOT | does not ask again | no | | too dear, see [deviations](../deviations.md) |
| 1-3 | MAY | sends more than one | no | | nothing is won by it |

| 2.10-1 | NOT RECOMMENDED | certificates in the clear | n/a | | there are no certificates |
| A-1 | REQUIRED | forgets the keys | yes | ` + "`a/b.go:Answer`" + ` | there is no code that keeps them; ` + "`c.FuzzAnswer`" + ` |
`

func sampleTree(t *testing.T) *tree {
	t.Helper()
	tr := &tree{map[string]bool{}, map[string]map[string]bool{}, map[string][]test{}, map[string]string{}}
	for name, text := range map[string]string{
		"a/b.go":           "package a\ntype window[T any] struct{}\nfunc (w *window[T]) answer() {}\nconst Answer = 1\n",
		"a/b_test.go":      "package a\nfunc TestAnswer(t *testing.T) { t.Run(\"one more\", nil) }\nfunc FuzzAnswer(f *testing.F) {}\n",
		"a/c/c_test.go":    "package c\nfunc FuzzAnswer(f *testing.F) {}\n",
		"b/same/a_test.go": "package same\nfunc FuzzAnswer(f *testing.F) {}\n",
		"c/same/a_test.go": "package same\nfunc FuzzAnswer(f *testing.F) {}\n",
	} {
		if err := tr.add(name, text); err != nil {
			t.Fatal(err)
		}
	}
	return tr
}

// TestCheck alters the rows one by one; each time there is one complaint, of the right kind.
func TestCheck(t *testing.T) {
	for _, test := range []struct{ name, old, new, want string }{
		{"as it is", "", "", ""},
		{"no row", "| 1-2 |", "|  |", "1-2: no row for this SHOULD NOT"},
		{"no row at the end", "| A-1 |", "|  |", "A-1: no row for this REQUIRED"},
		{"two rows", "| 1-3 | MAY", "| 1-2 | SHOULD NOT | this is said twice | n/a | | a reason is given |\n| 1-3 | MAY", "1-2 (line 6): a second row"},
		{"row too many", "| A-1 |", "| A-2 | MAY | one too many | n/a | | a reason is given |\n| A-1 |", "A-2 (line 9): the RFC has no such key word"},
		{"another key word", "| MUST |", "| MUST NOT |", "1-1 (line 4): the RFC says MUST, not MUST NOT"},
		{"wrong order", "| 1-1 | MUST", "| 2.10-1 | NOT RECOMMENDED | said too early | n/a | | a reason is given |\n| 1-1 | MUST", "2.10-1 (line 4): stands before 1-3"},
		{"a cell too few", "| sends more than one | no | |", "| sends more than one | no |", "line 6 has 5 cells"},
		{"no rule", "does not ask again", "asks", "does not say what the rule is"},
		{"no status", "| does not ask again | no |", "| does not ask again | |", `status ""`},
		{"another status", "| does not ask again | no |", "| does not ask again | partly |", `status "partly"`},
		{"neither test nor reason", "`a.TestAnswer/one_more`", "", "names neither a test nor a reason"},
		{"no reason of what does not apply", "there are no certificates", "", "gives no reason"},
		{"no reason of what is not done", "nothing is won by it", "no", "gives no reason"},
		{"not among the deviations", "[deviations](../deviations.md)", "above and below", "has its place in docs/deviations.md"},
		{"no code", "`a/b.go:Answer`", "", "names no code"},
		{"missing file", "`a/b.go`", "`a/d.go`", "no such file"},
		{"missing function", "`a/b.go:Answer`", "`a/b.go:Ask`", "not declared there"},
		{"missing method", "window.answer", "window.ask", "not declared there"},
		{"function for a method", "window.answer", "answer", "not declared there"},
		{"missing test", "a.TestAnswer/", "a.TestAsk/", "no such test"},
		{"missing subtest", "one_more", "one_less", `no test file of a contains "one_less"`},
		{"test of no package", "a.TestAnswer", "TestAnswer", "name its package"},
		{"test of another package", "c.FuzzAnswer", "d.FuzzAnswer", "no such test"},
		{"test of two packages", "c.FuzzAnswer", "same.FuzzAnswer", "there are several"},
		{"nothing is put off", "| does not ask again | no |", "| does not ask again | pending |", `status "pending"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			if !strings.Contains(sampleRows, test.old) {
				t.Fatalf("the rows do not contain %q", test.old)
			}
			rs, complaints := rows(strings.Replace(sampleRows, test.old, test.new, 1))
			complaints = append(complaints, check(rs, parseFacts(sampleFacts), sampleTree(t))...)
			got := strings.Join(complaints, "\n")
			if test.want == "" && got != "" || !strings.Contains(got, test.want) {
				t.Errorf("says %q, wanted %q", got, test.want)
			}
			if test.want != "" && len(complaints) > 2 { // a line that is no row is a row less, too
				t.Errorf("says more than %q: %q", test.want, got)
			}
		})
	}
}

// TestSummary: the counts change with the rows.
func TestSummary(t *testing.T) {
	rs, _ := rows(sampleRows)
	table := summary([]string{"9999"}, map[string]tally{"9999": count(rs)})
	if want := "| [9999](conformance/rfc9999.md) | 5 | 2 | 1 | 2 |\n| all | 5 | 2 | 1 | 2 |\n"; !strings.HasSuffix(table, want) {
		t.Errorf("%s", table)
	}
	rs, _ = rows(strings.Replace(sampleRows, "| n/a |", "| no |", 1))
	if summary([]string{"9999"}, map[string]tally{"9999": count(rs)}) == table {
		t.Error("another state of a row does not change the counts")
	}
}

// TestDocumentsAltered: what TestRows accepts is refused when any of the rows is missing, or a name in it is another one.
func TestDocumentsAltered(t *testing.T) {
	tree, err := readTree(top)
	if err != nil {
		t.Fatal(err)
	}
	for _, rfc := range order {
		text, err := os.ReadFile(documentOf(rfc))
		if err != nil {
			t.Fatal(err)
		}
		rs, _ := rows(string(text))
		for i, r := range rs {
			if len(compare(slices.Delete(slices.Clone(rs), i, i+1), parseFacts(facts[rfc]))) == 0 {
				t.Errorf("RFC %s: nothing is said if %s is missing", rfc, r.number)
			}
			test, code := r, r
			test.shown = strings.ReplaceAll(r.shown, ".Test", ".TestNo")
			code.code = strings.ReplaceAll(r.code, ".go", ".gone")
			for _, altered := range []row{test, code} {
				if altered != r && len(altered.check(tree)) == 0 {
					t.Errorf("RFC %s: nothing is said of %v", rfc, altered)
				}
			}
		}
	}
}
