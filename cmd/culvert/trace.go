package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/culvert-vpn/culvert/gateway"
)

// traceFlags say what of a trace is shown, and how.
type traceFlags struct {
	socket string
	name   string // of a connection; empty: peers that belong to none
	follow bool
	json   bool
}

func newTrace() *cobra.Command {
	var f traceFlags
	cmd := &cobra.Command{
		Use:   "trace [NAME]",
		Short: "Show the last IKE messages of a connection as a ladder",
		Long: `Trace shows the last IKE messages that were exchanged with the peers of a connection: when, in which direction (> sent, < received),
what was in them by name, how long they were, how often they were sent, and why one was not acted upon. Without a NAME it shows those of
peers that belong to no connection. The daemon always keeps the last ones: nothing has to be switched on before.

It shows names, never contents: neither keys nor secrets are in it.`,
		Example: `  culvert trace office
  culvert trace office --follow
  culvert trace --json | jq 'select(.refused)'`,
		Args: arguments(0, 1, "the NAME of a connection"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				f.name = args[0]
			}
			return f.run(cmd.Context(), cmd.OutOrStdout())
		},
	}
	cmd.ValidArgsFunction = completeConnection(&f.socket)
	cmd.Flags().BoolVarP(&f.follow, "follow", "f", false, "go on with what comes, until interrupted")
	cmd.Flags().BoolVar(&f.json, "json", false, "print each message as an object of JSON, one in a line")
	controlFlag(cmd, &f.socket)
	return cmd
}

// traceInterval is how soon a message is shown by --follow.
const traceInterval = 300 * time.Millisecond

func (f *traceFlags) run(ctx context.Context, w io.Writer) error {
	l := ladder{w: w}
	tick := time.NewTicker(traceInterval)
	defer tick.Stop()
	for after := uint64(0); ; {
		list, err := f.ask(ctx, after)
		if err != nil {
			return err
		}
		for i := range list {
			m := &list[i]
			after = m.Number
			if f.json {
				err = json.NewEncoder(w).Encode(m)
			} else {
				err = l.rung(m)
			}
			if err != nil {
				return err
			}
		}
		if !f.follow {
			if after == 0 && !f.json {
				_, err = fmt.Fprintln(w, "no messages yet")
			}
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (f *traceFlags) ask(ctx context.Context, after uint64) ([]gateway.TraceMessage, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, statusPatience, fmt.Errorf("the daemon has not answered within %v", statusPatience))
	defer cancel()
	list, err := gateway.Client{Socket: f.socket}.Trace(ctx, f.name, after)
	return list, reached(err)
}

// ladder writes messages, with a line in front of those of another IKE SA or along another path.
type ladder struct {
	w     io.Writer
	where string
}

// rung writes a message.
func (l *ladder) rung(m *gateway.TraceMessage) error {
	scrub(m)
	where := fmt.Sprintf("%s <-> %s", m.Local, m.Remote)
	if m.SPIi != "" {
		where = fmt.Sprintf("IKE SA %s, %s", m.SPIi, where)
	}
	if where != l.where {
		if l.where != "" {
			where = "\n" + where
		}
		if _, err := fmt.Fprintln(l.w, where); err != nil {
			return err
		}
		l.where = strings.TrimPrefix(where, "\n")
	}
	arrow, kind := "<", "req"
	if m.Out {
		arrow = ">"
	}
	if m.Response {
		kind = "resp"
	}
	parts := cmp.Or(strings.Join(m.Parts, " "), "-")
	if m.More > 0 {
		parts += fmt.Sprintf(" and %d more", m.More)
	}
	_, err := fmt.Fprintf(l.w, "%s %s %-15s %-4s id=%d  %s  (%s)\n", m.Time.Local().Format("15:04:05.000"), arrow, m.Exchange, kind, m.MessageID, parts, remarks(m))
	return err
}

// remarks are what is worth knowing of a message besides its contents.
func remarks(m *gateway.TraceMessage) string {
	words := []string{count(m.Bytes, "byte")}
	if m.Datagrams > 1 {
		words = append(words, fmt.Sprintf("%d fragments", m.Datagrams))
	}
	if m.Sends > 1 {
		words = append(words, fmt.Sprintf("sent %d times", m.Sends))
	}
	if m.Repeated && m.Response {
		words = append(words, "the same answer again")
	} else if m.Repeated {
		words = append(words, "came before")
	}
	if m.Refused != "" {
		words = append(words, "NOT ACTED UPON: "+m.Refused)
	}
	return strings.Join(words, ", ")
}
