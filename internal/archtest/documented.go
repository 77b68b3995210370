package archtest

import (
	"go/ast"
	"go/token"
)

// standard are methods that an interface of the standard library explains.
var standard = words("String Error Unwrap")

// documented finds exported names of a file that have no comment. One comment above a run of declarations
// without an empty line between them counts for all in the run.
func (c *checker) documented(f *file) {
	if f.Name.Name == "main" {
		return // nobody can import it
	}
	var run run
	for _, decl := range f.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			commented := run.next(c.fset, d, d.Doc)
			explained := d.Recv != nil && covers(standard, d.Name.Name)
			if d.Name.IsExported() && !commented && !explained && receiverIsExported(d) {
				c.say(d.Pos(), "%s has no comment", d.Name.Name)
			}
		case *ast.GenDecl:
			c.documentedGroup(d)
		}
	}
}

// documentedGroup checks one declaration of types, constants or variables. The comment of a group of constants or
// variables counts for all in it; constants of a type of their own are explained where the type is.
func (c *checker) documentedGroup(d *ast.GenDecl) {
	var run run
	typed := false
	for _, spec := range d.Specs {
		switch s := spec.(type) {
		case *ast.TypeSpec:
			if s.Name.IsExported() && s.Doc == nil && s.Comment == nil && (d.Doc == nil || d.Lparen.IsValid()) {
				c.say(s.Pos(), "%s has no comment", s.Name.Name)
			}
		case *ast.ValueSpec:
			if s.Type != nil || s.Values != nil { // neither: it repeats the one before, with its type
				typed = d.Tok == token.CONST && c.ownType(s.Type)
			}
			if run.next(c.fset, s, s.Doc) || d.Doc != nil || typed || s.Comment != nil {
				continue
			}
			for _, name := range s.Names {
				if name.IsExported() {
					c.say(name.Pos(), "%s has no comment", name.Name)
				}
			}
		}
	}
}

// ownType reports whether x names a type of the package.
func (c *checker) ownType(x ast.Expr) bool {
	id, ok := x.(*ast.Ident)
	return ok && c.types != nil && c.types.Scope().Lookup(id.Name) != nil
}

// run follows declarations that stand below each other without an empty line.
type run struct {
	end       int // line of the last one
	commented bool
}

// next goes on to the declaration n and reports whether its run has a comment.
func (r *run) next(fset *token.FileSet, n ast.Node, doc *ast.CommentGroup) bool {
	start := fset.Position(n.Pos()).Line
	if doc != nil {
		start = fset.Position(doc.Pos()).Line
	}
	if start > r.end+1 {
		r.commented = false
	}
	r.end = fset.Position(n.End()).Line
	r.commented = r.commented || doc != nil
	return r.commented
}

// receiverIsExported is true for functions, and for methods of exported types.
func receiverIsExported(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	x := d.Recv.List[0].Type
	for {
		switch e := x.(type) {
		case *ast.StarExpr:
			x = e.X
		case *ast.IndexExpr:
			x = e.X
		case *ast.IndexListExpr:
			x = e.X
		case *ast.Ident:
			return token.IsExported(e.Name)
		default:
			return true
		}
	}
}
