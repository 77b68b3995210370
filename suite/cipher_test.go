package suite

import (
	"bytes"
	"crypto/aes"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"testing"
)

type algorithm struct{ encr, integ Transform }

func (a algorithm) String() string { return a.encr.String() + "/" + a.integ.String() }

// algorithms lists every pair of transforms that makes a cipher.
func algorithms() []algorithm {
	var all []algorithm
	for _, bits := range []uint16{128, 192, 256} {
		for _, id := range []uint16{ENCR_AES_GCM_16, ENCR_AES_GCM_8, ENCR_AES_GCM_12, ENCR_AES_CCM_8, ENCR_AES_CCM_12, ENCR_AES_CCM_16,
			ENCR_NULL_AUTH_AES_GMAC} {
			all = append(all, algorithm{encr: Transform{TypeENCR, id, bits}})
		}
		for _, id := range []uint16{AUTH_HMAC_SHA1_96, AUTH_AES_XCBC_96, AUTH_AES_CMAC_96, AUTH_HMAC_SHA2_256_128, AUTH_HMAC_SHA2_384_192,
			AUTH_HMAC_SHA2_512_256} {
			for _, encr := range []uint16{ENCR_AES_CBC, ENCR_AES_CTR} {
				all = append(all, algorithm{Transform{TypeENCR, encr, bits}, Transform{TypeINTEG, id, 0}})
			}
		}
	}
	return append(all, algorithm{encr: Transform{Type: TypeENCR, ID: ENCR_CHACHA20_POLY1305}})
}

// keys are key material for an algorithm from one seed.
func (a algorithm) keys(t testing.TB, seed byte) (enc, integ []byte) {
	t.Helper()
	e, i, err := KeyLens(a.encr, a.integ)
	if err != nil {
		t.Fatalf("%s: %v", a, err)
	}
	r := seeded(seed)
	return randomBytes(r, e), randomBytes(r, i)
}

func (a algorithm) cipher(t testing.TB, seed byte) Cipher {
	t.Helper()
	enc, integ := a.keys(t, seed)
	c, err := NewCipher(a.encr, a.integ, enc, integ)
	if err != nil {
		t.Fatalf("%s: %v", a, err)
	}
	clear(enc) // the cipher keeps nothing of the caller's
	clear(integ)
	return c
}

// packet lays out header, IV room, plaintext and ICV room.
func packet(c Cipher, header, plain []byte) []byte {
	return join(header, make([]byte, c.IVLen()), plain, make([]byte, c.TagLen()))
}

