package config

import (
	"os"
	"strings"
	"testing"
)

// TestReloadTableIsComplete: the manual says of every key that is obeyed what a change of it does to what is up. What it says is
// compared with what happens by a test of package ike.
func TestReloadTableIsComplete(t *testing.T) {
	manual, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(manual), "## Loading it again")
	section, _, _ = strings.Cut(section, "\n## ")
	nothing := []string{"version", "encap"} // have one value only
	check := func(name string, obeyed bool) {
		for _, n := range nothing {
			obeyed = obeyed && n != name
		}
		if obeyed && !strings.Contains(section, "`"+name+"`") {
			t.Errorf("docs/configuration.md does not say what a change of %s does", name)
		}
	}
	for _, k := range connectionKeys {
		check(k.name, k.set != nil)
	}
	for _, k := range childKeys {
		check(k.name, k.set != nil)
	}
}
