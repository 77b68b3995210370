package ts

import (
	"cmp"
	"iter"
	"slices"
)

// Table finds the policy of an outbound packet. It is immutable, so any number of goroutines may look up in it; With and Without
// make another one, at a cost that hardly depends on its size.
//
// It looks at the remote address first: a trie of prefixes holds the groups, where a group is all rules of one remote range, and in a
// group another one holds the rules by their local ranges. Few rules are left for protocol and ports. Of the ranges that are held at
// one place of a trie each two overlap, and so a packet meets few of them unless it is in many.
type Table[T any] struct {
	v4, v6 *trie[[]group[T]]
	narrow int // pairs of selectors with a protocol or ports
}

// Entry is one policy: Value is for packets from an address in Local to one in Remote.
type Entry[T any] struct {
	Local, Remote []Selector
	// Priority decides between selectors that are equally specific; higher wins. After it Order does; lower wins, and no two entries
	// of a table have the same.
	Priority int
	Order    int64
	Value    T
}

// rule is one pair of selectors of an entry.
type rule[T any] struct {
	local, remote         Selector
	localSize, remoteSize u128 // addresses in the range, less one
	priority              int
	order                 int64
	value                 T
}

// group is all rules of one remote range.
type group[T any] struct {
	start, end, size u128
	// only is the rule if there is one, as for most peers: it is in fewer cache lines than locals, which hold the rules else, at each
	// place the better first.
	only   *rule[T]
	locals *trie[[]*rule[T]]
}

// NewTable builds the table of entries, whose Order is their index, and keeps nothing of the slice. If several entries match a packet,
// the most specific wins: the one with the smallest remote range, then the smallest local range, then a protocol before none,
// then fewest remote and local ports; among equals the highest priority, then the first. Selectors that are not
// valid match nothing.
func NewTable[T any](entries []Entry[T]) *Table[T] {
	t := &Table[T]{}
	for i, e := range entries {
		e.Order = int64(i)
		t.each(e, true)
	}
	return t
}

// With is the table with one more entry.
func (t *Table[T]) With(e Entry[T]) *Table[T] {
	next := *t
	next.each(e, true)
	return &next
}

// Without is the table without an entry that is in it.
func (t *Table[T]) Without(e Entry[T]) *Table[T] {
	next := *t
	next.each(e, false)
	return &next
}

// each enters the rules of an entry, or takes them out.
func (t *Table[T]) each(e Entry[T], enter bool) {
	for _, remote := range e.Remote {
		if remote.Valid() != nil {
			continue
		}
		root := &t.v4
		if remote.Is6() {
			root = &t.v6
		}
		k, length := remote.block()
		*root = (*root).with(k, length, func(groups []group[T]) ([]group[T], bool) {
			for _, local := range e.Local {
				if local.Valid() == nil && local.Is6() == remote.Is6() {
					groups = changeGroups(groups, newRule(local, remote, e), enter)
					t.countNarrow(local, remote, enter)
				}
			}
			return groups, len(groups) > 0
		})
	}
}

// countNarrow counts a pair of selectors if addresses are not all that it is about.
func (t *Table[T]) countNarrow(local, remote Selector, enter bool) {
	switch {
	case local.anyPacket() && remote.anyPacket():
	case enter:
		t.narrow++
	default:
		t.narrow--
	}
}

// ByAddress reports whether the addresses of a packet alone decide which policy it belongs to: no selector has a protocol or
// ports.
func (t *Table[T]) ByAddress() bool { return t.narrow == 0 }

// anyPacket reports whether s selects all packets between its addresses.
func (s Selector) anyPacket() bool {
	return s.Protocol == 0 && s.StartPort == anyStart && s.EndPort == anyEnd
}

// changeGroups is the groups of one place, the smallest ranges first, with a rule more or less.
func changeGroups[T any](groups []group[T], r *rule[T], enter bool) []group[T] {
	g := group[T]{start: key(r.remote.Start), end: key(r.remote.End), size: r.remoteSize}
	i, known := slices.BinarySearchFunc(groups, g, func(a, b group[T]) int {
		return cmp.Or(a.size.compare(b.size), a.start.compare(b.start))
	})
	if !known && !enter {
		return groups
	}
	if known {
		g = groups[i]
	}
	g.change(r, enter)
	groups = slices.Clone(groups)
	switch {
	case !known:
		return slices.Insert(groups, i, g)
	case g.only == nil && g.locals == nil:
		return slices.Delete(groups, i, i+1)
	}
	groups[i] = g
	return groups
}

// change enters a rule, or takes it out.
func (g *group[T]) change(r *rule[T], enter bool) {
	switch {
	case enter && g.only == nil && g.locals == nil:
		g.only = r
		return
	case enter && g.only != nil:
		first := g.only
		if g.only = nil; compareRules(first, r) != 0 {
			g.hold(first, true)
		}
	case g.only != nil:
		if compareRules(g.only, r) == 0 {
			g.only = nil
		}
		return
	}
	g.hold(r, enter)
}

// hold is change where there are several rules.
func (g *group[T]) hold(r *rule[T], enter bool) {
	k, length := r.local.block()
	g.locals = g.locals.with(k, length, func(rules []*rule[T]) ([]*rule[T], bool) {
		at, there := slices.BinarySearchFunc(rules, r, compareRules)
		switch {
		case enter && !there:
			rules = slices.Insert(slices.Clip(rules), at, r)
		case !enter && there:
			rules = slices.Delete(slices.Clone(rules), at, at+1)
		}
		return rules, len(rules) > 0
	})
}

