package main

import (
	"io"
	"log/slog"
	"os"

	"github.com/spf13/pflag"
)

// logFlags say how the daemon logs.
type logFlags struct {
	format string
	level  string
}

func (f *logFlags) register(set *pflag.FlagSet) {
	set.StringVar(&f.format, "log-format", "auto", "text, json, or auto: text on a terminal, json otherwise")
	set.StringVar(&f.level, "log-level", "info", "debug, info, warn or error")
}

// logger writes to w as the flags say.
func (f *logFlags) logger(w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(f.level)); err != nil {
		return nil, usage("--log-level is %q; it must be debug, info, warn or error", f.level)
	}
	options := &slog.HandlerOptions{Level: level}
	switch {
	case f.format == "text", f.format == "auto" && isTerminal(w):
		return slog.New(slog.NewTextHandler(w, options)), nil
	case f.format == "json", f.format == "auto":
		return slog.New(slog.NewJSONHandler(w, options)), nil
	}
	return nil, usage("--log-format is %q; it must be text, json or auto", f.format)
}

// isTerminal reports whether somebody may be looking at what is written to w.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
