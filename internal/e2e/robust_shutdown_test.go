//go:build linux

package e2e

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestRobustStop ends the daemon with SIGTERM: every peer is told, and the host is as it was.
func TestRobustStop(t *testing.T) {
	t.Parallel()
	for _, m := range matches {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			ref := NewReference(t, Plan{B: OneToOne})
			a, b := m.start(t, ref, referenceA, with(referenceB, "", "start_action = none"))
			leaver, other, host := b, a, ref.B.Host
			if m.strongB {
				leaver, other, host = a, b, ref.A.Host
			}
			if left := leftovers(t, host); len(left) == 0 {
				t.Errorf("no device, route or rule is found while the daemon runs: the test is blind")
			}
			endsWell(t, leaver.(*Culvert))
			await(t, other, func(sas []SA) bool { return len(sas) == 0 })
			if left := leftovers(t, host); len(left) > 0 {
				t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
			}
			if _, err := os.Stat(filepath.Join(leaver.(*Culvert).dir, "control")); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the control socket is left behind: %v", err)
			}
		})
	}
}

// TestRobustStopManySAs has several connections to say good-bye to, one of whose peers is dead.
func TestRobustStopManySAs(t *testing.T) {
	t.Parallel()
	ref := NewReference(t, Plan{B: Masquerade, C: true})
	confA, confC := withSiteC(referenceA, referenceB)
	a := NewCulvert(ref.A.Host, confA)
	b, c := NewStrongSwan(ref.B.Host, referenceB), NewCulvert(ref.C.Host, confC)
	Must(t, a.Start(), b.Start(), c.Start(), b.Initiate("net"), c.Initiate("net"), c.Kill())
	endsWell(t, a)
	await(t, b, func(sas []SA) bool { return len(sas) == 0 })
	if left := leftovers(t, ref.A.Host); len(left) > 0 {
		t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
	}
}

// endsWell sends SIGTERM. The daemon promises to end within five seconds; the machine may be slow.
func endsWell(t *testing.T, c *Culvert) {
	t.Helper()
	start := time.Now()
	Must(t, c.Process().Signal(syscall.SIGTERM))
	select {
	case <-c.Process().Done():
	case <-time.After(sure):
		t.Fatalf("the daemon does not end\n%s", tails(c))
	}
	if took := time.Since(start); took > 7*time.Second {
		t.Errorf("it took %v\n%s", took, tails(c))
	}
	if err := c.Process().Wait(); err != nil || logged(c, "stopped") != 1 {
		t.Errorf("the end: %v\n%s", err, tails(c))
	}
}

// started runs `culvert run` to its end, which must come by itself, and returns what it said and its exit code. restrict
// is called when everything is mounted, in the mount namespace and on the thread that the program is started from.
func started(t *testing.T, p *Program, restrict func(root string) error, args ...string) (said string, code int) {
	t.Helper()
	binary, err := buildCulvert()
	Must(t, err)
	root := p.host.net.tools.Root
	var out bytes.Buffer
	cmd := exec.Command("/proc/self/fd/3", append([]string{"run", "--config", "/run/culvert.conf", "--state", "/run/state"}, args...)...)
	cmd.ExtraFiles = []*os.File{binary}
	cmd.Stdout, cmd.Stderr, cmd.Dir = &out, &out, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root}
	process, err := p.host.Host.Start("culvert", cmd, func() error {
		if err := mountTree(root, p.dir); err != nil {
			return err
		}
		return restrict(root)
	})
	Must(t, err)
	select {
	case <-process.Done():
	case <-time.After(sure):
		Must(t, process.Kill())
		t.Fatalf("the daemon runs although it cannot:\n%s", out.String())
	}
	var exit *exec.ExitError
	if err := process.Wait(); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	return out.String(), code
}

