package suite

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"hash"
)

// aesMAC is AES-XCBC-MAC (RFC 3566 4.2) or AES-CMAC (RFC 4493 2.4): the CBC-MAC of the message with a mask on its last block,
// one for a whole block and another for one that had to be padded. The two differ only in where key and masks come from.
type aesMAC struct {
	block         cipher.Block
	whole, padded [aes.BlockSize]byte
	sum           [aes.BlockSize]byte // CBC-MAC of the blocks before the last
	last          [aes.BlockSize]byte
	n             int // bytes of last; a full one waits for more, since the last block is special
}

// newXCBC takes a key of 16 bytes (RFC 3566 4.1).
func newXCBC(key []byte) hash.Hash {
	outer := newAES128(key)
	var k1, k2, k3 [aes.BlockSize]byte
	for i, k := range []*[aes.BlockSize]byte{&k1, &k2, &k3} {
		constant := bytes.Repeat([]byte{byte(i + 1)}, aes.BlockSize)
		outer.Encrypt(k[:], constant)
	}
	defer clear(k1[:])
	return &aesMAC{block: newAES128(k1[:]), whole: k2, padded: k3}
}

// newCMAC takes a key of 16 bytes (RFC 4493 2.3).
func newCMAC(key []byte) hash.Hash {
	m := &aesMAC{block: newAES128(key)}
	m.block.Encrypt(m.whole[:], m.whole[:])
	m.whole = double(m.whole)
	m.padded = double(m.whole)
	return m
}

// newAES128 panics unless the key has 16 bytes, which the callers see to.
func newAES128(key []byte) cipher.Block {
	block, err := aes.NewCipher(key[:16:16])
	if err != nil {
		panic("suite: AES does not take a key of 16 bytes")
	}
	return block
}

// double multiplies by x in GF(2^128), in constant time.
func double(b [aes.BlockSize]byte) [aes.BlockSize]byte {
	var out [aes.BlockSize]byte
	carry := byte(0)
	for i := len(b) - 1; i >= 0; i-- {
		out[i] = b[i]<<1 | carry
		carry = b[i] >> 7
	}
	out[len(out)-1] ^= 0x87 & -carry
	return out
}

func (m *aesMAC) Size() int      { return aes.BlockSize }
func (m *aesMAC) BlockSize() int { return aes.BlockSize }

func (m *aesMAC) Reset() {
	clear(m.sum[:])
	clear(m.last[:])
	m.n = 0
}

func (m *aesMAC) Write(p []byte) (int, error) {
	written := len(p)
	for len(p) > 0 {
		if m.n == aes.BlockSize {
			subtle.XORBytes(m.sum[:], m.sum[:], m.last[:])
			m.block.Encrypt(m.sum[:], m.sum[:])
			m.n = 0
		}
		n := copy(m.last[m.n:], p)
		m.n += n
		p = p[n:]
	}
	return written, nil
}

// Sum appends the MAC of what was written, 16 bytes; more can be written after it.
func (m *aesMAC) Sum(b []byte) []byte {
	mask := &m.whole
	if m.n < aes.BlockSize {
		mask = &m.padded
		clear(m.last[m.n:])
		m.last[m.n] = 0x80
	}
	// The block is encrypted where it will stay: a variable of its own would be allocated.
	b = append(b, m.last[:]...)
	out := b[len(b)-aes.BlockSize:]
	subtle.XORBytes(out, out, m.sum[:])
	subtle.XORBytes(out, out, mask[:])
	m.block.Encrypt(out, out)
	return b
}

// Clone makes an independent state with the same key.
func (m *aesMAC) Clone() (hash.Cloner, error) {
	c := *m
	return &c, nil
}

// newXCBCPRF is AES-XCBC-PRF-128: a short key is padded, a long one is hashed under the key zero (RFC 4434 2).
func newXCBCPRF(key []byte) hash.Hash {
	if len(key) > 16 {
		return newXCBC(hashedKey(newXCBC, key))
	}
	var k [16]byte
	copy(k[:], key)
	defer clear(k[:])
	return newXCBC(k[:])
}

// newCMACPRF is AES-CMAC-PRF-128: a key that has not 16 bytes, a shorter one too, is hashed under the key zero (RFC 4615 3).
func newCMACPRF(key []byte) hash.Hash {
	if len(key) != 16 {
		return newCMAC(hashedKey(newCMAC, key))
	}
	return newCMAC(key)
}

func hashedKey(keyed keyedHash, key []byte) []byte {
	m := keyed(make([]byte, 16))
	m.Write(key)
	return m.Sum(nil)
}
