//go:build linux

package demo

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/culvert-vpn/culvert/gateway"
	"github.com/culvert-vpn/culvert/internal/lab"
)

// side is one gateway of the demo: where it runs, its configuration, and what must be true of it when all is well.
type side struct {
	name       string
	host       *lab.Host
	config     string
	connection string
	want       view

	process *lab.Process
	log     logTail
	before  string // the host's network before the gateway was started
}

// The gateway sees a /run of its own, which goes with its process.
const (
	runDir     = "/run"
	configFile = runDir + "/culvert.conf"
	controlSoc = runDir + "/control"
)

// start starts the gateway and waits until it takes orders.
func (s *side) start(ctx context.Context, program string) (err error) {
	if s.before, err = networkOf(s.host); err != nil {
		return err
	}
	s.log = logTail{}
	cmd := exec.Command(program, "run", "--config", configFile, "--control", controlSoc, "--state", runDir+"/state", "--log-format", "text")
	cmd.Stderr = &s.log
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { // the service manager of the demo is not the gateways'
		return strings.HasPrefix(v, "NOTIFY_SOCKET=") || strings.HasPrefix(v, "WATCHDOG_")
	})
	// A group of its own: Ctrl-C is for the demo, which then stops the gateways.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	s.process, err = s.host.Start("gateway "+s.name, cmd, func() error {
		if err := unix.Mount("tmpfs", runDir, "tmpfs", 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", runDir, err)
		}
		return os.WriteFile(configFile, []byte(s.config), 0o600)
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		_, err := s.client().Status(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-s.process.Done():
			return s.explain(fmt.Errorf("gateway %s ended: %w", s.name, s.process.Wait()))
		case <-ctx.Done():
			return s.explain(fmt.Errorf("gateway %s does not answer: %w", s.name, err))
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// patience bounds what takes milliseconds when all is well.
const patience = 20 * time.Second

// client reaches the gateway's socket through the eyes of its process.
func (s *side) client() gateway.Client {
	return gateway.Client{Socket: fmt.Sprintf("/proc/%d/root%s", s.process.Pid(), controlSoc)}
}

// call has the gateway bring the tunnel up.
func (s *side) call(ctx context.Context) error {
	request := gateway.Request{Cmd: "up", Conn: s.connection, Timeout: patience.Seconds()}
	if err := s.client().Do(ctx, request, nil); err != nil {
		return s.explain(fmt.Errorf("gateway %s: %w", s.name, err))
	}
	return nil
}

// stop ends the gateway, and checks that it leaves the network of its host as it was.
func (s *side) stop() error {
	if err := s.process.Stop(patience); err != nil {
		return err
	}
	if err := s.process.Wait(); err != nil {
		return s.explain(err)
	}
	after, err := networkOf(s.host)
	if err != nil {
		return err
	}
	if after != s.before {
		return fmt.Errorf("gateway %s leaves traces; before:\n%safter:\n%s", s.name, s.before, after)
	}
	return nil
}

// explain adds the end of the gateway's log to an error.
func (s *side) explain(err error) error {
	if tail := s.log.String(); tail != "" {
		return fmt.Errorf("%w; its log ends:\n%s", err, tail)
	}
	return err
}

// logTail keeps the last lines that a process wrote.
type logTail struct {
	mu   sync.Mutex
	text []byte
}

// logKept is how much a logTail keeps, in bytes.
const logKept = 4096

// Write takes text of the process.
func (l *logTail) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, b...)
	if len(l.text) > logKept {
		l.text = append(l.text[:0], l.text[len(l.text)-logKept:]...)
		if _, rest, ok := bytes.Cut(l.text, []byte("\n")); ok {
			l.text = append(l.text[:0], rest...)
		}
	}
	return len(b), nil
}

func (l *logTail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.TrimRight(string(l.text), "\n")
}
