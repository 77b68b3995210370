package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"
)

// source is one file: its path from the top of the project, with slashes, and its text.
type source struct {
	path string
	text string
}

// readTree reads all Go files below dir, whatever platform they are for.
func readTree(dir string) ([]source, error) {
	var files []source
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := d.Name()
		if d.IsDir() {
			if name != dir && (strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") || base == "testdata") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(base, ".go") || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		files = append(files, source{filepath.ToSlash(rel), string(text)})
		return nil
	})
	return files, err
}

// file is a parsed source.
type file struct {
	source
	*ast.File
	test bool
}

// pkg is a directory of the project.
type pkg struct {
	dir   string
	fset  *token.FileSet
	files []*file
	info  *types.Info // of the files outside of tests
	types *types.Package
}

// packages parses files and groups them by directory.
func packages(files []source) ([]*pkg, error) {
	byDir := make(map[string]*pkg)
	for _, src := range files {
		dir := path.Dir(src.path)
		p := byDir[dir]
		if p == nil {
			p = &pkg{dir: dir, fset: token.NewFileSet()}
			byDir[dir] = p
		}
		f, err := parser.ParseFile(p.fset, src.path, src.text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		p.files = append(p.files, &file{source: src, File: f, test: strings.HasSuffix(src.path, "_test.go")})
	}
	var list []*pkg
	for _, p := range byDir {
		p.resolve()
		list = append(list, p)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].dir < list[j].dir })
	return list, nil
}

// resolve finds out what each identifier means. Imports are left unresolved and files for different platforms
// contradict each other, so type errors are expected and ignored; only whose name is whose counts.
func (p *pkg) resolve() {
	p.info = &types.Info{Defs: map[*ast.Ident]types.Object{}, Uses: map[*ast.Ident]types.Object{}}
	conf := types.Config{
		Importer:    unresolved{},
		FakeImportC: true,
		Error:       func(error) {},
	}
	var files []*ast.File
	for _, f := range p.files {
		if !f.test {
			files = append(files, f.File)
		}
	}
	p.types, _ = conf.Check(p.dir, p.fset, files, p.info)
}

type unresolved struct{}

func (unresolved) Import(path string) (*types.Package, error) {
	return nil, fmt.Errorf("%s is not loaded", path)
}

// imported is the path of the package that x stands for, "" if x is no package.
func (p *pkg) imported(x ast.Expr) string {
	id, ok := x.(*ast.Ident)
	if !ok {
		return ""
	}
	name, ok := p.info.Uses[id].(*types.PkgName)
	if !ok {
		return ""
	}
	return name.Imported().Path()
}

// variable is the package variable that x is or is a part of, nil if there is none.
func (p *pkg) variable(x ast.Expr) *types.Var {
	for {
		switch e := x.(type) {
		case *ast.Ident:
			v, ok := p.info.Uses[e].(*types.Var)
			if !ok || p.types == nil || v.Parent() != p.types.Scope() {
				return nil
			}
			return v
		case *ast.ParenExpr:
			x = e.X
		case *ast.IndexExpr:
			x = e.X
		case *ast.SliceExpr:
			x = e.X
		case *ast.SelectorExpr:
			x = e.X
		case *ast.StarExpr:
			x = e.X
		default:
			return nil
		}
	}
}
