//go:build !purego

package gcm

import "golang.org/x/sys/cpu"

var supported = cpu.X86.HasAES && cpu.X86.HasPCLMULQDQ && cpu.X86.HasBMI2 &&
	cpu.X86.HasAVX512F && cpu.X86.HasAVX512VL && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512DQ &&
	cpu.X86.HasAVX512VAES && cpu.X86.HasAVX512VPCLMULQDQ

// encrypt encrypts n bytes of text in place and returns their tag. nonce is the counter block that masks the tag; aad is the last
// block of additional data, to which GHASH of those before it is added, of aadBits bits in all. A block is a big-endian number.
//
//go:noescape
func encrypt(k *key, text *byte, n int, nonceHi, nonceLo, aadHi, aadLo, aadBits uint64) (tagHi, tagLo uint64)

// decrypt decrypts n bytes of text in place and returns the tag that they should have had. Else it is as encrypt.
//
//go:noescape
func decrypt(k *key, text *byte, n int, nonceHi, nonceLo, aadHi, aadLo, aadBits uint64) (tagHi, tagLo uint64)

// multiply returns the product of a block and a power of H, as key holds them: a block, or another power.
func multiply(aHi, aLo, bHi, bLo uint64) (hi, lo uint64)

// substitute is SubWord of FIPS 197 5.2, for a word in the order of memory.
func substitute(w uint32) uint32
