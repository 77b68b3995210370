package main

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// forbidDumps keeps the memory of this process, which holds secrets and keys, from everybody but root: it is not written to disk
// when the process crashes, and other processes of the same user cannot read it (ptrace(2), /proc/PID/mem).
func forbidDumps() error {
	return errors.Join(noCoreFile(), nondumpable())
}

// nondumpable: the limit alone does not keep a program that the kernel pipes core dumps into from getting one (core(5)).
func nondumpable() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("prctl(PR_SET_DUMPABLE): %w", err)
	}
	return nil
}
