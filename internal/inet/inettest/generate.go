package inettest

import (
	"encoding/binary"
	"hash/fnv"
	"math/rand/v2"
	"net/netip"
)

// Dice are the decisions of a random test. They are read from the input of a fuzz target, and when that is used up they
// are thrown with a seed that depends on it, so that every input is a whole test and the fuzzer can change each decision.
type Dice struct {
	input []byte
	rng   *rand.Rand
}

// NewDice takes the decisions from input.
func NewDice(input []byte) *Dice {
	h := fnv.New64a()
	_, _ = h.Write(input) // never fails
	return &Dice{input, rand.New(rand.NewPCG(h.Sum64(), uint64(len(input))))}
}

// N is a number of 0 to n-1, n at most 65536.
func (d *Dice) N(n int) int {
	if len(d.input) < 2 {
		return d.rng.IntN(n)
	}
	x := int(binary.LittleEndian.Uint16(d.input))
	d.input = d.input[2:]
	return x % n
}

// One reports true once in n times.
func (d *Dice) One(n int) bool { return d.N(n) == n-1 } // zeros in the input are what is usual

// Of picks one.
func Of[T any](d *Dice, list ...T) T { return list[d.N(len(list))] }

// Bytes are n random bytes, which no input decides.
func (d *Dice) Bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(d.rng.Uint32())
	}
	return b
}

// Number is 32 random bits, or close to where they wrap.
func (d *Dice) Number() uint32 {
	return Of(d, d.rng.Uint32(), 0xffffffff-uint32(d.N(4000)), 0)
}

// Flow is the first packet of a flow between these addresses, without payload. A quarter has IP options or a destination
// options header, if there may be some.
func (d *Dice) Flow(src, dst netip.Addr, options bool) Packet {
	p := Packet{
		Src: src, Dst: dst, TOS: Of[byte](d, 0, 0, 1, 2, 3, 0x28, 0xb9), TTL: Of[byte](d, 64, 63, 1, 255),
		ID: uint16(d.Number()), Fragment: Of[uint16](d, 0x4000, 0x4000, 0), Label: d.Number() & 0xfffff,
		Protocol: Of[byte](d, TCP, TCP, UDP), SrcPort: uint16(1024 + d.N(4)), DstPort: 443,
	}
	if options && d.One(4) {
		if src.Is4() {
			p.Options = repeat(1, 4*(1+d.N(10))) // NOP
		} else {
			n := 1 + d.N(4)
			p.Options = append([]byte{byte(n - 1), 1, byte(8*n - 4)}, make([]byte, 8*n-4)...) // PadN
		}
	}
	if p.Protocol == UDP {
		return p
	}
	p.Seq, p.Ack = d.Number(), d.Number()
	p.Flags, p.Window = ACK, uint16(d.N(65536))
	p.TCPOptions = Of(d, nil, append([]byte{1, 1, 8, 10}, d.Bytes(8)...), append([]byte{1, 1, 5, 10}, d.Bytes(8)...), repeat(1, 40))
	if d.One(8) {
		p.Reserved = 1 // AccECN
	}
	return p
}

func repeat(x byte, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = x
	}
	return b
}
