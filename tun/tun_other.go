//go:build !linux && !darwin

package tun

import (
	"fmt"
	"runtime"
)

const nativeQueues = false

func openNative(o Options) (Device, error) { return openPortable(o) }

// openPortable says what this platform lacks: the daemon runs as a library only, over queues which the program brings.
func openPortable(Options) (Device, error) {
	return nil, fmt.Errorf("tun: there is no TUN device for %s here: run on Linux or macOS, or embed the gateway with a Queue of your own", runtime.GOOS)
}
