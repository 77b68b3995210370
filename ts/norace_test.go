//go:build !race

package ts

import (
	"net/netip"
	"testing"
)

const raceEnabled = false

// A change makes few nodes anew, however large the table is.
func TestTableChangeIsSmall(t *testing.T) {
	cost := func(n int) float64 {
		table := thousands(n)
		a := FromPrefix(netip.MustParsePrefix("10.200.1.0/24"))
		e := Entry[int]{Local: []Selector{a}, Remote: []Selector{a}, Order: -1}
		return testing.AllocsPerRun(10, func() { table.With(e).Without(e) })
	}
	if small, large := cost(500), cost(5000); large > small+20 {
		t.Errorf("a change of a table allocates %v times if it has 1000 entries, and %v times if it has 10000", small, large)
	}
}
