package suite

import "testing"

func TestTransformString(t *testing.T) {
	for want, tr := range map[string]Transform{
		"AES_GCM_16-256":        {TypeENCR, ENCR_AES_GCM_16, 256},
		"AES_CBC-128":           {TypeENCR, ENCR_AES_CBC, 128},
		"AES_CBC":               {TypeENCR, ENCR_AES_CBC, 0},
		"CHACHA20_POLY1305":     {TypeENCR, ENCR_CHACHA20_POLY1305, 0},
		"3DES":                  {TypeENCR, 3, 0},
		"AES_CTR-192":           {TypeENCR, 13, 192},
		"AES_CCM_16-256":        {TypeENCR, 16, 256},
		"CAMELLIA_CBC-256":      {TypeENCR, 23, 256},
		"ENCR_1234":             {TypeENCR, 1234, 0},
		"ENCR_17-128":           {TypeENCR, 17, 128},
		"PRF_HMAC_SHA2_256":     {TypePRF, PRF_HMAC_SHA2_256, 0},
		"PRF_AES128_XCBC":       {TypePRF, 4, 0},
		"PRF_99":                {TypePRF, 99, 0},
		"AUTH_NONE":             {TypeINTEG, AUTH_NONE, 0},
		"HMAC_SHA2_256_128":     {TypeINTEG, AUTH_HMAC_SHA2_256_128, 0},
		"AES_256_GMAC":          {TypeINTEG, 11, 0},
		"INTEG_99":              {TypeINTEG, 99, 0},
		"KE_NONE":               {TypeKE, KE_NONE, 0},
		"MODP_2048":             {TypeKE, MODP2048, 0},
		"CURVE25519":            {TypeKE, CURVE25519, 0},
		"CURVE448":              {TypeKE, 32, 0},
		"BRAINPOOL_P256R1":      {TypeKE, 28, 0},
		"ML_KEM_768":            {TypeKE, 36, 0},
		"KE_40000":              {TypeKE, 40000, 0},
		"NO_ESN":                {TypeESN, NO_ESN, 0},
		"ESN":                   {TypeESN, ESN, 0},
		"ESN_7":                 {TypeESN, 7, 0},
		"ADDKE1_ML_KEM_768":     {6, 36, 0},
		"ADDKE7_999":            {12, 999, 0},
		"TYPE0_0":               {},
		"TYPE241_65535-65535":   {241, 65535, 65535},
		"CHACHA20_POLY1305-256": {TypeENCR, ENCR_CHACHA20_POLY1305, 256},
	} {
		if got := tr.String(); got != want {
			t.Errorf("%#v prints as %q, want %q", tr, got, want)
		}
	}
}

func TestTypeAndProtocolString(t *testing.T) {
	for want, got := range map[string]string{
		"IKE": IKE.String(), "AH": AH.String(), "ESP": ESP.String(), "Protocol 9": Protocol(9).String(),
		"ENCR": TypeENCR.String(), "ESN": TypeESN.String(), "ADDKE2": Type(7).String(), "TYPE13": Type(13).String(),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// Names are unique within a type, so that what is printed says which transform it is.
func TestNamesUnique(t *testing.T) {
	for typ := Type(0); typ < 16; typ++ {
		names := map[string]uint16{}
		for id := range uint16(300) {
			s := Transform{Type: typ, ID: id}.String()
			if other, ok := names[s]; ok {
				t.Errorf("%s is both %d and %d", s, other, id)
			}
			names[s] = id
		}
	}
}

// What Supported says can be made, and what it denies cannot.
//
// Cases: BUG-09.
func TestSupportedIsMakeable(t *testing.T) {
	integ := Transform{Type: TypeINTEG, ID: AUTH_HMAC_SHA1_96}
	for id := range uint16(300) {
		for _, bits := range []uint16{0, 8, 64, 128, 160, 192, 256, 512} {
			tr := Transform{TypeENCR, id, bits}
			made := false
			for _, mac := range []Transform{{}, integ} {
				if enc, key, err := KeyLens(tr, mac); err == nil {
					_, err := NewCipher(tr, mac, make([]byte, enc), make([]byte, key))
					made = made || err == nil
				}
			}
			if made != Supported(tr) {
				t.Errorf("%s: made %v, supported %v", tr, made, Supported(tr))
			}
			tr.Type = TypePRF
			if _, err := NewPRF(tr); (err == nil) != Supported(tr) {
				t.Errorf("%s: %v, supported %v", tr, err, Supported(tr))
			}
			tr.Type = TypeKE
			if _, err := NewKE(id); (err == nil || id == KE_NONE) && bits == 0 != Supported(tr) {
				t.Errorf("%s: %v, supported %v", tr, err, Supported(tr))
			}
		}
	}
	for _, tr := range []Transform{{}, {Type: 6, ID: 36}, {TypeESN, 2, 0}, {TypeESN, ESN, 64}, {TypeINTEG, AUTH_NONE, 1}, {TypeINTEG, 1, 0}} {
		if Supported(tr) {
			t.Errorf("%s is not supported", tr)
		}
	}
	for _, tr := range []Transform{{TypeESN, NO_ESN, 0}, {TypeESN, ESN, 0}, {TypeINTEG, AUTH_NONE, 0}, integ, {TypeKE, KE_NONE, 0}} {
		if !Supported(tr) {
			t.Errorf("%s is supported", tr)
		}
	}
}
