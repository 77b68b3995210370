//go:build linux

package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// quickStart are the commands of README.md for connecting two networks, in their order.
func quickStart(t *testing.T) (steps []step) {
	t.Helper()
	readme, err := os.ReadFile("../../README.md")
	Must(t, err)
	_, section, ok := strings.Cut(string(readme), "\n## Connect two networks\n")
	if !ok {
		t.Fatal("README.md has no section about connecting two networks")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	block := regexp.MustCompile("(?s)\nOn `(\\w+)`[^\n]*:\n\n```sh\n(.*?)```\n")
	for _, m := range block.FindAllStringSubmatch(section, -1) {
		for line := range strings.Lines(m[2]) {
			steps = append(steps, step{m[1], strings.TrimSpace(line)})
		}
	}
	if n := strings.Count(section, "```sh\n"); n != len(block.FindAllString(section, -1)) {
		t.Fatalf("of %d blocks of commands some do not say on which machine", n)
	}
	return steps
}

// step is a command on one of the two machines.
type step struct{ side, command string }

// installation is a machine of the quick start: what Culvert and the package have on it.
type installation struct {
	*testing.T
	host   *Host
	dir    string
	daemon *Process
}

const daemonsID = 61235 // the user and group of the daemon

// newInstallation prepares a machine that has nothing of Culvert's. Its /etc, /run and /var/lib are its own; all else is this
// machine's.
func newInstallation(t *testing.T, h *Host) *installation {
	t.Helper()
	dir, err := os.MkdirTemp("", "culvert-quickstart-") // where the daemon's user may go, unlike t.TempDir
	Must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	i := &installation{T: t, host: h, dir: dir}
	Must(t, os.Chmod(dir, 0o755))
	for _, name := range []string{"etc", "run", "lib", "home"} {
		Must(t, os.Mkdir(filepath.Join(dir, name), 0o755))
	}
	Must(t, os.WriteFile(filepath.Join(dir, "etc", "passwd"), []byte("root:x:0:0:root:/root:/bin/sh\n"), 0o644),
		os.WriteFile(filepath.Join(dir, "etc", "group"), []byte("root:x:0:\n"), 0o644))
	return i
}

// path is a file of the machine as this process sees it.
func (i *installation) path(name ...string) string {
	return filepath.Join(append([]string{i.dir}, name...)...)
}

// install does what the package does: the user, and an empty configuration that it may read.
func (i *installation) install() {
	i.Helper()
	add := func(file, line string) error {
		f, err := os.OpenFile(i.path("etc", file), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteString(line)
		return errors.Join(err, f.Close())
	}
	Must(i.T, add("passwd", fmt.Sprintf("culvert:x:%d:%[1]d::/var/lib/culvert:/usr/sbin/nologin\n", daemonsID)),
		add("group", fmt.Sprintf("culvert:x:%d:\n", daemonsID)),
		os.MkdirAll(i.path("etc", "culvert", "conf.d"), 0o750),
		os.WriteFile(i.path("etc", "culvert", "culvert.conf"), []byte("include conf.d/*.conf\n"), 0o640))
	for _, name := range []string{"", "conf.d", "culvert.conf"} {
		Must(i.T, os.Chown(i.path("etc", "culvert", name), 0, daemonsID))
	}
	Must(i.T, os.Chmod(i.path("etc", "culvert"), 0o750))
	// The directories that the service manager makes.
	for _, dir := range []string{"run", "lib"} {
		Must(i.T, os.Mkdir(i.path(dir, "culvert"), 0o700), os.Chown(i.path(dir, "culvert"), daemonsID, daemonsID))
	}
}

// start starts a program on the machine, with the binary of the daemon as descriptor 3.
func (i *installation) start(cmd *exec.Cmd) *Process {
	i.Helper()
	binary, err := buildCulvert()
	Must(i.T, err)
	cmd.ExtraFiles, cmd.Dir = []*os.File{binary}, i.path("home")
	p, err := i.host.Host.Start(filepath.Base(cmd.Path), cmd, func() error {
		tun := i.path("tun")
		if err := unix.Mknod(tun, unix.S_IFCHR, int(unix.Mkdev(10, 200))); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
		if err := os.Chmod(tun, 0o666); err != nil { // as udev has it
			return err
		}
		for _, m := range [][2]string{{"tun", "/dev/net/tun"}, {"etc", "/etc"}, {"run", "/run"}, {"lib", "/var/lib"}} {
			if err := unix.Mount(i.path(m[0]), m[1], "", unix.MS_BIND, ""); err != nil {
				return fmt.Errorf("mount %s: %w", m[1], err)
			}
		}
		return nil
	})
	Must(i.T, err)
	return p
}

// shell runs a command as it stands, and returns what it printed.
func (i *installation) shell(command string) string {
	i.Helper()
	var said bytes.Buffer
	// The program is found by its name, but has none in the file system.
	cmd := exec.Command("/bin/sh", "-ec", "culvert() { /proc/self/fd/3 \"$@\"; }\n"+command)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + i.path("home")}
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := i.start(cmd).Wait(); err != nil {
		i.Fatalf("%s: %s: %v\n%s", i.host.Name, command, err, said.String())
	}
	return said.String()
}

// restart starts the service as its unit does: as a user of its own with two capabilities.
func (i *installation) restart() {
	i.Helper()
	unit, err := os.ReadFile("../../packaging/systemd/culvert.service")
	Must(i.T, err)
	line := regexp.MustCompile(`(?m)^ExecStart=/usr/bin/culvert (.*)$`).FindStringSubmatch(string(unit))
	if line == nil {
		i.Fatal("the unit does not say how the daemon is started")
	}
	log, err := os.Create(i.path("log"))
	Must(i.T, err)
	defer log.Close()
	cmd := exec.Command("/proc/self/fd/3", strings.Fields(line[1])...)
	cmd.Env, cmd.Stdout, cmd.Stderr = []string{"PATH=/usr/bin:/bin"}, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential:  &syscall.Credential{Uid: daemonsID, Gid: daemonsID},
		AmbientCaps: []uintptr{unix.CAP_NET_ADMIN, unix.CAP_NET_BIND_SERVICE},
	}
	i.daemon = i.start(cmd)
	if !eventually(startPatience, func() bool {
		_, err := os.Stat(i.path("run", "culvert", "control"))
		return err == nil
	}) {
		i.Fatalf("%s: the service did not start:\n%s", i.host.Name, readLog(i.path("log")))
	}
}

