//go:build linux

package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestToolsUnreachable wants one sentence that says what could not be fetched, and nothing left that would pass for
// the tools the next time.
func TestToolsUnreachable(t *testing.T) {
	if _, err := exec.LookPath("apt-get"); err != nil {
		cannotRun(t, "the tools are Debian packages: %v", err)
	}
	mirror := filepath.Join(t.TempDir(), "no-such-mirror")
	t.Setenv("CULVERT_DEBIAN_MIRROR", "file://"+mirror)
	cache := t.TempDir()
	for range 2 {
		tools, err := fetchTools(cache, []string{"iputils-ping"})
		if err == nil || !strings.Contains(err.Error(), mirror) || strings.Contains(err.Error(), "\n") {
			t.Fatalf("got %v, %v", tools, err)
		}
	}
}

// TestProgramFromFile starts a program that is not part of the tools' tree, this test's own binary, and there looks
// around.
func TestProgramFromFile(t *testing.T) {
	const inside = "CULVERT_E2E_INSIDE"
	if os.Getenv(inside) != "" {
		lookAround(t)
		return
	}
	t.Parallel()
	self, err := os.Open("/proc/self/exe")
	Must(t, err)
	defer self.Close()
	h, dir := NewNet(t).Host("h"), t.TempDir()
	out, err := h.Run(Command{
		File: self, Args: []string{"-test.run=^TestProgramFromFile$", "-test.v"}, Env: []string{inside + "=1"}, Run: dir,
	})
	if err != nil || !strings.Contains(out, "looked around") {
		t.Errorf("%q, %v", out, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "made-inside")); err != nil {
		t.Errorf("what the program wrote: %v", err)
	}
	if _, err := h.Run(Command{Path: "/usr/bin/no-such-program"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a program that does not exist: %v", err)
	}
}

// lookAround runs as a program inside of the tree.
func lookAround(t *testing.T) {
	if _, err := os.Stat("/usr/lib/ipsec/charon"); err != nil {
		t.Errorf("the tools: %v", err)
	}
	if _, err := os.Stat("/home"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the host's files can be seen: %v", err)
	}
	if err := os.WriteFile("/usr/x", nil, 0o644); !errors.Is(err, syscall.EROFS) {
		t.Errorf("the tree can be written: %v", err)
	}
	Must(t, os.WriteFile("/run/made-inside", nil, 0o644), os.WriteFile("/tmp/x", nil, 0o644))
	devices, err := os.ReadDir("/sys/class/net")
	if err != nil || len(devices) != 1 {
		t.Errorf("%d network devices, want only lo; %v", len(devices), err)
	}
	t.Log("looked around")
}
