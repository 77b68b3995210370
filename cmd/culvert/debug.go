package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/culvert-vpn/culvert/gateway"
)

func newDebug() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "debug",
		Short: "Look into the daemon's process",
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		Args:  arguments(0, 0, ""),
	}
	cmd.AddCommand(newPprof())
	return cmd
}

// profileFlags say what is profiled, and where it goes.
type profileFlags struct {
	socket  string
	file    string
	seconds int
}

func newPprof() *cobra.Command {
	var f profileFlags
	cmd := &cobra.Command{
		Use:   "pprof PROFILE",
		Short: "Write a profile of the daemon",
		Long: `Pprof writes a profile of the running daemon, for "go tool pprof": ` + strings.Join(gateway.Profiles(), ", ") + `. The profile goroutine is a
text that says what the daemon is about. Profiles have the names of functions, and no contents of memory. They can be had through the
control socket only.`,
		Example: `  culvert debug pprof heap -o heap.pprof
  culvert debug pprof cpu --seconds 30 -o cpu.pprof && go tool pprof -top cpu.pprof
  culvert debug pprof goroutine`,
		Args:      arguments(1, 1, "the name of a PROFILE"),
		ValidArgs: gateway.Profiles(),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.run(cmd.Context(), args[0], cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVarP(&f.file, "output", "o", "-", "the `file` to write; - is the standard output")
	cmd.Flags().IntVar(&f.seconds, "seconds", 10, "how long to watch, for cpu")
	controlFlag(cmd, &f.socket)
	return cmd
}

func (f *profileFlags) run(ctx context.Context, name string, stdout io.Writer) error {
	most := int(gateway.MaxTimeout / time.Second)
	if f.seconds < 1 || f.seconds > most {
		return usage("--seconds is %d; it must be from 1 to %d", f.seconds, most)
	}
	if f.file == "-" && name != "goroutine" && isTerminal(stdout) {
		return usage("the profile %s is nothing for a terminal: use -o FILE", name)
	}
	if f.file != "-" {
		file, err := os.OpenFile(f.file, os.O_CREATE|os.O_TRUNC|os.O_WRONLY|syscall.O_NOFOLLOW, 0o600)
		if err != nil {
			return err
		}
		defer file.Close()
		stdout = file
	}
	d := time.Duration(f.seconds) * time.Second
	ctx, cancel := context.WithTimeoutCause(ctx, d+statusPatience, fmt.Errorf("the daemon has not answered within %v", d+statusPatience))
	defer cancel()
	return reached(gateway.Client{Socket: f.socket}.Profile(ctx, stdout, name, d))
}