func TestKeyLens(t *testing.T) {
	gcm := func(bits uint16) Transform { return Transform{TypeENCR, ENCR_AES_GCM_16, bits} }
	cbc := func(bits uint16) Transform { return Transform{TypeENCR, ENCR_AES_CBC, bits} }
	chacha := Transform{Type: TypeENCR, ID: ENCR_CHACHA20_POLY1305}
	aes := func(id, bits uint16) Transform { return Transform{TypeENCR, id, bits} }
	mac := func(id uint16) Transform { return Transform{Type: TypeINTEG, ID: id} }
	for _, c := range []struct {
		encr, integ Transform
		enc, mac    int // 0, 0: refused
	}{
		{gcm(128), Transform{}, 20, 0}, {gcm(192), mac(AUTH_NONE), 28, 0}, {gcm(256), Transform{}, 36, 0},
		{chacha, mac(AUTH_NONE), 36, 0}, {chacha, Transform{}, 36, 0},
		{cbc(128), mac(AUTH_HMAC_SHA1_96), 16, 20}, {cbc(192), mac(AUTH_HMAC_SHA2_256_128), 24, 32},
		{cbc(256), mac(AUTH_HMAC_SHA2_384_192), 32, 48}, {cbc(256), mac(AUTH_HMAC_SHA2_512_256), 32, 64},
		{cbc(256), Transform{}, 0, 0}, {cbc(256), mac(AUTH_NONE), 0, 0}, {cbc(0), mac(2), 0, 0}, {cbc(512), mac(2), 0, 0},
		{gcm(256), mac(AUTH_HMAC_SHA2_256_128), 0, 0}, {gcm(0), Transform{}, 0, 0}, {gcm(64), Transform{}, 0, 0},
		{Transform{TypeENCR, ENCR_CHACHA20_POLY1305, 256}, Transform{}, 0, 0}, {chacha, mac(2), 0, 0},
		{aes(ENCR_AES_GCM_8, 128), Transform{}, 20, 0}, {aes(ENCR_AES_GCM_12, 256), Transform{}, 36, 0},
		{aes(ENCR_AES_CCM_8, 128), Transform{}, 19, 0}, {aes(ENCR_AES_CCM_12, 192), Transform{}, 27, 0},
		{aes(ENCR_AES_CCM_16, 256), mac(AUTH_NONE), 35, 0}, {aes(ENCR_NULL_AUTH_AES_GMAC, 192), Transform{}, 28, 0},
		{aes(ENCR_AES_CTR, 128), mac(AUTH_AES_XCBC_96), 20, 16}, {aes(ENCR_AES_CTR, 256), mac(AUTH_AES_CMAC_96), 36, 16},
		{aes(ENCR_AES_CTR, 128), Transform{}, 0, 0}, {aes(ENCR_AES_CTR, 0), mac(2), 0, 0}, {aes(ENCR_AES_CCM_16, 0), Transform{}, 0, 0},
		{aes(ENCR_AES_CCM_16, 128), mac(2), 0, 0}, {aes(ENCR_NULL_AUTH_AES_GMAC, 128), mac(2), 0, 0},
		{aes(ENCR_NULL_AUTH_AES_GMAC, 0), Transform{}, 0, 0}, {cbc(128), Transform{TypeINTEG, AUTH_AES_XCBC_96, 128}, 0, 0},
		{cbc(128), mac(9), 0, 0}, {Transform{TypeENCR, 11, 0}, mac(2), 0, 0},
		{cbc(128), mac(1), 0, 0}, {cbc(128), Transform{TypeINTEG, 2, 160}, 0, 0}, {cbc(128), Transform{TypePRF, 2, 0}, 0, 0},
		{Transform{TypePRF, PRF_HMAC_SHA1, 0}, mac(2), 0, 0}, {Transform{}, Transform{}, 0, 0},
	} {
		enc, mac, err := KeyLens(c.encr, c.integ)
		if enc != c.enc || mac != c.mac || (err == nil) != (c.enc != 0) || err != nil && !errors.Is(err, ErrUnsupported) {
			t.Errorf("KeyLens(%s, %s) = %d, %d, %v, want %d, %d", c.encr, c.integ, enc, mac, err, c.enc, c.mac)
		}
		if _, err := NewCipher(c.encr, c.integ, make([]byte, c.enc), make([]byte, c.mac)); (err == nil) != (c.enc != 0) {
			t.Errorf("NewCipher(%s, %s): %v", c.encr, c.integ, err)
		}
		for _, d := range [][2]int{{1, 0}, {-1, 0}, {0, 1}, {-4, 0}} {
			if c.enc+d[0] < 0 || c.mac+d[1] < 0 {
				continue
			}
			if _, err := NewCipher(c.encr, c.integ, make([]byte, c.enc+d[0]), make([]byte, c.mac+d[1])); err == nil {
				t.Errorf("NewCipher(%s, %s) takes keys of %d and %d bytes", c.encr, c.integ, c.enc+d[0], c.mac+d[1])
			}
		}
	}
}

