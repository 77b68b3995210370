//go:build linux

package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Process is a program that runs on a host. It cannot outlive the process that started it.
type Process struct {
	name string
	cmd  *exec.Cmd
	done chan struct{}
	err  error // of the program; to be read after done
}

// Start starts a program on the host, under a name for error messages; it is killed when the network goes. Before,
// prepare is called in a mount namespace that only the program will share: what it mounts, nobody else sees and
// nobody needs to unmount.
func (h *Host) Start(name string, cmd *exec.Cmd, prepare func() error) (*Process, error) {
	p := &Process{name: name, cmd: cmd, done: make(chan struct{})}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	// The kernel sends the death signal when the thread that started the child ends: that thread waits below.
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	started := make(chan error)
	onOwnThread(func() {
		err := enter(h.ns)
		if err == nil {
			err = prepare()
		}
		if err == nil {
			err = cmd.Start()
		}
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			close(p.done)
		}
	})
	if err := <-started; err != nil {
		return nil, fmt.Errorf("%s: start %s: %w", h.Name, name, err)
	}
	h.t.Cleanup(func() { _ = p.Kill() })
	return p, nil
}

// enter puts this thread into the network namespace and a mount namespace of its own. There is no way back.
func enter(ns netns.NsHandle) error {
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil { // nothing from here reaches the host
		return fmt.Errorf("mount namespace: %w", err)
	}
	if err := netns.Set(ns); err != nil {
		return fmt.Errorf("enter network namespace: %w", err)
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
