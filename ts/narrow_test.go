package ts

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
)

func TestNarrow(t *testing.T) {
	for _, c := range []struct {
		name                  string
		offered, policy, want []string
	}{
		{"same", []string{"10.0.0.0/8"}, []string{"10.0.0.0/8"}, []string{"10.0.0.0/8"}},
		{"nothing in common", []string{"10.0.0.0/8"}, []string{"192.168.0.0/16"}, nil},
		{"no policy", []string{"10.0.0.0/8"}, nil, nil},
		{"policy is narrower", []string{"0.0.0.0/0"}, []string{"10.1.0.0/16", "10.2.0.0/16"}, []string{"10.1.0.0/16", "10.2.0.0/16"}},
		{"offer is narrower", []string{"10.1.0.0/16"}, []string{"0.0.0.0/0"}, []string{"10.1.0.0/16"}},
		{"order of the offer", []string{"10.2.0.0/16", "10.1.0.0/16"}, []string{"10.1.0.0/16", "10.2.0.0/16"}, []string{"10.2.0.0/16", "10.1.0.0/16"}},
		{"families apart", []string{"0.0.0.0/0", "::/0"}, []string{"2001:db8::/32"}, []string{"2001:db8::/32"}},
		{"RFC 7296 2.9: whole", []string{"198.51.100.43[tcp/1234]", "198.51.100.0/24"}, []string{"198.51.100.0/24"}, []string{"198.51.100.0/24"}},
		{"RFC 7296 2.9: only the first choice", []string{"198.51.100.43[tcp/1234]", "198.51.100.0/24"}, []string{"198.51.100.43"}, []string{"198.51.100.43"}},
		{"first choice keeps its place", []string{"198.51.100.43[tcp/1234]", "10.0.0.0/8", "198.51.100.0/24"}, []string{"0.0.0.0/0"}, []string{"198.51.100.0/24", "10.0.0.0/8"}},
		{"first choice refused", []string{"198.51.100.43", "198.51.100.0/24"}, []string{"198.51.100.0/28"}, []string{"198.51.100.0/28"}},
		{"protocol and port", []string{"10.0.0.0/8[tcp]"}, []string{"10.1.0.0/16[/443]"}, []string{"10.1.0.0/16[tcp/443]"}},
		{"other protocol", []string{"10.0.0.0/8[tcp]"}, []string{"10.1.0.0/16[udp]"}, nil},
		{"opaque", []string{"10.0.0.0/8"}, []string{"10.1.0.0/16[tcp/opaque]"}, []string{"10.1.0.0/16[tcp/opaque]"}},
		{"opaque is no port", []string{"10.0.0.0/8[tcp/80]"}, []string{"10.1.0.0/16[tcp/opaque]"}, nil},
		{"duplicates", []string{"10.0.0.0/8", "10.0.0.0/8"}, []string{"10.0.0.0/8", "0.0.0.0/0"}, []string{"10.0.0.0/8"}},
	} {
		got := Narrow(mustSels(t, c.offered...), mustSels(t, c.policy...))
		if want := mustSels(t, c.want...); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", c.name, got, want)
		}
	}
}

func TestNarrowIgnoresInvalid(t *testing.T) {
	good, bad := mustSel(t, "10.0.0.0/8"), mustSel(t, "10.0.0.0/8")
	bad.Start, bad.End = bad.End, bad.Start
	for _, c := range [][2][]Selector{{{bad}, {good}}, {{good}, {bad}}, {{{}}, {good}}, {{good}, {{}}}} {
		if got := Narrow(c[0], c[1]); got != nil {
			t.Errorf("Narrow(%v, %v) = %v", c[0], c[1], got)
		}
	}
	if Subset([]Selector{bad}, []Selector{good}) || Subset([]Selector{good}, []Selector{bad}) {
		t.Error("an invalid selector is a subset")
	}
}

// Narrow selects exactly what both lists select, repeats nothing, and honours the first choice.
func TestNarrowAgainstModel(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	anyOf := func(list []Selector, p sample) bool {
		return slices.ContainsFunc(list, func(s Selector) bool { return selects(s, p) })
	}
	first := 0
	for range 1000 {
		var offered, policy []Selector
		for range 1 + r.IntN(4) {
			offered = append(offered, randomSelector(r))
		}
		for range 1 + r.IntN(4) {
			policy = append(policy, randomSelector(r))
		}
		got := Narrow(offered, policy)
		for _, p := range samples(append(slices.Clone(offered), policy...)...) {
			if anyOf(got, p) != (anyOf(offered, p) && anyOf(policy, p)) {
				t.Fatalf("Narrow(%v, %v) = %v: wrong at %v", offered, policy, got, p)
			}
		}
		for i, a := range got {
			for j, b := range got {
				if i != j && a.Contains(b) {
					t.Fatalf("Narrow(%v, %v) = %v: %v inside %v", offered, policy, got, b, a)
				}
			}
		}
		if !Subset(got, offered) || !Subset(got, policy) {
			t.Fatalf("Narrow(%v, %v) = %v is no subset", offered, policy, got)
		}
		if Subset(offered[:1], policy) {
			first++
			if !got[0].Contains(offered[0]) {
				t.Fatalf("Narrow(%v, %v) = %v does not begin with the first choice", offered, policy, got)
			}
		}
	}
	if first < 50 {
		t.Fatalf("the first choice was allowed only %d times", first)
	}
}

