package ts

import (
	"iter"
	"math/bits"
	"net/netip"
	"slices"
)

// trie holds values by prefixes of one address family. It is never changed: a change makes a new one that shares all but the way to
// the changed place with the old one, so readers need no lock and a change costs the same in a large trie as in a small one.
// Nodes that would have one branch and no value are left out; so the way to a value has few nodes more than log2 of their number.
type trie[V any] struct {
	key   u128 // the prefix's address, its first bit at the top
	bits  uint8
	full  bool // there is a value
	kids  [2]*trie[V]
	value V
}

// key is an address with its first bit at the top, in either family.
func key(a netip.Addr) u128 {
	if a.Is4() {
		return u128{hi: number(a).lo << 32}
	}
	return number(a)
}

// bit is the n-th bit of a key, counted from the top.
func (n u128) bit(i uint8) int {
	if i < 64 {
		return int(n.hi >> (63 - i) & 1)
	}
	return int(n.lo >> (127 - i) & 1)
}

// common is how many bits at the top are the same.
func (n u128) common(o u128) uint8 {
	if x := n.hi ^ o.hi; x != 0 {
		return uint8(bits.LeadingZeros64(x))
	}
	return uint8(64 + bits.LeadingZeros64(n.lo^o.lo))
}

// covers reports whether a key begins with the node's prefix.
func (t *trie[V]) covers(k u128) bool { return t.key.common(k) >= t.bits }

// with is the trie with another value at a prefix: what change makes of the present one, or of the zero value. Its second result is
// false if there is to be none.
func (t *trie[V]) with(k u128, length uint8, change func(V) (V, bool)) *trie[V] {
	if t == nil {
		return (&trie[V]{key: k, bits: length}).changed(change)
	}
	switch common := min(t.key.common(k), t.bits, length); {
	case common == t.bits && common == length:
		next := *t
		return next.changed(change)
	case common == t.bits:
		next := *t
		next.kids[k.bit(common)] = t.kids[k.bit(common)].with(k, length, change)
		return next.pruned()
	default:
		// The two part here, or t is below the new one.
		next := &trie[V]{key: k, bits: common}
		next.kids[t.key.bit(common)] = t
		if common == length {
			return next.changed(change)
		}
		next.kids[k.bit(common)] = (*trie[V])(nil).with(k, length, change)
		return next.pruned()
	}
}

// changed gives a node that is not in use yet its value.
func (t *trie[V]) changed(change func(V) (V, bool)) *trie[V] {
	t.value, t.full = change(t.value)
	return t.pruned()
}

// pruned leaves a node out that there is no reason for.
func (t *trie[V]) pruned() *trie[V] {
	switch {
	case t.full || t.kids[0] != nil && t.kids[1] != nil:
		return t
	case t.kids[0] != nil:
		return t.kids[0]
	}
	return t.kids[1]
}

// below yields the nodes with values, the prefixes that contain others first.
func (t *trie[V]) below(yield func(*trie[V]) bool) bool {
	return t == nil || (!t.full || yield(t)) && t.kids[0].below(yield) && t.kids[1].below(yield)
}

// overlapping yields the nodes with values whose prefix contains the given one or is inside of it.
func (t *trie[V]) overlapping(k u128, length uint8) iter.Seq[*trie[V]] {
	return func(yield func(*trie[V]) bool) {
		n := t
		for n != nil && n.bits < length {
			if !n.covers(k) || n.full && !yield(n) {
				return
			}
			n = n.kids[k.bit(n.bits)]
		}
		if n != nil && n.key.common(k) >= length {
			n.below(yield)
		}
	}
}

// block is the longest prefix that a range of addresses is in, and so the one place where it is held: two ranges that are held at one
// place have an address in common.
func (s Selector) block() (k u128, length uint8) {
	start := key(s.Start)
	return start, start.common(key(s.End))
}

// Index finds values by ranges of addresses: which of them meet others. The zero Index is empty. It is for one goroutine.
type Index[T comparable] struct{ v4, v6 *trie[[]indexed[T]] }

type indexed[T comparable] struct {
	selector Selector
	value    T
}

// Add enters a value for the addresses of some selectors.
func (x *Index[T]) Add(list []Selector, value T) {
	for _, s := range list {
		x.change(s, func(old []indexed[T]) []indexed[T] { return append(slices.Clip(old), indexed[T]{s, value}) })
	}
}

// Remove takes it out, for the same selectors.
func (x *Index[T]) Remove(list []Selector, value T) {
	for _, s := range list {
		x.change(s, func(old []indexed[T]) []indexed[T] {
			if i := slices.Index(old, indexed[T]{s, value}); i >= 0 {
				return slices.Delete(slices.Clone(old), i, i+1)
			}
			return old
		})
	}
}

func (x *Index[T]) change(s Selector, change func([]indexed[T]) []indexed[T]) {
	if s.Valid() != nil {
		return
	}
	k, length := s.block()
	root := x.of(s)
	*root = (*root).with(k, length, func(old []indexed[T]) ([]indexed[T], bool) {
		list := change(old)
		return list, len(list) > 0
	})
}

func (x *Index[T]) of(s Selector) **trie[[]indexed[T]] {
	if s.Is6() {
		return &x.v6
	}
	return &x.v4
}

// Overlapping yields the values that have an address in common with one of some selectors. One may come several times.
func (x *Index[T]) Overlapping(list []Selector) iter.Seq[T] {
	return func(yield func(T) bool) {
		for _, s := range list {
			if s.Valid() != nil {
				continue
			}
			for n := range (*x.of(s)).overlapping(s.block()) {
				for _, v := range n.value {
					if !v.selector.End.Less(s.Start) && !s.End.Less(v.selector.Start) && !yield(v.value) {
						return
					}
				}
			}
		}
	}
}
