package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/culvert-vpn/culvert/explain"
	"github.com/culvert-vpn/culvert/gateway"
)

// columns is how wide explanations are.
const columns = 80

func newExplain() *cobra.Command {
	status := statusFlags{}
	cmd := &cobra.Command{
		Use:   "explain [NAME | CAUSE | MESSAGE...]",
		Short: "Say what went wrong, and what to change on which side",
		Long: `Explain tells failures, and what is not as it should be although nothing has failed, at length: what the peer sent beside what is configured, which side must change what, and the lines to
paste for it.

Without an argument it explains all that is wrong now, the latest first, and the last refusals of peers that belong to no
connection. With the NAME of a connection it explains its warnings and last failures, even if it is up again. A CAUSE, as status and the log name
it, or a MESSAGE from a log, of Culvert or of another IKE daemon, is looked up in the catalogue, for which no daemon is needed.

The exit code is 0 if something was explained, or nothing is wrong, and 1 if there is nothing of that name and no such message.`,
		Example: `  culvert explain
  culvert explain office
  culvert explain office --json | jq '.[0].failure.diagnosis.fixes'
  culvert explain wrong-secret
  culvert explain "received NO_PROPOSAL_CHOSEN notify error"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return explainAny(cmd.Context(), &status, strings.Join(args, " "), cmd.OutOrStdout())
		},
	}
	cmd.ValidArgsFunction = completeExplain(&status.socket)
	cmd.Flags().BoolVar(&status.json, "json", false, "print it as JSON, whose fields do not change their meaning")
	controlFlag(cmd, &status.socket)
	return cmd
}

// completeExplain offers the connections and the causes.
func completeExplain(socket *string) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		list := connectionNames(*socket)
		for _, e := range explain.Catalogue() {
			list = append(list, string(e.Cause))
		}
		return list, cobra.ShellCompDirectiveNoFileComp
	}
}

// explanation is a failure and whose it is.
type explanation struct {
	// Connection is empty if the peer belongs to none.
	Connection string `json:"connection,omitempty"`
	// Up: the connection is up again.
	Up      bool            `json:"up"`
	Failure gateway.Failure `json:"failure"`
}

// explainAny finds out what is to be explained. A connection comes before a cause of the same name.
func explainAny(ctx context.Context, f *statusFlags, what string, w io.Writer) error {
	s, err := f.ask(ctx)
	if !f.json {
		scrub(&s)
	}
	if err == nil {
		for _, c := range s.Connections {
			if c.Name == what {
				return explainConnection(w, &s, c, f.json)
			}
		}
		if what == "" {
			return explainAll(w, &s, f.json)
		}
	} else if what == "" {
		return err
	}
	entry, unknown := explain.Of(explain.Cause(what))
	entries := []explain.Entry{entry}
	if unknown != nil {
		entries = explain.Match(what)
	}
	if len(entries) == 0 {
		var down *failure
		if errors.As(err, &down) && down.code == exitNotRunning {
			return &failure{exitNotRunning, fmt.Errorf("nothing is known of %q, and there is no daemon to ask for a connection of that name: %w", what, err)}
		}
		if err != nil {
			return err
		}
		return fmt.Errorf("there is no connection %q, no cause of that name, and no message like it in the catalogue; see \"culvert explain\"", what)
	}
	if f.json {
		return writeJSON(w, entries)
	}
	for i, e := range entries {
		if i > 0 {
			fmt.Fprint(w, "\n", strings.Repeat("-", columns), "\n\n")
		}
		fmt.Fprint(w, e.Format(columns))
	}
	return nil
}

func writeJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false) // lines to paste have angle brackets
	return encoder.Encode(v)
}

// maxFailures is how many failures of one connection are told.
const maxFailures = 3

// explainConnection tells the last failures of a connection, and of peers that may be its.
func explainConnection(w io.Writer, s *gateway.Status, c gateway.ConnectionStatus, asJSON bool) error {
	list := []explanation{}
	if c.LastFailure != nil {
		list = append(list, explanation{c.Name, c.Up, *c.LastFailure})
	}
	for _, f := range c.Warnings {
		list = append(list, explanation{c.Name, c.Up, f})
	}
	for _, f := range slices.Concat(s.Refused, s.Warnings) {
		if f.Diagnosis != nil && slices.Contains(f.Diagnosis.Connections, c.Name) {
			list = append(list, explanation{c.Name, c.Up, f})
		}
	}
	for _, f := range c.Warnings {
		list = append(list, explanation{c.Name, c.Up, f})
	}
	list = latest(list)
	list = list[:min(len(list), maxFailures)]
	if asJSON {
		return writeJSON(w, list)
	}
	if len(list) == 0 {
		state := "it is down, and nobody has tried to bring it up: culvert up " + c.Name
		if c.Up {
			state = "it is up"
		}
		fmt.Fprintf(w, "%s has not failed since the daemon was started; %s.\n", c.Name, state)
		return nil
	}
	writeExplanations(w, list, s.Time)
	return nil
}

// explainAll tells what is wrong with any connection, and who was refused.
func explainAll(w io.Writer, s *gateway.Status, asJSON bool) error {
	list := []explanation{}
	for _, c := range s.Connections {
		if c.LastFailure != nil && !isMended(&c) {
			list = append(list, explanation{c.Name, c.Up, *c.LastFailure})
		}
		for _, f := range c.Warnings {
			list = append(list, explanation{c.Name, c.Up, f})
		}
	}
	for _, f := range s.Refused {
		list = append(list, explanation{Failure: f})
	}
	for _, f := range s.Warnings {
		list = append(list, explanation{Failure: f})
	}
	list = latest(list)
	if asJSON {
		return writeJSON(w, list)
	}
	if len(list) == 0 {
		fmt.Fprintln(w, "Nothing is wrong: no connection has failed that is not up again, and no peer was refused.")
		return nil
	}
	writeExplanations(w, list, s.Time)
	return nil
}

// isMended reports whether a connection is up, with all its children that should be.
func isMended(c *gateway.ConnectionStatus) bool {
	return c.Up && !slices.ContainsFunc(c.Children, func(k gateway.ChildStatus) bool { return k.Wanted && !k.Up })
}

// latest puts the latest first, and leaves out what is the same again.
func latest(list []explanation) []explanation {
	slices.SortStableFunc(list, func(a, b explanation) int { return b.Failure.Time.Compare(a.Failure.Time) })
	seen := make(map[string]bool)
	return slices.DeleteFunc(list, func(e explanation) bool {
		key := e.Connection + "\n" + e.Failure.Text
		again := seen[key]
		seen[key] = true
		return again
	})
}

// writeExplanations tells all of some failures.
func writeExplanations(w io.Writer, list []explanation, now time.Time) {
	for i, e := range list {
		if i > 0 {
			fmt.Fprint(w, "\n", strings.Repeat("-", columns), "\n\n")
		}
		e.write(w, now)
	}
}

func (e *explanation) write(w io.Writer, now time.Time) {
	f := &e.Failure
	head := cmp.Or(e.Connection, "this gateway")
	if e.Connection == "" && f.Peer != "" {
		head = "a peer that belongs to no connection"
	}
	if f.Child != "" {
		head += ", child " + f.Child
	}
	if f.Peer != "" {
		head += ", peer " + f.Peer
	}
	fmt.Fprintf(w, "%s, %s ago", head, span(now.Sub(f.Time)))
	if e.Up {
		fmt.Fprint(w, "; the connection is up now")
	}
	fmt.Fprint(w, "\n\n")
	d := f.Diagnosis
	if d == nil {
		// The cause is not known for certain: what was seen is all there is.
		d = &explain.Diagnosis{Text: cmp.Or(f.Text, f.Kind)}
		if f.Remedy != "" {
			d.Fixes = []explain.Fix{{Side: explain.Here, Text: f.Remedy}}
		}
	}
	fmt.Fprint(w, d.Format(columns))
	if d.Cause != "" {
		fmt.Fprintf(w, "\nMore on this cause: culvert explain %s\n", d.Cause)
	}
}
