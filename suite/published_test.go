package suite

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
)

// sealed is a published AEAD case in the shape of this package.
type sealed struct{ key, salt, iv, aad, plain, ct, tag []byte }

// check asks the cipher of a transform; AES-GCM is also asked with its shorter tags, and as CPUs without the instructions for
// it have it.
func (v sealed) check(t *testing.T, encr Transform) {
	t.Helper()
	key := join(v.key, v.salt)
	c, err := NewCipher(encr, Transform{}, key, nil)
	if err != nil {
		t.Fatal(err)
	}
	v.checkCipher(t, c)
	if encr.ID != ENCR_AES_GCM_16 {
		return
	}
	for _, tagLen := range []int{8, 12, 16} {
		v.tag = v.tag[:tagLen] // of 16
		for _, newGCM := range []func([]byte, int) (Cipher, error){newAESGCM, newPortableAESGCM} {
			c, err := newGCM(key, tagLen)
			if err != nil {
				t.Fatal(err)
			}
			v.checkCipher(t, c)
		}
	}
}

// checkCipher opens the case and seals it again. The header is the additional data whole, whatever its length; cases with 12
// bytes of it are ESP with extended sequence numbers and are opened as such too.
func (v sealed) checkCipher(t *testing.T, c Cipher) {
	t.Helper()
	whole := join(v.aad, v.iv, v.ct, v.tag)
	got, err := c.Open(bytes.Clone(whole), len(v.aad), 0, false)
	if err != nil || !bytes.Equal(got, v.plain) {
		t.Errorf("opens to %x, %v; want %x", got, err, v.plain)
	}
	pkt := packet(c, v.aad, v.plain)
	c.Seal(pkt, len(v.aad), binary.BigEndian.Uint64(v.iv), false)
	if !bytes.Equal(pkt, whole) {
		t.Errorf("seals to %x, want %x", pkt, whole)
	}
	if len(v.aad) == 12 {
		esp := join(v.aad[:4], v.aad[8:], v.iv, v.ct, v.tag)
		got, err := c.Open(esp, 8, binary.BigEndian.Uint32(v.aad[4:]), true)
		if err != nil || !bytes.Equal(got, v.plain) {
			t.Errorf("with extended sequence numbers: %x, %v; want %x", got, err, v.plain)
		}
	}
}

func TestGCMESPDraft(t *testing.T) {
	var file struct {
		Vectors []struct {
			N                            int
			Key, Nonce, Pt, Aad, Ct, Tag hexBytes
		}
	}
	readJSON(t, "draft-mcgrew-gcm-esp/vectors.json", &file)
	esn := 0
	for _, v := range file.Vectors {
		if len(v.Aad) == 12 {
			esn++
		}
		t.Run(fmt.Sprint(v.N), func(t *testing.T) {
			sealed{v.Key, v.Nonce[:4], v.Nonce[4:], v.Aad, v.Pt, v.Ct, v.Tag}.
				check(t, Transform{TypeENCR, ENCR_AES_GCM_16, uint16(8 * len(v.Key))})
		})
	}
	if len(file.Vectors) != 14 || esn == 0 {
		t.Errorf("%d vectors, %d of them with extended sequence numbers", len(file.Vectors), esn)
	}
}

// RFC 7634 appendix A (ESP) and B (an SK payload).
func TestChaCha20Poly1305RFC7634(t *testing.T) {
	var file struct {
		Vectors []struct {
			Name                            string
			Key, Salt, Iv, Aad, Pt, Ct, Tag hexBytes
		}
	}
	readJSON(t, "rfc7634/vectors.json", &file)
	for _, v := range file.Vectors {
		t.Run(v.Name, func(t *testing.T) {
			sealed{v.Key, v.Salt, v.Iv, v.Aad, v.Pt, v.Ct, v.Tag}.
				check(t, Transform{Type: TypeENCR, ID: ENCR_CHACHA20_POLY1305})
		})
	}
	if len(file.Vectors) != 2 {
		t.Errorf("%d vectors of 2", len(file.Vectors))
	}
}

