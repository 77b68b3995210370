package config_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/culvert-vpn/culvert/config"
)

// fenced are the configurations in the pages about peers: Culvert's, and those of strongSwan, which are of the same language.
var fenced = regexp.MustCompile("(?ms)^```(culvert|strongswan)\n(.*?)^```$")

// TestPeerPages loads every configuration of docs/peers: each is a whole file that is accepted as it stands, without a
// warning.
func TestPeerPages(t *testing.T) {
	pages, err := filepath.Glob("../docs/peers/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatal("no pages", err)
	}
	index, err := os.ReadFile("../docs/peers/README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range pages {
		name := filepath.Base(page)
		if name == "README.md" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(page)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(index), "("+name+")") {
				t.Error("docs/peers/README.md does not name it")
			}
			found := fenced.FindAllSubmatch(text, -1)
			if len(found) == 0 || string(found[0][1]) != "culvert" {
				t.Fatal("it does not begin with a configuration of Culvert's")
			}
			for _, f := range found {
				load(t, string(f[1]), f[2])
			}
		})
	}
}

func load(t *testing.T, whose string, text []byte) {
	file := filepath.Join(t.TempDir(), whose+".conf")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	conf, warnings, err := config.Load(file)
	if err != nil {
		t.Fatalf("%s: %v", whose, err)
	}
	if len(conf.Connections) == 0 {
		t.Errorf("%s: there is no connection in it", whose)
	}
	for _, w := range warnings {
		t.Errorf("%s: %v", whose, w)
	}
}
