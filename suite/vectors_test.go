package suite

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"encoding/json"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// readVectors reads a file of published test vectors from the folder shared/vectors beside the repository, which not every
// checkout has.
func readVectors(t testing.TB, name string) []byte {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		if parent := filepath.Dir(dir); parent != dir {
			dir = parent
			continue
		}
		t.Skip("no go.mod above the package")
	}
	f, err := os.Open(filepath.Join(dir, "..", "shared", "vectors", filepath.FromSlash(name)))
	if err != nil {
		t.Skipf("published vectors are not here: %v", err)
	}
	defer f.Close()
	var r io.Reader = f
	if strings.HasSuffix(name, ".gz") {
		if r, err = gzip.NewReader(f); err != nil {
			t.Fatal(err)
		}
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func readJSON(t testing.TB, name string, into any) {
	t.Helper()
	if err := json.Unmarshal(readVectors(t, name), into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// hexBytes is a byte string that JSON writes in hexadecimal, the forms of the published files.
type hexBytes []byte

func (h *hexBytes) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	*h = b
	return err
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(strings.ReplaceAll(s, " ", ""), "\n", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// seeded is a source of randomness that is a function of its seed.
func seeded(seed byte) *rand.ChaCha8 { return rand.NewChaCha8([32]byte{seed}) }

func randomBytes(r io.Reader, n int) []byte {
	b := make([]byte, n)
	io.ReadFull(r, b)
	return b
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// fails is a source of randomness that has none.
type fails struct{}

func (fails) Read([]byte) (int, error) { return 0, io.ErrClosedPipe }

// repeats gives one byte for ever.
type repeats byte

func (r repeats) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(r)
	}
	return len(p), nil
}
