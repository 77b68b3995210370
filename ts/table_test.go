package ts

import (
	"cmp"
	"math/big"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
)

// slowLookup is the model of Table.Lookup: every pair of selectors is tried, and the best kept.
func slowLookup(entries []Entry[int], p Packet) (value int, ok bool) {
	var best []*big.Int
	for i, e := range entries {
		for _, remote := range e.Remote {
			for _, local := range e.Local {
				if !Match([]Selector{local}, []Selector{remote}, p, true) {
					continue
				}
				key := []*big.Int{
					size(remote), size(local), big.NewInt(1), ports16(remote), ports16(local),
					big.NewInt(int64(-e.Priority)), big.NewInt(int64(i)),
				}
				if local.Protocol != 0 || remote.Protocol != 0 {
					key[2] = big.NewInt(0)
				}
				if best == nil || lessKey(key, best) {
					best, value, ok = key, e.Value, true
				}
			}
		}
	}
	return value, ok
}

func size(s Selector) *big.Int {
	return new(big.Int).Sub(new(big.Int).SetBytes(s.End.AsSlice()), new(big.Int).SetBytes(s.Start.AsSlice()))
}

func ports16(s Selector) *big.Int {
	if s.StartPort > s.EndPort {
		return big.NewInt(1)
	}
	return big.NewInt(int64(s.EndPort) - int64(s.StartPort) + 1)
}

func lessKey(a, b []*big.Int) bool {
	for i := range a {
		if c := a[i].Cmp(b[i]); c != 0 {
			return c < 0
		}
	}
	return false
}

// randomAddr returns one of few addresses near each other, at the ends of the space too.
func randomAddr(r *rand.Rand, is6 bool) netip.Addr {
	edge := []byte{0, 1, 2, 3, 0x7f, 0x80, 0xfe, 0xff}
	pick := func() byte { return edge[r.IntN(len(edge))] }
	if is6 {
		return netip.AddrFrom16([16]byte{0: pick(), 7: pick(), 8: pick(), 15: pick()})
	}
	return netip.AddrFrom4([4]byte{pick(), pick(), 0, pick()})
}

func randomRange(r *rand.Rand, is6 bool) Selector {
	a := randomAddr(r, is6)
	if r.IntN(3) > 0 {
		bits := []int{0, 1, 7, 8, 9, 15, 16, 24, 31, 32}[r.IntN(10)]
		if is6 {
			bits *= 4
		}
		return FromPrefix(netip.PrefixFrom(a, bits))
	}
	b := randomAddr(r, is6)
	if b.Less(a) {
		a, b = b, a
	}
	return Selector{Start: a, End: b, EndPort: 65535}
}

func randomEntries(r *rand.Rand, n int) []Entry[int] {
	entries := make([]Entry[int], n)
	for i := range entries {
		e := Entry[int]{Priority: r.IntN(3), Value: i}
		for _, side := range []*[]Selector{&e.Local, &e.Remote} {
			for range 1 + r.IntN(2) {
				s, limits := randomRange(r, r.IntN(3) == 0), randomSelector(r)
				if r.IntN(2) == 0 {
					s.Protocol, s.StartPort, s.EndPort = limits.Protocol, limits.StartPort, limits.EndPort
				}
				if r.IntN(20) == 0 {
					s.Start, s.End = s.End, s.Start // often invalid
				}
				if s.Valid() != nil {
					s = Selector{}
				}
				*side = append(*side, s)
			}
		}
		entries[i] = e
	}
	return entries
}

func randomPacket(r *rand.Rand) Packet {
	is6 := r.IntN(3) == 0
	p := Packet{
		Src: randomAddr(r, is6), Dst: randomAddr(r, is6),
		Protocol: []uint8{1, 6, 17, 99}[r.IntN(4)],
	}
	switch {
	case p.Protocol == 99:
	case r.IntN(4) == 0:
		p.Fragment = true
	default:
		p.SrcPort, p.DstPort, p.HasPorts = uint16(r.IntN(9)), uint16(r.IntN(9)), true
		if p.Protocol == 1 {
			p.DstPort = p.SrcPort
		}
	}
	return p
}

