package suite

import (
	"crypto/aes"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/binary"
	"hash"
	"sync"
)

// etm is a cipher without integrity of its own, then a MAC over all that was sent before the ICV (RFC 4303 3.3.2, RFC 7296
// 3.14).
type etm struct {
	ivLen, blockLen, tagLen int
	scratch                 sync.Pool // of *etmScratch
}

// etmScratch is the state of one Seal or Open. Mode and MAC are made once and then only set back.
type etmScratch struct {
	mode mode
	mac  hash.Hash
	high [4]byte // the upper half of an extended sequence number
	sum  [sha512.Size]byte
}

// mode is how a block cipher encrypts a packet. It is used by one goroutine at a time.
type mode interface {
	// seal makes an IV of seq, which comes once only, and encrypts body in place.
	seal(iv, body []byte, seq uint64)
	// open decrypts body in place.
	open(iv, body []byte)
}

func newEtM(encr, integ Transform, encKey, integKey []byte) (Cipher, error) {
	m, ok := macOf(integ)
	if !ok {
		return nil, ErrUnsupported
	}
	c := &etm{tagLen: m.tagLen}
	var newMode func() mode
	var err error
	switch encr.ID {
	case ENCR_AES_CBC:
		c.ivLen, c.blockLen = aes.BlockSize, aes.BlockSize
		newMode, err = cbcModes(encKey)
	case ENCR_AES_CTR:
		c.ivLen, c.blockLen = ctrIVLen, 1
		newMode, err = ctrModes(encKey)
	default:
		err = ErrUnsupported
	}
	if err != nil {
		return nil, err
	}
	// Every scratch clones this one, so that the MAC key is made into states here and not kept beside them.
	first := m.keyed(integKey)
	first.Reset() // makes an HMAC remember its keyed states, so that a clone starts from them
	if _, err := first.(hash.Cloner).Clone(); err != nil {
		return nil, ErrUnsupported
	}
	c.scratch.New = func() any {
		clone, _ := first.(hash.Cloner).Clone() // it worked above
		return &etmScratch{mode: newMode(), mac: clone.(hash.Hash)}
	}
	return c, nil
}

func (c *etm) IVLen() int    { return c.ivLen }
func (c *etm) TagLen() int   { return c.tagLen }
func (c *etm) BlockLen() int { return c.blockLen }

func (c *etm) Seal(pkt []byte, clear int, seq uint64, esn bool) {
	body := clear + c.ivLen
	end := len(pkt) - c.tagLen
	if end < body || (end-body)%c.blockLen != 0 || esn && clear != espHeaderLen {
		panic("suite: Seal without room for IV and ICV, or of a broken block")
	}
	s := c.scratch.Get().(*etmScratch)
	s.mode.seal(pkt[clear:body], pkt[body:end], seq)
	copy(pkt[end:], s.icv(pkt[:end], uint32(seq>>32), esn))
	c.scratch.Put(s)
}

func (c *etm) Open(pkt []byte, clear int, seqHi uint32, esn bool) ([]byte, error) {
	body := clear + c.ivLen
	end := len(pkt) - c.tagLen
	if end < body || esn && clear != espHeaderLen {
		return nil, ErrShort
	}
	if (end-body)%c.blockLen != 0 {
		return nil, ErrIntegrity
	}
	s := c.scratch.Get().(*etmScratch)
	ok := subtle.ConstantTimeCompare(s.icv(pkt[:end], seqHi, esn)[:c.tagLen], pkt[end:]) == 1
	if ok {
		s.mode.open(pkt[clear:body], pkt[body:end])
	}
	c.scratch.Put(s)
	if !ok {
		return nil, ErrIntegrity
	}
	return pkt[body:end], nil
}

// icv is the whole MAC over data; with extended sequence numbers their upper half follows the data although it is not sent
// (RFC 4303 2.2.1).
func (s *etmScratch) icv(data []byte, seqHi uint32, esn bool) []byte {
	s.mac.Reset()
	s.mac.Write(data)
	if esn {
		binary.BigEndian.PutUint32(s.high[:], seqHi)
		s.mac.Write(s.high[:])
	}
	return s.mac.Sum(s.sum[:0])
}
