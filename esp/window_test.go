package esp

import (
	"math"
	"math/rand/v2"
	"testing"
)

// slowWindow is the window as RFC 4303 3.4.3 describes it, with a set of all numbers ever received.
type slowWindow struct {
	size, top uint64
	seen      map[uint64]bool
}

func (s *slowWindow) check(seq uint64) Drop {
	switch {
	case seq == 0 || seq <= s.top && s.top-seq >= s.size:
		return ErrOld
	case s.seen[seq]:
		return ErrReplay
	}
	return 0
}

func (s *slowWindow) mark(seq uint64) (bool, Drop) {
	if d := s.check(seq); d != 0 {
		return false, d
	}
	s.seen[seq] = true
	newest := seq > s.top
	s.top = max(s.top, seq)
	return newest, 0
}

// Cases: BUG-17.
func TestWindowIsTheSlowModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, size := range []int{32, 33, 63, 64, 65, 100, 128, 1000, 1024, 4095, 4096} {
		w := newWindow(size)
		slow := slowWindow{size: uint64(size), seen: map[uint64]bool{}}
		for range 20000 {
			seq := w.top
			switch rng.IntN(8) {
			case 0, 1, 2, 3: // near the top
				seq += rng.Uint64N(8)
				seq -= min(seq, 4)
			case 4, 5: // anywhere in the window and a little beyond
				seq += 5
				seq -= min(seq, rng.Uint64N(uint64(size)+10))
			case 6: // at the left edge
				seq -= min(seq, uint64(size)-2+rng.Uint64N(4))
			case 7: // a jump, seldom a large one
				seq += rng.Uint64N(uint64(size) * 3 / 2)
				if rng.IntN(20) == 0 {
					seq += rng.Uint64N(1 << 33)
				}
			}
			if got, want := w.check(seq), slow.check(seq); got != want {
				t.Fatalf("size %d top %d: check(%d) = %v, want %v", size, w.top, seq, got, want)
			}
			if rng.IntN(4) == 0 { // a packet that does not authenticate is never marked
				continue
			}
			newest, drop := w.mark(seq)
			wantNewest, wantDrop := slow.mark(seq)
			if newest != wantNewest || drop != wantDrop || w.top != slow.top {
				t.Fatalf("size %d: mark(%d) = %v, %v, top %d; want %v, %v, top %d",
					size, seq, newest, drop, w.top, wantNewest, wantDrop, slow.top)
			}
		}
	}
}

// Cases: BUG-17; add_notify.
func TestWindowEdges(t *testing.T) {
	const size = 64
	type step struct {
		seq    uint64
		drop   Drop
		newest bool
	}
	for _, test := range []struct {
		name  string
		steps []step
	}{
		{"zero is never a number", []step{{0, ErrOld, false}, {1, 0, true}, {0, ErrOld, false}}},
		{"both edges", []step{
			{1000, 0, true}, {1000, ErrReplay, false},
			{1000 - size + 1, 0, false}, {1000 - size + 1, ErrReplay, false},
			{1000 - size, ErrOld, false}, {1000 - size - 1, ErrOld, false}, {1, ErrOld, false},
		}},
		{"left edge while the window reaches back before 1", []step{
			{size, 0, true}, {1, 0, false}, {1, ErrReplay, false}, {size + 1, 0, true}, {1, ErrOld, false}, {2, 0, false},
		}},
		{"jump of 2^31", []step{
			{5, 0, true}, {5 + 1<<31, 0, true}, {5, ErrOld, false}, {4 + 1<<31, 0, false}, {5 + 1<<31, ErrReplay, false},
		}},
		{"jump by the whole ring leaves no stale bits", []step{
			{1, 0, true}, {2, 0, true}, {2 + 128, 0, true}, {1 + 128, 0, false}, {67, 0, false}, {66, ErrOld, false},
		}},
		{"the end of 64 bits", []step{
			{math.MaxUint64 - 1, 0, true}, {math.MaxUint64, 0, true}, {math.MaxUint64, ErrReplay, false},
			{math.MaxUint64 - size + 1, 0, false}, {math.MaxUint64 - size, ErrOld, false},
		}},
	} {
		w := newWindow(size)
		for k, s := range test.steps {
			if newest, drop := w.mark(s.seq); newest != s.newest || drop != s.drop {
				t.Errorf("%s, step %d: mark(%d) = %v, %v; want %v, %v", test.name, k, s.seq, newest, drop, s.newest, s.drop)
			}
		}
	}
}

// Cases: ikev2-algo-esn-09-replay-zero.
func TestWindowSizes(t *testing.T) {
	for asked, want := range map[int]uint64{
		0: DefaultWindow, -1: MinWindow, 1: MinWindow, 32: 32, 33: 33, 1024: 1024, 4096: 4096, 5000: MaxWindow,
	} {
		w := newWindow(asked)
		if w.size != want {
			t.Errorf("newWindow(%d) holds %d, want %d", asked, w.size, want)
		}
		if n := len(w.ring); n&(n-1) != 0 || uint64(n-1)*wordBits < w.size {
			t.Errorf("newWindow(%d) has a ring of %d words", asked, n)
		}
	}
}

// seqhRFC is the pseudocode of RFC 4303 A2.3, for a window that does not reach back before the beginning.
func seqhRFC(top uint64, w, seql uint32) uint32 {
	tl, th := uint32(top), uint32(top>>32)
	if tl >= w-1 { // Case A
		if seql >= tl-w+1 {
			return th
		}
		return th + 1
	}
	if seql >= tl-w+1 { // Case B
		return th - 1
	}
	return th
}

// Cases: BUG-19.
func TestExtendIsTheRFC(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 200000 {
		w := newWindow(32 + rng.IntN(4065))
		w.top = rng.Uint64() >> rng.IntN(40)
		if rng.IntN(2) == 0 { // near the end of a subspace
			w.top = w.top&^math.MaxUint32 + rng.Uint64N(10000) - 5000
		}
		if w.top < w.size || w.top>>32 == math.MaxUint32 {
			continue
		}
		low := rng.Uint32()
		if rng.IntN(2) == 0 { // near the window's edges
			low = uint32(w.top) + uint32(rng.IntN(10)) - 5
			if rng.IntN(2) == 0 {
				low -= uint32(w.size)
			}
		}
		want := uint64(seqhRFC(w.top, uint32(w.size), low))<<32 | uint64(low)
		if got := w.extend(low); got != want {
			t.Fatalf("top %#x size %d: extend(%#x) = %#x, want %#x", w.top, w.size, low, got, want)
		}
	}
}

func TestExtendAtTheEnds(t *testing.T) {
	for _, test := range []struct {
		top  uint64
		low  uint32
		want uint64
	}{
		{0, 1, 1},
		{0, math.MaxUint32, math.MaxUint32}, // there is no subspace before the first
		{5, math.MaxUint32, math.MaxUint32},
		{1022, 0, 0},
		{1023, 0, 0},
		{1024, 0, 1 << 32}, // 0 has left the window
		{math.MaxUint32, 0, 1 << 32},
		{math.MaxUint32, 7, 1<<32 + 7},
		{1 << 32, math.MaxUint32, math.MaxUint32},
		{math.MaxUint64 - 1, math.MaxUint32, math.MaxUint64},
		{math.MaxUint64, 7, math.MaxUint64 - math.MaxUint32 + 7}, // not 7: nothing follows the last subspace
	} {
		w := newWindow(1024)
		w.top = test.top
		if got := w.extend(test.low); got != test.want {
			t.Errorf("top %#x: extend(%#x) = %#x, want %#x", test.top, test.low, got, test.want)
		}
	}
}
