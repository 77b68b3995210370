//go:build !purego

#include "textflag.h"

// Each 64-bit word is added as two of 32 bits, which cannot overflow lanes of 64 bits before 2^32 of them.
// HALVES(in, low, high) adds the words in in to low and high. Y15 selects the lower halves.
#define HALVES(in, low, high) \
	VPAND  Y15, in, Y14;     \
	VPSRLQ $32, in, in;      \
	VPADDQ Y14, low, low;    \
	VPADDQ in, high, high

// func sumBlocks(b *byte, n int) uint64
TEXT ·sumBlocks(SB), NOSPLIT, $0-24
	MOVQ     b+0(FP), SI
	MOVQ     n+8(FP), CX
	VPXOR    Y0, Y0, Y0
	VPXOR    Y1, Y1, Y1
	VPXOR    Y2, Y2, Y2
	VPXOR    Y3, Y3, Y3
	VPCMPEQD Y15, Y15, Y15
	VPSRLQ   $32, Y15, Y15
	SUBQ     $128, CX
	JB       last

loop:
	VMOVDQU (SI), Y4
	VMOVDQU 32(SI), Y5
	VMOVDQU 64(SI), Y6
	VMOVDQU 96(SI), Y7
	HALVES(Y4, Y0, Y1)
	HALVES(Y5, Y2, Y3)
	HALVES(Y6, Y0, Y1)
	HALVES(Y7, Y2, Y3)
	ADDQ    $128, SI
	SUBQ    $128, CX
	JAE     loop

last:
	ADDQ    $128, CX
	JZ      fold

more:
	VMOVDQU (SI), Y4
	HALVES(Y4, Y0, Y1)
	ADDQ    $32, SI
	SUBQ    $32, CX
	JA      more

fold:
	VPADDQ       Y1, Y0, Y0
	VPADDQ       Y3, Y2, Y2
	VPADDQ       Y2, Y0, Y0
	VEXTRACTI128 $1, Y0, X1
	VPADDQ       X1, X0, X0
	VPSHUFD      $0x4e, X0, X1
	VPADDQ       X1, X0, X0
	VMOVQ        X0, AX
	VZEROUPPER
	MOVQ         AX, ret+16(FP)
	RET