// Lookup returns the value of the policy that p, going from a local to a remote address, belongs to. It does not
// allocate.
func (t *Table[T]) Lookup(p *Packet) (value T, ok bool) {
	root := t.v4
	if p.Dst.Is6() {
		root = t.v6
	}
	if root == nil || p.Src.BitLen() != p.Dst.BitLen() {
		return value, false
	}
	s := search[T]{p: p, local: key(p.Src), remote: key(p.Dst)}
	s.groups(root)
	if s.best == nil {
		return value, false
	}
	return s.best.value, true
}

// search is one lookup.
type search[T any] struct {
	p             *Packet
	local, remote u128
	best          *rule[T]
}

// groups looks at what is held on the way to the remote address, the farthest first: smaller ranges are farther.
func (s *search[T]) groups(n *trie[[]group[T]]) {
	if n == nil || !n.covers(s.remote) {
		return
	}
	if n.bits < 128 {
		s.groups(n.kids[s.remote.bit(n.bits)])
	}
	for i := range n.value {
		g := &n.value[i]
		switch {
		case s.best != nil && s.best.remoteSize.less(g.size):
			return
		case s.remote.less(g.start) || g.end.less(s.remote):
		case g.only != nil:
			s.try(g.only)
		default:
			s.rules(g.locals)
		}
	}
}

// rules looks at what is held on the way to the local address.
func (s *search[T]) rules(n *trie[[]*rule[T]]) {
	for n != nil && n.covers(s.local) {
		for _, r := range n.value {
			if s.try(r) {
				break
			}
		}
		if n.bits == 128 {
			return
		}
		n = n.kids[s.local.bit(n.bits)]
	}
}

// try looks at a rule, and reports whether the search goes no further among those that are behind it.
func (s *search[T]) try(r *rule[T]) bool {
	if s.best != nil && compareRules(s.best, r) < 0 {
		return true
	}
	if r.match(s.p) {
		s.best = r
		return true
	}
	return false
}

// Rule is one pair of selectors of a table, and what stands for them.
type Rule[T any] struct {
	Local, Remote Selector
	Value         T
}

// Rules yields the pairs of selectors of all entries. Of two that match a packet, Lookup takes the one that comes first.
func (t *Table[T]) Rules() iter.Seq[Rule[T]] {
	return func(yield func(Rule[T]) bool) {
		for _, root := range []*trie[[]group[T]]{t.v4, t.v6} {
			for _, r := range rulesOf(root) {
				if !yield(Rule[T]{r.local, r.remote, r.value}) {
					return
				}
			}
		}
	}
}

func rulesOf[T any](root *trie[[]group[T]]) (list []*rule[T]) {
	root.below(func(n *trie[[]group[T]]) bool {
		for _, g := range n.value {
			if g.only != nil {
				list = append(list, g.only)
			}
			g.locals.below(func(l *trie[[]*rule[T]]) bool {
				list = append(list, l.value...)
				return true
			})
		}
		return true
	})
	slices.SortFunc(list, compareRules)
	return list
}

func newRule[T any](local, remote Selector, e Entry[T]) *rule[T] {
	return &rule[T]{
		local: local, remote: remote,
		localSize:  number(local.End).sub(number(local.Start)),
		remoteSize: number(remote.End).sub(number(remote.Start)),
		priority:   e.Priority,
		order:      e.Order,
		value:      e.Value,
	}
}

// compareRules orders rules, the one that wins first. Only the same rule is equal: those of one entry that do not differ in what they
// are specific about are told apart by what they are about.
func compareRules[T any](a, b *rule[T]) int {
	return cmp.Or(
		a.remoteSize.compare(b.remoteSize),
		a.localSize.compare(b.localSize),
		-cmp.Compare(a.protocols(), b.protocols()),
		cmp.Compare(a.remote.portCount(), b.remote.portCount()),
		cmp.Compare(a.local.portCount(), b.local.portCount()),
		-cmp.Compare(a.priority, b.priority),
		cmp.Compare(a.order, b.order),
		a.remote.compare(b.remote),
		a.local.compare(b.local),
	)
}

// compare orders selectors somehow.
func (s Selector) compare(o Selector) int {
	return cmp.Or(
		s.Start.Compare(o.Start), s.End.Compare(o.End), cmp.Compare(s.Protocol, o.Protocol),
		cmp.Compare(s.StartPort, o.StartPort), cmp.Compare(s.EndPort, o.EndPort),
	)
}

// protocols is 1 if the rule is limited to a protocol.
func (r *rule[T]) protocols() int { return int(min(r.local.Protocol|r.remote.Protocol, 1)) }

// portCount is the number of ports s allows; OPAQUE counts as one value of the field.
func (s Selector) portCount() int {
	if s.opaque() {
		return 1
	}
	return int(s.EndPort) - int(s.StartPort) + 1
}

// match compares all that is not known of the group.
func (r *rule[T]) match(p *Packet) bool {
	return r.local.hasAddr(p.Src) && r.local.matchProtocol(p.Protocol) && r.remote.matchProtocol(p.Protocol) &&
		r.local.matchSrcPort(p) && r.remote.matchDstPort(p)
}
