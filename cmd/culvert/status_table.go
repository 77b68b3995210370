package main

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"regexp"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/culvert-vpn/culvert/gateway"
)

// table writes a line for each connection, and one for each of its children that the former does not speak for.
type table struct {
	w      *tabwriter.Writer
	now    time.Time
	before map[[2]string]gateway.ChildStatus // by connection and child
	since  time.Duration                     // between the two; 0 without rates
}

// writeTable writes it. If before is not nil the traffic is that between the two, in a second.
func writeTable(w io.Writer, s, before *gateway.Status) error {
	var b bytes.Buffer
	t := &table{w: tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0), now: s.Time, before: map[[2]string]gateway.ChildStatus{}}
	columns := "CONNECTION\tSTATE\tPEER\tNAT\tIN\tOUT\tNEW KEYS\tPROBLEM"
	if before != nil && before.Started.Equal(s.Started) && s.Time.After(before.Time) {
		t.since = s.Time.Sub(before.Time)
		for _, c := range before.Connections {
			for _, child := range c.Children {
				t.before[[2]string{c.Name, child.Name}] = child
			}
		}
		columns = "CONNECTION\tSTATE\tPEER\tNAT\tIN\tOUT\tPACKETS IN\tPACKETS OUT\tNEW KEYS\tPROBLEM"
	}
	if len(s.Connections) == 0 {
		_, err := fmt.Fprintln(w, "no connections are configured")
		return err
	}
	fmt.Fprintln(t.w, columns)
	for i := range s.Connections {
		t.connection(&s.Connections[i])
	}
	if err := t.w.Flush(); err != nil {
		return err
	}
	_, err := w.Write(blanks.ReplaceAll(b.Bytes(), []byte("\n")))
	return err
}

// blanks stand at the end of lines whose last columns are empty.
var blanks = regexp.MustCompile(` +\n`)

// line writes the columns of a line.
func (t *table) line(columns ...string) { fmt.Fprintln(t.w, strings.Join(columns, "\t")) }

func (t *table) connection(c *gateway.ConnectionStatus) {
	columns := []string{c.Name, t.state(c), peerOf(c), natOf(c)}
	var all carried
	for i := range c.Children {
		all.add(t.carried(c.Name, &c.Children[i]))
	}
	columns = append(columns, t.traffic(all)...)
	t.line(append(columns, t.keys(c), problem(c))...)
	if len(c.Children) == 1 && c.Children[0].Up == c.Up {
		return
	}
	for i := range c.Children {
		child := &c.Children[i]
		columns := append([]string{"  " + child.Name, childState(child, t.now), "", ""}, t.traffic(t.carried(c.Name, child))...)
		t.line(append(columns, "", "")...)
	}
}

// state is what a connection does.
func (t *table) state(c *gateway.ConnectionStatus) string {
	wanted := false
	for _, child := range c.Children {
		wanted = wanted || child.Wanted
	}
	switch {
	case c.Up:
		return "UP " + t.age(c)
	case len(c.IKE) > 0:
		return "connecting"
	case wanted:
		return "DOWN"
	case c.Peer == "":
		return "waits"
	}
	return "down"
}

// age is how long a connection is up.
func (t *table) age(c *gateway.ConnectionStatus) string {
	n, since := 0, t.now
	for _, sa := range c.IKE {
		if sa.Up {
			n++
			if sa.Established.Before(since) {
				since = sa.Established
			}
		}
	}
	if n > 1 {
		return count(n, "peer")
	}
	return span(t.now.Sub(since))
}

// childState is what a child does.
func childState(c *gateway.ChildStatus, now time.Time) string {
	switch {
	case c.Up:
		return "UP"
	case c.Held:
		return "by order"
	case c.Wanted && c.Attempts > 0 && c.NextTry.After(now):
		return "DOWN, again in " + span(c.NextTry.Sub(now))
	case c.Wanted:
		return "DOWN"
	}
	return "down"
}

// peerOf is where the peer of a connection is, or who it has to be.
func peerOf(c *gateway.ConnectionStatus) string {
	n, at := 0, ""
	for _, sa := range c.IKE {
		if n++; at == "" || sa.Up {
			at = sa.Remote
		}
	}
	if n > 1 {
		return cmp.Or(c.Peer, c.RemoteID)
	}
	return cmp.Or(at, c.Peer, c.RemoteID)
}

// natOf is where a NAT is.
func natOf(c *gateway.ConnectionStatus) string {
	here, there, up := false, false, false
	for _, sa := range c.IKE {
		if sa.Up {
			up, here, there = true, here || sa.NATHere, there || sa.NATThere
		}
	}
	switch {
	case here && there:
		return "both"
	case here:
		return "here"
	case there:
		return "peer"
	case up:
		return "none"
	}
	return "-"
}

// keys is when a connection, or a child of it, gets new keys next.
func (t *table) keys(c *gateway.ConnectionStatus) string {
	var next time.Time
	soon := func(at time.Time) {
		if !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	for _, sa := range c.IKE {
		if sa.Up {
			soon(sa.RekeyAt)
			for _, child := range sa.Children {
				soon(child.RekeyAt)
			}
		}
	}
	if next.IsZero() {
		return "-"
	}
	return "in " + span(next.Sub(t.now))
}

// problem is the last failure of a connection that is down, in a word.
func problem(c *gateway.ConnectionStatus) string {
	switch f := c.LastFailure; {
	case c.Up || f == nil:
		return ""
	case f.Diagnosis != nil:
		return string(f.Diagnosis.Cause)
	default:
		return f.Kind
	}
}

// carried is how much was carried.
type carried struct{ packetsIn, bytesIn, packetsOut, bytesOut uint64 }

func (c *carried) add(o carried) {
	c.packetsIn += o.packetsIn
	c.bytesIn += o.bytesIn
	c.packetsOut += o.packetsOut
	c.bytesOut += o.bytesOut
}

// carried is what a child has carried, since before if there is a before.
func (t *table) carried(conn string, c *gateway.ChildStatus) carried {
	now := carried{c.PacketsIn, c.BytesIn, c.PacketsOut, c.BytesOut}
	if t.since == 0 {
		return now
	}
	b, ok := t.before[[2]string{conn, c.Name}]
	if !ok || now.packetsIn < b.PacketsIn || now.packetsOut < b.PacketsOut || now.bytesIn < b.BytesIn || now.bytesOut < b.BytesOut {
		return carried{} // it was configured in between
	}
	return carried{now.packetsIn - b.PacketsIn, now.bytesIn - b.BytesIn, now.packetsOut - b.PacketsOut, now.bytesOut - b.BytesOut}
}

// traffic are the columns about it.
func (t *table) traffic(c carried) []string {
	if t.since == 0 {
		return []string{size(c.bytesIn), size(c.bytesOut)}
	}
	per := func(n uint64) uint64 { return uint64(float64(n)/t.since.Seconds() + 0.5) }
	return []string{
		size(per(c.bytesIn)) + "/s", size(per(c.bytesOut)) + "/s", fmt.Sprintf("%d/s", per(c.packetsIn)), fmt.Sprintf("%d/s", per(c.packetsOut)),
	}
}
