package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/culvert-vpn/culvert/config"
)

// file is a configuration that was made, and where it is put.
type file struct {
	gateway    string // whose it is
	peer       string // the other end's name
	text       string
	here       bool // it is for this machine
	strongSwan bool
	path       string
}

// placement says where new files go.
type placement struct {
	etc    string // the directory of the configuration here
	both   string // a directory for all files, instead
	stdout bool
	force  bool
	// created is the main file, if it had to be made; included whether it reads conf.d.
	created  string
	included bool
}

func (p *placement) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&p.etc, "etc", filepath.Dir(defaultConfig), "directory of the configuration of this gateway")
	f.StringVar(&p.both, "both-files", "", "write all files into this directory, and nothing elsewhere")
	f.BoolVar(&p.stdout, "stdout", false, "write no files, print them (not to a terminal: they hold the secret)")
	f.BoolVar(&p.force, "force", false, "overwrite files that exist")
}

// mainText is the first configuration of a gateway: it holds no secret, and each tunnel has a file of its own.
const mainText = "# Culvert: each tunnel has a file of its own, see culvert new --help\ninclude conf.d/*.conf\n"

// includes finds the statement in a main file that somebody has written.
var includes = regexp.MustCompile(`(?m)^[ \t]*include[ \t]+"?(\S*/)?conf\.d/\*(\.conf)?"?[ \t]*(#.*)?$`)

// write checks all files, and then writes all of them, or none if one cannot be. It sets their paths.
func (p *placement) write(cmd *cobra.Command, files ...*file) error {
	for _, f := range files {
		conf, warnings, err := config.Parse(f.gateway+".conf", []byte(f.text), config.Options{})
		for _, w := range warnings {
			fmt.Fprintln(cmd.ErrOrStderr(), w)
		}
		if err != nil {
			return err
		}
		conf.Secrets.Wipe()
	}
	if p.stdout {
		return p.print(cmd, files)
	}
	var all []*file
	for _, f := range files {
		switch {
		case p.both != "":
			f.path = filepath.Join(p.both, "culvert-"+f.gateway+".conf")
		case f.here:
			f.path = filepath.Join(p.etc, "conf.d", f.peer+".conf")
			main := filepath.Join(p.etc, filepath.Base(defaultConfig))
			text, err := os.ReadFile(main)
			switch {
			case errors.Is(err, fs.ErrNotExist):
				p.created, p.included = main, true
				all = append(all, &file{path: main, text: mainText})
			case err != nil:
				return err
			default:
				p.included = includes.Match(text)
			}
		default:
			f.path = "culvert-" + f.gateway + ".conf"
		}
		all = append(all, f)
	}
	err := writeAll(all, p.force)
	switch {
	case errors.Is(err, fs.ErrPermission) && p.both == "":
		return fmt.Errorf("%w; be root, or write all files elsewhere with --both-files DIR", err)
	case err == nil && p.both == "":
		p.whole(cmd)
	}
	return err
}

// whole tells what is wrong with the configuration of this gateway now that there is one more tunnel in it. What was written is in
// order by itself.
func (p *placement) whole(cmd *cobra.Command) {
	conf, warnings, err := config.Load(filepath.Join(p.etc, filepath.Base(defaultConfig)))
	for _, w := range warnings {
		fmt.Fprintln(cmd.ErrOrStderr(), w)
	}
	if err != nil {
		fmt.Fprintf(cmd.ErrOrStderr(), "%v\nculvert: together with what was there before, the configuration is not accepted: see above\n", err)
		return
	}
	conf.Secrets.Wipe()
}

// print writes the files one after the other, where nobody is looking.
func (p *placement) print(cmd *cobra.Command, files []*file) error {
	if isTerminal(cmd.OutOrStdout()) {
		return usage("--stdout would show the secret on this terminal; direct it into a file or a program, or use --both-files DIR")
	}
	for _, f := range files {
		if _, err := fmt.Fprintf(cmd.OutOrStdout(), "### culvert-%s.conf\n%s\n", f.gateway, f.text); err != nil {
			return err
		}
	}
	return nil
}

// writeAll writes all files, readable by their owner only. Before the first it looks whether one of them exists; if one cannot be
// written it takes away those that it has made.
func writeAll(files []*file, force bool) error {
	if !force {
		for _, f := range files {
			if _, err := os.Lstat(f.path); err == nil {
				return fmt.Errorf("%s exists already; nothing was written. Give --force to overwrite it: the former secret is lost then", f.path)
			}
		}
	}
	var made []string
	for _, f := range files {
		if err := writePrivate(f.path, []byte(f.text), force); err != nil {
			for _, path := range made {
				err = cmp.Or(err, os.Remove(path))
			}
			return err
		}
		if !force {
			made = append(made, f.path)
		}
	}
	return nil
}

// writePrivate writes a file that only its owner may read, whole or not at all; in the directory of the daemon's group, the group may
// as well. Its directory is made if there is none.
func writePrivate(path string, text []byte, force bool) (err error) {
	dir := filepath.Dir(path)
	gid, err := makeDirectory(dir)
	if err != nil {
		return err
	}
	temp, err := os.CreateTemp(dir, ".culvert-*") // with mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(temp.Name()) // it is named, so somebody may find it
		}
	}()
	if gid >= 0 {
		err = cmp.Or(temp.Chown(-1, gid), temp.Chmod(0o640))
	}
	if err != nil {
		temp.Close()
		return err
	}
	_, err = temp.Write(text)
	err = cmp.Or(err, temp.Sync(), temp.Close())
	if err != nil {
		return err
	}
	if force {
		return os.Rename(temp.Name(), path)
	}
	if err = os.Link(temp.Name(), path); err != nil { // unlike a rename, it overwrites nothing
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("%s exists already", path)
		}
		return err
	}
	return os.Remove(temp.Name())
}

// makeDirectory makes a directory with those above it. It returns the daemon's group if dir is that group's, else -1. What is made in
// a directory of the daemon's group is that group's too.
func makeDirectory(dir string) (gid int, err error) {
	if info, err := os.Stat(dir); err == nil {
		return daemonsGroup(info), nil
	}
	if gid, err = makeDirectory(filepath.Dir(dir)); err != nil {
		return -1, err
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return -1, err
	}
	if gid >= 0 {
		return gid, cmp.Or(os.Chown(dir, -1, gid), os.Chmod(dir, 0o750))
	}
	return -1, nil
}

// daemonsGroup is the daemon's group if a file belongs to it, else -1.
func daemonsGroup(info fs.FileInfo) int {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return -1
	}
	g, err := user.LookupGroup(config.Group)
	if err != nil || g.Gid != strconv.FormatUint(uint64(stat.Gid), 10) {
		return -1
	}
	return int(stat.Gid)
}
