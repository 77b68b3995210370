package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/culvert-vpn/culvert/config"
	"github.com/culvert-vpn/culvert/explain"
	"github.com/culvert-vpn/culvert/gateway"
	"github.com/culvert-vpn/culvert/ike"
)

// maxComplaints is how many errors and how many warnings of a configuration are told; `culvert check` has all.
const maxComplaints = 16

// configuration loads the file, and tells what is wrong with it.
func (x *examination) configuration() {
	conf, warnings, err := config.Load(x.Config)
	x.conf = conf
	var bad config.Errors
	switch {
	case errors.As(err, &bad):
		for _, e := range bad[:min(len(bad), maxComplaints)] {
			c := Check{ID: "configuration", Group: Configuration, Result: Failure, Text: e.Pos.String() + ": " + e.Msg}
			if e.Hint != "" {
				c.Fixes = []explain.Fix{here(e.Hint)}
			}
			x.add(c)
		}
		if _, err := os.Stat(x.Config); errors.Is(err, fs.ErrNotExist) {
			x.report.Checks[0].Fixes = []explain.Fix{here("write one, or name it by --config", "culvert new --help")}
		}
	case err != nil:
		x.add(Check{ID: "configuration", Group: Configuration, Result: Failure, Text: err.Error()})
	default:
		x.add(Check{ID: "configuration", Group: Configuration, Result: OK, Text: fmt.Sprintf("%s is accepted, with %s", x.Config, count(len(conf.Connections), "connection"))})
	}
	for _, w := range warnings[:min(len(warnings), maxComplaints)] {
		c := Check{ID: "configuration-warning", Group: Configuration, Result: Warning, Text: w.Pos.String() + ": " + w.Msg}
		if w.Hint != "" {
			c.Fixes = []explain.Fix{here(w.Hint)}
		}
		x.add(c)
	}
	if x.conf == nil {
		return
	}
	for _, name := range x.conf.Files {
		if c, ok := judgeMode(name, os.Stat); !ok {
			x.add(c)
		}
	}
}

// judgeMode complains of a file that others may write: they decide then who gets into the network. That others may not read the
// secrets is a rule of the configuration itself.
func judgeMode(name string, stat func(string) (fs.FileInfo, error)) (c Check, ok bool) {
	info, err := stat(name)
	if err != nil || info.Mode().Perm()&0o022 == 0 {
		return c, true
	}
	return Check{
		ID: "configuration-writable", Group: Configuration, Result: Warning,
		Text:  fmt.Sprintf("%s may be changed by others than its owner (%v)", name, info.Mode().Perm()),
		Fixes: []explain.Fix{here("take the permission away", "chmod go-w "+name)},
	}, false
}

// running asks the daemon how it does, if there is one.
func (x *examination) running(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	status, err := gateway.Client{Socket: x.Control}.Status(ctx)
	switch {
	case err == nil:
		x.daemon = &status
		x.add(judgeStatus(&status)...)
	case errors.Is(err, gateway.ErrNotRunning):
		x.add(Check{ID: "daemon", Group: Configuration, Result: Note, Text: "no daemon is running"})
	default:
		x.add(Check{ID: "daemon", Group: Configuration, Result: Unknown, Text: err.Error()})
	}
}

// judgeStatus tells how the daemon does.
func judgeStatus(s *gateway.Status) []Check {
	up := 0
	for _, c := range s.Connections {
		if c.Up {
			up++
		}
	}
	list := []Check{{ID: "daemon", Group: Configuration, Result: OK, Text: fmt.Sprintf("it is running, with %d of %s up", up, count(len(s.Connections), "connection"))}}
	for _, c := range s.Connections {
		if c.Up || c.LastFailure == nil {
			continue
		}
		failed := Check{ID: "connection-down", Group: Configuration, Connection: c.Name, Result: Warning, Text: "it is down: " + c.LastFailure.Text}
		if d := c.LastFailure.Diagnosis; d != nil {
			failed.Cause, failed.Fixes = d.Cause, d.Fixes
		} else if c.LastFailure.Remedy != "" {
			failed.Fixes = []explain.Fix{here(c.LastFailure.Remedy)}
		}
		list = append(list, failed)
	}
	return list
}

// chosen are the connections that the examination is about.
func (x *examination) chosen() (list []*ike.Connection) {
	if x.conf == nil {
		return nil
	}
	for _, c := range x.conf.Connections {
		if x.Name == "" || c.Name == x.Name {
			list = append(list, c)
		}
	}
	return list
}

// count is a number with its noun: "1 connection", "2 connections".
func count(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}
