package gateway

import (
	"net/netip"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/ident"
	"github.com/culvert-vpn/culvert/pool"
	"github.com/culvert-vpn/culvert/suite"
	"github.com/culvert-vpn/culvert/ts"
)

func TestCharonNames(t *testing.T) {
	for want, tr := range map[string]suite.Transform{
		"AES_GCM_16": {Type: suite.TypeENCR, ID: suite.ENCR_AES_GCM_16, KeyBits: 256}, "NULL_AES_GMAC": {Type: suite.TypeENCR, ID: suite.ENCR_NULL_AUTH_AES_GMAC, KeyBits: 128},
		"3DES_CBC": {Type: suite.TypeENCR, ID: 3}, "HMAC_SHA2_256_128": {Type: suite.TypeINTEG, ID: suite.AUTH_HMAC_SHA2_256_128},
		"PRF_HMAC_SHA2_512": {Type: suite.TypePRF, ID: suite.PRF_HMAC_SHA2_512}, "CURVE_25519": {Type: suite.TypeKE, ID: suite.CURVE25519},
		"CURVE_448": {Type: suite.TypeKE, ID: suite.CURVE448}, "MODP_1024_160": {Type: suite.TypeKE, ID: suite.MODP1024S160},
		"MODP_2048_256": {Type: suite.TypeKE, ID: suite.MODP2048S256}, "ECP_384_BP": {Type: suite.TypeKE, ID: suite.BRAINPOOLP384R1},
		"MODP_3072": {Type: suite.TypeKE, ID: suite.MODP3072}, "ECP_521": {Type: suite.TypeKE, ID: suite.ECP521}, "ML_KEM_768": {Type: suite.TypeKE, ID: 36},
	} {
		if got := charonAlgorithm(tr); got != want {
			t.Errorf("%v is %s, want %s", tr, got, want)
		}
	}
	for text, want := range map[string]string{
		"@foo": "foo", "me@example.com": "me@example.com", "192.0.2.1": "192.0.2.1", "2001:db8::1": "2001:db8::1", "%any": "%any",
		"keyid:hello": "hello", "@#00ff10": "00:ff:10", "C=DE, CN=gw": "C=DE, CN=gw",
	} {
		p, err := ident.ParsePattern(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := charonPattern(p); got != want {
			t.Errorf("%s is %q, want %q", text, got, want)
		}
	}
	for text, want := range map[string]string{
		"10.0.0.0/8": "10.0.0.0/8", "10.0.0.1": "10.0.0.1/32", "10.0.0.1-10.0.0.5": "10.0.0.1..10.0.0.5", "10.0.0.0/8[tcp/8123]": "10.0.0.0/8[tcp/8123]",
		"10.0.0.0/8[udp]": "10.0.0.0/8[udp]", "10.0.0.0/8[tcp/100-200]": "10.0.0.0/8[tcp/100-200]", "10.0.0.0/8[tcp/opaque]": "10.0.0.0/8[tcp/OPAQUE]",
		"10.0.0.0/8[/8123]": "10.0.0.0/8[0/8123]", "10.0.0.1-10.0.0.5[tcp/1-9]": "10.0.0.1..10.0.0.5[tcp/1-9]", "dynamic": "dynamic", "fd00::/64": "fd00::/64",
	} {
		spec, err := ts.ParseSpec(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := charonSpecs([]ts.Spec{spec})[0]; got != want {
			t.Errorf("%s is %s, want %s", text, got, want)
		}
	}
	for d, want := range map[time.Duration]string{
		0: "0 seconds", time.Second: "1 second", 119 * time.Second: "119 seconds", 2 * time.Minute: "2 minutes", 2 * time.Hour: "2 hours", 49 * time.Hour: "2 days",
	} {
		if got := charonAge(d); got != want {
			t.Errorf("%v is %s, want %s", d, got, want)
		}
	}
	for _, test := range [][3]string{
		{"10.11.0.1", "10.11.0.254", "10.11.0.0"}, {"10.11.0.10", "10.11.0.20", "10.11.0.10"}, {"10.0.0.1", "10.0.0.2", "10.0.0.0"},
		{"10.0.0.5", "10.0.0.5", "10.0.0.5"}, {"10.1.0.1", "10.1.255.254", "10.1.0.0"}, {"0.0.0.0", "255.255.255.255", "0.0.0.0"},
	} {
		r := pool.Range{First: netip.MustParseAddr(test[0]), Last: netip.MustParseAddr(test[1])}
		if got := baseOf(r).String(); got != test[2] {
			t.Errorf("%s-%s begins at %s, want %s", test[0], test[1], got, test[2])
		}
	}
}
