// Package metrics tells Prometheus the numbers of a gateway: docs/metrics.md lists them.
//
// Series are bounded by the configuration, never by peers: the thousands that one connection may have are counted together. Of the
// connections themselves the first [Options].Connections have series of their own, the others share those of the name "(others)".
package metrics

import (
	"context"
	"runtime"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/culvert-vpn/culvert/gateway"
)

// Source is what the numbers come from: a *gateway.Gateway.
type Source interface {
	Figures(ctx context.Context) gateway.Figures
}

// Options change what is told.
type Options struct {
	// Connections is how many connections have series of their own; 0 is DefaultConnections.
	Connections int
	// Version of the program, for culvert_build_info.
	Version string
}

// DefaultConnections is how many connections have series of their own unless something else is asked for.
const DefaultConnections = 1000

// Others is the name under which the connections are counted that have no series of their own.
const Others = "(others)"

// patience is how long the control loop is waited for.
const patience = 2 * time.Second

// NewRegistry has the metrics of a gateway, of the Go runtime and of the process.
func NewRegistry(g Source, o Options) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(NewCollector(g, o), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// Collector collects the metrics of a gateway.
type Collector struct {
	source  Source
	options Options
}

// NewCollector makes a collector of the metrics of a gateway.
func NewCollector(g Source, o Options) *Collector {
	if o.Connections == 0 {
		o.Connections = DefaultConnections
	}
	return &Collector{source: g, options: o}
}

// Describe is part of prometheus.Collector.
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range List() {
		ch <- m.desc
	}
}

// Collect is part of prometheus.Collector.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	f := c.source.Figures(ctx)
	s := sink{ch: ch}
	s.put(buildInfo, 1, c.options.Version, runtime.Version(), f.AESGCM)
	s.process(&f)
	if !f.Answered {
		return
	}
	s.gateway(&f)
	s.failure(&f.Strangers)
	for _, conn := range grouped(&f, c.options.Connections) {
		s.connection(conn)
	}
}

// sink takes metrics.
type sink struct{ ch chan<- prometheus.Metric }

func (s sink) put(m *Metric, value float64, labels ...string) {
	for i := range labels {
		labels[i] = strings.ToValidUTF8(labels[i], "\uFFFD") // names may be any bytes
	}
	s.ch <- prometheus.MustNewConstMetric(m.desc, m.kind, value, labels...)
}

// count is put for counters.
func (s sink) count(m *Metric, n uint64, labels ...string) { s.put(m, float64(n), labels...) }

// at is put for a moment, which may not be known.
func (s sink) at(m *Metric, t time.Time, labels ...string) {
	if !t.IsZero() {
		s.put(m, float64(t.UnixMilli())/1000, labels...)
	}
}

func (s sink) flag(m *Metric, on bool, labels ...string) {
	value := 0.0
	if on {
		value = 1
	}
	s.put(m, value, labels...)
}

func (s sink) histogram(m *Metric, h gateway.Histogram) {
	buckets := make(map[float64]uint64, len(h.Upto))
	for bound, n := range h.Upto {
		buckets[bound.Seconds()] = n
	}
	s.ch <- prometheus.MustNewConstHistogram(m.desc, h.Count, h.Sum.Seconds(), buckets)
}

// process tells what is known even if the control loop does not answer.
func (s sink) process(f *gateway.Figures) {
	s.flag(controlAnswers, f.Answered)
	for reason, n := range f.Drops {
		s.count(drops, n, reason)
	}
	s.count(keepalives, f.KeepalivesIn, "in")
	s.count(keepalives, f.KeepalivesOut, "out")
	s.count(ecnUnused, f.ECNUnused)
	s.histogram(handling, f.Handling)
	s.histogram(waiting, f.Waiting)
}

// gateway tells what is about no connection.
func (s sink) gateway(f *gateway.Figures) {
	s.at(startTime, f.Started)
	up := 0
	for i := range f.Connections {
		if f.Connections[i].Established > 0 {
			up++
		}
	}
	s.put(connections, float64(up), "up")
	s.put(connections, float64(len(f.Connections)-up), "down")
	for reason, n := range f.IKEDrops {
		s.count(ikeDrops, n, reason)
	}
	for _, lane := range f.Lanes {
		s.put(mailboxDepth, float64(lane.Depth), lane.Name)
		s.put(mailboxRoom, float64(lane.Room), lane.Name)
	}
	for _, o := range f.Offloads {
		s.flag(offloadActive, o.State == "on", o.Name)
	}
	s.put(queues, float64(f.Queues))
	s.put(inboundSPIs, float64(f.SPIs))
	for _, p := range f.Pools {
		s.put(poolAddresses, float64(p.Size), p.Name)
		s.put(poolLeases, float64(p.Online), p.Name, "in-use")
		s.put(poolLeases, float64(p.Offline), p.Name, "kept")
	}
	for _, shunt := range f.Shunts {
		s.count(shuntDropped, shunt.Dropped, shunt.Connection, shunt.Name, shunt.Mode)
	}
	strangers := &f.Strangers
	s.put(ikeSAs, float64(strangers.Connecting), "", "connecting")
	s.messages(strangers)
	s.count(ikeFailures, strangers.Events["failed"], "")
}

// connection tells what is about one.
func (s sink) connection(c *gateway.ConnectionFigures) {
	if c.Name != Others { // some of them may be up
		s.flag(connectionUp, c.Established > 0, c.Name)
	}
	for state, n := range map[string]int{"connecting": c.Connecting, "established": c.Established, "replaced": c.Replaced, "closing": c.Closing} {
		s.put(ikeSAs, float64(n), c.Name, state)
	}
	for where, n := range map[string]int{"here": c.NATHere, "there": c.NATThere, "both": c.NATBoth, "none": c.Open} {
		s.put(ikeNAT, float64(n), c.Name, where)
	}
	s.at(ikeEstablishedAt, c.Since, c.Name)
	s.at(ikeRekeyAt, c.Rekey, c.Name)
	for name, m := range ikeEvents {
		s.count(m, c.Events[name], c.Name)
	}
	s.messages(c)
	s.failure(c)
	for i := range c.Children {
		s.child(c.Name, &c.Children[i])
	}
}

func (s sink) messages(c *gateway.ConnectionFigures) {
	s.count(ikeMessages, c.Came, c.Name, "in")
	s.count(ikeMessages, c.Sent, c.Name, "out")
	s.count(ikeRetransmissions, c.Resent, c.Name)
	s.count(ikeRepeated, c.Repeated, c.Name)
}

func (s sink) failure(c *gateway.ConnectionFigures) {
	if !c.Failed.IsZero() {
		cause := string(c.Cause)
		if cause == "" {
			cause = "unknown"
		}
		s.at(lastFailure, c.Failed, c.Name, cause)
	}
}

func (s sink) child(conn string, c *gateway.ChildFigures) {
	s.flag(childUp, c.Up, conn, c.Name)
	s.flag(childWanted, c.Wanted, conn, c.Name)
	s.put(childSAs, float64(c.SAs), conn, c.Name)
	s.at(childRekeyAt, c.Rekey, conn, c.Name)
	s.count(childBytes, c.BytesIn, conn, c.Name, "in")
	s.count(childBytes, c.BytesOut, conn, c.Name, "out")
	s.count(childPackets, c.PacketsIn, conn, c.Name, "in")
	s.count(childPackets, c.PacketsOut, conn, c.Name, "out")
	s.count(childNoSA, c.DroppedNoSA, conn, c.Name)
	for name, m := range childEvents {
		s.count(m, c.Events[name], conn, c.Name)
	}
}
