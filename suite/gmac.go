package suite

import (
	"crypto/cipher"
	"encoding/binary"
	"sync"
)

// gmac is AES-GMAC for ESP without encryption (RFC 4543 3): AES-GCM of nothing, with the whole packet as additional data.
type gmac struct {
	gcm     cipher.AEAD
	scratch sync.Pool // of *gmacScratch
}

// gmacScratch holds what must outlive a call through the cipher.AEAD interface and so would be allocated per packet.
type gmacScratch struct {
	nonce [saltLen + aeadIVLen]byte // the salt is set once
	aad   []byte                    // of a packet with extended sequence numbers; it grows with the packets
}

func newAESGMAC(key []byte) (Cipher, error) {
	gcm, err := gcmOf(key[:len(key)-saltLen], 16) // never cut (RFC 4543 3.4)
	if err != nil {
		return nil, err
	}
	salt := [saltLen]byte(key[len(key)-saltLen:])
	g := &gmac{gcm: gcm}
	g.scratch.New = func() any {
		s := new(gmacScratch)
		copy(s.nonce[:], salt[:])
		return s
	}
	return g, nil
}

func (g *gmac) IVLen() int    { return aeadIVLen }
func (g *gmac) TagLen() int   { return g.gcm.Overhead() }
func (g *gmac) BlockLen() int { return 1 }

func (g *gmac) Seal(pkt []byte, clear int, seq uint64, esn bool) {
	body := clear + aeadIVLen
	end := len(pkt) - g.TagLen()
	if end < body || esn && clear != espHeaderLen {
		panic("suite: Seal without room for IV and ICV")
	}
	s := g.scratch.Get().(*gmacScratch)
	binary.BigEndian.PutUint64(pkt[clear:body], seq)
	copy(s.nonce[saltLen:], pkt[clear:body])
	g.gcm.Seal(pkt[end:end], s.nonce[:], nil, s.additional(pkt[:end], uint32(seq>>32), esn))
	g.scratch.Put(s)
}

func (g *gmac) Open(pkt []byte, clear int, seqHi uint32, esn bool) ([]byte, error) {
	body := clear + aeadIVLen
	end := len(pkt) - g.TagLen()
	if end < body || esn && clear != espHeaderLen {
		return nil, ErrShort
	}
	s := g.scratch.Get().(*gmacScratch)
	copy(s.nonce[saltLen:], pkt[clear:body])
	_, err := g.gcm.Open(nil, s.nonce[:], pkt[end:], s.additional(pkt[:end], seqHi, esn))
	g.scratch.Put(s)
	if err != nil {
		return nil, ErrIntegrity
	}
	return pkt[body:end], nil
}

// additional is what is authenticated: the packet with its IV (RFC 4543 figure 4), with extended sequence numbers the upper
// half after the SPI (RFC 4543 3.3).
func (s *gmacScratch) additional(packet []byte, seqHi uint32, esn bool) []byte {
	if !esn {
		return packet
	}
	s.aad = append(s.aad[:0], packet[:4]...)
	s.aad = binary.BigEndian.AppendUint32(s.aad, seqHi)
	s.aad = append(s.aad, packet[4:]...)
	return s.aad
}
