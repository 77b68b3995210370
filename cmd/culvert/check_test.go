package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
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

// culvert runs one command line.
func culvert(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = execute(args, &out, &errs)
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