// complaints are the lines of what a daemon said that are no log.
func complaints(said string) (lines []string) {
	for line := range strings.Lines(said) {
		if !strings.HasPrefix(line, "{") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

// TestRobustCannotStart takes away what the daemon needs. It says in one sentence what is missing and ends, and the host
// is as it was.
func TestRobustCannotStart(t *testing.T) {
	t.Parallel()
	nothing := func(string) error { return nil }
	without := func(capability uintptr) func(string) error {
		return func(string) error { return unix.Prctl(unix.PR_CAPBSET_DROP, capability, 0, 0, 0) }
	}
	for _, test := range []struct {
		name     string
		prepare  func(*testing.T, *Reference)
		restrict func(root string) error
		args     []string
		want     []string // in the sentence
	}{
		{name: "port 500 in use", restrict: nothing, want: []string{"500"},
			prepare: func(t *testing.T, ref *Reference) {
				listenUDP(t, ref.A.Host, netip.MustParseAddrPort("0.0.0.0:500"))
			}},
		{name: "port 4500 in use", restrict: nothing, want: []string{"4500"},
			prepare: func(t *testing.T, ref *Reference) {
				listenUDP(t, ref.A.Host, netip.MustParseAddrPort("0.0.0.0:4500"))
			}},
		{name: "no /dev/net/tun", want: []string{"/dev/net/tun"},
			restrict: func(root string) error { return unix.Mount("tmpfs", root+"/dev/net", "tmpfs", 0, "") }},
		{name: "no CAP_NET_ADMIN", restrict: without(unix.CAP_NET_ADMIN), want: []string{"CAP_NET_ADMIN"}},
		{name: "no CAP_NET_BIND_SERVICE", restrict: without(unix.CAP_NET_BIND_SERVICE), want: []string{"CAP_NET_BIND_SERVICE"}},
		{name: "device in use", restrict: nothing, args: []string{"--tun", "internet"}, want: []string{"internet"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ref := NewReference(t, Plan{})
			p := NewProgram(ref.A.Host, referenceA)
			if test.prepare != nil {
				test.prepare(t, ref)
			}
			said, code := started(t, p, test.restrict, append(test.args, "--control", "/run/control")...)
			lines := complaints(said)
			if code != 1 || len(lines) != 1 || !strings.HasPrefix(lines[0], "culvert: ") {
				t.Fatalf("exit code %d, want 1 and one sentence:\n%s", code, said)
			}
			for _, want := range test.want {
				if !strings.Contains(lines[0], want) {
					t.Errorf("the sentence does not mention %s: %s", want, lines[0])
				}
			}
			if strings.Count(said, `"level":"ERROR"`) > 0 || len(lines[0]) > 400 {
				t.Errorf("more was said than needed:\n%s", said)
			}
			if left := leftovers(t, ref.A.Host); len(left) > 0 {
				t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
			}
		})
	}
}

// TestRobustTwoDaemons starts a second daemon beside a running one, which goes on undisturbed.
func TestRobustTwoDaemons(t *testing.T) {
	t.Parallel()
	ref := NewReference(t, Plan{})
	a, b := matches[2].start(t, ref, referenceA, referenceB)
	pinger, err := ref.B.Client.StartPing(ref.A.Client.Addr(), Ping{})
	Must(t, err)
	nothing := func(string) error { return nil }
	second := a.(*Culvert).Program
	elsewhere := *second
	elsewhere.host = ref.A.Client // another network, the same /run
	for _, test := range []struct {
		name, control string
		p             *Program
		want          string
	}{
		{"on the same host", "/run/control2", second, "500"},
		{"with the same control socket", "/run/control", &elsewhere, "/run/control"},
	} {
		said, code := started(t, test.p, nothing, "--control", test.control)
		lines := complaints(said)
		if code != 1 || len(lines) != 1 || !strings.Contains(lines[0], test.want) {
			t.Errorf("%s: exit code %d, want 1 and one sentence with %q:\n%s", test.name, code, test.want, said)
		}
	}
	answers(t, pinger, 20)
	if ping := pinger.Stop(); ping.Lost() != 0 {
		t.Errorf("the running daemon was disturbed: %v, the first in %v\n%s", ping, ping.Missing, tails(a, b))
	}
	alone(t, a, b)
	if left := leftovers(t, ref.A.Client); len(left) > 0 {
		t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
	}
}

// TestRobustBadConfiguration has several errors in one file. All are told at once, and nothing is started.
func TestRobustBadConfiguration(t *testing.T) {
	t.Parallel()
	ref := NewReference(t, Plan{})
	bad := edit(referenceA, "version = 2", "version = 1", "local_ts", "local_t", "aes256gcm16-prfsha256-x25519", "rot13")
	p := NewProgram(ref.A.Host, bad)
	said, code := started(t, p, func(string) error { return nil }, "--control", "/run/control")
	lines := complaints(said)
	if code != 2 {
		t.Errorf("exit code %d, want 2", code)
	}
	for _, want := range []string{"version", "local_t", "rot13"} {
		if n := strings.Count(strings.Join(lines, "\n"), want); n == 0 {
			t.Errorf("nothing is said about %s:\n%s", want, said)
		}
	}
	for _, line := range lines[:max(0, len(lines)-1)] {
		if !strings.HasPrefix(line, "/run/culvert.conf:") {
			t.Errorf("this does not begin with a place: %s", line)
		}
	}
	if strings.Contains(said, "qwerty") {
		t.Errorf("the secret was told")
	}
	if left := leftovers(t, ref.A.Host); len(left) > 0 {
		t.Errorf("something was started:\n%s", strings.Join(left, "\n"))
	}
	if _, err := os.Stat(filepath.Join(p.dir, "control")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something was started: the control socket is there: %v", err)
	}
}
