package config

import (
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"testing"
)

// The group of a file is known by its name.
func TestBelongsTo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(path, -1, os.Getegid()); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	own, err := user.LookupGroupId(strconv.Itoa(os.Getegid()))
	if err != nil {
		t.Fatal(err)
	}
	if !belongsTo(info, own.Name) {
		t.Errorf("a file of the group %s is not", own.Name)
	}
	for _, other := range []string{own.Name + "x", "", "nogroup"} {
		if other != own.Name && belongsTo(info, other) {
			t.Errorf("a file of the group %s is one of %q", own.Name, other)
		}
	}
}
