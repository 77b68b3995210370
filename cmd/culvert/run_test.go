package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The files for keys are the daemon's own, whatever stands in the directory.
func TestKeyLogFiles(t *testing.T) {
	for _, test := range []struct {
		name string
		make func(path string) error
		want string // in the error; "" for none
	}{
		{"nothing", func(string) error { return nil }, ""},
		{"one of an earlier run", func(path string) error { return os.WriteFile(path, []byte("x\n"), 0o600) }, ""},
		{"a link", func(path string) error { return os.Symlink(path+"-elsewhere", path) }, "symbolic link"},
		{"a readable file", func(path string) error { return os.WriteFile(path, nil, 0o644) }, "owner alone"},
		{"a directory", func(path string) error { return os.Mkdir(path, 0o700) }, "directory"},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "esp_sa")
		if err := test.make(path); err != nil {
			t.Fatal(err)
		}
		k, err := openKeyLog(dir)
		if err == nil {
			k.close()
		}
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
		if _, err := os.Lstat(path + "-elsewhere"); err == nil {
			t.Errorf("%s: a file elsewhere was made", test.name)
		}
	}
}

func TestHelp(t *testing.T) {
	if code, _, stderr := culvert("help", "nonsense"); code != exitUsage || !strings.Contains(stderr, "no help on") {
		t.Errorf("help nonsense: exit code %d: %s", code, stderr)
	}
	for _, args := range [][]string{{"help"}, {"help", "run"}, {"help", "exit-codes"}} {
		if code, stdout, stderr := culvert(args...); code != exitFine || stdout == "" || stderr != "" {
			t.Errorf("%v: exit code %d: %s", args, code, stderr)
		}
	}
}
