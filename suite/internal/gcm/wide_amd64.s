//go:build !purego

#include "go_asm.h"
#include "textflag.h"
#include "powers_amd64.h"

// AES-GCM with four blocks in a register. What is where:
//
//	Z0-Z3    four registers of counter blocks, which become key stream and then text
//	Z4-Z7    four registers of ciphertext for GHASH, each block as a big-endian number
//	Z8-Z10   sums of products for GHASH, not reduced: low, middle and high part
//	Z11-Z13  scratch, and Z31
//	Z14      the next counter blocks, as numbers
//	Z15      the shuffle that turns blocks into numbers and back
//	Z16-Z29  round keys 0 to 13, in every lane; Z30 the last one
//
//	DI  the key              R9   its rounds
//	SI  the text             CX   bytes of it that are left
//	DX  the power of H by which the next block is to be multiplied; the powers go down, upward in memory
//	R10 blocks that are not in a group yet
//	R11 registers of four until the end of the group
//
// GHASH of a group of blocks is the sum of their products with falling powers of H, reduced once. The last group takes in the
// block of lengths. No branch and no address depends on anything but lengths.

// --- AES

#define LOAD_KEYS \
	MOVQ key_rounds(DI), R9; \
	VBROADCASTI32X4 (key_round+0)(DI), Z16; \
	VBROADCASTI32X4 (key_round+16)(DI), Z17; \
	VBROADCASTI32X4 (key_round+32)(DI), Z18; \
	VBROADCASTI32X4 (key_round+48)(DI), Z19; \
	VBROADCASTI32X4 (key_round+64)(DI), Z20; \
	VBROADCASTI32X4 (key_round+80)(DI), Z21; \
	VBROADCASTI32X4 (key_round+96)(DI), Z22; \
	VBROADCASTI32X4 (key_round+112)(DI), Z23; \
	VBROADCASTI32X4 (key_round+128)(DI), Z24; \
	VBROADCASTI32X4 (key_round+144)(DI), Z25; \
	VBROADCASTI32X4 (key_round+160)(DI), Z26; \
	VBROADCASTI32X4 (key_round+176)(DI), Z27; \
	VBROADCASTI32X4 (key_round+192)(DI), Z28; \
	VBROADCASTI32X4 (key_round+208)(DI), Z29; \
	MOVQ R9, AX; \
	SHLQ $4, AX; \
	VBROADCASTI32X4 key_round(DI)(AX*1), Z30

#define ROUND1(K) VAESENC K, Z0, Z0
#define ROUND2(K) VAESENC K, Z0, Z0; VAESENC K, Z1, Z1
#define ROUND3(K) VAESENC K, Z0, Z0; VAESENC K, Z1, Z1; VAESENC K, Z2, Z2
#define ROUND4(K) VAESENC K, Z0, Z0; VAESENC K, Z1, Z1; VAESENC K, Z2, Z2; VAESENC K, Z3, Z3

// Counter blocks with the first round key.
#define COUNT(B) \
	VPSHUFB Z15, Z14, B; \
	VPADDD ·step64(SB), Z14, Z14; \
	VPXORQ Z16, B, B

#define COUNT1 COUNT(Z0)
#define COUNT2 COUNT(Z0); COUNT(Z1)
#define COUNT3 COUNT(Z0); COUNT(Z1); COUNT(Z2)
#define COUNT4 COUNT(Z0); COUNT(Z1); COUNT(Z2); COUNT(Z3)

// The rounds beyond the ninth, but for the last: none, two or four.
#define LONG_KEY(ROUND, done) \
	CMPQ R9, $12; \
	JB done; \
	ROUND(Z26); \
	ROUND(Z27); \
	JE done; \
	ROUND(Z28); \
	ROUND(Z29); \
done:

#define NINE_ROUNDS(ROUND) \
	ROUND(Z17); \
	ROUND(Z18); \
	ROUND(Z19); \
	ROUND(Z20); \
	ROUND(Z21); \
	ROUND(Z22); \
	ROUND(Z23); \
	ROUND(Z24); \
	ROUND(Z25)

// The last round, in which the text is added to the key stream. ENCRYPT leaves the ciphertext in X for GHASH.
#define ENCRYPT(off, B, X) \
	VPXORQ off(SI), Z30, Z11; \
	VAESENCLAST Z11, B, B; \
	VMOVDQU64 B, off(SI); \
	VPSHUFB Z15, B, X

#define DECRYPT(off, B) \
	VPXORQ off(SI), Z30, Z11; \
	VAESENCLAST Z11, B, B; \
	VMOVDQU64 B, off(SI)

#define LOAD(off, X) \
	VMOVDQU64 off(SI), X; \
	VPSHUFB Z15, X, X

