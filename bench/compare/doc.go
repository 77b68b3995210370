// Package compare measures tunnels side by side: each subject is a pair of hosts, made of network namespaces, with a link
// between them and a daemon on each. All run on the same machine; the rounds go through the cases, and in each case through the
// subjects, so that what disturbs the machine disturbs all alike. What counts are the ratios within a round.
package compare

import (
	"io"
	"time"
)

// Options say what to compare and for how long.
type Options struct {
	// Subjects are names, in order: see Known. NAME=PATH is a program of one's own for the subject NAME or, if there is no such
	// subject, a build of Culvert to be called NAME. Empty: those whose programs are there.
	Subjects []string
	// Cases are names, see Cases, or beginnings of several names. Empty: all.
	Cases []string
	// Rounds is how often everything is measured; the least is 1.
	Rounds int
	// Warmup is how long the traffic of a case flows before it is measured, and Window for how long it is.
	Warmup, Window time.Duration
	// Culvert is the program of the subjects that are builds of Culvert's own.
	Culvert string
	// Extras are directories in which programs are looked for before PATH.
	Extras []string
	// Tree is a root directory in which strongSwan is installed; empty: that of this machine.
	Tree string
	// Profile is a directory for profiles that perf(1) takes of the daemons in another round, which does not count; empty: none.
	Profile string
	// Progress is told what goes on, one line at a time.
	Progress io.Writer
}

// Defaults of the options.
const (
	DefaultRounds = 5
	DefaultWarmup = 300 * time.Millisecond
	DefaultWindow = 1200 * time.Millisecond
)
