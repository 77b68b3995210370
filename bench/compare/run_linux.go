package compare

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/culvert-vpn/culvert/internal/lab"
)

// Run compares. Nothing is left of it on this machine, also when ctx ends it.
func Run(ctx context.Context, o Options) (*Report, error) {
	if err := lab.Usable(); err != nil {
		return nil, fmt.Errorf("the comparison cannot run: %w", err)
	}
	subjects, left, err := o.subjects()
	if err != nil {
		return nil, err
	}
	cases, all, err := o.cases()
	if err != nil {
		return nil, err
	}
	for _, line := range left {
		fmt.Fprintln(o.Progress, line)
	}
	dir, err := os.MkdirTemp("", "culvert-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	stage := lab.NewStage(ctx)
	r := &run{Options: o, ctx: ctx, cases: cases, all: all, report: &Report{
		Began: time.Now(), Machine: thisMachine(), Rounds: o.Rounds, Warmup: o.Warmup.Seconds(), Window: o.Window.Seconds(),
	}}
	err = stage.Run(func() error {
		for _, s := range subjects {
			if err := r.begin(stage, s, filepath.Join(dir, s.name)); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
		return r.rounds()
	})
	r.report.Took = time.Since(r.report.Began).Seconds()
	return r.report, err
}

// run is a comparison on its way.
type run struct {
	Options
	ctx      context.Context
	cases    []Case
	all      bool
	sessions []*session
	report   *Report
}

func (r *run) begin(t lab.T, s subject, dir string) error {
	e, err := newSession(r.ctx, t, s, r.Tree, dir)
	if err != nil {
		return err
	}
	r.sessions = append(r.sessions, e)
	r.report.Subjects = append(r.report.Subjects, Subject{
		Name: s.name, About: s.about, Build: buildOf(s.program), Device: e.device, MTU: e.mtu,
	})
	fmt.Fprintf(r.Progress, "%s is up: device %s, MTU %d\n", s.name, e.device, e.mtu)
	return nil
}

// rounds measures everything. The subjects of a case take turns, and every round begins with another one.
func (r *run) rounds() error {
	for round := range r.Rounds {
		err := r.each(round, func(e *session, c Case) error {
			values, err := r.measure(e, c)
			if values != nil {
				r.report.Samples = append(r.report.Samples, Sample{Round: round, Case: c.Name, Subject: e.name, Values: values})
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("round %d, %w", round+1, err)
		}
		fmt.Fprintf(r.Progress, "round %d of %d is done after %v\n", round+1, r.Rounds, time.Since(r.report.Began).Round(time.Second))
	}
	if r.Profile == "" {
		return nil
	}
	return r.each(0, func(e *session, c Case) error {
		found, err := profile(filepath.Join(r.Profile, c.Name+"-"+e.name), e, func() error {
			_, err := r.measure(e, c)
			return err
		})
		for _, p := range found {
			r.report.Profiles = append(r.report.Profiles, Profile{Case: c.Name, Subject: e.name, Side: p.side, Shares: p.shares})
		}
		return err
	})
}

// each goes through cases and subjects.
func (r *run) each(round int, do func(*session, Case) error) error {
	for _, c := range r.cases {
		for i := range r.sessions {
			e := r.sessions[(i+round)%len(r.sessions)]
			if e.extra && r.all && !c.main {
				continue
			}
			if err := r.ctx.Err(); err != nil {
				return err
			}
			if err := do(e, c); err != nil {
				return fmt.Errorf("%s, %s: %w", c.Name, e.name, err)
			}
		}
	}
	return nil
}

// measure does one case with one subject.
func (r *run) measure(e *session, c Case) (map[Metric]float64, error) {
	if err := e.alive(); err != nil {
		return nil, err
	}
	switch what := c.what.(type) {
	case tcpCase:
		return r.tcp(e, what)
	case udpCase:
		return r.udp(e, what)
	case rttCase:
		return r.rtt(e, what)
	default:
		return r.setup(e)
	}
}