func TestGCMNIST(t *testing.T) {
	var file struct {
		TestGroups []struct {
			KeyLen, IvLen, TagLen int
			Tests                 []struct {
				TestPassed                bool
				Key, Iv, Aad, Pt, Ct, Tag hexBytes
			}
		}
	}
	readJSON(t, "nist-acvp/ACVP-AES-GCM-1.0/internalProjection.json.gz", &file)
	n := 0
	for _, g := range file.TestGroups {
		if g.IvLen != 96 || g.TagLen != 128 {
			continue // not the nonce and ICV of RFC 4106
		}
		encr := Transform{TypeENCR, ENCR_AES_GCM_16, uint16(g.KeyLen)}
		for _, v := range g.Tests {
			n++
			if v.TestPassed {
				sealed{v.Key, v.Iv[:4], v.Iv[4:], v.Aad, v.Pt, v.Ct, v.Tag}.check(t, encr)
				continue
			}
			c, _ := NewCipher(encr, Transform{}, join(v.Key, v.Iv[:4]), nil)
			if _, err := c.Open(join(v.Aad, v.Iv[4:], v.Ct, v.Tag), len(v.Aad), 0, false); !errors.Is(err, ErrIntegrity) {
				t.Errorf("a forged packet: %v", err)
			}
		}
	}
	if n == 0 {
		t.Error("no vector was used")
	}
}

func TestAEADWycheproof(t *testing.T) {
	for name, id := range map[string]uint16{"aes_gcm_test.json": ENCR_AES_GCM_16, "chacha20_poly1305_test.json": ENCR_CHACHA20_POLY1305} {
		t.Run(name, func(t *testing.T) {
			var file struct {
				TestGroups []struct {
					IvSize, KeySize, TagSize int
					Tests                    []struct {
						Key, Iv, Aad, Msg, Ct, Tag hexBytes
						Result                     string
					}
				}
			}
			readJSON(t, "wycheproof/testvectors_v1/"+name, &file)
			n := 0
			for _, g := range file.TestGroups {
				if g.IvSize != 96 || g.TagSize != 128 {
					continue
				}
				encr := Transform{Type: TypeENCR, ID: id}
				if id == ENCR_AES_GCM_16 {
					encr.KeyBits = uint16(g.KeySize)
				}
				for _, v := range g.Tests {
					n++
					if v.Result != "invalid" {
						sealed{v.Key, v.Iv[:4], v.Iv[4:], v.Aad, v.Msg, v.Ct, v.Tag}.check(t, encr)
						continue
					}
					c, _ := NewCipher(encr, Transform{}, join(v.Key, v.Iv[:4]), nil)
					if _, err := c.Open(join(v.Aad, v.Iv[4:], v.Ct, v.Tag), len(v.Aad), 0, false); !errors.Is(err, ErrIntegrity) {
						t.Errorf("a forged packet: %v", err)
					}
				}
			}
			if n == 0 {
				t.Error("no vector was used")
			}
		})
	}
}

// AES-CBC by NIST, wrapped into packets with a right ICV. Only Open can be asked: the IV is Seal's own.
func TestCBCNIST(t *testing.T) {
	var file struct {
		TestGroups []struct {
			TestType string
			KeyLen   int
			Tests    []struct{ Key, Iv, Pt, Ct hexBytes }
		}
	}
	readJSON(t, "nist-acvp/ACVP-AES-CBC-1.0/internalProjection.json.gz", &file)
	integ := Transform{Type: TypeINTEG, ID: AUTH_HMAC_SHA2_256_128}
	m, _ := macOf(integ)
	integKey := make([]byte, m.keyLen)
	n := 0
	for _, g := range file.TestGroups {
		if g.TestType != "AFT" {
			continue
		}
		for _, v := range g.Tests {
			n++
			c, err := NewCipher(Transform{TypeENCR, ENCR_AES_CBC, uint16(g.KeyLen)}, integ, v.Key, integKey)
			if err != nil {
				t.Fatal(err)
			}
			mac := m.keyed(integKey)
			mac.Write(join(v.Iv, v.Ct))
			got, err := c.Open(join(v.Iv, v.Ct, mac.Sum(nil)[:m.tagLen]), 0, 0, false)
			if err != nil || !bytes.Equal(got, v.Pt) {
				t.Fatalf("%x opens to %x, %v; want %x", v.Ct, got, err, v.Pt)
			}
		}
	}
	if n == 0 {
		t.Error("no vector was used")
	}
}
