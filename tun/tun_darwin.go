package tun

import (
	"errors"
	"fmt"
)

// nativeQueues: macOS has only the plain queue.
const nativeQueues = false

func openNative(Options) (Device, error) { return nil, errors.ErrUnsupported }

// openError says in one sentence why there is no device and what to do about it.
func openError(name string, err error) error {
	if name == "" {
		name = "utun"
	}
	return fmt.Errorf("tun: cannot make the interface %s: run as root and give no name, or a free one of the form utun7 (%w)", name, err)
}