// Cases: FCS_IPSEC_EXT.1.1 T2; VPNGW FPF_RUL_EXT.1.5; VPNGW FPF_RUL_EXT.1.6.
func TestTableAgainstModel(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	hits := 0
	for range 200 {
		entries := randomEntries(r, r.IntN(30))
		// The model takes selectors as they are; only the table has to know which are invalid.
		table := NewTable(entries)
		for i := range entries {
			entries[i].Local, entries[i].Remote = validOnly(entries[i].Local), validOnly(entries[i].Remote)
		}
		for range 50 {
			p := randomPacket(r)
			want, wantOK := slowLookup(entries, p)
			got, ok := table.Lookup(&p)
			if got != want || ok != wantOK {
				t.Fatalf("%+v: entry %d, %v; want %d, %v\n%v", p, got, ok, want, wantOK, entries)
			}
			if ok {
				hits++
			}
		}
	}
	if hits < 1000 {
		t.Fatalf("only %d packets matched", hits)
	}
}

func validOnly(sels []Selector) []Selector {
	var out []Selector
	for _, s := range sels {
		if s.Valid() == nil {
			out = append(out, s)
		}
	}
	return out
}

// Cases: FCS_IPSEC_EXT.1.1 T2; VPNGW FPF_RUL_EXT.1.5.
func TestTableOrder(t *testing.T) {
	entry := func(value, priority int, local, remote string) Entry[int] {
		return Entry[int]{mustSels(t, local), mustSels(t, remote), priority, 0, value}
	}
	table := NewTable([]Entry[int]{
		entry(1, 9, "10.0.0.0/8", "0.0.0.0/0"),
		entry(2, 0, "10.0.0.0/8", "10.2.0.0/16"),
		entry(3, 0, "10.1.0.0/16", "10.2.0.0/16"),
		entry(4, 0, "10.1.0.0/16[tcp]", "10.2.0.0/16[tcp]"),
		entry(5, 0, "10.1.0.0/16[tcp]", "10.2.0.0/16[tcp/443]"),
		entry(6, 0, "10.1.0.0/16[tcp]", "10.3.0.0/16[tcp]"),
		entry(7, 1, "10.1.0.0/16[tcp]", "10.3.0.0/16[tcp]"),
		entry(8, 1, "10.1.0.0/16[tcp]", "10.3.0.0/16[tcp]"),
	})
	for _, c := range []struct {
		src, dst string
		proto    uint8
		port     uint16
		want     int // 0: none
	}{
		{"10.9.0.1", "192.0.2.1", 6, 80, 1},
		{"10.9.0.1", "10.2.0.1", 6, 80, 2}, // the longer remote wins over the higher priority
		{"10.1.0.1", "10.2.0.1", 17, 80, 3},
		{"10.1.0.1", "10.2.0.1", 6, 80, 4},
		{"10.1.0.1", "10.2.0.1", 6, 443, 5},
		{"10.1.0.1", "10.3.0.1", 6, 443, 7}, // priority, then order
		{"192.0.2.1", "10.2.0.1", 6, 443, 0},
		{"2001:db8::1", "2001:db8::2", 6, 443, 0},
		{"10.1.0.1", "2001:db8::2", 6, 443, 0},
		{"2001:db8::1", "10.2.0.1", 6, 443, 0},
	} {
		p := Packet{Src: netip.MustParseAddr(c.src), Dst: netip.MustParseAddr(c.dst), Protocol: c.proto, SrcPort: 1, DstPort: c.port, HasPorts: true}
		got, ok := table.Lookup(&p)
		if got != c.want || ok != (c.want != 0) {
			t.Errorf("%v -> %v proto %d port %d: entry %d, %v; want %d", c.src, c.dst, c.proto, c.port, got, ok, c.want)
		}
	}
	if _, ok := NewTable[int](nil).Lookup(&Packet{}); ok {
		t.Error("an empty table finds a policy for the zero packet")
	}
}

// thousands returns a table as a hub has it: a remote network each, one default route, and as many local hosts that
// share one remote network.
func thousands(n int) *Table[int] {
	var entries []Entry[int]
	all := FromPrefix(netip.MustParsePrefix("0.0.0.0/0"))
	shared := FromPrefix(netip.MustParsePrefix("192.168.0.0/16"))
	for i := range n {
		a := netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0})
		network := FromPrefix(netip.PrefixFrom(a, 24))
		entries = append(entries,
			Entry[int]{Local: []Selector{all}, Remote: []Selector{network}, Value: i},
			Entry[int]{Local: []Selector{network}, Remote: []Selector{shared}, Value: n + i})
	}
	return NewTable(append(entries, Entry[int]{Local: []Selector{all}, Remote: []Selector{all}, Value: -1}))
}

