package ts

import (
	"cmp"
	"iter"
	"slices"
)

// Table finds the policy of an outbound packet. It is immutable, so any number of goroutines may look up in it.
//
// It looks at the remote address first: the address space is cut at every end of a remote range, and each piece
// knows the groups that cover it, where a group is all rules of one remote range. In a group the local address
// space is cut in the same way. Few rules are left for protocol and ports. Prefixes nest, so a piece is covered
// by few groups however many entries there are; ranges that overlap without nesting cost memory in proportion to
// how many lie over one another.
type Table[T any] struct {
	values []T
	v4, v6 family
}

// Entry is one policy: Value is for packets from an address in Local to one in Remote.
type Entry[T any] struct {
	Local, Remote []Selector
	// Priority decides between selectors that are equally specific; higher wins.
	Priority int
	Value    T
}

// family holds the rules of one address family.
type family struct {
	rules   []rule // the better first; a rule's index is its rank
	groups  []group
	remotes pieces // of indexes into groups, those of smaller ranges first
}

// rule is one pair of selectors of an entry.
type rule struct {
	local, remote         Selector
	localSize, remoteSize u128 // addresses in the range, less one
	priority              int
	entry                 int
}

// group is all rules of one remote range.
type group struct {
	size   u128
	locals pieces // of ranks
}

// NewTable builds the table of entries, and keeps nothing of the slice. If several entries match a packet, the most
// specific wins: the one with the smallest remote range, then the smallest local range, then a protocol before none,
// then fewest remote and local ports; among equals the highest priority, then the first. Selectors that are not
// valid match nothing.
func NewTable[T any](entries []Entry[T]) *Table[T] {
	t := &Table[T]{values: make([]T, len(entries))}
	for i, e := range entries {
		t.values[i] = e.Value
		for _, remote := range e.Remote {
			if remote.Valid() != nil {
				continue
			}
			f := &t.v4
			if remote.Is6() {
				f = &t.v6
			}
			for _, local := range e.Local {
				if local.Valid() == nil && local.Is6() == remote.Is6() {
					f.rules = append(f.rules, newRule(local, remote, e.Priority, i))
				}
			}
		}
	}
	t.v4.build()
	t.v6.build()
	return t
}

// Lookup returns the value of the policy that p, going from a local to a remote address, belongs to. It does not
// allocate.
func (t *Table[T]) Lookup(p *Packet) (value T, ok bool) {
	f := &t.v4
	if p.Dst.Is6() {
		f = &t.v6
	}
	if p.Src.BitLen() != p.Dst.BitLen() {
		return value, false
	}
	r := f.find(p)
	if r == nil {
		return value, false
	}
	return t.values[r.entry], true
}

// Rule is one pair of selectors of a table, and what stands for them.
type Rule[T any] struct {
	Local, Remote Selector
	Value         T
}

// Rules yields the pairs of selectors of all entries. Of two that match a packet, Lookup takes the one that comes first.
func (t *Table[T]) Rules() iter.Seq[Rule[T]] {
	return func(yield func(Rule[T]) bool) {
		for _, f := range []*family{&t.v4, &t.v6} {
			for i := range f.rules {
				r := &f.rules[i]
				if !yield(Rule[T]{r.local, r.remote, t.values[r.entry]}) {
					return
				}
			}
		}
	}
}

func newRule(local, remote Selector, priority, entry int) rule {
	return rule{
		local: local, remote: remote,
		localSize:  number(local.End).sub(number(local.Start)),
		remoteSize: number(remote.End).sub(number(remote.Start)),
		priority:   priority,
		entry:      entry,
	}
}

// compareRules orders rules, the one that wins first.
func compareRules(a, b *rule) int {
	return cmp.Or(
		a.remoteSize.compare(b.remoteSize),
		a.localSize.compare(b.localSize),
		-cmp.Compare(a.protocols(), b.protocols()),
		cmp.Compare(a.remote.portCount(), b.remote.portCount()),
		cmp.Compare(a.local.portCount(), b.local.portCount()),
		-cmp.Compare(a.priority, b.priority),
		cmp.Compare(a.entry, b.entry),
	)
}

// protocols is 1 if the rule is limited to a protocol.
func (r *rule) protocols() int { return int(min(r.local.Protocol|r.remote.Protocol, 1)) }

// portCount is the number of ports s allows; OPAQUE counts as one value of the field.
func (s Selector) portCount() int {
	if s.opaque() {
		return 1
	}
	return int(s.EndPort) - int(s.StartPort) + 1
}