// TestQuickStart runs the commands of README.md as they stand, on two machines with a 1:1 NAT before one of them. What this machine
// does not have is done in their stead: the package is unpacked by hand, the service started as its unit says, and scp copies.
func TestQuickStart(t *testing.T) {
	t.Parallel()
	steps := quickStart(t)
	count := map[string]int{}
	for _, s := range steps {
		count[s.side]++
	}
	for side, n := range count {
		if n > 6 {
			t.Errorf("%d commands on %s; they must be 6 at most", n, side)
		}
	}
	ref := NewReference(t, Plan{B: OneToOne})
	machines := map[string]*installation{"office": newInstallation(t, ref.A.Host), "cloud": newInstallation(t, ref.B.Host)}
	scp := regexp.MustCompile(`^scp (\S+) root@203\.0\.113\.1:$`)
	for _, s := range steps {
		m := machines[s.side]
		if m == nil {
			t.Fatalf("there is no machine %q", s.side)
		}
		switch copied := scp.FindStringSubmatch(s.command); {
		case s.command == "apt install ./culvert_*.deb":
			m.install()
		case s.command == "systemctl restart culvert":
			m.restart()
		case copied != nil:
			text, err := os.ReadFile(m.path("home", copied[1]))
			Must(t, err)
			Must(t, os.WriteFile(machines["office"].path("home", copied[1]), text, 0o600))
		default:
			m.shell(s.command)
		}
	}
	up := func() bool { return strings.Contains(machines["cloud"].shell("culvert status --json"), `"up": true`) }
	if !eventually(30*time.Second, up) {
		for side, m := range machines {
			t.Logf("%s:\n%s\n%s", side, m.shell("culvert status"), readLog(m.path("log")))
		}
		t.Fatal("the tunnel is not up")
	}
	flows(t, ref.B.Client, ref.A.Client, 10*time.Second)
	flows(t, ref.A.Client, ref.B.Client, 10*time.Second)
	// What culvert new wrote in its place is for root and the daemon's group, and no one else.
	info, err := os.Stat(machines["cloud"].path("etc", "culvert", "conf.d", "office.conf"))
	Must(t, err)
	if info.Mode().Perm() != 0o640 || info.Sys().(*syscall.Stat_t).Gid != daemonsID {
		t.Errorf("the file of the tunnel has mode %v and group %d", info.Mode(), info.Sys().(*syscall.Stat_t).Gid)
	}
	for _, m := range machines {
		Must(t, m.daemon.Stop(stopPatience))
	}
}
