package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/culvert-vpn/culvert/internal/demo"
	"github.com/culvert-vpn/culvert/internal/lab"
)

// serviceManager hears what the daemon reports.
type serviceManager struct {
	t    *testing.T
	conn *net.UnixConn
	path string
}

func newServiceManager(t *testing.T) *serviceManager {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	lab.Must(t, err)
	t.Cleanup(func() { conn.Close() })
	return &serviceManager{t, conn, path}
}

// await waits until the daemon reports a state.
func (m *serviceManager) await(state string) {
	m.t.Helper()
	if !m.hears(nil, state) {
		m.t.Fatalf("the daemon does not report %s", state)
	}
}

// hears waits until the daemon reports a state, or has ended without.
func (m *serviceManager) hears(ended <-chan struct{}, state string) bool {
	m.t.Helper()
	over := make(chan struct{})
	defer close(over)
	go func() {
		select {
		case <-ended:
			_ = m.conn.SetReadDeadline(time.Unix(1, 0))
		case <-over:
		}
	}()
	lab.Must(m.t, m.conn.SetReadDeadline(time.Now().Add(30*time.Second)))
	buf := make([]byte, 1024)
	for {
		n, err := m.conn.Read(buf)
		if err != nil {
			return false
		}
		if slices.Contains(strings.Split(string(buf[:n]), "\n"), state) {
			return true
		}
	}
}

