package conformance

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	top      = "../.."
	document = top + "/docs/conformance.md"
	texts    = top + "/../shared/rfc"
)

// documentOf is where the rows of an RFC stand.
func documentOf(rfc string) string { return top + "/docs/conformance/rfc" + rfc + ".md" }

// TestRFCs compares the facts with the RFCs, where their texts are at hand.
func TestRFCs(t *testing.T) {
	if len(order) != len(facts) {
		t.Errorf("%d RFCs have facts, %d an order", len(facts), len(order))
	}
	for _, rfc := range order {
		have := parseFacts(facts[rfc])
		if len(have) == 0 {
			t.Errorf("RFC %s has no facts", rfc)
		}
		text, err := os.ReadFile(filepath.Join(texts, "rfc"+rfc+".txt"))
		if os.IsNotExist(err) {
			t.Logf("the text of RFC %s is not at hand: its facts are not compared with it", rfc)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range differences(have, read(string(text))) {
			t.Errorf("RFC %s: %s", rfc, c)
		}
	}
}

// TestRows: each key word of each RFC has its row, in order, and each row leads to code and to a test, or gives a reason.
func TestRows(t *testing.T) {
	tree, err := readTree(top)
	if err != nil {
		t.Fatal(err)
	}
	if len(tree.tests) < 500 {
		t.Fatalf("only %d tests found", len(tree.tests))
	}
	counts := make(map[string]tally)
	for _, rfc := range order {
		text, err := os.ReadFile(documentOf(rfc))
		if err != nil {
			t.Error(err)
			continue
		}
		rs, complaints := rows(string(text))
		for _, c := range append(complaints, check(rs, parseFacts(facts[rfc]), tree)...) {
			t.Errorf("RFC %s: %s", rfc, c)
		}
		counts[rfc] = count(rs)
	}
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	if want := summary(order, counts); !strings.Contains(string(text), want) {
		t.Errorf("%s does not have the true counts:\n%s", filepath.Base(document), want)
	}
}
