//go:build !race

// The race detector allocates.

package ident

import "testing"

func TestMatchDoesNotAllocate(t *testing.T) {
	for _, tt := range []struct{ pattern, id string }{
		{"@foo", "@FOO"}, {"*.example.com", "@a.example.com"}, {"10.0.0.0/8", "10.1.2.3"}, {"2001:db8::/32", "2001:db8::1"},
	} {
		p, id := mustPattern(t, tt.pattern), mustParse(t, tt.id)
		if n := testing.AllocsPerRun(100, func() { p.Match(id) }); n != 0 {
			t.Errorf("%v.Match(%v) allocates %v times", p, id, n)
		}
	}
}
