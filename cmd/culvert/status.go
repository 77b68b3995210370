package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/culvert-vpn/culvert/gateway"
)

// statusPatience is how long the daemon may take to tell its state.
const statusPatience = 10 * time.Second

func newStatus() *cobra.Command {
	var socket string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show connections, tunnels, traffic and what went wrong",
		Long: `Status shows what the running daemon does: which connections are up, between whom, through which NAT, how the secret was
found, how much was carried, when keys are renewed, what was dropped and why, and the last failure with its remedy.

The exit code tells whether a daemon is running, not whether its connections are up; for that, read the JSON.`,
		Example: `  culvert status
  culvert status --json | jq '.connections[] | {name, up}'`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeoutCause(context.Background(), statusPatience,
				fmt.Errorf("the daemon has not answered within %v: it hangs, or is busy with other clients", statusPatience))
			defer cancel()
			status, err := gateway.Client{Socket: socket}.Status(ctx)
			if err != nil {
				return reached(err)
			}
			if asJSON {
				encoder := json.NewEncoder(cmd.OutOrStdout())
				encoder.SetIndent("", "  ")
				return encoder.Encode(status)
			}
			return writeStatus(cmd.OutOrStdout(), &status)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print all of it as JSON, whose fields do not change their meaning")
	controlFlag(cmd, &socket)
	return cmd
}
