package suite

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func parse(t testing.TB, proto Protocol, text string) Proposal {
	t.Helper()
	p, err := ParseProposal(proto, text)
	if err != nil {
		t.Fatalf("%s %q: %v", proto, text, err)
	}
	return p
}

func TestParseProposal(t *testing.T) {
	var (
		gcm256 = Transform{TypeENCR, ENCR_AES_GCM_16, 256}
		gcm128 = Transform{TypeENCR, ENCR_AES_GCM_16, 128}
		cbc128 = Transform{TypeENCR, ENCR_AES_CBC, 128}
		chacha = Transform{TypeENCR, ENCR_CHACHA20_POLY1305, 0}
		prf256 = Transform{TypePRF, PRF_HMAC_SHA2_256, 0}
		prf1   = Transform{TypePRF, PRF_HMAC_SHA1, 0}
		mac256 = Transform{TypeINTEG, AUTH_HMAC_SHA2_256_128, 0}
		mac1   = Transform{TypeINTEG, AUTH_HMAC_SHA1_96, 0}
		x25519 = Transform{TypeKE, CURVE25519, 0}
		m2048  = Transform{TypeKE, MODP2048, 0}
		none   = Transform{TypeKE, KE_NONE, 0}
		esn    = Transform{TypeESN, ESN, 0}
		noesn  = Transform{TypeESN, NO_ESN, 0}
	)
	for _, c := range []struct {
		proto Protocol
		text  string
		want  []Transform
		back  string
	}{
		{IKE, "aes256gcm16-prfsha256-x25519", []Transform{gcm256, prf256, x25519}, "aes256gcm16-prfsha256-x25519"},
		{IKE, "curve25519-prfsha256-aes256gcm", []Transform{gcm256, prf256, x25519}, "aes256gcm16-prfsha256-x25519"},
		{IKE, " aes256gcm128 - prfsha256 - x25519 ", []Transform{gcm256, prf256, x25519}, "aes256gcm16-prfsha256-x25519"},
		{IKE, "aes128-sha256-modp2048", []Transform{cbc128, prf256, mac256, m2048}, "aes128-sha256-prfsha256-modp2048"},
		{IKE, "aes-sha2_256-sha-modp2048", []Transform{cbc128, prf256, prf1, mac256, mac1, m2048}, "aes128-sha256-sha1-prfsha256-prfsha1-modp2048"},
		{IKE, "aes128-sha256-prfsha1-modp2048", []Transform{cbc128, prf1, mac256, m2048}, "aes128-sha256-prfsha1-modp2048"},
		{IKE, "aes256gcm16-sha256-x25519", []Transform{gcm256, prf256, x25519}, "aes256gcm16-prfsha256-x25519"},
		{IKE, "aes256gcm16-sha256-prfsha1-x25519", []Transform{gcm256, prf1, x25519}, "aes256gcm16-prfsha1-x25519"},
		{IKE, "aes128gcm16-aes256gcm16-chacha20poly1305-prfsha256-modp2048-x25519-modp2048-none-esn",
			[]Transform{gcm128, gcm256, chacha, prf256, m2048, x25519},
			"aes128gcm16-aes256gcm16-chacha20poly1305-prfsha256-modp2048-x25519"},
		{ESP, "aes256gcm16", []Transform{gcm256, noesn}, "aes256gcm16"},
		{ESP, "aes256gcm16-noesn", []Transform{gcm256, noesn}, "aes256gcm16"},
		{ESP, "aes256gcm16-esn", []Transform{gcm256, esn}, "aes256gcm16-esn"},
		{ESP, "aes256gcm16-noesn-esn", []Transform{gcm256, noesn, esn}, "aes256gcm16-noesn-esn"},
		{IKE, "aes128ctr-aesxcbc-x25519", []Transform{{TypeENCR, ENCR_AES_CTR, 128}, {TypePRF, PRF_AES128_XCBC, 0},
			{TypeINTEG, AUTH_AES_XCBC_96, 0}, x25519}, "aes128ctr-aesxcbc-prfaesxcbc-x25519"},
		{IKE, "aes-aescmac-x25519", []Transform{cbc128, {TypePRF, PRF_AES128_CMAC, 0}, {TypeINTEG, AUTH_AES_CMAC_96, 0}, x25519},
			"aes128-aescmac-prfaescmac-x25519"},
		{IKE, "aes256ccm-prfaescmac-x25519", []Transform{{TypeENCR, ENCR_AES_CCM_16, 256}, {TypePRF, PRF_AES128_CMAC, 0}, x25519},
			"aes256ccm16-prfaescmac-x25519"},
		{ESP, "aes128ccm96-aes192gcm64-aes256gmac", []Transform{{TypeENCR, ENCR_AES_CCM_12, 128}, {TypeENCR, ENCR_AES_GCM_8, 192},
			{TypeENCR, ENCR_NULL_AUTH_AES_GMAC, 256}, noesn}, "aes128ccm12-aes192gcm8-aes256gmac"},
		{ESP, "aes128-sha1-modp2048-none", []Transform{cbc128, mac1, m2048, none, noesn}, "aes128-sha1-modp2048-none"},
		{ESP, "chacha20poly1305-sha256-prfsha256-x25519", []Transform{chacha, x25519, noesn}, "chacha20poly1305-x25519"},
	} {
		p, err := ParseProposal(c.proto, c.text)
		if err != nil || p.Protocol != c.proto || !slices.Equal(p.Transforms, c.want) {
			t.Errorf("%s %q = %v, %v", c.proto, c.text, p, err)
			continue
		}
		if p.String() != c.back {
			t.Errorf("%s %q prints as %q, want %q", c.proto, c.text, p, c.back)
		}
		if again := parse(t, c.proto, p.String()); !reflect.DeepEqual(again, p) {
			t.Errorf("%s %q reads back as %v", c.proto, p, again)
		}
	}
}

