//go:build !purego

package gcm

import "golang.org/x/sys/cpu"

// best is the implementation with the widest registers that this CPU and its operating system have the instructions for.
var best = func() implementation {
	const vaes, vpclmulqdq = 1 << 9, 1 << 10 // CPUID 7, ECX
	switch x := &cpu.X86; {
	case !x.HasAES || !x.HasPCLMULQDQ || !x.HasAVX:
		return library
	case x.HasAVX512F && x.HasAVX512VL && x.HasAVX512BW && x.HasAVX512DQ && x.HasBMI2 && x.HasAVX512VAES && x.HasAVX512VPCLMULQDQ:
		return vaesAVX512
	case x.HasAVX2 && ^extendedFeatures()&(vaes|vpclmulqdq) == 0:
		return vaesAVX2
	}
	return library
}()

func (k *key) encrypt(text *byte, n int, nonceHi, nonceLo, aadHi, aadLo, aadBits uint64) (tagHi, tagLo uint64) {
	if k.by == vaesAVX512 {
		return encrypt64(k, text, n, nonceHi, nonceLo, aadHi, aadLo, aadBits)
	}
	return encrypt32(k, text, n, nonceHi, nonceLo, aadHi, aadLo, aadBits)
}

func (k *key) decrypt(text *byte, n int, nonceHi, nonceLo, aadHi, aadLo, aadBits uint64) (tagHi, tagLo uint64) {
	if k.by == vaesAVX512 {
		return decrypt64(k, text, n, nonceHi, nonceLo, aadHi, aadLo, aadBits)
	}
	return decrypt32(k, text, n, nonceHi, nonceLo, aadHi, aadLo, aadBits)
}

// encrypt64 and encrypt32 encrypt n bytes of text in place and return their tag; their names are the sizes of registers.
// nonce is the counter block that masks the tag; aad is the last block of additional data, to which GHASH of those before it is
// added, of aadBits bits in all. A block is a big-endian number.
//
//go:noescape
func encrypt64(k *key, text *byte, n int, nonceHi, nonceLo, aadHi, aadLo, aadBits uint64) (tagHi, tagLo uint64)

//go:noescape
func encrypt32(k *key, text *byte, n int, nonceHi, nonceLo, aadHi, aadLo, aadBits uint64) (tagHi, tagLo uint64)

// decrypt64 and decrypt32 decrypt n bytes of text in place and return the tag that they should have had. Else they are
// as their likes above.
//
//go:noescape
func decrypt64(k *key, text *byte, n int, nonceHi, nonceLo, aadHi, aadLo, aadBits uint64) (tagHi, tagLo uint64)

//go:noescape
func decrypt32(k *key, text *byte, n int, nonceHi, nonceLo, aadHi, aadLo, aadBits uint64) (tagHi, tagLo uint64)

// multiply returns the product of a block and a power of H, as key holds them: a block, or another power.
func multiply(aHi, aLo, bHi, bLo uint64) (hi, lo uint64)

// substitute is SubWord of FIPS 197 5.2, for a word in the order of memory.
func substitute(w uint32) uint32

// extendedFeatures is ECX of CPUID leaf 7, which every CPU with AVX2 has.
func extendedFeatures() uint32
