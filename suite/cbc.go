package suite

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/binary"
	"hash"
	"sync"
)

// mac is what an integrity transform means: HMAC with a hash, cut to tagLen bytes (RFC 2404, RFC 4868 2.1).
type mac struct {
	hash           func() hash.Hash
	keyLen, tagLen int
}

func macOf(t Transform) (mac, bool) {
	if t.Type != TypeINTEG || t.KeyBits != 0 {
		return mac{}, false
	}
	switch t.ID {
	case AUTH_HMAC_SHA1_96:
		return mac{sha1.New, 20, 12}, true
	case AUTH_HMAC_SHA2_256_128:
		return mac{sha256.New, 32, 16}, true
	case AUTH_HMAC_SHA2_384_192:
		return mac{sha512.New384, 48, 24}, true
	case AUTH_HMAC_SHA2_512_256:
		return mac{sha512.New, 64, 32}, true
	}
	return mac{}, false
}

// cbc is AES-CBC (RFC 3602), then HMAC over all that was sent before the ICV (RFC 4303 3.3.2, RFC 7296 3.14).
type cbc struct {
	block   cipher.Block
	tagLen  int
	scratch sync.Pool // of *cbcScratch
}

// cbcScratch is the state of one Seal or Open. Modes and MAC are made once and then only set back.
type cbcScratch struct {
	enc, dec cbcMode
	mac      hash.Hash
	block    [aes.BlockSize]byte
	sum      [sha512.Size]byte
}

// cbcMode is what crypto/cipher returns for AES: a mode that can be used again with another IV.
type cbcMode interface {
	cipher.BlockMode
	SetIV(iv []byte)
}

func newCBC(encr, integ Transform, encKey, integKey []byte) (Cipher, error) {
	block, err := aes.NewCipher(encKey)
	if err != nil {
		return nil, errKeyLength
	}
	m, ok := macOf(integ)
	if !ok || encr.ID != ENCR_AES_CBC {
		return nil, ErrUnsupported
	}
	// Every scratch clones this one, so that the MAC key is hashed into two hash states here and not kept beside them.
	first := hmac.New(m.hash, integKey)
	first.Reset() // makes the HMAC remember its keyed states, so that a clone starts from them
	if _, err := first.(hash.Cloner).Clone(); err != nil {
		return nil, ErrUnsupported
	}
	c := &cbc{block: block, tagLen: m.tagLen}
	c.scratch.New = func() any {
		s := new(cbcScratch)
		s.enc = cipher.NewCBCEncrypter(block, s.block[:]).(cbcMode)
		s.dec = cipher.NewCBCDecrypter(block, s.block[:]).(cbcMode)
		clone, _ := first.(hash.Cloner).Clone() // it worked above
		s.mac = clone.(hash.Hash)
		return s
	}
	return c, nil
}

func (c *cbc) IVLen() int    { return aes.BlockSize }
func (c *cbc) TagLen() int   { return c.tagLen }
func (c *cbc) BlockLen() int { return aes.BlockSize }

func (c *cbc) Seal(pkt []byte, clear int, seq uint64, esn bool) {
	body := clear + aes.BlockSize
	end := len(pkt) - c.tagLen
	if end < body || (end-body)%aes.BlockSize != 0 || esn && clear != espHeaderLen {
		panic("suite: Seal without room for IV and ICV, or of a broken block")
	}
	s := c.scratch.Get().(*cbcScratch)
	// A CBC IV must not be predictable (RFC 3602 3). NIST SP 800-38A appendix C allows the block cipher, under the same
	// key, of a nonce; the sequence number is one.
	binary.BigEndian.PutUint64(s.block[:8], 0)
	binary.BigEndian.PutUint64(s.block[8:], seq)
	iv := pkt[clear:body]
	c.block.Encrypt(iv, s.block[:])
	s.enc.SetIV(iv)
	s.enc.CryptBlocks(pkt[body:end], pkt[body:end])
	copy(pkt[end:], s.icv(pkt[:end], uint32(seq>>32), esn))
	c.scratch.Put(s)
}

func (c *cbc) Open(pkt []byte, clear int, seqHi uint32, esn bool) ([]byte, error) {
	body := clear + aes.BlockSize
	end := len(pkt) - c.tagLen
	if end < body || esn && clear != espHeaderLen {
		return nil, ErrShort
	}
	if (end-body)%aes.BlockSize != 0 {
		return nil, ErrIntegrity
	}
	s := c.scratch.Get().(*cbcScratch)
	ok := subtle.ConstantTimeCompare(s.icv(pkt[:end], seqHi, esn)[:c.tagLen], pkt[end:]) == 1
	if ok {
		s.dec.SetIV(pkt[clear:body])
		s.dec.CryptBlocks(pkt[body:end], pkt[body:end])
	}
	c.scratch.Put(s)
	if !ok {
		return nil, ErrIntegrity
	}
	return pkt[body:end], nil
}

// icv is the whole HMAC over data; with extended sequence numbers their upper half follows the data although it is not
// sent (RFC 4303 2.2.1).
func (s *cbcScratch) icv(data []byte, seqHi uint32, esn bool) []byte {
	s.mac.Reset()
	s.mac.Write(data)
	if esn {
		binary.BigEndian.PutUint32(s.block[:4], seqHi)
		s.mac.Write(s.block[:4])
	}
	return s.mac.Sum(s.sum[:0])
}
