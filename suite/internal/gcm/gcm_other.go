//go:build !amd64 || purego

package gcm

const supported = false

func encrypt(*key, *byte, int, uint64, uint64, uint64, uint64, uint64) (tagHi, tagLo uint64) {
	panic("gcm: not on this platform")
}

func decrypt(*key, *byte, int, uint64, uint64, uint64, uint64, uint64) (tagHi, tagLo uint64) {
	panic("gcm: not on this platform")
}

func multiply(_, _, _, _ uint64) (hi, lo uint64) { panic("gcm: not on this platform") }

func substitute(uint32) uint32 { panic("gcm: not on this platform") }
