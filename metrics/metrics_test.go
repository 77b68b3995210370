package metrics

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/culvert-vpn/culvert/gateway"
	"github.com/culvert-vpn/culvert/ike"
)

var update = flag.Bool("update", false, "write docs/metrics.md anew")

// figures are a Source.
type figures gateway.Figures

func (f figures) Figures(context.Context) gateway.Figures { return gateway.Figures(f) }

var began = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// full has something of everything.
func full(connections int) figures {
	f := gateway.Figures{
		Started: began, Answered: true, AESGCM: "library", Queues: 1, SPIs: 3,
		Drops: map[string]uint64{"esp-replay": 4, "out-no-sa": 0}, IKEDrops: map[string]uint64{"IKEv1": 2}, KeepalivesIn: 5, KeepalivesOut: 6,
		Offloads:  []gateway.OffloadStatus{{Name: "tso", State: "on"}, {Name: "batch", State: "missing"}},
		Lanes:     []gateway.LaneFigures{{Name: "known", Depth: 1, Room: 512}},
		Pools:     []gateway.PoolFigures{{Name: "people", Size: 254, Online: 3, Offline: 4}},
		Shunts:    []gateway.ShuntFigures{{Connection: "lan", Name: "printer", Mode: "pass"}},
		Strangers: gateway.ConnectionFigures{Failed: began, Cause: "unknown-identity", Tally: ike.Tally{Connecting: 1}},
		Handling:  gateway.Histogram{Count: 3, Sum: 2 * time.Second, Upto: map[time.Duration]uint64{time.Millisecond: 2, time.Second: 3}},
		Waiting:   gateway.Histogram{Count: 3, Sum: 2 * time.Second, Upto: map[time.Duration]uint64{time.Millisecond: 2, time.Second: 3}},
	}
	for i := range connections {
		c := gateway.ConnectionFigures{
			Name: fmt.Sprintf("c%d", i), Tally: ike.Tally{Established: 1, Open: 1, Since: began, Rekey: began.Add(time.Hour)},
			Events: map[string]uint64{"established": 2}, Sent: 10, Came: 9, Resent: 1,
			Children: []gateway.ChildFigures{{
				Name: "net", Up: true, ChildTally: ike.ChildTally{SAs: 1, Wanted: true, Rekey: began.Add(time.Hour)},
				Traffic: gateway.Traffic{PacketsIn: 1, BytesIn: 100, PacketsOut: 2, BytesOut: 200}, DroppedNoSA: 7, Events: map[string]uint64{"child-rekeyed": 3},
			}},
		}
		f.Connections = append(f.Connections, c)
	}
	return figures(f)
}

