package suite

import (
	"crypto/cipher"
	"crypto/subtle"
	"sync"
)

// shortGCM is AES-GCM with a tag of 8 bytes, which crypto/cipher does not have. It is a cipher.AEAD for this package only.
type shortGCM struct {
	gcm     cipher.AEAD
	tagLen  int
	scratch sync.Pool // of *[]byte, which grow with the packets
}

func newShortGCM(gcm cipher.AEAD, tagLen int) *shortGCM {
	s := &shortGCM{gcm: gcm, tagLen: tagLen}
	s.scratch.New = func() any { return new([]byte) }
	return s
}

func (g *shortGCM) NonceSize() int { return g.gcm.NonceSize() }
func (g *shortGCM) Overhead() int  { return g.tagLen }

func (g *shortGCM) Seal(dst, nonce, plain, aad []byte) []byte {
	buf := g.scratch.Get().(*[]byte)
	*buf = g.gcm.Seal((*buf)[:0], nonce, plain, aad)
	dst = append(dst, (*buf)[:len(plain)+g.tagLen]...)
	g.scratch.Put(buf)
	return dst
}

// Open must make the tag itself, because the part that was sent is not enough for the Open of crypto/cipher. Encryption and
// decryption are the same in GCM, so that sealing the ciphertext gives the plaintext, and sealing that gives the tag.
func (g *shortGCM) Open(dst, nonce, sealed, aad []byte) ([]byte, error) {
	if len(sealed) < g.tagLen {
		return nil, ErrShort
	}
	end := len(sealed) - g.tagLen
	buf := g.scratch.Get().(*[]byte)
	*buf = g.gcm.Seal((*buf)[:0], nonce, sealed[:end], aad)
	out := append(dst, (*buf)[:end]...)
	*buf = g.gcm.Seal((*buf)[:0], nonce, (*buf)[:end], aad) // leaves no plaintext in the scratch
	ok := subtle.ConstantTimeCompare((*buf)[end:end+g.tagLen], sealed[end:]) == 1
	g.scratch.Put(buf)
	if !ok {
		clear(out[len(dst):])
		return nil, ErrIntegrity
	}
	return out, nil
}
