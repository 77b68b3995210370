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
	for _, want := range []string{source + ":", "1 connection carried over; 2 statements of the source not, or not quite"} {
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

func TestImportIPsecConf(t *testing.T) {
	t.Chdir(t.TempDir())
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("ipsec.conf", "include conns/*.conf\n")
	write("ipsec.secrets", "include more.secrets\n")
	write("more.secrets", "@cloud @office : PSK \"hidden secret of the office\"\n")
	if err := os.Mkdir("conns", 0o755); err != nil {
		t.Fatal(err)
	}
	write("conns/office.conf", "conn office\n\tauthby=secret\n\tleft=192.0.2.10\n\tleftid=@cloud\n\tright=203.0.113.1\n\trightid=@office\n\tauto=start\n\tcompress=yes\n")

	if code, _, stderr := culvert("import", "ipsec.conf", "ipsec.conf"); code != exitUsage || !strings.Contains(stderr, "--secrets") {
		t.Errorf("without secrets: exit code %d, %s", code, stderr)
	}
	code, stdout, stderr := culvert("import", "ipsec.conf", "ipsec.conf", "--secrets", "ipsec.secrets")
	if code != exitFine || !strings.Contains(stdout, "id = @cloud") || strings.Contains(stderr, "hidden") ||
		!strings.Contains(stderr, "conns/office.conf:8: compress=yes: packets are not compressed") {
		t.Errorf("exit code %d\n%s\n%s", code, stdout, stderr)
	}
	code, stdout, stderr = culvert("import", "ipsec.conf", "ipsec.conf", "--secrets", "ipsec.secrets", "--here", "203.0.113.1")
	if code != exitFine || !strings.Contains(stdout, "remote_addrs = 192.0.2.10") {
		t.Errorf("from the other side: exit code %d\n%s\n%s", code, stdout, stderr)
	}
	if code, _, _ = culvert("import", "ipsec.conf", "ipsec.conf", "--here", "office"); code != exitUsage {
		t.Errorf("--here office: exit code %d", code)
	}
}
