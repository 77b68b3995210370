package main

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/culvert-vpn/culvert/internal/demo"
	"github.com/culvert-vpn/culvert/internal/lab"
)

// launchAsUser starts the daemon as its systemd unit does: as a user with two capabilities, with the control socket made by the
// service manager.
func launchAsUser(t *testing.T, h *lab.Host, manager *serviceManager, listener *net.UnixListener, uid uint32, args ...string) *program {
	t.Helper()
	socket, err := listener.File()
	lab.Must(t, err)
	defer socket.Close()
	p := &program{t: t, mark: t.Name()}
	p.keepsSecrets()
	// The shell knows the number of the process, by which the receiver of sockets knows that they are for it.
	p.cmd = exec.Command("/bin/sh", append([]string{"-c", `LISTEN_PID=$$ exec /proc/self/fd/4 "$@"`, "sh", "run"}, args...)...)
	program, err := os.Open("/proc/self/exe")
	lab.Must(t, err)
	defer program.Close()
	p.cmd.ExtraFiles = []*os.File{socket, program}
	p.cmd.Env = append(os.Environ(), asProgram+"="+p.mark, "NOTIFY_SOCKET="+manager.path, "LISTEN_FDS=1", "LISTEN_FDNAMES=culvert.socket")
	p.cmd.Stdout, p.cmd.Stderr = &p.said, &p.said
	p.cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential:  &syscall.Credential{Uid: uid, Gid: uid},
		AmbientCaps: []uintptr{unix.CAP_NET_ADMIN, unix.CAP_NET_BIND_SERVICE},
	}
	p.handle, err = h.Start("culvert", p.cmd, func() error { return shareTUN(filepath.Join(t.TempDir(), "tun")) })
	lab.Must(t, err)
	return p
}

// shareTUN has a device at path stand for /dev/net/tun, in this mount namespace, which every user may open: so it is where udev
// makes it, but not in every container.
func shareTUN(path string) error {
	if err := unix.Mknod(path, unix.S_IFCHR, int(unix.Mkdev(10, 200))); err != nil {
		return err
	}
	return errors.Join(unix.Chmod(path, 0o666), unix.Mount(path, "/dev/net/tun", "", unix.MS_BIND, ""))
}

// The daemon does all that its unit wants of it without being root, gives its memory to nobody, and leaves the traffic refused
// from the end for a restart until the one after it.
func TestRunAsUser(t *testing.T) {
	const uid = 61234
	h := machine(t)
	dir, err := os.MkdirTemp("", "culvert-user-") // where other users may go, unlike t.TempDir
	lab.Must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	conf, control, state := filepath.Join(dir, "culvert.conf"), filepath.Join(dir, "control"), filepath.Join(dir, "state")
	lab.Must(t, os.Chown(dir, uid, uid), os.WriteFile(conf, []byte(demo.ConfigB), 0o600), os.Chown(conf, uid, uid))
	manager := newServiceManager(t)
	lab.Must(t, os.Chmod(manager.path, 0o666))
	for path := filepath.Dir(manager.path); path != os.TempDir() && path != "/"; path = filepath.Dir(path) {
		lab.Must(t, os.Chmod(path, 0o755))
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: control, Net: "unix"})
	lab.Must(t, err)
	defer listener.Close()

	p := launchAsUser(t, h, manager, listener, uid, "--control", control, "--config", conf, "--state", state)
	if !manager.hears(p.handle.Done(), "READY=1") {
		t.Fatalf("the daemon ended:\n%s", p.said.String())
	}
	if code, stdout, stderr := culvert("status", "--control", control); code != exitFine || !strings.Contains(stdout, "culvert0") {
		t.Errorf("by the passed socket: exit code %d: %s%s", code, stdout, stderr)
	}
	p.isClosed()
	if refusing(t, h) == 0 {
		t.Error("no rules while the daemon runs")
	}
	lab.Must(t, p.handle.Signal(syscall.SIGUSR1))
	if code := p.exit(); code != exitFine {
		t.Errorf("exit code %d\n%s", code, p.said.String())
	}
	if refusing(t, h) == 0 {
		t.Errorf("nothing refuses the traffic between the runs:\n%s", p.said.String())
	}
	if conn, err := net.Dial("unix", control); err != nil {
		t.Errorf("the service manager's socket is gone between the runs: %v", err)
	} else {
		conn.Close()
	}

	p = launchAsUser(t, h, manager, listener, uid, "--control", control, "--config", conf, "--state", state)
	if !manager.hears(p.handle.Done(), "READY=1") {
		t.Fatalf("the second run ended:\n%s", p.said.String())
	}
	lab.Must(t, p.handle.Signal(syscall.SIGABRT)) // what a panic ends with
	if code := p.exit(); code != -1 || refusing(t, h) == 0 {
		t.Errorf("after a crash the exit code is %d, and %d rules refuse the traffic", code, refusing(t, h))
	}

	p = launchAsUser(t, h, manager, listener, uid, "--control", control, "--config", conf, "--state", state)
	if !manager.hears(p.handle.Done(), "READY=1") {
		t.Fatalf("the third run ended:\n%s", p.said.String())
	}
	lab.Must(t, p.handle.Signal(syscall.SIGTERM))
	if code := p.exit(); code != exitFine {
		t.Errorf("exit code %d\n%s", code, p.said.String())
	}
	p.leavesNothing(h)
	if strings.Contains(p.said.String(), "not permitted") || strings.Contains(p.said.String(), "denied") {
		t.Errorf("something is missing without root:\n%s", p.said.String())
	}
}

// isClosed checks that the memory of the process is nobody's: the kernel gives the files of /proc of a process that must not be
// dumped to root, whoever runs it.
func (p *program) isClosed() {
	p.t.Helper()
	var stat unix.Stat_t
	process := filepath.Join("/proc", strconv.Itoa(p.handle.Pid()))
	lab.Must(p.t, unix.Stat(filepath.Join(process, "mem"), &stat))
	if stat.Uid != 0 {
		p.t.Errorf("the memory belongs to user %d", stat.Uid)
	}
	limits, err := os.ReadFile(filepath.Join(process, "limits"))
	lab.Must(p.t, err)
	for line := range strings.SplitSeq(string(limits), "\n") {
		if fields := strings.Fields(line); strings.HasPrefix(line, "Max core file size") && (fields[4] != "0" || fields[5] != "0") {
			p.t.Errorf("core files are possible: %s", line)
		}
	}
}

// refusing is the number of rules of the daemon's.
func refusing(t *testing.T, h *lab.Host) (n int) {
	t.Helper()
	rules, err := h.Netlink().RuleList(unix.AF_INET)
	lab.Must(t, err)
	for _, r := range rules {
		if r.Protocol == 145 {
			n++
		}
	}
	return n
}
