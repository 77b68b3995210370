// Package explain is what Culvert knows of failures: the causes that it can tell apart, what each of them means to a person, and the
// form in which one case of a failure is told: what the peer sent beside what was configured, and which side must change what.
//
// Whoever finds a cause makes a [Diagnosis]: package ike from what it saw on the wire, package gateway from what the host does,
// package doctor from what it probed. The log has its sentence and its remedy, `culvert status` both, `culvert explain` all of it, and
// the page of docs/troubleshooting.md is made of the catalogue. No secret ever comes into a Diagnosis.
package explain

import (
	"fmt"
	"slices"
	"strings"
)

// Side is who must change something.
type Side string

// The sides.
const (
	Here    Side = "here"    // this gateway: its configuration or its host
	Peer    Side = "peer"    // the other gateway
	Between Side = "between" // what stands between the two: a NAT, a firewall, a provider
)

// Diagnosis is one case of a failure. It is a value that nobody changes after it was made.
type Diagnosis struct {
	Cause Cause `json:"cause"`
	// Text says in a sentence what happened, with the names and addresses of the case. What the peer sent is quoted.
	Text string `json:"text"`
	// Compared puts what came from the peer beside what is configured here.
	Compared []Compared `json:"compared,omitempty"`
	// Fixes are in the order in which they should be tried. Each of them alone should help, unless its text says otherwise.
	Fixes []Fix `json:"fixes,omitempty"`
	// Connections are those that this may be about, the likeliest first, where the peer could not be told to belong to one.
	Connections []string `json:"connections,omitempty"`
}

// Compared is a line of the comparison.
type Compared struct {
	What string `json:"what"` // as "identity of the peer"
	// Sent is what the peer sent or did, Configured what this side has; either may be empty, if there was nothing.
	Sent       string `json:"sent"`
	Configured string `json:"configured"`
}

// Fix is something to change.
type Fix struct {
	Side Side   `json:"side"`
	Text string `json:"text"` // in the imperative, in one line, without a full stop
	// Lines are to be pasted: of the configuration file (in the language of swanctl.conf, which the peer may read too), with their
	// sections around them as [Lines] makes them, or commands of a shell, each of which begins with "# ". The lines for a peer have
	// the names that connection, child and secret have here. A setting replaces the one of its name that is there. In place of a
	// secret stands in angle brackets how it follows from what stands there now.
	Lines []string `json:"lines,omitempty"`
}

// Remedy is all fixes in one line, for a log; "" without fixes.
func (d *Diagnosis) Remedy() string {
	if d == nil {
		return ""
	}
	var words []string
	for _, f := range d.Fixes {
		words = append(words, f.String())
	}
	return strings.Join(words, "; or ")
}

// String is the fix in one line, with its side in front unless it is to be made here.
func (f Fix) String() string {
	switch f.Side {
	case Peer:
		return "on the peer: " + f.Text
	case Between:
		return "between the two: " + f.Text
	}
	return f.Text
}

// Entry is what the catalogue says of a cause.
type Entry struct {
	Cause Cause `json:"cause"`
	// Title is a headline, without a full stop.
	Title string `json:"title"`
	// Meaning says what happened and why, in general, in a paragraph.
	Meaning string `json:"meaning"`
	// Symptoms are what people see: of Culvert, of the peer, of other daemons, whose name stands in front with a colon. They are what
	// they search for.
	Symptoms []string `json:"symptoms"`
	// Fixes say in general what helps, the most likely first.
	Fixes []Fix `json:"fixes"`
}

// Of is the entry of a cause.
func Of(c Cause) (Entry, error) {
	for _, e := range Catalogue() {
		if e.Cause == c {
			return e, nil
		}
	}
	return Entry{}, fmt.Errorf("there is no cause %q in the catalogue", c)
}

// Catalogue is all entries, in the order of the page. The slice is the caller's.
func Catalogue() []Entry { return slices.Concat(peerCauses, networkCauses) }
