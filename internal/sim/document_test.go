package sim

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

const document = "../../docs/collisions.md"

// TestDocument: every cell of the matrix in docs/collisions.md has the answer that TestCollisions expects and names its subtest, every
// cell of TestCollisions is there, and every other test that the document names exists.
func TestDocument(t *testing.T) {
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	cells := make(map[string]string)
	for _, row := range collisions {
		for i, c := range columns {
			cells[testName("TestCollisions", row.ours.name, c.name())] = row.answers[i]
		}
	}
	missing := make(map[string]bool)
	for name := range cells {
		missing[name] = true
	}
	tests := map[string]map[string]bool{"": testNames(t, "."), "ike": testNames(t, "../../ike")}
	matrix, row := false, ""
	for line := range strings.Lines(string(text)) {
		switch {
		case strings.HasPrefix(line, "## "):
			matrix = strings.TrimSpace(line) == "## The matrix"
		case strings.HasPrefix(line, "### "):
			row = strings.TrimSpace(strings.TrimPrefix(line, "### "))
		}
		for _, named := range regexp.MustCompile("`(?:([a-z]+)\\.)?(Test[^`]*)`").FindAllStringSubmatch(line, -1) {
			pkg, name := named[1], named[2]
			want, isCell := cells[name]
			f := strings.Split(line, "|")
			switch {
			case !isCell && strings.HasPrefix(name, "TestCollisions/"):
				t.Errorf("%s is no cell", name)
			case matrix && isCell:
				delete(missing, name)
				if name != testName("TestCollisions", row, strings.TrimSpace(f[1])) || strings.TrimSpace(f[2]) != want {
					t.Errorf("the row %q does not tell that the answer is %q", strings.TrimSpace(line), want)
				}
			case matrix && len(f) == 6 && name != testName("TestClash", row, strings.TrimSpace(f[1])):
				t.Errorf("%s stands beside another cell", name)
			}
			if isCell {
				continue
			}
			if first, rest, _ := strings.Cut(name, "/"); !tests[pkg][first] {
				t.Errorf("%s.%s: no such test", pkg, first)
			} else {
				wantSubtest(t, tests[pkg], pkg, first, rest)
			}
		}
	}
	for name := range missing {
		t.Errorf("%s is not in %s", name, filepath.Base(document))
	}
}

// testName is how `go test -run` calls a subtest.
func testName(parts ...string) string { return strings.ReplaceAll(strings.Join(parts, "/"), " ", "_") }

// wantSubtest checks the rest of a test's name against what testNames found.
func wantSubtest(t *testing.T, names map[string]bool, pkg, first, rest string) {
	t.Helper()
	if first == "TestNonces" {
		ok := false
		for _, what := range []act{rekeyChild, rekeyIKE} {
			for _, mi := range mischiefs {
				ok = ok || mi.late == 0 && !mi.lost && rest == testName(noncesName(what, mi))
			}
		}
		if !ok {
			t.Errorf("%s/%s: no such subtest", first, rest)
		}
		return
	}
	for part := range strings.SplitSeq(rest, "/") {
		if part != "" && !names[first+"/"+part] && !names["/"+part] {
			t.Errorf("%s.%s/%s: neither the test nor a table of its package says %q", pkg, first, rest, part)
		}
	}
}

// testNames are the test functions of a package and all texts that may be the name of a subtest, as `go test` writes them: behind the
// test whose source has them, or behind nothing if they are in a table of the package.
func testNames(t *testing.T, dir string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no tests in %s", dir)
	}
	names := make(map[string]bool)
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parsed.Decls {
			in := ""
			if f, ok := d.(*ast.FuncDecl); ok {
				in = f.Name.Name
				names[in] = strings.HasPrefix(in, "Test")
			}
			ast.Inspect(d, func(n ast.Node) bool {
				if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING {
					if text, err := strconv.Unquote(l.Value); err == nil {
						names[in+"/"+testName(text)] = true
					}
				}
				return true
			})
		}
	}
	return names
}