// The same for what fills a register at most: its bytes are those of K1.
#define ENCRYPT_END(off, B, X) \
	VMOVDQU8.Z off(SI), K1, Z11; \
	VPXORQ Z30, Z11, Z11; \
	VAESENCLAST Z11, B, B; \
	VMOVDQU8 B, K1, off(SI); \
	VMOVDQU8.Z B, K1, X; \
	VPSHUFB Z15, X, X

#define DECRYPT_END(off, B) \
	VMOVDQU8.Z off(SI), K1, Z11; \
	VPXORQ Z30, Z11, Z11; \
	VAESENCLAST Z11, B, B; \
	VMOVDQU8 B, K1, off(SI)

#define LOAD_END(off, X) \
	VMOVDQU8.Z off(SI), K1, X; \
	VPSHUFB Z15, X, X

// K1 has a bit for each of n bytes, 1 to 64 of them.
#define END_MASK(before) \
	LEAQ -before(CX), AX; \
	MOVQ $-1, BX; \
	BZHIQ AX, BX, BX; \
	KMOVQ BX, K1

// --- GHASH

// Products of two registers with their powers, part by part, so that they can stand between rounds of AES.
#define POWERS2(off) VMOVDQU64 off(DX), Z11; VMOVDQU64 (off+64)(DX), Z12
#define LOW2(X, Y) VPCLMULQDQ $0x00, Z11, X, Z13; VPCLMULQDQ $0x00, Z12, Y, Z31; VPTERNLOGQ $0x96, Z31, Z13, Z8
#define HIGH2(X, Y) VPCLMULQDQ $0x11, Z11, X, Z13; VPCLMULQDQ $0x11, Z12, Y, Z31; VPTERNLOGQ $0x96, Z31, Z13, Z10
#define MIDDLE2(X, Y) \
	VPCLMULQDQ $0x01, Z11, X, Z13; \
	VPCLMULQDQ $0x10, Z11, X, Z31; \
	VPTERNLOGQ $0x96, Z31, Z13, Z9; \
	VPCLMULQDQ $0x01, Z12, Y, Z13; \
	VPCLMULQDQ $0x10, Z12, Y, Z31; \
	VPTERNLOGQ $0x96, Z31, Z13, Z9

#define HASH1(off, X) \
	VMOVDQU64 off(DX), Z11; \
	VPCLMULQDQ $0x00, Z11, X, Z12; \
	VPXORQ Z12, Z8, Z8; \
	VPCLMULQDQ $0x11, Z11, X, Z13; \
	VPXORQ Z13, Z10, Z10; \
	VPCLMULQDQ $0x01, Z11, X, Z12; \
	VPCLMULQDQ $0x10, Z11, X, Z13; \
	VPTERNLOGQ $0x96, Z13, Z12, Z9
#define HASH2(off, X, Y) POWERS2(off); LOW2(X, Y); HIGH2(X, Y); MIDDLE2(X, Y)
#define HASH4 HASH2(0, Z4, Z5); HASH2(128, Z6, Z7); ADDQ $256, DX

// START begins the sums with the product of one block, X10, and the power at p. ADD adds another one.
#define START(p) \
	VMOVDQU64 p, X11; \
	VPCLMULQDQ $0x00, X11, X10, X8; \
	VPCLMULQDQ $0x01, X11, X10, X9; \
	VPCLMULQDQ $0x10, X11, X10, X12; \
	VPXORQ X12, X9, X9; \
	VPCLMULQDQ $0x11, X11, X10, X10

#define ADD(p, X) \
	VMOVDQU64 p, X11; \
	VPCLMULQDQ $0x00, X11, X, X12; \
	VPXORQ Z12, Z8, Z8; \
	VPCLMULQDQ $0x01, X11, X, X12; \
	VPCLMULQDQ $0x10, X11, X, X13; \
	VPTERNLOGQ $0x96, Z13, Z12, Z9; \
	VPCLMULQDQ $0x11, X11, X, X12; \
	VPXORQ Z12, Z10, Z10

// REDUCE makes one block, X10, of the sums: each lane is reduced, then the lanes are added.
#define REDUCE \
	VBROADCASTI32X4 ·poly(SB), Z11; \
	VPCLMULQDQ $0x01, Z8, Z11, Z12; \
	VPSHUFD $0x4e, Z8, Z8; \
	VPTERNLOGQ $0x96, Z8, Z12, Z9; \
	VPCLMULQDQ $0x01, Z9, Z11, Z12; \
	VPSHUFD $0x4e, Z9, Z9; \
	VPTERNLOGQ $0x96, Z9, Z12, Z10; \
	VEXTRACTI64X4 $1, Z10, Y11; \
	VPXORQ Y11, Y10, Y10; \
	VEXTRACTI64X2 $1, Y10, X11; \
	VPXORQ X11, X10, X10

