// Package prefetch has memory fetched into the processor's caches before it is needed, while there is other work to do. Where a
// processor has no such instruction, or this package does not know it, nothing happens.
package prefetch

import "unsafe"

// line is the length of a cache line in bytes. Where lines are longer some are asked for twice.
const line = 64

// Value asks for the memory of a value; nil is nothing. It never waits, and changes nothing that a program could see.
func Value[T any](p *T) {
	if available && p != nil {
		lines(unsafe.Pointer(p), (unsafe.Sizeof(*p)+line-1)/line)
	}
}

// Part asks for the first n bytes of a value.
func Part[T any](p *T, n uintptr) {
	if available && p != nil {
		lines(unsafe.Pointer(p), (n+line-1)/line)
	}
}

// Slice asks for the first n elements of a slice.
func Slice[T any](s []T, n int) {
	if n = min(n, len(s)); available && n > 0 {
		lines(unsafe.Pointer(unsafe.SliceData(s)), (uintptr(n)*unsafe.Sizeof(s[0])+line-1)/line)
	}
}
