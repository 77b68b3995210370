package main

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// makeArchive makes an archive of the files as they lie on a system, to be unpacked at its root where there is no package.
func makeArchive(b *build) (name string, err error) {
	list, err := b.contents()
	if err != nil {
		return "", err
	}
	slices.SortFunc(list, func(x, y file) int { return strings.Compare(x.path, y.path) })
	name = filepath.Join(b.out, fmt.Sprintf("culvert-%s-linux-%s.tar.gz", b.version.plain(), b.arch))
	out, err := os.Create(name)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	zip, err := gzip.NewWriterLevel(out, gzip.BestCompression)
	if err != nil {
		return "", err
	}
	archive := tar.NewWriter(zip)
	for _, f := range list {
		if f.debian {
			continue
		}
		text, err := os.ReadFile(f.source)
		if err != nil {
			return "", err
		}
		header := &tar.Header{Name: "." + f.path, Mode: int64(f.mode), Size: int64(len(text)), ModTime: b.date, Uname: "root", Gname: "root", Format: tar.FormatUSTAR}
		if err := archive.WriteHeader(header); err != nil {
			return "", err
		}
		if _, err := archive.Write(text); err != nil {
			return "", err
		}
	}
	return name, errors.Join(archive.Close(), zip.Close())
}
