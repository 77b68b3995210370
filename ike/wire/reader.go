package wire

import "encoding/binary"

// reader hands out the bytes of a message in order and is the only place that checks bounds. It never reads
// past its end: the first attempt is remembered as a SyntaxError, and from then on it, and every reader taken
// from it or that it was taken from, is empty and returns zeros. So a parser is written without a check after
// each field, its loops end, and the error is asked for once.
type reader struct {
	b     []byte   // not read yet
	off   int      // of b in what is parsed
	fault *failure // shared with the readers taken from this one
}

type failure struct {
	payload PayloadType // being parsed
	err     *SyntaxError
}

// newReader reads b; off is added to the offsets in errors.
func newReader(b []byte, off int) reader {
	return reader{b: b, off: off, fault: new(failure)}
}

// fail records the first error, at the place reached.
func (r *reader) fail(reason string) {
	if r.fault.err == nil {
		r.fault.err = &SyntaxError{Payload: r.fault.payload, Offset: r.off, Reason: reason}
	}
}

func (r *reader) failed() bool { return r.fault.err != nil }

func (r *reader) err() error {
	if r.failed() {
		return r.fault.err // not a nil pointer in an error
	}
	return nil
}

// left is the number of bytes not read yet, 0 after an error.
func (r *reader) left() int {
	if r.failed() {
		return 0
	}
	return len(r.b)
}

// take returns the next n bytes, borrowed, without room to append; nil if n is 0 or after an error.
func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.fail("cut short")
	}
	if r.failed() || n == 0 {
		return nil
	}
	b := r.b[:n:n]
	r.b, r.off = r.b[n:], r.off+n
	return b
}

// sub returns a reader of the next n bytes.
func (r *reader) sub(n int) reader {
	off := r.off
	return reader{b: r.take(n), off: off, fault: r.fault}
}

// rest returns all that is left.
func (r *reader) rest() []byte { return r.take(r.left()) }

// skip passes over reserved bytes.
func (r *reader) skip(n int) { r.take(n) }

// end fails unless all was read.
func (r *reader) end(reason string) {
	if r.left() != 0 {
		r.fail(reason)
	}
}

func (r *reader) u8() uint8 {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) u16() uint16 {
	if b := r.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *reader) u32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}
