//go:build !purego

package inet

import "golang.org/x/sys/cpu"

// block is how many bytes sumBlocks takes at a time, and fewest for how many it pays off.
const (
	block  = 32
	fewest = 12 * block
)

var hasBlocks = cpu.X86.HasAVX2

// sumBlocks returns the sum of the little-endian 32-bit words of n bytes, n a multiple of block greater than 0 and less than
// 2^31. It takes the same time for all bytes.
//
//go:noescape
func sumBlocks(b *byte, n int) uint64
