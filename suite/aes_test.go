package suite

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
)

// count is the message 00 01 02 ... of n bytes that the RFCs like.
func count(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}

func macSum(keyed keyedHash, key []byte, pieces ...[]byte) []byte {
	m := keyed(key)
	for _, p := range pieces {
		m.Write(p)
	}
	return m.Sum(nil)
}

// RFC 3566 4.6 and RFC 4493 4.
func TestAESMACKnown(t *testing.T) {
	cmacKey := unhex(t, "2b7e1516 28aed2a6 abf71588 09cf4f3c")
	message := unhex(t, `6bc1bee2 2e409f96 e93d7e11 7393172a ae2d8a57 1e03ac9c 9eb76fac 45af8e51
30c81c46 a35ce411 e5fbc119 1a0a52ef f69f2445 df4f9b17 ad2b417b e66c3710`)
	for _, c := range []struct {
		name    string
		keyed   keyedHash
		key     []byte
		message []byte
		want    string
	}{
		{"XCBC", newXCBC, count(16), nil, "75f0251d528ac01c4573dfd584d79f29"},
		{"XCBC", newXCBC, count(16), count(3), "5b376580ae2f19afe7219ceef172756f"},
		{"XCBC", newXCBC, count(16), count(16), "d2a246fa349b68a79998a4394ff7a263"},
		{"XCBC", newXCBC, count(16), count(20), "47f51b4564966215b8985c63055ed308"},
		{"XCBC", newXCBC, count(16), count(32), "f54f0ec8d2b9f3d36807734bd5283fd4"},
		{"XCBC", newXCBC, count(16), count(34), "becbb3bccdb518a30677d5481fb6b4d8"},
		{"XCBC", newXCBC, count(16), make([]byte, 1000), "f0dafee895db30253761103b5d84528f"},
		{"CMAC", newCMAC, cmacKey, nil, "bb1d69 29e95937 287fa37d 129b7567 46"},
		{"CMAC", newCMAC, cmacKey, message[:16], "070a16b4 6b4d4144 f79bdd9d d04a287c"},
		{"CMAC", newCMAC, cmacKey, message[:40], "dfa66747 de9ae630 30ca3261 1497c827"},
		{"CMAC", newCMAC, cmacKey, message, "51f0bebf 7e3b9d92 fc497417 79363cfe"},
	} {
		if got := macSum(c.keyed, c.key, c.message); !bytes.Equal(got, unhex(t, c.want)) {
			t.Errorf("%s of %d bytes = %x, want %s", c.name, len(c.message), got, c.want)
		}
	}
}

// RFC 4434 2.1 and RFC 4615 4: keys that are short, right and long.
func TestAESPRFKnown(t *testing.T) {
	for _, c := range []struct {
		id   uint16
		key  []byte
		want string
	}{
		{PRF_AES128_XCBC, count(16), "47f51b4564966215b8985c63055ed308"},
		{PRF_AES128_XCBC, count(10), "0fa087af7d866e7653434e602fdde835"},
		{PRF_AES128_XCBC, append(count(16), 0xed, 0xcb), "8cd3c93ae598a9803006ffb67c40e9e4"},
		{PRF_AES128_CMAC, count(16), "980ae87b 5f4c9c52 14f5b6a8 455e4c2d"},
		{PRF_AES128_CMAC, count(10), "290d9e11 2edb09ee 141fcf64 c0b72f3d"},
		{PRF_AES128_CMAC, append(count(16), 0xed, 0xcb), "84a348a4 a45d235b abfffc0d 2b4da09a"},
	} {
		p, err := NewPRF(Transform{Type: TypePRF, ID: c.id})
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Sum(c.key, count(7), count(20)[7:]); !bytes.Equal(got, unhex(t, c.want)) {
			t.Errorf("%d with a key of %d bytes: %x, want %s", c.id, len(c.key), got, c.want)
		}
	}
}

// A MAC does not depend on how its message is cut, Sum does not disturb it, and a clone goes its own way.
func FuzzAESMAC(f *testing.F) {
	for _, n := range []int{0, 1, 15, 16, 17, 32, 33, 100} {
		f.Add(count(16), count(n), uint(n/2), uint(16))
	}
	f.Fuzz(func(t *testing.T, key, message []byte, cut, from uint) {
		key = append(key, make([]byte, 16)...)[:16]
		a, b := int(cut%uint(len(message)+1)), int(from%uint(len(message)+1))
		a, b = min(a, b), max(a, b)
		for name, keyed := range map[string]keyedHash{"XCBC": newXCBC, "CMAC": newCMAC} {
			want := macSum(keyed, key, message)
			m := keyed(key)
			m.Write([]byte("something else"))
			m.Reset()
			m.Write(message[:a])
			clone, err := m.(*aesMAC).Clone()
			if err != nil {
				t.Fatal(err)
			}
			clone.Write([]byte("astray"))
			if got, want := m.Sum(nil), macSum(keyed, key, message[:a]); !bytes.Equal(got, want) {
				t.Fatalf("%s in the middle: %x, want %x", name, got, want)
			}
			m.Write(message[a:b])
			m.Write(message[b:])
			if got := m.Sum([]byte{1}); !bytes.Equal(got[1:], want) || got[0] != 1 {
				t.Fatalf("%s in pieces: %x, want %x", name, got, want)
			}
		}
	})
}

