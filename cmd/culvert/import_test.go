package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/culvert-vpn/culvert/config"
)

// published is a block of the reference case.
func published(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("../../convert/testdata/vyos", name))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestImportVyOS(t *testing.T) {
	source := published(t, "reference-b.in")
	t.Chdir(t.TempDir())
	code, stdout, stderr := culvert("import", "vyos", source)
	if code != exitFine || !strings.Contains(stdout, "id = @foo") || strings.Contains(stderr, "qwerty") {
		t.Errorf("exit code %d\n%s\n%s", code, stdout, stderr)
	}
	for _, want := range []string{source + ":", "1 connection carried over, 2 statements of the source not"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("%q is not in\n%s", want, stderr)
		}
	}
	if code, stdout, stderr = culvert("import", "vyos", source, "-o", "conf/new.conf"); code != exitFine || stdout != "" {
		t.Fatalf("exit code %d, %s", code, stderr)
	}
	if info, err := os.Stat("conf/new.conf"); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	conf, _, err := config.Load("conf/new.conf")
	if err != nil {
		t.Fatal(err)
	}
	conf.Secrets.Wipe()
	if code, _, stderr = culvert("import", "vyos", source, "-o", "conf/new.conf"); code != exitFailed || !strings.Contains(stderr, "exists already") {
		t.Errorf("a second time: exit code %d, %s", code, stderr)
	}
	if code, _, _ = culvert("import", "vyos", source, "-o", "conf/new.conf", "--force"); code != exitFine {
		t.Errorf("--force: exit code %d", code)
	}
}

// What cannot be read, or makes no configuration, is not written.
func TestImportFailures(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, test := range []struct {
		source string
		code   int
		want   string
	}{
		{"nothing of the kind\n", exitFailed, "there is no vpn ipsec in it"},
		{"vpn { ipsec { site-to-site { peer 192.0.2.1 { disable } } } }", exitFailed, "no connection could be carried over"},
		{"vpn { ipsec { site-to-site { peer 192.0.2.1 { authentication { pre-shared-secret hidden }\n local-address any\n tunnel 1 { local { prefix 10.0.0.300/24 } } } } } }",
			exitConfig, "nothing was written"},
	} {
		if err := os.WriteFile("source", []byte(test.source), 0o600); err != nil {
			t.Fatal(err)
		}
		code, stdout, stderr := culvert("import", "vyos", "source", "-o", "new.conf")
		if code != test.code || stdout != "" || !strings.Contains(stderr, test.want) || strings.Contains(stderr, "hidden") {
			t.Errorf("%s: exit code %d, %s", test.source, code, stderr)
		}
		if _, err := os.Stat("new.conf"); err == nil {
			t.Errorf("%s: something was written", test.source)
		}
	}
	if code, _, _ := culvert("import", "vyos", "absent"); code != exitFailed {
		t.Errorf("a file that is not there: exit code %d", code)
	}
	if code, _, _ := culvert("import", "vyos"); code != exitUsage {
		t.Errorf("no file: exit code %d", code)
	}
}
