package main

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// screen is where the same is written again and again.
type screen struct {
	w     io.Writer
	file  *os.File // of a terminal
	shown bool
}

func newScreen(w io.Writer) *screen {
	s := &screen{w: w}
	if f, ok := w.(*os.File); ok && isTerminal(w) {
		s.file = f
	}
	return s
}

// What terminals are told: to go to the first place of the screen, to clear the rest of a line, and of the screen.
const (
	toFirst   = "\x1b[H"
	clearLine = "\x1b[K"
	clearRest = "\x1b[J"
)

// show writes what write does in the place of what was written before, on a terminal, or else below it. On a terminal what does not
// fit is left out.
func (s *screen) show(write func(io.Writer) error) error {
	var b bytes.Buffer
	if err := write(&b); err != nil {
		return err
	}
	if s.file == nil {
		if s.shown {
			fmt.Fprintln(s.w)
		}
		s.shown = true
		_, err := s.w.Write(b.Bytes())
		return err
	}
	rows, columns := 24, 80
	if size, err := unix.IoctlGetWinsize(int(s.file.Fd()), unix.TIOCGWINSZ); err == nil && size.Row > 1 && size.Col > 1 {
		rows, columns = int(size.Row), int(size.Col)
	}
	_, err := s.w.Write(page(b.Bytes(), rows, columns))
	return err
}

// page is a text as it is written to a screen of a size.
func page(text []byte, rows, columns int) []byte {
	out := []byte(toFirst)
	lines := bytes.Split(bytes.TrimRight(text, "\n"), []byte("\n"))
	for i, line := range lines {
		if i == rows-1 {
			out = fmt.Appendf(out, "(%d more lines)%s", len(lines)-i, clearLine)
			return append(out, clearRest...)
		}
		if runes := bytes.Runes(line); len(runes) > columns {
			line = []byte(string(runes[:columns]))
		}
		out = append(append(append(out, line...), clearLine...), '\n')
	}
	return append(out, clearRest...)
}
