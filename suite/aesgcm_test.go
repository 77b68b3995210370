package suite

import (
	"bytes"
	"errors"
	"testing"
)

// twins are AES-GCM as this CPU has it and as every CPU has it.
func twins(t testing.TB, key []byte, tagLen int) (c, portable Cipher) {
	t.Helper()
	c, err := newAESGCM(key, tagLen)
	if err != nil {
		t.Fatal(err)
	}
	if portable, err = newPortableAESGCM(key, tagLen); err != nil {
		t.Fatal(err)
	}
	return c, portable
}

// Both seal to the same bytes, and do the same with what was sealed, with what was damaged and with any bytes.
func FuzzAESGCMTwins(f *testing.F) {
	for n := range 18 {
		f.Add(uint8(n), uint8(n/2*4), bytes.Repeat([]byte("text"), n*n*2), uint64(n)<<31|5, n%3 == 0, uint(1+n*37))
	}
	f.Fuzz(func(t *testing.T, kind, clear uint8, text []byte, seq uint64, esn bool, bit uint) {
		key := randomBytes(seeded(kind), 20+8*int(kind%3))
		tagLen := 8 + 4*int(kind/3%3)
		if esn = esn && clear%2 == 0; esn {
			clear = 8
		}
		c, portable := twins(t, key, tagLen)
		pkt := packet(c, bytes.Repeat([]byte{kind}, int(clear)), text)
		want := bytes.Clone(pkt)
		c.Seal(pkt, int(clear), seq, esn)
		portable.Seal(want, int(clear), seq, esn)
		if !bytes.Equal(pkt, want) {
			t.Fatalf("sealed to %x, want %x", pkt, want)
		}
		damaged := bytes.Clone(pkt)
		bit %= uint(8 * len(pkt))
		damaged[bit/8] ^= 1 << (bit % 8)
		for _, sent := range [][]byte{pkt, damaged, text, pkt[:len(pkt)-1], pkt[1:]} {
			mine, other := bytes.Clone(sent), bytes.Clone(sent)
			got, err := c.Open(mine, int(clear), uint32(seq>>32), esn)
			want, wantErr := portable.Open(other, int(clear), uint32(seq>>32), esn)
			if !bytes.Equal(got, want) || !errors.Is(err, wantErr) {
				t.Fatalf("%x opens to %x, %v, want %x, %v", sent, got, err, want, wantErr)
			}
			if !bytes.Equal(mine, other) {
				t.Fatalf("opening %x leaves %x, want %x", sent, mine, other)
			}
		}
	})
}

// The name tells which of the two NewCipher makes.
func TestAESGCMName(t *testing.T) {
	c, _ := twins(t, count(20), 16)
	_, own := c.(*aesGCM)
	if own == (AESGCM() == "library") {
		t.Errorf("it is called %q, and own is %v", AESGCM(), own)
	}
}

// A packet of each length with each byte of its ICV, its IV and its header forged: nothing of the plaintext is left in it.
func TestAESGCMForged(t *testing.T) {
	key := count(36)
	for _, tagLen := range []int{8, 12, 16} {
		c, _ := twins(t, key, tagLen)
		for _, n := range []int{1, 15, 16, 63, 64, 65, 200, 256, 300, 512, 1420} {
			plain := bytes.Repeat([]byte{0x5a}, n)
			sealed := packet(c, []byte{1, 2, 3, 4, 0, 0, 0, 7}, plain)
			c.Seal(sealed, 8, 7, true)
			for at := range sealed {
				if at >= 16 && at < 16+n && n > 300 && at%31 != 0 {
					continue // the middle of a long packet
				}
				pkt := bytes.Clone(sealed)
				pkt[at] ^= 0x10
				if got, err := c.Open(pkt, 8, 0, true); !errors.Is(err, ErrIntegrity) || got != nil {
					t.Fatalf("%d bytes, byte %d forged: %x, %v", n, at, got, err)
				}
				if !bytes.Equal(pkt[16:16+n], make([]byte, n)) {
					t.Fatalf("%d bytes, byte %d forged: %x is left", n, at, pkt[16:16+n])
				}
			}
			if got, err := c.Open(sealed, 8, 0, true); err != nil || !bytes.Equal(got, plain) {
				t.Fatalf("%d bytes: %v", n, err)
			}
		}
	}
}

// BenchmarkAESGCMTwins is a packet of ESP in both directions.
func BenchmarkAESGCMTwins(b *testing.B) {
	c, portable := twins(b, count(20), 16)
	for _, n := range []struct {
		name string
		len  int
	}{{"66", 66}, {"578", 578}, {"1402", 1402}} {
		for _, of := range []struct {
			name string
			c    Cipher
		}{{"portable", portable}, {"own", c}} {
			pkt := packet(of.c, make([]byte, 8), make([]byte, n.len))
			b.Run(n.name+"/seal/"+of.name, func(b *testing.B) {
				b.SetBytes(int64(n.len))
				for seq := uint64(0); b.Loop(); seq++ {
					of.c.Seal(pkt, 8, seq, true)
				}
			})
			b.Run(n.name+"/open/"+of.name, func(b *testing.B) {
				b.SetBytes(int64(n.len))
				of.c.Seal(pkt, 8, 7, true)
				sealed := bytes.Clone(pkt)
				for b.Loop() {
					copy(pkt, sealed)
					if _, err := of.c.Open(pkt, 8, 0, true); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
