package suite

import (
	"crypto/subtle"
	"io"

	"github.com/cloudflare/circl/dh/x25519"
)

// curve25519 is X25519 (RFC 8031, RFC 7748 5) where github.com/cloudflare/circl has assembly for it: there it takes about half the time
// of crypto/ecdh, which is most of what setting up an IKE SA takes. It too takes the same time for every private value.
type curve25519 struct{}

func (curve25519) ID() uint16 { return CURVE25519 }

func (c curve25519) Offer(rand io.Reader) (KEPrivate, []byte, error) {
	p := &curve25519Private{known: true}
	if _, err := io.ReadFull(rand, p.key[:]); err != nil {
		p.Zero()
		return nil, nil, err
	}
	var public x25519.Key
	x25519.KeyGen(&public, &p.key)
	return p, public[:], nil
}

func (c curve25519) Answer(rand io.Reader, offer []byte) (public, secret []byte, err error) {
	return answer(c, rand, offer)
}

type curve25519Private struct {
	key   x25519.Key
	known bool
}

// Finish refuses the values whose result is zero (RFC 7748 6.1); all others must be accepted (RFC 8031 3.2).
func (p *curve25519Private) Finish(answer []byte) ([]byte, error) {
	if !p.known {
		return nil, errForgotten
	}
	if len(answer) != x25519.Size {
		return nil, ErrPublic
	}
	public := x25519.Key(answer)
	var secret, zero x25519.Key
	if !x25519.Shared(&secret, &p.key, &public) || subtle.ConstantTimeCompare(secret[:], zero[:]) == 1 {
		return nil, ErrPublic
	}
	return secret[:], nil
}

// Zero overwrites the private value.
func (p *curve25519Private) Zero() {
	clear(p.key[:])
	p.known = false
}