func TestParseProposalErrors(t *testing.T) {
	for _, c := range []struct {
		proto Protocol
		text  string
		want  string // part of the error
	}{
		{IKE, "", "empty word"},
		{IKE, "aes256gcm16--x25519", "empty word"},
		{IKE, "aes256gcm16-x25519", "pseudorandom function"},
		{IKE, "aes256gcm16-prfsha256", "key exchange"},
		{IKE, "aes256gcm16-prfsha256-none", "key exchange"},
		{IKE, "aes256-prfsha256-x25519", `"aes256-sha256"`},
		{IKE, "prfsha256-x25519", "encryption"},
		{ESP, "aes192", `"aes192-sha256"`},
		{ESP, "sha256", "encryption"},
		{ESP, "aes256gcm16-aes256-sha256-x25519", "write two: aes256gcm16-x25519, aes256-sha256-x25519"},
		{IKE, "aes256gcm16-aes256-sha256-x25519", "write two: aes256gcm16-sha256-x25519, aes256-sha256-x25519"},
		{IKE, "aes128gmac-prfsha256-x25519", `"aes128gmac" does not encrypt`},
		{AH, "sha256", "AH"},
		{9, "sha256", "Protocol 9"},
		{ESP, "aes265gcm16", `unknown algorithm "aes265gcm16"; did you mean "aes256gcm16"?`},
		{ESP, "AES256GCM16", `did you mean "aes256gcm16"?`},
		{ESP, "aes-256-gcm", `unknown algorithm "256"`},
		{IKE, "aes256-sha256-modp2047", `did you mean "modp2048"?`},
		{IKE, "aes256-sha256-curve2519", `did you mean "curve25519"?`},
		{IKE, "aes256-sha256-3des", `does not implement the algorithm "3des": with its blocks of 64 bits`},
		{ESP, "aes256-md5", `does not implement the algorithm "md5": MD5 is broken`},
		{ESP, "null-sha256", `"null": it does not encrypt`},
		{IKE, "aes256-sha256-modp768", "within hours"},
		{ESP, "camellia256-sha256", `does not implement the algorithm "camellia256"`},
		{ESP, "rot13", `unknown algorithm "rot13"`},
		{ESP, strings.Repeat("aes256gcm16-", 500), "limit"},
	} {
		p, err := ParseProposal(c.proto, c.text)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %.40q = %v, %v; want an error with %q", c.proto, c.text, p, err, c.want)
		}
		if p.Transforms != nil {
			t.Errorf("%s %.40q: an error and a proposal", c.proto, c.text)
		}
	}
}

