package gateway

import (
	"bytes"
	"crypto/rand"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func drawn(b []byte) error { _, err := rand.Read(b); return err }

// TestTokenSecret: the secret for crash detection is the same in the next run, nobody else can read it, and what is not as it should be is
// replaced (RFC 6290 5.1, 9.1).
func TestTokenSecret(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "state")
	read := func() []byte {
		t.Helper()
		s, err := openState(path)
		if err != nil {
			t.Fatal(err)
		}
		defer s.close()
		secret, err := s.tokenSecret(drawn)
		if err != nil || len(secret) != tokenSecretLen {
			t.Fatalf("%d bytes, %v", len(secret), err)
		}
		return secret
	}
	first := read()
	if !bytes.Equal(first, read()) {
		t.Error("another secret in the next run")
	}
	name := filepath.Join(path, tokenSecretFile)
	for _, f := range []struct {
		name string
		mode os.FileMode
	}{{path, 0o700}, {name, 0o600}} {
		if info, err := os.Stat(f.name); err != nil || info.Mode().Perm() != f.mode {
			t.Errorf("%s has %v, want %v; %v", f.name, info.Mode(), f.mode, err)
		}
	}
	for what, spoil := range map[string]func() error{
		"others can read it": func() error { return os.Chmod(name, 0o640) },
		"it is cut off":      func() error { return os.Truncate(name, 7) },
		"it is a link":       func() error { os.Rename(name, name+"2"); return os.Symlink(name+"2", name) },
		"it is gone":         func() error { return os.Remove(name) },
	} {
		before := read()
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		after := read()
		if bytes.Equal(before, after) || !bytes.Equal(after, read()) {
			t.Errorf("%s: not replaced once", what)
		}
	}
	left, err := filepath.Glob(filepath.Join(path, ".*"))
	if err != nil || len(left) > 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}

// TestStateOfOne: two gateways with one secret would show the tokens of each other's IKE SAs (RFC 6290 9.2): the second does without.
func TestStateOfOne(t *testing.T) {
	dir := t.TempDir()
	var log bytes.Buffer
	gateway := func() *Gateway {
		return &Gateway{options: options{state: dir, rand: rand.Reader, log: slog.New(slog.NewTextHandler(&log, nil))}}
	}
	first, second := gateway(), gateway()
	forget := first.remember()
	if len(first.tokenSecret) != tokenSecretLen || log.Len() > 0 {
		t.Fatalf("%d bytes; %s", len(first.tokenSecret), &log)
	}
	second.remember()()
	if second.tokenSecret != nil || !strings.Contains(log.String(), "another gateway uses the directory") {
		t.Errorf("%d bytes; %s", len(second.tokenSecret), &log)
	}
	secret := first.tokenSecret
	forget()
	if !bytes.Equal(secret, make([]byte, tokenSecretLen)) {
		t.Error("the secret is left in the memory")
	}
	third := gateway()
	forget = third.remember()
	defer forget()
	if third.tokenSecret == nil {
		t.Errorf("the directory stays locked: %s", &log)
	}
}

// TestNoState: a gateway that can keep nothing runs all the same, and says so.
func TestNoState(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	g := &Gateway{options: options{state: filepath.Join(file, "state"), rand: rand.Reader, log: slog.New(slog.NewTextHandler(&log, nil))}}
	g.remember()()
	if g.tokenSecret != nil || !strings.Contains(log.String(), "nothing is kept") {
		t.Errorf("%q", &log)
	}
}
