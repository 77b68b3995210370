package main

import (
	"strings"

	"github.com/spf13/cobra"
)

// defaultConfig is the configuration unless the command line says otherwise.
const defaultConfig = "/etc/culvert/culvert.conf"

// defaultState is where the daemon keeps what outlives it, likewise.
const defaultState = "/var/lib/culvert"

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "culvert",
		Short: "Connect networks through NAT with IKEv2 and ESP, in user space",
		Long: `Culvert connects networks with IKEv2 and ESP. It works when one or both gateways sit behind NAT, because ESP always
travels inside UDP and because the two sides know each other by names that do not depend on addresses.

To see it work on this machine, without any configuration:  sudo culvert demo`,
		Example: `  culvert check /etc/culvert/culvert.conf
  culvert run
  culvert up office
  culvert status`,
		Version:       version(),
		SilenceErrors: true, // report tells them
		SilenceUsage:  true,
		Args:          knownCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage("%v; see %q", err, cmd.CommandPath()+" --help")
	})
	root.SetHelpCommand(newHelp(root))
	root.AddCommand(newRun(), newCheck(), newNew(), newImport(), newStatus(), newExplain(), newTrace(), newCapture(), newDebug(), newUp(), newDown(), newRekey(), newReload(), newDoctor(), newDemo(), newBench(), newVersion(), newExitCodes())
	return root
}

// newHelp is cobra's help, but for a topic that there is not: asking for one is a mistake in the command line.
func newHelp(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Help about any command",
		RunE: func(_ *cobra.Command, args []string) error {
			topic, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return usage("there is no help on %q; see %q", strings.Join(args, " "), "culvert help")
			}
			topic.InitDefaultHelpFlag()
			return topic.Help()
		},
	}
}

// knownCommand refuses what is left of the command line of culvert when it names no command.
func knownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return usage("there is no command %q; did you mean %s?", args[0], strings.Join(near, " or "))
	}
	return usage("there is no command %q; see %q", args[0], "culvert help")
}

// arguments checks the number of a command's arguments; what is how its usage line calls them.
func arguments(least, most int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return usage("%s needs %s; see %q", cmd.Name(), what, cmd.CommandPath()+" --help")
		case len(args) > most && most == 0:
			return usage("%s takes no arguments, but %q was given", cmd.Name(), args[0])
		case len(args) > most:
			return usage("%s takes only %s, but %q was given as well", cmd.Name(), what, args[most])
		}
		return nil
	}
}
