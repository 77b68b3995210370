package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/xeipuuv/gojsonschema"
)

// checkout copies what git knows of the repository, with the changes to it, into a directory of its own.
func checkout(t *testing.T, dir string) string {
	t.Helper()
	list, err := output("../../..", nil, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	if err != nil {
		t.Fatal(err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(list, "\x00"), "\x00") {
		text, err := os.ReadFile(filepath.Join("../../..", name))
		if os.IsNotExist(err) {
			continue // deleted, and not committed yet
		}
		path := filepath.Join(dir, name)
		if err == nil {
			err = os.MkdirAll(filepath.Dir(path), 0o755)
		}
		if err == nil {
			err = os.WriteFile(path, text, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// Two builds at two places and times are the same, byte for byte.
func TestReproducible(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	var first map[string][]byte
	for _, place := range []string{"a", "another/place"} {
		repo, out := checkout(t, filepath.Join(t.TempDir(), place)), t.TempDir()
		b := build{}
		if err := b.release(repo, out, []string{runtime.GOARCH}, []string{"binary", "deb", "tar", "sbom"}); err != nil {
			t.Fatal(err)
		}
		made := map[string][]byte{}
		entries, err := os.ReadDir(out)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			text, err := os.ReadFile(filepath.Join(out, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			made[e.Name()] = text
			if bytes.Contains(text, []byte(repo)) {
				t.Errorf("%s tells where it was built", e.Name())
			}
		}
		if first == nil {
			if len(made) != 5 {
				t.Errorf("%d files were built, want 5", len(made))
			}
			first = made
			inspect(t, out, made)
			continue
		}
		for name, text := range first {
			if !bytes.Equal(text, made[name]) {
				t.Errorf("%s is another one in the second build", name)
			}
		}
	}
}

// lacking tells of what cannot be tested on this machine, which is a failure where everything has to be.
func lacking(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Errorf(format, args...)
		return
	}
	t.Logf(format, args...)
}

// inspect looks at what was built.
func inspect(t *testing.T, dir string, made map[string][]byte) {
	t.Helper()
	for name, text := range made {
		switch {
		case strings.HasSuffix(name, ".cdx.json"):
			checkSBOM(t, text)
		case strings.HasSuffix(name, ".tar.gz"):
			checkArchive(t, text)
		case name == "SHA256SUMS":
			if _, err := output(dir, nil, "sha256sum", "--check", "--strict", "SHA256SUMS"); err != nil {
				t.Error(err)
			}
		case strings.HasSuffix(name, ".deb"):
			if _, err := exec.LookPath("dpkg-deb"); err != nil {
				lacking(t, "what is in %s is not looked at: %v", name, err)
				continue
			}
			list, err := output(dir, nil, "dpkg-deb", "--contents", name)
			for _, want := range []string{"-rw-r----- root/root", "./etc/culvert/culvert.conf", "./usr/bin/culvert", "./lib/systemd/system/culvert.service", "./usr/share/man/man1/culvert-run.1.gz", "./usr/share/man/man5/culvert.conf.5.gz"} {
				if err != nil || !strings.Contains(list, want) {
					t.Errorf("the package has no %s: %v\n%s", want, err, list)
				}
			}
		default:
			program, err := elf.NewFile(bytes.NewReader(text))
			if err != nil {
				t.Fatal(err)
			}
			if libraries, err := program.ImportedLibraries(); err != nil || len(libraries) > 0 || program.Section(".interp") != nil {
				t.Errorf("the binary is not static: %v, %v", libraries, err)
			}
		}
	}
}

// checkSBOM validates a list of components against the schema that comes with the library.
func checkSBOM(t *testing.T, text []byte) {
	t.Helper()
	dir, err := output(".", nil, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/CycloneDX/cyclonedx-go")
	if err != nil {
		t.Fatal(err)
	}
	schema := func(name string) gojsonschema.JSONLoader {
		text, err := os.ReadFile(filepath.Join(strings.TrimSpace(dir), "schema", name))
		if err != nil {
			t.Fatal(err)
		}
		return gojsonschema.NewBytesLoader(text)
	}
	loader := gojsonschema.NewSchemaLoader()
	if err := loader.AddSchemas(schema("jsf-0.82.schemax.json"), schema("spdx.schema.json")); err != nil {
		t.Fatal(err)
	}
	compiled, err := loader.Compile(schema("bom-1.6.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	result, err := compiled.Validate(gojsonschema.NewBytesLoader(text))
	if err != nil || !result.Valid() {
		t.Errorf("the list of components is not valid: %v %v", err, result.Errors())
	}
	var bom cdx.BOM
	if err := json.Unmarshal(text, &bom); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"std", "golang.org/x/crypto", "github.com/spf13/cobra"} {
		found := false
		for _, c := range *bom.Components {
			found = found || c.Name == want && c.Version != ""
		}
		if !found {
			t.Errorf("the list of components has no %s", want)
		}
	}
}

// checkArchive looks for the files that a system needs.
func checkArchive(t *testing.T, text []byte) {
	t.Helper()
	zip, err := gzip.NewReader(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	modes := map[string]int64{}
	for archive := tar.NewReader(zip); ; {
		h, err := archive.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		modes[h.Name] = h.Mode
	}
	for name, mode := range map[string]int64{"./usr/bin/culvert": 0o755, "./etc/culvert/culvert.conf": 0o640, "./usr/lib/systemd/system/culvert.service": 0o644, "./usr/lib/sysusers.d/culvert.conf": 0o644} {
		if modes[name] != mode {
			t.Errorf("%s has mode %o in the archive, want %o", name, modes[name], mode)
		}
	}
}

// Versions sort in Debian as in Go.
func TestVersions(t *testing.T) {
	for v, want := range map[version][2]string{
		"v1.2.3":      {"1.2.3", "1.2.3"},
		"v1.2.3-rc.1": {"1.2.3-rc.1", "1.2.3~rc.1"},
		"v0.0.0-20261123012648-59455e68fc2a+dirty": {"0.0.0-20261123012648-59455e68fc2a+dirty", "0.0.0~20261123012648.59455e68fc2a+dirty"},
		"(devel)": {"0.0.0-unreleased", "0.0.0~unreleased"},
	} {
		if plain, deb := v.plain(), v.debian(); plain != want[0] || deb != want[1] {
			t.Errorf("%s is %s and %s, want %v", v, plain, deb, want)
		}
	}
}