// The answer must fit one TS payload, however many pieces two hostile lists cut each other into.
func TestNarrowIsBounded(t *testing.T) {
	var offered, policy []Selector
	for i := range 255 {
		at := netip.AddrFrom4([4]byte{10, 0, byte(i), 0})
		offered = append(offered, Selector{Start: at, End: netip.AddrFrom4([4]byte{10, 0, byte(i), 255}), EndPort: 65535})
	}
	for port := range uint16(20) {
		s := mustSel(t, "10.0.0.0/8[tcp]")
		s.StartPort, s.EndPort = port, port
		policy = append(policy, s)
	}
	got := Narrow(offered, policy)
	if len(got) != MaxSelectors || !Subset(got, offered) || !Subset(got, policy) {
		t.Fatalf("%d selectors", len(got))
	}
}

func TestSubset(t *testing.T) {
	for _, c := range []struct {
		inner, outer []string
		want         bool
	}{
		{nil, nil, true},
		{nil, []string{"10.0.0.0/8"}, true},
		{[]string{"10.0.0.0/8"}, nil, false},
		{[]string{"10.1.0.0/16", "10.2.0.0/16"}, []string{"10.0.0.0/8"}, true},
		{[]string{"10.0.0.0/8"}, []string{"10.0.0.0/9", "10.128.0.0/9"}, false}, // not in one of them
		{[]string{"10.1.0.0/16[tcp/80]"}, []string{"10.0.0.0/8[tcp]"}, true},
		{[]string{"10.1.0.0/16[tcp]"}, []string{"10.0.0.0/8[tcp/80]"}, false},
		{[]string{"10.1.0.0/16[/opaque]"}, []string{"10.0.0.0/8"}, true},
		{[]string{"10.1.0.0/16"}, []string{"10.0.0.0/8[/opaque]"}, false},
	} {
		if got := Subset(mustSels(t, c.inner...), mustSels(t, c.outer...)); got != c.want {
			t.Errorf("Subset(%v, %v) = %v", c.inner, c.outer, got)
		}
	}
}

func TestResolve(t *testing.T) {
	var specs []Spec
	for _, text := range []string{"dynamic[gre]", "10.0.0.0/8", "dynamic", "10.0.0.0/8"} {
		s, err := ParseSpec(text)
		if err != nil {
			t.Fatal(err)
		}
		specs = append(specs, s)
	}
	a := netip.MustParseAddr("::ffff:192.0.2.1")
	b := netip.MustParseAddr("fe80::1%eth0")
	got := Resolve(specs, a, b)
	want := "[192.0.2.1/32[gre] fe80::1/128[gre] 10.0.0.0/8 192.0.2.1/32 fe80::1/128]"
	if fmt.Sprint(got) != want {
		t.Errorf("%v, want %v", got, want)
	}
	for _, s := range got {
		if err := s.Valid(); err != nil {
			t.Errorf("%v: %v", s, err)
		}
	}
	if got := Resolve(specs); fmt.Sprint(got) != "[10.0.0.0/8]" {
		t.Errorf("without an address: %v", got)
	}
}

// What Subtract leaves and what it takes away make up the whole: packet by packet, against a slow model.
func TestSubtract(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	span := func() Selector {
		a, b := byte(r.IntN(16)), byte(r.IntN(16))
		s := Selector{EndPort: anyEnd, Start: netip.AddrFrom4([4]byte{0, 0, 0, min(a, b)}), End: netip.AddrFrom4([4]byte{0, 0, 0, max(a, b)})}
		switch r.IntN(4) {
		case 0:
			s.Protocol = protoTCP
		case 1:
			s.Protocol, s.StartPort, s.EndPort = protoTCP, 80, 443
		}
		return s
	}
	for range 2000 {
		list, minus := []Selector{span(), span()}, []Selector{span(), span()}
		left := Subtract(list, minus)
		for addr := range byte(16) {
			a := FromAddr(netip.AddrFrom4([4]byte{0, 0, 0, addr}))
			for _, s := range list {
				at, ok := s.Intersect(a)
				if !ok {
					continue
				}
				taken := slices.ContainsFunc(minus, func(m Selector) bool { return m.Contains(at) })
				if kept := Subset([]Selector{at}, left); !taken && !kept {
					t.Fatalf("%v less %v is %v: %v is missing", list, minus, left, at)
				}
			}
			for _, l := range left {
				if at, ok := l.Intersect(a); ok && slices.ContainsFunc(minus, func(m Selector) bool { return m.Contains(at) }) {
					t.Fatalf("%v less %v is %v: %v is left", list, minus, left, at)
				}
			}
		}
	}
	all := FromPrefix(netip.MustParsePrefix("::/0"))
	if got := Subtract([]Selector{all}, []Selector{all}); len(got) != 0 {
		t.Errorf("nothing is %v", got)
	}
	if got := Subtract([]Selector{all}, []Selector{FromPrefix(netip.MustParsePrefix("8000::/1"))}); len(got) != 1 || got[0] != FromPrefix(netip.MustParsePrefix("::/1")) {
		t.Errorf("the lower half is %v", got)
	}
}