func TestTableThousands(t *testing.T) {
	const n = 5000
	table := thousands(n)
	type lookup struct {
		p    Packet
		want int
	}
	var packets []lookup
	for _, i := range []int{0, 1, 255, 256, 2500, n - 1} {
		a := netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 77})
		shared := netip.MustParseAddr("192.168.3.3")
		packets = append(packets,
			lookup{Packet{Src: shared, Dst: a}, i},
			lookup{Packet{Src: a, Dst: shared}, n + i})
	}
	for _, c := range packets {
		if got, ok := table.Lookup(&c.p); !ok || got != c.want {
			t.Errorf("%v -> %v: %d, %v; want %d", c.p.Src, c.p.Dst, got, ok, c.want)
		}
	}
	// However many entries there are, a lookup has few rules to try.
	most := 0
	for _, c := range packets {
		tried := 0
		for _, g := range held(table.v4, key(c.p.Dst)) {
			tried += 1 + len(held(g.locals, key(c.p.Src)))
			if g.only != nil {
				tried++
			}
		}
		most = max(most, tried)
	}
	if most > 4 {
		t.Errorf("a lookup meets up to %d groups and rules, want 4", most)
	}
	if raceEnabled {
		t.Skip("allocations are not counted under the race detector")
	}
	if n := testing.AllocsPerRun(100, func() {
		for i := range packets {
			table.Lookup(&packets[i].p)
		}
	}); n != 0 {
		t.Errorf("Lookup allocates %v times", n)
	}
}

func BenchmarkLookup(b *testing.B) {
	table := thousands(5000)
	p := Packet{Src: netip.MustParseAddr("192.168.3.3"), Dst: netip.MustParseAddr("10.7.9.1"), Protocol: 6, HasPorts: true}
	b.ReportAllocs()
	for b.Loop() {
		table.Lookup(&p)
	}
}

func BenchmarkNewTable(b *testing.B) {
	for b.Loop() {
		thousands(2500)
	}
}

func TestNumbers(t *testing.T) {
	top := u128{1<<64 - 1, 1<<64 - 1}
	one := u128{lo: 1}
	for _, c := range []struct {
		name      string
		got, want any
	}{
		{"carry", u128{0, 1<<64 - 1}.add(one), u128{1, 0}},
		{"borrow", u128{1, 0}.sub(one), u128{0, 1<<64 - 1}},
		{"wrap", top.add(one), u128{}},
		{"mask 0", hostMask(0), u128{}},
		{"mask 64", hostMask(64), u128{0, 1<<64 - 1}},
		{"mask 65", hostMask(65), u128{1, 1<<64 - 1}},
		{"mask 128", hostMask(128), top},
		{"zeros of 0", u128{}.trailingZeros(), 128},
		{"zeros of 2^64", u128{1, 0}.trailingZeros(), 64},
		{"compare", cmp.Compare(u128{1, 0}.compare(u128{0, 5}), 0), 1},
	} {
		if c.got != c.want {
			t.Errorf("%s: %v, want %v", c.name, c.got, c.want)
		}
	}
}

// Rules come in the order in which Lookup prefers them.
func TestRules(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	prefix := func() Selector {
		s := FromPrefix(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(r.IntN(3)), byte(r.IntN(3))}), []int{0, 8, 16, 24}[r.IntN(4)]))
		if r.IntN(3) == 0 {
			s.Protocol = protoTCP
		}
		return s
	}
	for range 200 {
		entries := make([]Entry[int], 1+r.IntN(8))
		for i := range entries {
			entries[i] = Entry[int]{Local: []Selector{prefix(), prefix()}, Remote: []Selector{prefix()}, Priority: r.IntN(2), Value: i}
		}
		table := NewTable(entries)
		for range 20 {
			p := Packet{Src: netip.AddrFrom4([4]byte{10, byte(r.IntN(3)), byte(r.IntN(3)), 1}), Dst: netip.AddrFrom4([4]byte{10, byte(r.IntN(3)), byte(r.IntN(3)), 1}), Protocol: protoTCP}
			want, ok := table.Lookup(&p)
			first, found := 0, false
			for rule := range table.Rules() {
				if Match([]Selector{rule.Local}, []Selector{rule.Remote}, p, true) {
					first, found = rule.Value, true
					break
				}
			}
			if ok != found || ok && first != want {
				t.Fatalf("%v: the first rule is of %d (%v), Lookup finds %d (%v)\n%v", p, first, found, want, ok, entries)
			}
		}
	}
}

// held is all that is held on the way to an address.
func held[E any](n *trie[[]E], k u128) (list []E) {
	for ; n != nil && n.covers(k); n = n.kids[k.bit(min(n.bits, 127))] {
		list = append(list, n.value...)
	}
	return list
}

