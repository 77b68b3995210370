package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/culvert-vpn/culvert/internal/secrecy"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares what was printed with a file.
func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s: got\n%s\nwant\n%s", file, got, want)
	}
}

// told are the secrets of the configurations of the tests, which no command may tell.
var told secrecy.Secrets

// culvert runs one command line.
func culvert(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = execute(args, &out, &errs)
	if len(args) > 0 && !slices.Contains([]string{"new", "import", "demo"}, args[0]) { // which write configurations, as they should
		for _, arg := range args {
			text, _ := os.ReadFile(arg)
			told.KnowConfiguration(string(text))
		}
		if leaks := told.Find(append(out.Bytes(), errs.Bytes()...)); leaks != nil {
			panic(fmt.Sprintf("culvert %q tells secrets: %q", args, leaks))
		}
	}
	return code, out.String(), errs.String()
}

func TestCheck(t *testing.T) {
	testdata, err := filepath.Abs(filepath.Join("testdata", "check"))
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir()) // positions name files as the user did
	for _, test := range []struct {
		name string
		code int
	}{{"good", exitFine}, {"warning", exitFine}, {"bad", exitConfig}, {"absent", exitConfig}} {
		t.Run(test.name, func(t *testing.T) {
			if text, err := os.ReadFile(filepath.Join(testdata, test.name+".conf")); err == nil {
				// Secrets are refused in files that others can read.
				if err := os.WriteFile(test.name+".conf", text, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			code, stdout, stderr := culvert("check", test.name+".conf")
			if code != test.code {
				t.Errorf("exit code %d, want %d", code, test.code)
			}
			if strings.Contains(stdout+stderr, "qwerty") {
				t.Error("the secret is printed")
			}
			golden(t, filepath.Join(testdata, test.name+".golden"), []byte("-- stdout\n"+stdout+"-- stderr\n"+stderr))
		})
	}
}

// The public address of a 1:1 NAT is no address of the host behind it.
func TestCheckLocalAddrs(t *testing.T) {
	t.Chdir(t.TempDir())
	text := `connections {
	site {
		local_addrs = 203.0.113.1
		local { auth = psk
			id = @a }
		remote { auth = psk
			id = @b }
		children { net { remote_ts = 10.104.0.0/24 } }
	}
}
secrets { ike { secret = "0123456789abcdef0123456789" } }
`
	for addrs, warned := range map[string]bool{"203.0.113.1": true, "127.0.0.1": false, "%any": false} {
		if err := os.WriteFile("nat.conf", []byte(strings.Replace(text, "203.0.113.1", addrs, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		code, stdout, stderr := culvert("check", "nat.conf")
		const want = `nat.conf: warning: connection "site": no interface of this host has local_addrs = 203.0.113.1, `
		if code != exitFine || stdout == "" || strings.HasPrefix(stderr, want) != warned {
			t.Errorf("local_addrs = %s: exit code %d, %q", addrs, code, stderr)
		}
	}
}