func TestCMACWycheproof(t *testing.T) {
	var file struct {
		TestGroups []struct {
			KeySize, TagSize int
			Tests            []struct {
				Key, Msg, Tag hexBytes
				Result        string
			}
		}
	}
	readJSON(t, "wycheproof/testvectors_v1/aes_cmac_test.json", &file)
	n := 0
	for _, g := range file.TestGroups {
		if g.KeySize != 128 {
			continue
		}
		for _, v := range g.Tests {
			n++
			if same := bytes.Equal(macSum(newCMAC, v.Key, v.Msg), v.Tag); same != (v.Result == "valid") {
				t.Errorf("CMAC(%x, %x): %v, want %s", v.Key, v.Msg, same, v.Result)
			}
		}
	}
	if n == 0 {
		t.Error("no vector was used")
	}
}

// RFC 3686 6, wrapped into packets with a MAC.
func TestCTRKnown(t *testing.T) {
	single := []byte("Single block msg")
	for i, c := range []struct {
		key, nonce, iv string
		plain          []byte
		ct             string
	}{
		{"AE6852F8121067CC4BF7A5765577F39E", "00000030", "0000000000000000", single, "E4095D4FB7A7B3792D6175A3261311B8"},
		{"7E24067817FAE0D743D6CE1F32539163", "006CB6DB", "C0543B59DA48D90B", count(32),
			"5104A106168A72D9790D41EE8EDAD388EB2E1EFC46DA57C8FCE630DF9141BE28"},
		{"7691BE035E5020A8AC6E618529F9A0DC", "00E0017B", "27777F3F4A1786F0", count(36),
			"C1CF48A89F2FFDD9CF4652E9EFDB72D74540A42BDE6D7836D59A5CEAAEF3105325B2072F"},
		{"16AF5B145FC9F579C175F93E3BFB0EED863D06CCFDB78515", "00000048", "36733C147D6D93CB", single, "4B55384FE259C9C84E7935A003CBE928"},
		{"7C5CB2401B3DC33C19E7340819E0F69C678C3DB8E6F6A91A", "0096B03B", "020C6EADC2CB500D", count(32),
			"453243FC609B23327EDFAAFA7131CD9F8490701C5AD4A79CFC1FE0FF42F4FB00"},
		{"02BF391EE8ECB159B959617B0965279BF59B60A786D3E0FE", "0007BDFD", "5CBD60278DCC0912", count(36),
			"96893FC55E5C722F540B7DD1DDF7E758D288BC95C69165884536C811662F2188ABEE0935"},
		{"776BEFF2851DB06F4C8A0542C8696F6C6A81AF1EEC96B4D37FC1D689E6C1C104", "00000060", "DB5672C97AA8F0B2", single,
			"145AD01DBF824EC7560863DC71E3E0C0"},
		{"F6D66D6BD52D59BB0796365879EFF886C66DD51A5B6A99744B50590C87A23884", "00FAAC24", "C1585EF15A43D875", count(32),
			"F05E231B3894612C49EE000B804EB2A9B8306B508F839D6A5530831D9344AF1C"},
		{"FF7A617CE69148E4F1726E2F43581DE2AA62D9F805532EDFF1EED687FB54153D", "001CC5B7", "51A51D70A1C11148", count(36),
			"EB6C52821D0BBBF7CE7594462ACA4FAAB407DF866569FD07F48CC0B583D6071F1EC0E6B8"},
	} {
		sealedCTR{unhex(t, c.key), unhex(t, c.nonce), unhex(t, c.iv), c.plain, unhex(t, c.ct)}.check(t, fmt.Sprint("vector ", i+1))
	}
}

// sealedCTR is a published case of AES-CTR.
type sealedCTR struct{ key, nonce, iv, plain, ct []byte }

func (v sealedCTR) check(t *testing.T, name string) {
	t.Helper()
	integKey := count(16)
	c, err := NewCipher(Transform{TypeENCR, ENCR_AES_CTR, uint16(8 * len(v.key))}, Transform{TypeINTEG, AUTH_AES_CMAC_96, 0},
		join(v.key, v.nonce), integKey)
	if err != nil {
		t.Fatal(err)
	}
	header := []byte{1, 2, 3}
	sent := join(header, v.iv, v.ct)
	whole := join(sent, macSum(newCMAC, integKey, sent)[:12])
	pkt := packet(c, header, v.plain)
	c.Seal(pkt, len(header), binary.BigEndian.Uint64(v.iv), false)
	if !bytes.Equal(pkt, whole) {
		t.Errorf("%s seals to %x, want %x", name, pkt, whole)
	}
	if got, err := c.Open(whole, len(header), 0, false); err != nil || !bytes.Equal(got, v.plain) {
		t.Errorf("%s opens to %x, %v; want %x", name, got, err, v.plain)
	}
}

