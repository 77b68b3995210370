//go:build !amd64 || purego

package gcm

const best = library

func (k *key) encrypt(*byte, int, uint64, uint64, uint64, uint64, uint64) (tagHi, tagLo uint64) {
	panic("gcm: not on this platform")
}

func (k *key) decrypt(*byte, int, uint64, uint64, uint64, uint64, uint64) (tagHi, tagLo uint64) {
	panic("gcm: not on this platform")
}

func multiply(_, _, _, _ uint64) (hi, lo uint64) { panic("gcm: not on this platform") }

func substitute(uint32) uint32 { panic("gcm: not on this platform") }
