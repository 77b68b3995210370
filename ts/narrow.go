package ts

import "slices"

// MaxSelectors is the greatest number of selectors one TS payload holds: their count is one octet (RFC 7296
// 3.13). Narrow never returns more.
const MaxSelectors = 255

// Narrow returns what of the offered selectors of one TS payload the policy allows; nothing means
// TS_UNACCEPTABLE (RFC 7296 2.9). It is called once for TSi and once for TSr.
//
// The result keeps the order of the offer. A selector inside another one is left out, and the wider one takes
// the place of whichever came first; so if the policy allows the initiator's first selector, the one made of
// the packet that asks for the SA, the result's first selector contains it, as RFC 7296 2.9 demands. Invalid
// selectors on either side allow nothing.
func Narrow(offered, policy []Selector) []Selector {
	var out []Selector
	for _, o := range offered {
		if o.Valid() != nil {
			continue
		}
		for _, p := range policy {
			if p.Valid() != nil {
				continue
			}
			if both, ok := o.Intersect(p); ok {
				out = merge(out, both)
			}
		}
	}
	return out
}

// merge adds s to list, none of whose members contains another, and keeps it so.
func merge(list []Selector, s Selector) []Selector {
	for i, have := range list {
		if have.Contains(s) {
			return list
		}
		if s.Contains(have) {
			list[i] = s
			rest := slices.DeleteFunc(list[i+1:], s.Contains)
			return list[:i+1+len(rest)]
		}
	}
	if len(list) == MaxSelectors {
		return list
	}
	return append(list, s)
}

// Subtract returns what is left of list without the addresses that minus selects: a selector loses those addresses whose packets
// are all selected by one of minus, and is cut in two where they lie in its middle. Never more than MaxSelectors are returned.
func Subtract(list, minus []Selector) []Selector {
	left := slices.Clone(list)
	for _, m := range minus {
		var next []Selector
		for _, s := range left {
			next = append(next, s.without(m)...)
		}
		left = next
	}
	return left[:min(len(left), MaxSelectors)]
}

// without returns s without the addresses that m selects for all that s does.
func (s Selector) without(m Selector) []Selector {
	both, ok := s.Intersect(m)
	if !ok || both.Protocol != s.Protocol || both.StartPort != s.StartPort || both.EndPort != s.EndPort {
		return []Selector{s}
	}
	var left []Selector
	if before := both.Start.Prev(); s.Start.Less(both.Start) {
		part := s
		part.End = before
		left = append(left, part)
	}
	if after := both.End.Next(); both.End.Less(s.End) {
		part := s
		part.Start = after
		left = append(left, part)
	}
	return left
}

// Subset reports whether every selector of inner lies inside one selector of outer: how an initiator checks
// that the answer is a subset of its offer (RFC 7296 2.9), and that a rekeyed SA is not narrower than the one
// it replaces (2.9.2). Invalid selectors are no subset of anything.
func Subset(inner, outer []Selector) bool {
	for _, in := range inner {
		if in.Valid() != nil || !slices.ContainsFunc(outer, func(o Selector) bool { return o.Valid() == nil && o.Contains(in) }) {
			return false
		}
	}
	return true
}
