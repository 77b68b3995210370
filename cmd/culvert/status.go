package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/culvert-vpn/culvert/gateway"
)

// statusPatience is how long the daemon may take to tell its state.
const statusPatience = 10 * time.Second

// statusFlags say what is shown, and how.
type statusFlags struct {
	socket   string
	name     string // of a connection; empty: all
	json     bool
	verbose  bool
	watch    bool
	interval time.Duration
}

func newStatus() *cobra.Command {
	var f statusFlags
	cmd := &cobra.Command{
		Use:   "status [NAME]",
		Short: "Show connections, tunnels, traffic and what went wrong",
		Long: `Status shows what the running daemon does: which connections are up, with whom, where a NAT is, how much was carried, when keys
are renewed, what was dropped and why, and the last failure with its remedy. A line for each connection comes first. Details follow
with --verbose, for one connection if its NAME is given, or if there are few.

With --watch it goes on, and shows how much is carried in a second. On a terminal the table stays where it is.

The exit code tells whether a daemon is running, not whether its connections are up; for that, read the JSON (docs/status.md).`,
		Example: `  culvert status
  culvert status office
  culvert status --watch --interval 5s
  culvert status --json | jq '.connections[] | {name, up}'`,
		Args: arguments(0, 1, "the NAME of a connection"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				f.name = args[0]
			}
			return f.run(cmd.Context(), cmd.OutOrStdout())
		},
	}
	cmd.ValidArgsFunction = completeConnection(&f.socket)
	cmd.Flags().BoolVar(&f.json, "json", false, "print all of it as JSON, whose fields do not change their meaning")
	cmd.Flags().BoolVarP(&f.verbose, "verbose", "v", false, "print the details of all connections")
	cmd.Flags().BoolVarP(&f.watch, "watch", "w", false, "print it again and again, with rates")
	cmd.Flags().DurationVar(&f.interval, "interval", 2*time.Second, "how long to wait between two looks of --watch")
	controlFlag(cmd, &f.socket)
	return cmd
}

// minInterval keeps a watch from being a load.
const minInterval = 100 * time.Millisecond

func (f *statusFlags) run(ctx context.Context, w io.Writer) error {
	if f.interval < minInterval {
		return usage("--interval is %v; it must be %v or more", f.interval, minInterval)
	}
	if f.watch {
		return f.follow(ctx, w)
	}
	status, err := f.ask(ctx)
	if err != nil {
		return err
	}
	if f.json {
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		return encoder.Encode(status)
	}
	return f.print(w, &status, nil)
}

// ask asks the daemon. Of a status about one connection the others are left out.
func (f *statusFlags) ask(ctx context.Context) (gateway.Status, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, statusPatience,
		fmt.Errorf("the daemon has not answered within %v: it hangs, or is busy with other clients", statusPatience))
	defer cancel()
	status, err := gateway.Client{Socket: f.socket}.Status(ctx)
	if err != nil {
		return status, reached(err)
	}
	if f.name != "" {
		status.Connections = slices.DeleteFunc(status.Connections, func(c gateway.ConnectionStatus) bool { return c.Name != f.name })
		if len(status.Connections) == 0 {
			return status, fmt.Errorf("there is no connection %q", f.name)
		}
	}
	return status, nil
}

// fewConnections is how many connections are shown in detail without being asked for.
const fewConnections = 3

// print writes a status for people. before is an earlier one, nil if there is none.
func (f *statusFlags) print(w io.Writer, s, before *gateway.Status) error {
	scrub(s)
	if err := writeTable(w, s, before); err != nil {
		return err
	}
	parts := parts{gateway: f.name == "" && !f.watch, details: f.verbose || f.name != "" || len(s.Connections) <= fewConnections && !f.watch}
	return writeStatus(w, s, parts)
}

// follow prints the status again and again, until the command is interrupted.
func (f *statusFlags) follow(ctx context.Context, w io.Writer) error {
	screen := newScreen(w)
	tick := time.NewTicker(f.interval)
	defer tick.Stop()
	var before *gateway.Status
	for {
		status, err := f.ask(ctx)
		if err != nil {
			return err
		}
		if f.json {
			err = json.NewEncoder(w).Encode(status)
		} else {
			err = screen.show(func(w io.Writer) error { return f.print(w, &status, before) })
		}
		if err != nil {
			return err
		}
		before = &status
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
