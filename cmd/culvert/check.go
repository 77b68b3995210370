package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/culvert-vpn/culvert/config"
	"github.com/culvert-vpn/culvert/gateway"
)

func newCheck() *cobra.Command {
	return &cobra.Command{
		Use:   "check [FILE]",
		Short: "Check a configuration and print the policy it describes",
		Long: `Check reads a configuration without running anything. It prints every error with file, line and column, or else the
policy that is in effect, defaults included. Warnings and errors go to the standard error; one of them is that none of the
local_addrs of a connection is an address of this host, which matters where it is to run only.

FILE is ` + defaultConfig + ` if it is not given.`,
		Example: `  culvert check
  culvert check new.conf && echo accepted`,
		Args: arguments(0, 1, "one FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := defaultConfig
			if len(args) > 0 {
				path = args[0]
			}
			conf, err := load(path, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			defer conf.Secrets.Wipe()
			for _, text := range append(gateway.AdviceAddresses(conf.Connections), gateway.AdviceNetworks(conf.Connections)...) {
				fmt.Fprintln(cmd.ErrOrStderr(), path+": warning: "+text)
			}
			return conf.Describe(cmd.OutOrStdout())
		},
	}
}

// load reads a configuration and prints its warnings.
func load(path string, warn io.Writer) (*config.Config, error) {
	conf, warnings, err := config.Load(path)
	for _, w := range warnings {
		fmt.Fprintln(warn, w)
	}
	return conf, err
}
