package compare

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/internal/e2e"
	"github.com/culvert-vpn/culvert/internal/lab"
)

func requireRoot(t *testing.T) {
	t.Helper()
	if err := lab.Usable(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
}

// programs builds what is compared, once, and returns the directory.
var programs = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "culvert-bench-programs-")
	if err != nil {
		return "", err
	}
	for _, build := range [][]string{
		{"../..", "-o", filepath.Join(dir, "culvert"), "./cmd/culvert"},
		{"../..", "-tags", "culvert_bench_nocipher", "-o", filepath.Join(dir, "culvert-nocipher"), "./cmd/culvert"},
		{"wireguard", "-o", filepath.Join(dir, "wireguard-go"), "golang.zx2c4.com/wireguard"},
	} {
		cmd := exec.Command("go", append([]string{"build"}, build[1:]...)...)
		cmd.Dir, cmd.Env, cmd.Stderr = build[0], append(os.Environ(), "CGO_ENABLED=0"), os.Stderr
		if err := cmd.Run(); err != nil {
			return dir, err
		}
	}
	return dir, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, _ := programs(); dir != "" {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

// moment are options for seeing that it works, not how fast.
func moment(t *testing.T) Options {
	t.Helper()
	requireRoot(t)
	dir, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	return Options{
		Rounds: 1, Warmup: 20 * time.Millisecond, Window: 80 * time.Millisecond,
		Culvert: filepath.Join(dir, "culvert"), Extras: []string{dir}, Progress: t.Output(),
	}
}

// TestRun compares all subjects, for a moment, in a case of each kind.
func TestRun(t *testing.T) {
	o := moment(t)
	tools, err := e2e.OpenTools()
	if err != nil {
		t.Fatal(err)
	}
	o.Tree, o.Cases = tools.Root, []string{"tcp-both", "udp64", "rtt-load", "setup"}
	var subjects []subject
	for _, s := range known() {
		if s.kind == openvpn && o.find(&s) != nil {
			continue // the only one that neither is built here nor comes with the tools
		}
		subjects = append(subjects, s)
		o.Subjects = append(o.Subjects, s.name)
	}
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	cases, _, err := o.cases()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range subjects {
		for _, c := range cases {
			if s.kind == rawLink && c.Name == "setup" {
				continue
			}
			found := false
			for _, f := range Figures() {
				if f.Case == c.Name && !f.Share {
					if got := r.Spread(f, s.name); got.N == 1 && got.Median > 0 {
						found = true
					} else if s.kind != rawLink {
						t.Errorf("%s: %s is %+v", s.name, f.Name(), got)
					}
				}
			}
			if !found {
				t.Errorf("%s has no sample of %s", s.name, c.Name)
			}
		}
		if memory := r.Spread(figure(t, anyCase, RSS), s.name); (memory.Median > 1) != (s.kind != rawLink) {
			t.Errorf("%s takes %v MB", s.name, memory.Median)
		}
	}
	for _, s := range r.Subjects {
		if tunnel := s.Name != Link; tunnel == (s.Device == "b") || s.MTU < 1280 || s.MTU > 1500 {
			t.Errorf("%+v", s)
		}
	}
}

// TestCipherIsChecked passes a build that protects for one that does not, and the other way round.
func TestCipherIsChecked(t *testing.T) {
	o := moment(t)
	o.Cases = []string{"rtt-idle"}
	for _, wrong := range []string{NoCipher + "=" + o.Culvert, Culvert + "=" + filepath.Join(o.Extras[0], "culvert-nocipher")} {
		o.Subjects = []string{wrong}
		if _, err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "in clear") {
			t.Errorf("%s: %v", wrong, err)
		}
	}
}

// TestNoCipherIsOutOfReach: the program as it is shipped has no cipher that protects nothing in it.
func TestNoCipherIsOutOfReach(t *testing.T) {
	dir, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"culvert": false, "culvert-nocipher": true} {
		program, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if got := bytes.Contains(program, []byte("gateway.noCipher")); got != want {
			t.Errorf("%s has the type noCipher in it: %v", name, got)
		}
	}
}

// TestDeath kills a daemon: nothing is reported of a tunnel that is none.
func TestDeath(t *testing.T) {
	o := moment(t)
	o.Subjects = []string{Culvert}
	list, _, err := o.subjects()
	if err != nil {
		t.Fatal(err)
	}
	e, err := newSession(t.Context(), t, list[0], "", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r := &run{Options: o, ctx: t.Context(), report: &Report{}}
	for _, c := range Cases()[:1] {
		if _, err := r.measure(e, c); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.b.daemon.Kill(); err != nil && !strings.Contains(err.Error(), "killed") {
		t.Fatal(err)
	}
	for _, c := range Cases() {
		if values, err := r.measure(e, c); err == nil || !strings.Contains(err.Error(), "the daemon on b has ended") {
			t.Errorf("%s: %v, %v", c.Name, values, err)
		}
	}
	// While it is measured, too.
	if _, err := e.measure(func() {}); err == nil {
		t.Error("a measurement with a dead daemon succeeds")
	}
}

// TestThrough has bytes arrive that went another way.
func TestThrough(t *testing.T) {
	o := moment(t)
	o.Subjects = []string{Link}
	list, _, err := o.subjects()
	if err != nil {
		t.Fatal(err)
	}
	e, err := newSession(t.Context(), t, list[0], "", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := e.through(func() (uint64, error) { return 1e6, nil }); err == nil {
		t.Error("a million bytes arrived that nobody has sent")
	}
}

// onFirstLine calls f when something is written for the first time.
type onFirstLine struct {
	once sync.Once
	f    func()
}

func (o *onFirstLine) Write(b []byte) (int, error) {
	o.once.Do(o.f)
	return len(b), nil
}

// TestInterrupted ends the comparison in the midst of it: no process and no file is left.
func TestInterrupted(t *testing.T) {
	o := moment(t)
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	ctx, cancel := context.WithCancel(t.Context())
	var during string
	o.Subjects, o.Rounds = []string{Culvert, WireGuard}, 1<<30
	o.Progress = &onFirstLine{f: func() {
		during = children(t)
		time.AfterFunc(300*time.Millisecond, cancel)
	}}
	if _, err := Run(ctx, o); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 0 {
		t.Errorf("%v, %v are left", err, files)
	}
	if left := children(t); left != "" {
		t.Errorf("processes are left: %s", left)
	}
	if during == "" {
		t.Error("no process was seen during the comparison")
	}
}

// children are the processes that this one has started, by their numbers.
func children(t *testing.T) (list string) {
	files, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil || len(files) == 0 {
		t.Errorf("the threads of this process: %v, %v", files, err)
	}
	for _, name := range files {
		text, _ := os.ReadFile(name) // a thread may have ended
		list += string(text)
	}
	return list
}
