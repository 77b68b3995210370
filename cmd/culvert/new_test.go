package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/culvert-vpn/culvert/config"
)

// site is the command line of the tunnel of the reference case.
func site(more ...string) []string {
	return append([]string{"new", "site-to-site", "--name", "office", "--as", "cloud", "--here", "10.104.0.0/24", "--there", "10.103.0.0/24",
		"--peer", "203.0.113.1", "--etc", "etc"}, more...)
}

// secretForm is what a new secret looks like: 32 bytes in base64.
var secretForm = regexp.MustCompile(`0s[A-Za-z0-9+/]{43}=`)

func TestNewSiteToSite(t *testing.T) {
	t.Chdir(t.TempDir())
	code, stdout, stderr := culvert(site()...)
	if code != exitFine || stderr != "" {
		t.Fatalf("exit code %d, %s", code, stderr)
	}
	golden(t, filepath.Join(goldens, "new-site-to-site.golden"), []byte(stdout))
	if secretForm.MatchString(stdout) {
		t.Error("the secret is printed")
	}
	var secrets []string
	for _, path := range []string{"etc/culvert.conf", "etc/conf.d/office.conf", "culvert-office.conf"} {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Fatalf("%s: %v, %v", path, info, err)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		secrets = append(secrets, secretForm.FindString(string(text)))
	}
	if secrets[0] != "" || secrets[1] == "" || secrets[1] != secrets[2] {
		t.Error("the two ends do not have one secret, or the main file has one")
	}
	conf, warnings, err := config.Load("etc/culvert.conf")
	if err != nil || len(warnings) > 0 || len(conf.Connections) != 1 {
		t.Errorf("%v, %v", err, warnings)
	}
	conf.Secrets.Wipe()

	before, _ := os.ReadFile("culvert-office.conf")
	if code, _, stderr = culvert(site()...); code != exitFailed || !strings.Contains(stderr, "exists already; nothing was written") {
		t.Errorf("a second time: exit code %d, %s", code, stderr)
	}
	if after, _ := os.ReadFile("culvert-office.conf"); string(after) != string(before) {
		t.Error("a file was overwritten")
	}
	if code, _, stderr = culvert(site("--force")...); code != exitFine {
		t.Errorf("--force: exit code %d, %s", code, stderr)
	}
	if after, _ := os.ReadFile("culvert-office.conf"); string(after) == string(before) {
		t.Error("--force drew the same secret again, or wrote nothing")
	}
	if left, _ := filepath.Glob("etc/conf.d/.culvert-*"); left != nil {
		t.Errorf("left behind: %v", left)
	}
}

