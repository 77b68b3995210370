package compare

import (
	"slices"
	"time"
)

// Report is what came of a comparison.
type Report struct {
	Began    time.Time `json:"began"`
	Took     float64   `json:"took_seconds"`
	Machine  Machine   `json:"machine"`
	Rounds   int       `json:"rounds"`
	Warmup   float64   `json:"warmup_seconds"`
	Window   float64   `json:"window_seconds"`
	Subjects []Subject `json:"subjects"`
	Samples  []Sample  `json:"samples"`
	Profiles []Profile `json:"profiles,omitempty"`
}

// Machine is where it was measured.
type Machine struct {
	CPU    string `json:"cpu"`
	CPUs   int    `json:"cpus"`
	Kernel string `json:"kernel"`
	Go     string `json:"go"`
}

// Subject is what was measured.
type Subject struct {
	Name   string `json:"name"`
	About  string `json:"about"`
	Build  string `json:"build,omitempty"` // what the program says of itself
	Device string `json:"device"`          // on which the traffic went
	MTU    int    `json:"mtu"`             // of the device, in bytes
}

// Sample is one case with one subject in one round.
type Sample struct {
	Round   int                `json:"round"`
	Case    string             `json:"case"`
	Subject string             `json:"subject"`
	Values  map[Metric]float64 `json:"values"`
}

// Metric is a quantity that is measured.
type Metric string

// Metrics. Which of them a case has is in Figures.
const (
	Throughput Metric = "gbit_per_second"    // of payload that arrived
	Flood      Metric = "packets_per_second" // that arrived of as many as could be sent
	Best       Metric = "best_packets_per_second"
	Late       Metric = "late_percent"         // of the packets, those that arrived after one sent later
	CPU        Metric = "cpu_seconds_per_gb"   // of both daemons, for each GB of payload that arrived
	CPUPacket  Metric = "cpu_us_per_packet"    // of both daemons, for each packet that arrived
	RSS        Metric = "rss_mb"               // of the bigger of the two daemons, at most
	P50        Metric = "p50_us"               // of round trips
	P99        Metric = "p99_us"               //
	Lost       Metric = "lost_percent"         // of the requests, those without an answer
	Setup      Metric = "setup_ms"             // from the order to the first answer through the new tunnel
	CPUSetup   Metric = "cpu_ms_per_setup"     // of both daemons
	CPULoad    Metric = "generator_cpu_per_gb" // of whatever made the load, for each GB of payload
)

// Figure is a metric of a case: what a table has a line for.
type Figure struct {
	Case   string
	Metric Metric
	Title  string
	Unit   string
	// Less tells that less is better.
	Less bool
	// Share tells that the figure is a part of a whole, and that ratios of it would say nothing.
	Share bool
}

// Figures are the lines of the tables.
func Figures() []Figure {
	var list []Figure
	for _, c := range Cases() {
		add := func(m Metric, title, unit string, less bool) {
			list = append(list, Figure{Case: c.Name, Metric: m, Title: c.About + title, Unit: unit, Less: less, Share: unit == "%"})
		}
		switch c.what.(type) {
		case tcpCase:
			add(Throughput, "", "Gbit/s", false)
			add(CPU, ": CPU", "s/GB", true)
		case udpCase:
			add(Flood, ", flood: received", "packets/s", false)
			add(Best, ", best rate: received", "packets/s", false)
			add(CPUPacket, ", flood: CPU", "µs/packet", true)
			add(Late, ", flood: out of order", "%", true)
		case rttCase:
			add(P50, ": median", "µs", true)
			add(P99, ": 99%", "µs", true)
			add(Lost, ": lost", "%", true)
		case setupCase:
			add(Setup, "", "ms", true)
			add(CPUSetup, ": CPU", "ms", true)
		}
	}
	return append(list, Figure{Case: anyCase, Metric: RSS, Title: "memory of a daemon under load, at most", Unit: "MB", Less: true})
}

// anyCase stands for the greatest value of all cases in a round.
const anyCase = ""

// Values are a figure's values of a subject, by round; rounds without one are left out.
func (r *Report) Values(f Figure, subject string) map[int]float64 {
	values := map[int]float64{}
	for _, s := range r.Samples {
		if v, ok := s.Values[f.Metric]; ok && (s.Case == f.Case || f.Case == anyCase) && s.Subject == subject {
			values[s.Round] = max(values[s.Round], v)
		}
	}
	return values
}

// Ratios are the values of a subject in relation to those of another one in the same round. Shares have none.
func (r *Report) Ratios(f Figure, subject, base string) []float64 {
	if f.Share {
		return nil
	}
	var ratios []float64
	below := r.Values(f, base)
	for round, v := range r.Values(f, subject) {
		if b := below[round]; b > 0 {
			ratios = append(ratios, v/b)
		}
	}
	slices.Sort(ratios)
	return ratios
}

// Spread is a middle and its surroundings.
type Spread struct {
	N                int
	Median, Min, Max float64
}

// spread sums values up.
func spread(values []float64) Spread {
	if len(values) == 0 {
		return Spread{}
	}
	values = slices.Sorted(slices.Values(values))
	n := len(values)
	return Spread{N: n, Median: (values[(n-1)/2] + values[n/2]) / 2, Min: values[0], Max: values[n-1]}
}
