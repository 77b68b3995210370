//go:build linux

package e2e

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/culvert-vpn/culvert/internal/lab"
)

// T is what a scenario needs of its test. Every *testing.T and *testing.B is one; a program that runs scenarios
// outside of tests brings its own.
type T interface {
	lab.T
	Name() string
	Logf(format string, args ...any)
	Skipf(format string, args ...any) // does not return
	ArtifactDir() string              // outlives the test when the user asked for artifacts
}

// RequireRoot ends the test when it may not make network namespaces: as a skip, or with CI=true as a failure.
func RequireRoot(t T) {
	t.Helper()
	if err := lab.Usable(); err != nil {
		cannotRun(t, "%v", err)
	}
}

// RequireTools ends the test when the peers and tools can neither be found nor fetched: as a skip, or with CI=true
// as a failure.
func RequireTools(t T) *Tools {
	t.Helper()
	tools, err := OpenTools()
	if err != nil {
		cannotRun(t, "%v", err)
	}
	return tools
}

func cannotRun(t T, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// Must fails the test at the first error that is not nil.
func Must(t T, errs ...error) {
	t.Helper()
	lab.Must(t, errs...)
}

// workDir is where a scenario leaves its captures, logs and configurations. It goes when the test ends, unless the
// user asked to keep it.
func workDir(t T) string {
	t.Helper()
	keep := os.Getenv("CULVERT_E2E_KEEP")
	if keep == "" {
		return t.ArtifactDir()
	}
	name := strings.NewReplacer("/", "_", " ", "_").Replace(t.Name())
	dir, err := filepath.Abs(filepath.Join(keep, name))
	Must(t, err, os.MkdirAll(dir, 0o755))
	// A name per run: `go test -count=2` must not overwrite what the first run left.
	dir, err = os.MkdirTemp(dir, "run-")
	Must(t, err)
	t.Logf("kept in %s", dir)
	return dir
}