// A configuration that somebody has written is not touched; what it lacks is said.
func TestNewBesideOthers(t *testing.T) {
	for text, lacks := range map[string]bool{"# mine\n": true, "# include conf.d/*.conf\n": true, "include conf.d/*.conf\n": false, "include /etc/culvert/conf.d/*\n": false} {
		t.Chdir(t.TempDir())
		if err := os.Mkdir("etc", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile("etc/culvert.conf", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, stdout, _ := culvert(site()...)
		if got, _ := os.ReadFile("etc/culvert.conf"); string(got) != text {
			t.Errorf("%q became %q", text, got)
		}
		if says := strings.Contains(stdout, "echo 'include conf.d/*.conf' >> etc/culvert.conf"); says != lacks {
			t.Errorf("%q: said that the include is missing: %v\n%s", text, says, stdout)
		}
	}
}

// What is wrong with the whole of a configuration is told, also if the new part of it is in order.
func TestNewChecksTheWhole(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.MkdirAll("etc", 0o755); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"include conf.d/*.conf\nconections { }\n": "together with what was there before",
		`include conf.d/*.conf
connections { old { remote_addrs = 198.51.100.1
	local { auth = psk
		id = @cloud }
	remote { auth = psk
		id = @old }
	children { net { local_ts = 10.104.0.0/24
		remote_ts = 10.103.0.0/24
		start_action = start } } } }
secrets { ike-old { id = @old
	secret = "0123456789abcdef0123456789" } }
`: "claims the same traffic",
	} {
		if err := os.WriteFile("etc/culvert.conf", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		code, _, stderr := culvert(site("--force")...)
		if code != exitFine || !strings.Contains(stderr, want) {
			t.Errorf("exit code %d, %s\nwant %q", code, stderr, want)
		}
	}
}

// If one file cannot be written there is none.
func TestNewWritesAllOrNone(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("etc", nil, 0o600); err != nil { // no directory
		t.Fatal(err)
	}
	if code, _, _ := culvert(site()...); code != exitFailed {
		t.Errorf("exit code %d", code)
	}
	if files, _ := filepath.Glob("*.conf"); files != nil {
		t.Errorf("written: %v", files)
	}
}

func TestNewElsewhere(t *testing.T) {
	t.Chdir(t.TempDir())
	if code, _, stderr := culvert(site("--both-files", "out", "--for", "strongswan")...); code != exitFine {
		t.Fatal(stderr)
	}
	for _, name := range []string{"cloud", "office"} {
		conf, _, err := config.Load("out/culvert-" + name + ".conf")
		if err != nil {
			t.Fatal(err)
		}
		conf.Secrets.Wipe()
	}
	code, stdout, _ := culvert(site("--stdout")...)
	if code != exitFine || strings.Count(stdout, "### culvert-") != 2 || len(secretForm.FindAllString(stdout, -1)) != 2 {
		t.Errorf("--stdout: exit code %d", code)
	}
	if _, err := os.Stat("etc"); err == nil {
		t.Error("the place of the configuration was written to")
	}
}

func TestNewRemoteAccess(t *testing.T) {
	t.Chdir(t.TempDir())
	code, stdout, stderr := culvert("new", "remote-access", "--as", "office", "--public", "vpn.example.org", "--here", "10.103.0.0/24",
		"--pool", "10.11.0.0/24", "--dns", "10.103.0.53", "--client", "laptop,phone", "--etc", "etc")
	if code != exitFine || stderr != "" {
		t.Fatalf("exit code %d, %s", code, stderr)
	}
	golden(t, filepath.Join(goldens, "new-remote-access.golden"), []byte(stdout))
	seen := map[string]bool{}
	for _, name := range []string{"culvert-laptop.conf", "culvert-phone.conf"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		seen[secretForm.FindString(string(text))] = true
	}
	if len(seen) != 2 || seen[""] {
		t.Error("two clients have one secret")
	}
}

func TestNewRefuses(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"new", "site-to-site"}, "missing: --name OTHER, --here NETWORKS, --there NETWORKS, --peer ADDRESS"},
		{site("--here", "10.104.0.9/24"), "is it the network 10.104.0.0/24, or the one host 10.104.0.9/32?"},
		{site("--here", "10.104.0.0/24"), "is there twice"},
		{site("--here", "office"), "it is not a network"},
		{site("--public", "192.0.2.10"), "one side calls and the other waits"},
		{site("--peer", "office"), "neither an address nor a DNS name"},
		{site("--peer", "0.0.0.0"), "nobody can be called there"},
		{site("--for", "racoon"), "it can be culvert or strongswan"},
		{site("--as", "office"), "each needs a name of its own"},
		{site("--there", "10.104.0.128/25"), "they overlap"},
		{site("more"), "takes no arguments"},
		{[]string{"new", "remote-access", "--as", "x"}, "missing: --public ADDRESS"},
	} {
		code, _, stderr := culvert(test.args...)
		if code != exitUsage || !strings.Contains(stderr, test.want) {
			t.Errorf("%q: exit code %d, %s\nwant %q", test.args, code, stderr, test.want)
		}
	}
	if files, _ := filepath.Glob("*"); files != nil {
		t.Errorf("written in spite of errors: %v", files)
	}
}

// A secret is never one that a check complains about.
func TestNewSecret(t *testing.T) {
	seen := map[string]bool{}
	for range 500 { // of random bytes, one in 20 begins or ends with white space
		text := newSecret()
		key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(text, "0s"))
		if err != nil || len(key) != secretBytes || !bytes.Equal(bytes.TrimSpace(key), key) || seen[text] {
			t.Fatalf("a secret that is not as it should be: %d bytes, %v", len(key), err)
		}
		seen[text] = true
	}
}

func TestOwnName(t *testing.T) {
	for _, name := range []string{"ip-172-31-5-4", "10-0-0-1", "vm-1", "host7"} {
		if !likeAddress.MatchString(name) {
			t.Errorf("%q would be an identity", name)
		}
	}
	for _, name := range []string{"gw", "cloud", "fra1-gw", "node-a"} {
		if likeAddress.MatchString(name) {
			t.Errorf("%q would be no identity", name)
		}
	}
	if got := ownName("cloud"); got == "" || got == "cloud" {
		t.Errorf("this side is %q beside cloud", got)
	}
}

// goldens is the directory of the expected outputs, whatever directory a test changes to.
var goldens = func() string {
	dir, err := filepath.Abs("testdata")
	if err != nil {
		panic(fmt.Sprint("no working directory: ", err))
	}
	return dir
}()
