package ts

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
)

func mustSel(t testing.TB, text string) Selector {
	t.Helper()
	spec, err := ParseSpec(text)
	if err != nil {
		t.Fatal(err)
	}
	return spec.Sel
}

func mustSels(t testing.TB, texts ...string) []Selector {
	t.Helper()
	var out []Selector
	for _, text := range texts {
		out = append(out, mustSel(t, text))
	}
	return out
}

// sample is one point of the space that selectors cut out. port is -1 if it cannot be seen.
type sample struct {
	addr  netip.Addr
	proto uint8
	port  int
}

// selects is the slow model: one point, one selector, as RFC 4301 4.4.1 puts it.
func selects(s Selector, p sample) bool {
	if s.Start.BitLen() != p.addr.BitLen() || p.addr.Less(s.Start) || s.End.Less(p.addr) {
		return false
	}
	if s.Protocol != 0 && s.Protocol != p.proto {
		return false
	}
	if s.StartPort == 0 && s.EndPort == 65535 {
		return true
	}
	if s.StartPort == 65535 && s.EndPort == 0 {
		return p.port == -1
	}
	return int(s.StartPort) <= p.port && p.port <= int(s.EndPort)
}

// samples returns points at and beside every end of the selectors, which decide how the selectors relate.
func samples(sels ...Selector) []sample {
	var out []sample
	var addrs []netip.Addr
	ports := []int{-1, 0, 65535}
	for _, s := range sels {
		addrs = append(addrs, s.Start, s.End, s.Start.Prev(), s.End.Next())
		for _, p := range []int{int(s.StartPort), int(s.EndPort)} {
			ports = append(ports, max(p-1, 0), p, min(p+1, 65535))
		}
	}
	for _, a := range addrs {
		for _, proto := range []uint8{1, 6, 17, 99} {
			for _, port := range ports {
				if a.IsValid() {
					out = append(out, sample{a, proto, port})
				}
			}
		}
	}
	return out
}

func randomSelector(r *rand.Rand) Selector {
	s := Selector{Protocol: []uint8{0, 0, 1, 6, 17}[r.IntN(5)]}
	lo, hi := byte(r.IntN(16)), byte(r.IntN(16))
	lo, hi = min(lo, hi), max(lo, hi)
	if r.IntN(4) == 0 {
		s.Start, s.End = netip.AddrFrom16([16]byte{15: lo}), netip.AddrFrom16([16]byte{15: hi})
	} else {
		s.Start, s.End = netip.AddrFrom4([4]byte{10, 0, 0, lo}), netip.AddrFrom4([4]byte{10, 0, 0, hi})
	}
	switch r.IntN(4) {
	case 0:
		s.StartPort, s.EndPort = 65535, 0
	case 1:
		a, b := uint16(r.IntN(8)), uint16(r.IntN(8))
		s.StartPort, s.EndPort = min(a, b), max(a, b)
		if r.IntN(4) == 0 {
			s.EndPort = 65535
		}
	default:
		s.EndPort = 65535
	}
	return s
}

func TestContainsAndIntersectAgainstModel(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var contains, meets int
	for range 5000 {
		a, b := randomSelector(r), randomSelector(r)
		both, ok := a.Intersect(b)
		wantContains, wantMeet := true, false
		for _, p := range samples(a, b) {
			inA, inB := selects(a, p), selects(b, p)
			wantContains = wantContains && (inA || !inB)
			wantMeet = wantMeet || inA && inB
			if got := ok && selects(both, p); got != (inA && inB) {
				t.Fatalf("%v and %v give %v, %v: wrong at %v", a, b, both, ok, p)
			}
		}
		if got := a.Contains(b); got != wantContains {
			t.Fatalf("%v contains %v: %v, want %v", a, b, got, wantContains)
		}
		if ok != wantMeet {
			t.Fatalf("%v meets %v: %v, want %v", a, b, ok, wantMeet)
		}
		if ok && (both.Valid() != nil || !a.Contains(both) || !b.Contains(both)) {
			t.Fatalf("%v and %v give %v", a, b, both)
		}
		if wantContains {
			contains++
		}
		if wantMeet {
			meets++
		}
	}
	if contains < 100 || meets < 500 {
		t.Fatalf("the random selectors say too little: %d contain, %d meet", contains, meets)
	}
}

