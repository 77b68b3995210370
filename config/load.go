package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/culvert-vpn/culvert/ident"
	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/offload"
	"github.com/culvert-vpn/culvert/psk"
)

// Config is the policy that a configuration describes.
type Config struct {
	// Connections in the order of the files.
	Connections []*ike.Connection
	// Shunts are the policies without a tunnel that are in force.
	Shunts []Shunt
	// Retransmit is the schedule of unanswered requests to peers whose connection has no other.
	Retransmit ike.Retransmit
	// NoOffload are the fast paths to do without.
	NoOffload offload.Set
	// Pools in the order of the files.
	Pools []*ike.Pool
	// Secrets holds the pre-shared keys.
	Secrets *psk.Store
	// SecretEntries says which secrets there are and whose they are, in the order of the files.
	SecretEntries []SecretEntry
	// Files are the names of the files that were read, the first one first.
	Files []string

	breakFirst, stayPut bool     // make_before_break = no and follow_redirects = no, of the section charon
	connections         *section // as written, with what is inherited
}

// SecretEntry describes a secret without giving it away.
type SecretEntry struct {
	Name   string          // of its section, such as "ike-foo"
	Owners []ident.Pattern // none: it matches any peer
	Pos    Pos
}

// Source is the text of one file.
type Source struct {
	Name string // in positions
	Text []byte
	// Mode is the file's permissions. A file that others than its owner may access must hold no secret, unless these
	// are Group and may only read it. The zero Mode is for text that comes from elsewhere.
	Mode fs.FileMode
	// Daemons says that the file belongs to the group called Group.
	Daemons bool
}

// Options are what Parse needs from outside.
type Options struct {
	// Include returns the files that an include statement names, in order. from is the name of the file
	// that holds the statement. If it is nil, an include statement is an error.
	Include func(from, pattern string) ([]Source, error)
}

// Parse reads a configuration from text; name stands for it in positions. The error is of type Errors and
// holds everything that is wrong; the Config is nil then. Warnings are returned in both cases. text is
// borrowed, but strings made of it, secrets among them, live until they are collected.
func Parse(name string, text []byte, o Options) (*Config, []Warning, error) {
	return parseSource(Source{Name: name, Text: text}, o)
}

// Load reads a configuration from a file and the files it includes. Its results are those of Parse.
func Load(path string) (*Config, []Warning, error) {
	src, err := readFile(path)
	if err != nil {
		return nil, nil, Errors{{Pos: Pos{File: path, Line: 1, Col: 1}, Msg: err.Error()}}
	}
	return parseSource(src, Options{Include: readIncluded})
}

func parseSource(src Source, o Options) (*Config, []Warning, error) {
	r := &report{}
	l := &loader{report: r, include: o.Include, exposed: map[string]Source{}}
	root := newSection("", Pos{File: src.Name, Line: 1, Col: 1})
	l.read(src, root, 0)
	c := build(root, l.exposed, r)
	c.Files = r.files
	warnings, err := r.result()
	if err != nil {
		c.Secrets.Wipe()
		return nil, warnings, err
	}
	return c, warnings, nil
}

// maxFile bounds the size of one file.
const maxFile = 16 << 20

func readFile(path string) (Source, error) {
	f, err := os.Open(path)
	if err != nil {
		return Source{}, plainly(err)
	}
	defer f.Close()
	info, err := f.Stat() // of what is read, not of what the name may mean a moment later
	if err != nil {
		return Source{}, plainly(err)
	}
	if info.IsDir() {
		return Source{}, fmt.Errorf("%q is a directory", path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return Source{}, plainly(err)
	}
	if len(text) > maxFile {
		return Source{}, fmt.Errorf("%q has more than %d bytes", path, maxFile)
	}
	return Source{Name: path, Text: text, Mode: info.Mode(), Daemons: info.Mode().Perm()&0o077 != 0 && belongsTo(info, Group)}, nil
}

// Group is the name of the group that the daemon runs in where it runs as a user of its own. Nobody else is in it, so
// that the files which its members may read are no less secret than those of a single user.
const Group = "culvert"

// belongsTo reports whether a file is a group's, by the name of the group.
func belongsTo(info fs.FileInfo, group string) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return false
	}
	g, err := user.LookupGroup(group)
	return err == nil && g.Gid == strconv.FormatUint(uint64(stat.Gid), 10)
}

// plainly words an error of the file system for a user.
func plainly(err error) error {
	if e, ok := err.(*fs.PathError); ok {
		if me := os.Geteuid(); me != 0 && errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("cannot read %q: %w for user %d; if that is the daemon's own user: chgrp %s %s && chmod 640 %[5]s",
				e.Path, e.Err, me, Group, quoteShell(e.Path))
		}
		return fmt.Errorf("cannot read %q: %w", e.Path, e.Err)
	}
	return err
}

// readIncluded reads the files that pattern names, seen from the file it stands in. A pattern with
// wildcards may match nothing, a plain name must exist.
func readIncluded(from, pattern string) ([]Source, error) {
	if !filepath.IsAbs(pattern) {
		pattern = filepath.Join(filepath.Dir(from), pattern)
	}
	paths, err := filepath.Glob(pattern)
	if err != nil {
		return nil, fmt.Errorf("the pattern %q is malformed", pattern)
	}
	if len(paths) == 0 && !strings.ContainsAny(pattern, `*?[`) {
		return nil, fmt.Errorf("there is no file %q", pattern)
	}
	var sources []Source
	var unread []string
	for _, path := range paths {
		src, err := readFile(path)
		if err != nil {
			unread = append(unread, err.Error())
			continue
		}
		sources = append(sources, src)
	}
	if unread != nil {
		return sources, errors.New(strings.Join(unread, "; "))
	}
	return sources, nil
}
