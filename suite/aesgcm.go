package suite

import (
	"encoding/binary"

	"github.com/culvert-vpn/culvert/suite/internal/gcm"
)

// aesGCM is AES-GCM (RFC 4106, in IKE RFC 5282) by the instructions of the CPU. Its twin on other CPUs is an aead. It holds its key
// itself, so that who knows where it is knows where the key is.
type aesGCM struct {
	gcm    gcm.AEAD // first, for its place in cache lines
	salt   uint32
	tagLen int
}

// newAESGCM makes AES-GCM with an ICV of 8, 12 or 16 bytes (RFC 4106 6).
func newAESGCM(key []byte, tagLen int) (Cipher, error) {
	if !gcm.Supported() {
		return newPortableAESGCM(key, tagLen)
	}
	c := &aesGCM{salt: binary.BigEndian.Uint32(key[len(key)-saltLen:]), tagLen: tagLen}
	if err := c.gcm.Init(key[:len(key)-saltLen]); err != nil {
		return nil, errKeyLength
	}
	return c, nil
}

// AESGCM names what computes AES-GCM on this CPU: "vaes-avx512", "vaes-avx2", or "library" for crypto/cipher.
func AESGCM() string { return gcm.Name() }

func (c *aesGCM) IVLen() int    { return aeadIVLen }
func (c *aesGCM) TagLen() int   { return c.tagLen }
func (c *aesGCM) BlockLen() int { return 1 }

func (c *aesGCM) Seal(pkt []byte, clear int, seq uint64, esn bool) {
	body := clear + aeadIVLen
	end := len(pkt) - c.tagLen
	if end < body || esn && clear != espHeaderLen {
		panic("suite: Seal without room for IV and ICV")
	}
	binary.BigEndian.PutUint64(pkt[clear:body], seq)
	tag := c.gcm.Seal(pkt[body:end], c.salt, seq, c.additional(pkt[:clear], uint32(seq>>32), esn))
	tag.Put(pkt[end:])
}

func (c *aesGCM) Open(pkt []byte, clear int, seqHi uint32, esn bool) ([]byte, error) {
	body := clear + aeadIVLen
	end := len(pkt) - c.tagLen
	if end < body || esn && clear != espHeaderLen {
		return nil, ErrShort
	}
	iv := binary.BigEndian.Uint64(pkt[clear:])
	text := pkt[body:end]
	if tag := c.gcm.Open(text, c.salt, iv, c.additional(pkt[:clear], seqHi, esn)); !tag.Equal(pkt[end:]) {
		wipe(text)
		return nil, ErrIntegrity
	}
	return text, nil
}

// additional is the additional authenticated data, as of an aead.
func (c *aesGCM) additional(header []byte, seqHi uint32, esn bool) gcm.Additional {
	if len(header) != espHeaderLen {
		return c.gcm.Additional(header)
	}
	spi, seq := binary.BigEndian.Uint32(header), binary.BigEndian.Uint32(header[4:])
	if esn {
		return gcm.ExtendedHeader(spi, seqHi, seq)
	}
	return gcm.Header(spi, seq)
}

// wipe is the builtin clear, whose name is that of a parameter here.
func wipe(b []byte) { clear(b) }
