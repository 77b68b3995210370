package gateway

import (
	"slices"
	"time"

	"github.com/culvert-vpn/culvert/explain"
	"github.com/culvert-vpn/culvert/ike"
)

// maxWarnings bounds what is remembered of a connection, or of the host.
const maxWarnings = 8

// warnings are what is not as it should be although nothing has failed: the last one of each cause, the latest last. It is told when it
// is found, and goes when it is over.
type warnings []Failure

// add remembers a warning in place of what was said of the same.
func (w *warnings) add(f Failure) {
	*w = slices.DeleteFunc(*w, func(o Failure) bool { return o.isAbout(f) })
	if len(*w) >= maxWarnings {
		*w = slices.Delete(*w, 0, 1)
	}
	*w = append(slices.Clip(*w), f)
}

// isAbout reports whether two warnings are of the same. Networks may overlap with several others.
func (f *Failure) isAbout(o Failure) bool {
	return f.Child == o.Child && f.Diagnosis.Cause == o.Diagnosis.Cause && (f.Diagnosis.Cause != explain.OverlappingNets || f.Text == o.Text)
}

// over forgets the warnings of these causes.
func (w *warnings) over(causes ...explain.Cause) {
	*w = slices.DeleteFunc(slices.Clone(*w), func(f Failure) bool { return slices.Contains(causes, f.Diagnosis.Cause) })
}

// failureOf is an event as it is remembered.
func failureOf(ev ike.Event) Failure {
	f := Failure{Time: time.Now(), Kind: ev.Kind.String(), Child: ev.Child, Text: ev.Text, Remedy: ev.Remedy, Diagnosis: ev.Diagnosis}
	if ev.Path.Remote.IsValid() {
		f.Peer = ev.Path.Remote.String()
	}
	return f
}

// warn tells and remembers what the gateway itself has found, of a connection, or of the host if that is nil.
func (c *control) warn(conn *connection, child string, d *explain.Diagnosis) {
	ev := ike.Event{Kind: ike.Warned, Child: child, Text: d.Text, Remedy: d.Remedy(), Diagnosis: d}
	if conn == nil {
		c.log.event(ev)
		c.warnings.add(failureOf(ev))
		return
	}
	ev.Conn = conn.cfg.Name
	c.event(ev)
}

// note keeps the warnings of a connection up to date with what has happened to it.
func (conn *connection) note(ev ike.Event) {
	switch ev.Kind {
	case ike.Warned:
		if ev.Diagnosis != nil {
			conn.warnings.add(failureOf(ev))
		}
	case ike.Initiating:
		conn.stirred = true
		conn.warnings.over(explain.Silent500, explain.OtherAddress, explain.IKEv1Only, explain.BothWait)
	case ike.Established:
		conn.stirred = true
		conn.warnings.over(explain.IKEv1Only, explain.BothWait, explain.NotForwarded)
	case ike.Failed:
		conn.stirred = true
	}
}
