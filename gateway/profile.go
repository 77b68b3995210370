package gateway

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"time"
)

// profiles are the names of what WriteProfile knows.
var profiles = []string{"allocs", "cpu", "goroutine", "heap", "threadcreate"}

// Profiles lists what WriteProfile can write. The slice is the caller's.
func Profiles() []string { return slices.Clone(profiles) }

// WriteProfile writes a profile of the process in the form of pprof: of the Go runtime, by its name, or "cpu", for which it watches the
// process for as long as is said. "goroutine" is text, for people. It has the names of functions and no contents of memory.
func WriteProfile(ctx context.Context, w io.Writer, name string, d time.Duration) error {
	switch {
	case !slices.Contains(profiles, name):
		return fmt.Errorf("there is no profile %q, only %s", name, strings.Join(profiles, ", "))
	case name == "goroutine":
		return pprof.Lookup(name).WriteTo(w, 1)
	case name == "heap":
		runtime.GC() // so that it has what is in use
		fallthrough
	case name != "cpu":
		return pprof.Lookup(name).WriteTo(w, 0)
	}
	if err := pprof.StartCPUProfile(w); err != nil {
		return err
	}
	defer pprof.StopCPUProfile()
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// replyWriter sends what is written to a client.
type replyWriter struct{ c *call }

// Write sends it as one reply.
func (w replyWriter) Write(b []byte) (int, error) {
	if err := w.c.reply(Reply{Data: b}); err != nil {
		return 0, err
	}
	return len(b), nil
}
