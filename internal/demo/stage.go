//go:build linux

package demo

import (
	"context"
	"fmt"
	"slices"
)

// stage is what the demo's network is built for: a lab.T that is no test.
type stage struct {
	ctx      context.Context
	cleanups []func()
}

// broken is what Fatalf throws, for run to catch.
type broken struct{ error }

// Helper does nothing: there are no lines of a test to tell.
func (s *stage) Helper() {}

// Fatalf ends what run runs.
func (s *stage) Fatalf(format string, args ...any) { panic(broken{fmt.Errorf(format, args...)}) }

// Cleanup has f called at the end of run.
func (s *stage) Cleanup(f func()) { s.cleanups = append(s.cleanups, f) }

// Context ends when the user interrupts the demo.
func (s *stage) Context() context.Context { return s.ctx }

// run calls f, and then what f asked to be called in the end, the last first.
func (s *stage) run(f func() error) (err error) {
	defer func() {
		for _, f := range slices.Backward(s.cleanups) {
			f()
		}
	}()
	defer caught(&err)
	return f()
}

// try turns the end that Fatalf makes of f into an error.
func (s *stage) try(f func()) (err error) {
	defer caught(&err)
	f()
	return nil
}

// caught is deferred where Fatalf ends.
func caught(err *error) {
	switch p := recover().(type) {
	case nil:
	case broken:
		*err = p.error
	default:
		panic(p)
	}
}
