package main

import (
	"bytes"
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// compile makes the binary, static and without the paths of this machine.
func (b *build) compile() error {
	env := []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=" + b.arch, "GOFLAGS=", "GOAMD64=", "GOARM64="}
	if _, err := output(b.repo, env, "go", "build", "-trimpath", "-buildvcs=auto", "-ldflags=-s -w", "-o", b.binary, "./cmd/culvert"); err != nil {
		return err
	}
	if b.version != "" {
		return nil
	}
	info, err := buildinfo.ReadFile(b.binary)
	if err != nil {
		return err
	}
	b.version = version(info.Main.Version)
	return nil
}

// documents makes the manual pages and the completions, which are the same for all architectures.
func (b *build) documents(work string) error {
	b.pages, b.shells = filepath.Join(work, "man"), filepath.Join(work, "shells")
	for _, dir := range []string{b.pages, b.shells} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	env := []string{"CGO_ENABLED=0", "SOURCE_DATE_EPOCH=" + strconv.FormatInt(b.date.Unix(), 10)}
	if _, err := output(b.repo, env, "go", "run", "-tags", "culvert_man", "./cmd/culvert", b.pages, "docs/configuration.md"); err != nil {
		return err
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		script, err := output(b.repo, env, "go", "run", "./cmd/culvert", "completion", shell)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(b.shells, shell), []byte(script), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// copyBinary makes the bare binary a product.
func copyBinary(b *build) (string, error) {
	program, err := os.ReadFile(b.binary)
	if err != nil {
		return "", err
	}
	path := filepath.Join(b.out, fmt.Sprintf("culvert-%s-linux-%s", b.version.plain(), b.arch))
	return path, os.WriteFile(path, program, 0o755)
}

// version is one of Go's modules.
type version string

// plain is the version without Go's "v", 0.0.0 for what has none.
func (v version) plain() string {
	if v == "" || v == "(devel)" {
		return "0.0.0-unreleased"
	}
	return strings.TrimPrefix(string(v), "v")
}

// debian is the version in the order of Debian: what is before a release sorts before it (deb-version(7)).
func (v version) debian() string {
	number, before, found := strings.Cut(v.plain(), "-")
	if !found {
		return number
	}
	return number + "~" + strings.ReplaceAll(before, "-", ".")
}

// output runs a program in dir, with more variables, and returns what it printed.
func output(dir string, env []string, name string, args ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &stdout, &stderr
	cmd.Env = append(os.Environ(), env...)
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, stderr.String())
	}
	return stdout.String(), nil
}
