package psk

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/culvert-vpn/culvert/suite"
)

func newPRF(t testing.TB, id uint16) suite.PRF {
	t.Helper()
	prf, err := suite.NewPRF(suite.Transform{Type: suite.TypePRF, ID: id})
	if err != nil {
		t.Fatal(err)
	}
	return prf
}

func sha256PRF(t testing.TB) suite.PRF { return newPRF(t, suite.PRF_HMAC_SHA2_256) }

// TestAuthFormula writes RFC 7296 2.15 out once more.
func TestAuthFormula(t *testing.T) {
	sum := func(key, data []byte) []byte {
		h := hmac.New(sha256.New, key)
		h.Write(data)
		return h.Sum(nil)
	}
	signed := []byte("InitiatorSignedOctets")
	want := sum(sum([]byte("qwerty"), []byte("Key Pad for IKEv2")), signed)
	secret := store(t, "a qwerty @foo").Lookup(id(t, "@us"), id(t, "@foo"))[0]
	if got := secret.Auth(sha256PRF(t), signed); !bytes.Equal(got, want) {
		t.Errorf("AUTH is %x, want %x", got, want)
	}
	if !secret.Verify(sha256PRF(t), signed, want) {
		t.Error("its own AUTH does not verify")
	}
}

func TestVerifyRefuses(t *testing.T) {
	prf, signed := sha256PRF(t), []byte("signed octets")
	secret := store(t, "a qwerty @foo").Lookup(id(t, "@us"), id(t, "@foo"))[0]
	auth := secret.Auth(prf, signed)
	for i := range len(auth) * 8 {
		bad := bytes.Clone(auth)
		bad[i/8] ^= 1 << (i % 8)
		if secret.Verify(prf, signed, bad) {
			t.Errorf("AUTH with bit %d changed verifies", i)
		}
	}
	for n := range len(auth) {
		if secret.Verify(prf, signed, auth[:n]) {
			t.Errorf("the first %d bytes of AUTH verify", n)
		}
	}
	if secret.Verify(prf, signed, append(bytes.Clone(auth), 0)) || secret.Verify(prf, signed, nil) {
		t.Error("AUTH of a wrong length verifies")
	}
	if secret.Verify(prf, signed[1:], auth) || secret.Verify(newPRF(t, suite.PRF_HMAC_SHA2_384), signed, auth) {
		t.Error("AUTH of something else verifies")
	}
}

// Cases: VPNGW FIA_PSK_EXT.2.
func TestStoreVerify(t *testing.T) {
	prf, signed := sha256PRF(t), []byte("signed octets")
	s := store(t, "a sa @us @alice", "b sb @us @bob", "c sc @carol")
	us, eve := id(t, "@us"), id(t, "@eve")
	auth := func(secret string) []byte { return mac(prf, []byte(secret), signed) }
	// Every eligible secret is tried, not the best only.
	if got, ok := s.Verify(us, eve, prf, signed, auth("sb")); !ok || got.Name() != "b" {
		t.Errorf("the second eligible secret: %q, %v", got.Name(), ok)
	}
	// A secret that is not eligible does not count.
	if got, ok := s.Verify(us, eve, prf, signed, auth("sc")); ok || got.Name() != "" {
		t.Errorf("another peer's secret: %q, %v", got.Name(), ok)
	}
	// The decoy's key is public: AUTH made with it must not verify.
	decoy := s.Decoy()
	public, _ := decoy.bytes()
	if _, ok := s.Verify(id(t, "@nobody"), eve, prf, signed, auth(string(public))); ok {
		t.Error("the decoy lets in")
	}
	if decoy.Verify(prf, signed, auth(string(public))) || decoy.Auth(prf, signed) != nil || decoy.Name() != "" {
		t.Error("a decoy does more than take time")
	}
	if (Secret{}).Verify(prf, signed, nil) {
		t.Error("the zero Secret verifies")
	}
}

// vectors reads a file of published vectors from beside the repository.
func vectors(t *testing.T, name string, into any) {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		if filepath.Dir(dir) == dir {
			t.Fatal("no go.mod above the package")
		}
		dir = filepath.Dir(dir)
	}
	b, err := os.ReadFile(filepath.Join(dir, "../shared/vectors", name))
	if os.IsNotExist(err) {
		t.Skipf("no published vectors here: %v", err)
	}
	if err == nil {
		err = json.Unmarshal(b, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestPublishedAuth checks a recorded handshake: signed octets are the request, Nr and prf(SK_pi, IDi').
func TestPublishedAuth(t *testing.T) {
	var file struct {
		Auth struct {
			PSK    string `json:"psk_ascii"`
			Octets string `json:"getOctets"`
			AUTH   string `json:"computeAUTH"`
		} `json:"auth_psk_prf_hmac_sha1"`
	}
	vectors(t, "rub-nds-ikev2/ikev2_psk.json", &file)
	signed, err1 := hex.DecodeString(file.Auth.Octets)
	want, err2 := hex.DecodeString(file.Auth.AUTH)
	if err1 != nil || err2 != nil || len(want) != 20 {
		t.Fatal("the vector is not what it was", err1, err2)
	}
	prf := newPRF(t, suite.PRF_HMAC_SHA1)
	secret := store(t, "a "+file.Auth.PSK+" 10.0.3.1").Lookup(id(t, "@us"), id(t, "10.0.3.1"))[0]
	if got := secret.Auth(prf, signed); !bytes.Equal(got, want) {
		t.Errorf("AUTH is %x, want %x", got, want)
	}
	if !secret.Verify(prf, signed, want) {
		t.Error("the recorded AUTH does not verify")
	}
}

// TestFind: a secret is found again by its bytes, whatever it is called and wherever it stands, if it is still for the peer.
func TestFind(t *testing.T) {
	us, peer := id(t, "@us"), id(t, "@foo")
	was := store(t, "a qwerty @foo").Lookup(us, peer)[0]
	for _, test := range []struct {
		name  string
		store *Store
		want  string // the name of the secret; "" for none
	}{
		{"the same", store(t, "a qwerty @foo"), "a"},
		{"renamed, not the best", store(t, "new other @foo", "b qwerty"), "b"},
		{"other bytes", store(t, "a qwertz @foo"), ""},
		{"a prefix", store(t, "a qwert @foo"), ""},
		{"of another peer now", store(t, "a qwerty @bar"), ""},
		{"none", NewStore(), ""},
	} {
		if found, ok := test.store.Find(was, us, peer); ok != (test.want != "") || found.Name() != test.want {
			t.Errorf("%s: %q, %v", test.name, found.Name(), ok)
		}
	}
	if _, ok := store(t, "a qwerty @foo").Find(Secret{}, us, peer); ok {
		t.Error("a decoy is found")
	}
	wiped := store(t, "a qwerty @foo")
	secret := wiped.Lookup(us, peer)[0]
	wiped.Wipe()
	if _, ok := store(t, "a qwerty @foo").Find(secret, us, peer); ok {
		t.Error("a wiped secret is found")
	}
}