// A table that came about by changes finds what one that was built finds, and the tables on the way do not change.
func TestTableChanges(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 9))
	selector := func() Selector {
		a, b := randomAddr(r, false), randomAddr(r, false)
		if b.Less(a) {
			a, b = b, a
		}
		return Selector{Start: a, End: b, EndPort: anyEnd}
	}
	table := &Table[int]{}
	var entries []Entry[int]
	check := func(table *Table[int], entries []Entry[int]) {
		for range 10 {
			p := Packet{Src: randomAddr(r, false), Dst: randomAddr(r, false), Protocol: protoTCP}
			want, found := slowLookup(entries, p)
			if got, ok := table.Lookup(&p); ok != found || got != want {
				t.Fatalf("%v -> %v: %d (%v), want %d (%v)", p.Src, p.Dst, got, ok, want, found)
			}
		}
	}
	for n := range 1000 {
		before, were := table, slices.Clone(entries)
		if len(entries) > 20 || len(entries) > 0 && r.IntN(3) == 0 {
			i := r.IntN(len(entries))
			table = table.Without(entries[i])
			entries = slices.Delete(entries, i, i+1)
		} else {
			e := Entry[int]{Local: []Selector{selector(), selector()}, Remote: []Selector{selector(), selector()}, Priority: r.IntN(2), Order: int64(n), Value: n}
			table = table.With(e)
			entries = append(entries, e)
		}
		check(table, entries)
		check(before, were)
	}
	for _, e := range entries {
		table = table.Without(e)
	}
	if table.v4 != nil || table.v6 != nil {
		t.Error("something is left of a table without entries")
	}
}

// Where addresses alone decide, other protocols and ports change nothing; and that is told of every table where they do, whatever was in it
// before.
func TestByAddress(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 1))
	byAddress := 0
	for range 500 {
		entries, table := randomEntries(r, 1+r.IntN(3)), &Table[int]{}
		for i := range entries {
			e := &entries[i]
			e.Order = int64(i)
			e.Local, e.Remote = validOnly(e.Local), validOnly(e.Remote)
			if r.IntN(2) == 0 {
				for _, list := range [][]Selector{e.Local, e.Remote} {
					for k := range list {
						list[k].Protocol, list[k].StartPort, list[k].EndPort = 0, anyStart, anyEnd
					}
				}
			}
			table = table.With(*e)
		}
		for i := range entries {
			if r.IntN(3) == 0 {
				table = table.Without(entries[i])
			}
		}
		if !table.ByAddress() {
			continue
		}
		byAddress++
		for range 20 {
			p := randomPacket(r)
			other := randomPacket(r)
			other.Src, other.Dst = p.Src, p.Dst
			a, foundA := table.Lookup(&p)
			b, foundB := table.Lookup(&other)
			if a != b || foundA != foundB {
				t.Fatalf("%+v: %d (%v), but %+v: %d (%v)", p, a, foundA, other, b, foundB)
			}
		}
	}
	if byAddress < 50 || byAddress > 450 {
		t.Errorf("%d tables of 500", byAddress)
	}
}

// Selectors of one entry that are equally specific do not take the place of each other: other ports, other protocols, other addresses.
func TestTableEqualRules(t *testing.T) {
	local := mustSels(t, "10.0.0.1-10.0.0.9", "10.0.0.2-10.0.0.10")
	remote := mustSels(t, "10.2.0.0/16[tcp/80]", "10.2.0.0/16[tcp/443]", "10.2.0.0/16[udp/80]")
	e := Entry[int]{Local: local, Remote: remote, Value: 1}
	table := (&Table[int]{}).With(e)
	for _, c := range []struct {
		src   string
		proto uint8
		port  uint16
		ok    bool
	}{
		{"10.0.0.1", protoTCP, 80, true}, {"10.0.0.10", protoTCP, 80, true}, {"10.0.0.1", protoTCP, 443, true}, {"10.0.0.10", protoTCP, 443, true},
		{"10.0.0.5", 17, 80, true}, {"10.0.0.5", 17, 443, false}, {"10.0.0.11", protoTCP, 80, false},
	} {
		p := Packet{Src: netip.MustParseAddr(c.src), Dst: netip.MustParseAddr("10.2.3.4"), Protocol: c.proto, SrcPort: 1, DstPort: c.port, HasPorts: true}
		if _, ok := table.Lookup(&p); ok != c.ok {
			t.Errorf("%v proto %d port %d: %v", c.src, c.proto, c.port, ok)
		}
	}
	if rules := slices.Collect(table.Rules()); len(rules) != 6 {
		t.Errorf("%d rules, want 6", len(rules))
	}
	if table.ByAddress() {
		t.Error("by addresses alone")
	}
	if table = table.Without(e); table.v4 != nil || !table.ByAddress() {
		t.Error("something is left")
	}
}
