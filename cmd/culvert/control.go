package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/culvert-vpn/culvert/gateway"
)

// order is what up, down and rekey ask of the daemon.
type order struct {
	control string
	child   string
	reauth  bool
	timeout time.Duration
}

func newUp() *cobra.Command {
	return newOrder("up", "up and running", &cobra.Command{
		Short: "Bring a connection or a child up",
		Long: `Up brings all children of a connection up, or one of them, and tells what happens on the way. It returns when they are
up, or with the reason when an attempt has failed; a child with start_action = start is tried again for ever.`,
		Example: `  culvert up office
  culvert up office --child net --timeout 10s`,
	})
}

func newDown() *cobra.Command {
	return newOrder("down", "down, and stays down until the next `culvert up`", &cobra.Command{
		Short: "Take a connection or a child down",
		Long:  `Down closes a connection, or one of its children, and keeps it down until the next "culvert up".`,
		Example: `  culvert down office
  culvert down office --child net`,
	})
}

func newRekey() *cobra.Command {
	return newOrder("rekey", "has new keys", &cobra.Command{
		Short: "Agree on new keys for a connection or a child",
		Long: `Rekey agrees on new keys for a connection's IKE SA, or for one of its children, without an interruption. With --reauth both
sides prove anew who they are: a new IKE SA with all children takes the place of the old one.`,
		Example: `  culvert rekey office
  culvert rekey office --child net
  culvert rekey office --reauth`,
	})
}

// newOrder completes a command that sends the daemon an order about a connection; done is what is true afterwards.
func newOrder(verb, done string, cmd *cobra.Command) *cobra.Command {
	var o order
	cmd.Use = verb + " NAME"
	cmd.Args = arguments(1, 1, "the NAME of a connection")
	cmd.ValidArgsFunction = completeConnection(&o.control)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return o.send(verb, args[0], done, cmd.OutOrStdout())
	}
	cmd.Flags().StringVar(&o.child, "child", "", "only this child of the connection")
	if verb == "rekey" {
		cmd.Flags().BoolVar(&o.reauth, "reauth", false, "authenticate anew")
		cmd.MarkFlagsMutuallyExclusive("child", "reauth")
	}
	cmd.Flags().DurationVar(&o.timeout, "timeout", gateway.DefaultTimeout, "how long to wait, as 10s or 2m")
	controlFlag(cmd, &o.control)
	return cmd
}

// completeConnection offers the names of connections for the one argument of a command.
func completeConnection(socket *string) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return connectionNames(*socket), cobra.ShellCompDirectiveNoFileComp
	}
}

func controlFlag(cmd *cobra.Command, socket *string) {
	cmd.Flags().StringVar(socket, "control", gateway.DefaultControl, "Unix `socket` of the daemon")
}

// send has the daemon do it, and prints a line for each event on the way.
func (o *order) send(verb, name, done string, w io.Writer) error {
	if o.timeout <= 0 || o.timeout > gateway.MaxTimeout {
		return usage("--timeout is %v; it must be more than 0 and at most %v", o.timeout, gateway.MaxTimeout)
	}
	request := gateway.Request{Cmd: verb, Conn: name, Child: o.child, Reauth: o.reauth, Timeout: o.timeout.Seconds()}
	err := gateway.Client{Socket: o.control}.Do(context.Background(), request, func(r gateway.Reply) {
		if r.Event != nil {
			writeEvent(w, r.Event)
		}
	})
	subject := name
	if o.child != "" {
		subject += ", child " + o.child
	}
	var refused *gateway.RequestError
	switch {
	case err == nil:
		fmt.Fprintf(w, "%s: %s\n", subject, done)
		return nil
	case errors.As(err, &refused) && refused.Remedy != "":
		return fmt.Errorf("%s %s: %s\nremedy: %s; at length: culvert explain %s", verb, subject, refused.Text, refused.Remedy, name)
	case errors.As(err, &refused):
		return fmt.Errorf("%s %s: %s", verb, subject, refused.Text)
	}
	return reached(err)
}

// writeEvent writes an event on a line.
func writeEvent(w io.Writer, e *gateway.EventInfo) {
	what := e.Kind
	if e.Child != "" {
		what += " " + e.Child
	}
	text := cmp.Or(e.Text, e.Remote)
	if e.RemoteID != "" && e.Kind == "established" {
		text = fmt.Sprintf("%s <-> %s; %s", e.LocalID, e.RemoteID, text)
	}
	if text != "" {
		text = ": " + text
	}
	fmt.Fprintf(w, "%s %s%s\n", e.Time.Format(time.TimeOnly), what, text)
}

// reached gives an error of the client the exit code that says whether there is a daemon at all.
func reached(err error) error {
	if errors.Is(err, gateway.ErrNotRunning) {
		return &failure{exitNotRunning, err}
	}
	return err
}

// connectionNames are those of a running daemon, for completion in the shell.
func connectionNames(socket string) (names []string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	status, err := gateway.Client{Socket: socket}.Status(ctx)
	if err != nil {
		return nil
	}
	for _, c := range status.Connections {
		names = append(names, c.Name)
	}
	return names
}
