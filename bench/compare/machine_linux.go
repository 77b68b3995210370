package compare

import (
	"bufio"
	"bytes"
	"debug/buildinfo"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/culvert-vpn/culvert/internal/lab"
)

// thisMachine describes where we are.
func thisMachine() Machine {
	m := Machine{CPUs: runtime.NumCPU(), Go: runtime.Version(), CPU: runtime.GOARCH}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		m.Kernel = "Linux " + unix.ByteSliceToString(name.Release[:])
	}
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			m.CPU = strings.TrimSpace(value)
			break
		}
	}
	return m
}

// buildOf is what a Go program says of how it was made.
func buildOf(path string) string {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return ""
	}
	text := info.Path + " " + info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" || s.Key == "-tags" {
			text += " " + s.Value
		}
	}
	return strings.TrimSpace(text) + ", " + info.GoVersion
}

// cpuOf is the time that the processors have spent for a process so far, in its own code and in the kernel.
func cpuOf(p *lab.Process) (time.Duration, error) {
	// The clock of another process, clock_getcpuclockid(3): exact, where /proc/PID/stat counts in ticks.
	const wholeProcess, scheduled = 0, 2
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^p.Pid()<<3|wholeProcess|scheduled), &t); err != nil {
		return 0, fmt.Errorf("the time of process %d: %w", p.Pid(), err)
	}
	return time.Duration(t.Nano()), nil
}

// ownCPU is the same for this process, which makes the load.
func ownCPU() time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u) // cannot fail
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// forgetPeak has the kernel begin anew with the peak of a process's memory (proc(5), clear_refs).
func forgetPeak(p *lab.Process) error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.Pid()), []byte("5"), 0)
}

// peakOf is the most memory that a process had resident since, in bytes.
func peakOf(p *lab.Process) (uint64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Pid()))
	if err != nil {
		return 0, err
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), "VmHWM:"); ok {
			kb, err := strconv.ParseUint(strings.TrimSpace(strings.TrimSuffix(value, "kB")), 10, 64)
			return kb << 10, err
		}
	}
	return 0, errors.New("the kernel does not tell the peak of a process's memory")
}
