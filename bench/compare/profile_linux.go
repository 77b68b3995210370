package compare

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// sideShares is the profile of one daemon.
type sideShares struct {
	side   string
	shares map[string]float64
}

// profile has perf(1) watch the daemons while f runs. PREFIX-a.data and PREFIX-b.data are for perf report, PREFIX-a.txt and
// PREFIX-b.txt list the functions; what is returned sums them up.
func profile(prefix string, e *session, f func() error) (found []sideShares, err error) {
	if err := os.MkdirAll(filepath.Dir(prefix), 0o755); err != nil {
		return nil, err
	}
	var watchers []*exec.Cmd
	for _, s := range e.sites() {
		cmd := exec.Command("perf", "record", "--quiet", "--freq", "997", "--call-graph", "fp", "--output", prefix+"-"+s.name+".data", "--pid", fmt.Sprint(s.daemon.Pid()))
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is not for perf, which ends with the daemon anyway
		if err = cmd.Start(); err != nil {
			err = fmt.Errorf("profiles need perf(1): %w", err)
			break
		}
		watchers = append(watchers, cmd)
	}
	if err == nil {
		err = f()
	}
	for _, cmd := range watchers {
		_ = cmd.Process.Signal(os.Interrupt) // it writes the rest and ends
		_ = cmd.Wait()
	}
	if err != nil {
		return nil, err
	}
	for _, s := range e.sites() {
		text, err := summarise(prefix + "-" + s.name)
		if err != nil {
			return nil, err
		}
		found = append(found, sideShares{s.name, shares(text)})
	}
	return found, nil
}

// summarise lists the functions of a profile.
func summarise(prefix string) ([]byte, error) {
	cmd := exec.Command("perf", "report", "--stdio", "--no-children", "--call-graph", "none", "--sort", "dso,symbol", "--input", prefix+".data")
	text, err := cmd.Output()
	return text, errors.Join(err, os.WriteFile(prefix+".txt", text, 0o644))
}
