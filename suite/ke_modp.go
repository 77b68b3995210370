package suite

import (
	"encoding/hex"
	"io"

	"filippo.io/bigmod"
)

// modp is a group of integers modulo a prime. The exponentiation is that of filippo.io/bigmod, whose time does not depend on
// the exponent; math/big promises no such thing.
type modp struct {
	id        uint16
	prime     string // hexadecimal, as all of them
	exponent  int    // bytes of a private value
	generator string // "": 2
	order     string // of the generator; "": the prime is safe, and no subgroup is small but {1, p-1}
}

// modpOf knows the groups. The length of the exponent is the larger one of RFC 3526 section 8, twice the higher estimate of
// the group's strength, in whole bytes; for 1024 bits, of which it does not speak, that of 1536. With a known order the
// exponent is 8 bytes longer than it, so that what remains modulo the order is as good as uniform.
func modpOf(id uint16) (modp, bool) {
	switch id {
	case MODP1024:
		return modp{id: id, prime: prime1024, exponent: 30}, true
	case MODP1536:
		return modp{id: id, prime: prime1536, exponent: 30}, true
	case MODP2048:
		return modp{id: id, prime: prime2048, exponent: 40}, true
	case MODP3072:
		return modp{id: id, prime: prime3072, exponent: 53}, true
	case MODP4096:
		return modp{id: id, prime: prime4096, exponent: 60}, true
	case MODP6144:
		return modp{id: id, prime: prime6144, exponent: 68}, true
	case MODP8192:
		return modp{id: id, prime: prime8192, exponent: 78}, true
	case MODP1024S160:
		return modp{id, prime1024s160, 20 + 8, generator1024s160, order1024s160}, true
	case MODP2048S224:
		return modp{id, prime2048s224, 28 + 8, generator2048s224, order2048s224}, true
	case MODP2048S256:
		return modp{id, prime2048s256, 32 + 8, generator2048s256, order2048s256}, true
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

// base is the generator.
func (g modp) base(p *bigmod.Modulus) (*bigmod.Nat, error) {
	if g.generator == "" {
		return bigmod.NewNat().SetUint(2).ExpandFor(p), nil
	}
	b, err := hex.DecodeString(g.generator)
	if err != nil {
		return nil, err
	}
	return bigmod.NewNat().SetBytes(b, p)
}

// generated reports whether r is a power of the generator. In a group with a safe prime r may be any number in range.
func (g modp) generated(r *bigmod.Nat, p *bigmod.Modulus) bool {
	if g.order == "" {
		return true
	}
	q, err := hex.DecodeString(g.order)
	return err == nil && bigmod.NewNat().Exp(r, q, p).IsOne() == 1
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
	generator, err := g.base(p)
	if err != nil {
		return nil, nil, err
	}
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

// Finish accepts 1 < r < p-1 of the right length only, in groups with small subgroups r^q = 1 besides (RFC 6989 2.1, 2.2, RFC
// 7296 3.4). The secret is as long as the modulus,
// with leading zeros if need be (RFC 7296 2.14).
func (m *modpPrivate) Finish(answer []byte) ([]byte, error) {
	if m.x == nil {
		return nil, errForgotten
	}
	if len(answer) != m.group.size() {
		return nil, ErrPublic
	}
	r, err := bigmod.NewNat().SetBytes(answer, m.p) // refuses r >= p
	if err != nil || r.IsZero() == 1 || r.IsOne() == 1 || r.IsMinusOne(m.p) == 1 || !m.group.generated(r, m.p) {
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
