package wire

import (
	"bytes"
	"encoding/asn1"
	"encoding/json"
	"errors"
	"math/big"
	"os"
	"reflect"
	"slices"
	"testing"

	"github.com/culvert-vpn/culvert/ident"
	"github.com/culvert-vpn/culvert/suite"
)

var (
	aesGCM    = suite.Transform{Type: suite.TypeENCR, ID: suite.ENCR_AES_GCM_16, KeyBits: 256}
	chaCha    = suite.Transform{Type: suite.TypeENCR, ID: suite.ENCR_CHACHA20_POLY1305}
	aesCBC    = suite.Transform{Type: suite.TypeENCR, ID: suite.ENCR_AES_CBC, KeyBits: 128}
	hmacSHA1  = suite.Transform{Type: suite.TypeINTEG, ID: suite.AUTH_HMAC_SHA1_96}
	hmacSHA2  = suite.Transform{Type: suite.TypeINTEG, ID: suite.AUTH_HMAC_SHA2_256_128}
	allSuites = [][2]suite.Transform{{aesGCM, {}}, {chaCha, {}}, {aesCBC, hmacSHA1}, {aesCBC, hmacSHA2}}
)

// testCipher returns a cipher with fixed keys.
func testCipher(encr, integ suite.Transform) suite.Cipher {
	enc, mac, err := suite.KeyLens(encr, integ)
	if err != nil {
		panic(err)
	}
	return must(suite.NewCipher(encr, integ, bytes.Repeat([]byte{1}, enc), bytes.Repeat([]byte{2}, mac)))
}

var sealedHeader = Header{SPIi: 1, SPIr: 2, Exchange: IKE_AUTH, Initiator: true, MessageID: 1}

func TestSealOpen(t *testing.T) {
	marker := []byte{0, 0, 0, 0}
	for _, s := range allSuites {
		c := testCipher(s[0], s[1])
		var inner []Payload
		for n := range 40 { // all alignments to a block
			b := AppendSealed(slices.Clone(marker), sealedHeader, inner, c, uint64(n))
			msg := b[len(marker):]
			if !bytes.HasPrefix(b, marker) {
				t.Fatal("bytes before the message changed")
			}
			m, err := Parse(msg)
			if err != nil || len(m.Payloads) != 0 || m.Encrypted.Next != firstType(inner) {
				t.Fatalf("%v: Parse = %v, %v", s[0], m, err)
			}
			// One padding of less than a block, and the Pad Length.
			sealed := len(m.Encrypted.Body) - c.IVLen() - c.TagLen()
			if plain := len(appendChain(nil, inner)); sealed <= plain || sealed > plain+c.BlockLen() || sealed%c.BlockLen() != 0 {
				t.Errorf("%v: %d bytes of plaintext became %d", s[0], plain, sealed)
			}
			got, err := OpenSealed(msg, m, c)
			if err != nil || !reflect.DeepEqual(got, inner) {
				t.Fatalf("%v: OpenSealed = %v, %v, want %v", s[0], got, err, inner)
			}
			inner = []Payload{&Notify{Kind: COOKIE2, Data: make([]byte, n)}, &Vendor{Data: []byte{byte(n)}}}
			if n == 0 {
				inner[0].(*Notify).Data = nil
			}
		}
	}
}

// Every bit of the message is protected. What Parse refuses first is not the cipher's to find.
func TestOpenTampered(t *testing.T) {
	for _, s := range allSuites {
		c := testCipher(s[0], s[1])
		sealed := AppendSealed(nil, sealedHeader, []Payload{&Notify{Kind: INITIAL_CONTACT}}, c, 1)
		for bit := range len(sealed) * 8 {
			msg := slices.Clone(sealed)
			msg[bit/8] ^= 1 << (bit % 8)
			m, err := Parse(msg)
			if err != nil || m.Encrypted == nil {
				continue
			}
			payloads, err := OpenSealed(msg, m, c)
			if !errors.Is(err, suite.ErrIntegrity) || payloads != nil {
				t.Fatalf("%v, bit %d: %v, %v", s[0], bit, payloads, err)
			}
		}
		for n := range len(sealed) - HeaderLen - payloadHeaderLen { // SK body cut, lengths mended
			msg := slices.Clone(sealed[:HeaderLen+payloadHeaderLen+n])
			putLength(msg[HeaderLen:])
			putMessageLength(msg)
			m, err := Parse(msg)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := OpenSealed(msg, m, c); !errors.Is(err, suite.ErrIntegrity) && !errors.Is(err, suite.ErrShort) {
				t.Fatalf("%v, cut to %d: %v", s[0], n, err)
			}
		}
	}
}

// seal protects any plaintext, well-formed or not.
func seal(first PayloadType, plain []byte, c suite.Cipher) []byte {
	h := sealedHeader
	h.Next = TypeSK
	b := append(h.append(nil), byte(first), 0, 0, 0)
	b = append(b, make([]byte, c.IVLen())...)
	b = append(b, plain...)
	b = append(b, make([]byte, c.TagLen())...)
	putLength(b[HeaderLen:])
	putMessageLength(b)
	c.Seal(b, HeaderLen+payloadHeaderLen, 9, false)
	return b
}

