//go:build !purego

#include "go_asm.h"
#include "textflag.h"
#include "powers_amd64.h"

// AES-GCM with VAES and VPCLMULQDQ on the sixteen registers of AVX2, two blocks in each, and without masks. Eight registers are in
// flight. The rest is as in wide_amd64.s; R8 is the address of the last round key.

// The size of a register in bytes.
#define W 32

// Counter blocks, which become key stream and then text.
#define B0 Y0
#define B1 Y1
#define B2 Y2
#define B3 Y3
#define B4 Y4
#define B5 Y5
#define B6 Y6
#define B7 Y7

// Sums of products for GHASH, not reduced.
#define LOW Y8
#define MIDDLE Y9
#define HIGH Y10

// The next counter blocks, the shuffle, and a round key or a constant in both lanes.
#define COUNTER Y11
#define SWAP Y12
#define KEY Y13

#define DATA Y14
#define SCRATCH Y15

#define ROUND1(K) VBROADCASTI128 K, KEY; VAESENC KEY, B0, B0
#define ROUND2(K) ROUND1(K); VAESENC KEY, B1, B1
#define ROUND3(K) ROUND2(K); VAESENC KEY, B2, B2
#define ROUND4(K) ROUND3(K); VAESENC KEY, B3, B3
#define ROUND8(K) ROUND4(K); VAESENC KEY, B4, B4; VAESENC KEY, B5, B5; VAESENC KEY, B6, B6; VAESENC KEY, B7, B7

// One block, whose round keys need not be in a register.
#define ROUND(K) VAESENC K, X0, X0

#define ROUND_KEY(n) (key_round+16*n)(DI)

#define NINE_ROUNDS(R) \
	R(ROUND_KEY(1)); R(ROUND_KEY(2)); R(ROUND_KEY(3)); \
	R(ROUND_KEY(4)); R(ROUND_KEY(5)); R(ROUND_KEY(6)); \
	R(ROUND_KEY(7)); R(ROUND_KEY(8)); R(ROUND_KEY(9))

#define LONG_KEY(R, done) \
	CMPQ R9, $12; \
	JB done; \
	R(ROUND_KEY(10)); \
	R(ROUND_KEY(11)); \
	JE done; \
	R(ROUND_KEY(12)); \
	R(ROUND_KEY(13)); \
done:

#define COUNT(B) \
	VPSHUFB SWAP, COUNTER, B; \
	VPADDD ·step32(SB), COUNTER, COUNTER; \
	VPXOR KEY, B, B

#define COUNT1 VBROADCASTI128 ROUND_KEY(0), KEY; COUNT(B0)
#define COUNT2 COUNT1; COUNT(B1)
#define COUNT3 COUNT2; COUNT(B2)
#define COUNT4 COUNT3; COUNT(B3)
#define COUNT8 COUNT4; COUNT(B4); COUNT(B5); COUNT(B6); COUNT(B7)

// The last round of register n of the text, in both directions. KEY is the last round key.
#define CRYPT(n, B) \
	VPXOR (n*W)(SI), KEY, SCRATCH; \
	VAESENCLAST SCRATCH, B, B; \
	VMOVDQU B, (n*W)(SI)

#define CRYPT1 CRYPT(0, B0)
#define CRYPT2 CRYPT1; CRYPT(1, B1)
#define CRYPT3 CRYPT2; CRYPT(2, B2)
#define CRYPT4 CRYPT3; CRYPT(3, B3)
#define CRYPT8 CRYPT4; CRYPT(4, B4); CRYPT(5, B5); CRYPT(6, B6); CRYPT(7, B7)

// Adds the products of DATA and the powers at p.
#define MULTIPLY(p) \
	VPCLMULQDQ $0x00, p, DATA, SCRATCH; \
	VPXOR SCRATCH, LOW, LOW; \
	VPCLMULQDQ $0x01, p, DATA, SCRATCH; \
	VPXOR SCRATCH, MIDDLE, MIDDLE; \
	VPCLMULQDQ $0x10, p, DATA, SCRATCH; \
	VPXOR SCRATCH, MIDDLE, MIDDLE; \
	VPCLMULQDQ $0x11, p, DATA, SCRATCH; \
	VPXOR SCRATCH, HIGH, HIGH

// Hashes register n of the text. BEHIND counts from the end of eight.
#define HASH(n) \
	VMOVDQU (n*W)(SI), DATA; \
	VPSHUFB SWAP, DATA, DATA; \
	MULTIPLY((n*W)(DX))

#define HASH_BEHIND(n) \
	VMOVDQU (n*W-8*W)(SI), DATA; \
	VPSHUFB SWAP, DATA, DATA; \
	MULTIPLY((n*W)(DX))

