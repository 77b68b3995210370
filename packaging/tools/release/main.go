// Command release builds what is published of Culvert: a static binary, a Debian package, an archive for other systems and a list of
// the components (SBOM) for each architecture, and the checksums of all. What it makes is a function of the commit and of the version
// of Go, byte for byte.
//
//	go run ./release -repo ../.. -out ../../dist -arch amd64,arm64 deb tar
package main

import (
	"crypto/sha256"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

func main() {
	repo := flag.String("repo", "../..", "`directory` of the checkout")
	out := flag.String("out", "../../dist", "`directory` for what is built")
	archs := flag.String("arch", "amd64,arm64", "`names` of architectures, as Go has them")
	number := flag.String("version", "", "the `version` of the packages, if not that of the commit")
	flag.Parse()
	b := &build{version: version(*number)}
	if err := b.release(*repo, *out, strings.Split(*archs, ","), flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

// build is one architecture of a release.
type build struct {
	repo    string // the checkout
	out     string // where the results go
	arch    string // as Go has it
	version version
	date    time.Time // of every file in it
	binary  string
	pages   string // the directory of the manual pages
	shells  string // and of the completions
}

// products are what can be built of a build, by the word for it on the command line. Each returns the file it made.
var products = map[string]func(*build) (string, error){
	"binary": copyBinary,
	"deb":    makeDeb,
	"tar":    makeArchive,
	"sbom":   makeSBOM,
}

// release makes products for architectures and writes their checksums.
func (b *build) release(repo, out string, archs, wanted []string) error {
	repo, err := filepath.Abs(repo)
	if err != nil {
		return err
	}
	if out, err = filepath.Abs(out); err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "culvert-release-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	b.repo, b.out = repo, out
	if b.date, err = dateOf(repo); err != nil {
		return err
	}
	if err := b.documents(work); err != nil {
		return err
	}
	var files []string
	for _, arch := range archs {
		b.arch, b.binary = arch, filepath.Join(work, arch, "culvert")
		if err := b.compile(); err != nil {
			return err
		}
		for _, name := range wanted {
			product := products[name]
			if product == nil {
				return fmt.Errorf("nothing is called %q: there are binary, deb, tar and sbom", name)
			}
			file, err := product(b)
			if err != nil {
				return fmt.Errorf("%s for %s: %w", name, arch, err)
			}
			fmt.Println(file)
			files = append(files, file)
		}
	}
	return writeSums(filepath.Join(out, "SHA256SUMS"), files)
}

// dateOf is the date of all that is built: SOURCE_DATE_EPOCH, or else that of the commit.
func dateOf(repo string) (time.Time, error) {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		out, err := output(repo, nil, "git", "log", "-1", "--format=%ct")
		if err != nil {
			return time.Time{}, fmt.Errorf("no commit to take the date from, and no SOURCE_DATE_EPOCH: %w", err)
		}
		text = strings.TrimSpace(out)
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	return time.Unix(seconds, 0).UTC(), err
}

// writeSums writes the checksums of files as sha256sum does.
func writeSums(path string, files []string) error {
	var sums strings.Builder
	slices.Sort(files)
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256(text), filepath.Base(f))
	}
	return os.WriteFile(path, []byte(sums.String()), 0o644)
}