func TestCipherLengths(t *testing.T) {
	tags := map[uint16]int{AUTH_AES_XCBC_96: 12, AUTH_AES_CMAC_96: 12, AUTH_HMAC_SHA1_96: 12, AUTH_HMAC_SHA2_256_128: 16, AUTH_HMAC_SHA2_384_192: 24, AUTH_HMAC_SHA2_512_256: 32}
	aeads := map[uint16]int{ENCR_AES_CCM_8: 8, ENCR_AES_CCM_12: 12, ENCR_AES_CCM_16: 16, ENCR_AES_GCM_8: 8, ENCR_AES_GCM_12: 12,
		ENCR_AES_GCM_16: 16, ENCR_NULL_AUTH_AES_GMAC: 16, ENCR_CHACHA20_POLY1305: 16}
	for _, a := range algorithms() {
		c := a.cipher(t, 1)
		tag := tags[a.integ.ID]
		if a.encr.aead() {
			tag = aeads[a.encr.ID]
		}
		iv, block := 8, 1
		if a.encr.ID == ENCR_AES_CBC {
			iv, block = 16, 16
		}
		if c.IVLen() != iv || c.BlockLen() != block || c.TagLen() != tag {
			t.Errorf("%s: IV %d block %d tag %d", a, c.IVLen(), c.BlockLen(), c.TagLen())
		}
	}
}

// Every length and header, ESN and not: what Seal makes Open reads, with another Cipher of the same keys.
func TestSealOpen(t *testing.T) {
	r := seeded(9)
	for _, a := range algorithms() {
		sender, receiver := a.cipher(t, 1), a.cipher(t, 1)
		for i, n := range []int{0, 16, 32, 48, 64, 1408, 8960} {
			for _, clear := range []int{0, 8, 32, 60} {
				for _, esn := range []bool{false, true} {
					if esn && clear != 8 {
						continue
					}
					plain, header := randomBytes(r, n), randomBytes(r, clear)
					seq := uint64(i)<<32 | uint64(clear)
					if clear == 8 {
						binary.BigEndian.PutUint32(header[4:], uint32(seq))
					}
					pkt := packet(sender, header, plain)
					sender.Seal(pkt, clear, seq, esn)
					if !bytes.Equal(pkt[:clear], header) {
						t.Fatalf("%s: Seal changed the header", a)
					}
					if hidden := a.encr.ID != ENCR_NULL_AUTH_AES_GMAC; n > 0 && bytes.Contains(pkt, plain) == hidden {
						t.Fatalf("%s: the plaintext is hidden: %v", a, !hidden)
					}
					if esn {
						if _, err := receiver.Open(bytes.Clone(pkt), clear, uint32(seq>>32)+1, true); !errors.Is(err, ErrIntegrity) {
							t.Fatalf("%s: a wrong upper half was accepted: %v", a, err)
						}
						if _, err := receiver.Open(bytes.Clone(pkt), clear, 0, false); !errors.Is(err, ErrIntegrity) {
							t.Fatalf("%s: opened without ESN: %v", a, err)
						}
					}
					got, err := receiver.Open(pkt, clear, uint32(seq>>32), esn)
					if err != nil || !bytes.Equal(got, plain) {
						t.Fatalf("%s: %d bytes after %d, esn %v: %v", a, n, clear, esn, err)
					}
					if n > 0 && &got[0] != &pkt[clear+sender.IVLen()] {
						t.Fatalf("%s: the plaintext is not in place", a)
					}
				}
			}
		}
	}
}

// A model of AES-CBC with HMAC, one block at a time, says what Seal must write.
func TestCBCModel(t *testing.T) {
	for _, a := range algorithms() {
		if a.encr.ID != ENCR_AES_CBC {
			continue
		}
		encKey, integKey := a.keys(t, 1)
		block, _ := aes.NewCipher(encKey)
		m, _ := macOf(a.integ)
		plain := randomBytes(seeded(2), 64)
		const seq = 0x0000000500000007
		header := []byte{1, 2, 3, 4, 0, 0, 0, 7}

		var counter [16]byte
		binary.BigEndian.PutUint64(counter[8:], seq)
		iv := make([]byte, 16)
		block.Encrypt(iv, counter[:])
		want := join(header, iv)
		previous := iv
		for i := 0; i < len(plain); i += 16 {
			ct := make([]byte, 16)
			for j := range ct {
				ct[j] = plain[i+j] ^ previous[j]
			}
			block.Encrypt(ct, ct)
			want = append(want, ct...)
			previous = ct
		}
		mac := m.keyed(integKey)
		mac.Write(want)
		mac.Write([]byte{0, 0, 0, 5})
		want = append(want, mac.Sum(nil)[:m.tagLen]...)

		c := a.cipher(t, 1)
		got := packet(c, header, plain)
		c.Seal(got, 8, seq, true)
		if !bytes.Equal(got, want) {
			t.Errorf("%s:\n got %x\nwant %x", a, got, want)
		}
	}
}