#define HASH1 HASH(0)
#define HASH2 HASH1; HASH(1)
#define HASH3 HASH2; HASH(2)
#define HASH4 HASH3; HASH(3)

// Begins the sums with the product of one block, X10, and the power at p.
#define START(p) \
	VMOVDQU p, X14; \
	VPCLMULQDQ $0x00, X14, X10, X8; \
	VPCLMULQDQ $0x01, X14, X10, X9; \
	VPCLMULQDQ $0x10, X14, X10, X15; \
	VPXOR X15, X9, X9; \
	VPCLMULQDQ $0x11, X14, X10, X10

#define REDUCE \
	VBROADCASTI128 ·poly(SB), KEY; \
	VPCLMULQDQ $0x01, LOW, KEY, SCRATCH; \
	VPSHUFD $0x4e, LOW, LOW; \
	VPXOR SCRATCH, MIDDLE, MIDDLE; \
	VPXOR LOW, MIDDLE, MIDDLE; \
	VPCLMULQDQ $0x01, MIDDLE, KEY, SCRATCH; \
	VPSHUFD $0x4e, MIDDLE, MIDDLE; \
	VPXOR SCRATCH, HIGH, HIGH; \
	VPXOR MIDDLE, HIGH, HIGH; \
	VEXTRACTI128 $1, Y10, X15; \
	VPXOR X15, X10, X10

#define GROUP(last, done) \
	CMPQ R10, $const_group; \
	JBE last; \
	LEAQ (POWERS_END - 16*const_group)(DI), DX; \
	MOVQ $(16*const_group/(8*W)), R11; \
	SUBQ $const_group, R10; \
	JMP done; \
last: \
	MOVQ R10, AX; \
	SHLQ $4, AX; \
	LEAQ (POWERS_END - 16)(DI), DX; \
	SUBQ AX, DX; \
	MOVQ $-1, R11; \
done:

#define NEXT(same, last, done) \
	ADDQ $(8*W), DX; \
	DECQ R11; \
	JNZ same; \
	REDUCE; \
	GROUP(last, done); \
	START((DX)); \
same:

#define ENTER(done, last, begun) \
	MOVQ k+0(FP), DI; \
	MOVQ text+8(FP), SI; \
	MOVQ n+16(FP), CX; \
	MOVQ key_rounds(DI), R9; \
	MOVQ R9, R8; \
	SHLQ $4, R8; \
	LEAQ key_round(DI)(R8*1), R8; \
	VBROADCASTI128 ·swap(SB), SWAP; \
	VMOVQ nonceLo+32(FP), X11; \
	VPINSRQ $1, nonceHi+24(FP), X11, X11; \
	VPSHUFB X12, X11, X0; \
	VPXOR ROUND_KEY(0), X0, X0; \
	NINE_ROUNDS(ROUND); \
	LONG_KEY(ROUND, done); \
	VAESENCLAST (R8), X0, X0; \
	VPSHUFB X12, X0, X0; \
	VMOVDQU X0, mask-16(SP); \
	VINSERTI128 $1, X11, COUNTER, COUNTER; \
	VPADDD ·first(SB), COUNTER, COUNTER; \
	LEAQ 15(CX), R10; \
	SHRQ $4, R10; \
	GROUP(last, begun); \
	VMOVQ aadLo+48(FP), X10; \
	VPINSRQ $1, aadHi+40(FP), X10, X10; \
	START(-16(DX))

#define LEAVE \
	MOVQ n+16(FP), AX; \
	SHLQ $3, AX; \
	VMOVQ AX, X14; \
	VPINSRQ $1, aadBits+56(FP), X14, X14; \
	MULTIPLY_BLOCK((POWERS_END-16)(DI)); \
	REDUCE; \
	VPXOR mask-16(SP), X10, X10; \
	VMOVQ X10, tagLo+72(FP); \
	VPEXTRQ $1, X10, tagHi+64(FP); \
	VZEROUPPER

// The same as MULTIPLY for the block in X14, which leaves the other lanes alone.
#define MULTIPLY_BLOCK(p) \
	VPCLMULQDQ $0x00, p, X14, X15; \
	VPXOR SCRATCH, LOW, LOW; \
	VPCLMULQDQ $0x01, p, X14, X15; \
	VPXOR SCRATCH, MIDDLE, MIDDLE; \
	VPCLMULQDQ $0x10, p, X14, X15; \
	VPXOR SCRATCH, MIDDLE, MIDDLE; \
	VPCLMULQDQ $0x11, p, X14, X15; \
	VPXOR SCRATCH, HIGH, HIGH

// Copies CX bytes, fewer than 32.
#define COPY(from, to, eight, four, two, one, done) \
	XORQ AX, AX; \
	TESTQ $16, CX; \
	JZ eight; \
	VMOVDQU (from), X14; \
	VMOVDQU X14, (to); \
	ADDQ $16, AX; \
