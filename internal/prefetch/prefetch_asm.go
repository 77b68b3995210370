//go:build (amd64 || arm64) && !purego

package prefetch

import "unsafe"

const available = true

// lines asks for n > 0 lines from p on.
//
//go:noescape
func lines(p unsafe.Pointer, n uintptr)
