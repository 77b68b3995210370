package suite

import (
	"crypto/subtle"
	"io"

	"github.com/cloudflare/circl/dh/x448"
)

// curve448 is X448 (RFC 8031, RFC 7748 5). The standard library does not have it; the Montgomery ladder of
// github.com/cloudflare/circl takes the same time for every private value.
type curve448 struct{}

func (curve448) ID() uint16 { return CURVE448 }

func (c curve448) Offer(rand io.Reader) (KEPrivate, []byte, error) {
	p := &curve448Private{known: true}
	if _, err := io.ReadFull(rand, p.key[:]); err != nil {
		p.Zero()
		return nil, nil, err
	}
	var public x448.Key
	x448.KeyGen(&public, &p.key)
	return p, public[:], nil
}

func (c curve448) Answer(rand io.Reader, offer []byte) (public, secret []byte, err error) {
	return answer(c, rand, offer)
}

type curve448Private struct {
	key   x448.Key
	known bool
}

// Finish refuses the values whose result is zero (RFC 7748 6.2); all others must be accepted (RFC 8031 3.2).
func (p *curve448Private) Finish(answer []byte) ([]byte, error) {
	if !p.known {
		return nil, errForgotten
	}
	if len(answer) != x448.Size {
		return nil, ErrPublic
	}
	public := x448.Key(answer)
	var secret, zero x448.Key
	if !x448.Shared(&secret, &p.key, &public) || subtle.ConstantTimeCompare(secret[:], zero[:]) == 1 {
		return nil, ErrPublic
	}
	return secret[:], nil
}

// Zero overwrites the private value.
func (p *curve448Private) Zero() {
	clear(p.key[:])
	p.known = false
}
