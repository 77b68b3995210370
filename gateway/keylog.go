package gateway

import (
	"fmt"
	"io"

	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/suite"
)

// keyLog writes keys as lines of Wireshark's tables. Its writers may be nil.
type keyLog struct{ ike, esp io.Writer }

// wiresharkNames are what Wireshark calls the transforms in the table of IKE SAs and in that of ESP SAs.
var wiresharkNames = map[suite.Transform][2]string{
	{}: {"NONE [RFC4306]", "NULL"},
	{Type: suite.TypeINTEG, ID: suite.AUTH_NONE}:                 {"NONE [RFC4306]", "NULL"},
	{Type: suite.TypeENCR, ID: suite.ENCR_AES_CBC, KeyBits: 128}: {"AES-CBC-128 [RFC3602]", "AES-CBC [RFC3602]"},
	{Type: suite.TypeENCR, ID: suite.ENCR_AES_CBC, KeyBits: 192}: {"AES-CBC-192 [RFC3602]", "AES-CBC [RFC3602]"},
	{Type: suite.TypeENCR, ID: suite.ENCR_AES_CBC, KeyBits: 256}: {"AES-CBC-256 [RFC3602]", "AES-CBC [RFC3602]"},
	{Type: suite.TypeENCR, ID: suite.ENCR_AES_GCM_16, KeyBits: 128}: {
		"AES-GCM-128 with 16 octet ICV [RFC5282]", "AES-GCM with 16 octet ICV [RFC4106]"},
	{Type: suite.TypeENCR, ID: suite.ENCR_AES_GCM_16, KeyBits: 192}: {
		"AES-GCM-192 with 16 octet ICV [RFC5282]", "AES-GCM with 16 octet ICV [RFC4106]"},
	{Type: suite.TypeENCR, ID: suite.ENCR_AES_GCM_16, KeyBits: 256}: {
		"AES-GCM-256 with 16 octet ICV [RFC5282]", "AES-GCM with 16 octet ICV [RFC4106]"},
	{Type: suite.TypeENCR, ID: suite.ENCR_CHACHA20_POLY1305}: {"", "ChaCha20 with Poly1305 [RFC7634]"},
	{Type: suite.TypeINTEG, ID: suite.AUTH_HMAC_SHA1_96}:     {"HMAC_SHA1_96 [RFC2404]", "HMAC-SHA-1-96 [RFC2404]"},
	{Type: suite.TypeINTEG, ID: suite.AUTH_HMAC_SHA2_256_128}: {
		"HMAC_SHA2_256_128 [RFC4868]", "HMAC-SHA-256-128 [RFC4868]"},
	{Type: suite.TypeINTEG, ID: suite.AUTH_HMAC_SHA2_384_192}: {
		"HMAC_SHA2_384_192 [RFC4868]", "HMAC-SHA-384-192 [RFC4868]"},
	{Type: suite.TypeINTEG, ID: suite.AUTH_HMAC_SHA2_512_256}: {
		"HMAC_SHA2_512_256 [RFC4868]", "HMAC-SHA-512-256 [RFC4868]"},
}

// ikeSA writes the keys of an IKE SA and zeroes them. Of a cipher that Wireshark does not know in IKE it writes nothing.
func (l keyLog) ikeSA(k ike.Keys) error {
	defer clear(k.SKei)
	defer clear(k.SKer)
	defer clear(k.SKai)
	defer clear(k.SKar)
	encr, integ := wiresharkNames[k.Encr][0], wiresharkNames[k.Integ][0]
	if l.ike == nil || encr == "" || integ == "" {
		return nil
	}
	_, err := fmt.Fprintf(l.ike, "%016x,%016x,%x,%x,%q,%x,%x,%q\n", k.SPIi, k.SPIr, k.SKei, k.SKer, encr, k.SKai, k.SKar, integ)
	return err
}

// espSA writes the keys of one direction of a Child SA. It matches any address: a NAT may change both.
func (l keyLog) espSA(in ike.Install) error {
	encr, integ := wiresharkNames[in.Encr][1], wiresharkNames[in.Integ][1]
	if l.esp == nil || encr == "" || integ == "" {
		return nil
	}
	family := "IPv4"
	if in.Path.Remote.Addr().Is6() {
		family = "IPv6"
	}
	integKey := ""
	if len(in.IntegKey) > 0 {
		integKey = fmt.Sprintf("0x%x", in.IntegKey)
	}
	_, err := fmt.Fprintf(l.esp, "%q,\"*\",\"*\",\"0x%08x\",%q,\"0x%x\",%q,%q\n", family, in.SPI, encr, in.EncKey, integ, integKey)
	return err
}
