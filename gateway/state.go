package gateway

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// state is the directory in which a gateway keeps what outlives it. It belongs to one gateway at a time.
type state struct {
	path string
	dir  *os.File // locked
}

// openState opens the directory, which it makes if there is none.
func openState(path string) (*state, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, err
	}
	dir, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		dir.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("another gateway uses the directory %s: give each its own", path)
		}
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	return &state{path: path, dir: dir}, nil
}

func (s *state) close() { s.dir.Close() }

// The file of the secret for crash detection and its length in bytes (RFC 6290 5.1).
const (
	tokenSecretFile = "crash-detection.secret"
	tokenSecretLen  = 32
)

// tokenSecret reads the secret. If there is none that is as it should be, and that nobody else could read, it makes one with random.
func (s *state) tokenSecret(random func([]byte) error) ([]byte, error) {
	name := filepath.Join(s.path, tokenSecretFile)
	info, err := os.Lstat(name)
	switch {
	case err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o077 == 0 && info.Size() == tokenSecretLen:
		return os.ReadFile(name)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	secret := make([]byte, tokenSecretLen)
	if err := random(secret); err != nil {
		return nil, err
	}
	if err := s.write(name, secret); err != nil {
		clear(secret)
		return nil, err
	}
	return secret, nil
}

// write puts a file in place that is there as a whole or not at all, also after a power cut.
func (s *state) write(name string, data []byte) error {
	f, err := os.CreateTemp(s.path, ".new-*") // for the owner only
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // does nothing once it has its name
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(f.Name(), name); err != nil {
		return err
	}
	return s.dir.Sync()
}

// remember opens what is kept from one run to the next. Without it the gateway runs as well, so that an error is told and no more.
func (g *Gateway) remember() (forget func()) {
	if g.options.state == "" {
		return func() {}
	}
	s, err := openState(g.options.state)
	if err == nil {
		g.tokenSecret, err = s.tokenSecret(func(b []byte) error { _, err := g.options.rand.Read(b); return err })
	}
	if err != nil {
		g.options.log.Warn("nothing is kept from one run to the next, so peers notice late when this gateway crashes", "error", err)
	}
	return func() {
		clear(g.tokenSecret)
		if s != nil {
			s.close()
		}
	}
}
