//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
)

// T is what a network is built for. Every *testing.T and *testing.B is one; a program that is no test brings its own.
type T interface {
	Helper()
	Fatalf(format string, args ...any) // does not return
	Cleanup(func())                    // to be called, the last first, when the network is not needed any more
	Context() context.Context          // pings and transfers end with it
}

// Must ends t at the first error that is not nil.
func Must(t T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatalf("%v", err)
		}
	}
}

// Usable tells why this process cannot make networks with tunnels in them, or nil.
func Usable() error {
	if os.Geteuid() != 0 {
		return errors.New("network namespaces need root")
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		return fmt.Errorf("TUN devices need /dev/net/tun: %w", err)
	}
	return nil
}
