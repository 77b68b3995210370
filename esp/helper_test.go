package esp

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"hash"
	"testing"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/culvert-vpn/culvert/suite"
)

const testSPI = 0xc0ffee01

// testSuite is one way to protect a packet: the cipher under test, and its pieces from the standard library
// for the slow model.
type testSuite struct {
	name        string
	encr, integ suite.Transform
	hash        func() hash.Hash // of the MAC; nil for an AEAD
	tagLen      int
}

func encrT(id, bits uint16) suite.Transform {
	return suite.Transform{Type: suite.TypeENCR, ID: id, KeyBits: bits}
}

func integT(id uint16) suite.Transform { return suite.Transform{Type: suite.TypeINTEG, ID: id} }

func testSuites() []testSuite {
	return []testSuite{
		{"gcm128", encrT(suite.ENCR_AES_GCM_16, 128), suite.Transform{}, nil, 16},
		{"gcm256", encrT(suite.ENCR_AES_GCM_16, 256), suite.Transform{}, nil, 16},
		{"chacha", encrT(suite.ENCR_CHACHA20_POLY1305, 0), suite.Transform{}, nil, 16},
		{"cbc128-sha1", encrT(suite.ENCR_AES_CBC, 128), integT(suite.AUTH_HMAC_SHA1_96), sha1.New, 12},
		{"cbc256-sha256", encrT(suite.ENCR_AES_CBC, 256), integT(suite.AUTH_HMAC_SHA2_256_128), sha256.New, 16},
		{"cbc256-sha384", encrT(suite.ENCR_AES_CBC, 256), integT(suite.AUTH_HMAC_SHA2_384_192), sha512.New384, 24},
		{"cbc256-sha512", encrT(suite.ENCR_AES_CBC, 256), integT(suite.AUTH_HMAC_SHA2_512_256), sha512.New, 32},
	}
}

func gcm() testSuite { return testSuites()[0] }
func cbc() testSuite { return testSuites()[4] }

// keys are fixed bytes of the right lengths.
func (s testSuite) keys(t testing.TB) (enc, integ []byte) {
	t.Helper()
	e, i, err := suite.KeyLens(s.encr, s.integ)
	if err != nil {
		t.Fatalf("KeyLens of %s: %v", s.name, err)
	}
	enc, integ = make([]byte, e), make([]byte, i)
	for k := range enc {
		enc[k] = byte(k + 1)
	}
	for k := range integ {
		integ[k] = byte(0xa0 + k)
	}
	return enc, integ
}

func (s testSuite) cipher(t testing.TB) suite.Cipher {
	t.Helper()
	enc, integ := s.keys(t)
	c, err := suite.NewCipher(s.encr, s.integ, enc, integ)
	if err != nil {
		t.Fatalf("NewCipher of %s: %v", s.name, err)
	}
	return c
}

// pair is both ends of one SA.
func (s testSuite) pair(t testing.TB, esn bool) (*Outbound, *Inbound) {
	t.Helper()
	return NewOutbound(OutboundConfig{SPI: testSPI, Cipher: s.cipher(t), ESN: esn}),
		NewInbound(InboundConfig{SPI: testSPI, Cipher: s.cipher(t), ESN: esn})
}

// seal is the slow model of a sender: a packet built from the RFCs with the standard library alone. plain is
// everything that is encrypted.
func (s testSuite) seal(t testing.TB, seq uint64, esn bool, iv, plain []byte) []byte {
	t.Helper()
	enc, integ := s.keys(t)
	pkt := binary.BigEndian.AppendUint32(nil, testSPI)
	pkt = binary.BigEndian.AppendUint32(pkt, uint32(seq))
	if s.hash == nil {
		key, salt := enc[:len(enc)-4], enc[len(enc)-4:]
		aad := bytes.Clone(pkt)
		if esn { // RFC 4106 5, RFC 7634 2.1
			aad = binary.BigEndian.AppendUint64(bytes.Clone(pkt[:4]), seq)
		}
		return s.aead(t, key).Seal(append(pkt, iv...), append(bytes.Clone(salt), iv...), plain, aad)
	}
	block, err := aes.NewCipher(enc)
	if err != nil {
		t.Fatal(err)
	}
	body := make([]byte, len(plain))
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(body, plain)
	pkt = append(append(pkt, iv...), body...)
	mac := hmac.New(s.hash, integ)
	mac.Write(pkt)
	if esn { // RFC 4303 2.2.1
		mac.Write(binary.BigEndian.AppendUint32(nil, uint32(seq>>32)))
	}
	return append(pkt, mac.Sum(nil)[:s.tagLen]...)
}

func (s testSuite) aead(t testing.TB, key []byte) cipher.AEAD {
	t.Helper()
	if s.encr.ID == suite.ENCR_CHACHA20_POLY1305 {
		a, err := chacha20poly1305.New(key)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	a, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// ivOf is an IV of the right length for seal.
func (s testSuite) ivOf(seq uint64) []byte {
	if s.hash == nil {
		return binary.BigEndian.AppendUint64(nil, seq)
	}
	return binary.BigEndian.AppendUint64(bytes.Repeat([]byte{0x77}, 8), seq)
}

// ipv4 is an IPv4 packet of n bytes, n >= 20, with a correct header checksum; ipv6 one of n >= 40.
func ipv4(n int) []byte {
	b := make([]byte, n)
	copy(b, []byte{0x45, 0, 0, 0, 0x12, 0x34, 0x40, 0, 64, 17, 0, 0, 10, 1, 0, 1, 10, 2, 0, 1})
	binary.BigEndian.PutUint16(b[2:], uint16(n))
	for k := 20; k < n; k++ {
		b[k] = byte(k)
	}
	binary.BigEndian.PutUint16(b[10:], ^sum16(b[:20]))
	return b
}

func ipv6(n int) []byte {
	b := make([]byte, n)
	b[0], b[6], b[7] = 0x60, 17, 64
	binary.BigEndian.PutUint16(b[4:], uint16(n-40))
	for k := 8; k < n; k++ {
		b[k] = byte(k)
	}
	return b
}

// sum16 is the ones' complement sum of a header of even length.
func sum16(b []byte) uint16 {
	var sum uint32
	for k := 0; k < len(b); k += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[k:]))
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return uint16(sum)
}

// trailer appends padding 1, 2, 3 ... of padLen bytes, the pad length and the next header.
func trailer(payload []byte, padLen int, next byte) []byte {
	plain := bytes.Clone(payload)
	for k := range padLen {
		plain = append(plain, byte(k+1))
	}
	return append(plain, byte(padLen), next)
}

// sealed puts an inner packet through o.
func sealed(t testing.TB, o *Outbound, inner []byte, seq uint64) []byte {
	t.Helper()
	buf := make([]byte, o.HeadLen()+len(inner)+Tailroom)
	copy(buf[o.HeadLen():], inner)
	pkt := o.Seal(buf, len(inner), seq)
	if pkt == nil {
		t.Fatalf("Seal refused %x", inner)
	}
	return pkt
}

// next reserves a number and seals.
func next(t testing.TB, o *Outbound, inner []byte) []byte {
	t.Helper()
	seq, ok := o.Reserve(1)
	if !ok {
		t.Fatal("Reserve refused")
	}
	return sealed(t, o, inner, seq)
}
