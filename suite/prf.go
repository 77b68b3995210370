package suite

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"hash"
)

// PRF is a negotiated pseudorandom function. It is a value without state, safe for concurrent use; the zero PRF is not
// usable.
type PRF struct {
	hash func() hash.Hash
	size int
}

// NewPRF returns the function of a transform of type PRF, or ErrUnsupported.
func NewPRF(t Transform) (PRF, error) {
	if t.Type != TypePRF || t.KeyBits != 0 {
		return PRF{}, ErrUnsupported
	}
	switch t.ID {
	case PRF_HMAC_SHA1:
		return PRF{sha1.New, sha1.Size}, nil
	case PRF_HMAC_SHA2_256:
		return PRF{sha256.New, sha256.Size}, nil
	case PRF_HMAC_SHA2_384:
		return PRF{sha512.New384, sha512.Size384}, nil
	case PRF_HMAC_SHA2_512:
		return PRF{sha512.New, sha512.Size}, nil
	}
	return PRF{}, ErrUnsupported
}

// Size is the length of the output in bytes, which for these functions is also the preferred key length (RFC 7296 2.13,
// RFC 4868 2.1.2) and so the length of SK_d, SK_pi and SK_pr.
func (p PRF) Size() int { return p.size }

// Sum is prf(key, data...): the pieces of data are concatenated. Keys of any length are allowed, as a shared secret is one.
func (p PRF) Sum(key []byte, data ...[]byte) []byte {
	mac := hmac.New(p.hash, key)
	for _, d := range data {
		mac.Write(d)
	}
	return mac.Sum(make([]byte, 0, p.size))
}

// Plus is the first n bytes of prf+(key, seed) (RFC 7296 2.13):
//
//	T1 = prf(key, seed | 0x01), T2 = prf(key, T1 | seed | 0x02), ...
//
// The counter is one byte, so n is at most 255*Size; more is a mistake of the caller and panics.
func (p PRF) Plus(key, seed []byte, n int) []byte {
	blocks := (n + p.size - 1) / p.size
	if n < 0 || blocks > 255 {
		panic("suite: prf+ cannot make that many bytes")
	}
	out := make([]byte, 0, blocks*p.size)
	mac := hmac.New(p.hash, key)
	for i := 1; i <= blocks; i++ {
		mac.Reset()
		if i > 1 {
			mac.Write(out[len(out)-p.size:])
		}
		mac.Write(seed)
		mac.Write([]byte{byte(i)})
		out = mac.Sum(out)
	}
	// Bytes beyond n would be key material nobody asked for and nobody would zero.
	clear(out[n:])
	return out[:n:n]
}
