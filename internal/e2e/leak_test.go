//go:build linux

package e2e

import (
	"bufio"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// TestHarnessLeavesNothing must not be parallel: parallel tests start when it is over, so all it sees is its own.
func TestHarnessLeavesNothing(t *testing.T) {
	RequireRoot(t)
	RequireTools(t)
	before := traces(t)
	t.Run("scenario", func(t *testing.T) {
		ref := NewReference(t, Plan{B: Masquerade})
		a := NewStrongSwan(ref.A.Host, referenceA)
		ref.Net.Capture(ref.A.Uplink)
		_, err := ref.B.Client.StartPing(ref.B.Host.Addr(), Ping{})
		Must(t, err, a.Start())
		if during := traces(t); len(during) <= len(before) {
			t.Errorf("a running scenario leaves no trace: the test is blind")
		}
	})
	after := traces(t)
	for deadline := time.Now().Add(10 * time.Second); !maps.Equal(before, after) && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond) // the kernel takes namespaces apart at leisure
		after = traces(t)
	}
	for _, trace := range slices.Sorted(maps.Keys(after)) {
		if !before[trace] {
			t.Errorf("left behind: %s", trace)
		}
	}
	for _, trace := range slices.Sorted(maps.Keys(before)) {
		if !after[trace] {
			t.Errorf("taken away: %s", trace)
		}
	}
}

// traces is all by which a scenario can be noticed from outside: mounts, links, child processes, and descriptors and
// threads in other network namespaces than the host's.
func traces(t *testing.T) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	mounts, err := os.ReadFile("/proc/1/mountinfo")
	Must(t, err)
	for line := range strings.Lines(string(mounts)) {
		found["mount "+strings.TrimSpace(line)] = true
	}
	links, err := netlink.LinkList()
	Must(t, err)
	for _, link := range links {
		found[fmt.Sprintf("link %d %s", link.Attrs().Index, link.Attrs().Name)] = true
	}
	for _, pattern := range []string{"/proc/self/fd/*", "/proc/[0-9]*/ns/net", "/proc/self/task/*/ns/net"} {
		paths, err := filepath.Glob(pattern)
		Must(t, err)
		for _, path := range paths {
			if target, err := os.Readlink(path); err == nil && strings.HasPrefix(target, "net:") {
				found[target] = true
			}
		}
	}
	children, err := filepath.Glob("/proc/self/task/*/children")
	Must(t, err)
	for _, path := range children {
		list, err := os.ReadFile(path)
		if err != nil {
			continue // the thread has ended
		}
		for _, pid := range strings.Fields(string(list)) {
			found["child process "+pid] = true
		}
	}
	return found
}

// TestHarnessCrash lets a test process die in the middle of a scenario; what it started must die with it.
func TestHarnessCrash(t *testing.T) {
	const crash = "CULVERT_E2E_CRASH"
	if os.Getenv(crash) != "" {
		ref := NewReference(t, Plan{})
		a := NewStrongSwan(ref.A.Host, referenceA)
		Must(t, a.Start())
		fmt.Printf("charon is %d\n", a.process.Pid())
		select {} // until killed
	}
	t.Parallel()
	RequireRoot(t)
	RequireTools(t)
	cmd := exec.Command(os.Args[0], "-test.run=^TestHarnessCrash$")
	cmd.Env = append(os.Environ(), crash+"=1", "CULVERT_E2E_KEEP="+t.TempDir())
	stdout, err := cmd.StdoutPipe()
	Must(t, err, cmd.Start())
	pid, said := 0, ""
	for scanner := bufio.NewScanner(stdout); pid == 0 && scanner.Scan(); {
		said += scanner.Text() + "\n"
		fmt.Sscanf(scanner.Text(), "charon is %d", &pid)
	}
	alive := func() bool {
		exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
		return err == nil && strings.HasSuffix(exe, "/charon")
	}
	was := pid != 0 && alive()
	Must(t, cmd.Process.Kill())
	_ = cmd.Wait() // reports the kill
	if !was {
		t.Fatalf("no charon ran in the test process, which said:\n%s", said)
	}
	for deadline := time.Now().Add(10 * time.Second); alive(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("charon %d survives the test process that started it", pid)
		}
	}
}
