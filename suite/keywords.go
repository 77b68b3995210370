package suite

import "strings"

// keyword is a word of a proposal in the language of swanctl.conf.
type keyword struct {
	word string
	Transform
}

// keywords returns every word, implemented or not, so that a word Culvert lacks can be told from a misspelt one. The first
// word for a transform is the one String writes.
func keywords() []keyword {
	k := make([]keyword, 0, 256)
	add := func(t Type, id, bits uint16, words ...string) {
		for _, w := range words {
			k = append(k, keyword{w, Transform{t, id, bits}})
		}
	}
	for i, size := range []string{"128", "192", "256"} {
		bits := uint16(128 + 64*i)
		aes, camellia := "aes"+size, "camellia"+size
		add(TypeENCR, ENCR_AES_CBC, bits, aes)
		add(TypeENCR, ENCR_AES_GCM_16, bits, aes+"gcm16", aes+"gcm128", aes+"gcm")
		add(TypeENCR, ENCR_AES_GCM_8, bits, aes+"gcm8", aes+"gcm64")
		add(TypeENCR, ENCR_AES_GCM_12, bits, aes+"gcm12", aes+"gcm96")
		add(TypeENCR, ENCR_AES_CTR, bits, aes+"ctr")
		add(TypeENCR, ENCR_AES_CCM_8, bits, aes+"ccm8", aes+"ccm64")
		add(TypeENCR, ENCR_AES_CCM_12, bits, aes+"ccm12", aes+"ccm96")
		add(TypeENCR, ENCR_AES_CCM_16, bits, aes+"ccm16", aes+"ccm128", aes+"ccm")
		add(TypeENCR, ENCR_NULL_AUTH_AES_GMAC, bits, aes+"gmac")
		add(TypeENCR, 23, bits, camellia)
		add(TypeENCR, 24, bits, camellia+"ctr")
		add(TypeENCR, 25, bits, camellia+"ccm8", camellia+"ccm64")
		add(TypeENCR, 26, bits, camellia+"ccm12", camellia+"ccm96")
		add(TypeENCR, 27, bits, camellia+"ccm16", camellia+"ccm128")
		add(TypeENCR, 7, bits, "blowfish"+size)
	}
	add(TypeENCR, ENCR_AES_CBC, 128, "aes")
	add(TypeENCR, 23, 128, "camellia")
	add(TypeENCR, 7, 128, "blowfish")
	add(TypeENCR, ENCR_CHACHA20_POLY1305, 0, "chacha20poly1305")
	add(TypeENCR, 2, 0, "des")
	add(TypeENCR, 3, 0, "3des")
	add(TypeENCR, 6, 128, "cast128")
	add(TypeENCR, 11, 0, "null")

	add(TypeINTEG, AUTH_HMAC_SHA1_96, 0, "sha1", "sha")
	add(TypeINTEG, AUTH_HMAC_SHA2_256_128, 0, "sha256", "sha2_256")
	add(TypeINTEG, AUTH_HMAC_SHA2_384_192, 0, "sha384", "sha2_384")
	add(TypeINTEG, AUTH_HMAC_SHA2_512_256, 0, "sha512", "sha2_512")
	add(TypeINTEG, 1, 0, "md5")
	add(TypeINTEG, AUTH_AES_XCBC_96, 0, "aesxcbc")
	add(TypeINTEG, 6, 0, "md5_128")
	add(TypeINTEG, 7, 0, "sha1_160")
	add(TypeINTEG, AUTH_AES_CMAC_96, 0, "aescmac")

	add(TypePRF, PRF_HMAC_SHA1, 0, "prfsha1")
	add(TypePRF, PRF_HMAC_SHA2_256, 0, "prfsha256")
	add(TypePRF, PRF_HMAC_SHA2_384, 0, "prfsha384")
	add(TypePRF, PRF_HMAC_SHA2_512, 0, "prfsha512")
	add(TypePRF, 1, 0, "prfmd5")
	add(TypePRF, PRF_AES128_XCBC, 0, "prfaesxcbc")
	add(TypePRF, PRF_AES128_CMAC, 0, "prfaescmac")

	add(TypeKE, KE_NONE, 0, "none", "modpnone")
	add(TypeKE, MODP2048, 0, "modp2048")
	add(TypeKE, MODP3072, 0, "modp3072")
	add(TypeKE, MODP4096, 0, "modp4096")
	add(TypeKE, MODP6144, 0, "modp6144")
	add(TypeKE, MODP8192, 0, "modp8192")
	add(TypeKE, ECP256, 0, "ecp256")
	add(TypeKE, ECP384, 0, "ecp384")
	add(TypeKE, ECP521, 0, "ecp521")
	add(TypeKE, CURVE25519, 0, "x25519", "curve25519")
	add(TypeKE, 1, 0, "modp768")
	add(TypeKE, MODP1024, 0, "modp1024")
	add(TypeKE, MODP1536, 0, "modp1536")
	add(TypeKE, MODP1024S160, 0, "modp1024s160")
	add(TypeKE, MODP2048S224, 0, "modp2048s224")
	add(TypeKE, MODP2048S256, 0, "modp2048s256")
	add(TypeKE, 25, 0, "ecp192")
	add(TypeKE, 26, 0, "ecp224")
	add(TypeKE, BRAINPOOLP224R1, 0, "ecp224bp")
	add(TypeKE, BRAINPOOLP256R1, 0, "ecp256bp")
	add(TypeKE, BRAINPOOLP384R1, 0, "ecp384bp")
	add(TypeKE, BRAINPOOLP512R1, 0, "ecp512bp")
	add(TypeKE, CURVE448, 0, "x448", "curve448")
	add(TypeKE, 35, 0, "mlkem512")
	add(TypeKE, 36, 0, "mlkem768")
	add(TypeKE, 37, 0, "mlkem1024")

	add(TypeESN, NO_ESN, 0, "noesn")
	add(TypeESN, ESN, 0, "esn")
	return k
}

