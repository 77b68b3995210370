package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/culvert-vpn/culvert/doctor"
)

// metadataVariable names another metadata service, as that of a cloud in a laboratory.
const metadataVariable = "CULVERT_METADATA_URL"

func newDoctor() *cobra.Command {
	o := doctor.Options{Metadata: os.Getenv(metadataVariable)}
	var skip []string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor [NAME]",
		Short: "Examine this host, its cloud and the peers, and say what to change",
		Long: `Doctor looks for what stands in the way of a tunnel: in the configuration, on this host, at the cloud that it is in (AWS,
Google Cloud, Azure: a 1:1 NAT), and at the peers, or the one of connection NAME. It needs no running daemon, and changes nothing.

Of a peer it asks what the first message of IKE tells everybody: whether it answers at UDP ports 500 and 4500, what it accepts, who is
behind a NAT, how long packets may be. At most 8 requests go to a peer, of which 2 at most leave anything there, for half a minute.

The exit code is 0 if there is no failure, and 5 if there is one.`,
		Example: `  culvert doctor
  culvert doctor office --each-proposal
  culvert doctor --skip peer --json | jq '.checks[] | select(.result == "failure")'`,
		Args: arguments(0, 1, "the NAME of one connection"),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return connectionNames(o.Control), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, name := range skip {
				group := doctor.Group(name)
				if !slices.Contains([]doctor.Group{doctor.Host, doctor.Cloud, doctor.Peer}, group) {
					return usage("--skip: %q is not host, cloud or peer", name)
				}
				o.Skip = append(o.Skip, group)
			}
			if o.Patience <= 0 || o.Patience > time.Minute {
				return usage("--timeout is %v; it must be more than 0 and at most %v", o.Patience, time.Minute)
			}
			if len(args) > 0 {
				o.Name = args[0]
			}
			return examine(cmd, o, asJSON)
		},
	}
	set := cmd.Flags()
	set.StringVar(&o.Config, "config", defaultConfig, "configuration `file`")
	set.BoolVar(&asJSON, "json", false, "print all of it as JSON, whose fields do not change their meaning")
	set.BoolVar(&o.Singly, "each-proposal", false, "offer each proposal to the peer by itself as well")
	set.StringSliceVar(&skip, "skip", nil, "`groups` not to examine: host, cloud, peer")
	set.DurationVar(&o.Patience, "timeout", doctor.DefaultPatience, "how long a peer may take to answer")
	set.StringVar(&o.Metadata, "metadata-url", o.Metadata, "`URL` of the cloud's metadata service")
	_ = set.MarkHidden("metadata-url") // for laboratories
	controlFlag(cmd, &o.Control)
	return cmd
}

func examine(cmd *cobra.Command, o doctor.Options, asJSON bool) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once
	out := cmd.OutOrStdout()
	colored := isTerminal(out) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	if colored && !asJSON {
		o.Progress = func(what string) { fmt.Fprintf(out, "\r\x1b[K%s ...", what) }
	}
	report := doctor.Run(ctx, o)
	if o.Progress != nil {
		fmt.Fprint(out, "\r\x1b[K")
	}
	if ctx.Err() != nil {
		return errors.New("the examination was interrupted")
	}
	var err error
	if asJSON {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(report)
	} else {
		err = writeReport(out, &report, colored)
	}
	if n := report.Count(doctor.Failure); err == nil && n > 0 {
		return &failure{exitProblems, fmt.Errorf("%s found", count(n, "problem"))}
	}
	return err
}
