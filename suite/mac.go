package suite

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"hash"
)

// keyedHash makes the state of a MAC with a key. The states can be cloned, and Reset sets them back to the key.
type keyedHash func(key []byte) hash.Hash

func hmacOf(h func() hash.Hash) keyedHash {
	return func(key []byte) hash.Hash { return hmac.New(h, key) }
}

// mac is what an integrity transform means: a MAC, cut to tagLen bytes.
type mac struct {
	keyed          keyedHash
	keyLen, tagLen int
}

// macOf knows the integrity transforms (RFC 2404, RFC 4868 2.1, RFC 3566 4, RFC 4494 4).
func macOf(t Transform) (mac, bool) {
	if t.Type != TypeINTEG || t.KeyBits != 0 {
		return mac{}, false
	}
	switch t.ID {
	case AUTH_HMAC_SHA1_96:
		return mac{hmacOf(sha1.New), 20, 12}, true
	case AUTH_AES_XCBC_96:
		return mac{newXCBC, 16, 12}, true
	case AUTH_AES_CMAC_96:
		return mac{newCMAC, 16, 12}, true
	case AUTH_HMAC_SHA2_256_128:
		return mac{hmacOf(sha256.New), 32, 16}, true
	case AUTH_HMAC_SHA2_384_192:
		return mac{hmacOf(sha512.New384), 48, 24}, true
	case AUTH_HMAC_SHA2_512_256:
		return mac{hmacOf(sha512.New), 64, 32}, true
	}
	return mac{}, false
}
