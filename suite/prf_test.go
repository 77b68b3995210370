package suite

import (
	"bufio"
	"bytes"
	"errors"
	"strings"
	"testing"
)

func prfs() []Transform {
	return []Transform{
		{TypePRF, PRF_HMAC_SHA1, 0}, {TypePRF, PRF_HMAC_SHA2_256, 0},
		{TypePRF, PRF_HMAC_SHA2_384, 0}, {TypePRF, PRF_HMAC_SHA2_512, 0},
		{TypePRF, PRF_AES128_XCBC, 0}, {TypePRF, PRF_AES128_CMAC, 0},
	}
}

func TestPRFSizes(t *testing.T) {
	for i, want := range []int{20, 32, 48, 64, 16, 16} {
		p, err := NewPRF(prfs()[i])
		if err != nil {
			t.Fatal(err)
		}
		if p.Size() != want || len(p.Sum([]byte("k"), []byte("d"))) != want {
			t.Errorf("%s: size %d, want %d", prfs()[i], p.Size(), want)
		}
	}
}

func TestNewPRFRefuses(t *testing.T) {
	for _, tr := range []Transform{
		{TypePRF, 1, 0}, {TypePRF, 0, 0}, {TypePRF, 9, 0}, {TypePRF, PRF_AES128_XCBC, 128}, {TypePRF, PRF_HMAC_SHA2_256, 256}, {TypeINTEG, 2, 0}, {},
	} {
		if _, err := NewPRF(tr); !errors.Is(err, ErrUnsupported) {
			t.Errorf("NewPRF(%s) = %v, want ErrUnsupported", tr, err)
		}
	}
}

// RFC 2202 3 and RFC 4231 4.3, test case 2 of both, need no file.
func TestPRFKnown(t *testing.T) {
	want := []string{
		"effcdf6ae5eb2fa2d27416d5f184df9c259a7c79",
		"5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
		"af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649",
		"164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fd" +
			"caeab1a34d4a6b4b636e070a38bce737",
	}
	for i, tr := range prfs()[:len(want)] {
		p, _ := NewPRF(tr)
		got := p.Sum([]byte("Jefe"), []byte("what do ya want "), nil, []byte("for nothing?"))
		if !bytes.Equal(got, unhex(t, want[i])) {
			t.Errorf("%s = %x", tr, got)
		}
	}
}

// Plus against its definition, written down once more, at every length near a block boundary.
func TestPlus(t *testing.T) {
	key, seed := []byte("a key"), []byte("a seed")
	for _, tr := range prfs() {
		p, _ := NewPRF(tr)
		var all, block []byte
		for i := byte(1); i <= 4; i++ {
			block = p.Sum(key, block, seed, []byte{i})
			all = append(all, block...)
		}
		for n := range 4*p.Size() + 1 {
			got := p.Plus(key, seed, n)
			if !bytes.Equal(got, all[:n]) {
				t.Fatalf("%s: %d bytes: %x", tr, n, got)
			}
			if len(got) != cap(got) {
				t.Fatalf("%s: %d bytes with %d more behind them", tr, n, cap(got)-len(got))
			}
		}
		if got := p.Plus(key, seed, 255*p.Size()); len(got) != 255*p.Size() {
			t.Errorf("%s: the most that prf+ gives is %d", tr, len(got))
		}
		for _, n := range []int{-1, 255*p.Size() + 1} {
			if !panics(func() { p.Plus(key, seed, n) }) {
				t.Errorf("%s: Plus of %d bytes did not panic", tr, n)
			}
		}
	}
}

// RFC 7296 2.14: AES-XCBC and AES-CMAC take the first 64 bits of each nonce, the others take all.
func TestNonceKey(t *testing.T) {
	ni, nr := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 24)
	for _, tr := range prfs() {
		p, _ := NewPRF(tr)
		want := join(ni, nr)
		if tr.ID == PRF_AES128_XCBC || tr.ID == PRF_AES128_CMAC {
			want = join(ni[:8], nr[:8])
		}
		got := p.NonceKey(ni, nr)
		if !bytes.Equal(got, want) {
			t.Errorf("%s: %x, want %x", tr, got, want)
		}
		got[0] = 9
		if ni[0] != 1 {
			t.Errorf("%s: the result is the nonce itself", tr)
		}
	}
}

