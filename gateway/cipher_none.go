//go:build culvert_bench_nocipher

// This build exists for bench/compare alone: it shows what the datapath costs without its cryptography. Keys are negotiated as
// ever, and not used for traffic. No configuration and no flag of another build leads here.

package gateway

import (
	"encoding/binary"

	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/suite"
)

const protects = false

// cipherOf is no protection, with the packets of the cipher that was agreed upon.
func cipherOf(in ike.Install) (suite.Cipher, error) {
	c, err := suite.NewCipher(in.Encr, in.Integ, in.EncKey, in.IntegKey)
	if err != nil {
		return nil, err
	}
	return noCipher{iv: c.IVLen(), tag: c.TagLen(), block: c.BlockLen()}, nil
}

// noCipher sends the plaintext where others send the ciphertext, and fills neither IV nor ICV with anything of worth.
type noCipher struct{ iv, tag, block int }

func (c noCipher) IVLen() int    { return c.iv }
func (c noCipher) TagLen() int   { return c.tag }
func (c noCipher) BlockLen() int { return c.block }

func (c noCipher) Seal(pkt []byte, clear int, seq uint64, _ bool) {
	binary.BigEndian.PutUint64(pkt[clear:], seq)
}

func (c noCipher) Open(pkt []byte, clear int, _ uint32, _ bool) ([]byte, error) {
	if len(pkt) < clear+c.iv+c.tag {
		return nil, suite.ErrShort
	}
	return pkt[clear+c.iv : len(pkt)-c.tag], nil
}
