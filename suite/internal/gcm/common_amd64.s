//go:build !purego

#include "textflag.h"

// What the implementations have in common.

// The shuffle that turns a block into a big-endian number and back.
DATA ·swap+0(SB)/8, $0x08090a0b0c0d0e0f
DATA ·swap+8(SB)/8, $0x0001020304050607
GLOBL ·swap(SB), RODATA|NOPTR, $16

// x^128 + x^127 + x^126 + x^121 + 1, as GHASH's polynomial is when its bits are read backwards. What is above 2^64 of it is
// what a reduction multiplies by.
DATA ·poly+0(SB)/8, $1
DATA ·poly+8(SB)/8, $0xc200000000000000
GLOBL ·poly(SB), RODATA|NOPTR, $16

// The distances of the first four counter blocks from the one that masks the tag, and those to the next registers of 32 and 64
// bytes.
DATA ·first+0(SB)/8, $1
DATA ·first+8(SB)/8, $0
DATA ·first+16(SB)/8, $2
DATA ·first+24(SB)/8, $0
DATA ·first+32(SB)/8, $3
DATA ·first+40(SB)/8, $0
DATA ·first+48(SB)/8, $4
DATA ·first+56(SB)/8, $0
GLOBL ·first(SB), RODATA|NOPTR, $64

DATA ·step32+0(SB)/8, $2
DATA ·step32+8(SB)/8, $0
DATA ·step32+16(SB)/8, $2
DATA ·step32+24(SB)/8, $0
GLOBL ·step32(SB), RODATA|NOPTR, $32

DATA ·step64+0(SB)/8, $4
DATA ·step64+8(SB)/8, $0
DATA ·step64+16(SB)/8, $4
DATA ·step64+24(SB)/8, $0
DATA ·step64+32(SB)/8, $4
DATA ·step64+40(SB)/8, $0
DATA ·step64+48(SB)/8, $4
DATA ·step64+56(SB)/8, $0
GLOBL ·step64(SB), RODATA|NOPTR, $64

// From byte 32-n on, n bytes and then zeros.
DATA ·bytes32+0(SB)/8, $0xffffffffffffffff
DATA ·bytes32+8(SB)/8, $0xffffffffffffffff
DATA ·bytes32+16(SB)/8, $0xffffffffffffffff
DATA ·bytes32+24(SB)/8, $0xffffffffffffffff
DATA ·bytes32+32(SB)/8, $0
DATA ·bytes32+40(SB)/8, $0
DATA ·bytes32+48(SB)/8, $0
DATA ·bytes32+56(SB)/8, $0
GLOBL ·bytes32(SB), RODATA|NOPTR, $64

// func multiply(aHi, aLo, bHi, bLo uint64) (hi, lo uint64)
TEXT ·multiply(SB), NOSPLIT, $0-48
	VMOVQ aLo+8(FP), X0
	VPINSRQ $1, aHi+0(FP), X0, X0
	VMOVQ bLo+24(FP), X1
	VPINSRQ $1, bHi+16(FP), X1, X1
	VMOVDQU ·poly(SB), X2
	VPCLMULQDQ $0x00, X1, X0, X3
	VPCLMULQDQ $0x01, X1, X0, X4
	VPCLMULQDQ $0x10, X1, X0, X5
	VPXOR X5, X4, X4
	VPCLMULQDQ $0x11, X1, X0, X0
	VPCLMULQDQ $0x01, X3, X2, X5
	VPSHUFD $0x4e, X3, X3
	VPXOR X5, X4, X4
	VPXOR X3, X4, X4
	VPCLMULQDQ $0x01, X4, X2, X5
	VPSHUFD $0x4e, X4, X4
	VPXOR X5, X0, X0
	VPXOR X4, X0, X0
	VMOVQ X0, lo+40(FP)
	VPEXTRQ $1, X0, hi+32(FP)
	RET

// func substitute(w uint32) uint32
TEXT ·substitute(SB), NOSPLIT, $0-12
	MOVL w+0(FP), AX
	VMOVD AX, X0
	VPSHUFD $0, X0, X0
	VAESKEYGENASSIST $0, X0, X0
	VMOVD X0, AX
	MOVL AX, ret+8(FP)
	RET

// func extendedFeatures() uint32
TEXT ·extendedFeatures(SB), NOSPLIT, $0-4
	MOVL $7, AX
	XORL CX, CX
	CPUID
	MOVL CX, ret+0(FP)
	RET
