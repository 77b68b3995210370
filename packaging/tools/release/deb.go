package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/goreleaser/nfpm/v2"
	"github.com/goreleaser/nfpm/v2/deb"
	"github.com/goreleaser/nfpm/v2/files"
)

// maintainer is who answers for the package.
const maintainer = "The Culvert authors <culvert-vpn@users.noreply.github.com>"

// makeDeb makes Debian's package.
func makeDeb(b *build) (string, error) {
	temp, err := os.MkdirTemp("", "culvert-deb-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(temp)
	info, err := b.describe(temp)
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	if err := deb.Default.Package(nfpm.WithDefaults(info), &out); err != nil {
		return "", err
	}
	path := filepath.Join(b.out, deb.Default.ConventionalFileName(info))
	return path, os.WriteFile(path, out.Bytes(), 0o644)
}

// describe is the description of the package for nfpm. Files that are made for it are in temp.
func (b *build) describe(temp string) (*nfpm.Info, error) {
	contents, err := b.debianContents(temp)
	if err != nil {
		return nil, err
	}
	script := func(name string) string { return filepath.Join(b.repo, "packaging", "deb", name) }
	return &nfpm.Info{
		Name: "culvert", Arch: b.arch, Platform: "linux", Version: b.version.debian(), VersionSchema: "none", Release: "1",
		Section: "net", Priority: "optional", Maintainer: maintainer, Homepage: "https://github.com/culvert-vpn/culvert",
		Description: `IKEv2 and ESP gateway in user space
Culvert connects networks with IKEv2 and ESP. It works when one or both
gateways sit behind NAT, speaks to other implementations, and tells what is
wrong when a tunnel does not come up. It needs no IPsec in the kernel.`,
		MTime: b.date,
		Overridables: nfpm.Overridables{
			Contents: contents,
			Depends:  []string{"init-system-helpers (>= 1.54)", "passwd", "systemd | systemd-standalone-sysusers", "systemd | systemd-standalone-tmpfiles"},
			Suggests: []string{"polkitd"},
			Scripts:  nfpm.Scripts{PostInstall: script("postinst"), PreRemove: script("prerm"), PostRemove: script("postrm")},
			Deb:      nfpm.Deb{Compression: "xz"},
		},
	}, nil
}

// debianContents are the contents in the form of Debian: pages of the manual, and long documents, are compressed.
func (b *build) debianContents(temp string) (files.Contents, error) {
	list, err := b.contents()
	if err != nil {
		return nil, err
	}
	contents := files.Contents{
		{Destination: "/etc/culvert", Type: files.TypeDir, FileInfo: &files.ContentFileInfo{Mode: 0o750, MTime: b.date}},
		{Destination: "/etc/culvert/conf.d", Type: files.TypeDir, FileInfo: &files.ContentFileInfo{Mode: 0o750, MTime: b.date}},
	}
	changes := filepath.Join(temp, "changelog.Debian")
	text := fmt.Sprintf("culvert (%s-1) unstable; urgency=medium\n\n  * https://github.com/culvert-vpn/culvert tells what has changed.\n\n -- %s  %s\n",
		b.version.debian(), maintainer, b.date.Format(time.RFC1123Z))
	if err := os.WriteFile(changes, []byte(text), 0o644); err != nil {
		return nil, err
	}
	list = append(list, file{path: "/usr/share/doc/culvert/changelog.Debian", source: changes, mode: 0o644, compress: true})
	for _, f := range list {
		c := &files.Content{Source: f.source, Destination: f.path, FileInfo: &files.ContentFileInfo{Mode: f.mode, MTime: b.date}}
		switch {
		case f.config:
			c.Type = files.TypeConfigNoReplace
		case f.compress:
			c.Destination += ".gz"
			if c.Source, err = b.compress(temp, f.source); err != nil {
				return nil, err
			}
		}
		// Debian 12 has the units of packages in /lib, which is the same directory.
		if rest, ok := strings.CutPrefix(c.Destination, "/usr/lib/systemd/"); ok {
			c.Destination = "/lib/systemd/" + rest
		}
		contents = append(contents, c)
	}
	return contents, nil
}

// compress makes a compressed copy of a file that does not tell when or of what it was made.
func (b *build) compress(temp, source string) (string, error) {
	text, err := os.ReadFile(source)
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return "", err
	}
	if _, err := w.Write(text); err != nil {
		return "", err
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	path := filepath.Join(temp, filepath.Base(source)+".gz")
	return path, os.WriteFile(path, out.Bytes(), 0o644)
}
