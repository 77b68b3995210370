package explain

import (
	"strings"
	"testing"
)

func TestLines(t *testing.T) {
	got := strings.Join(Lines([]string{Set("id", "@foo"), SetList("x", []string{"a", "b"})}, "connections", "office", "remote"), "\n")
	want := "connections {\n  office {\n    remote {\n      id = @foo\n      x = a, b\n    }\n  }\n}"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestQuote(t *testing.T) {
	for value, want := range map[string]string{
		"@foo": "@foo", "*.example.com": "*.example.com", "10.0.0.0/8[tcp/80]": "10.0.0.0/8[tcp/80]", "": `""`,
		"@#00ff": `"@#00ff"`, "C=CH, CN=gw": `"C=CH, CN=gw"`, "a\"b\\c\n": `"a\"b\\c\n"`, "keyid:a b": `"keyid:a b"`, "a}": `"a}"`,
	} {
		if got := Quote(value); got != want {
			t.Errorf("Quote(%q) = %s, want %s", value, got, want)
		}
	}
}
