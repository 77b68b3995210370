package ike

import (
	"bufio"
	"bytes"
	"encoding/asn1"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/culvert-vpn/culvert/ident"
	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/psk"
	"github.com/culvert-vpn/culvert/suite"
)

// vectors is a file of published test vectors beside the repository; the test is skipped where they are not.
func vectors(t *testing.T, path string) []byte {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
	}
	data, err := os.ReadFile(filepath.Join(dir, "..", "shared", "vectors", path))
	if os.IsNotExist(err) {
		t.Skipf("no test vectors at ../shared/vectors/%s", path)
	}
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func unhex(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestNISTKeys derives the keys of all 900 cases of the NIST CAVS vectors for IKEv2 (SP 800-135).
func TestNISTKeys(t *testing.T) {
	prfs := map[string]uint16{
		"SHA-1": suite.PRF_HMAC_SHA1, "SHA-256": suite.PRF_HMAC_SHA2_256, "SHA-384": suite.PRF_HMAC_SHA2_384, "SHA-512": suite.PRF_HMAC_SHA2_512,
	}
	var prf uint16
	cases := 0
	values := make(map[string][]byte)
	lines := bufio.NewScanner(bytes.NewReader(vectors(t, "nist-cavs-ikev2/ikev2.fax")))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if name, ok := strings.CutPrefix(line, "["); ok {
			if id, known := prfs[strings.TrimSuffix(name, "]")]; known {
				prf = id
			}
			continue
		}
		name, value, ok := strings.Cut(line, " = ")
		if !ok || name == "COUNT" || strings.HasPrefix(line, "#") {
			continue
		}
		values[name] = unhex(t, value)
		if name == "SKEYSEED(Rekey)" {
			cases++
			checkNIST(t, prf, values)
			clear(values)
		}
	}
	if cases != 900 {
		t.Errorf("%d cases, want 900", cases)
	}
}

// checkNIST compares one case. The vectors give more key material than any suite takes: each of ours is its beginning.
func checkNIST(t *testing.T, prfID uint16, v map[string][]byte) {
	t.Helper()
	prfT := suite.Transform{Type: suite.TypePRF, ID: prfID}
	chosen := suite.Proposal{Protocol: suite.IKE, Transforms: []suite.Transform{{Type: suite.TypeENCR, ID: suite.ENCR_AES_GCM_16, KeyBits: 128}, prfT}}
	prf, err := suite.NewPRF(prfT)
	if err != nil {
		t.Fatal(err)
	}
	in := keyInput{nonceI: v["Ni"], nonceR: v["Nr"], spiI: binary.BigEndian.Uint64(v["SPIi"]), spiR: binary.BigEndian.Uint64(v["SPIr"]), shared: v["g^ir"]}
	seed := in.skeyseed(prf)
	if !bytes.Equal(seed, v["SKEYSEED"]) {
		t.Fatalf("SKEYSEED is %x, want %x", seed, v["SKEYSEED"])
	}
	var logged Keys
	k, err := deriveKeys(chosen, seed, in, true, &logged)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Count(seed, []byte{0}) != len(seed) {
		t.Error("SKEYSEED is not zeroed")
	}
	mat := bytes.Join([][]byte{k.d, logged.SKai, logged.SKar, logged.SKei, logged.SKer, k.pi, k.pr}, nil)
	if n := min(len(mat), len(v["DKM"])); n < 2*prf.Size() || !bytes.Equal(mat[:n], v["DKM"][:n]) {
		t.Fatalf("SK_d ... SK_pr are %x, want %x", mat, v["DKM"])
	}

	esp := suite.Proposal{Protocol: suite.ESP, Transforms: []suite.Transform{
		{Type: suite.TypeENCR, ID: suite.ENCR_AES_CBC, KeyBits: 256}, {Type: suite.TypeINTEG, ID: suite.AUTH_HMAC_SHA2_256_128}}}
	child := keyInput{nonceI: in.nonceI, nonceR: in.nonceR}
	for _, c := range []struct {
		name   string
		shared []byte
	}{{"DKM(Child SA)", nil}, {"DKM(Child SA D-H)", v["g^ir (new)"]}} {
		child.shared = c.shared
		got, err := k.childKeys(esp, child)
		if err != nil {
			t.Fatal(err)
		}
		mat := bytes.Join([][]byte{got.encI, got.integI, got.encR, got.integR}, nil)
		if n := min(len(mat), len(v[c.name])); n < 2*prf.Size() || !bytes.Equal(mat[:n], v[c.name][:n]) {
			t.Fatalf("%s is %x, want %x", c.name, mat, v[c.name])
		}
		got.wipe()
		if bytes.Count(got.encI, []byte{0}) != len(got.encI) {
			t.Error("keys are not zeroed")
		}
	}
	child.shared = v["g^ir (new)"]
	if got := child.rekeySeed(k); !bytes.Equal(got, v["SKEYSEED(Rekey)"]) {
		t.Fatalf("SKEYSEED(Rekey) is %x, want %x", got, v["SKEYSEED(Rekey)"])
	}
	d := k.d
	k.wipe()
	if bytes.Count(d, []byte{0}) != len(d) || k.d != nil || k.pi != nil || k.pr != nil || k.in != nil || k.out != nil {
		t.Error("the keys of the IKE SA are not zeroed")
	}
}

