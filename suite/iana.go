package suite

import "fmt"

// Transform IDs of the IANA registry "Internet Key Exchange Version 2 (IKEv2) Parameters" that Culvert implements.
const (
	ENCR_AES_CBC           = 12
	ENCR_AES_GCM_16        = 20
	ENCR_CHACHA20_POLY1305 = 28

	PRF_HMAC_SHA1     = 2
	PRF_HMAC_SHA2_256 = 5
	PRF_HMAC_SHA2_384 = 6
	PRF_HMAC_SHA2_512 = 7

	AUTH_NONE              = 0
	AUTH_HMAC_SHA1_96      = 2
	AUTH_HMAC_SHA2_256_128 = 12
	AUTH_HMAC_SHA2_384_192 = 13
	AUTH_HMAC_SHA2_512_256 = 14

	KE_NONE    = 0
	MODP2048   = 14
	MODP3072   = 15
	MODP4096   = 16
	MODP6144   = 17
	MODP8192   = 18
	ECP256     = 19
	ECP384     = 20
	ECP521     = 21
	CURVE25519 = 31

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
	switch id {
	case 1:
		return "DES_IV64"
	case 2:
		return "DES"
	case 3:
		return "3DES"
	case 4:
		return "RC5"
	case 5:
		return "IDEA"
	case 6:
		return "CAST"
	case 7:
		return "BLOWFISH"
	case 8:
		return "3IDEA"
	case 9:
		return "DES_IV32"
	case 11:
		return "NULL"
	case ENCR_AES_CBC:
		return "AES_CBC"
	case 13:
		return "AES_CTR"
	case 14:
		return "AES_CCM_8"
	case 15:
		return "AES_CCM_12"
	case 16:
		return "AES_CCM_16"
	case 18:
		return "AES_GCM_8"
	case 19:
		return "AES_GCM_12"
	case ENCR_AES_GCM_16:
		return "AES_GCM_16"
	case 21:
		return "NULL_AUTH_AES_GMAC"
	case 23:
		return "CAMELLIA_CBC"
	case 24:
		return "CAMELLIA_CTR"
	case 25:
		return "CAMELLIA_CCM_8"
	case 26:
		return "CAMELLIA_CCM_12"
	case 27:
		return "CAMELLIA_CCM_16"
	case ENCR_CHACHA20_POLY1305:
		return "CHACHA20_POLY1305"
	case 29:
		return "AES_CCM_8_IIV"
	case 30:
		return "AES_GCM_16_IIV"
	case 31:
		return "CHACHA20_POLY1305_IIV"
	case 32:
		return "KUZNYECHIK_MGM_KTREE"
	case 33:
		return "MAGMA_MGM_KTREE"
	case 34:
		return "KUZNYECHIK_MGM_MAC_KTREE"
	case 35:
		return "MAGMA_MGM_MAC_KTREE"
	}
	return ""
}

func prfName(id uint16) string {
	switch id {
	case 1:
		return "PRF_HMAC_MD5"
	case PRF_HMAC_SHA1:
		return "PRF_HMAC_SHA1"
	case 3:
		return "PRF_HMAC_TIGER"
	case 4:
		return "PRF_AES128_XCBC"
	case PRF_HMAC_SHA2_256:
		return "PRF_HMAC_SHA2_256"
	case PRF_HMAC_SHA2_384:
		return "PRF_HMAC_SHA2_384"
	case PRF_HMAC_SHA2_512:
		return "PRF_HMAC_SHA2_512"
	case 8:
		return "PRF_AES128_CMAC"
	case 9:
		return "PRF_HMAC_STREEBOG_512"
	}
	return ""
}

func integName(id uint16) string {
	switch id {
	case AUTH_NONE:
		return "AUTH_NONE"
	case 1:
		return "HMAC_MD5_96"
	case AUTH_HMAC_SHA1_96:
		return "HMAC_SHA1_96"
	case 3:
		return "DES_MAC"
	case 4:
		return "KPDK_MD5"
	case 5:
		return "AES_XCBC_96"
	case 6:
		return "HMAC_MD5_128"
	case 7:
		return "HMAC_SHA1_160"
	case 8:
		return "AES_CMAC_96"
	case 9:
		return "AES_128_GMAC"
	case 10:
		return "AES_192_GMAC"
	case 11:
		return "AES_256_GMAC"
	case AUTH_HMAC_SHA2_256_128:
		return "HMAC_SHA2_256_128"
	case AUTH_HMAC_SHA2_384_192:
		return "HMAC_SHA2_384_192"
	case AUTH_HMAC_SHA2_512_256:
		return "HMAC_SHA2_512_256"
	}
	return ""
}

func keName(id uint16) string {
	switch id {
	case KE_NONE:
		return "KE_NONE"
	case 1:
		return "MODP_768"
	case 2:
		return "MODP_1024"
	case 5:
		return "MODP_1536"
	case MODP2048:
		return "MODP_2048"
	case MODP3072:
		return "MODP_3072"
	case MODP4096:
		return "MODP_4096"
	case MODP6144:
		return "MODP_6144"
	case MODP8192:
		return "MODP_8192"
	case ECP256:
		return "ECP_256"
	case ECP384:
		return "ECP_384"
	case ECP521:
		return "ECP_521"
	case 22:
		return "MODP_1024_S160"
	case 23:
		return "MODP_2048_S224"
	case 24:
		return "MODP_2048_S256"
	case 25:
		return "ECP_192"
	case 26:
		return "ECP_224"
	case 27:
		return "BRAINPOOL_P224R1"
	case 28:
		return "BRAINPOOL_P256R1"
	case 29:
		return "BRAINPOOL_P384R1"
	case 30:
		return "BRAINPOOL_P512R1"
	case CURVE25519:
		return "CURVE25519"
	case 32:
		return "CURVE448"
	case 33:
		return "GOST3410_2012_256"
	case 34:
		return "GOST3410_2012_512"
	case 35:
		return "ML_KEM_512"
	case 36:
		return "ML_KEM_768"
	case 37:
		return "ML_KEM_1024"
	}
	return ""
}

func esnName(id uint16) string {
	switch id {
	case NO_ESN:
		return "NO_ESN"
	case ESN:
		return "ESN"
	}
	return ""
}
