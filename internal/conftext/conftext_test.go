package conftext_test

import (
	"testing"

	"github.com/culvert-vpn/culvert/config"
	"github.com/culvert-vpn/culvert/internal/conftext"
	"github.com/culvert-vpn/culvert/psk"
)

func TestName(t *testing.T) {
	for text, want := range map[string]string{"office": "office", "@foo.example": "foo-example", "2001:db8::1": "2001-db8--1", "": "unnamed", "{}": "unnamed", "büro": "b-ro"} {
		if got := conftext.Name(text); got != want {
			t.Errorf("Name(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestSecret(t *testing.T) {
	for _, text := range []string{"qwerty", "0x is how it begins", "0sabc", "0X12", "a\x00b", "\xff\xfe", `"quoted" \ {#}`, " spaces  ", "ö", "\r\n", "\ufeff"} {
		if got, err := psk.ParseSecret(conftext.Secret([]byte(text))); err != nil || string(got) != text {
			t.Errorf("%q is written as %q and read as %q, %v", text, conftext.Secret([]byte(text)), got, err)
		}
	}
}

// FuzzSet looks whether anything that is given as a value or a comment can become more than that.
func FuzzSet(f *testing.F) {
	for _, value := range []string{"10.0.0.0/8", "a b", "a  b", "}", "#", `"`, `\`, "\\\n", "\n}\nsecrets {\n", "\r", "x\x00", "\xff", " "} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if value == "" {
			return // that is how the default is written
		}
		var w conftext.Writer
		w.Comment(value)
		w.Open("connections")
		w.Open(conftext.Name(value))
		for _, side := range []string{"local", "remote"} {
			w.Open(side)
			w.Set("auth", "psk")
			w.Set("id", "keyid:x")
			w.Close()
		}
		w.Close()
		w.Close()
		w.Open("secrets")
		w.Open("ike-1")
		w.Set("secret", conftext.Secret([]byte(value)))
		w.Close()
		w.Close()
		conf, _, err := config.Parse("test", []byte(w.String()), config.Options{})
		if err != nil {
			t.Fatalf("%v\n%s", err, w.String())
		}
		defer conf.Secrets.Wipe()
		if len(conf.Connections) != 1 || len(conf.SecretEntries) != 1 || conf.Connections[0].Name != conftext.Name(value) {
			t.Errorf("read back as something else:\n%s", w.String())
		}
	})
}