func TestValid(t *testing.T) {
	a4, b4 := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	a6, b6 := netip.MustParseAddr("fe80::1"), netip.MustParseAddr("fe80::2")
	for _, c := range []struct {
		name string
		s    Selector
		want error
	}{
		{"zero", Selector{}, ErrAddresses},
		{"v4", Selector{Start: a4, End: b4, EndPort: 65535}, nil},
		{"v6", Selector{Start: a6, End: b6, EndPort: 65535}, nil},
		{"one host", Selector{Start: a4, End: a4, EndPort: 65535}, nil},
		{"backwards", Selector{Start: b4, End: a4, EndPort: 65535}, ErrAddresses},
		{"mixed", Selector{Start: a4, End: a6, EndPort: 65535}, ErrAddresses},
		{"zone", Selector{Start: a6.WithZone("x"), End: b6.WithZone("x"), EndPort: 65535}, ErrAddresses},
		{"half", Selector{Start: a4, EndPort: 65535}, ErrAddresses},
		{"one port", Selector{Start: a4, End: a4, StartPort: 80, EndPort: 80}, nil},
		{"opaque", Selector{Start: a4, End: a4, StartPort: 65535, EndPort: 0}, nil},
		{"ports backwards", Selector{Start: a4, End: a4, StartPort: 65535, EndPort: 1}, ErrPorts},
		{"invalid prefix", FromPrefix(netip.Prefix{}), ErrAddresses},
	} {
		if got := c.s.Valid(); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestFromPrefixAndPrefixes(t *testing.T) {
	for _, c := range []struct {
		sel  string
		want []string
	}{
		{"0.0.0.0/0", []string{"0.0.0.0/0"}},
		{"::/0", []string{"::/0"}},
		{"10.1.0.0/16", []string{"10.1.0.0/16"}},
		{"10.1.2.3", []string{"10.1.2.3/32"}},
		{"255.255.255.255", []string{"255.255.255.255/32"}},
		{"10.0.0.1-10.0.0.6", []string{"10.0.0.1/32", "10.0.0.2/31", "10.0.0.4/31", "10.0.0.6/32"}},
		{"192.0.2.0-192.0.3.255", []string{"192.0.2.0/23"}},
		{"192.0.1.0-192.0.2.255", []string{"192.0.1.0/24", "192.0.2.0/24"}},
		{"255.255.255.254-255.255.255.255", []string{"255.255.255.254/31"}},
		{"2001:db8::-2001:db8::2", []string{"2001:db8::/127", "2001:db8::2/128"}},
		{"::-8000::", []string{"::/1", "8000::/128"}},
		{"::1-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", nil}, // 128 of them, counted below
	} {
		s := mustSel(t, c.sel)
		got := s.Prefixes()
		if c.want == nil {
			if len(got) != 128 {
				t.Errorf("%s: %d prefixes, want 128", c.sel, len(got))
			}
			continue
		}
		var text []string
		for _, p := range got {
			text = append(text, p.String())
		}
		if !slices.Equal(text, c.want) {
			t.Errorf("%s: %v, want %v", c.sel, text, c.want)
		}
		if len(got) == 1 && FromPrefix(got[0]) != s {
			t.Errorf("FromPrefix(%v) = %v, want %v", got[0], FromPrefix(got[0]), s)
		}
	}
	if got := (Selector{}).Prefixes(); got != nil {
		t.Errorf("the zero selector has prefixes %v", got)
	}
	widest := mustSel(t, "0.0.0.1-255.255.255.254").Prefixes()
	if len(widest) != 62 {
		t.Errorf("the worst IPv4 range takes %d prefixes, want 62", len(widest))
	}
}

// The prefixes join without gap or overlap, and no two neighbours could be one.
func TestPrefixesExactAndMinimal(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 2000 {
		var a, b [16]byte
		for i := range a {
			a[i], b[i] = byte(r.Uint32()), byte(r.Uint32())
		}
		keep := r.IntN(17)
		copy(b[:keep], a[:keep])
		s := Selector{Start: netip.AddrFrom16(a), End: netip.AddrFrom16(b), EndPort: 65535}
		if r.IntN(2) == 0 {
			s.Start, s.End = netip.AddrFrom4([4]byte(a[12:])), netip.AddrFrom4([4]byte(b[12:]))
		}
		if s.End.Less(s.Start) {
			s.Start, s.End = s.End, s.Start
		}
		at := s.Start
		var last netip.Prefix
		for _, p := range s.Prefixes() {
			if p != p.Masked() || p.Addr() != at {
				t.Fatalf("%v: %v does not begin at %v", s, p, at)
			}
			if last.IsValid() && last.Bits() == p.Bits() && p.Bits() > 0 {
				if up := netip.PrefixFrom(last.Addr(), last.Bits()-1); up.Masked() == up && up.Contains(p.Addr()) {
					t.Fatalf("%v: %v and %v could be one", s, last, p)
				}
			}
			last = p
			at = FromPrefix(p).End.Next()
		}
		if at != s.End.Next() {
			t.Fatalf("%v: prefixes end before %v", s, at)
		}
	}
}