// The IVs are the sequence number; those of CBC never repeat.
//
// Cases: BUG-18.
func TestIVs(t *testing.T) {
	for _, a := range algorithms() {
		c := a.cipher(t, 1)
		seen := map[string]bool{}
		for seq := range uint64(300) {
			seq *= 1<<33 + 1
			pkt := packet(c, make([]byte, 8), make([]byte, 16))
			c.Seal(pkt, 8, seq, false)
			iv := pkt[8 : 8+c.IVLen()]
			if seen[string(iv)] {
				t.Fatalf("%s: the IV %x came twice", a, iv)
			}
			seen[string(iv)] = true
			if c.BlockLen() == 1 && binary.BigEndian.Uint64(iv) != seq {
				t.Fatalf("%s: the IV of %d is %x", a, seq, iv)
			}
		}
	}
}

// Each bit of a packet matters, and each length below the whole is refused.
func TestOpenRefuses(t *testing.T) {
	for _, a := range algorithms() {
		c := a.cipher(t, 1)
		pkt := packet(c, []byte{1, 2, 3, 4, 0, 0, 0, 1}, make([]byte, 16))
		c.Seal(pkt, 8, 1, false)
		for bit := range 8 * len(pkt) {
			bad := bytes.Clone(pkt)
			bad[bit/8] ^= 1 << (bit % 8)
			if got, err := c.Open(bad, 8, 0, false); !errors.Is(err, ErrIntegrity) || got != nil {
				t.Fatalf("%s: bit %d flipped: %v", a, bit, err)
			}
		}
		for n := range len(pkt) {
			want := ErrIntegrity
			if n < 8+c.IVLen()+c.TagLen() {
				want = ErrShort
			}
			if _, err := c.Open(bytes.Clone(pkt[:n]), 8, 0, false); !errors.Is(err, want) {
				t.Fatalf("%s: cut to %d of %d: %v, want %v", a, n, len(pkt), err, want)
			}
		}
		if _, err := a.cipher(t, 2).Open(bytes.Clone(pkt), 8, 0, false); !errors.Is(err, ErrIntegrity) {
			t.Errorf("%s: opened with other keys: %v", a, err)
		}
		if _, err := c.Open(bytes.Clone(pkt), 4, 0, true); !errors.Is(err, ErrShort) {
			t.Errorf("%s: ESN with a header of 4 bytes: %v", a, err)
		}
		if got, err := c.Open(pkt, 8, 0, false); err != nil || !bytes.Equal(got, make([]byte, 16)) {
			t.Errorf("%s: the packet itself: %v", a, err)
		}
	}
}

func TestSealMistakesPanic(t *testing.T) {
	for _, a := range algorithms() {
		c := a.cipher(t, 1)
		room := 8 + c.IVLen() + c.TagLen()
		if !panics(func() { c.Seal(make([]byte, room-1), 8, 1, false) }) {
			t.Errorf("%s: no room, no panic", a)
		}
		if !panics(func() { c.Seal(make([]byte, room+16), 4, 1, true) }) {
			t.Errorf("%s: ESN with a header of 4 bytes, no panic", a)
		}
		if c.BlockLen() > 1 && !panics(func() { c.Seal(make([]byte, room+17), 8, 1, false) }) {
			t.Errorf("%s: a broken block, no panic", a)
		}
	}
}

// Goroutines share one Cipher; with -race this finds shared scratch.
func TestCipherConcurrent(t *testing.T) {
	for _, a := range algorithms() {
		c := a.cipher(t, 1)
		var wg sync.WaitGroup
		for g := range 4 {
			wg.Go(func() {
				for i := range 50 {
					seq := uint64(g*1000 + i)
					plain := bytes.Repeat([]byte{byte(g + 1)}, 16*(1+i%7))
					pkt := packet(c, []byte{1, 2, 3, 4, 0, 0, byte(seq >> 8), byte(seq)}, plain)
					c.Seal(pkt, 8, seq, true)
					if got, err := c.Open(pkt, 8, 0, true); err != nil || !bytes.Equal(got, plain) {
						t.Errorf("%s: %v", a, err)
						return
					}
				}
			})
		}
		wg.Wait()
	}
}

