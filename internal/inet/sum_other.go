//go:build !amd64 || purego

package inet

const (
	block     = 32
	fewest    = 12 * block
	hasBlocks = false
)

func sumBlocks(*byte, int) uint64 { panic("inet: no such instructions") }
