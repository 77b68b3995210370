package suite

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
)

const (
	ctrNonceLen = 4 // RFC 3686 4: the part of the counter block that the key material ends with
	ctrIVLen    = 8 // RFC 3686 3.1
)

// counter makes the key stream of a block cipher in counter mode, whose counter is the last four bytes of the block. The
// streams of crypto/cipher cannot be set back and would be allocated for each packet.
type counter struct {
	block  cipher.Block
	input  [aes.BlockSize]byte
	stream [aes.BlockSize]byte
}

// xor adds the key stream to body in place, from block first of it on.
func (c *counter) xor(body []byte, first uint32) {
	for n := first; len(body) > 0; n++ {
		binary.BigEndian.PutUint32(c.input[aes.BlockSize-4:], n)
		c.block.Encrypt(c.stream[:], c.input[:])
		body = body[subtle.XORBytes(body, body, c.stream[:]):]
	}
}

// ctr is AES-CTR (RFC 3686, RFC 5930): the counter block is nonce | IV | counter, and the counter starts with 1.
type ctr struct{ counter }

// ctrModes returns a maker of modes that share one key schedule.
func ctrModes(key []byte) (func() mode, error) {
	block, err := aes.NewCipher(key[:len(key)-ctrNonceLen])
	if err != nil {
		return nil, errKeyLength
	}
	nonce := [ctrNonceLen]byte(key[len(key)-ctrNonceLen:])
	return func() mode {
		c := &ctr{counter{block: block}}
		copy(c.input[:], nonce[:])
		return c
	}, nil
}

func (c *ctr) seal(iv, body []byte, seq uint64) {
	binary.BigEndian.PutUint64(iv, seq)
	c.open(iv, body)
}

func (c *ctr) open(iv, body []byte) {
	copy(c.input[ctrNonceLen:], iv)
	c.xor(body, 1)
}