func TestCipherAllocates(t *testing.T) {
	if raceEnabled {
		t.Skip("sync.Pool drops items on purpose under the race detector")
	}
	for _, a := range algorithms() {
		for _, esn := range []bool{false, true} {
			c := a.cipher(t, 1)
			pkt := packet(c, []byte{1, 2, 3, 4, 0, 0, 0, 1}, make([]byte, 1408))
			if n := testing.AllocsPerRun(200, func() {
				c.Seal(pkt, 8, 1, esn)
				if _, err := c.Open(pkt, 8, 0, esn); err != nil {
					t.Fatal(err)
				}
			}); n != 0 {
				t.Errorf("%s, esn %v: %v allocations", a, esn, n)
			}
		}
	}
}

// Seal, then Open: the same plaintext; with any one bit changed: ErrIntegrity. And arbitrary bytes do not open.
func FuzzOpen(f *testing.F) {
	for i := range algorithms() {
		f.Add(uint8(i), uint8(8), []byte("sixteen bytes ok"), uint64(1)<<32|7, true, uint(77))
		f.Add(uint8(i), uint8(32), []byte{}, uint64(0), false, uint(0))
		f.Add(uint8(i), uint8(0), bytes.Repeat([]byte{0xaa}, 160), ^uint64(0), false, uint(1999))
	}
	all := algorithms()
	ciphers := make([]Cipher, len(all))
	for i, a := range all {
		ciphers[i] = a.cipher(f, byte(i))
	}
	f.Fuzz(func(t *testing.T, which, clear uint8, data []byte, seq uint64, esn bool, bit uint) {
		c := ciphers[int(which)%len(ciphers)]
		esn = esn && clear == 8
		if got, err := c.Open(bytes.Clone(data), int(clear), uint32(seq>>32), esn); err == nil {
			t.Fatalf("arbitrary bytes opened to %x", got)
		} else if !errors.Is(err, ErrIntegrity) && !errors.Is(err, ErrShort) {
			t.Fatal(err)
		}
		plain := data[:len(data)-len(data)%c.BlockLen()]
		header := bytes.Repeat([]byte{7}, int(clear))
		if esn {
			binary.BigEndian.PutUint32(header[4:], uint32(seq))
		}
		pkt := packet(c, header, plain)
		c.Seal(pkt, int(clear), seq, esn)
		bad := bytes.Clone(pkt)
		bit %= uint(8 * len(bad))
		bad[bit/8] ^= 1 << (bit % 8)
		if _, err := c.Open(bad, int(clear), uint32(seq>>32), esn); !errors.Is(err, ErrIntegrity) {
			t.Fatalf("bit %d flipped: %v", bit, err)
		}
		got, err := c.Open(pkt, int(clear), uint32(seq>>32), esn)
		if err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("got %x, %v", got, err)
		}
	})
}

func BenchmarkCipher(b *testing.B) {
	for _, a := range algorithms() {
		if a.encr.KeyBits == 192 || a.encr.ID == ENCR_AES_CTR && a.integ.ID != AUTH_HMAC_SHA2_256_128 {
			continue
		}
		c := a.cipher(b, 1)
		pkt := packet(c, make([]byte, 8), make([]byte, 1408))
		for _, open := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/open=%v", a, open), func(b *testing.B) {
				b.SetBytes(1408)
				b.ReportAllocs()
				sealed := bytes.Clone(pkt)
				c.Seal(sealed, 8, 0, false)
				work := bytes.Clone(sealed)
				for seq := uint64(0); b.Loop(); seq++ {
					if !open {
						c.Seal(work, 8, seq, false)
						continue
					}
					copy(work, sealed)
					if _, err := c.Open(work, 8, 0, false); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
