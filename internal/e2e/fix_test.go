//go:build linux

package e2e

import (
	"testing"

	"github.com/culvert-vpn/culvert/explain"
)

// TestApply pastes lines into a file: one setting takes the place of another, one is new, and one follows from what was there.
func TestApply(t *testing.T) {
	const conf = "connections {\n\tb {\n\t\tremote {\n\t\t\tid = @old\n\t\t}\n\t}\n}\nsecrets {\n\tike-b {\n\t\tsecret = \"abc\"\n\t}\n}\n"
	fix := explain.Fix{Lines: append(explain.Lines([]string{explain.Set("id", "C=CH, CN=new"), "revocation = relaxed"}, "connections", "a", "remote"),
		explain.Lines([]string{`secret = "<what stands there now>\n"`}, "secrets", "ike-a")...)}
	got, err := Apply(conf, fix, map[string]string{"a": "b", "ike-a": "ike-b"})
	Must(t, err)
	const want = "connections {\n\tb {\n\t\tremote {\n\t\t\tid = \"C=CH, CN=new\"\n\t\t\trevocation = relaxed\n\t\t}\n\t}\n}\n" +
		"secrets {\n\tike-b {\n\t\tsecret = \"abc\\n\"\n\t}\n}\n"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	fix = explain.Fix{Lines: explain.Lines([]string{"secret = <what nobody understands>"}, "secrets", "ike-b")}
	if _, err := Apply(conf, fix, nil); err == nil {
		t.Error("a secret that follows from nothing was applied")
	}
}
