package suite

import (
	"encoding/hex"

	"filippo.io/bigmod"
)

// weierstrass is a curve y^2 = x^3 + ax + b over the integers modulo p with a prime number of points, computed with so that
// neither time nor memory access depends on coordinates and scalars: the arithmetic modulo p is that of filippo.io/bigmod,
// and one formula adds any two points. The generic curves of crypto/elliptic and the libraries that stand on them are not
// like that.
type weierstrass struct {
	p     *bigmod.Modulus
	n     *bigmod.Modulus // the number of points
	a, b  *bigmod.Nat
	b3    *bigmod.Nat // 3b
	g     point
	minus []byte // p-2, the exponent that inverts
}

// point is X:Y:Z, which stands for x = X/Z and y = Y/Z; 0:1:0 is the point at infinity. Points are not changed.
type point struct{ x, y, z *bigmod.Nat }

// newWeierstrass makes a curve of its parameters, which are correct.
func newWeierstrass(c brainpoolParams) (*weierstrass, error) {
	var numbers [6][]byte
	for i, text := range []string{c.p, c.n, c.a, c.b, c.gx, c.gy} {
		b, err := hex.DecodeString(text)
		if err != nil {
			return nil, err
		}
		numbers[i] = b
	}
	w := &weierstrass{minus: numbers[0]}
	var err error
	if w.p, err = bigmod.NewModulus(numbers[0]); err != nil {
		return nil, err
	}
	if w.n, err = bigmod.NewModulus(numbers[1]); err != nil {
		return nil, err
	}
	w.minus[len(w.minus)-1] -= 2 // no borrow: the last byte of each p is larger
	if w.a, err = bigmod.NewNat().SetBytes(numbers[2], w.p); err != nil {
		return nil, err
	}
	if w.b, err = bigmod.NewNat().SetBytes(numbers[3], w.p); err != nil {
		return nil, err
	}
	w.b3 = w.add(w.add(w.b, w.b), w.b)
	w.g, err = w.parse(numbers[4], numbers[5])
	return w, err
}

func (w *weierstrass) copy(x *bigmod.Nat) *bigmod.Nat {
	c := bigmod.NewNat().ExpandFor(w.p)
	copy(c.Bits(), x.Bits())
	return c
}

func (w *weierstrass) add(x, y *bigmod.Nat) *bigmod.Nat { return w.copy(x).Add(y, w.p) }
func (w *weierstrass) sub(x, y *bigmod.Nat) *bigmod.Nat { return w.copy(x).Sub(y, w.p) }
func (w *weierstrass) mul(x, y *bigmod.Nat) *bigmod.Nat { return w.copy(x).Mul(y, w.p) }

// parse reads a point from its coordinates, each as long as p; ErrPublic unless they are below p and meet the equation (RFC
// 6989 2.3). The number of points is prime, so that there are no small subgroups.
func (w *weierstrass) parse(xb, yb []byte) (point, error) {
	x, err := bigmod.NewNat().SetBytes(xb, w.p)
	if err != nil {
		return point{}, ErrPublic
	}
	y, err := bigmod.NewNat().SetBytes(yb, w.p)
	if err != nil {
		return point{}, ErrPublic
	}
	right := w.add(w.mul(w.add(w.mul(x, x), w.a), x), w.b)
	if w.mul(y, y).Equal(right) != 1 {
		return point{}, ErrPublic
	}
	return point{x, y, bigmod.NewNat().SetUint(1).ExpandFor(w.p)}, nil
}

// sum adds two points, be they equal, opposite or at infinity, on a curve whose number of points is odd: formula (1) of
// Renes, Costello and Batina, "Complete addition formulas for prime order elliptic curves", EUROCRYPT 2016.
func (w *weierstrass) sum(p, q point) point {
	xx, yy, zz := w.mul(p.x, q.x), w.mul(p.y, q.y), w.mul(p.z, q.z)
	// cross is p1 q2 + p2 q1 with one multiplication.
	cross := func(p1, p2, q1, q2, pp, qq *bigmod.Nat) *bigmod.Nat {
		return w.sub(w.mul(w.add(p1, p2), w.add(q1, q2)), w.add(pp, qq))
	}
	xy := cross(p.x, p.y, q.x, q.y, xx, yy)
	xz := cross(p.x, p.z, q.x, q.z, xx, zz)
	yz := cross(p.y, p.z, q.y, q.z, yy, zz)

	azz := w.mul(w.a, zz)
	s := w.add(w.mul(w.a, xz), w.mul(w.b3, zz))
	t := w.add(w.mul(w.a, w.sub(xx, azz)), w.mul(w.b3, xz))
	u := w.add(w.add(w.add(xx, xx), xx), azz)
	minus, plus := w.sub(yy, s), w.add(yy, s)
	return point{
		x: w.sub(w.mul(xy, minus), w.mul(yz, t)),
		y: w.add(w.mul(plus, minus), w.mul(u, t)),
		z: w.add(w.mul(yz, plus), w.mul(xy, u)),
	}
}

// times is scalar times p. It does the same for each bit of the scalar, whatever it is.
func (w *weierstrass) times(scalar []byte, p point) point {
	zero := func() *bigmod.Nat { return bigmod.NewNat().ExpandFor(w.p) }
	acc := point{zero(), bigmod.NewNat().SetUint(1).ExpandFor(w.p), zero()}
	for i := range 8 * len(scalar) {
		bit := uint(scalar[i/8]>>(7-i%8)) & 1
		acc = w.sum(acc, acc)
		more := w.sum(acc, p)
		take(acc.x, more.x, bit)
		take(acc.y, more.y, bit)
		take(acc.z, more.z, bit)
	}
	return acc
}

// take makes x y if bit is 1, without a branch.
func take(x, y *bigmod.Nat, bit uint) {
	xs, ys := x.Bits(), y.Bits()
	for i := range xs {
		xs[i] ^= -bit & (xs[i] ^ ys[i])
	}
}

// affine is the coordinates of a point, ErrPublic of the one at infinity.
func (w *weierstrass) affine(p point) (x, y []byte, err error) {
	if p.z.IsZero() == 1 {
		return nil, nil, ErrPublic
	}
	inverse := bigmod.NewNat().Exp(p.z, w.minus, w.p)
	return w.mul(p.x, inverse).Bytes(w.p), w.mul(p.y, inverse).Bytes(w.p), nil
}
