package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/culvert-vpn/culvert/config"
)

// Exit codes. They are documented by `culvert help exit-codes` and do not change.
const (
	exitFine       = 0
	exitFailed     = 1 // what was asked for did not succeed
	exitConfig     = 2 // the configuration is not accepted
	exitNotRunning = 3 // there is no daemon to talk to
	exitUsage      = 4 // the command line is not understood
	exitProblems   = 5 // doctor has found what is wrong
)

func newExitCodes() *cobra.Command {
	return &cobra.Command{ // it cannot run, so it is a topic of help
		Use:   "exit-codes",
		Short: "What the exit codes mean",
		Long: `Exit codes of culvert:

  0  Everything is fine.
  1  What was asked for did not succeed; the reason is on the standard error.
  2  The configuration is not accepted; all its errors are on the standard error. After reload the former one is in effect.
  3  No daemon is running (status, explain, up, down, rekey, reload).
  4  The command line is not understood.
  5  Doctor has found a failure; it is on the standard output.`,
	}
}

// failure is an error with an exit code other than exitFailed.
type failure struct {
	code int
	err  error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// usage says that the command line is not understood.
func usage(format string, args ...any) error {
	return &failure{exitUsage, fmt.Errorf(format, args...)}
}

// report tells the user what went wrong and returns the exit code. Errors of a configuration have their place in
// front, one a line, as editors expect them.
func report(w io.Writer, err error) int {
	var bad config.Errors
	var f *failure
	switch {
	case err == nil:
		return exitFine
	case errors.As(err, &bad):
		fmt.Fprintln(w, bad)
		fmt.Fprintf(w, "culvert: %s in the configuration\n", count(len(bad), "error"))
		return exitConfig
	case errors.As(err, &f):
		fmt.Fprintf(w, "culvert: %v\n", f.err)
		return f.code
	}
	fmt.Fprintf(w, "culvert: %v\n", err)
	return exitFailed
}

// count is a number with its noun: "1 error", "2 errors".
func count(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}
