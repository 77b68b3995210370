//go:build linux

package e2e

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/culvert-vpn/culvert/internal/secrecy"
)

// disclosure finds what must not be told in what the programs of a scenario have written: the secrets of their configurations, and the
// keys of their key logs.
type disclosure struct {
	t        T
	secrets  secrecy.Secrets
	mu       sync.Mutex
	programs []string // the directories of the daemons
	said     *os.File // what other programs have printed, those that ask a daemon among them
}

// watchDisclosure looks when the test ends.
func watchDisclosure(t T, dir string) *disclosure {
	t.Helper()
	said, err := os.Create(filepath.Join(dir, "said"))
	Must(t, err)
	d := &disclosure{t: t, said: said}
	t.Cleanup(func() {
		leaks := d.leaks()
		_ = said.Close()
		if leaks != nil {
			t.Fatalf("secrets are told:\n%s", strings.Join(leaks, "\n"))
		}
	})
	return d
}

// program adds the directory of a daemon.
func (d *disclosure) program(dir string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.programs = append(d.programs, dir)
}

// hear keeps what a program has printed until the keys are known.
func (d *disclosure) hear(texts ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, text := range texts {
		_, err := d.said.WriteString(text + "\n")
		Must(d.t, err)
	}
}

// leaks lists where a secret or a key is. Configurations and key logs are left out, where they belong.
func (d *disclosure) leaks() (found []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var files []string
	for _, dir := range d.programs {
		_ = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			switch {
			case err != nil || strings.HasSuffix(path, ".conf") || !entry.Type().IsRegular() && !entry.IsDir():
			case entry.IsDir() && entry.Name() == "keys":
				tables, _ := filepath.Glob(filepath.Join(path, "*"))
				for _, table := range tables {
					text, _ := os.ReadFile(table)
					d.secrets.KnowKeys(text)
				}
				return fs.SkipDir
			case !entry.IsDir():
				files = append(files, path)
			}
			return nil
		})
	}
	for _, path := range append(files, d.said.Name()) {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it went while we looked
		}
		for _, leak := range d.secrets.Find(text) {
			found = append(found, filepath.Base(filepath.Dir(path))+"/"+filepath.Base(path)+": "+leak)
		}
	}
	return found
}
