package archtest

import (
	"fmt"
	"go/ast"
	"go/token"
	"strconv"
	"strings"
)

// check returns what files do against the rules, each with its place.
func check(files []source) ([]string, error) {
	list, err := packages(files)
	if err != nil {
		return nil, err
	}
	c := &checker{}
	for _, p := range list {
		c.pkg = p
		if _, ok := rowOf(p.dir); !ok && !p.onlyTests() {
			c.say(p.files[0].Package, "package %s has no row in the table of imports", p.dir)
		}
		for _, f := range p.files {
			c.imports(f)
			if !f.test {
				c.goroutines(f)
				c.length(f)
				c.documented(f)
				if covers(deciding, p.dir) {
					c.decides(f)
				}
			}
		}
	}
	return c.complaints, nil
}

func (p *pkg) onlyTests() bool {
	for _, f := range p.files {
		if !f.test {
			return false
		}
	}
	return true
}

type checker struct {
	*pkg
	complaints []string
}

func (c *checker) say(pos token.Pos, format string, args ...any) {
	at := c.fset.Position(pos)
	c.complaints = append(c.complaints, fmt.Sprintf("%s:%d: ", at.Filename, at.Line)+fmt.Sprintf(format, args...))
}

// imports checks one file's imports against the graph, and in a deciding package against worldly.
func (c *checker) imports(f *file) {
	allowed, _ := rowOf(c.dir)
	for _, spec := range f.Imports {
		target, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue
		}
		ours, isOurs := strings.CutPrefix(target, module+"/")
		switch {
		case f.test:
		case isOurs && covers(forTests, ours) && !covers(forTests, c.dir):
			c.say(spec.Pos(), "%s is for tests only", ours)
		case isOurs && !covers(allowed, ours):
			c.say(spec.Pos(), "%s must not import %s", c.dir, ours)
		case covers(deciding, c.dir) && !covers(harmless, target) && partly[[2]string{c.dir, target}] == nil && isWorldly(target):
			c.say(spec.Pos(), "%s decides and must not import %s", c.dir, target)
		}
	}
}

func isWorldly(target string) bool {
	for _, w := range worldly {
		if covers([]string{w + "/..."}, target) {
			return true
		}
	}
	return false
}

// goroutines finds go statements outside of the packages that may have them.
func (c *checker) goroutines(f *file) {
	if covers(starters, c.dir) {
		return
	}
	ast.Inspect(f.File, func(n ast.Node) bool {
		if g, ok := n.(*ast.GoStmt); ok {
			c.say(g.Pos(), "%s must not start a goroutine", c.dir)
		}
		return true
	})
}

// decides finds what a deciding package must not do: read a clock, print, change a package variable.
func (c *checker) decides(f *file) {
	for _, decl := range f.Decls {
		fn, isFunc := decl.(*ast.FuncDecl)
		initializes := isFunc && fn.Recv == nil && fn.Name.Name == "init"
		ast.Inspect(decl, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.SelectorExpr:
				from := c.imported(n.X)
				names := partly[[2]string{c.dir, from}]
				switch {
				case names != nil && !covers(names, n.Sel.Name), from == "time" && covers(clocks, n.Sel.Name), from == "fmt" && covers(printers, n.Sel.Name):
					c.say(n.Pos(), "%s decides and must not use %s.%s", c.dir, from, n.Sel.Name)
				}
			case *ast.CallExpr:
				if fn, ok := n.Fun.(*ast.Ident); ok && (fn.Name == "print" || fn.Name == "println") && c.isBuiltin(fn) {
					c.say(n.Pos(), "%s decides and must not print", c.dir)
				}
			}
			if !initializes {
				for _, target := range changed(n, c.isBuiltin) {
					if v := c.variable(target); v != nil {
						c.say(n.Pos(), "%s decides and must not change its variable %s", c.dir, v.Name())
					}
				}
			}
			return true
		})
	}
}

// isBuiltin reports whether id means the builtin function of its name.
func (c *checker) isBuiltin(id *ast.Ident) bool {
	use := c.info.Uses[id]
	return use == nil || use.Pkg() == nil
}

// changed are the expressions that n gives a new value, or whose contents it changes.
func changed(n ast.Node, builtin func(*ast.Ident) bool) []ast.Expr {
	switch n := n.(type) {
	case *ast.AssignStmt:
		return n.Lhs
	case *ast.IncDecStmt:
		return []ast.Expr{n.X}
	case *ast.RangeStmt:
		if n.Tok == token.ASSIGN {
			return []ast.Expr{n.Key, n.Value}
		}
	case *ast.CallExpr:
		fn, ok := n.Fun.(*ast.Ident)
		if ok && len(n.Args) > 0 && builtin(fn) && covers(words("delete clear copy"), fn.Name) {
			return n.Args[:1]
		}
	}
	return nil
}

// length checks how long a file is.
func (c *checker) length(f *file) {
	if n := strings.Count(f.text, "\n"); n > maxLines {
		c.say(f.Package, "the file has %d lines, more than %d; is it one idea?", n, maxLines)
	}
}
