package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

// narrator tells what happens, one line a step.
type narrator struct {
	ctx  context.Context // ends when the user interrupts the story
	w    io.Writer
	live bool // a step shows while it is under way
}

// say prints text as it is.
func (n *narrator) say(format string, args ...any) { fmt.Fprintf(n.w, format+"\n", args...) }

// step does something and tells how it came out; after an interruption that is neither good nor bad. Further lines of what do returns stand below the first.
func (n *narrator) step(what string, do func() (string, error)) error {
	if n.live {
		fmt.Fprintf(n.w, "  ...   %s", what)
	}
	result, err := do()
	mark := "ok    "
	switch {
	case n.ctx.Err() != nil:
		mark, result = "cut   ", ""
	case err != nil:
		mark, result = "FAILED ", err.Error()
	}
	if n.live {
		fmt.Fprint(n.w, "\r\x1b[K")
	}
	if result != "" {
		result = ": " + result
	}
	fmt.Fprintf(n.w, "  %s%s%s\n", mark, what, strings.ReplaceAll(result, "\n", "\n        "))
	return errors.Join(n.ctx.Err(), err)
}

// fact prints a line that belongs to the step before.
func (n *narrator) fact(name, format string, args ...any) {
	fmt.Fprintf(n.w, "          %-12s %s\n", name, fmt.Sprintf(format, args...))
}
