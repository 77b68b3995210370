// Package prometheus has Prometheus itself read the alert rules. It is a module of its own, so that nobody who builds Culvert needs
// Prometheus.
package prometheus

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

func TestRules(t *testing.T) {
	groups, errs := rulefmt.ParseFile("culvert.rules.yml", false)
	for _, err := range errs {
		t.Error(err)
	}
	if len(errs) == 0 && len(groups.Groups[0].Rules) < 10 {
		t.Error("rules are missing")
	}
}

// The queries of the dashboard, with what Grafana puts in the place of its variables.
func TestDashboard(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "grafana", "culvert.json"))
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(data, &board); err != nil {
		t.Fatal(err)
	}
	variables := strings.NewReplacer("$__rate_interval", "1m", "$instance", ".*", "$connection", ".*")
	n := 0
	for _, p := range board.Panels {
		for _, q := range p.Targets {
			n++
			if _, err := parser.ParseExpr(variables.Replace(q.Expr)); err != nil {
				t.Errorf("%s: %s: %v", p.Title, q.Expr, err)
			}
		}
	}
	if n < 20 {
		t.Errorf("only %d queries were found", n)
	}
}