eight: \
	TESTQ $8, CX; \
	JZ four; \
	MOVQ (from)(AX*1), BX; \
	MOVQ BX, (to)(AX*1); \
	ADDQ $8, AX; \
four: \
	TESTQ $4, CX; \
	JZ two; \
	MOVL (from)(AX*1), BX; \
	MOVL BX, (to)(AX*1); \
	ADDQ $4, AX; \
two: \
	TESTQ $2, CX; \
	JZ one; \
	MOVW (from)(AX*1), BX; \
	MOVW BX, (to)(AX*1); \
	ADDQ $2, AX; \
one: \
	TESTQ $1, CX; \
	JZ done; \
	MOVB (from)(AX*1), BX; \
	MOVB BX, (to)(AX*1); \
done:

// The last register of a text, B7, of which CX bytes are used: they go through memory of W bytes at R12, behind which there are zeros.
#define FETCH(eight, four, two, one, done) \
	LEAQ end-48(SP), R12; \
	VPXOR X14, X14, X14; \
	VMOVDQU X14, (R12); \
	VMOVDQU X14, 16(R12); \
	COPY(SI, R12, eight, four, two, one, done)

#define CRYPT_END \
	VPXOR (R12), KEY, SCRATCH; \
	VAESENCLAST SCRATCH, B7, B7; \
	VMOVDQU B7, (R12)

#define WIPE_END \
	VPXOR X14, X14, X14; \
	VMOVDQU X14, (R12); \
	VMOVDQU X14, 16(R12)

// func encrypt32(k *key, text *byte, n int, nonceHi, nonceLo, aadHi, aadLo, aadBits uint64) (tagHi, tagLo uint64)
TEXT ·encrypt32(SB), NOSPLIT, $48-80
	ENTER(mask, only, first)
	CMPQ CX, $(8*W)
	JB   end
	COUNT8
	NINE_ROUNDS(ROUND8)
	LONG_KEY(ROUND8, ready)
	JMP  add

more:
	COUNT8
	ROUND8(ROUND_KEY(1))
	HASH_BEHIND(0)
	ROUND8(ROUND_KEY(2))
	HASH_BEHIND(1)
	ROUND8(ROUND_KEY(3))
	HASH_BEHIND(2)
	ROUND8(ROUND_KEY(4))
	HASH_BEHIND(3)
	ROUND8(ROUND_KEY(5))
	HASH_BEHIND(4)
	ROUND8(ROUND_KEY(6))
	HASH_BEHIND(5)
	ROUND8(ROUND_KEY(7))
	HASH_BEHIND(6)
	ROUND8(ROUND_KEY(8))
	HASH_BEHIND(7)
	ROUND8(ROUND_KEY(9))
	LONG_KEY(ROUND8, hashed)
	NEXT(same, last, begun)

add:
	VBROADCASTI128 (R8), KEY
	CRYPT8
	ADDQ $(8*W), SI
	SUBQ $(8*W), CX
	CMPQ CX, $(8*W)
	JAE  more
	HASH_BEHIND(0)
	HASH_BEHIND(1)
	HASH_BEHIND(2)
	HASH_BEHIND(3)
	HASH_BEHIND(4)
	HASH_BEHIND(5)
	HASH_BEHIND(6)
	HASH_BEHIND(7)
	NEXT(same2, last2, begun2)

end:
	CMPQ CX, $(4*W)
	JBE  end4
	COUNT4
	NINE_ROUNDS(ROUND4)
	LONG_KEY(ROUND4, ready5)
	VBROADCASTI128 (R8), KEY
	CRYPT4
	HASH4
	ADDQ $(4*W), SI
	ADDQ $(4*W), DX
	SUBQ $(4*W), CX
end4:
	CMPQ CX, $(3*W)
	JBE  end3
	COUNT4
	NINE_ROUNDS(ROUND4)
	LONG_KEY(ROUND4, ready4)
	VBROADCASTI128 (R8), KEY
	CRYPT3
	HASH3
	VMOVDQU B3, B7
	ADDQ $(3*W), SI
	ADDQ $(3*W), DX
	SUBQ $(3*W), CX
	JMP  rest
end3:
	CMPQ CX, $(2*W)
	JBE  end2
	COUNT3
	NINE_ROUNDS(ROUND3)
	LONG_KEY(ROUND3, ready3)
	VBROADCASTI128 (R8), KEY
	CRYPT2
	HASH2
	VMOVDQU B2, B7
	ADDQ $(2*W), SI
	ADDQ $(2*W), DX
	SUBQ $(2*W), CX
	JMP  rest
