package inet

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
)

// slowSum is RFC 1071 word by word.
func slowSum(b []byte) uint16 {
	var sum uint64
	for i, octet := range b {
		if i%2 == 0 {
			sum += uint64(octet) << 8
		} else {
			sum += uint64(octet)
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

func TestChecksumGolden(t *testing.T) {
	// The example of RFC 1071 3: the sum is ddf2.
	if got := Checksum(unhex(t, "0001 f203 f4f5 f6f7")); got != 0x220d {
		t.Errorf("%04x, want 220d", got)
	}
	if got := Checksum(nil); got != 0xffff {
		t.Errorf("of nothing: %04x, want ffff", got)
	}
}

func TestSoundHeader(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	for range 1000 {
		var b [20]byte
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		b[10], b[11] = 0, 0
		sum := Checksum(b[:])
		b[10], b[11] = byte(sum>>8), byte(sum)
		if !SoundHeader(&b) {
			t.Fatalf("%x is refused", b)
		}
		b[r.IntN(20)] ^= 1 << r.IntN(8)
		if SoundHeader(&b) {
			t.Fatalf("%x is taken", b)
		}
	}
}

// FuzzAdd holds what the processor's instructions give against plain Go and against RFC 1071 word by word, at every
// alignment.
func FuzzAdd(f *testing.F) {
	f.Add([]byte("a few bytes"), uint64(0), byte(3))
	f.Add(bytes.Repeat([]byte{0xff}, 1500), uint64(1<<64-1), byte(1))
	f.Add(bytes.Repeat([]byte{0, 0xff}, 0x8000), uint64(0xffff), byte(31))
	f.Add(make([]byte, 256), uint64(0), byte(0))
	f.Fuzz(func(t *testing.T, data []byte, sum uint64, shift byte) {
		shifted := append(make([]byte, shift%64, len(data)+64), data...)[shift%64:]
		got, words := Fold(Add(sum, shifted)), Fold(addWords(sum, data))
		if got != words {
			t.Errorf("%d bytes: %04x, in plain Go %04x", len(data), got, words)
		}
		if want := slowSum(data); sum == 0 && got != want {
			t.Errorf("%d bytes: %04x, want %04x", len(data), got, want)
		}
	})
}

func BenchmarkAdd(b *testing.B) {
	for _, n := range []int{20, 92, 256, 576, 1400, 65535} {
		data := bytes.Repeat([]byte{7}, n)
		for _, c := range []struct {
			name string
			add  func(uint64, []byte) uint64
		}{{"add", Add}, {"words", addWords}} {
			b.Run(fmt.Sprintf("%d/%s", n, c.name), func(b *testing.B) {
				b.SetBytes(int64(n))
				for b.Loop() {
					c.add(0, data)
				}
			})
		}
	}
}

func TestAddAgainstModel(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for n := range 300 {
		for _, fill := range []int{-1, 0x00, 0xff} {
			b := bytes.Repeat([]byte{byte(fill)}, n)
			if fill < 0 {
				for i := range b {
					b[i] = byte(r.Uint32())
				}
			}
			want := slowSum(b)
			if got := Fold(Add(0, b)); got != want {
				t.Fatalf("%d octets of %x: %04x, want %04x", n, fill, got, want)
			}
			// In two pieces, the first of even length, and after a sum that is all ones.
			half := n / 4 * 2
			if got := Fold(Add(Add(0, b[:half]), b[half:])); got != want {
				t.Fatalf("%d octets of %x in two pieces: %04x, want %04x", n, fill, got, want)
			}
			full := slowSum(append([]byte{0xff, 0xff}, b...))
			if got := Fold(Add(1<<64-1, b)); got != full {
				t.Fatalf("%d octets of %x after all ones: %04x, want %04x", n, fill, got, full)
			}
		}
	}
}

func TestAddPseudo(t *testing.T) {
	for _, c := range []struct{ src, dst, header string }{
		{"10.1.0.1", "10.2.0.2", "0a010001 0a020002 00 06 1234"},
		{"2001:db8::1", "2001:db8::2", addrs6 + "00001234 000000 06"},
	} {
		got := Fold(AddPseudo(0, netip.MustParseAddr(c.src), netip.MustParseAddr(c.dst), ProtoTCP, 0x1234))
		if want := slowSum(unhex(t, c.header)); got != want {
			t.Errorf("%s: %04x, want %04x", c.src, got, want)
		}
	}
}

func TestUpdate(t *testing.T) {
	// RFC 1624 4: the header in which 0x5555 becomes 0x3285 has its checksum go from 0xdd2f to 0x0000.
	if got := Update(0xdd2f, 0x5555, 0x3285); got != 0x0000 {
		t.Errorf("%04x, want 0000", got)
	}
	r := rand.New(rand.NewPCG(2, 2))
	for range 10000 {
		b := make([]byte, 8)
		for i := range b {
			b[i] = byte(r.Uint32()) >> r.IntN(9)
		}
		was, before := uint16(b[2])<<8|uint16(b[3]), Checksum(b)
		is := uint16(r.Uint32())
		b[2], b[3] = byte(is>>8), byte(is)
		if got := Update(before, was, is); got != Checksum(b) {
			// All zeros have the checksum ffff, which Update may give as 0: the same in one's complement.
			if !(got == 0 && Checksum(b) == 0xffff) {
				t.Fatalf("%x: %04x, want %04x", b, got, Checksum(b))
			}
		}
	}
}