func TestKeywordError(t *testing.T) {
	for _, word := range []string{
		"3des", "des", "null", "md5", "md5_128", "sha1_160", "prfmd5", "modp768",
		"ecp192", "ecp224", "mlkem768",
		"ke1_mlkem768", "ke7_x25519", "ke2_none",
		"camellia256", "camellia128ccm12", "blowfish", "cast128", "serpent256", "twofish", "ntru128", "modpnull", "sha256_96",
	} {
		_, err := ParseProposal(ESP, "aes256gcm16-"+word)
		var k *KeywordError
		if !errors.As(err, &k) || !k.Known || k.Word != word || !errors.Is(err, ErrUnsupported) {
			t.Errorf("%q: %v; it is known and not implemented", word, err)
		}
	}
	for word, nearest := range map[string]string{
		"aes256gmc16": "aes256gcm16", "sha265": "sha256", "x25518": "x25519", "prfsha265": "prfsha256", "esm": "esn", "nesn": "esn",
		"chacha20poly1350": "chacha20poly1305", "modp4069": "modp4096", "xyzzy": "", "ke9_x25519": "x25519", "ke1_rot13": "", "q": "",
	} {
		_, err := ParseProposal(ESP, word+"-aes256gcm16")
		var k *KeywordError
		if !errors.As(err, &k) || k.Known || k.Word != word || errors.Is(err, ErrUnsupported) {
			t.Errorf("%q: %v; it is unknown", word, err)
		} else if k.Nearest != nearest && !(word == "nesn" && k.Nearest == "noesn") {
			t.Errorf("%q is near %q, want %q", word, k.Nearest, nearest)
		}
	}
	_, err := ParseProposal(IKE, "aes265-sha265-modp768")
	if err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("three bad words: %v", err)
	}
}

// Each keyword is unique, each word of an implemented algorithm is read, and each transform's own word leads back to it.
func TestKeywords(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range keywords() {
		if seen[k.word] || strings.ContainsAny(k.word, "- ,") || k.word != strings.ToLower(k.word) {
			t.Errorf("the keyword %q is there twice or cannot be written", k.word)
		}
		seen[k.word] = true
		got, err := parseWords(k.word)
		if Supported(k.Transform) {
			if err != nil || !slices.Equal(got, []Transform{k.Transform}) {
				t.Errorf("%q: %v, %v", k.word, got, err)
			}
		} else if !errors.Is(err, ErrUnsupported) {
			t.Errorf("%q: %v", k.word, err)
		}
		i := slices.IndexFunc(keywords(), func(o keyword) bool { return o.word == wordOf(k.Transform) })
		if i < 0 || keywords()[i].Transform != k.Transform {
			t.Errorf("%q: written as %q, which is something else", k.word, wordOf(k.Transform))
		}
		if _, ok := k.name(); !ok {
			t.Errorf("%q has no name in the registry", k.word)
		}
	}
}

