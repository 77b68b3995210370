package demo

import (
	"fmt"
	"io"
	"strings"
)

// narrator tells what happens, one line a step.
type narrator struct {
	w    io.Writer
	live bool // a step shows while it is under way
	bad  int  // steps that failed
}

// say prints text as it is.
func (n *narrator) say(format string, args ...any) { fmt.Fprintf(n.w, format+"\n", args...) }

// step does something and tells how it came out. Further lines of what do returns stand below the first.
func (n *narrator) step(what string, do func() (string, error)) error {
	if n.live {
		fmt.Fprintf(n.w, "  ...   %s", what)
	}
	result, err := do()
	mark := "ok    "
	if err != nil {
		n.bad++
		mark, result = "FAILED", err.Error()
	}
	if n.live {
		fmt.Fprint(n.w, "\r\x1b[K")
	}
	if result != "" {
		result = ": " + result
	}
	fmt.Fprintf(n.w, "  %s%s%s\n", mark, what, strings.ReplaceAll(result, "\n", "\n        "))
	return err
}

// fact prints a line that belongs to the step before.
func (n *narrator) fact(name, format string, args ...any) {
	fmt.Fprintf(n.w, "          %-12s %s\n", name, fmt.Sprintf(format, args...))
}
