package conformance

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// tree is what a row may refer to: the files of the project, what the Go files among them declare, and the tests.
type tree struct {
	files map[string]bool            // by path from the top
	names map[string]map[string]bool // of a Go file: its functions, methods ("type.method"), types, constants and variables
	tests map[string][]test          // by the name of the function
	texts map[string]string          // of all test files of a package, by its directory
}

// test is a function of a test file.
type test struct{ dir string }

// readTree reads the project whose top directory is dir.
func readTree(dir string) (*tree, error) {
	t := &tree{map[string]bool{}, map[string]map[string]bool{}, map[string][]test{}, map[string]string{}}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name != dir && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata") {
				return filepath.SkipDir
			}
			return nil
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if !strings.HasSuffix(rel, ".go") {
			t.files[rel] = true
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		return t.add(rel, string(text))
	})
	return t, err
}

// add takes a Go file in.
func (t *tree) add(name, text string) error {
	f, err := parser.ParseFile(token.NewFileSet(), name, text, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	t.files[name] = true
	t.names[name] = declared(f)
	if strings.HasSuffix(name, "_test.go") {
		dir := path.Dir(name)
		t.texts[dir] += text
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil {
				t.tests[fn.Name.Name] = append(t.tests[fn.Name.Name], test{dir})
			}
		}
	}
	return nil
}

// declared are the names that a file declares at its top level.
func declared(f *ast.File) map[string]bool {
	names := make(map[string]bool)
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil {
				names[d.Name.Name] = true
			} else {
				names[receiver(d.Recv.List[0].Type)+"."+d.Name.Name] = true
			}
		case *ast.GenDecl:
			for _, s := range d.Specs {
				switch s := s.(type) {
				case *ast.TypeSpec:
					names[s.Name.Name] = true
				case *ast.ValueSpec:
					for _, n := range s.Names {
						names[n.Name] = true
					}
				}
			}
		}
	}
	return names
}

// receiver is the name of a receiver's type.
func receiver(x ast.Expr) string {
	for {
		switch e := x.(type) {
		case *ast.StarExpr:
			x = e.X
		case *ast.IndexExpr:
			x = e.X
		case *ast.IndexListExpr:
			x = e.X
		case *ast.Ident:
			return e.Name
		default:
			return ""
		}
	}
}
