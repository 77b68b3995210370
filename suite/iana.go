package suite

import "fmt"

// Transform IDs of the IANA registry "Internet Key Exchange Version 2 (IKEv2) Parameters" that Culvert implements.
const (
	ENCR_AES_CBC            = 12
	ENCR_AES_CTR            = 13
	ENCR_AES_CCM_8          = 14
	ENCR_AES_CCM_12         = 15
	ENCR_AES_CCM_16         = 16
	ENCR_AES_GCM_8          = 18
	ENCR_AES_GCM_12         = 19
	ENCR_AES_GCM_16         = 20
	ENCR_NULL_AUTH_AES_GMAC = 21 // ESP only
	ENCR_CHACHA20_POLY1305  = 28

	PRF_HMAC_SHA1     = 2
	PRF_AES128_XCBC   = 4
	PRF_HMAC_SHA2_256 = 5
	PRF_HMAC_SHA2_384 = 6
	PRF_HMAC_SHA2_512 = 7
	PRF_AES128_CMAC   = 8

	AUTH_NONE              = 0
	AUTH_HMAC_SHA1_96      = 2
	AUTH_AES_XCBC_96       = 5
	AUTH_AES_CMAC_96       = 8
	AUTH_HMAC_SHA2_256_128 = 12
	AUTH_HMAC_SHA2_384_192 = 13
	AUTH_HMAC_SHA2_512_256 = 14

	KE_NONE         = 0
	MODP1024        = 2
	MODP1536        = 5
	MODP2048        = 14
	MODP3072        = 15
	MODP4096        = 16
	MODP6144        = 17
	MODP8192        = 18
	ECP256          = 19
	ECP384          = 20
	ECP521          = 21
	MODP1024S160    = 22
	MODP2048S224    = 23
	MODP2048S256    = 24
	BRAINPOOLP224R1 = 27
	BRAINPOOLP256R1 = 28
	BRAINPOOLP384R1 = 29
	BRAINPOOLP512R1 = 30
	CURVE25519      = 31
	CURVE448        = 32

	NO_ESN = 0
	ESN    = 1
)

// name is the registry's name of a transform, without key length and, for encryption and integrity, without the prefix
// ENCR_ or AUTH_; ok is false for a number that is not assigned.
func (t Transform) name() (name string, ok bool) {
	var n string
	switch t.Type {
	case TypeENCR:
		n = encrName(t.ID)
	case TypePRF:
		n = prfName(t.ID)
	case TypeINTEG:
		n = integName(t.ID)
	case TypeKE:
		n = keName(t.ID)
	case TypeESN:
		n = esnName(t.ID)
	default:
		if kem := keName(t.ID); kem != "" && t.Type >= typeADDKE1 && t.Type <= typeADDKE7 {
			n = t.Type.String() + "_" + kem
		}
	}
	return n, n != ""
}

// String names the transform as the IANA registry does: "AES_GCM_16-256", "PRF_HMAC_SHA2_256", "HMAC_SHA2_256_128",
// "CURVE25519", "NO_ESN". The prefixes ENCR_ and AUTH_ are left out; a Key Length attribute follows a dash. An unassigned
// number is written with its type, "ENCR_1234".
func (t Transform) String() string {
	n, ok := t.name()
	if !ok {
		n = fmt.Sprintf("%s_%d", t.Type, t.ID)
	}
	if t.KeyBits != 0 {
		n = fmt.Sprintf("%s-%d", n, t.KeyBits)
	}
	return n
}