// GROUP sets DX and R11 for the next group, which is the last if all that is left and the lengths fit.
#define GROUP(last, done) \
	CMPQ R10, $const_group; \
	JBE last; \
	LEAQ (POWERS_END - 16*const_group)(DI), DX; \
	MOVQ $(const_group/16), R11; \
	SUBQ $const_group, R10; \
	JMP done; \
last: \
	MOVQ R10, AX; \
	SHLQ $4, AX; \
	LEAQ (POWERS_END - 16)(DI), DX; \
	SUBQ AX, DX; \
	MOVQ $-1, R11; \
done:

// NEXT ends the group if it is full.
#define NEXT(same, last, done) \
	DECQ R11; \
	JNZ same; \
	REDUCE; \
	GROUP(last, done); \
	START((DX)); \
same:

// --- both directions

#define ENTER \
	MOVQ k+0(FP), DI; \
	MOVQ text+8(FP), SI; \
	MOVQ n+16(FP), CX; \
	LOAD_KEYS; \
	VBROADCASTI32X4 ·swap(SB), Z15; \
	VMOVQ nonceLo+32(FP), X14; \
	VPINSRQ $1, nonceHi+24(FP), X14, X14

// The block that masks the tag, and the counters after it.
#define MASK(done) \
	VPSHUFB X15, X14, X0; \
	VPXORQ X16, X0, X0; \
	NINE_ROUNDS(ROUND1); \
	LONG_KEY(ROUND1, done); \
	VAESENCLAST X30, X0, X0; \
	VPSHUFB X15, X0, X0; \
	VMOVDQU64 X0, mask-16(SP); \
	VSHUFI64X2 $0, Z14, Z14, Z14; \
	VPADDD ·first(SB), Z14, Z14

// The additional data is the first block of all, and so of the first group.
#define ADDITIONAL(last, done) \
	LEAQ 15(CX), R10; \
	SHRQ $4, R10; \
	GROUP(last, done); \
	VMOVQ aadLo+48(FP), X10; \
	VPINSRQ $1, aadHi+40(FP), X10, X10; \
	START(-16(DX))

#define LEAVE \
	MOVQ n+16(FP), AX; \
	SHLQ $3, AX; \
	VMOVQ AX, X4; \
	VPINSRQ $1, aadBits+56(FP), X4, X4; \
	ADD((POWERS_END-16)(DI), X4); \
	REDUCE; \
	VPXORQ mask-16(SP), X10, X10; \
	VMOVQ X10, tagLo+72(FP); \
	VPEXTRQ $1, X10, tagHi+64(FP); \
	VZEROUPPER

// func encrypt64(k *key, text *byte, n int, nonceHi, nonceLo, aadHi, aadLo, aadBits uint64) (tagHi, tagLo uint64)
TEXT ·encrypt64(SB), NOSPLIT, $16-80
	ENTER
	MASK(mask)
	ADDITIONAL(only, first)
	CMPQ CX, $256
	JB   end
	COUNT4
	NINE_ROUNDS(ROUND4)
	LONG_KEY(ROUND4, ready)
	JMP  add

	// Four registers are encrypted while the four before them are hashed.
more:
	COUNT4
	POWERS2(0)
	ROUND4(Z17)
	LOW2(Z4, Z5)
	ROUND4(Z18)
	HIGH2(Z4, Z5)
	ROUND4(Z19)
	MIDDLE2(Z4, Z5)
	ROUND4(Z20)
	POWERS2(128)
	ROUND4(Z21)
	LOW2(Z6, Z7)
	ROUND4(Z22)
	HIGH2(Z6, Z7)
	ROUND4(Z23)
	MIDDLE2(Z6, Z7)
	ROUND4(Z24)
	ROUND4(Z25)
	LONG_KEY(ROUND4, hashed)
	ADDQ $256, DX
	NEXT(same, last, begun)

add:
	ENCRYPT(0, Z0, Z4)
	ENCRYPT(64, Z1, Z5)
	ENCRYPT(128, Z2, Z6)
	ENCRYPT(192, Z3, Z7)
	ADDQ $256, SI
	SUBQ $256, CX
	CMPQ CX, $256
	JAE  more
	HASH4
	NEXT(same2, last2, begun2)

end:
	CMPQ CX, $128
	JA   end34
	CMPQ CX, $64
	JA   end2
	TESTQ CX, CX
	JZ   leave
	END_MASK(0)
	COUNT1
	NINE_ROUNDS(ROUND1)
	LONG_KEY(ROUND1, ready1)
	ENCRYPT_END(0, Z0, Z4)
	HASH1(0, Z4)
	JMP  leave
