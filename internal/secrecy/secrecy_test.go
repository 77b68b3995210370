package secrecy

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// Whatever form a planted secret has, it is found, and the finding does not tell it.
func TestFind(t *testing.T) {
	for _, secret := range []string{"qwerty", "the secret of nobody", "two\nlines \"quoted\"", "\x00\x01\xfe\xff binary \x80", strings.Repeat("k", 64)} {
		var s Secrets
		s.Know("the secret", []byte(secret))
		b := []byte(secret)
		escaped, _ := json.Marshal(secret)
		for form, leak := range map[string]string{
			"plain": secret, "%q": fmt.Sprintf("%q", secret), "JSON": string(escaped), "%x": fmt.Sprintf("%x", secret), "%X": fmt.Sprintf("%X", secret),
			"% x": fmt.Sprintf("% x", secret), "%v": fmt.Sprint(b), "base64": base64.StdEncoding.EncodeToString(b), "URL": base64.URLEncoding.EncodeToString(b),
			"dump": "0x" + hex.EncodeToString(b),
		} {
			found := s.Find([]byte("first line\nlevel=INFO msg=" + leak + " and more\n"))
			if len(found) == 0 || !strings.HasPrefix(found[0], "line 2 holds the secret") {
				t.Errorf("%q as %s: %q", secret, form, found)
			}
			if strings.Contains(strings.Join(found, ""), secret) {
				t.Errorf("the finding tells the secret")
			}
		}
		if found := s.Find([]byte("nothing of that kind: qwert, the secret of somebody, 717765727, [113 119]")); found != nil {
			t.Errorf("%q: %q", secret, found)
		}
	}
}

// The secrets of a configuration are known in every spelling of the file.
func TestKnowConfiguration(t *testing.T) {
	for text, leaks := range map[string][]string{
		"secrets { ike { secret = plain-word } }":                 {"plain-word"},
		"secret = \"quoted \\\"word\\\"\\n\"\n":                   {"quoted \"word\"\n", `quoted \"word\"\n`},
		"  secret   =  0x00112233445566778899   # comment":        {"0x00112233445566778899", "00112233445566778899", "ABEiM0RVZneImQ"},
		"secret = 0sABEiM0RVZneImQ==\n":                           {"ABEiM0RVZneImQ==", "00:11:22:33:44:55", "17 34 51 68 85 102"},
		"a { secret = first\n}\nb {\n secret=\"second one\"\n}\n": {"first", "second one"},
	} {
		var s Secrets
		s.KnowConfiguration(text)
		for _, leak := range leaks {
			full := leak
			if strings.HasPrefix(leak, "00:") {
				full = "00:11:22:33:44:55:66:77:88:99"
			} else if strings.HasPrefix(leak, "17 ") {
				full = "0 17 34 51 68 85 102 119 136 153"
			}
			if s.Find([]byte("log: "+full)) == nil {
				t.Errorf("%q: %q is not found", text, full)
			}
		}
		if found := s.Find([]byte("secret = something else, secrets {")); found != nil {
			t.Errorf("%q: %q", text, found)
		}
	}
}

// Keys are known from the tables of a key log; SPIs and names of algorithms in it are no secrets.
func TestKnowKeys(t *testing.T) {
	var s Secrets
	s.KnowKeys([]byte(`1122334455667788,99aabbccddeeff00,000102030405060708090a0b0c0d0e0f,101112131415161718191a1b1c1d1e1f,"AES-GCM",,,"NONE"` + "\n" +
		`"IPv4","203.0.113.1","192.0.2.10","0xcafebabe","AES-GCM","0x202122232425262728292a2b2c2d2e2f30313233","NULL",""` + "\n"))
	for _, leak := range []string{"000102030405060708090a0b0c0d0e0f", "EBESExQVFhcYGRobHB0eHw", "202122232425262728292A2B2C2D2E2F30313233"} {
		if s.Find([]byte("x "+leak)) == nil {
			t.Errorf("the key %s is not found", leak)
		}
	}
	if found := s.Find([]byte("spi-i=1122334455667788 spi-r=99aabbccddeeff00 spi-in=0xcafebabe AES-GCM 203.0.113.1")); found != nil {
		t.Errorf("%q", found)
	}
}
