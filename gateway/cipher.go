//go:build !culvert_bench_nocipher

package gateway

import (
	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/suite"
)

// protects tells that this build protects what goes through its tunnels. See cipher_none.go for the one that does not.
const protects = true

// cipherOf is the protection of one direction of a Child SA.
func cipherOf(in ike.Install) (suite.Cipher, error) {
	return suite.NewCipher(in.Encr, in.Integ, in.EncKey, in.IntegKey)
}