// recorded are the handshake and the keys in rub-nds-ikev2.
type recorded struct {
	Handshake map[string]any    `json:"handshake_psk_modp1024_aes128cbc_sha1"`
	Keys      map[string]string `json:"keys_prf_hmac_sha1"`
	Auth      map[string]string `json:"auth_psk_prf_hmac_sha1"`
}

var oldProposal = suite.Proposal{Protocol: suite.IKE, Transforms: []suite.Transform{
	{Type: suite.TypeENCR, ID: suite.ENCR_AES_CBC, KeyBits: 128}, {Type: suite.TypePRF, ID: suite.PRF_HMAC_SHA1},
	{Type: suite.TypeINTEG, ID: suite.AUTH_HMAC_SHA1_96},
}}

func readRecorded(t *testing.T) (r recorded) {
	t.Helper()
	if err := json.Unmarshal(vectors(t, "rub-nds-ikev2/ikev2_psk.json"), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// TestRecordedKeys derives all SK_* of a recorded key exchange.
func TestRecordedKeys(t *testing.T) {
	v := readRecorded(t).Keys
	get := func(name string) []byte { return unhex(t, v[name]) }
	in := keyInput{nonceI: get("ni"), nonceR: get("nr"), spiI: binary.BigEndian.Uint64(get("spi_i")), spiR: binary.BigEndian.Uint64(get("spi_r")), shared: get("g_ir")}
	prf, err := suite.NewPRF(suite.Transform{Type: suite.TypePRF, ID: suite.PRF_HMAC_SHA1})
	if err != nil {
		t.Fatal(err)
	}
	var logged Keys
	k, err := deriveKeys(oldProposal, in.skeyseed(prf), in, true, &logged)
	if err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string][]byte{"SKd": k.d, "SKpi": k.pi, "SKpr": k.pr, "SKai": logged.SKai, "SKar": logged.SKar, "SKei": logged.SKei, "SKer": logged.SKer} {
		if want := get(name); !bytes.Equal(got, want) {
			t.Errorf("%s is %x, want %x", name, got, want)
		}
	}
}

// TestRecordedAuth makes a recorded AUTH of a pre-shared key.
func TestRecordedAuth(t *testing.T) {
	r := readRecorded(t)
	v := r.Auth
	get := func(name string) []byte { return unhex(t, v[name]) }
	in := keyInput{nonceI: get("ni"), nonceR: get("nr"), spiI: binary.BigEndian.Uint64(get("spi_i")), spiR: binary.BigEndian.Uint64(get("spi_r")), shared: get("g_ir")}
	prf, _ := suite.NewPRF(suite.Transform{Type: suite.TypePRF, ID: suite.PRF_HMAC_SHA1})
	k, err := deriveKeys(oldProposal, in.skeyseed(prf), in, true, nil)
	if err != nil {
		t.Fatal(err)
	}
	signed := k.signed(append(get("ike_sa_init_request"), in.nonceR...), k.pi, get("idi_body"))
	if !bytes.Equal(signed, get("getOctets")) {
		t.Errorf("signed are %x, want %x", signed, get("getOctets"))
	}
	store := psk.NewStore()
	if err := store.Add("ike", []byte(v["psk_ascii"]), nil); err != nil {
		t.Fatal(err)
	}
	id, err := ident.ParseWire(get("idi_body"))
	if err != nil {
		t.Fatal(err)
	}
	if auth := store.Lookup(id, ident.ID{})[0].Auth(k.prf, signed); !bytes.Equal(auth, get("computeAUTH")) {
		t.Errorf("AUTH is %x, want %x", auth, get("computeAUTH"))
	}
}

// TestRecordedHandshake opens the IKE_AUTH messages of a recorded handshake with the keys that follow from its first messages, and
// verifies both AUTH payloads.
func TestRecordedHandshake(t *testing.T) {
	v := readRecorded(t).Handshake
	get := func(name string) []byte {
		text, _ := v[name].(string)
		return unhex(t, text)
	}
	init, answer := get("ike_sa_init_request"), get("ike_sa_init_response")
	parse := func(b []byte) (*wire.Message, *content) {
		m, err := wire.Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		c, err := collect(m.Payloads)
		if err != nil {
			t.Fatal(err)
		}
		return m, c
	}
	_, ci := parse(bytes.Clone(init))
	mr, cr := parse(bytes.Clone(answer))
	in := keyInput{nonceI: ci.nonce.Data, nonceR: cr.nonce.Data, spiI: mr.Header.SPIi, spiR: mr.Header.SPIr,
		shared: modp1024(t, get("dh_private_pkcs8_der"), ci.ke.Data, cr.ke.Data)}
	prf, _ := suite.NewPRF(suite.Transform{Type: suite.TypePRF, ID: suite.PRF_HMAC_SHA1})
	psks := psk.NewStore()
	if err := psks.Add("ike", []byte(v["psk_ascii"].(string)), nil); err != nil {
		t.Fatal(err)
	}
	for _, side := range []struct {
		name, first   string
		nonce         []byte
		fromResponder bool
	}{{"ike_auth_request", "ike_sa_init_request", in.nonceR, false}, {"ike_auth_response", "ike_sa_init_response", in.nonceI, true}} {
		k, err := deriveKeys(oldProposal, in.skeyseed(prf), in, side.fromResponder, nil)
		if err != nil {
			t.Fatal(err)
		}
		data := get(side.name)
		m, err := wire.Parse(data)
		if err != nil {
			t.Fatal(err)
		}
		payloads, err := wire.OpenSealed(data, m, k.in)
		if err != nil {
			t.Fatalf("%s: %v", side.name, err)
		}
		c, err := collect(payloads)
		if err != nil {
			t.Fatal(err)
		}
		id, skp := c.idi, k.pi
		if side.fromResponder {
			id, skp = c.idr, k.pr
		}
		signed := k.signed(append(get(side.first), side.nonce...), skp, id.Raw)
		if _, ok := psks.Verify(ident.ID{}, id.ID, k.prf, signed, c.auth.Data); !ok {
			t.Errorf("%s: AUTH does not verify", side.name)
		}
	}
}

// modp1024 is g^ir from the private key of one end, in PKCS #8, and the public values of both.
func modp1024(t *testing.T, der, publicI, publicR []byte) []byte {
	t.Helper()
	var key struct {
		Version   int
		Algorithm struct {
			ID     asn1.ObjectIdentifier
			Params struct {
				P, G *big.Int
				Bits int `asn1:"optional"`
			}
		}
		Private []byte
	}
	if _, err := asn1.Unmarshal(der, &key); err != nil {
		t.Fatal(err)
	}
	x := new(big.Int)
	if _, err := asn1.Unmarshal(key.Private, &x); err != nil {
		t.Fatal(err)
	}
	p := key.Algorithm.Params.P
	own, other := publicI, publicR
	if new(big.Int).Exp(key.Algorithm.Params.G, x, p).Cmp(new(big.Int).SetBytes(publicI)) != 0 {
		own, other = publicR, publicI
	}
	if new(big.Int).Exp(key.Algorithm.Params.G, x, p).Cmp(new(big.Int).SetBytes(own)) != 0 {
		t.Fatal("the private key belongs to neither public value")
	}
	return new(big.Int).Exp(new(big.Int).SetBytes(other), x, p).FillBytes(make([]byte, 128))
}

// RFC 7296 2.14: with AES-XCBC and AES-CMAC only SKEYSEED is made of the first 64 bits of the nonces; all else has them whole.
func TestSkeyseedOfHalfNonces(t *testing.T) {
	in := keyInput{nonceI: bytes.Repeat([]byte{1}, 32), nonceR: bytes.Repeat([]byte{2}, 32), spiI: 3, spiR: 4, shared: []byte("g^ir")}
	for _, id := range []uint16{suite.PRF_AES128_XCBC, suite.PRF_AES128_CMAC} {
		prfT := suite.Transform{Type: suite.TypePRF, ID: id}
		prf, err := suite.NewPRF(prfT)
		if err != nil {
			t.Fatal(err)
		}
		seed := in.skeyseed(prf)
		if want := prf.Sum(append(bytes.Repeat([]byte{1}, 8), bytes.Repeat([]byte{2}, 8)...), in.shared); !bytes.Equal(seed, want) {
			t.Errorf("%s: SKEYSEED is %x, want %x", prfT, seed, want)
		}
		whole := append(in.nonces(), 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 4)
		want := prf.Plus(bytes.Clone(seed), whole, 16)
		chosen := suite.Proposal{Protocol: suite.IKE, Transforms: []suite.Transform{
			{Type: suite.TypeENCR, ID: suite.ENCR_AES_CTR, KeyBits: 128}, prfT, {Type: suite.TypeINTEG, ID: suite.AUTH_AES_XCBC_96}}}
		k, err := deriveKeys(chosen, seed, in, true, nil)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(k.d, want) {
			t.Errorf("%s: SK_d is %x, want %x", prfT, k.d, want)
		}
	}
}