func panics(f func()) (did bool) {
	defer func() { did = recover() != nil }()
	f()
	return false
}

// The key derivation of IKEv2 by NIST: SKEYSEED, prf+ for the IKE SA and for Child SAs, SKEYSEED of a rekeyed IKE SA.
func TestKeyDerivationCAVS(t *testing.T) {
	byName := map[string]Transform{
		"SHA-1": prfs()[0], "SHA-256": prfs()[1], "SHA-384": prfs()[2], "SHA-512": prfs()[3],
	}
	var prf PRF
	known := false
	count := 0
	v := map[string][]byte{}
	lines := bufio.NewScanner(bytes.NewReader(readVectors(t, "nist-cavs-ikev2/ikev2.fax")))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if section := strings.Trim(line, "[]"); strings.HasPrefix(section, "SHA-") {
			var tr Transform
			if tr, known = byName[section]; known {
				prf, _ = NewPRF(tr)
			}
		}
		name, value, ok := strings.Cut(line, " = ")
		if !ok || !known || strings.HasPrefix(line, "[") || name == "COUNT" {
			continue
		}
		v[name] = unhex(t, value)
		if name != "SKEYSEED(Rekey)" { // the last line of a case
			continue
		}
		count++
		nonces := join(v["Ni"], v["Nr"])
		dkm := prf.Plus(v["SKEYSEED"], join(nonces, v["SPIi"], v["SPIr"]), len(v["DKM"]))
		skd := dkm[:prf.Size()]
		for what, got := range map[string][]byte{
			"SKEYSEED":          prf.Sum(nonces, v["g^ir"]),
			"DKM":               dkm,
			"DKM(Child SA)":     prf.Plus(skd, nonces, len(v["DKM(Child SA)"])),
			"DKM(Child SA D-H)": prf.Plus(skd, join(v["g^ir (new)"], nonces), len(v["DKM(Child SA D-H)"])),
			"SKEYSEED(Rekey)":   prf.Sum(skd, v["g^ir (new)"], nonces),
		} {
			if !bytes.Equal(got, v[what]) {
				t.Fatalf("case %d: %s = %x, want %x", count, what, got, v[what])
			}
		}
		clear(v)
	}
	if count != 900 {
		t.Errorf("checked %d cases of 900", count)
	}
}

func TestHMACPublished(t *testing.T) {
	names := []string{"SHA-1", "SHA2-256", "SHA2-384", "SHA2-512"}
	wycheproof := []string{"sha1", "sha256", "sha384", "sha512"}
	for i, tr := range prfs()[:len(names)] {
		p, _ := NewPRF(tr)
		t.Run("NIST/"+names[i], func(t *testing.T) {
			var file struct {
				TestGroups []struct {
					Tests []struct {
						Key, Msg, Mac hexBytes
						MacLen        int
					}
				}
			}
			readJSON(t, "nist-acvp/HMAC-"+names[i]+"-2.0/internalProjection.json.gz", &file)
			n := 0
			for _, g := range file.TestGroups {
				for _, v := range g.Tests {
					if v.MacLen%8 != 0 {
						continue
					}
					n++
					if got := p.Sum(v.Key, v.Msg); !bytes.Equal(got[:v.MacLen/8], v.Mac) {
						t.Fatalf("HMAC(%x, %x) = %x, want %x", v.Key, v.Msg, got, v.Mac)
					}
				}
			}
			if n == 0 {
				t.Error("no vector was used")
			}
		})
		t.Run("Wycheproof/"+wycheproof[i], func(t *testing.T) {
			var file struct {
				TestGroups []struct {
					Tests []struct {
						Key, Msg, Tag hexBytes
						Result        string
					}
				}
			}
			readJSON(t, "wycheproof/testvectors_v1/hmac_"+wycheproof[i]+"_test.json", &file)
			for _, g := range file.TestGroups {
				for _, v := range g.Tests {
					same := bytes.Equal(p.Sum(v.Key, v.Msg)[:len(v.Tag)], v.Tag)
					if same != (v.Result == "valid") {
						t.Fatalf("HMAC(%x, %x): %v, want %s", v.Key, v.Msg, same, v.Result)
					}
				}
			}
		})
	}
}
