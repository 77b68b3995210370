package prefetch_test

import (
	"testing"

	"github.com/culvert-vpn/culvert/internal/prefetch"
)

// TestNothingHappens asks for memory of every length, and for none: nothing changes, and nothing is out of reach, for what is asked for
// beyond the end of a page is not an access.
func TestNothingHappens(t *testing.T) {
	prefetch.Value[int](nil)
	prefetch.Slice[byte](nil, 10)
	b := make([]byte, 4096)
	for i := range b {
		b[i] = byte(i)
	}
	for n := range len(b) + 100 {
		prefetch.Slice(b, n)
		prefetch.Slice(b[len(b)-1:], n)
	}
	v := [3][100]byte{{1}, {2}, {3}}
	prefetch.Value(&v)
	for i := range b {
		if b[i] != byte(i) {
			t.Fatal("memory has changed")
		}
	}
	if v[0][0] != 1 || v[2][0] != 3 {
		t.Fatal("a value has changed")
	}
	if n := testing.AllocsPerRun(100, func() { prefetch.Value(&v); prefetch.Slice(b, 100) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
