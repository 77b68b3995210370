package suite

import (
	"golang.org/x/crypto/chacha20poly1305"

	"github.com/culvert-vpn/culvert/internal/prefetch"
)

// Cipher protects the packets of one direction: the SK payload of an IKE SA and the packets of an ESP SA alike. It is
// encryption and integrity together, be it an AEAD or a block cipher with a MAC. AES-GMAC, for ESP only, has no encryption:
// what is called ciphertext below is then the plaintext. Ciphers are safe for concurrent use and Seal and Open do not
// allocate.
type Cipher interface {
	// IVLen is the length in bytes of the explicit IV on the wire: 16 for CBC, 8 otherwise.
	IVLen() int
	// TagLen is the length in bytes of the integrity check value (ICV).
	TagLen() int
	// BlockLen is what the plaintext's length must be a multiple of: 16 for CBC, 1 otherwise.
	BlockLen() int
	// Seal protects pkt in place. pkt holds clear bytes of header, which are authenticated but not encrypted, IVLen bytes
	// of room, the plaintext, and TagLen bytes of room; Seal fills both rooms. seq must never repeat under one key: the IV
	// is made of it. With esn the upper 32 bits of seq are authenticated although they are not sent, and clear must be 8,
	// the header of ESP. A pkt without the needed room, or a plaintext that is no multiple of BlockLen, is a mistake of
	// the caller and panics.
	Seal(pkt []byte, clear int, seq uint64, esn bool)
	// Open checks pkt, decrypts it in place and returns the plaintext, which is a part of pkt. With esn, seqHi is the
	// implied upper half of the sequence number and clear must be 8. The error is ErrShort or ErrIntegrity; after
	// ErrIntegrity the ciphertext in pkt may have been overwritten, and holds no plaintext.
	Open(pkt []byte, clear int, seqHi uint32, esn bool) ([]byte, error)
}

// Prefetch has the keys of a cipher fetched into the caches, if there are so many of them that it is worth while. It does not wait.
func Prefetch(c Cipher) {
	if c, ok := c.(*aesGCM); ok {
		prefetch.Value(c)
	}
}

// espHeaderLen is SPI and sequence number (RFC 4303 2); 64-bit sequence numbers exist in ESP only.
const espHeaderLen = 8

// NewCipher makes the cipher of one direction. integ is the zero Transform or AUTH_NONE for an AEAD. The lengths of the keys
// must be those of KeyLens: for an AEAD encKey ends with the salt (RFC 4106 8.1, RFC 4309 7.1, RFC 4543 5.4, RFC 7634 2), for
// AES-CTR with the nonce (RFC 3686 5.1). The keys are expanded, the
// caller keeps and zeroes its own. The error is ErrUnsupported, or errKeyLength.
func NewCipher(encr, integ Transform, encKey, integKey []byte) (Cipher, error) {
	encLen, integLen, err := KeyLens(encr, integ)
	if err != nil {
		return nil, err
	}
	if len(encKey) != encLen || len(integKey) != integLen {
		return nil, errKeyLength
	}
	switch encr.ID {
	case ENCR_AES_CCM_8, ENCR_AES_CCM_12, ENCR_AES_CCM_16:
		return newAESCCM(encKey, 8+4*int(encr.ID-ENCR_AES_CCM_8))
	case ENCR_AES_GCM_8, ENCR_AES_GCM_12, ENCR_AES_GCM_16:
		return newAESGCM(encKey, 8+4*int(encr.ID-ENCR_AES_GCM_8))
	case ENCR_NULL_AUTH_AES_GMAC:
		return newAESGMAC(encKey)
	case ENCR_CHACHA20_POLY1305:
		return newChaCha20Poly1305(encKey)
	}
	return newEtM(encr, integ, encKey, integKey)
}

// KeyLens returns how many bytes of key material a cipher needs for encryption, salt or nonce included, and for integrity. The
// error is ErrUnsupported for transforms Culvert does not implement or that do not go together: an AEAD with an integrity
// algorithm, or a plain cipher without one (RFC 7296 3.3, RFC 5282 8).
func KeyLens(encr, integ Transform) (enc, integKey int, err error) {
	if !Supported(encr) || encr.Type != TypeENCR {
		return 0, 0, ErrUnsupported
	}
	none := integ == Transform{} || integ == Transform{Type: TypeINTEG, ID: AUTH_NONE}
	if encr.aead() != none {
		return 0, 0, ErrUnsupported
	}
	if !none {
		m, ok := macOf(integ)
		if !ok {
			return 0, 0, ErrUnsupported
		}
		integKey = m.keyLen
	}
	return encr.keyLen(), integKey, nil
}

// keyLen is the length in bytes of the key material of a supported cipher.
func (t Transform) keyLen() int {
	key := int(t.KeyBits) / 8
	switch t.ID {
	case ENCR_AES_CBC:
		return key
	case ENCR_AES_CTR:
		return key + ctrNonceLen
	case ENCR_AES_CCM_8, ENCR_AES_CCM_12, ENCR_AES_CCM_16:
		return key + ccmSaltLen
	case ENCR_CHACHA20_POLY1305:
		return chacha20poly1305.KeySize + saltLen // RFC 7634 2
	}
	return key + saltLen
}

// aead reports whether the transform is a combined-mode cipher of the registry, implemented or not.
func (t Transform) aead() bool {
	if t.Type != TypeENCR {
		return false
	}
	switch id := t.ID; {
	case id >= 14 && id <= 16, id >= 18 && id <= 21, id >= 25 && id <= 35:
		return true
	}
	return false
}

// Supported reports whether Culvert implements the transform, its key length included: AES needs a Key Length attribute of
// 128, 192 or 256, and everything else must have none (RFC 7296 3.3.5). The values that mean "none" are supported too.
func Supported(t Transform) bool {
	switch t.Type {
	case TypeENCR:
		switch t.ID {
		case ENCR_AES_CBC, ENCR_AES_CTR, ENCR_AES_CCM_8, ENCR_AES_CCM_12, ENCR_AES_CCM_16,
			ENCR_AES_GCM_8, ENCR_AES_GCM_12, ENCR_AES_GCM_16, ENCR_NULL_AUTH_AES_GMAC:
			return t.KeyBits == 128 || t.KeyBits == 192 || t.KeyBits == 256
		case ENCR_CHACHA20_POLY1305:
			return t.KeyBits == 0 // RFC 7634 4
		}
	case TypePRF:
		_, err := NewPRF(t)
		return err == nil
	case TypeINTEG:
		_, ok := macOf(t)
		return ok || t.ID == AUTH_NONE && t.KeyBits == 0
	case TypeKE:
		return t.KeyBits == 0 && (t.ID == KE_NONE || KEPublicLen(t.ID) != 0)
	case TypeESN:
		return t.KeyBits == 0 && t.ID <= ESN
	}
	return false
}
