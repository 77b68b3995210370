package ts

import (
	"net/netip"
	"slices"
)

// Spec is a traffic selector as a configuration says it. It is comparable.
type Spec struct {
	// Dynamic: the addresses are those of the tunnel's end and are not known before negotiation. Sel then
	// gives protocol and ports only; its addresses are the zero netip.Addr.
	Dynamic bool
	Sel     Selector
}

// Resolve returns the selectors that specs stand for. A dynamic one becomes one selector for each address in
// dynamic, and nothing if there is none. Duplicates are left out; the order is that of specs.
func Resolve(specs []Spec, dynamic ...netip.Addr) []Selector {
	var out []Selector
	add := func(s Selector) {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	for _, spec := range specs {
		if !spec.Dynamic {
			add(spec.Sel)
			continue
		}
		for _, a := range dynamic {
			one, sel := FromAddr(a), spec.Sel
			sel.Start, sel.End = one.Start, one.End
			add(sel)
		}
	}
	return out
}
