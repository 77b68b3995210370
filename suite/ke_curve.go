package suite

import (
	"crypto/ecdh"
	"io"
)

// curve is an elliptic curve method: X25519 (RFC 8031) or a prime curve (RFC 5903).
type curve struct {
	id     uint16
	curve  ecdh.Curve
	scalar int  // bytes of a private value, and of a coordinate
	mask   byte // of the first byte of a private value: bits above the order would only be drawn to be refused
}

func curveOf(id uint16) (curve, bool) {
	switch id {
	case CURVE25519:
		return curve{id, ecdh.X25519(), 32, 0xff}, true
	case ECP256:
		return curve{id, ecdh.P256(), 32, 0xff}, true
	case ECP384:
		return curve{id, ecdh.P384(), 48, 0xff}, true
	case ECP521:
		return curve{id, ecdh.P521(), 66, 0x01}, true
	}
	return curve{}, false
}

func (c curve) ID() uint16 { return c.id }

func (c curve) publicLen() int {
	if c.id == CURVE25519 {
		return c.scalar
	}
	return 2 * c.scalar // x | y, each padded to whole octets (RFC 5903 7)
}

// maxDraws bounds the search for a private value below the order of a curve. The order of P-521 is 2^521 less a little, so
// even the worst curve refuses one draw in 2^32 or less; a source that is refused this often is no source of randomness.
const maxDraws = 8

func (c curve) Offer(rand io.Reader) (KEPrivate, []byte, error) {
	// The bytes are drawn here, because crypto/ecdh ignores the reader given to GenerateKey.
	scalar := make([]byte, c.scalar)
	defer clear(scalar)
	for range maxDraws {
		if _, err := io.ReadFull(rand, scalar); err != nil {
			return nil, nil, err
		}
		scalar[0] &= c.mask
		key, err := c.curve.NewPrivateKey(scalar)
		if err != nil {
			continue // zero, or not below the order
		}
		public := key.PublicKey().Bytes()
		if c.id != CURVE25519 {
			public = public[1:] // crypto/ecdh puts a 4, "uncompressed", before x | y
		}
		return &curvePrivate{c, key}, public, nil
	}
	return nil, nil, errRandom
}

func (c curve) Answer(rand io.Reader, offer []byte) (public, secret []byte, err error) {
	return answer(c, rand, offer)
}

type curvePrivate struct {
	curve curve
	key   *ecdh.PrivateKey
}

// Finish refuses points that are not on the curve (RFC 6989 2.3), which crypto/ecdh checks, and for X25519 the values whose
// result is zero (RFC 7748 6.1); other unusual values of X25519 must be accepted (RFC 8031 3.2). The secret of a prime
// curve is x alone (RFC 5903 7).
func (p *curvePrivate) Finish(answer []byte) ([]byte, error) {
	if p.key == nil {
		return nil, errForgotten
	}
	if len(answer) != p.curve.publicLen() {
		return nil, ErrPublic
	}
	if p.curve.id != CURVE25519 {
		answer = append([]byte{4}, answer...)
	}
	public, err := p.curve.curve.NewPublicKey(answer)
	if err != nil {
		return nil, ErrPublic
	}
	secret, err := p.key.ECDH(public)
	if err != nil {
		return nil, ErrPublic
	}
	return secret, nil
}

// Zero drops the key. Its bytes are inside crypto/ecdh, out of reach, until the garbage collector takes them.
func (p *curvePrivate) Zero() { p.key = nil }
