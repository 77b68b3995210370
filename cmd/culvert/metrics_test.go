package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/culvert-vpn/culvert/gateway"
	"github.com/culvert-vpn/culvert/metrics"
)

// quiet is a gateway that does not run.
type quiet struct{}

func (quiet) Figures(context.Context) gateway.Figures { return gateway.Figures{} }

// Metrics are served where they are asked for, whoever may reach that is warned of, and mistakes are told.
func TestMetricsFlags(t *testing.T) {
	var said bytes.Buffer
	log := slog.New(slog.NewTextHandler(&said, nil))
	f := metricsFlags{connections: metrics.DefaultConnections}
	if l, err := f.listen(log); l != nil || err != nil {
		t.Errorf("without an address: %v %v", l, err)
	}
	f.address = "127.0.0.1:0"
	l, err := f.listen(log)
	if err != nil || said.Len() > 0 {
		t.Fatal(err, said.String())
	}
	end := f.serve(l, quiet{}, log)
	r, err := http.Get("http://" + l.Addr().String() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(r.Body)
	r.Body.Close()
	end()
	if !strings.Contains(string(body), "culvert_build_info{") || !strings.Contains(string(body), "process_cpu_seconds_total") {
		t.Errorf("%s", body)
	}
	f.address = ":0"
	if l, err = f.listen(log); err != nil || !strings.Contains(said.String(), "no authentication") {
		t.Errorf("%v, %s", err, said.String())
	}
	l.Close()
	for _, bad := range []metricsFlags{{"nonsense", 1}, {"127.0.0.1:0", 0}} {
		if _, err := bad.listen(log); err == nil {
			t.Errorf("%v is accepted", bad)
		}
	}
}