// TestEveryMetric: what the list has is served, with a form that Prometheus' own rules find no fault with.
func TestEveryMetric(t *testing.T) {
	c := NewCollector(full(2), Options{Version: "v1"})
	problems, err := testutil.CollectAndLint(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	names := make(map[string]bool)
	for _, m := range List() {
		if names[m.Name] {
			t.Errorf("%s is listed twice", m.Name)
		}
		names[m.Name] = true
		if testutil.CollectAndCount(c, m.Name) == 0 {
			t.Errorf("%s is not served", m.Name)
		}
	}
	text := `
		# HELP culvert_child_bytes_total Bytes that were decrypted (in) and encrypted (out), by all Child SAs there were: inner packets and their padding.
		# TYPE culvert_child_bytes_total counter
		culvert_child_bytes_total{child="net",connection="c0",direction="in"} 100
		culvert_child_bytes_total{child="net",connection="c0",direction="out"} 200
		culvert_child_bytes_total{child="net",connection="c1",direction="in"} 100
		culvert_child_bytes_total{child="net",connection="c1",direction="out"} 200
	`
	if err := testutil.CollectAndCompare(c, strings.NewReader(text), "culvert_child_bytes_total"); err != nil {
		t.Error(err)
	}
}

// TestSeriesAreBounded: beyond the limit connections are counted together, and what is told of them is their sum.
func TestSeriesAreBounded(t *testing.T) {
	few := testutil.CollectAndCount(NewCollector(full(3), Options{Connections: 2}))
	many := testutil.CollectAndCount(NewCollector(full(10000), Options{Connections: 2}))
	if few != many {
		t.Errorf("%d series for 3 connections, %d for 10000", few, many)
	}
	f := full(12)
	f.Connections[7].Children[0].Up = false
	text := `
		# HELP culvert_child_dropped_no_sa_total Packets that were dropped because the child was not up.
		# TYPE culvert_child_dropped_no_sa_total counter
		culvert_child_dropped_no_sa_total{child="net",connection="c0"} 7
		culvert_child_dropped_no_sa_total{child="net",connection="c1"} 7
		culvert_child_dropped_no_sa_total{child="(others)",connection="(others)"} 70
		# HELP culvert_child_up 1 if the configured child has a Child SA, 0 if it is down.
		# TYPE culvert_child_up gauge
		culvert_child_up{child="net",connection="c0"} 1
		culvert_child_up{child="net",connection="c1"} 1
		culvert_child_up{child="(others)",connection="(others)"} 0
	`
	c := NewCollector(f, Options{Connections: 2})
	if err := testutil.CollectAndCompare(c, strings.NewReader(text), "culvert_child_dropped_no_sa_total", "culvert_child_up"); err != nil {
		t.Error(err)
	}
}

// TestOddNames: a name of any bytes does not spoil the others' numbers.
func TestOddNames(t *testing.T) {
	f := full(2)
	f.Connections[0].Name = "\xff\n\"{}"
	if _, err := NewRegistry(f, Options{}).Gather(); err != nil {
		t.Error(err)
	}
}

// TestSilentControlLoop: what is known without it is told, and that it is silent.
func TestSilentControlLoop(t *testing.T) {
	c := NewCollector(figures{Drops: map[string]uint64{"esp-replay": 4}}, Options{})
	for name, want := range map[string]int{"culvert_dropped_packets_total": 1, "culvert_control_loop_answers": 1, "culvert_connections": 0} {
		if got := testutil.CollectAndCount(c, name); got != want {
			t.Errorf("%d of %s, want %d", got, name, want)
		}
	}
}

// TestServe: the metrics are at /metrics, and nothing else is anywhere.
func TestServe(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- Serve(ctx, l, NewRegistry(full(1), Options{Version: "v1"}), slog.New(slog.DiscardHandler))
	}()
	for path, want := range map[string]string{"/metrics": `culvert_connection_up{connection="c0"} 1`, "/": "/metrics", "/debug/pprof/": "404", "/x": "404"} {
		r, err := http.Get("http://" + l.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(r.Body)
		r.Body.Close()
		if !strings.Contains(string(body), want) {
			t.Errorf("%s: %.200s", path, body)
		}
	}
	if r, err := http.Post("http://"+l.Addr().String()+"/metrics", "", nil); err != nil || r.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %v %v", r, err)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestDocument: docs/metrics.md has the list, as it is. With -update it is written anew.
func TestDocument(t *testing.T) {
	const begin, end = "<!-- list -->\n", "<!-- end -->\n"
	var b strings.Builder
	b.WriteString("\n| metric | type | labels | meaning |\n| --- | --- | --- | --- |\n")
	for _, m := range List() {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", m.Name, m.Type(), strings.Join(m.Labels, ", "), m.Help)
	}
	b.WriteString("\n")
	path := filepath.Join("..", "docs", "metrics.md")
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(page), begin)
	old, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatal("the page has no place for the list")
	}
	if old == b.String() {
		return
	}
	if !*update {
		t.Fatal("docs/metrics.md is not up to date: go test ./metrics -run Document -update")
	}
	if err := os.WriteFile(path, []byte(before+begin+b.String()+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

var named = regexp.MustCompile(`culvert_[a-z0-9_]+`)

// checkNames checks that an expression names only metrics that there are.
func checkNames(t *testing.T, where, expr string) (n int) {
	t.Helper()
	for _, name := range named.FindAllString(expr, -1) {
		n++
		if !slices.ContainsFunc(List(), func(m *Metric) bool {
			return m.Name == name && m.Type() != "histogram" || m.Type() == "histogram" && slices.Contains([]string{"_bucket", "_sum", "_count"}, strings.TrimPrefix(name, m.Name))
		}) {
			t.Errorf("%s: there is no metric %s", where, name)
		}
	}
	return n
}

// TestDashboard: every query asks for metrics that there are.
func TestDashboard(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "packaging", "grafana", "culvert.json"))
	if err != nil {
		t.Fatal(err)
	}
	var board any
	if err := json.Unmarshal(data, &board); err != nil {
		t.Fatal(err)
	}
	n := 0
	var walk func(where string, x any)
	walk = func(where string, x any) {
		switch x := x.(type) {
		case map[string]any:
			if title, ok := x["title"].(string); ok {
				where = title
			}
			for k, v := range x {
				if s, ok := v.(string); ok && (k == "expr" || k == "query" || k == "definition") {
					n += checkNames(t, where, s)
				}
				walk(where, v)
			}
		case []any:
			for _, v := range x {
				walk(where, v)
			}
		}
	}
	walk("", board)
	if n < 30 {
		t.Errorf("only %d names were found", n)
	}
}

// TestRules: so does every alert. The module in packaging/prometheus has Prometheus itself read them.
func TestRules(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "packaging", "prometheus", "culvert.rules.yml"))
	if err != nil {
		t.Fatal(err)
	}
	if n := checkNames(t, "culvert.rules.yml", string(data)); n < 12 {
		t.Errorf("only %d names were found", n)
	}
}
