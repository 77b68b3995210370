package explain

import (
	"flag"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/troubleshooting.md")

// TestPage wants the page to be what the catalogue says.
func TestPage(t *testing.T) {
	const path = "../docs/troubleshooting.md"
	page := Page()
	if *update {
		if err := os.WriteFile(path, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	was, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(was) != page {
		t.Errorf("%s is not what the catalogue says: go test ./explain -run TestPage -update", path)
	}
	for _, e := range Catalogue() {
		for _, s := range e.Symptoms {
			if !strings.Contains(page, s) {
				t.Errorf("the symptom %q is not in the page", s)
			}
		}
	}
}
