//go:build linux

package e2e

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

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

// start runs c on the host, with the tools' tree as its root directory.
func start(h *Host, c Command) (*Process, error) {
	root, name, path := h.net.tools.Root, filepath.Base(c.Path), c.Path
	if c.File != nil {
		name, path = filepath.Base(c.File.Name()), "/proc/self/fd/3"
	}
	cmd := exec.Command(path, c.Args...)
	if c.File != nil {
		cmd.ExtraFiles = []*os.File{c.File} // becomes descriptor 3
	}
	cmd.Env, cmd.Stdout, cmd.Stderr = c.Env, c.Stdout, c.Stderr
	cmd.Stdin = strings.NewReader(c.Stdin)
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root}
	cmd.Dir = "/"
	return h.Host.Start(name, cmd, func() error { return mountTree(root, c.Run) })
}

// mountTree makes root usable as a root directory, in the program's mount namespace only: read-only, with the system's
// devices and processes, and run as /run.
func mountTree(root, run string) error {
	type mount struct {
		source, target, kind string
		flags                uintptr
	}
	mounts := []mount{
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

// run runs c to its end and returns what it printed.
func run(h *Host, c Command) (string, error) {
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	p, err := start(h, c)
	if err != nil {
		return "", err
	}
	err = p.Wait()
	if name := filepath.Base(c.Path); name != "tshark" && name != "tcpdump" { // who are given the keys
		h.net.disclosure.hear(stdout.String(), stderr.String())
	}
	if err != nil {
		said := complaint(stderr.String())
		if said == "" {
			said = complaint(stdout.String())
		}
		return stdout.String(), fmt.Errorf("%w: %s", err, said)
	}
	return stdout.String(), nil
}