func TestCTRNIST(t *testing.T) {
	var file struct {
		TestGroups []struct {
			InternalTestType string
			Tests            []struct {
				Key, Iv, Pt, Ct hexBytes
				PayloadLen      int
			}
		}
	}
	readJSON(t, "nist-acvp/ACVP-AES-CTR-1.0/internalProjection.json.gz", &file)
	n := 0
	for _, g := range file.TestGroups {
		for i, v := range g.Tests {
			if g.InternalTestType != "RFC3686" || v.PayloadLen%8 != 0 {
				continue
			}
			n++
			sealedCTR{v.Key, v.Iv[:4], v.Iv[4:12], v.Pt, v.Ct}.check(t, fmt.Sprint("case ", i))
		}
	}
	if n == 0 {
		t.Error("no vector was used")
	}
}

// AES-CTR against crypto/cipher, at lengths around the block.
func TestCTRAgainstStream(t *testing.T) {
	key := count(36)
	block, err := aes.NewCipher(key[:32])
	if err != nil {
		t.Fatal(err)
	}
	for n := range 200 {
		c, err := NewCipher(Transform{TypeENCR, ENCR_AES_CTR, 256}, Transform{TypeINTEG, AUTH_HMAC_SHA2_256_128, 0}, key, count(32))
		if err != nil {
			t.Fatal(err)
		}
		plain := randomBytes(seeded(byte(n)), n)
		pkt := packet(c, nil, plain)
		c.Seal(pkt, 0, uint64(n)<<32|5, false)
		want := make([]byte, n)
		cipher.NewCTR(block, join(key[32:], pkt[:8], []byte{0, 0, 0, 1})).XORKeyStream(want, plain)
		if got := pkt[8 : 8+n]; !bytes.Equal(got, want) {
			t.Fatalf("%d bytes: %x, want %x", n, got, want)
		}
	}
}

func TestCCMWycheproof(t *testing.T) {
	var file struct {
		TestGroups []struct {
			IvSize, KeySize, TagSize int
			Tests                    []struct {
				TcID                       int
				Key, Iv, Aad, Msg, Ct, Tag hexBytes
				Result                     string
			}
		}
	}
	readJSON(t, "wycheproof/testvectors_v1/aes_ccm_test.json", &file)
	n := 0
	for _, g := range file.TestGroups {
		if g.IvSize != 8*ccmNonceLen || g.TagSize != 128 {
			continue
		}
		for _, v := range g.Tests {
			n++
			encr := Transform{TypeENCR, ENCR_AES_CCM_16, uint16(g.KeySize)}
			if v.Result != "invalid" {
				sealed{v.Key, v.Iv[:ccmSaltLen], v.Iv[ccmSaltLen:], v.Aad, v.Msg, v.Ct, v.Tag}.check(t, encr)
				continue
			}
			c, _ := NewCipher(encr, Transform{}, join(v.Key, v.Iv[:ccmSaltLen]), nil)
			if _, err := c.Open(join(v.Aad, v.Iv[ccmSaltLen:], v.Ct, v.Tag), len(v.Aad), 0, false); !errors.Is(err, ErrIntegrity) {
				t.Errorf("case %d: a forged packet: %v", v.TcID, err)
			}
		}
	}
	if n == 0 {
		t.Error("no vector was used")
	}
}

// ccmModel is RFC 3610 2 once more, slowly: the blocks are written out and then encrypted.
func ccmModel(block cipher.Block, nonce, aad, plain []byte, tagLen int) []byte {
	pad := func(b []byte) []byte { return append(b, make([]byte, (16-len(b)%16)%16)...) }
	flags := byte((tagLen-2)/2*8 + 3)
	var blocks []byte
	if len(aad) > 0 {
		flags += 64
		if len(aad) < 0xff00 {
			blocks = binary.BigEndian.AppendUint16(nil, uint16(len(aad)))
		} else {
			blocks = binary.BigEndian.AppendUint32([]byte{0xff, 0xfe}, uint32(len(aad)))
		}
		blocks = pad(append(blocks, aad...))
	}
	b0 := binary.BigEndian.AppendUint32(join([]byte{flags}, nonce), uint32(len(plain)))
	blocks = join(b0, blocks, pad(bytes.Clone(plain)))
	mac := make([]byte, len(blocks))
	cipher.NewCBCEncrypter(block, make([]byte, 16)).CryptBlocks(mac, blocks)
	tag := mac[len(mac)-16:]
	a0 := join([]byte{3}, nonce, make([]byte, 4))
	out := join(tag, plain)
	cipher.NewCTR(block, a0).XORKeyStream(out, out)
	return join(out[16:], out[:tagLen])
}

