//go:build !amd64 || purego

package inet

const (
	block     = 64
	fewest    = 4 * block
	hasBlocks = false
)

func sumBlocks(*byte, int) uint64 { panic("inet: no such instructions") }
