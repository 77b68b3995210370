//go:build linux

package e2e

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// packages are what scenarios run; apt adds what these depend on, libc included, so that the host's own libraries
// do not matter.
var packages = []string{
	"strongswan-charon", "strongswan-swanctl",
	"libstrongswan-standard-plugins", "libstrongswan-extra-plugins", // curve25519, chapoly
	"libcharon-extra-plugins", // kernel-libipsec
	"nftables", "tshark", "tcpdump", "iproute2", "iputils-ping", "iperf3",
}

// Tools is a tree of unpacked Debian packages, complete down to libc: a root directory for chroot(2).
type Tools struct{ Root string }

// OpenTools finds the tools in the cache, and fetches them first when they are not there: with apt and dpkg-deb, but
// with a package database, lists and cache of their own, so nothing is installed, no maintainer script runs, and the
// host's apt is not touched. Safe to call from several processes at once.
func OpenTools() (*Tools, error) { return openTools() }

var openTools = sync.OnceValues(func() (*Tools, error) {
	cache, err := cacheDir()
	if err != nil {
		return nil, fmt.Errorf("tools: %w", err)
	}
	tools, err := fetchTools(cache, packages)
	if err != nil {
		return nil, fmt.Errorf("tools: %w", err)
	}
	return tools, nil
})

// cacheDir is CULVERT_CACHE, or .cache/peers of the repository, or for a program outside of it the user's cache.
func cacheDir() (string, error) {
	if dir := os.Getenv("CULVERT_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	if repo, err := repository(); err == nil {
		return filepath.Join(repo, ".cache", "peers"), nil
	}
	dir, err := os.UserCacheDir()
	return filepath.Join(dir, "culvert", "peers"), err
}

// repository is the nearest directory upwards that holds a go.mod.
func repository() (string, error) {
	dir, err := os.Getwd()
	for err == nil {
		if _, missing := os.Stat(filepath.Join(dir, "go.mod")); missing == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("not inside a Go module")
		}
		dir = filepath.Dir(dir)
	}
	return "", err
}

// fetchTools returns the tree with these packages. Its name says what is in it, so a changed list is another tree.
func fetchTools(cache string, packages []string) (*Tools, error) {
	arch, err := output(exec.Command("dpkg", "--print-architecture"))
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(strings.Join(packages, " ")))
	base := filepath.Join(cache, fmt.Sprintf("bookworm-%s-%x", strings.TrimSpace(arch), sum[:4]))
	tools := &Tools{Root: filepath.Join(base, "root")}

	if err := os.MkdirAll(base, 0o755); err != nil {
		return nil, err
	}
	unlock, err := lock(filepath.Join(base, "lock"))
	if err != nil {
		return nil, err
	}
	defer unlock()
	if _, err := os.Stat(tools.Root); err == nil {
		return tools, nil
	}
	debs, err := download(filepath.Join(base, "apt"), strings.TrimSpace(arch), packages)
	if err != nil {
		return nil, err
	}
	if err := unpack(debs, tools.Root); err != nil {
		return nil, err
	}
	return tools, os.RemoveAll(filepath.Join(base, "apt"))
}

// lock waits for the file's exclusive lock, which the kernel gives up with the process.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for err = unix.EINTR; err == unix.EINTR; {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { f.Close() }, nil
}