func FuzzCCM(f *testing.F) {
	f.Add(uint8(0), []byte("header"), []byte("message"), uint64(1))
	f.Add(uint8(1), []byte{}, []byte{}, uint64(2))
	f.Add(uint8(2), count(14), count(16), ^uint64(0))
	f.Add(uint8(2), make([]byte, 0xfeff), count(17), uint64(3))
	f.Add(uint8(2), make([]byte, 0xff00), count(33), uint64(4))
	key := count(35)
	block, err := aes.NewCipher(key[:32])
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, which uint8, header, plain []byte, seq uint64) {
		c, err := NewCipher(Transform{TypeENCR, ENCR_AES_CCM_8 + uint16(which%3), 256}, Transform{}, key, nil)
		if err != nil {
			t.Fatal(err)
		}
		pkt := packet(c, header, plain)
		c.Seal(pkt, len(header), seq, false)
		nonce := binary.BigEndian.AppendUint64(bytes.Clone(key[32:]), seq)
		want := join(header, nonce[3:], ccmModel(block, nonce, header, plain, c.TagLen()))
		if !bytes.Equal(pkt, want) {
			t.Fatalf("%d bytes after %d: %x, want %x", len(plain), len(header), pkt, want)
		}
		if got, err := c.Open(pkt, len(header), 0, false); err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("opens to %x, %v", got, err)
		}
	})
}

// A GCM with a short ICV is the one with a long ICV, cut.
func TestShortGCM(t *testing.T) {
	r := seeded(3)
	key := count(20)
	long, _ := NewCipher(Transform{TypeENCR, ENCR_AES_GCM_16, 128}, Transform{}, key, nil)
	for _, id := range []uint16{ENCR_AES_GCM_8, ENCR_AES_GCM_12} {
		short, err := NewCipher(Transform{TypeENCR, id, 128}, Transform{}, key, nil)
		if err != nil {
			t.Fatal(err)
		}
		for n := range 100 {
			plain, header := randomBytes(r, n), randomBytes(r, 8)
			a, b := packet(long, header, plain), packet(short, header, plain)
			long.Seal(a, 8, uint64(n)<<30, n%2 == 0)
			short.Seal(b, 8, uint64(n)<<30, n%2 == 0)
			if !bytes.Equal(b, a[:len(b)]) {
				t.Fatalf("%d: %x, want %x", id, b, a[:len(b)])
			}
		}
	}
}

// What does not open leaves no plaintext in the packet, even where decryption comes before the check.
func TestOpenForgedHoldsNothing(t *testing.T) {
	for _, a := range algorithms() {
		if a.encr.ID == ENCR_NULL_AUTH_AES_GMAC {
			continue
		}
		c := a.cipher(t, 1)
		plain := bytes.Repeat([]byte("sixteen bytes ok"), 4)
		pkt := packet(c, make([]byte, 8), plain)
		c.Seal(pkt, 8, 1, false)
		pkt[len(pkt)-1] ^= 1
		if _, err := c.Open(pkt, 8, 0, false); !errors.Is(err, ErrIntegrity) || bytes.Contains(pkt, plain[:16]) {
			t.Errorf("%s: %v, or the plaintext is there", a, err)
		}
	}
}

// AES-GMAC against its definition: the tag of AES-GCM over all of the packet as additional data (RFC 4543 3.3, figure 4).
//
// Cases: Ipsec.Conf.3.1.3 J.
func TestGMACModel(t *testing.T) {
	key := count(36)
	block, err := aes.NewCipher(key[:32])
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewCipher(Transform{TypeENCR, ENCR_NULL_AUTH_AES_GMAC, 256}, Transform{}, key, nil)
	if err != nil {
		t.Fatal(err)
	}
	const seq = 0x0000000500000007
	header, plain := []byte{1, 2, 3, 4, 0, 0, 0, 7}, count(52)
	iv := []byte{0, 0, 0, 5, 0, 0, 0, 7}
	for _, esn := range []bool{false, true} {
		aad := join(header, iv, plain)
		if esn {
			aad = join(header[:4], []byte{0, 0, 0, 5}, header[4:], iv, plain)
		}
		want := join(header, iv, plain, gcm.Seal(nil, join(key[32:], iv), nil, aad))
		got := packet(c, header, plain)
		c.Seal(got, 8, seq, esn)
		if !bytes.Equal(got, want) {
			t.Errorf("esn %v:\n got %x\nwant %x", esn, got, want)
		}
	}
}
