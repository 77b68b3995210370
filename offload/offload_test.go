package offload

import (
	"math/bits"
	"strings"
	"testing"
)

// Each fast path has a row, and is written and read as what it is.
func TestNames(t *testing.T) {
	if n := bits.OnesCount16(uint16(All)); n != len(paths) {
		t.Fatalf("%d fast paths, %d names", n, len(paths))
	}
	seen := map[string]bool{"none": true, "all": true}
	for _, one := range All.Each() {
		name := one.String()
		if seen[name] || one.What() == "" {
			t.Errorf("%q is no name of its own", name)
		}
		seen[name] = true
		if got, err := Parse(" " + strings.ToUpper(name)); err != nil || got != one {
			t.Errorf("%q is read as %v, %v", name, got, err)
		}
		if !All.Has(one) || (All &^ one).Has(one) || Set(0).Has(one) {
			t.Errorf("Has of %q", name)
		}
	}
	for text, want := range map[string]Set{"": 0, "none": 0, "all": All, "tso, udp-gro": TSO | GRO, "uso\tuso": USO, ",": 0, All.String(): All} {
		if got, err := Parse(text); err != nil || got != want {
			t.Errorf("%q is read as %v, %v", text, got, err)
		}
	}
	if got := (GRO | TSO).String(); got != "tso,udp-gro" {
		t.Error(got)
	}
	if got := Set(0).String(); got != "none" {
		t.Error(got)
	}
}

func TestUnknownName(t *testing.T) {
	_, err := Parse("tso,gso")
	if err == nil || !strings.Contains(err.Error(), `"gso"`) || !strings.Contains(err.Error(), "udp-segment") {
		t.Error(err)
	}
}