func TestOpenPadding(t *testing.T) {
	c := testCipher(aesGCM, suite.Transform{})
	notify := "00 00 0008 00 00 4000"
	good := []Payload{&Notify{Kind: INITIAL_CONTACT}}
	for _, x := range []struct {
		name  string
		first PayloadType
		plain string
		want  []Payload
		err   error
	}{
		{"no padding", TypeNOTIFY, notify + "00", good, nil},
		{"any padding", TypeNOTIFY, notify + "ffee03 03", good, nil},
		{"nothing inside", TypeNone, "00", nil, nil},
		{"only padding", TypeNone, "aabb 02", nil, nil},
		{"no pad length", TypeNone, "", nil, &SyntaxError{TypeSK, HeaderLen + 4 + 8 - 1, "pad length exceeds the content"}},
		{"pad length too large", TypeNone, "0000 03", nil, &SyntaxError{TypeSK, HeaderLen + 4 + 8 + 2, "pad length exceeds the content"}},
		{"padding over a payload", TypeNOTIFY, notify + "01", nil, &SyntaxError{TypeNOTIFY, HeaderLen + 4 + 8 + 4, "cut short"}},
		{"bytes that are no payload", TypeNone, "ee 00", nil, &SyntaxError{TypeNone, HeaderLen + 4 + 8, "bytes after the last payload"}},
		{"SK inside", TypeSK, "00 00 0004 00", nil, &SyntaxError{TypeSK, HeaderLen + 4 + 8 + 4, "inside another Encrypted payload"}},
		{"unknown critical", 99, "00 80 0004 00", nil, &UnknownCritical{99}},
	} {
		if x.name == "padding over a payload" {
			x.plain = "00 00 0008 00 00 40 01" // the last byte of the type is the Pad Length
		}
		msg := seal(x.first, hx(x.plain), c)
		m, err := Parse(msg)
		if err != nil {
			t.Fatal(err)
		}
		got, err := OpenSealed(msg, m, c)
		if !reflect.DeepEqual(got, x.want) || !reflect.DeepEqual(err, x.err) {
			t.Errorf("%s: %v, %#v, want %v, %#v", x.name, got, err, x.want, x.err)
		}
	}
}

func TestOpenNotSealed(t *testing.T) {
	msg := AppendMessage(nil, sealedHeader, nil)
	m := must(Parse(msg))
	if _, err := OpenSealed(msg, m, testCipher(aesGCM, suite.Transform{})); err != ErrNotSealed {
		t.Error(err)
	}
}

// Payloads in front of SK are covered by the integrity check (RFC 5282 5.1).
//
// Cases: BUG-04.
func TestOpenClearPayloads(t *testing.T) {
	c := testCipher(chaCha, suite.Transform{})
	front := hx("2e 00 0008 00 00 4000")
	sk := slices.Concat(hx("29 00 0000"), make([]byte, c.IVLen()), hx("00 00 0008 00 00 4001 00"), make([]byte, c.TagLen()))
	putLength(sk)
	sealed := message(TypeNOTIFY, slices.Concat(front, sk))
	c.Seal(sealed, HeaderLen+len(front)+payloadHeaderLen, 1, false)
	for _, tamper := range []byte{0, 1} {
		msg := slices.Clone(sealed)
		msg[HeaderLen+7] ^= tamper
		m := must(Parse(msg))
		got, err := OpenSealed(msg, m, c)
		if tamper == 0 && (err != nil || !reflect.DeepEqual(got, []Payload{&Notify{Kind: SET_WINDOW_SIZE}})) {
			t.Errorf("%v, %v", got, err)
		}
		if tamper == 1 && !errors.Is(err, suite.ErrIntegrity) {
			t.Errorf("tampered: %v", err)
		}
	}
}

