//go:build !linux

package gateway

import "time"

var processStart = time.Now()

// hostUptime is the time since this process was started. Whether it goes on while the host is suspended is up to the platform.
func hostUptime() time.Duration { return time.Since(processStart) }
