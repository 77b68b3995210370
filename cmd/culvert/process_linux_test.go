package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/internal/demo"
	"github.com/culvert-vpn/culvert/internal/lab"
)

// asProgram makes the test binary be the program. Its value marks what a test has started.
const asProgram = "CULVERT_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

// machine makes a host without a network, or ends the test where that cannot be done.
func machine(t *testing.T) *lab.Host {
	t.Helper()
	if err := lab.Usable(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	return lab.New(t).Host("machine")
}

// program is the program, running on a machine.
type program struct {
	t      *testing.T
	cmd    *exec.Cmd
	mark   string
	said   said
	handle *lab.Process
}

// launch starts the program with some arguments and variables.
func launch(t *testing.T, h *lab.Host, env []string, args ...string) *program {
	t.Helper()
	p := &program{t: t, mark: fmt.Sprintf("%s-%d", t.Name(), time.Now().UnixNano())}
	p.cmd = exec.Command("/proc/self/exe", args...)
	p.cmd.Env = append(append(os.Environ(), asProgram+"="+p.mark), env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.said, &p.said
	p.keepsSecrets()
	var err error
	p.handle, err = h.Start("culvert", p.cmd, func() error { return nil })
	lab.Must(t, err)
	return p
}

// keepsSecrets looks for the secrets of the configuration in what the program has said by the end of the test.
func (p *program) keepsSecrets() {
	told.KnowConfiguration(demo.ConfigA + demo.ConfigB)
	p.t.Cleanup(func() {
		for _, leak := range told.Find([]byte(p.said.String())) {
			p.t.Errorf("what culvert has said: %s", leak)
		}
	})
}

// await waits until the program has said something.
func (p *program) await(text string) {
	p.t.Helper()
	p.eventually(fmt.Sprintf("culvert says %q", text), func() bool {
		select {
		case <-p.handle.Done():
			if !strings.Contains(p.said.String(), text) {
				p.t.Fatalf("culvert ended and has not said %q:\n%s", text, p.said.String())
			}
		default:
		}
		return strings.Contains(p.said.String(), text)
	})
}

// exit waits for the end and returns the exit code, -1 for the end by a signal.
func (p *program) exit() int {
	_ = p.handle.Wait()
	return p.cmd.ProcessState.ExitCode()
}

// eventually waits for something that takes milliseconds when all is well.
func (p *program) eventually(what string, holds func() bool) {
	p.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			p.t.Fatalf("not in half a minute: %s; culvert said\n%s", what, p.said.String())
		}
	}
}

// leavesNothing checks that no process of the program's is left, and that the machine is as it was: lonely.
func (p *program) leavesNothing(h *lab.Host) {
	p.t.Helper()
	p.eventually("all its processes are gone", func() bool {
		paths, err := filepath.Glob("/proc/[0-9]*/environ")
		lab.Must(p.t, err)
		for _, path := range paths {
			if env, err := os.ReadFile(path); err == nil && bytes.Contains(env, []byte(p.mark)) {
				return false
			}
		}
		return true
	})
	links, err := h.Netlink().LinkList()
	lab.Must(p.t, err)
	for _, l := range links {
		if l.Attrs().Name != "lo" {
			p.t.Errorf("the device %s is left", l.Attrs().Name)
		}
	}
	for _, family := range []int{2, 10} { // AF_INET, AF_INET6
		rules, err := h.Netlink().RuleList(family)
		lab.Must(p.t, err)
		for _, r := range rules {
			if r.Priority != 0 && r.Priority != 32766 && r.Priority != 32767 {
				p.t.Errorf("the rule %v is left", r)
			}
		}
	}
}

// said collects what a program says.
type said struct {
	mu   sync.Mutex
	text strings.Builder
}

func (s *said) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}