end2:
	CMPQ CX, $W
	JBE  end1
	COUNT2
	NINE_ROUNDS(ROUND2)
	LONG_KEY(ROUND2, ready2)
	VBROADCASTI128 (R8), KEY
	CRYPT1
	HASH1
	VMOVDQU B1, B7
	ADDQ $W, SI
	ADDQ $W, DX
	SUBQ $W, CX
	JMP  rest
end1:
	TESTQ CX, CX
	JZ   leave
	COUNT1
	NINE_ROUNDS(ROUND1)
	LONG_KEY(ROUND1, ready1)
	VBROADCASTI128 (R8), KEY
	VMOVDQU B0, B7
rest:
	CMPQ CX, $W
	JEQ  whole
	FETCH(in8, in4, in2, in1, in0)
	CRYPT_END
	COPY(R12, SI, out8, out4, out2, out1, out0)
	MOVQ $W, AX
	SUBQ CX, AX
	LEAQ ·bytes32(SB), BX
	VPAND (BX)(AX*1), B7, DATA
	VPSHUFB SWAP, DATA, DATA
	MULTIPLY((DX))
	WIPE_END
	JMP  leave
whole:
	CRYPT(0, B7)
	HASH(0)
leave:
	LEAVE
	RET

// func decrypt32(k *key, text *byte, n int, nonceHi, nonceLo, aadHi, aadLo, aadBits uint64) (tagHi, tagLo uint64)
TEXT ·decrypt32(SB), NOSPLIT, $48-80
	ENTER(mask, only, first)
	CMPQ CX, $(8*W)
	JB   end
more:
	COUNT8
	ROUND8(ROUND_KEY(1))
	HASH(0)
	ROUND8(ROUND_KEY(2))
	HASH(1)
	ROUND8(ROUND_KEY(3))
	HASH(2)
	ROUND8(ROUND_KEY(4))
	HASH(3)
	ROUND8(ROUND_KEY(5))
	HASH(4)
	ROUND8(ROUND_KEY(6))
	HASH(5)
	ROUND8(ROUND_KEY(7))
	HASH(6)
	ROUND8(ROUND_KEY(8))
	HASH(7)
	ROUND8(ROUND_KEY(9))
	LONG_KEY(ROUND8, ready)
	VBROADCASTI128 (R8), KEY
	CRYPT8
	NEXT(same, last, begun)
	ADDQ $(8*W), SI
	SUBQ $(8*W), CX
	CMPQ CX, $(8*W)
	JAE  more

end:
	CMPQ CX, $(4*W)
	JBE  end4
	HASH4
	COUNT4
	NINE_ROUNDS(ROUND4)
	LONG_KEY(ROUND4, ready5)
	VBROADCASTI128 (R8), KEY
	CRYPT4
	ADDQ $(4*W), SI
	ADDQ $(4*W), DX
	SUBQ $(4*W), CX
end4:
	CMPQ CX, $(3*W)
	JBE  end3
	HASH3
	COUNT4
	NINE_ROUNDS(ROUND4)
	LONG_KEY(ROUND4, ready4)
	VBROADCASTI128 (R8), KEY
	CRYPT3
	VMOVDQU B3, B7
	ADDQ $(3*W), SI
	ADDQ $(3*W), DX
	SUBQ $(3*W), CX
	JMP  rest
end3:
	CMPQ CX, $(2*W)
	JBE  end2
	HASH2
	COUNT3
	NINE_ROUNDS(ROUND3)
	LONG_KEY(ROUND3, ready3)
	VBROADCASTI128 (R8), KEY
	CRYPT2
	VMOVDQU B2, B7
	ADDQ $(2*W), SI
	ADDQ $(2*W), DX
	SUBQ $(2*W), CX
	JMP  rest
end2:
	CMPQ CX, $W
	JBE  end1
	HASH1
	COUNT2
	NINE_ROUNDS(ROUND2)
	LONG_KEY(ROUND2, ready2)
	VBROADCASTI128 (R8), KEY
	CRYPT1
	VMOVDQU B1, B7
	ADDQ $W, SI
	ADDQ $W, DX
	SUBQ $W, CX
	JMP  rest
end1:
	TESTQ CX, CX
	JZ   leave
	COUNT1
	NINE_ROUNDS(ROUND1)
	LONG_KEY(ROUND1, ready1)
	VBROADCASTI128 (R8), KEY
	VMOVDQU B0, B7
rest:
	CMPQ CX, $W
	JEQ  whole
	FETCH(in8, in4, in2, in1, in0)
	VMOVDQU (R12), DATA
	VPSHUFB SWAP, DATA, DATA
	MULTIPLY((DX))
	CRYPT_END
	COPY(R12, SI, out8, out4, out2, out1, out0)
	WIPE_END
	JMP  leave
whole:
	HASH(0)
	CRYPT(0, B7)
leave:
	LEAVE
	RET
