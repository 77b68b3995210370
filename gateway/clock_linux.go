package gateway

import (
	"time"

	"golang.org/x/sys/unix"
)

// hostUptime is the time since the host was started, suspended or not.
func hostUptime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic("the kernel has no CLOCK_BOOTTIME: " + err.Error()) // since Linux 2.6.39
	}
	return time.Duration(ts.Nano())
}
