//go:build linux

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
)

// Program is the daemon under test, running on a host: the part of a [Peer] that starts and stops it and runs its
// other subcommands. All it reads and writes is in one directory of the scenario's, and nothing else of its kind is
// visible to it.
type Program struct {
	host    *Host
	dir     string // seen as /run
	flags   []string
	process *Process
}

// NewProgram prepares a culvert daemon with the text of its configuration and further flags for `culvert run`.
func NewProgram(h *Host, conf string, flags ...string) *Program {
	h.net.t.Helper()
	if off := noOffload(); off != "" {
		flags = append([]string{"--no-offload=" + off}, flags...) // what the scenario says itself comes last and counts
	}
	p := &Program{host: h, dir: filepath.Join(h.net.dir, h.Name), flags: flags}
	h.net.disclosure.program(p.dir)
	Must(h.net.t, os.MkdirAll(p.dir, 0o755), p.Configure(conf))
	return p
}

// noOffload are the fast paths that the environment has every daemon do without.
func noOffload() string { return os.Getenv("CULVERT_TEST_NO_OFFLOAD") }

// Configure writes the configuration; a running daemon reads it when it is told to.
func (p *Program) Configure(conf string) error {
	p.host.net.disclosure.secrets.KnowConfiguration(conf)
	return os.WriteFile(filepath.Join(p.dir, "culvert.conf"), []byte(conf), 0o600)
}

// Keylog is the directory into which the daemon writes its keys, as tables of Wireshark's.
func (p *Program) Keylog() string { return filepath.Join(p.dir, "keys") }

// Start starts the daemon. It does not wait for it to be ready.
func (p *Program) Start() error {
	binary, err := buildCulvert()
	if err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(p.dir, "culvert.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close() // the process has its own
	args := append([]string{"run", "--config", "/run/culvert.conf", "--control", "/run/control", "--state", "/run/state", "--keylog", "/run/keys"}, p.flags...)
	p.process, err = p.host.Start(Command{File: binary, Args: args, Run: p.dir, Stdout: log, Stderr: log})
	return err
}

// Ctl runs another subcommand against the daemon and returns what it printed.
func (p *Program) Ctl(args ...string) (string, error) {
	binary, err := buildCulvert()
	if err != nil {
		return "", err
	}
	return p.host.Run(Command{File: binary, Args: append(args, "--control", "/run/control"), Run: p.dir})
}

// Process is the daemon as last started.
func (p *Program) Process() *Process { return p.process }

// Stop ends the daemon, which says good-bye to its peers first.
func (p *Program) Stop() error { return p.process.Stop(stopPatience) }

// Kill ends the daemon at once.
func (p *Program) Kill() error { return p.process.Kill() }

// Log is what the daemon has written in all its runs.
func (p *Program) Log() string { return readLog(filepath.Join(p.dir, "culvert.log")) }

// buildCulvert builds the daemon once in a test run. The file has no name by the time it is returned, so it goes
// with the process.
var buildCulvert = sync.OnceValues(func() (*os.File, error) {
	repo, err := repository()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "culvert-build-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "culvert")
	cmd := exec.Command("go", "build", "-o", path, "./cmd/culvert")
	cmd.Dir, cmd.Env = repo, append(os.Environ(), "CGO_ENABLED=0")
	if _, err := output(cmd); err != nil {
		return nil, err
	}
	return os.Open(path)
})
