package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// file is one that is installed.
type file struct {
	path   string // on the system
	source string
	mode   os.FileMode
	config bool // the administrator's to change
	// compress is for what Debian wants compressed, debian for its package alone.
	compress, debian bool
}

// contents are the files of an installation, the same in the package and in the archive.
func (b *build) contents() ([]file, error) {
	packaging := func(name string) string { return filepath.Join(b.repo, "packaging", name) }
	files := []file{
		{path: "/usr/bin/culvert", source: b.binary, mode: 0o755},
		{path: "/usr/lib/systemd/system/culvert.service", source: packaging("systemd/culvert.service")},
		{path: "/usr/lib/systemd/system/culvert.socket", source: packaging("systemd/culvert.socket")},
		{path: "/usr/lib/sysusers.d/culvert.conf", source: packaging("systemd/culvert.sysusers")},
		{path: "/usr/lib/tmpfiles.d/culvert.conf", source: packaging("systemd/culvert.tmpfiles")},
		{path: "/usr/share/polkit-1/rules.d/culvert.rules", source: packaging("systemd/culvert.rules")},
		{path: "/etc/culvert/culvert.conf", source: packaging("deb/culvert.conf"), mode: 0o640, config: true},
		{path: "/usr/share/bash-completion/completions/culvert", source: filepath.Join(b.shells, "bash")},
		{path: "/usr/share/zsh/vendor-completions/_culvert", source: filepath.Join(b.shells, "zsh")},
		{path: "/usr/share/fish/vendor_completions.d/culvert.fish", source: filepath.Join(b.shells, "fish")},
		{path: "/usr/share/doc/culvert/copyright", source: packaging("deb/copyright"), debian: true},
		{path: "/usr/share/lintian/overrides/culvert", source: packaging("deb/lintian-overrides"), debian: true},
	}
	pages, err := filepath.Glob(filepath.Join(b.pages, "*.[15]"))
	if err != nil {
		return nil, err
	}
	for _, page := range pages {
		section := strings.TrimPrefix(filepath.Ext(page), ".")
		files = append(files, file{path: "/usr/share/man/man" + section + "/" + filepath.Base(page), source: page, compress: true})
	}
	docs, err := filepath.Glob(filepath.Join(b.repo, "docs", "*.md"))
	if err != nil {
		return nil, err
	}
	for _, page := range append(docs, filepath.Join(b.repo, "README.md")) {
		if name := filepath.Base(page); !slices.Contains(forDevelopers, name) {
			files = append(files, file{path: "/usr/share/doc/culvert/" + name, source: page})
		}
	}
	for _, example := range []string{"prometheus/culvert.rules.yml", "grafana/culvert.json"} {
		files = append(files, file{path: "/usr/share/doc/culvert/examples/" + filepath.Base(example), source: packaging(example)})
	}
	for i := range files {
		if files[i].mode == 0 {
			files[i].mode = 0o644
		}
	}
	return files, nil
}

// forDevelopers are the pages of the documentation that nobody needs who uses a package.
var forDevelopers = []string{"architecture.md", "collisions.md", "conformance.md"}
