package esp

// Sizes of the replay window in packets. RFC 4303 3.4.3 demands 32, prefers 64, and wants more for fast links:
// the default leaves room for whole trains of 64 packets to overtake each other.
const (
	MinWindow     = 32
	MaxWindow     = 4096
	DefaultWindow = 1024
)

const wordBits = 64

// window remembers which of the last size sequence numbers up to top were received. It is the ring of
// RFC 6479: a number's bit stands at a place that depends only on the number, and sliding means clearing
// whole words. There is at least one word more than size needs, so that a word is never half of the window's
// right end and half of its left.
type window struct {
	size uint64
	top  uint64   // the highest number marked; 0: none
	ring []uint64 // a power of two words
}

// newWindow makes a window of size numbers, brought into MinWindow..MaxWindow; 0 means DefaultWindow.
func newWindow(size int) window {
	if size == 0 {
		size = DefaultWindow
	}
	size = min(max(size, MinWindow), MaxWindow)
	words := 1
	for words < (size+wordBits-1)/wordBits+1 {
		words *= 2
	}
	return window{size: uint64(size), ring: make([]uint64, words)}
}

// bottom is the lowest number the window still holds. Numbers begin at 1, so 0 stands for a window that
// reaches back before the beginning.
func (w *window) bottom() uint64 {
	if w.top < w.size {
		return 0
	}
	return w.top - w.size + 1
}

// extend finds the 64-bit number behind the 32 bits of a packet: the only one of the 2^32 numbers from the
// window's bottom upward that ends in them. These are the cases A and B of RFC 4303 A2.2 in one expression.
// Where that would be beyond 2^64 the result is the number below the window which ends in them.
func (w *window) extend(low uint32) uint64 {
	bottom := w.bottom()
	seq := bottom + uint64(low-uint32(bottom))
	if seq < bottom { // it wrapped
		seq -= 1 << 32
	}
	return seq
}

// check says whether seq may still be received: 0, ErrOld or ErrReplay. It changes nothing.
func (w *window) check(seq uint64) Drop {
	switch {
	case seq > w.top:
		return 0
	case seq == 0 || w.top-seq >= w.size:
		return ErrOld
	case w.ring[w.word(seq)]&bit(seq) != 0:
		return ErrReplay
	}
	return 0
}

// mark records that seq was received and authenticated. It checks once more, because others may have marked
// since; newest says that seq lies right of all numbers before it.
func (w *window) mark(seq uint64) (newest bool, drop Drop) {
	if drop = w.check(seq); drop != 0 {
		return false, drop
	}
	if seq > w.top {
		w.slide(seq)
		newest = true
	}
	w.ring[w.word(seq)] |= bit(seq)
	return newest, 0
}

// slide moves the right edge to seq and clears the words it enters.
func (w *window) slide(seq uint64) {
	from, to := w.top/wordBits, seq/wordBits
	if to-from >= uint64(len(w.ring)) {
		clear(w.ring)
	} else {
		for n := from + 1; n <= to; n++ {
			w.ring[n&uint64(len(w.ring)-1)] = 0
		}
	}
	w.top = seq
}

func (w *window) word(seq uint64) uint64 { return seq / wordBits & uint64(len(w.ring)-1) }

func bit(seq uint64) uint64 { return 1 << (seq % wordBits) }