func readJSON(t *testing.T, name string, v any) {
	t.Helper()
	b, err := os.ReadFile(vectors(t, name))
	if err == nil {
		err = json.Unmarshal(b, v)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// RFC 7634 Appendix B, opened and made again.
func TestRFC7634(t *testing.T) {
	var file struct {
		Vectors []struct {
			Name, Key, Salt string
			Message         string `json:"ike_message"`
		}
	}
	readJSON(t, "rfc7634/vectors.json", &file)
	for _, v := range file.Vectors {
		if v.Message == "" {
			continue
		}
		c := must(suite.NewCipher(chaCha, suite.Transform{}, hx(v.Key+v.Salt), nil))
		msg := hx(v.Message)
		m := must(Parse(msg))
		got, err := OpenSealed(msg, m, c)
		want := []Payload{&Notify{Kind: SET_WINDOW_SIZE, Data: hx("0000000a")}}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%s: %v, %v", v.Name, got, err)
		}
		if m.String() != "INFORMATIONAL request 9 [SK]" {
			t.Errorf("%v", m)
		}
		if again := AppendSealed(nil, m.Header, want, c, 0x1011121314151617); !bytes.Equal(again, hx(v.Message)) {
			t.Errorf("sealed %x", again)
		}
		return
	}
	t.Fatal("no IKE message among the vectors")
}

// A recorded handshake, from the private key of the initiator to the traffic selectors in IKE_AUTH.
func TestRecordedHandshake(t *testing.T) {
	var file struct {
		Handshake struct {
			Private   string `json:"dh_private_pkcs8_der"`
			InitReq   string `json:"ike_sa_init_request"`
			InitResp  string `json:"ike_sa_init_response"`
			AuthReq   string `json:"ike_auth_request"`
			AuthResp  string `json:"ike_auth_response"`
			ESPi      string `json:"esp_spi_i"`
			ESPr      string `json:"esp_spi_r"`
			Initiator string `json:"initiator_ip_id"`
		} `json:"handshake_psk_modp1024_aes128cbc_sha1"`
	}
	readJSON(t, "rub-nds-ikev2/ikev2_psk.json", &file)
	v := file.Handshake
	request, response := must(Parse(hx(v.InitReq))), must(Parse(hx(v.InitResp)))
	if got := response.String(); got != "IKE_SA_INIT response 0 [SA KE No N(MULTIPLE_AUTH_SUPPORTED)]" {
		t.Error(got)
	}
	toResponder, toInitiator := recordedKeys(t, hx(v.Private), request, response)

	type side struct {
		message, spi string
		cipher       suite.Cipher
		names        string
	}
	for _, s := range []side{
		{v.AuthReq, v.ESPi, toResponder, "IKE_AUTH request 1 [IDi AUTH SA TSi TSr]"},
		{v.AuthResp, v.ESPr, toInitiator, "IKE_AUTH response 1 [IDr AUTH SA TSi TSr]"},
	} {
		msg := hx(s.message)
		m := must(Parse(msg))
		inner, err := OpenSealed(msg, m, s.cipher)
		if err != nil {
			t.Fatal(err)
		}
		if got := (&Message{Header: m.Header, Payloads: inner}).String(); got != s.names {
			t.Errorf("%s, want %s", got, s.names)
		}
		for _, p := range inner {
			switch p := p.(type) {
			case *SA:
				if q := p.Proposals[0]; q.Protocol != suite.ESP || !bytes.Equal(q.SPI, hx(s.spi)) {
					t.Errorf("SA = %+v", p)
				}
			case *ID:
				if !p.Responder && (p.ID.Kind() != ident.IPv4 || !bytes.Equal(p.ID.Data(), hx(v.Initiator))) {
					t.Errorf("IDi = %v", p.ID)
				}
			case *Auth:
				if p.Method != AuthSharedKey || len(p.Data) != 20 {
					t.Errorf("AUTH = %v, %d bytes", p.Method, len(p.Data))
				}
			case *TS:
				if len(p.Selectors) != 1 {
					t.Errorf("%v = %v", p, p.Selectors)
				}
			}
		}
		roundTrip(t, inner)
	}
}

// recordedKeys computes SK_a and SK_e (RFC 7296 2.14) of a handshake with a PKCS #8 private key.
func recordedKeys(t *testing.T, private []byte, request, response *Message) (toResponder, toInitiator suite.Cipher) {
	var key struct {
		Version   int
		Algorithm struct {
			ID     asn1.ObjectIdentifier
			Params struct {
				P, G   *big.Int
				Length int `asn1:"optional"`
			}
		}
		Private []byte
	}
	x := new(big.Int)
	if _, err := asn1.Unmarshal(private, &key); err != nil {
		t.Fatal(err)
	}
	if _, err := asn1.Unmarshal(key.Private, &x); err != nil {
		t.Fatal(err)
	}
	p := key.Algorithm.Params.P
	public := new(big.Int).SetBytes(payload[*KE](response).Data)
	secret := new(big.Int).Exp(public, x, p).FillBytes(make([]byte, (p.BitLen()+7)/8))

	prf := must(suite.NewPRF(suite.Transform{Type: suite.TypePRF, ID: suite.PRF_HMAC_SHA1}))
	ni, nr := payload[*Nonce](request).Data, payload[*Nonce](response).Data
	seed := slices.Concat(ni, nr)
	skeyseed := prf.Sum(seed, secret)
	h := response.Header.append(nil)
	keys := prf.Plus(skeyseed, append(seed, h[:16]...), 20+20+20+16+16) // SK_d ai ar ei er
	return must(suite.NewCipher(aesCBC, hmacSHA1, keys[60:76], keys[20:40])),
		must(suite.NewCipher(aesCBC, hmacSHA1, keys[76:92], keys[40:60]))
}

// payload returns the first payload of a type.
func payload[T Payload](m *Message) (found T) {
	for _, p := range m.Payloads {
		if p, ok := p.(T); ok {
			return p
		}
	}
	return found
}
