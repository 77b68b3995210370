package main

import (
	"context"
	"fmt"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/culvert-vpn/culvert/internal/demo"
)

func newDemo() *cobra.Command {
	var megabytes int64
	var configs bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Connect two networks through a NAT on this machine, and show it",
		Long: `Demo builds two sites, an internet and a 1:1 NAT on this machine, runs a gateway on each side, and connects the sites:
once called from behind the NAT, once from outside. It sends pings and files through the tunnel and checks them.

All of it happens in network namespaces of its own. The network of this machine is not touched, and nothing is left
behind, not even when the demo is interrupted. It needs root.`,
		Example: `  sudo culvert demo
  culvert demo --configs      print the two configurations`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			out := cmd.OutOrStdout()
			if configs {
				_, err := fmt.Fprintf(out, "%s\n%s", demo.ConfigA, demo.ConfigB)
				return err
			}
			if megabytes < 1 {
				return usage("--size is %d; it must be 1 or more", megabytes)
			}
			ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
			defer stop()
			context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once
			return demo.Run(ctx, demo.Options{
				Out: out, Live: isTerminal(out), Program: "/proc/self/exe", Bytes: megabytes * 1e6,
			})
		},
	}
	cmd.Flags().Int64Var(&megabytes, "size", 100, "`megabytes` to transfer each way")
	cmd.Flags().BoolVar(&configs, "configs", false, "print the configurations of both gateways and do nothing else")
	return cmd
}
