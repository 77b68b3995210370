// Package gcm is AES-GCM (NIST SP 800-38D, RFC 4106) for CPUs of amd64 with VAES and VPCLMULQDQ, on registers of AVX-512 or of AVX2.
// Elsewhere crypto/cipher is used in its place, with the same result.
package gcm

import (
	"crypto/aes"
	"encoding/binary"
	"errors"
	"unsafe"
)

// TagLen is the length in bytes of a whole tag.
const TagLen = 16

const (
	group  = 32        // blocks that are hashed before a reduction, a multiple of 16
	powers = group + 2 // and one more block with the lengths, and one for the additional data before them
)

// AEAD is AES-GCM with a key, by Init. From then on it never changes, and is safe for concurrent use.
type AEAD struct{ key key }

// key is what assembly knows of a key.
type key struct {
	powers [powers][2]uint64 // of H, each multiplied by x: H^powers to H^1; the lower half of a block first
	round  [15][4]uint32     // round keys in the order of memory, behind the powers, so that a register of four may read beyond these
	rounds int               // 10, 12 or 14
	by     implementation
}

// implementation is what computes AES-GCM.
type implementation uint8

const (
	library    implementation = iota // crypto/cipher
	vaesAVX2                         // registers of 32 bytes
	vaesAVX512                       // of 64 bytes
)

// String is the name that status shows.
func (i implementation) String() string {
	return [...]string{"library", "vaes-avx2", "vaes-avx512"}[i]
}

// Name names what computes AES-GCM on this CPU: "vaes-avx512", "vaes-avx2", or "library".
func Name() string { return best.String() }

// Supported reports whether this CPU and its operating system have what New needs. The settings GODEBUG=cpu.avx512vl=off
// and cpu.avx2=off take the implementations away one after the other.
func Supported() bool { return best != library }

// Init makes AES-GCM of an AES key of 16, 24 or 32 bytes, which stays the caller's. It must not be called unless Supported, and
// only once.
func (a *AEAD) Init(aesKey []byte) error { return a.init(best, aesKey) }

func (a *AEAD) init(by implementation, aesKey []byte) error {
	block, err := aes.NewCipher(aesKey)
	if err != nil || by == library {
		return errors.New("gcm: wrong length of a key, or an old CPU")
	}
	a.key.by = by
	a.key.expand(aesKey)
	var h [aes.BlockSize]byte
	block.Encrypt(h[:], h[:])
	a.key.raise(binary.BigEndian.Uint64(h[:]), binary.BigEndian.Uint64(h[8:]))
	clear(h[:])
	return nil
}

// expand makes the round keys (FIPS 197 5.2), with words as they are in memory: RotWord goes to the right.
func (k *key) expand(aesKey []byte) {
	n := len(aesKey) / 4
	k.rounds = n + 6
	w := func(i int) *uint32 { return &k.round[i/4][i%4] }
	for i := range n {
		*w(i) = binary.LittleEndian.Uint32(aesKey[4*i:])
	}
	constant := uint32(1)
	for i := n; i < 4*(k.rounds+1); i++ {
		t := *w(i - 1)
		switch {
		case i%n == 0:
			t = substitute(t>>8|t<<24) ^ constant
			constant = constant<<1 ^ constant>>7*0x11b // multiplied by x
		case n > 6 && i%n == 4:
			t = substitute(t)
		}
		*w(i) = *w(i - n) ^ t
	}
}

// raise makes the powers of H. GHASH reads the bits of a block backwards; a carry-less product of two numbers that are read so is
// one bit too low, for which H is multiplied by x.
func (k *key) raise(hi, lo uint64) {
	carry := hi >> 63
	hi, lo = hi<<1|lo>>63, lo<<1
	hi, lo = hi^carry*0xc200000000000000, lo^carry
	pHi, pLo := hi, lo
	for i := powers - 1; i >= 0; i-- {
		k.powers[i] = [2]uint64{pLo, pHi}
		pHi, pLo = multiply(pHi, pLo, hi, lo)
	}
}

// Tag is a whole tag, of 16 bytes: two big-endian numbers.
type Tag struct{ Hi, Lo uint64 }

// Put writes as much of the tag as icv takes: 8, 12 or 16 bytes.
func (t Tag) Put(icv []byte) {
	binary.BigEndian.PutUint64(icv, t.Hi)
	switch len(icv) {
	case 12:
		binary.BigEndian.PutUint32(icv[8:], uint32(t.Lo>>32))
	case 16:
		binary.BigEndian.PutUint64(icv[8:], t.Lo)
	}
}

// Equal reports, in constant time, whether icv is the tag or its first 8 or 12 bytes.
func (t Tag) Equal(icv []byte) bool {
	different := t.Hi ^ binary.BigEndian.Uint64(icv)
	switch len(icv) {
	case 12:
		different |= t.Lo>>32 ^ uint64(binary.BigEndian.Uint32(icv[8:]))
	case 16:
		different |= t.Lo ^ binary.BigEndian.Uint64(icv[8:])
	}
	return different == 0
}

// Additional is additional data, prepared for one key.
type Additional struct {
	hi, lo uint64 // the last block, to which GHASH of those before it is added
	bits   uint64
}

// Seal encrypts text in place and returns its tag. The nonce is the salt and then iv, big-endian (RFC 4106 4); it must not come
// twice under one key. Assembly is not preempted, so that text should be of 64 KiB at most, which take some microseconds.
func (a *AEAD) Seal(text []byte, salt uint32, iv uint64, aad Additional) Tag {
	hi, lo := a.key.encrypt(unsafe.SliceData(text), len(text), uint64(salt)<<32|iv>>32, iv<<32|1, aad.hi, aad.lo, aad.bits)
	return Tag{hi, lo}
}

// Open decrypts text in place and returns the tag that it should have had: if it has another one, the caller must clear text.
// Else it is as Seal.
func (a *AEAD) Open(text []byte, salt uint32, iv uint64, aad Additional) Tag {
	hi, lo := a.key.decrypt(unsafe.SliceData(text), len(text), uint64(salt)<<32|iv>>32, iv<<32|1, aad.hi, aad.lo, aad.bits)
	return Tag{hi, lo}
}

// Header is the additional data of ESP: SPI and sequence number as they are sent (RFC 4106 5).
func Header(spi, seq uint32) Additional {
	return Additional{hi: uint64(spi)<<32 | uint64(seq), bits: 64}
}

// ExtendedHeader is the same with an extended sequence number (RFC 4106 5).
func ExtendedHeader(spi, seqHi, seqLo uint32) Additional {
	return Additional{hi: uint64(spi)<<32 | uint64(seqHi), lo: uint64(seqLo) << 32, bits: 96}
}

// Additional prepares additional data of any length, slowly.
func (a *AEAD) Additional(data []byte) Additional {
	h := a.key.powers[powers-1]
	add := Additional{bits: 8 * uint64(len(data))}
	for len(data) > 0 {
		var block [aes.BlockSize]byte
		n := copy(block[:], data)
		add.hi ^= binary.BigEndian.Uint64(block[:])
		add.lo ^= binary.BigEndian.Uint64(block[8:])
		if data = data[n:]; len(data) > 0 {
			add.hi, add.lo = multiply(add.hi, add.lo, h[1], h[0])
		}
	}
	return add
}
