package metrics

import (
	"time"

	"github.com/culvert-vpn/culvert/gateway"
)

// grouped are the first connections, and the sum of the others if there are more.
func grouped(f *gateway.Figures, most int) []*gateway.ConnectionFigures {
	list := make([]*gateway.ConnectionFigures, 0, min(len(f.Connections), most+1))
	for i := range f.Connections {
		if i == most {
			return append(list, sum(f.Connections[most:]))
		}
		list = append(list, &f.Connections[i])
	}
	return list
}

// sum counts connections together, and their children. Counters may not become less, so it says of nothing that one of them has
// and another has not.
func sum(rest []gateway.ConnectionFigures) *gateway.ConnectionFigures {
	all := &gateway.ConnectionFigures{Name: Others, Events: make(map[string]uint64)}
	child := gateway.ChildFigures{Name: Others, Up: true, Events: make(map[string]uint64)}
	for i := range rest {
		c := &rest[i]
		all.Connecting += c.Connecting
		all.Established += c.Established
		all.Replaced += c.Replaced
		all.Closing += c.Closing
		all.NATHere += c.NATHere
		all.NATThere += c.NATThere
		all.NATBoth += c.NATBoth
		all.Open += c.Open
		all.Since, all.Rekey = later(all.Since, c.Since), sooner(all.Rekey, c.Rekey)
		all.Sent += c.Sent
		all.Came += c.Came
		all.Resent += c.Resent
		all.Repeated += c.Repeated
		addAll(all.Events, c.Events)
		if c.Failed.After(all.Failed) {
			all.Failed, all.Cause = c.Failed, c.Cause
		}
		for j := range c.Children {
			add(&child, &c.Children[j])
		}
	}
	all.Children = []gateway.ChildFigures{child}
	return all
}

// add counts a child. All of them are up if each is that is wanted.
func add(all, c *gateway.ChildFigures) {
	all.Up = all.Up && (c.Up || !c.Wanted)
	all.Wanted = all.Wanted || c.Wanted
	all.SAs += c.SAs
	all.Rekey = sooner(all.Rekey, c.Rekey)
	all.PacketsIn += c.PacketsIn
	all.BytesIn += c.BytesIn
	all.PacketsOut += c.PacketsOut
	all.BytesOut += c.BytesOut
	all.DroppedNoSA += c.DroppedNoSA
	addAll(all.Events, c.Events)
}

func addAll(all, more map[string]uint64) {
	for k, n := range more {
		all[k] += n
	}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
