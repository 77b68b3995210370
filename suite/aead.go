package suite

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"sync"

	"golang.org/x/crypto/chacha20poly1305"
)

const (
	saltLen    = 4 // RFC 4106 4, RFC 4543 3.2, RFC 7634 2: the part of the nonce that is not sent
	ccmSaltLen = 3 // RFC 4309 4
	aeadIVLen  = 8 // RFC 4106 3.1, RFC 4309 3.1, RFC 4543 3.1, RFC 7634 2
)

var errKeyLength = errors.New("suite: wrong key length")

// aead is AES-GCM (RFC 4106), AES-CCM (RFC 4309), both also in IKE (RFC 5282), or ChaCha20-Poly1305 (RFC 7634). They differ
// in nothing that is visible here: nonce = salt | IV, and the additional data is the clear header.
type aead struct {
	aead    cipher.AEAD
	tagLen  int
	scratch sync.Pool // of *aeadScratch
}

// aeadScratch holds what must outlive a call through the cipher.AEAD interface and so would be allocated per packet.
type aeadScratch struct {
	nonce []byte                 // salt | IV; the salt is set once
	aad   [espHeaderLen + 4]byte // SPI | 64-bit sequence number
}

// newPortableAESGCM makes AES-GCM with an ICV of 8, 12 or 16 bytes (RFC 4106 6) for any CPU.
func newPortableAESGCM(key []byte, tagLen int) (Cipher, error) {
	full := max(tagLen, 12) // the shortest tag of crypto/cipher
	gcm, err := gcmOf(key[:len(key)-saltLen], full)
	if err != nil {
		return nil, err
	}
	if tagLen < full {
		gcm = newShortGCM(gcm, tagLen)
	}
	return newAEAD(gcm, key[len(key)-saltLen:]), nil
}

func gcmOf(key []byte, tagLen int) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, errKeyLength
	}
	gcm, err := cipher.NewGCMWithTagSize(block, tagLen)
	if err != nil {
		return nil, ErrUnsupported
	}
	return gcm, nil
}

// newAESCCM makes AES-CCM with an ICV of 8, 12 or 16 bytes (RFC 4309 3.3).
func newAESCCM(key []byte, tagLen int) (Cipher, error) {
	block, err := aes.NewCipher(key[:len(key)-ccmSaltLen])
	if err != nil {
		return nil, errKeyLength
	}
	return newAEAD(newCCM(block, tagLen), key[len(key)-ccmSaltLen:]), nil
}

func newChaCha20Poly1305(key []byte) (Cipher, error) {
	c, err := chacha20poly1305.New(key[:len(key)-saltLen])
	if err != nil {
		return nil, errKeyLength
	}
	return newAEAD(c, key[len(key)-saltLen:]), nil
}

func newAEAD(c cipher.AEAD, salt []byte) *aead {
	a := &aead{aead: c, tagLen: c.Overhead()}
	fixed := bytes.Clone(salt)
	a.scratch.New = func() any {
		return &aeadScratch{nonce: append(fixed[:len(fixed):len(fixed)], make([]byte, aeadIVLen)...)}
	}
	return a
}

func (a *aead) IVLen() int    { return aeadIVLen }
func (a *aead) TagLen() int   { return a.tagLen }
func (a *aead) BlockLen() int { return 1 }

func (a *aead) Seal(pkt []byte, clear int, seq uint64, esn bool) {
	body := clear + aeadIVLen
	end := len(pkt) - a.tagLen
	if end < body || esn && clear != espHeaderLen {
		panic("suite: Seal without room for IV and ICV")
	}
	s := a.scratch.Get().(*aeadScratch)
	binary.BigEndian.PutUint64(pkt[clear:body], seq)
	binary.BigEndian.PutUint64(s.iv(), seq)
	a.aead.Seal(pkt[body:body], s.nonce, pkt[body:end], s.additional(pkt[:clear], uint32(seq>>32), esn))
	a.scratch.Put(s)
}

func (a *aead) Open(pkt []byte, clear int, seqHi uint32, esn bool) ([]byte, error) {
	body := clear + aeadIVLen
	if len(pkt) < body+a.tagLen || esn && clear != espHeaderLen {
		return nil, ErrShort
	}
	s := a.scratch.Get().(*aeadScratch)
	copy(s.iv(), pkt[clear:body])
	plain, err := a.aead.Open(pkt[body:body], s.nonce, pkt[body:], s.additional(pkt[:clear], seqHi, esn))
	a.scratch.Put(s)
	if err != nil {
		return nil, ErrIntegrity
	}
	return plain, nil
}

func (s *aeadScratch) iv() []byte { return s.nonce[len(s.nonce)-aeadIVLen:] }

// additional is the additional authenticated data: the clear header (RFC 5282 5.1), in ESP with extended sequence numbers
// SPI | upper half | lower half (RFC 4106 5, RFC 4309 5, RFC 7634 2.1).
func (s *aeadScratch) additional(header []byte, seqHi uint32, esn bool) []byte {
	if !esn {
		return header
	}
	copy(s.aad[:4], header[:4])
	binary.BigEndian.PutUint32(s.aad[4:], seqHi)
	copy(s.aad[8:], header[4:8])
	return s.aad[:]
}
