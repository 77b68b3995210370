package config

import (
	"fmt"
	"strings"
	"testing"
)

// show writes statements on one line, so that a table of texts and trees can be read.
func show(body []statement) string {
	var words []string
	for _, s := range body {
		switch s.kind {
		case isSetting:
			words = append(words, fmt.Sprintf("%s=%q@%d:%d", s.name, s.value, s.at.Line, s.at.Col))
		case isInclude:
			words = append(words, fmt.Sprintf("include %q", s.value))
		case isSection:
			name := s.name
			for i, r := range s.refs {
				name += []string{":", ","}[min(i, 1)] + r.path
			}
			words = append(words, name+"{"+show(s.body)+"}")
		}
	}
	return strings.Join(words, " ")
}

func TestParse(t *testing.T) {
	for _, test := range []struct{ name, text, want, errors string }{
		{"empty", "", "", ""},
		{"setting", "a = b", `a="b"@1:5`, ""},
		{"no spaces", "a=b\nc=d", `a="b"@1:3 c="d"@2:3`, ""},
		{"empty value", "a =\nb = c", `a=""@1:4 b="c"@2:5`, ""},
		{"byte order mark and CRLF", "\ufeffa = b\r\nc = d\r\n", `a="b"@1:5 c="d"@2:5`, ""},
		{"white space in a value counts once", "a =  b \t c  # d", `a="b c"@1:6`, ""},
		{"a value may hold = { and :", "dn = C=CH, {2:x", `dn="C=CH, {2:x"@1:6`, ""},
		{"sections on one line", "s { id { a = b } }", `s{id{a="b"@1:14}}`, ""},
		{"brace on a later line", "s # comment\n\n{\n}", `s{}`, ""},
		{"comments", "# {\na = b # }\n  # x", `a="b"@2:5`, ""},
		{"quoted", `a = "b  # } \" \\ \n\t\x"`, `a="b  # } \" \\ \n\tx"@1:5`, ""},
		{"quoted over lines", "a = \"b\\\nc\nd\"\ne = f", `a="bc\nd"@1:5 e="f"@4:5`, ""},
		{"parts are joined by a space", `a = b "c  d" e"f"`, `a="b c  d e f"@1:5`, ""},
		{"columns count characters", "ä = ü}", `ä="ü"@1:5`, "1:6: this } closes no section"},
		{"references", "a : b.c , d\n{ }", `a:b.c,d{}`, ""},
		{"double colon in a name", "C::x { }", `C:x{}`, ""},
		{"include", "include conf.d/*.conf # x\na = b", `include "conf.d/*.conf" a="b"@2:5`, ""},
		{"include quoted and escaped", "include \"a b\"\ns { include c\\ d\\}e }", `include "a b" s{include "c d}e"}`, ""},
		{"include can be a key", "include = x", `include="x"@1:11`, ""},
		{"include alone", "include\na = b", `a="b"@2:5`, "1:1: include needs a file name"},
		{"name alone", "a\nb = c", `b="c"@2:5`, "1:1: after this name a = or a { was expected"},
		{"value alone", "\"x\"\nb = c", `b="c"@2:5`, "1:1: a name was expected here"},
		{"= alone", "= x\nb = c", `b="c"@2:5`, "1:1: a name was expected here"},
		{"{ alone", "{ b = c }\nd = e", `d="e"@2:5`, "1:1: a section needs a name before the {"},
		{"} alone", "}\nd = e", `d="e"@2:5`, "1:1: this } closes no section"},
		{"not closed", "a {\n b {\n", `a{b{}}`, "1:1: this section is not closed 2:2: this section is not closed"},
		{"string not closed", "a {\n b = \"c\n}", `a{b="c\n}"@2:6}`, "2:6: this string has no end"},
		{"reference missing", "a : { }", `a{}`, "1:5: the name of a section to inherit from was expected here"},
		{"control character", "a\x01b = c", `a?b="c"@1:7`, "1:2: a character that cannot be printed in a name"},
		{"not UTF-8", "a\xff = c", `a?="c"@1:6`, "1:2: a character that cannot be printed in a name"},
		{"two errors", "a\nb\n", ``, "1:1: after this name a = or a { was expected 2:1: after this name a = or a { was expected"},
		{"too deep", strings.Repeat("a{", maxDepth+1), strings.Repeat("a{", maxDepth) + strings.Repeat("}", maxDepth), "1:65: sections are nested more than 32 deep"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := &report{}
			got := show(parse("f", test.text, r))
			if got != test.want {
				t.Errorf("read   %s\nwanted %s", got, test.want)
			}
			_, err := r.result()
			var errors []string
			if err != nil {
				for _, e := range err.(Errors) {
					errors = append(errors, fmt.Sprintf("%d:%d: %s", e.Line, e.Col, e.Msg))
				}
			}
			if got := strings.Join(errors, " "); got != test.errors {
				t.Errorf("errors %s\nwanted %s", got, test.errors)
			}
		})
	}
}

func TestParseWarnsOfCommentInWord(t *testing.T) {
	r := &report{}
	parse("f", "a = abc#def\nb = abc #def\nc = #def", r)
	if len(r.warnings) != 1 || r.warnings[0].Pos != (Pos{"f", 1, 8}) {
		t.Errorf("warnings %v, wanted one at f:1:8", r.warnings)
	}
}

// write is the text of statements, in a form that parse reads back.
func write(b *strings.Builder, body []statement) {
	quote := func(s string) string {
		return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`, "\t", `\t`).Replace(s) + `"`
	}
	name := func(s string) string { return strings.ReplaceAll(s, ":", "::") }
	for _, s := range body {
		switch s.kind {
		case isSetting:
			fmt.Fprintf(b, "%s = %s\n", name(s.name), quote(s.value))
		case isInclude:
			fmt.Fprintf(b, "include %s\n", quote(s.value))
		case isSection:
			b.WriteString(name(s.name))
			for i, r := range s.refs {
				b.WriteString([]string{" : ", ", "}[min(i, 1)] + name(r.path))
			}
			b.WriteString(" {\n")
			write(b, s.body)
			b.WriteString("}\n")
		}
	}
}

// skeleton is show without positions.
func skeleton(body []statement) string {
	var b strings.Builder
	write(&b, body)
	return b.String()
}

func FuzzParse(f *testing.F) {
	f.Add(natCase)
	f.Add("a : b.c, d { include \"x y\"\n e = f \"g\\\n\" # h\n }\n}")
	f.Add("connections { a : t { } }\nt { u : connections.a { } local { id = %any } }")
	f.Add("x { \"")
	f.Add("secrets { ike { secret = 0x00ff\n id = @a } }")
	f.Fuzz(func(t *testing.T, text string) {
		r := &report{}
		body := parse("f", text, r)
		for _, e := range r.errors {
			if e.Line < 1 || e.Col < 1 || e.Line > 1+strings.Count(text, "\n") {
				t.Fatalf("error at an impossible place: %v", e)
			}
		}
		if len(r.errors) == 0 { // what was understood can be written and read again
			again := &report{}
			if got, want := skeleton(parse("g", skeleton(body), again)), skeleton(body); got != want || len(again.errors) > 0 {
				t.Fatalf("read back\n%s\nwanted\n%s\nerrors %v", got, want, again.errors)
			}
		}
		c, _, err := Parse("f", []byte(text), Options{})
		if (c == nil) != (err != nil) {
			t.Fatalf("config %v, error %v", c, err)
		}
		if c != nil {
			var b strings.Builder
			if err := c.Describe(&b); err != nil {
				t.Fatal(err)
			}
		}
	})
}
