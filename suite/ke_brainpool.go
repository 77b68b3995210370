package suite

import (
	"io"

	"filippo.io/bigmod"
)

// brainpool is a key exchange method over a curve of RFC 5639 (RFC 6954).
type brainpool struct {
	id     uint16
	params brainpoolParams
}

// brainpoolParams are in hexadecimal, each as long as p.
type brainpoolParams struct{ p, n, a, b, gx, gy string }

func (c brainpool) ID() uint16 { return c.id }

func (c brainpool) scalarLen() int { return len(c.params.n) / 2 }

func (c brainpool) publicLen() int { return 2 * c.scalarLen() } // x | y (RFC 6954 2.3)

// maxBrainpoolDraws bounds the search for a private value below the order, as maxDraws does. Of these orders the worst
// refuses 45 draws in 100, so that it fails once in 10^44.
const maxBrainpoolDraws = 128

func (c brainpool) Offer(rand io.Reader) (KEPrivate, []byte, error) {
	curve, err := newWeierstrass(c.params)
	if err != nil {
		return nil, nil, err
	}
	scalar := make([]byte, c.scalarLen())
	for range maxBrainpoolDraws {
		if _, err := io.ReadFull(rand, scalar); err != nil {
			clear(scalar)
			return nil, nil, err
		}
		k, err := bigmod.NewNat().SetBytes(scalar, curve.n)
		if err != nil {
			continue // not below the order
		}
		zero := k.IsZero()
		clear(k.Bits())
		if zero == 1 {
			continue
		}
		x, y, err := curve.affine(curve.times(scalar, curve.g))
		if err != nil {
			return nil, nil, err
		}
		return &brainpoolPrivate{curve, scalar}, append(x, y...), nil
	}
	return nil, nil, errRandom
}

func (c brainpool) Answer(rand io.Reader, offer []byte) (public, secret []byte, err error) {
	return answer(c, rand, offer)
}

type brainpoolPrivate struct {
	curve  *weierstrass
	scalar []byte
}

// Finish refuses points that are not on the curve (RFC 6954 3). The secret is x alone (RFC 6954 2.3).
func (p *brainpoolPrivate) Finish(answer []byte) ([]byte, error) {
	if p.scalar == nil {
		return nil, errForgotten
	}
	n := p.curve.p.Size()
	if len(answer) != 2*n {
		return nil, ErrPublic
	}
	public, err := p.curve.parse(answer[:n], answer[n:])
	if err != nil {
		return nil, err
	}
	x, y, err := p.curve.affine(p.curve.times(p.scalar, public))
	clear(y)
	return x, err
}

// Zero overwrites the private value.
func (p *brainpoolPrivate) Zero() {
	clear(p.scalar)
	p.scalar = nil
}
