package suite

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
)

// cbc is AES-CBC (RFC 3602).
type cbc struct {
	block    cipher.Block
	enc, dec cbcMode
	counter  [aes.BlockSize]byte
}

// cbcMode is what crypto/cipher returns for AES: a mode that can be used again with another IV.
type cbcMode interface {
	cipher.BlockMode
	SetIV(iv []byte)
}

// cbcModes returns a maker of modes that share one key schedule.
func cbcModes(key []byte) (func() mode, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, errKeyLength
	}
	return func() mode {
		c := &cbc{block: block}
		c.enc = cipher.NewCBCEncrypter(block, c.counter[:]).(cbcMode)
		c.dec = cipher.NewCBCDecrypter(block, c.counter[:]).(cbcMode)
		return c
	}, nil
}

// seal needs an IV nobody can predict (RFC 3602 3). NIST SP 800-38A appendix C allows the block cipher, under the same key, of
// a nonce; the sequence number is one.
func (c *cbc) seal(iv, body []byte, seq uint64) {
	binary.BigEndian.PutUint64(c.counter[8:], seq)
	c.block.Encrypt(iv, c.counter[:])
	c.enc.SetIV(iv)
	c.enc.CryptBlocks(body, body)
}

func (c *cbc) open(iv, body []byte) {
	c.dec.SetIV(iv)
	c.dec.CryptBlocks(body, body)
}
