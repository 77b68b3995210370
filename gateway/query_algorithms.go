package gateway

import (
	"slices"

	"github.com/culvert-vpn/culvert/suite"
	"github.com/culvert-vpn/culvert/vici"
)

// ours stands where charon tells which plugin has an algorithm.
const ours = "culvert"

// getAlgorithms tells what can be used in proposals, and what else there is. Names and sections are those of
// charon 6.
func getAlgorithms(*call) (*vici.Message, error) {
	m := &vici.Message{}
	var encryption, aead []string
	for _, t := range supported(suite.TypeENCR) {
		name := charonAlgorithm(t)
		list := &encryption
		if isAEAD(t.ID) {
			list = &aead
		}
		if !slices.Contains(*list, name) {
			*list = append(*list, name)
		}
	}
	algorithmSection(m, "encryption", encryption)
	algorithmSection(m, "integrity", algorithmNames(supported(suite.TypeINTEG)))
	algorithmSection(m, "aead", aead)
	algorithmSection(m, "hasher", []string{"HASH_SHA1", "HASH_SHA2_256", "HASH_SHA2_384", "HASH_SHA2_512"})
	algorithmSection(m, "prf", algorithmNames(supported(suite.TypePRF)))
	algorithmSection(m, "xof", nil)
	algorithmSection(m, "kdf", []string{"KDF_PRF", "KDF_PRF_PLUS"})
	algorithmSection(m, "drbg", nil)
	algorithmSection(m, "ke", algorithmNames(supported(suite.TypeKE)))
	algorithmSection(m, "rng", []string{"RNG_WEAK", "RNG_STRONG", "RNG_TRUE"})
	algorithmSection(m, "nonce-gen", []string{"NONCE_GEN"})
	return m, nil
}

func algorithmSection(m *vici.Message, name string, algorithms []string) {
	list := m.Section(name)
	for _, a := range algorithms {
		list.Set(a, ours)
	}
}

func algorithmNames(list []suite.Transform) []string {
	var names []string
	for _, t := range list {
		names = append(names, charonAlgorithm(t))
	}
	return names
}

// supported are the transforms of a type that can be used, but for those that stand for none.
func supported(t suite.Type) []suite.Transform {
	var list []suite.Transform
	for id := uint16(1); id < 64; id++ {
		for _, bits := range []uint16{0, 128, 192, 256} {
			if tr := (suite.Transform{Type: t, ID: id, KeyBits: bits}); suite.Supported(tr) {
				list = append(list, tr)
			}
		}
	}
	return list
}

// isAEAD reports whether a cipher authenticates by itself.
func isAEAD(id uint16) bool { return id != suite.ENCR_AES_CBC && id != suite.ENCR_AES_CTR }