func encrName(id uint16) string {
	return at(id, []string{
		1:                       "DES_IV64",
		2:                       "DES",
		3:                       "3DES",
		4:                       "RC5",
		5:                       "IDEA",
		6:                       "CAST",
		7:                       "BLOWFISH",
		8:                       "3IDEA",
		9:                       "DES_IV32",
		11:                      "NULL",
		ENCR_AES_CBC:            "AES_CBC",
		ENCR_AES_CTR:            "AES_CTR",
		ENCR_AES_CCM_8:          "AES_CCM_8",
		ENCR_AES_CCM_12:         "AES_CCM_12",
		ENCR_AES_CCM_16:         "AES_CCM_16",
		ENCR_AES_GCM_8:          "AES_GCM_8",
		ENCR_AES_GCM_12:         "AES_GCM_12",
		ENCR_AES_GCM_16:         "AES_GCM_16",
		ENCR_NULL_AUTH_AES_GMAC: "NULL_AUTH_AES_GMAC",
		23:                      "CAMELLIA_CBC",
		24:                      "CAMELLIA_CTR",
		25:                      "CAMELLIA_CCM_8",
		26:                      "CAMELLIA_CCM_12",
		27:                      "CAMELLIA_CCM_16",
		ENCR_CHACHA20_POLY1305:  "CHACHA20_POLY1305",
		29:                      "AES_CCM_8_IIV",
		30:                      "AES_GCM_16_IIV",
		31:                      "CHACHA20_POLY1305_IIV",
		32:                      "KUZNYECHIK_MGM_KTREE",
		33:                      "MAGMA_MGM_KTREE",
		34:                      "KUZNYECHIK_MGM_MAC_KTREE",
		35:                      "MAGMA_MGM_MAC_KTREE",
	})
}

func prfName(id uint16) string {
	return at(id, []string{
		1:                 "PRF_HMAC_MD5",
		PRF_HMAC_SHA1:     "PRF_HMAC_SHA1",
		3:                 "PRF_HMAC_TIGER",
		PRF_AES128_XCBC:   "PRF_AES128_XCBC",
		PRF_HMAC_SHA2_256: "PRF_HMAC_SHA2_256",
		PRF_HMAC_SHA2_384: "PRF_HMAC_SHA2_384",
		PRF_HMAC_SHA2_512: "PRF_HMAC_SHA2_512",
		PRF_AES128_CMAC:   "PRF_AES128_CMAC",
		9:                 "PRF_HMAC_STREEBOG_512",
	})
}

func integName(id uint16) string {
	return at(id, []string{
		AUTH_NONE:              "AUTH_NONE",
		1:                      "HMAC_MD5_96",
		AUTH_HMAC_SHA1_96:      "HMAC_SHA1_96",
		3:                      "DES_MAC",
		4:                      "KPDK_MD5",
		AUTH_AES_XCBC_96:       "AES_XCBC_96",
		6:                      "HMAC_MD5_128",
		7:                      "HMAC_SHA1_160",
		AUTH_AES_CMAC_96:       "AES_CMAC_96",
		9:                      "AES_128_GMAC",
		10:                     "AES_192_GMAC",
		11:                     "AES_256_GMAC",
		AUTH_HMAC_SHA2_256_128: "HMAC_SHA2_256_128",
		AUTH_HMAC_SHA2_384_192: "HMAC_SHA2_384_192",
		AUTH_HMAC_SHA2_512_256: "HMAC_SHA2_512_256",
	})
}

func keName(id uint16) string {
	return at(id, []string{
		KE_NONE:         "KE_NONE",
		1:               "MODP_768",
		MODP1024:        "MODP_1024",
		MODP1536:        "MODP_1536",
		MODP2048:        "MODP_2048",
		MODP3072:        "MODP_3072",
		MODP4096:        "MODP_4096",
		MODP6144:        "MODP_6144",
		MODP8192:        "MODP_8192",
		ECP256:          "ECP_256",
		ECP384:          "ECP_384",
		ECP521:          "ECP_521",
		MODP1024S160:    "MODP_1024_S160",
		MODP2048S224:    "MODP_2048_S224",
		MODP2048S256:    "MODP_2048_S256",
		25:              "ECP_192",
		26:              "ECP_224",
		BRAINPOOLP224R1: "BRAINPOOL_P224R1",
		BRAINPOOLP256R1: "BRAINPOOL_P256R1",
		BRAINPOOLP384R1: "BRAINPOOL_P384R1",
		BRAINPOOLP512R1: "BRAINPOOL_P512R1",
		CURVE25519:      "CURVE25519",
		CURVE448:        "CURVE448",
		33:              "GOST3410_2012_256",
		34:              "GOST3410_2012_512",
		35:              "ML_KEM_512",
		36:              "ML_KEM_768",
		37:              "ML_KEM_1024",
	})
}

func esnName(id uint16) string {
	return at(id, []string{
		NO_ESN: "NO_ESN",
		ESN:    "ESN",
	})
}

// at is the name at an index, "" where the registry has none.
func at(id uint16, names []string) string {
	if int(id) >= len(names) {
		return ""
	}
	return names[id]
}
