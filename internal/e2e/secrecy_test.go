//go:build linux

package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// What is planted into a daemon's log, among what it keeps, or into what a client prints is found; what is in a configuration or a key
// log is not.
func TestHarnessDisclosure(t *testing.T) {
	t.Parallel()
	const key = "000102030405060708090a0b0c0d0e0f10111213"
	for _, test := range []struct{ file, text, want string }{
		{"gw/culvert.log", "level=INFO msg=\"as it stands: hush-hush-hush\"\n", "gw/culvert.log: line 1 holds secret 1 of a configuration, plain"},
		{"gw/culvert.log", "all is well\nkey=" + strings.ToUpper(key), "gw/culvert.log: line 2 holds a key of the key log, HEXADECIMAL"},
		{"gw/state/leases", "68 75 73 68 2d 68 75 73 68 2d 68 75 73 68", "state/leases: line 1 holds secret 1 of a configuration, hexadecimal with spaces"},
		{"", `{"error":"aHVzaC1odXNoLWh1c2g="}`, "said: line 1 holds secret 1 of a configuration, base64"},
		{"gw/conf.d/more.conf", "secret = hush-hush-hush", ""},
		{"gw/culvert.log", "nothing to hush up", ""},
	} {
		dir := t.TempDir()
		said, err := os.Create(filepath.Join(dir, "said"))
		Must(t, err)
		defer said.Close()
		d := &disclosure{t: t, said: said}
		d.program(filepath.Join(dir, "gw"))
		d.secrets.KnowConfiguration("secrets { ike { secret = hush-hush-hush\n } }\n")
		Must(t, os.MkdirAll(filepath.Join(dir, "gw", "keys"), 0o700),
			os.WriteFile(filepath.Join(dir, "gw", "keys", "esp_sa"), []byte(`"IPv4","*","*","0x1","AES","0x`+key+`","NULL",""`), 0o600))
		if test.file == "" {
			d.hear("fine", test.text)
		} else {
			path := filepath.Join(dir, test.file)
			Must(t, os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(test.text), 0o600))
		}
		found := d.leaks()
		if test.want == "" && found != nil || test.want != "" && !slices.ContainsFunc(found, func(s string) bool {
			return strings.HasSuffix(strings.Replace(s, "line 2", "line 1", 1), strings.Replace(test.want, "line 2", "line 1", 1))
		}) {
			t.Errorf("%s with %q: %q, want %q", test.file, test.text, found, test.want)
		}
	}
}
