package gateway

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/culvert-vpn/culvert/explain"
	"github.com/culvert-vpn/culvert/ident"
	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/natt"
)

// loggingPage is docs/logging.md.
func loggingPage(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile(filepath.Join("..", "docs", "logging.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

// rowsOf are the rows of the table below a headline, by what stands in their first cell.
func rowsOf(t *testing.T, page, headline string) map[string][]string {
	t.Helper()
	_, section, ok := strings.Cut(page, "\n## "+headline+"\n")
	if !ok {
		t.Fatalf("the page has no section %q", headline)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	rows := make(map[string][]string)
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (.*) \\|$").FindAllStringSubmatch(section, -1) {
		if rows[m[1]] != nil {
			t.Errorf("%q is there twice", m[1])
		}
		rows[m[1]] = strings.Split(m[2], " | ")
	}
	return rows
}

// same checks that the page has what the code has, and nothing else.
func same(t *testing.T, what string, page map[string][]string, code map[string]string) {
	t.Helper()
	for name, level := range code {
		if row, ok := page[name]; !ok {
			t.Errorf("%s: the page lacks | `%s` | %s |", what, name, level)
		} else if level != "" && row[0] != level {
			t.Errorf("%s %q: the page says %s, the code %s", what, name, row[0], level)
		}
	}
	for name := range page {
		if _, ok := code[name]; !ok {
			t.Errorf("%s: there is no %q any more", what, name)
		}
	}
}

// TestLoggedEvents: docs/logging.md has every kind of event, with its level.
func TestLoggedEvents(t *testing.T) {
	code := make(map[string]string)
	for kind := ike.EventKind(1); kind <= ike.EventKinds; kind++ {
		var b bytes.Buffer
		l := eventLog{log: slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug}))}
		l.event(ike.Event{Kind: kind})
		level := regexp.MustCompile(`level=(\w+) msg=(\S+)`).FindStringSubmatch(b.String())
		if level == nil || level[2] != kind.String() {
			t.Fatalf("%v is logged as %q", kind, b.String())
		}
		code[kind.String()] = strings.ToLower(level[1])
	}
	same(t, "event", rowsOf(t, loggingPage(t), "Events"), code)
}

// TestLoggedAttributes: it has every attribute of an event.
func TestLoggedAttributes(t *testing.T) {
	id, err := ident.Parse("@x")
	if err != nil {
		t.Fatal(err)
	}
	at := netip.MustParseAddrPort("192.0.2.1:500")
	full := ike.Event{
		Kind: ike.Failed, Conn: "c", Child: "n", SPIi: 1, SPIr: 2, Path: natt.Path{Local: at, Remote: at}, LocalID: id, RemoteID: id,
		SPIIn: 3, SPIOut: 4, Text: "t", Remedy: "r", Diagnosis: &explain.Diagnosis{Cause: explain.WrongSecret},
	}
	code := map[string]string{"withheld": ""}
	for _, a := range attributes(full) {
		code[a.Key] = ""
	}
	same(t, "attribute", rowsOf(t, loggingPage(t), "Attributes of events"), code)
}

// logCalls finds what a package logs besides events: the messages that are there in the source, each with its level and attributes.
func logCalls(t *testing.T, dir string, code map[string]string, attributes map[string][]string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatal(dir, err)
	}
	levels := []string{"Debug", "Info", "Warn", "Error", "LogAttrs", "error"} // the last is that of eventLog
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			method, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || !slices.Contains(levels, method.Sel.Name) || len(call.Args) == 0 {
				return true
			}
			level, args := strings.ToLower(method.Sel.Name), call.Args
			if level == "logattrs" && len(args) > 2 {
				if l, ok := args[1].(*ast.SelectorExpr); ok {
					level = strings.ToLower(strings.TrimPrefix(l.Sel.Name, "Level"))
				}
				args = args[2:]
			}
			message, ok := literal(args[0])
			if !ok {
				return true
			}
			code[message] = level
			if method.Sel.Name == "error" {
				attributes[message] = append(attributes[message], "error")
			}
			for _, a := range args[1:] {
				if key, ok := literal(a); ok {
					attributes[message] = append(attributes[message], key)
				}
			}
			return true
		})
	}
}

// literal is the text of a string that stands in the source, or at the beginning of one that is put together.
func literal(e ast.Expr) (string, bool) {
	if sum, ok := e.(*ast.BinaryExpr); ok {
		text, ok := literal(sum.X)
		return strings.TrimSuffix(text, ": "), ok
	}
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	text, err := strconv.Unquote(lit.Value)
	return text, err == nil
}

// TestLoggedMessages: it has every other message that the daemon logs, with its level and attributes.
func TestLoggedMessages(t *testing.T) {
	code, attributes := make(map[string]string), make(map[string][]string)
	for _, dir := range []string{"gateway", filepath.Join("cmd", "culvert")} {
		logCalls(t, dir, code, attributes)
	}
	page := rowsOf(t, loggingPage(t), "Other messages")
	for message, level := range code {
		var keys []string
		for _, key := range attributes[message] {
			if key = "`" + key + "`"; !slices.Contains(keys, key) {
				keys = append(keys, key)
			}
		}
		if want := level + " | " + strings.Join(keys, " "); strings.Join(page[message], " | ") != want {
			t.Errorf("docs/logging.md lacks the row\n| `%s` | %s |", message, want)
		}
	}
	for message := range page {
		if code[message] == "" {
			t.Errorf("nothing logs %q any more", message)
		}
	}
}
