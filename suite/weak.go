package suite

// Weakness says in a sentence why a transform is for peers that know nothing better, or what it does not do; "" for those one
// need not think about. What is not implemented has no weakness, but a reason, see KeywordError.
func (t Transform) Weakness() string {
	switch t.Type {
	case TypeENCR:
		return weakCiphers[t.ID]
	case TypeKE:
		return weakGroups[t.ID]
	}
	return ""
}

var weakCiphers = map[uint16]string{
	ENCR_AES_GCM_8:          "with an ICV of 8 bytes each forgery that succeeds makes the next one easier (NIST SP 800-38D appendix C)",
	ENCR_NULL_AUTH_AES_GMAC: "it authenticates the traffic and does not encrypt it (RFC 4543 3)",
}

// RFC 8247 2.4.
var weakGroups = map[uint16]string{
	MODP1024:     "a key exchange of 1024 bits can be broken by well-funded attackers, who can then read all that was recorded (RFC 8247 2.4)",
	MODP1536:     "a key exchange of 1536 bits is expected to be broken by states within years, and with it all that was recorded (RFC 8247 2.4)",
	MODP1024S160: "a key exchange of 1024 bits can be broken by well-funded attackers, and nobody knows how this prime was chosen (RFC 8247 2.4)",
	MODP2048S224: "nobody knows how its prime was chosen, and there are small subgroups (RFC 8247 2.4); modp2048 is as fast and sound",
	MODP2048S256: "nobody knows how its prime was chosen, and there are small subgroups (RFC 8247 2.4); modp2048 is as fast and sound",
}

const (
	smallBlocks = "with its blocks of 64 bits a few gigabytes under one key give plaintext away (RFC 8221 5)"
	brokenMD5   = "MD5 is broken (RFC 8221 6, RFC 8247 2.2)"
)

// refusals say why a transform is not implemented. The others wait for somebody who needs them.
var refusals = map[Transform]string{
	{TypeENCR, 2, 0}:   "its key of 56 bits is found by trying",
	{TypeENCR, 3, 0}:   smallBlocks,
	{TypeENCR, 6, 128}: smallBlocks,
	{TypeENCR, 7, 128}: smallBlocks,
	{TypeENCR, 7, 192}: smallBlocks,
	{TypeENCR, 7, 256}: smallBlocks,
	{TypeENCR, 11, 0}:  "it does not encrypt; aes128gmac is the way to authenticate only",
	{TypeINTEG, 1, 0}:  brokenMD5,
	{TypeINTEG, 6, 0}:  brokenMD5,
	{TypeINTEG, 7, 0}:  "it is not for ESP and IKE (RFC 4595)",
	{TypePRF, 1, 0}:    brokenMD5,
	{TypeKE, 1, 0}:     "a key exchange of 768 bits is broken within hours (RFC 8247 2.4)",
	{TypeKE, 25, 0}:    "its strength of 96 bits is too little",
}
