package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/culvert-vpn/culvert/bench/compare"
)

// benchFlags are the options of the comparison.
type benchFlags struct {
	compare.Options
	base   string
	output string
	insert string
	from   string
	list   bool
}

func newBench() *cobra.Command {
	var flags benchFlags
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Compare the speed of tunnels side by side on this machine",
		Long: `Bench builds pairs of hosts out of network namespaces, connects each pair by one of the programs that are compared, and
measures them in turns: throughput, packets per second, round trips, processor time, memory, and the making of a tunnel. Without
names it takes all subjects that are installed here.

The network of this machine is not touched, and nothing is left behind. It needs root and a quiet machine.`,
		Example: `  sudo culvert bench
  sudo culvert bench --case tcp1,udp64 --rounds 3
  sudo culvert bench --subject before=./culvert-old,culvert=./culvert-new --base before`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error { return flags.run(cmd) },
	}
	set := cmd.Flags()
	set.StringSliceVar(&flags.Subjects, "subject", nil, "what to compare: `NAME[=PROGRAM]`; a name that is not known is another build of culvert")
	set.StringSliceVar(&flags.Cases, "case", nil, "cases, by their `names` or the beginnings of several")
	set.StringVar(&flags.base, "base", compare.WireGuard, "the `subject` that ratios are given to")
	set.IntVar(&flags.Rounds, "rounds", compare.DefaultRounds, "`number` of rounds")
	set.DurationVar(&flags.Window, "window", compare.DefaultWindow, "`time` that is measured in each case")
	set.DurationVar(&flags.Warmup, "warmup", compare.DefaultWarmup, "`time` before that")
	set.StringSliceVar(&flags.Extras, "programs", nil, "`directory` of programs to compare with, besides PATH and that of culvert")
	set.StringVar(&flags.Tree, "strongswan-root", "", "root `directory` in which strongSwan is installed")
	set.StringVar(&flags.Profile, "profile", "", "`directory` for profiles of the daemons, which perf takes in another round that does not count")
	set.StringVar(&flags.output, "output", "", "`directory` for the samples, the tables and the plots")
	set.StringVar(&flags.insert, "insert", "", "`file` in Markdown in which tables and plots are replaced; needs --output")
	set.StringVar(&flags.from, "from", "", "take the samples from this `file`, the results.json of another time, and measure nothing")
	set.BoolVar(&flags.list, "list", false, "list subjects and cases and do nothing else")
	return cmd
}

func (f *benchFlags) run(cmd *cobra.Command) error {
	switch {
	case f.list:
		return f.tellNames(cmd)
	case f.Rounds < 1:
		return usage("--rounds is %d; it must be 1 or more", f.Rounds)
	case f.Window <= 0 || f.Warmup < 0:
		return usage("--window must be more than 0, and --warmup not less")
	case f.insert != "" && f.output == "":
		return usage("--insert needs --output, for the plots")
	}
	report, err := f.report(cmd)
	if err != nil {
		return err
	}
	if f.output != "" {
		if err := report.Save(f.output, f.base); err != nil {
			return err
		}
	}
	if f.insert != "" {
		return report.Insert(f.insert, f.output, f.base)
	}
	return report.Markdown(cmd.OutOrStdout(), f.base)
}

// report is a new comparison, or one of another time.
func (f *benchFlags) report(cmd *cobra.Command) (*compare.Report, error) {
	if f.from != "" {
		return compare.Load(f.from)
	}
	own, err := os.Executable()
	if err != nil {
		return nil, err
	}
	f.Culvert, f.Progress = own, cmd.ErrOrStderr()
	f.Extras = append(f.Extras, filepath.Join(filepath.Dir(own), "bench"))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once
	report, err := compare.Run(ctx, f.Options)
	if ctx.Err() != nil {
		return nil, errors.New("the comparison was interrupted; nothing is left behind")
	}
	return report, err
}

// tellNames lists what can be asked for.
func (f *benchFlags) tellNames(cmd *cobra.Command) error {
	var b strings.Builder
	b.WriteString("Subjects:\n")
	for _, line := range compare.Known() {
		name, about, _ := strings.Cut(line, "\t")
		fmt.Fprintf(&b, "  %-18s %s\n", name, about)
	}
	b.WriteString("Cases:\n")
	for _, c := range compare.Cases() {
		fmt.Fprintf(&b, "  %-18s %s\n", c.Name, c.About)
	}
	_, err := fmt.Fprint(cmd.OutOrStdout(), b.String())
	return err
}
