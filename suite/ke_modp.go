package suite

import (
	"encoding/hex"
	"io"

	"filippo.io/bigmod"
)

// modp is a group of RFC 3526: the generator is 2, the modulus a safe prime. The exponentiation is that of
// filippo.io/bigmod, whose time does not depend on the exponent; math/big promises no such thing.
type modp struct {
	id       uint16
	prime    string // hexadecimal
	exponent int    // bytes of a private value
}

// modpOf knows the groups. The length of the exponent is the larger one of RFC 3526 section 8, twice the higher estimate of
// the group's strength, in whole bytes.
func modpOf(id uint16) (modp, bool) {
	switch id {
	case MODP2048:
		return modp{id, prime2048, 40}, true
	case MODP3072:
		return modp{id, prime3072, 53}, true
	case MODP4096:
		return modp{id, prime4096, 60}, true
	case MODP6144:
		return modp{id, prime6144, 68}, true
	case MODP8192:
		return modp{id, prime8192, 78}, true
	}
	return modp{}, false
}

func (g modp) ID() uint16 { return g.id }

func (g modp) size() int { return len(g.prime) / 2 }

func (g modp) modulus() (*bigmod.Modulus, error) {
	p, err := hex.DecodeString(g.prime)
	if err != nil {
		return nil, err
	}
	return bigmod.NewModulus(p)
}

func (g modp) Offer(rand io.Reader) (KEPrivate, []byte, error) {
	p, err := g.modulus()
	if err != nil {
		return nil, nil, err
	}
	x := make([]byte, g.exponent)
	if _, err := io.ReadFull(rand, x); err != nil {
		return nil, nil, err
	}
	x[0] |= 0x80 // full length, whatever was drawn: never zero, and g^x has wrapped around the modulus many times
	generator := bigmod.NewNat().SetUint(2).ExpandFor(p)
	public := bigmod.NewNat().Exp(generator, x, p).Bytes(p)
	return &modpPrivate{g, p, x}, public, nil
}

func (g modp) Answer(rand io.Reader, offer []byte) (public, secret []byte, err error) {
	return answer(g, rand, offer)
}

type modpPrivate struct {
	group modp
	p     *bigmod.Modulus
	x     []byte
}

// Finish accepts 1 < r < p-1 of the right length only (RFC 6989 2.1, RFC 7296 3.4). The secret is as long as the modulus,
// with leading zeros if need be (RFC 7296 2.14).
func (m *modpPrivate) Finish(answer []byte) ([]byte, error) {
	if m.x == nil {
		return nil, errForgotten
	}
	if len(answer) != m.group.size() {
		return nil, ErrPublic
	}
	r, err := bigmod.NewNat().SetBytes(answer, m.p) // refuses r >= p
	if err != nil || r.IsZero() == 1 || r.IsOne() == 1 || r.IsMinusOne(m.p) == 1 {
		return nil, ErrPublic
	}
	z := bigmod.NewNat().Exp(r, m.x, m.p)
	secret := z.Bytes(m.p)
	clear(z.Bits())
	return secret, nil
}

// Zero overwrites the exponent.
func (m *modpPrivate) Zero() {
	clear(m.x)
	m.x = nil
}
