//go:build linux

package lab

import (
	"context"
	"fmt"
	"slices"
)

// Stage is the T of a program that is no test.
type Stage struct {
	ctx      context.Context
	cleanups []func()
}

// NewStage makes a stage; pings and transfers on it end with ctx.
func NewStage(ctx context.Context) *Stage { return &Stage{ctx: ctx} }

// broken is what Fatalf throws, for Run to catch.
type broken struct{ error }

// Helper does nothing: there are no lines of a test to tell.
func (s *Stage) Helper() {}

// Fatalf ends what Run or Try runs.
func (s *Stage) Fatalf(format string, args ...any) { panic(broken{fmt.Errorf(format, args...)}) }

// Cleanup has f called at the end of Run.
func (s *Stage) Cleanup(f func()) { s.cleanups = append(s.cleanups, f) }

// Context is the one that the stage was made with.
func (s *Stage) Context() context.Context { return s.ctx }

// Run calls f, and then what f asked to be called in the end, the last first.
func (s *Stage) Run(f func() error) (err error) {
	defer func() {
		for _, f := range slices.Backward(s.cleanups) {
			f()
		}
	}()
	defer caught(&err)
	return f()
}

// Try turns the end that Fatalf makes of f into an error.
func (s *Stage) Try(f func()) (err error) {
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