// download lets apt resolve the packages against an empty system, fetch them and check their hashes.
func download(dir, arch string, packages []string) (debs []string, err error) {
	for _, sub := range []string{"state/lists/partial", "cache/archives/partial", "etc", "log"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, err
		}
	}
	config, err := aptConfig(dir, arch)
	if err != nil {
		return nil, err
	}
	for name, text := range map[string]string{"apt.conf": config, "sources.list": aptSources(), "status": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	for _, args := range [][]string{
		{"update"},
		append([]string{"install", "--yes", "--download-only", "--no-install-recommends"}, packages...),
	} {
		cmd := exec.Command("apt-get", args...)
		cmd.Env = append(os.Environ(), "APT_CONFIG="+filepath.Join(dir, "apt.conf"), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
		if _, err := output(cmd); err != nil {
			return nil, err
		}
	}
	return filepath.Glob(filepath.Join(dir, "cache", "archives", "*.deb"))
}

// aptConfig points apt at dir for all it reads and writes. Of the host's configuration only how to reach the network
// (proxies, checks of the date) is taken over; hooks are not, because those run commands on the host.
func aptConfig(dir, arch string) (string, error) {
	host, err := output(exec.Command("apt-config", "dump"))
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for line := range strings.Lines(host) {
		if strings.HasPrefix(line, "Acquire::") && !strings.HasPrefix(line, "Acquire::IndexTargets") {
			b.WriteString(line)
		}
	}
	fmt.Fprintf(&b, `
Dir::State %[1]q; Dir::State::status %[2]q; Dir::Cache %[3]q; Dir::Log %[4]q;
Dir::Etc %[5]q; Dir::Etc::sourcelist %[6]q;
Dir::Etc::main "/dev/null"; Dir::Etc::parts "/dev/null"; Dir::Etc::sourceparts "/dev/null";
APT::Architecture %[7]q; APT::Architectures { %[7]q; };
APT::Sandbox::User "root"; APT::Update::Error-Mode "any"; Acquire::Languages "none";
`, filepath.Join(dir, "state"), filepath.Join(dir, "status"), filepath.Join(dir, "cache"), filepath.Join(dir, "log"),
		filepath.Join(dir, "etc"), filepath.Join(dir, "sources.list"), arch)
	return b.String(), nil
}

func aptSources() string {
	mirror := os.Getenv("CULVERT_DEBIAN_MIRROR")
	if mirror == "" {
		mirror = "http://deb.debian.org"
	}
	var b strings.Builder
	for _, suite := range []string{"debian bookworm", "debian bookworm-updates", "debian-security bookworm-security"} {
		fmt.Fprintf(&b, "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s/%s main\n", mirror, suite)
	}
	return b.String()
}

// unpack makes the tree under another name and renames it when it is complete.
func unpack(debs []string, root string) error {
	if len(debs) == 0 {
		return errors.New("apt-get downloaded no package")
	}
	temp := root + ".partial"
	if err := os.RemoveAll(temp); err != nil {
		return err
	}
	for _, mount := range []string{"proc", "sys", "dev", "run", "tmp", "var", "root"} {
		if err := os.MkdirAll(filepath.Join(temp, mount), 0o755); err != nil {
			return err
		}
	}
	if err := os.Symlink("/run", filepath.Join(temp, "var/run")); err != nil {
		return err
	}
	slices.Sort(debs)
	var names []string
	for _, deb := range debs {
		if _, err := output(exec.Command("dpkg-deb", "--extract", deb, temp)); err != nil {
			return err
		}
		names = append(names, strings.TrimSuffix(filepath.Base(deb), ".deb"))
	}
	for _, unused := range []string{"doc", "man", "locale", "info", "perl"} {
		if err := os.RemoveAll(filepath.Join(temp, "usr/share", unused)); err != nil {
			return err
		}
	}
	manifest := filepath.Join(filepath.Dir(root), "packages.txt")
	if err := os.WriteFile(manifest, []byte(strings.Join(names, "\n")+"\n"), 0o644); err != nil {
		return err
	}
	return os.Rename(temp, root)
}

// output runs cmd; its error is one sentence: the command and the line in which it says what was wrong.
func output(cmd *exec.Cmd) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if err == nil {
		return stdout.String(), nil
	}
	name := strings.Join(cmd.Args[:min(2, len(cmd.Args))], " ")
	if line := complaint(stderr.String()); line != "" {
		return stdout.String(), fmt.Errorf("%s: %s (%w)", name, line, err)
	}
	return stdout.String(), fmt.Errorf("%s: %w", name, err)
}

// complaint is the first line that apt marks as an error, or else the last one.
func complaint(text string) (line string) {
	for l := range strings.Lines(text) {
		l = strings.TrimSpace(l)
		if rest, ok := strings.CutPrefix(l, "E: "); ok {
			return rest
		}
		if l != "" && !strings.HasPrefix(l, "explain: ") { // that says where to read more
			line = l
		}
	}
	return line
}
