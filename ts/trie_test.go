package ts

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestIndex compares an Index with a list.
func TestIndex(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	random := func() []Selector {
		is6 := r.IntN(2) == 0
		a, b := randomAddr(r, is6), randomAddr(r, is6)
		if b.Less(a) {
			a, b = b, a
		}
		return []Selector{{Start: a, End: b, EndPort: anyEnd}}
	}
	type held struct {
		list  []Selector
		value int
	}
	var x Index[int]
	var all []held
	for n := range 500 {
		if len(all) > 0 && r.IntN(5) < 2 {
			i := r.IntN(len(all))
			x.Remove(all[i].list, all[i].value)
			all = slices.Delete(all, i, i+1)
		} else {
			all = append(all, held{random(), n})
			x.Add(all[len(all)-1].list, n)
		}
		query := random()
		var want []int
		for _, h := range all {
			if _, ok := h.list[0].Intersect(query[0]); ok {
				want = append(want, h.value)
			}
		}
		got := slices.Collect(x.Overlapping(query))
		slices.Sort(got)
		if got = slices.Compact(got); !slices.Equal(got, want) {
			t.Fatalf("step %d: %v overlaps %v, want %v", n, query, got, want)
		}
	}
	for _, h := range all {
		x.Remove(h.list, h.value)
	}
	if x.v4 != nil || x.v6 != nil {
		t.Error("nodes are left in an empty index")
	}
}