// What is weak can be named, and what is refused cannot.
func TestWeakness(t *testing.T) {
	weak := 0
	for _, k := range keywords() {
		why, refusal := k.Weakness(), refusals[k.Transform]
		if why != "" {
			weak++
		}
		if why != "" && !Supported(k.Transform) || refusal != "" && Supported(k.Transform) {
			t.Errorf("%q: weak %q, refused %q", k.word, why, refusal)
		}
	}
	for _, id := range []uint16{MODP1024, MODP1536, MODP1024S160, MODP2048S224, MODP2048S256} {
		if tr := (Transform{Type: TypeKE, ID: id}); tr.Weakness() == "" {
			t.Errorf("%s is weak", tr)
		}
	}
	if weak != 5+2*3+3 { // with the other word for GCM_8
		t.Errorf("%d weak words", weak)
	}
	if why := (Transform{Type: TypePRF, ID: MODP1024}).Weakness(); why != "" {
		t.Errorf("a pseudorandom function is weak: %s", why)
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"abc", "", 3}, {"", "abc", 3}, {"kitten", "sitting", 3}, {"esn", "noesn", 2}, {"abc", "acb", 2}, {"same", "same", 0},
	} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("distance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

// A peer's offer prints whatever it contains.
func TestProposalStringOfOffers(t *testing.T) {
	for _, c := range []struct {
		p    Proposal
		want string
	}{
		{Proposal{Protocol: ESP}, ""},
		{Proposal{ESP, []Transform{{TypeESN, 0, 0}, {TypeENCR, 3, 0}, {TypeINTEG, 1, 0}}}, "3des-md5"},
		{Proposal{ESP, []Transform{{TypeENCR, ENCR_AES_GCM_16, 128}, {TypeINTEG, AUTH_NONE, 0}, {TypeESN, 1, 0}, {TypeESN, 0, 0}}}, "aes128gcm16-esn-noesn"},
		{Proposal{IKE, []Transform{{TypeENCR, 1234, 256}, {TypePRF, 4, 0}, {TypeKE, 1025, 0}, {6, 36, 0}, {200, 1, 0}}},
			"ENCR_1234_256-prfaesxcbc-KE_1025-ADDKE1_ML_KEM_768-TYPE200_1"},
	} {
		if got := c.p.String(); got != c.want {
			t.Errorf("%v prints as %q, want %q", c.p.Transforms, got, c.want)
		}
	}
}

func TestProposalParts(t *testing.T) {
	p := parse(t, ESP, "aes256-aes128-sha256-x25519-modp2048-none")
	before := slices.Clone(p.Transforms)
	if tr, ok := p.Get(TypeENCR); !ok || tr.KeyBits != 256 {
		t.Errorf("the first cipher is %s", tr)
	}
	if _, ok := p.Get(TypePRF); ok {
		t.Error("ESP has no PRF")
	}
	all := p.All(TypeENCR)
	if len(all) != 2 || all[1].KeyBits != 128 || p.All(TypePRF) != nil {
		t.Errorf("the ciphers are %v", all)
	}
	all[0] = Transform{}
	if q := p.WithoutKE(); q.String() != "aes256-aes128-sha256" || q.Protocol != ESP || q.Group() != KE_NONE {
		t.Errorf("without key exchange: %v", q)
	}
	if p.Group() != CURVE25519 || parse(t, ESP, "aes256gcm16-none-x25519").Group() != KE_NONE {
		t.Errorf("group %d", p.Group())
	}
	if !slices.Equal(before, p.Transforms) {
		t.Error("the proposal was changed")
	}
}

func TestDefault(t *testing.T) {
	for _, proto := range []Protocol{IKE, ESP} {
		all := Default(proto)
		if len(all) != 2 {
			t.Fatalf("%s: %d default proposals", proto, len(all))
		}
		for i, p := range all {
			encr, _ := p.Get(TypeENCR)
			if encr.aead() != (i == 0) || encr.KeyBits != 256 {
				t.Errorf("%s: default proposal %d starts with %s", proto, i+1, encr)
			}
			if p.Group() != CURVE25519 {
				t.Errorf("%s: default proposal %d prefers group %d", proto, i+1, p.Group())
			}
			if again := parse(t, proto, p.String()); !reflect.DeepEqual(again, p) {
				t.Errorf("%s: %q reads back as %q", proto, p, again)
			}
			for _, tr := range p.Transforms {
				if !Supported(tr) || tr.Weakness() != "" {
					t.Errorf("%s: default %s is not implemented, or weak: %q", proto, tr, tr.Weakness())
				}
			}
		}
	}
	if Default(AH) != nil || Default(0) != nil {
		t.Error("a default for a protocol Culvert does not have")
	}
}

// Any text: an error, or a proposal that prints to text that reads back the same and that a peer with the same proposal
// would choose.
func FuzzParseProposal(f *testing.F) {
	for _, p := range append(Default(IKE), Default(ESP)...) {
		f.Add(p.Protocol == ESP, p.String())
	}
	for _, s := range []string{"", "-", "aes256gcm16-aes256-sha256-x25519", "3des-md5-modp1024", "aes265", "ke1_mlkem768",
		"aes256-sha256-esn-noesn-none", "aes128-sha1-modp2048", "\x00-\xff"} {
		f.Add(false, s)
		f.Add(true, s)
	}
	for _, k := range keywords() {
		f.Add(true, "aes256gcm16-"+k.word)
	}
	f.Fuzz(func(t *testing.T, esp bool, text string) {
		proto := IKE
		if esp {
			proto = ESP
		}
		p, err := ParseProposal(proto, text)
		if err != nil {
			if p.Transforms != nil || err.Error() == "" {
				t.Fatalf("%q: %v with %v", text, err, p)
			}
			return
		}
		again, err := ParseProposal(proto, p.String())
		if err != nil || !reflect.DeepEqual(again, p) {
			t.Fatalf("%q prints as %q, which reads as %v, %v", text, p, again, err)
		}
		one := []Proposal{p}
		if i, chosen, ok := Choose(one, one, 0); !ok || i != 0 || !Accepts(one, chosen) {
			t.Fatalf("%q does not agree with itself: %v", p, chosen)
		}
	})
}
