package archtest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestArchitecture checks the project's own files.
func TestArchitecture(t *testing.T) {
	top, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(top, "go.mod")); err != nil {
		t.Fatal(err)
	}
	files, err := readTree(top)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 50 {
		t.Fatalf("only %d files below %s", len(files), top)
	}
	complaints, err := check(files)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range complaints {
		t.Error(c)
	}
}

// TestRules gives each rule a text that breaks it, and one that does not.
func TestRules(t *testing.T) {
	for _, test := range []struct{ name, path, text, want string }{
		{"allowed import", "psk/x.go", `import _ "github.com/culvert-vpn/culvert/ident"`, ""},
		{"forbidden import", "ident/x.go", `import _ "github.com/culvert-vpn/culvert/psk"`, "ident/x.go:3: ident must not import psk"},
		{"esp and ike never meet", "esp/x.go", `import _ "github.com/culvert-vpn/culvert/ike"`, "esp must not import ike"},
		{"a package below is another one", "psk/x.go", `import _ "github.com/culvert-vpn/culvert/ident/more"`, "psk must not import ident/more"},
		{"tests may import more", "ident/x_test.go", `import _ "github.com/culvert-vpn/culvert/psk"`, ""},
		{"no row", "other/x.go", ``, "package other has no row"},
		{"a row for all commands", "cmd/culvert/status/x.go", `import _ "github.com/culvert-vpn/culvert/gateway"`, ""},
		{"test helper in the daemon", "gateway/x.go", `import _ "github.com/culvert-vpn/culvert/tun/tuntest"`, "tun/tuntest is for tests only"},
		{"net in a deciding package", "natt/x.go", `import _ "net"`, "natt decides and must not import net"},
		{"net/netip is harmless", "natt/x.go", `import _ "net/netip"`, ""},
		{"net/url is not", "natt/x.go", `import _ "net/url"`, "must not import net/url"},
		{"os", "ike/wire/x.go", `import _ "os"`, "must not import os"},
		{"log/slog", "ike/x.go", `import _ "log/slog"`, "must not import log/slog"},
		{"log/slog in psk", "psk/x.go", "import \"log/slog\"\nvar _ slog.Value", ""},
		{"logging in psk", "psk/x.go", "import \"log/slog\"\nvar _ = slog.Info", "psk decides and must not use log/slog.Info"},
		{"math/rand/v2", "ike/x.go", `import _ "math/rand/v2"`, "must not import math/rand/v2"},
		{"crypto/rand", "suite/x.go", `import _ "crypto/rand"`, "must not import crypto/rand"},
		{"os elsewhere", "config/x.go", `import _ "os"`, ""},
		{"for another platform", "natt/x_plan9.go", `import _ "os"`, "must not import os"},

		{"clock", "ike/x.go", "import \"time\"\nvar a = time.Second\nfunc f() { _ = time.Now() }", "ike/x.go:5: ike decides and must not use time.Now"},
		{"clock by another name", "ike/x.go", "import clock \"time\"\nvar _ = clock.Now()", "must not use time.Now"},
		{"clock as a value", "ike/x.go", "import \"time\"\nvar now = time.Now", "must not use time.Now"},
		{"timer", "esp/x.go", "import \"time\"\nfunc f() { time.Sleep(1) }", "must not use time.Sleep"},
		{"a variable named time", "ike/x.go", "type c struct{ Now int }\nfunc f(time c) int { return time.Now }", ""},
		{"clock elsewhere", "gateway/x.go", "import \"time\"\nvar _ = time.Now()", ""},
		{"print", "ts/x.go", "import \"fmt\"\nfunc f() { fmt.Println() }", "must not use fmt.Println"},
		{"Sprint", "ts/x.go", "import \"fmt\"\nvar _ = fmt.Sprint()", ""},
		{"println", "ts/x.go", "func f() { println() }", "must not print"},

		{"assignment", "esp/x.go", "var v int\nfunc f() { v = 1 }", "esp/x.go:4: esp decides and must not change its variable v"},
		{"increment", "esp/x.go", "var v int\nfunc f() { v++ }", "change its variable v"},
		{"operation", "esp/x.go", "var v int\nfunc f() { v += 2 }", "change its variable v"},
		{"element", "esp/x.go", "var v [2]int\nfunc f() { v[1] = 1 }", "change its variable v"},
		{"field", "esp/x.go", "var v struct{ a []struct{ b int } }\nfunc f() { v.a[1].b = 1 }", "change its variable v"},
		{"pointer", "esp/x.go", "var v *int\nfunc f() { *v = 1 }", "change its variable v"},
		{"range", "esp/x.go", "var v int\nfunc f() { for v = range 3 { } }", "change its variable v"},
		{"delete", "esp/x.go", "var v map[int]int\nfunc f() { delete(v, 1) }", "change its variable v"},
		{"copy", "esp/x.go", "var v []int\nfunc f() { copy(v[1:], v) }", "change its variable v"},
		{"in a closure", "esp/x.go", "var v int\nvar _ = func() { v = 1 }", "change its variable v"},
		{"in a method", "esp/x.go", "type t int\nvar v int\nfunc (t) f() { v = 1 }", "change its variable v"},
		{"method init", "esp/x.go", "type t int\nvar v int\nfunc (t) init() { v = 1 }", "change its variable v"},
		{"in init", "esp/x.go", "var v int\nfunc init() { v = 1 }", ""},
		{"read", "esp/x.go", "var v = []int{1}\nfunc f() int { w := v; return w[0] }", ""},
		{"shadowed", "esp/x.go", "var v int\nfunc f(v int) { v = 1; { v := 2; v++ } }", ""},
		{"of another type", "esp/x.go", "var v int\nfunc f(x struct{ v int }) { x.v = 1 }", ""},
		{"variable elsewhere", "gateway/x.go", "var v int\nfunc f() { v = 1 }", ""},

		{"goroutine", "udp/x.go", "func f() { go f() }", "udp must not start a goroutine"},
		{"goroutine in a closure", "config/x.go", "var _ = func() { go func() {}() }", "config must not start a goroutine"},
		{"goroutine in gateway", "gateway/x.go", "func f() { go f() }", ""},
		{"goroutine in a test", "udp/x_test.go", "func f() { go f() }", ""},
		{"goroutine in a test helper", "udp/udptest/x.go", "func f() { go f() }", ""},

		{"long file", "udp/x.go", strings.Repeat("\n", maxLines), "lines, more than 600"},
		{"long test", "udp/x_test.go", strings.Repeat("\n", maxLines), ""},

		{"function without comment", "udp/x.go", "func F() {}", "F has no comment"},
		{"type without comment", "udp/x.go", "type T int", "T has no comment"},
		{"types in a group", "udp/x.go", "// Group.\ntype (\nT int\n)", "T has no comment"},
		{"method without comment", "udp/x.go", "// T is.\ntype T int\nfunc (t *T) M() {}", "M has no comment"},
		{"methods of a run", "udp/x.go", "// T is.\ntype T int\n\n// M and N are.\nfunc (T) M() {}\nfunc (T) N() {}", ""},
		{"methods of two runs", "udp/x.go", "// T is.\ntype T int\n\n// M is.\nfunc (T) M() {}\n\nfunc (T) N() {}", "N has no comment"},
		{"String", "udp/x.go", "// T is.\ntype T int\nfunc (T) String() string { return \"\" }", ""},
		{"function String", "udp/x.go", "func String() {}", "String has no comment"},
		{"constants of an own type", "udp/x.go", "// T is.\ntype T int\nconst (\nA T = iota\nB\n)", ""},
		{"then of another type", "udp/x.go", "// T is.\ntype T int\nconst (\nA T = iota\nB = 2\n)", "B has no comment"},
		{"method of an unexported type", "udp/x.go", "type t[X any] int\nfunc (*t[X]) M() {}", ""},
		{"constant without comment", "udp/x.go", "const C = 1", "C has no comment"},
		{"constants of a group", "udp/x.go", "// Group.\nconst (\nC = 1\nD = 2\n)", ""},
		{"constants of a run", "udp/x.go", "const (\n// C and D.\nC = 1\nD = 2\n)", ""},
		{"constants of two runs", "udp/x.go", "const (\n// C is.\nC = 1\n\nD = 2\n)", "D has no comment"},
		{"constant with a comment behind", "udp/x.go", "const (\nC = 1 // is\n)", ""},
		{"unexported", "udp/x.go", "func f() {}\ntype t int\nconst c = 1", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			complaints, err := check([]source{{test.path, "package p\n\n" + test.text + "\n"}})
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Join(complaints, "\n")
			if test.want == "" && got != "" {
				t.Errorf("complains of %s", got)
			}
			if test.want != "" && (len(complaints) != 1 || !strings.Contains(got, test.want)) {
				t.Errorf("says %q, wanted only %q", got, test.want)
			}
		})
	}
}

// TestAcrossFiles: a variable of one file changed in another, which is for another platform.
func TestAcrossFiles(t *testing.T) {
	complaints, err := check([]source{
		{"esp/a.go", "package esp\n\nimport \"nowhere/there\"\n\nvar v = there.New()\n"},
		{"esp/b_linux.go", "package esp\n\nfunc f() { v.x = 1 }\n"},
		{"esp/b_other.go", "package esp\n\nfunc f() { _ = v.x }\n"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(complaints) != 1 || !strings.HasPrefix(complaints[0], "esp/b_linux.go:3:") {
		t.Errorf("says %q", complaints)
	}
}

// TestGraphIsSound: rows name packages of the table, and no arrow leads from a deciding package to one that touches
// the world.
func TestGraphIsSound(t *testing.T) {
	for name, row := range imports {
		for _, target := range words(row) {
			if _, ok := imports[target]; !ok {
				t.Errorf("%s may import %s, which has no row", name, target)
			}
			if covers(deciding, name) && !covers(deciding, target) {
				t.Errorf("%s decides and may import %s, which does not", name, target)
			}
		}
	}
	for _, name := range deciding {
		if _, ok := imports[name]; !ok {
			t.Errorf("deciding package %s has no row", name)
		}
	}
}