// sort puts the rules in order; rules are large, so pointers move instead.
func (f *family) sort() {
	order := make([]*rule, len(f.rules))
	for i := range f.rules {
		order[i] = &f.rules[i]
	}
	slices.SortStableFunc(order, compareRules)
	sorted := make([]rule, len(order))
	for i, r := range order {
		sorted[i] = *r
	}
	f.rules = sorted
}

// build makes groups and pieces from the rules.
func (f *family) build() {
	f.sort()
	type addrs struct{ start, end u128 }
	index := make(map[addrs]int)
	var remotes []span
	var locals [][]span // of each group
	for rank := range f.rules {
		r := &f.rules[rank]
		a := addrs{number(r.remote.Start), number(r.remote.End)}
		g, known := index[a]
		if !known {
			g = len(f.groups)
			index[a] = g
			f.groups = append(f.groups, group{size: r.remoteSize})
			remotes = append(remotes, span{a.start, a.end, g})
			locals = append(locals, nil)
		}
		locals[g] = append(locals[g], span{number(r.local.Start), number(r.local.End), rank})
	}
	f.remotes = cut(remotes)
	for g := range f.groups {
		f.groups[g].locals = cut(locals[g])
	}
}

// find returns the best rule for p.
func (f *family) find(p *Packet) *rule {
	local, best := number(p.Src), len(f.rules)
	for _, g := range f.remotes.at(number(p.Dst)) {
		grp := &f.groups[g]
		if best < len(f.rules) && f.rules[best].remoteSize != grp.size {
			break // the rules of every further group rank behind
		}
		for _, rank := range grp.locals.at(local) {
			if int(rank) >= best {
				break
			}
			if f.rules[rank].match(p) {
				best = int(rank)
				break
			}
		}
	}
	if best == len(f.rules) {
		return nil
	}
	return &f.rules[best]
}

// match compares what is left when the addresses are known to match.
func (r *rule) match(p *Packet) bool {
	return r.local.matchProtocol(p.Protocol) && r.remote.matchProtocol(p.Protocol) &&
		r.local.matchSrcPort(p) && r.remote.matchDstPort(p)
}

// span is a range of addresses and what it stands for.
type span struct {
	start, end u128
	id         int
}

// pieces is an address space cut at every end of some spans. Piece i begins at starts[i] and is covered by the
// spans with ids[offsets[i]:offsets[i+1]].
type pieces struct {
	starts  []u128
	offsets []int
	ids     []int32
}

// cut makes the pieces of spans; within a piece, ids keep the order of spans.
func cut(spans []span) pieces {
	var p pieces
	for _, s := range spans {
		p.starts = append(p.starts, s.start)
		if after := s.end.add(u128{lo: 1}); after != (u128{}) {
			p.starts = append(p.starts, after)
		}
	}
	slices.SortFunc(p.starts, u128.compare)
	p.starts = slices.Compact(p.starts)

	// Count first, so that all ids lie in one slice: offsets[i+1] counts, then sums, then is moved by filling.
	p.offsets = make([]int, len(p.starts)+1)
	p.cover(spans, func(piece, _ int) { p.offsets[piece+1]++ })
	for i := range p.starts {
		p.offsets[i+1] += p.offsets[i]
	}
	p.ids = make([]int32, p.offsets[len(p.starts)])
	next := slices.Clone(p.offsets)
	p.cover(spans, func(piece, id int) {
		p.ids[next[piece]] = int32(id)
		next[piece]++
	})
	return p
}

// cover calls f for each span and each piece under it.
func (p *pieces) cover(spans []span, f func(piece, id int)) {
	for _, s := range spans {
		first, _ := slices.BinarySearchFunc(p.starts, s.start, u128.compare)
		for i := first; i < len(p.starts) && !s.end.less(p.starts[i]); i++ {
			f(i, s.id)
		}
	}
}

// at returns the ids of the spans that cover n.
func (p *pieces) at(n u128) []int32 {
	// The last piece that does not begin behind n.
	low, high := 0, len(p.starts)
	for low < high {
		if mid := int(uint(low+high) >> 1); n.less(p.starts[mid]) {
			high = mid
		} else {
			low = mid + 1
		}
	}
	if low == 0 {
		return nil
	}
	return p.ids[p.offsets[low-1]:p.offsets[low]]
}
