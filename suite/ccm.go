package suite

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
	"sync"
)

// ccm is AES-CCM (RFC 3610) with the parameters of IPsec: a nonce of 11 bytes, and so L = 4 bytes for the length of the
// message (RFC 4309 2, 4). It is a cipher.AEAD for this package only and seals and opens in place.
type ccm struct {
	tagLen  int
	scratch sync.Pool // of *ccmScratch
}

const (
	ccmNonceLen = ccmSaltLen + aeadIVLen
	ccmL        = aes.BlockSize - 1 - ccmNonceLen
)

// ccmScratch is the state of one Seal or Open.
type ccmScratch struct {
	counter
	sum [aes.BlockSize]byte // CBC-MAC
	tag [aes.BlockSize]byte
}

func newCCM(block cipher.Block, tagLen int) *ccm {
	c := &ccm{tagLen: tagLen}
	c.scratch.New = func() any { return &ccmScratch{counter: counter{block: block}} }
	return c
}

func (c *ccm) NonceSize() int { return ccmNonceLen }
func (c *ccm) Overhead() int  { return c.tagLen }

func (c *ccm) Seal(dst, nonce, plain, aad []byte) []byte {
	out := append(dst, plain...) // in place this copies nothing
	body := out[len(dst):]
	s := c.scratch.Get().(*ccmScratch)
	tag := s.mac(nonce, body, aad, c.tagLen)
	s.xor(body, 1)
	out = append(out, tag...)
	c.scratch.Put(s)
	return out
}

func (c *ccm) Open(dst, nonce, sealed, aad []byte) ([]byte, error) {
	if len(sealed) < c.tagLen {
		return nil, ErrShort
	}
	end := len(sealed) - c.tagLen
	out := append(dst, sealed[:end]...)
	body := out[len(dst):]
	s := c.scratch.Get().(*ccmScratch)
	s.start(nonce)
	s.xor(body, 1)
	ok := subtle.ConstantTimeCompare(s.mac(nonce, body, aad, c.tagLen), sealed[end:]) == 1
	c.scratch.Put(s)
	if !ok {
		clear(body) // what was decrypted must not be seen (RFC 3610 2.5)
		return nil, ErrIntegrity
	}
	return out, nil
}

// start sets the counter block: flags, nonce, counter (RFC 3610 2.3).
func (s *ccmScratch) start(nonce []byte) {
	s.input[0] = ccmL - 1
	copy(s.input[1:], nonce)
}

// mac is the encrypted authentication value U (RFC 3610 2.2, 2.3) of a message that is not encrypted yet, or not any more.
// It leaves the counter block set for the nonce.
func (s *ccmScratch) mac(nonce, message, aad []byte, tagLen int) []byte {
	s.sum[0] = byte((tagLen-2)/2<<3 | ccmL - 1)
	if len(aad) > 0 {
		s.sum[0] |= 1 << 6
	}
	copy(s.sum[1:], nonce)
	binary.BigEndian.PutUint32(s.sum[aes.BlockSize-ccmL:], uint32(len(message)))
	s.block.Encrypt(s.sum[:], s.sum[:])
	if len(aad) > 0 {
		s.authenticate(aad, s.maskLength(len(aad)))
	}
	s.authenticate(message, 0)

	s.start(nonce)
	copy(s.tag[:], s.sum[:])
	s.xor(s.tag[:], 0)
	return s.tag[:tagLen]
}

// maskLength adds the encoded length of the additional data to the CBC-MAC and returns how many bytes of the block that
// took: 2, or 6 for what does not fit (RFC 3610 2.2).
func (s *ccmScratch) maskLength(n int) int {
	var length [6]byte
	used := 2
	if n < 0xff00 {
		binary.BigEndian.PutUint16(length[:], uint16(n))
	} else {
		length[0], length[1] = 0xff, 0xfe
		binary.BigEndian.PutUint32(length[2:], uint32(n))
		used = 6
	}
	subtle.XORBytes(s.sum[:], s.sum[:], length[:used])
	return used
}

// authenticate adds data to the CBC-MAC, from a place inside a block on, and fills the last block with zeros.
func (s *ccmScratch) authenticate(data []byte, at int) {
	for len(data) > 0 {
		data = data[subtle.XORBytes(s.sum[at:], s.sum[at:], data):]
		s.block.Encrypt(s.sum[:], s.sum[:])
		at = 0
	}
}
