package suite

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
)

// PRF is a negotiated pseudorandom function. It is a value without state, safe for concurrent use; the zero PRF is not
// usable.
type PRF struct {
	keyed keyedHash
	size  int
	fixed bool
}

// NewPRF returns the function of a transform of type PRF, or ErrUnsupported.
func NewPRF(t Transform) (PRF, error) {
	if t.Type != TypePRF || t.KeyBits != 0 {
		return PRF{}, ErrUnsupported
	}
	switch t.ID {
	case PRF_HMAC_SHA1:
		return PRF{keyed: hmacOf(sha1.New), size: sha1.Size}, nil
	case PRF_AES128_XCBC:
		return PRF{keyed: newXCBCPRF, size: 16, fixed: true}, nil
	case PRF_HMAC_SHA2_256:
		return PRF{keyed: hmacOf(sha256.New), size: sha256.Size}, nil
	case PRF_HMAC_SHA2_384:
		return PRF{keyed: hmacOf(sha512.New384), size: sha512.Size384}, nil
	case PRF_HMAC_SHA2_512:
		return PRF{keyed: hmacOf(sha512.New), size: sha512.Size}, nil
	case PRF_AES128_CMAC:
		return PRF{keyed: newCMACPRF, size: 16, fixed: true}, nil
	}
	return PRF{}, ErrUnsupported
}

// Size is the length of the output in bytes, which for these functions is also the preferred key length (RFC 7296 2.13,
// RFC 4868 2.1.2, RFC 4434 2) and so the length of SK_d, SK_pi and SK_pr.
func (p PRF) Size() int { return p.size }

// NonceKey is the key that SKEYSEED is made with: Ni | Nr, or for AES-XCBC and AES-CMAC, whose keys were once of fixed length,
// the first 8 bytes of each (RFC 7296 2.14). The result is the caller's.
func (p PRF) NonceKey(ni, nr []byte) []byte {
	if p.fixed {
		ni, nr = ni[:min(len(ni), p.size/2)], nr[:min(len(nr), p.size/2)]
	}
	return append(append(make([]byte, 0, len(ni)+len(nr)), ni...), nr...)
}

// Sum is prf(key, data...): the pieces of data are concatenated. Keys of any length are allowed, as a shared secret is one.
func (p PRF) Sum(key []byte, data ...[]byte) []byte {
	mac := p.keyed(key)
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
	mac := p.keyed(key)
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