end2:
	END_MASK(64)
	COUNT2
	NINE_ROUNDS(ROUND2)
	LONG_KEY(ROUND2, ready2)
	ENCRYPT(0, Z0, Z4)
	ENCRYPT_END(64, Z1, Z5)
	HASH2(0, Z4, Z5)
	JMP  leave
end34:
	CMPQ CX, $192
	JA   end4
	END_MASK(128)
	COUNT3
	NINE_ROUNDS(ROUND3)
	LONG_KEY(ROUND3, ready3)
	ENCRYPT(0, Z0, Z4)
	ENCRYPT(64, Z1, Z5)
	ENCRYPT_END(128, Z2, Z6)
	HASH2(0, Z4, Z5)
	HASH1(128, Z6)
	JMP  leave
end4:
	END_MASK(192)
	COUNT4
	NINE_ROUNDS(ROUND4)
	LONG_KEY(ROUND4, ready4)
	ENCRYPT(0, Z0, Z4)
	ENCRYPT(64, Z1, Z5)
	ENCRYPT(128, Z2, Z6)
	ENCRYPT_END(192, Z3, Z7)
	HASH2(0, Z4, Z5)
	HASH2(128, Z6, Z7)
leave:
	LEAVE
	RET

// func decrypt64(k *key, text *byte, n int, nonceHi, nonceLo, aadHi, aadLo, aadBits uint64) (tagHi, tagLo uint64)
TEXT ·decrypt64(SB), NOSPLIT, $16-80
	ENTER
	MASK(mask)
	ADDITIONAL(only, first)
	CMPQ CX, $256
	JB   end

	// Four registers are hashed while their key stream is made.
more:
	COUNT4
	LOAD(0, Z4)
	LOAD(64, Z5)
	LOAD(128, Z6)
	LOAD(192, Z7)
	POWERS2(0)
	ROUND4(Z17)
	LOW2(Z4, Z5)
	ROUND4(Z18)
	HIGH2(Z4, Z5)
	ROUND4(Z19)
	MIDDLE2(Z4, Z5)
	ROUND4(Z20)
	POWERS2(128)
	ROUND4(Z21)
	LOW2(Z6, Z7)
	ROUND4(Z22)
	HIGH2(Z6, Z7)
	ROUND4(Z23)
	MIDDLE2(Z6, Z7)
	ROUND4(Z24)
	ROUND4(Z25)
	LONG_KEY(ROUND4, ready)
	DECRYPT(0, Z0)
	DECRYPT(64, Z1)
	DECRYPT(128, Z2)
	DECRYPT(192, Z3)
	ADDQ $256, DX
	NEXT(same, last, begun)
	ADDQ $256, SI
	SUBQ $256, CX
	CMPQ CX, $256
	JAE  more

end:
	CMPQ CX, $128
	JA   end34
	CMPQ CX, $64
	JA   end2
	TESTQ CX, CX
	JZ   leave
	END_MASK(0)
	LOAD_END(0, Z4)
	COUNT1
	NINE_ROUNDS(ROUND1)
	LONG_KEY(ROUND1, ready1)
	HASH1(0, Z4)
	DECRYPT_END(0, Z0)
	JMP  leave
end2:
	END_MASK(64)
	LOAD(0, Z4)
	LOAD_END(64, Z5)
	COUNT2
	NINE_ROUNDS(ROUND2)
	LONG_KEY(ROUND2, ready2)
	HASH2(0, Z4, Z5)
	DECRYPT(0, Z0)
	DECRYPT_END(64, Z1)
	JMP  leave
end34:
	CMPQ CX, $192
	JA   end4
	END_MASK(128)
	LOAD(0, Z4)
	LOAD(64, Z5)
	LOAD_END(128, Z6)
	COUNT3
	NINE_ROUNDS(ROUND3)
	LONG_KEY(ROUND3, ready3)
	HASH2(0, Z4, Z5)
	HASH1(128, Z6)
	DECRYPT(0, Z0)
	DECRYPT(64, Z1)
	DECRYPT_END(128, Z2)
	JMP  leave
end4:
	END_MASK(192)
	LOAD(0, Z4)
	LOAD(64, Z5)
	LOAD(128, Z6)
	LOAD_END(192, Z7)
	COUNT4
	NINE_ROUNDS(ROUND4)
	LONG_KEY(ROUND4, ready4)
	HASH2(0, Z4, Z5)
	HASH2(128, Z6, Z7)
	DECRYPT(0, Z0)
	DECRYPT(64, Z1)
	DECRYPT(128, Z2)
	DECRYPT_END(192, Z3)
leave:
	LEAVE
	RET
