//go:build linux

package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Command is a program to run on a host of the topology.
type Command struct {
	Path   string   // inside the tools' tree
	File   *os.File // the program itself, instead of a Path; stays the caller's
	Args   []string // without the program's name
	Env    []string // all of it
	Run    string   // directory that the program sees as /run; empty: an empty one of its own
	Stdin  string
	Stdout io.Writer // nil: discarded; must be safe for use from another goroutine
	Stderr io.Writer
}

// Process is a running Command. It cannot outlive the process that started it.
type Process struct {
	name string
	cmd  *exec.Cmd
	done chan struct{}
	err  error // of the program; to be read after done
}

// start runs c inside the network namespace, with the tools' tree as its root directory.
func start(tools *Tools, ns netns.NsHandle, c Command) (*Process, error) {
	name, path := filepath.Base(c.Path), c.Path
	if c.File != nil {
		name, path = filepath.Base(c.File.Name()), "/proc/self/fd/3"
	}
	p := &Process{name: name, cmd: exec.Command(path, c.Args...), done: make(chan struct{})}
	if c.File != nil {
		p.cmd.ExtraFiles = []*os.File{c.File} // becomes descriptor 3
	}
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = c.Env, c.Stdout, c.Stderr
	p.cmd.Stdin = strings.NewReader(c.Stdin)
	// The kernel sends the death signal when the thread that started the child ends: that thread waits below.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Chroot: tools.Root}
	p.cmd.Dir = "/"

	started := make(chan error)
	onOwnThread(func() {
		err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS)
		if err == nil {
			err = netns.Set(ns)
		}
		if err == nil {
			err = mountTree(tools.Root, c.Run)
		}
		if err == nil {
			err = p.cmd.Start()
		}
		started <- err
		if err == nil {
			p.err = p.cmd.Wait()
			close(p.done)
		}
	})
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	return p, nil
}

// mountTree makes root usable as a root directory, in this thread's mount namespace only: read-only, with the
// system's devices and processes, and run as /run.
func mountTree(root, run string) error {
	type mount struct {
		source, target, kind string
		flags                uintptr
	}
	mounts := []mount{
		{"", "/", "", unix.MS_REC | unix.MS_PRIVATE}, // nothing from here reaches the host
		{root, root, "", unix.MS_BIND},
		{"", root, "", unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY},
		{"/proc", root + "/proc", "", unix.MS_BIND | unix.MS_REC},
		{"/dev", root + "/dev", "", unix.MS_BIND | unix.MS_REC},
		{"sysfs", root + "/sys", "sysfs", 0}, // shows the network devices of this namespace
		{"tmpfs", root + "/tmp", "tmpfs", 0},
		{"tmpfs", root + "/run", "tmpfs", 0},
	}
	if run != "" {
		mounts[len(mounts)-1] = mount{run, root + "/run", "", unix.MS_BIND}
	}
	for _, m := range mounts {
		if err := unix.Mount(m.source, m.target, m.kind, m.flags, ""); err != nil {
			return fmt.Errorf("mount %s on %s: %w", m.source, m.target, err)
		}
	}
	return nil
}

// Pid is the process id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits for the end of the process and returns how it ended.
func (p *Process) Wait() error {
	<-p.done
	if p.err != nil {
		return fmt.Errorf("%s: %w", p.name, p.err)
	}
	return nil
}

// Signal sends a signal to this process. To send one to a process that has ended is not an error.
func (p *Process) Signal(s os.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal %s: %w", p.name, err)
	}
	return nil
}

// Stop asks the process to end, with SIGTERM, and after patience kills it, which is an error.
func (p *Process) Stop(patience time.Duration) error {
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(patience):
		return errors.Join(fmt.Errorf("%s did not end within %v of SIGTERM", p.name, patience), p.Kill())
	}
}

// Kill ends the process without giving it a chance to say good-bye, and waits until it is gone.
func (p *Process) Kill() error {
	err := p.Signal(os.Kill)
	<-p.done
	return err
}

// run runs c to its end and returns what it printed.
func run(tools *Tools, ns netns.NsHandle, c Command) (string, error) {
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	p, err := start(tools, ns, c)
	if err != nil {
		return "", err
	}
	if err := p.Wait(); err != nil {
		said := complaint(stderr.String())
		if said == "" {
			said = complaint(stdout.String())
		}
		return stdout.String(), fmt.Errorf("%w: %s", err, said)
	}
	return stdout.String(), nil
}