// otherWords are keywords whose transforms have numbers from the private range, or none of their own.
const otherWords = " serpent serpent128 serpent192 serpent256 twofish twofish128 twofish192 twofish256" +
	" chacha20poly1305compat sha256_96 sha2_256_96 camelliaxcbc prfcamelliaxcbc modpnull ntru112 ntru128 ntru192 ntru256" +
	" newhope128 "

// elsewhere reports whether a word is known although it is not in the table: a private algorithm, or an additional key
// exchange (RFC 9370), which is written ke1_mlkem768.
func elsewhere(word string) bool {
	if strings.Contains(otherWords, " "+word+" ") {
		return true
	}
	if len(word) < 5 || !strings.HasPrefix(word, "ke") || word[2] < '1' || word[2] > '7' || word[3] != '_' {
		return false
	}
	for _, k := range keywords() {
		if k.word == word[4:] && k.Type == TypeKE {
			return true
		}
	}
	return false
}

// wordOf is the keyword of a transform. A transform that has none, as the offer of a peer may contain, is written by its
// registry name with the dash of the key length made an underscore, since a dash separates keywords.
func wordOf(t Transform) string {
	for _, k := range keywords() {
		if k.Transform == t {
			return k.word
		}
	}
	return strings.ReplaceAll(t.String(), "-", "_")
}

// nearest is the implemented keyword most like a word, or "" if none is much like it.
func nearest(word string) string {
	word = strings.ToLower(word)
	best, least := "", 1+len(word)/3
	for _, k := range keywords() {
		if !Supported(k.Transform) {
			continue
		}
		if d := distance(word, k.word); d < least || d == least && best == "" {
			best, least = k.word, d
		}
	}
	return best
}

// distance is the number of bytes to insert, delete or replace to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
