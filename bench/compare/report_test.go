package compare

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// sampled is a report of three rounds of a case.
func sampled() *Report {
	r := &Report{Rounds: 3, Subjects: []Subject{{Name: Link}, {Name: Culvert, About: "<ours> & best", MTU: 1418}, {Name: WireGuard}}}
	for round, values := range [][3]float64{{10, 4, 2}, {20, 5, 1}, {30, 9, 3}} {
		for i, s := range r.Subjects {
			sample := Sample{Round: round, Case: "tcp1-out", Subject: s.Name, Values: map[Metric]float64{Throughput: values[i]}}
			if s.Name != Link {
				sample.Values[RSS] = values[i]
			}
			r.Samples = append(r.Samples, sample)
		}
	}
	r.Samples = append(r.Samples, Sample{Round: 2, Case: "udp64", Subject: Culvert, Values: map[Metric]float64{RSS: 12}})
	return r
}

func figure(t *testing.T, c string, m Metric) Figure {
	t.Helper()
	for _, f := range Figures() {
		if f.Case == c && f.Metric == m {
			return f
		}
	}
	t.Fatalf("no figure %s of %s", m, c)
	return Figure{}
}

func TestRatios(t *testing.T) {
	r, throughput := sampled(), figure(t, "tcp1-out", Throughput)
	if got := r.Ratios(throughput, Culvert, WireGuard); !reflect.DeepEqual(got, []float64{2, 3, 5}) {
		t.Errorf("ratios %v, should be those of each round: 2 3 5", got)
	}
	if got := spread(r.Ratios(throughput, Culvert, WireGuard)); got != (Spread{N: 3, Median: 3, Min: 2, Max: 5}) {
		t.Errorf("spread %+v", got)
	}
	if got := r.Ratios(throughput, Culvert, LibIPsec); len(got) != 0 {
		t.Errorf("ratios to nothing: %v", got)
	}
	memory := r.Values(figure(t, anyCase, RSS), Culvert)
	if !reflect.DeepEqual(memory, map[int]float64{0: 4, 1: 5, 2: 12}) {
		t.Errorf("memory %v, should be the most of all cases of a round", memory)
	}
}

func TestSpread(t *testing.T) {
	values := []float64{4, 1, 3, 2}
	if got := spread(values); got != (Spread{N: 4, Median: 2.5, Min: 1, Max: 4}) || values[0] != 4 {
		t.Errorf("%+v of %v", got, values)
	}
	if got := spread(nil); got != (Spread{}) {
		t.Errorf("%+v of nothing", got)
	}
}

func TestMarkdown(t *testing.T) {
	var b bytes.Buffer
	if err := sampled().Markdown(&b, WireGuard); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"| | culvert ÷ link | culvert ÷ wireguard-go |",
		"| TCP, 1 stream, from the initiator | 0.30 (0.25–0.40) | 3.00 (2.00–5.00) |",
		"| | link | culvert |",
		"| TCP, 1 stream, from the initiator | 10.0 (5.00–20.0) | 3.00 (2.00–5.00) |",
		"| TCP, 1 stream, from the initiator | 20.0 (10.0–30.0) Gbit/s | 5.00 (4.00–9.00) Gbit/s | 2.00 (1.00–3.00) Gbit/s |",
		"| memory of a daemon under load, at most ↓ |  | 5.00 (4.00–12.0) MB | 2.00 (1.00–3.00) MB |",
	} {
		if !strings.Contains(b.String(), line+"\n") {
			t.Errorf("there is no line\n%s\nin\n%s", line, &b)
		}
	}
	if strings.Contains(b.String(), "round trip") {
		t.Error("there is a line of a case that was not measured")
	}
}

func TestShares(t *testing.T) {
	got := shares([]byte(`# Overhead  Shared Object  Symbol
    20.50%  [kernel.kallsyms]  [k] finish_task_switch.isra.0     -      -
    16.25%  culvert            [.] github.com/culvert-vpn/culvert/suite/internal/gcm.seal512
     9.00%  [kernel.kallsyms]  [k] _copy_from_iter
     8.00%  [kernel.kallsyms]  [k] fib_table_lookup
     4.00%  culvert            [.] runtime.memmove
     3.00%  culvert            [.] runtime.exitsyscall
     2.00%  culvert            [.] github.com/culvert-vpn/culvert/tun.(*Super).Cut
     1.00%  culvert            [.] github.com/culvert-vpn/culvert/ts.ParsePacket
`))
	for i, want := range []float64{16.25, 2, 9, 20.5, 8, 4, 3, 1} {
		if name := parts[i].name; got[name] != want {
			t.Errorf("%s: %v percent, want %v", name, got[name], want)
		}
	}
	r := sampled()
	r.Profiles = []Profile{{"tcp1-out", Culvert, "a", got}}
	var b bytes.Buffer
	if err := r.Markdown(&b, WireGuard); err != nil || !strings.Contains(b.String(), "| encryption and integrity | 16.2 |\n") {
		t.Errorf("%v\n%s", err, &b)
	}
}

