package gcm

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// pair is a key for both implementations.
type pair struct {
	*AEAD
	library cipher.AEAD
}

func newPair(t testing.TB, by implementation, key []byte) pair {
	t.Helper()
	a := new(AEAD)
	if err := a.init(by, key); err != nil {
		t.Fatal(err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	library, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	return pair{a, library}
}

// each are the implementations that this CPU can run: what the best one needs is more than what the others need.
func each() (list []implementation) {
	for by := vaesAVX2; by <= best; by++ {
		list = append(list, by)
	}
	return list
}

// check seals text where it lies, and opens it again: crypto/cipher has the same ciphertext and tag. It leaves text as it was.
func (p pair) check(t testing.TB, text, aad []byte, salt uint32, iv uint64) {
	t.Helper()
	nonce := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(nil, salt), iv)
	plain := bytes.Clone(text)
	want := p.library.Seal(nil, nonce, text, aad)
	prepared := p.Additional(aad)
	for what, a := range map[string]Additional{"any": prepared, "ESP's": header(aad, prepared)} {
		copy(text, plain)
		tag := p.Seal(text, salt, iv, a)
		icv := make([]byte, 16)
		tag.Put(icv)
		if !bytes.Equal(text, want[:len(text)]) || !bytes.Equal(icv, want[len(text):]) {
			t.Fatalf("%d bytes, %s header of %d: %x and %x, want %x", len(text), what, len(aad), text, icv, want)
		}
		if opened := p.Open(text, salt, iv, a); opened != tag || !bytes.Equal(text, plain) {
			t.Fatalf("%d bytes, %s header of %d: opened to %x with the tag %x, want %x and %x", len(text), what, len(aad), text, opened, plain, tag)
		}
	}
}

// header prepares additional data as ESP does, if they have one of its lengths.
func header(aad []byte, otherwise Additional) Additional {
	switch len(aad) {
	case 8:
		return Header(binary.BigEndian.Uint32(aad), binary.BigEndian.Uint32(aad[4:]))
	case 12:
		return ExtendedHeader(binary.BigEndian.Uint32(aad), binary.BigEndian.Uint32(aad[4:]), binary.BigEndian.Uint32(aad[8:]))
	}
	return otherwise
}

// random is a source of randomness that is a function of its seed.
type random struct{ *rand.Rand }

func newRandom(seed uint64) random { return random{rand.New(rand.NewPCG(seed, 0))} }

func (r random) fill(b []byte) []byte {
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func (r random) bytes(n int) []byte { return r.fill(make([]byte, n)) }

func (r random) key() []byte { return r.bytes(16 + 8*r.IntN(3)) }

// aad is as long as a header of ESP, or any other.
func (r random) aad() []byte { return r.bytes([]int{8, 12, r.IntN(100)}[r.IntN(3)]) }

// Every length up to one and a half packets, at the end of readable memory and at its beginning, and every length of key.
func TestEveryLength(t *testing.T) {
	memory, r := fenced(t), newRandom(1)
	for _, by := range each() {
		for n := range min(2049, len(memory)) {
			for _, bits := range []int{128, 192, 256} {
				p := newPair(t, by, r.bytes(bits/8))
				for _, at := range []int{0, len(memory) - n} {
					r.fill(memory)
					before := bytes.Clone(memory)
					p.check(t, memory[at:at+n], r.aad(), r.Uint32(), r.Uint64())
					if !bytes.Equal(memory, before) {
						t.Fatalf("%s, %d bytes at %d: others were changed", by, n, at)
					}
				}
			}
		}
	}
}

// Texts of many groups, whose ends are at every place of a group.
func TestLong(t *testing.T) {
	r := newRandom(2)
	for _, by := range each() {
		p := newPair(t, by, r.key())
		for n := 4000; n < 1<<16; n += 1 + r.IntN(1400) {
			p.check(t, r.bytes(n), r.aad(), r.Uint32(), r.Uint64())
		}
		p.check(t, r.bytes(1<<16), r.aad(), r.Uint32(), r.Uint64())
		p.check(t, r.bytes(3<<20+5), r.aad(), r.Uint32(), r.Uint64())
	}
}

// Values with all bits set and with none, where a carry would be lost: keys whose H has its highest bit, counters at their end.
func TestExtremes(t *testing.T) {
	for _, fill := range []byte{0, 0xff, 0x80, 1} {
		some := func(n int) []byte { return bytes.Repeat([]byte{fill}, n) }
		for _, size := range []int{16, 24, 32} {
			for _, by := range each() {
				p := newPair(t, by, some(size))
				for _, n := range []int{0, 1, 15, 16, 17, 64, 255, 256, 257, 512, 513, 1024, 1420} {
					for _, iv := range []uint64{0, 1, 1<<32 - 1, 1 << 32, 1<<64 - 1} {
						p.check(t, some(n), some(n%40), uint32(iv>>3), iv)
					}
				}
			}
		}
	}
}

func FuzzAgainstLibrary(f *testing.F) {
	for _, n := range []int{0, 1, 16, 63, 64, 65, 128, 200, 256, 300, 511, 512, 513, 544, 1420, 4096} {
		f.Add(uint64(n), bytes.Repeat([]byte("k"), 16+8*(n%3)), bytes.Repeat([]byte("a"), n%37), bytes.Repeat([]byte("text"), n/4+1)[:n], uint8(n))
	}
	f.Fuzz(func(t *testing.T, iv uint64, key, aad, text []byte, shift uint8) {
		size := 16 + 8*(len(key)%3)
		key = append(key, make([]byte, size)...)[:size]
		// The text in the middle of other bytes, at any alignment.
		room := bytes.Repeat([]byte{0xa5}, 2*256+len(text))
		at := int(shift)
		copy(room[at:], text)
		before := bytes.Clone(room)
		for _, by := range each() {
			newPair(t, by, key).check(t, room[at:at+len(text)], aad, uint32(iv>>7), iv)
			if !bytes.Equal(room, before) {
				t.Fatalf("%s: bytes around the text were changed", by)
			}
		}
	})
}

// A tag of each length, with each of its bits wrong.
func TestTag(t *testing.T) {
	tag := Tag{0x0102030405060708, 0x090a0b0c0d0e0f10}
	for _, n := range []int{8, 12, 16} {
		icv := make([]byte, n)
		tag.Put(icv)
		for i, b := range icv {
			if b != byte(i+1) {
				t.Errorf("%d bytes are %x", n, icv)
			}
		}
		if !tag.Equal(icv) {
			t.Errorf("%d bytes are not equal", n)
		}
		for bit := range 8 * n {
			icv[bit/8] ^= 1 << (bit % 8)
			if tag.Equal(icv) {
				t.Errorf("%d bytes are equal with bit %d wrong", n, bit)
			}
			icv[bit/8] ^= 1 << (bit % 8)
		}
	}
}

func TestWrongKey(t *testing.T) {
	for n := range 40 {
		good := Supported() && (n == 16 || n == 24 || n == 32)
		if err := new(AEAD).Init(make([]byte, n)); (err == nil) != good {
			t.Errorf("a key of %d bytes: %v", n, err)
		}
	}
}

// A CPU without a feature has an implementation that does without it. The test asks itself, in processes that are told so.
func TestName(t *testing.T) {
	if os.Getenv("GCM_TEST_NAME") != "" {
		fmt.Println("by", Name(), Supported())
		return
	}
	for off, left := range map[string]implementation{
		"cpu.avx512vl=off": vaesAVX2, "cpu.avx512vl=off,cpu.avx2=off": library, "cpu.all=off": library,
	} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestName$")
		cmd.Env = append(os.Environ(), "GCM_TEST_NAME=1", "GODEBUG="+off)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v", off, err)
		}
		left = min(left, best)
		if want := fmt.Sprintln("by", left, left != library); !strings.HasPrefix(string(out), want) {
			t.Errorf("%s: %q, want %q", off, out, want)
		}
	}
}

func BenchmarkAgainstLibrary(b *testing.B) {
	for _, bits := range []int{128, 256} {
		var pairs []pair
		for _, by := range each() {
			pairs = append(pairs, newPair(b, by, make([]byte, bits/8)))
		}
		for _, n := range []int{64, 256, 576, 1420, 9000} {
			run := func(name string, f func()) {
				b.Run(fmt.Sprintf("%d/%d/%s", bits, n, name), func(b *testing.B) {
					b.SetBytes(int64(n))
					for b.Loop() {
						f()
					}
				})
			}
			text, nonce, aad := make([]byte, n, n+TagLen), make([]byte, 12), make([]byte, 12)
			for i, p := range pairs {
				if i == 0 {
					run("seal/library", func() { p.library.Seal(text[:0], nonce, text, aad) })
				}
				run("seal/"+p.key.by.String(), func() { p.Seal(text, 1, 2, ExtendedHeader(3, 4, 5)) })
				run("open/"+p.key.by.String(), func() { p.Open(text, 1, 2, ExtendedHeader(3, 4, 5)) })
			}
		}
	}
}