func TestRun(t *testing.T) {
	h := machine(t)
	dir := t.TempDir()
	conf, control, keys := filepath.Join(dir, "culvert.conf"), filepath.Join(dir, "control"), filepath.Join(dir, "keys")
	lab.Must(t, os.WriteFile(conf, []byte(demo.ConfigB), 0o600))
	manager := newServiceManager(t)
	env := []string{"NOTIFY_SOCKET=" + manager.path, "WATCHDOG_USEC=100000"}
	p := launch(t, h, env, "run", "--config", conf, "--state", filepath.Join(dir, "state"), "--control", control, "--keylog", keys, "--tun", "tunnel0")
	manager.await("READY=1")
	manager.await("WATCHDOG=1")
	manager.await("WATCHDOG=1")

	if code, stdout, stderr := culvert("status", "--control", control); code != exitFine || !strings.Contains(stdout, "tunnel0") {
		t.Errorf("exit code %d: %s%s", code, stdout, stderr)
	}
	for _, name := range []string{"ikev2_decryption_table", "esp_sa"} {
		if info, err := os.Stat(filepath.Join(keys, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the file for keys %s: %v, %v", name, info, err)
		}
	}
	second := launch(t, h, nil, "run", "--config", conf, "--state", filepath.Join(dir, "state"), "--control", filepath.Join(dir, "other"))
	if code := second.exit(); code != exitFailed || !strings.Contains(second.said.String(), "500 is in use by ") {
		t.Errorf("a second daemon: exit code %d\n%s", code, second.said.String())
	}

	lab.Must(t, os.WriteFile(conf, []byte(strings.Replace(demo.ConfigB, "10.103.0.0/24", "10.105.0.0/24", 1)), 0o600))
	lab.Must(t, p.handle.Signal(syscall.SIGHUP))
	manager.await("RELOADING=1")
	manager.await("READY=1")
	p.await("changed (remote_ts), negotiated anew")
	if code, stdout, stderr := culvert("reload", "--control", control); code != exitFine || strings.Count(stdout, ": unchanged\n") != 2 {
		t.Errorf("reload: exit code %d: %s%s", code, stdout, stderr)
	}
	lab.Must(t, os.WriteFile(conf, []byte("connections {\n  x {\n    nonsense = 1\n  }\n}\n"), 0o600))
	code, stdout, stderr := culvert("reload", "--control", control)
	_, _, checked := culvert("check", conf)
	for line := range strings.SplitSeq(checked, "\n") {
		if strings.Contains(line, ".conf:") && !strings.Contains(line, "warning") && !strings.Contains(stderr, line+"\n") {
			t.Errorf("reload of a broken file says\n%s\nwithout\n%s", stderr, line)
		}
	}
	if code != exitConfig || stdout != "" || !strings.Contains(stderr, ":3:5: unknown key") {
		t.Errorf("reload of a broken file: exit code %d: %s%s", code, stdout, stderr)
	}
	manager.await("READY=1")
	if _, stdout, _ := culvert("status", "--control", control); !strings.Contains(stdout, "10.105.0.0/24") {
		t.Errorf("a broken file changes something:\n%s", stdout)
	}
	lab.Must(t, p.handle.Signal(syscall.SIGTERM))
	manager.await("STOPPING=1")
	if code := p.exit(); code != exitFine {
		t.Errorf("exit code %d", code)
	}
	p.leavesNothing(h)
	if _, err := os.Stat(control); err == nil {
		t.Error("the control socket is left")
	}
	said := p.said.String()
	if !strings.Contains(said, `"msg":"stopped"`) || strings.Contains(said, "qwerty") {
		t.Errorf("the log is not JSON to its end, or holds the secret:\n%s", said)
	}
}

// The daemon outlives whoever reads its log.
func TestRunWithoutReader(t *testing.T) {
	h := machine(t)
	dir := t.TempDir()
	conf := filepath.Join(dir, "culvert.conf")
	lab.Must(t, os.WriteFile(conf, []byte(demo.ConfigB), 0o600))
	manager := newServiceManager(t)
	log, end, err := os.Pipe()
	lab.Must(t, err)
	cmd := exec.Command("/proc/self/exe", "run", "--config", conf, "--state", filepath.Join(dir, "state"), "--control", filepath.Join(dir, "control"))
	cmd.Env = append(os.Environ(), asProgram+"=1", "NOTIFY_SOCKET="+manager.path)
	cmd.Stderr = end
	process, err := h.Start("culvert", cmd, func() error { return nil })
	lab.Must(t, err)
	end.Close()
	manager.await("READY=1")
	log.Close()
	lab.Must(t, process.Signal(syscall.SIGTERM)) // is logged
	_ = process.Wait()
	if code := cmd.ProcessState.ExitCode(); code != exitFine {
		t.Errorf("exit code %d, %v", code, cmd.ProcessState)
	}
}

// The daemon's advice knows what is configured.
func TestRunAdvises(t *testing.T) {
	h := machine(t)
	h.Sysctl("net/ipv4/conf/lo/rp_filter", "1")
	lo, err := h.Netlink().LinkByName("lo")
	lab.Must(t, err)
	lab.Must(t, h.Netlink().AddrAdd(lo, &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(10, 104, 0, 1), Mask: net.CIDRMask(32, 32)}}))
	dir := t.TempDir()
	conf := filepath.Join(dir, "culvert.conf")
	everything := strings.Replace(demo.ConfigB, "10.103.0.0/24", "0.0.0.0/0", 1)
	lab.Must(t, os.WriteFile(conf, []byte(everything), 0o600))
	p := launch(t, h, nil, "run", "--config", conf, "--state", filepath.Join(dir, "state"), "--control", filepath.Join(dir, "control"))
	p.await(`"msg":"ready"`)
	lab.Must(t, p.handle.Signal(syscall.SIGTERM))
	_ = p.exit()
	if said := p.said.String(); !strings.Contains(said, "net.ipv4.conf.lo.rp_filter=2") {
		t.Errorf("no advice on reverse path filtering:\n%s", said)
	}
}

// TestSignals sends this process signals as the daemon gets them.
func TestSignals(t *testing.T) {
	log := &logFlags{format: "text", level: "info"}
	var out said
	logger, err := log.logger(&out)
	lab.Must(t, err)
	exits := make(chan int, 1)
	ctx, stop := untilSignal(logger, func(code int) { exits <- code })
	defer stop()
	send := func(s syscall.Signal) { lab.Must(t, syscall.Kill(os.Getpid(), s)) }
	send(syscall.SIGTERM)
	<-ctx.Done()
	send(syscall.SIGINT)
	if code := <-exits; code != exitFailed || !strings.Contains(out.String(), "second signal") {
		t.Errorf("exit code %d\n%s", code, out.String())
	}
}

func TestLogFormats(t *testing.T) {
	for _, test := range []struct{ format, level, want string }{
		{"auto", "info", `"msg":"hello"`}, // a buffer is no terminal
		{"json", "warn", ``},
		{"text", "debug", `msg=hello`},
	} {
		var out said
		logger, err := (&logFlags{format: test.format, level: test.level}).logger(&out)
		lab.Must(t, err)
		logger.Info("hello")
		if got := out.String(); !strings.Contains(got, test.want) || (got == "") != (test.want == "") {
			t.Errorf("%+v: %q", test, got)
		}
	}
}