func TestShort(t *testing.T) {
	for v, want := range map[float64]string{0: "0.00", 0.0049: "0.0049", 0.12: "0.12", 9.876: "9.88", 12.34: "12.3", 123.4: "123", 4040: "4040", 70400: "70k", 1.5e6: "1.50M"} {
		if got := short(v); got != want {
			t.Errorf("%v is %s, want %s", v, got, want)
		}
	}
}

func TestSVG(t *testing.T) {
	var b bytes.Buffer
	some, err := sampled().SVG(&b, Plots()[0], WireGuard)
	if !some || err != nil {
		t.Fatal(some, err)
	}
	bars := 0
	for d := xml.NewDecoder(&b); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "rect" {
			bars++
		}
	}
	if bars != 1+3 {
		t.Errorf("%d rectangles, should be the ground and a bar for each subject", bars)
	}
	if some, err := sampled().SVG(&b, Plots()[0], LibIPsec); some || err != nil {
		t.Errorf("a plot of nothing: %v, %v", some, err)
	}
}

func TestPublish(t *testing.T) {
	dir := t.TempDir()
	document, plots := filepath.Join(dir, "performance.md"), filepath.Join(dir, "performance")
	const text = "before\n" + insertBegin + "\nold\n" + insertEnd + "\nafter\n"
	if err := os.WriteFile(document, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r := sampled()
	for range 2 { // the second time replaces the first
		if err := errors.Join(r.Save(plots, WireGuard), r.Insert(document, plots, WireGuard)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	if s := string(got); !strings.HasPrefix(s, "before\n"+insertBegin) || !strings.HasSuffix(s, insertEnd+"\nafter\n") ||
		strings.Contains(s, "old") || strings.Count(s, "(performance/tcp.svg)") != 1 || strings.Contains(s, "setup.svg") {
		t.Errorf("%s", s)
	}
	if _, err := os.Stat(filepath.Join(plots, "tcp.svg")); err != nil {
		t.Error(err)
	}
	if again, err := Load(filepath.Join(plots, "results.json")); err != nil || !reflect.DeepEqual(again.Samples, r.Samples) {
		t.Errorf("what is read is not what was written: %v", err)
	}
	if err := os.WriteFile(document, []byte(insertBegin), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.Insert(document, plots, WireGuard); err == nil {
		t.Error("a document without the second mark is written to")
	}
}

func TestNames(t *testing.T) {
	names := func(list []Case) (names []string) {
		for _, c := range list {
			names = append(names, c.Name)
		}
		return names
	}
	for _, test := range []struct {
		asked []string
		want  string
		all   bool
	}{
		{nil, strings.Join(names(Cases()), " "), true},
		{[]string{"rtt", "tcp4-in", "rtt-idle"}, "tcp4-in rtt-idle rtt-load", false},
		{[]string{"udp64"}, "udp64", false}, // and not udp64-segments
	} {
		list, all, err := (&Options{Cases: test.asked}).cases()
		if got := strings.Join(names(list), " "); err != nil || got != test.want || all != test.all {
			t.Errorf("%v are %s, %v, %v", test.asked, got, all, err)
		}
	}
	if _, _, err := (&Options{Cases: []string{"tcp", "sctp"}}).cases(); err == nil {
		t.Error("there is a case sctp")
	}

	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Culvert: "/this/culvert", Subjects: []string{"mine=" + own, Culvert, Link}}
	list, _, err := o.subjects()
	if err != nil || len(list) != 3 || list[0].kind != culvert || list[0].program != own || list[1].program != o.Culvert || list[2].kind != rawLink {
		t.Errorf("%+v, %v", list, err)
	}
	for _, wrong := range [][]string{{"mine"}, {"mine=/nowhere"}, {Link, Link}} {
		if _, _, err := (&Options{Subjects: wrong}).subjects(); err == nil {
			t.Errorf("%v are subjects", wrong)
		}
	}
	list, left, err := (&Options{Tree: t.TempDir(), Extras: []string{filepath.Dir(own)}}).subjects()
	if err != nil || len(list)+len(left) != len(known()) || !strings.Contains(strings.Join(left, "\n"), LibIPsec+" is left out") {
		t.Errorf("%v, left out %q, %v", list, left, err)
	}
}
