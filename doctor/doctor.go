// Package doctor examines the host, the cloud it may be in, and the peers of a configuration, and says what stands in the way of a
// tunnel and what to change. It needs no running daemon and changes nothing: of a peer it asks what the first message of IKE tells
// everybody, and forgets the answer.
//
// It touches the world in few files: what it finds is judged by functions that take values, which tests call.
package doctor

import (
	"context"
	"crypto/rand"
	"io"
	"time"

	"github.com/culvert-vpn/culvert/config"
	"github.com/culvert-vpn/culvert/explain"
	"github.com/culvert-vpn/culvert/gateway"
)

// Result is what came of a check.
type Result string

// The results, from good to bad.
const (
	OK      Result = "ok"      // as it should be
	Note    Result = "note"    // worth knowing; nothing is wrong
	Unknown Result = "unknown" // it could not be found out; the text says why
	Warning Result = "warning" // a tunnel may come up all the same, or some of what it is to do
	Failure Result = "failure" // a tunnel does not come up, or carries nothing
)

// Group is what a check is about.
type Group string

// The groups, in the order of a report.
const (
	Configuration Group = "configuration"
	Host          Group = "host"
	Cloud         Group = "cloud"
	Peer          Group = "peer"
)

// Check is one thing that was looked at.
type Check struct {
	// ID names the check, in words with hyphens. It is stable, and docs/doctor.md explains it.
	ID    string `json:"id"`
	Group Group  `json:"group"`
	// Connection is the one that the check is about; empty if it is about all.
	Connection string `json:"connection,omitempty"`
	Result     Result `json:"result"`
	Text       string `json:"text"` // in a sentence, without a full stop
	// Cause is the one of the catalogue that a problem belongs to, if there is one.
	Cause explain.Cause `json:"cause,omitempty"`
	// Fixes say what to change; of a check that is well, what else there is to do.
	Fixes []explain.Fix `json:"fixes,omitempty"`
}

// Report is what an examination found. It is fit for JSON, and nothing in it is secret.
type Report struct {
	Time    time.Time `json:"time"`
	Version string    `json:"version"`
	// Checks are in the order of their groups.
	Checks []Check `json:"checks"`
	// Cloud is what a metadata service told of the host's addresses; nil: there is none.
	Cloud *CloudFacts `json:"cloud,omitempty"`
	// Peers are what the peers answered.
	Peers []PeerFacts `json:"peers,omitempty"`
}

// Count is the number of checks with a result.
func (r *Report) Count(result Result) (n int) {
	for _, c := range r.Checks {
		if c.Result == result {
			n++
		}
	}
	return n
}

// Options say what to examine.
type Options struct {
	// Config is the configuration file.
	Config string
	// Name limits the checks of peers, and the configuration to use, to one connection; empty: all that call a peer.
	Name string
	// Control is the control socket of a daemon that may be running; empty: gateway.DefaultControl.
	Control string
	// Metadata is where the clouds have their metadata service, as "http://169.254.169.254"; empty: there.
	Metadata string
	// Singly has every proposal offered to the peer by itself as well.
	Singly bool
	// Skip are groups that are not examined: Host, Cloud, Peer.
	Skip []Group
	// Patience is how long a peer may take to answer; 0: DefaultPatience.
	Patience time.Duration
	// Rand is the source of what messages to peers need; nil: that of the system.
	Rand io.Reader
	// Progress is called before what may take its time, with what is done, in the order of the report; nil: not.
	Progress func(what string)
}

// DefaultPatience is how long a peer may take to answer.
const DefaultPatience = 3 * time.Second

// examination is a report while it comes about.
type examination struct {
	Options
	report Report
	conf   *config.Config  // nil if it is not accepted, or not there
	daemon *gateway.Status // nil if none is running
}

// Run examines. It ends early when ctx does: what was not looked at is Unknown.
func Run(ctx context.Context, o Options) Report {
	x := &examination{Options: o, report: Report{Time: time.Now(), Version: gateway.Version()}}
	if x.Patience == 0 {
		x.Patience = DefaultPatience
	}
	if x.Rand == nil {
		x.Rand = rand.Reader
	}
	x.configuration()
	if x.conf != nil {
		defer x.conf.Secrets.Wipe()
	}
	x.running(ctx)
	for _, part := range []struct {
		Group
		what string
		run  func(context.Context)
	}{{Host, "looking at this host", x.host}, {Cloud, "asking the cloud for the addresses of this host", x.cloud}, {Peer, "calling the peers", x.peers}} {
		if x.skips(part.Group) {
			continue
		}
		if x.Progress != nil {
			x.Progress(part.what)
		}
		part.run(ctx)
	}
	return x.report
}

func (x *examination) skips(g Group) bool {
	for _, s := range x.Skip {
		if s == g {
			return true
		}
	}
	return false
}

// add puts a check into the report.
func (x *examination) add(checks ...Check) { x.report.Checks = append(x.report.Checks, checks...) }

// here is a fix of this side, with commands of a shell.
func here(text string, commands ...string) explain.Fix {
	f := explain.Fix{Side: explain.Here, Text: text}
	for _, c := range commands {
		f.Lines = append(f.Lines, "# "+c)
	}
	return f
}
