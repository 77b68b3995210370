package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// noCoreFile forbids core files of this process, for good.
func noCoreFile() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("setrlimit(RLIMIT_CORE): %w", err)
	}
	return nil
}
