package compare

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// profile has perf(1) watch the daemons until stop is called. PREFIX-a.data and PREFIX-b.data are for perf report, and the
// functions that took most of the time are in PREFIX-a.txt and PREFIX-b.txt.
func profile(prefix string, e *session) (stop func(), err error) {
	if err := os.MkdirAll(filepath.Dir(prefix), 0o755); err != nil {
		return nil, err
	}
	var stops []func()
	stop = func() {
		for _, s := range stops {
			s()
		}
	}
	for _, s := range []*site{e.a, e.b} {
		if s.daemon == nil {
			continue
		}
		data := fmt.Sprintf("%s-%s.data", prefix, s.name)
		cmd := exec.Command("perf", "record", "--quiet", "--freq", "997", "--call-graph", "fp", "--output", data, "--pid", fmt.Sprint(s.daemon.Pid()))
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is not for perf, which ends with the daemon anyway
		if err := cmd.Start(); err != nil {
			stop()
			return nil, fmt.Errorf("profiles need perf(1): %w", err)
		}
		stops = append(stops, func() {
			_ = cmd.Process.Signal(os.Interrupt) // it writes the rest and ends
			_ = cmd.Wait()
			_ = summarise(data, fmt.Sprintf("%s-%s.txt", prefix, s.name))
		})
	}
	return stop, nil
}

// summarise writes what a profile says, in lines.
func summarise(data, path string) error {
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	cmd := exec.Command("perf", "report", "--stdio", "--no-children", "--call-graph", "none", "--sort", "dso,symbol", "--percent-limit", "0.3", "--input", data)
	cmd.Stdout = out
	return errors.Join(cmd.Run(), out.Close())
}
