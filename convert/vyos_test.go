package convert_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/culvert-vpn/culvert/config"
	"github.com/culvert-vpn/culvert/convert"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares a result with a file: the configuration, the warnings that it draws, and what is not in it.
func golden(t *testing.T, file string, r *convert.Result) {
	t.Helper()
	var got bytes.Buffer
	got.WriteString(r.Config)
	if r.Config != "" {
		conf, warnings, err := config.Parse("config", []byte(r.Config), config.Options{})
		if err != nil {
			t.Fatalf("it is not accepted: %v\n%s", err, r.Config)
		}
		conf.Secrets.Wipe()
		if len(conf.Connections) != r.Connections {
			t.Errorf("%d connections, and Connections says %d", len(conf.Connections), r.Connections)
		}
		for _, w := range warnings {
			fmt.Fprintf(&got, "-- %v\n", w)
		}
	}
	for _, n := range r.NotCarried {
		fmt.Fprintf(&got, "-- %v\n", n)
		if strings.Contains(n.String(), "hidden") || strings.Contains(n.String(), "qwerty") {
			t.Errorf("a secret is told: %v", n)
		}
	}
	if *update {
		if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("%s: got\n%s\nwant\n%s", file, &got, want)
	}
}

func TestVyOS(t *testing.T) {
	for _, name := range []string{"reference-a", "reference-b", "old", "new"} {
		t.Run(name, func(t *testing.T) {
			source, err := os.ReadFile(filepath.Join("testdata/vyos", name+".in"))
			if err != nil {
				t.Fatal(err)
			}
			r, err := convert.VyOS(source)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, filepath.Join("testdata/vyos", name+".golden"), r)
		})
	}
}

func TestVyOSRefuses(t *testing.T) {
	for source, want := range map[string]string{
		"":                                     "no vpn ipsec",
		"interfaces { }":                       "no vpn ipsec",
		"vpn { ipsec {":                        "line 1: a { is not closed",
		"vpn { }\n}":                           "line 2: a } closes nothing",
		"vpn {\n ipsec {\n {":                  "line 3: a { that follows no name",
		"vpn {\n description \"hidden":         "line 2: a quote is not closed",
		strings.Repeat("a {", 100):             "nested too deep",
		"vpn " + strings.Repeat("ipsec ", 100): "no vpn ipsec",
	} {
		r, err := convert.VyOS([]byte(source))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%q: %v, %v, want %q", source, r, err, want)
		}
	}
}

// An excerpt may begin anywhere above a peer.
func TestVyOSExcerpts(t *testing.T) {
	peer := "peer 192.0.2.1 { authentication { mode pre-shared-secret\npre-shared-secret x }\nlocal-address any\ntunnel 1 { local { prefix 10.0.0.0/24 } } }"
	for _, around := range []string{"%s", "site-to-site { %s }", "ipsec { site-to-site { %s } }", "vpn { ipsec { site-to-site { %s } } }", "security { vpn { ipsec { site-to-site { %s } } } }"} {
		r, err := convert.VyOS(fmt.Appendf(nil, around, peer))
		if err != nil || r.Connections != 1 || len(r.NotCarried) != 0 {
			t.Errorf("%s: %v, %+v", around, err, r)
		}
	}
}

// Every statement that is read or not is in the result or listed, whatever it is, and nothing that is listed gives a secret away.
func TestVyOSEveryStatement(t *testing.T) {
	base := []string{
		"site-to-site peer 192.0.2.1 authentication pre-shared-secret hidden-in-base",
		"site-to-site peer 192.0.2.1 tunnel 1 local prefix 10.0.0.0/24",
	}
	for _, statement := range []string{"x", "x y", "esp-group E x", "site-to-site x", "site-to-site peer 192.0.2.1 x y", "site-to-site peer 192.0.2.1 tunnel 1 x",
		"site-to-site peer 192.0.2.1 authentication x hidden", "site-to-site peer 192.0.2.1 authentication x y hidden", "site-to-site peer 192.0.2.1 authentication hidden",
		"authentication psk a b hidden", "authentication psk a b c hidden", "authentication psk a secret x hidden", "x-secret a hidden"} {
		text := "set vpn ipsec " + strings.Join(append(base, statement), "\nset vpn ipsec ")
		r, err := convert.VyOS([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if len(r.NotCarried) != 1 || r.NotCarried[0].Line != 3 {
			t.Errorf("%s: %v", statement, r.NotCarried)
		}
		for _, n := range r.NotCarried {
			if strings.Contains(n.String(), "hidden") {
				t.Errorf("%s: %v", statement, n)
			}
		}
	}
}

// An interface to route through becomes the networks that are routed through it.
func TestVyOSRoutes(t *testing.T) {
	peer := `set vpn ipsec site-to-site peer 192.0.2.2 authentication pre-shared-secret 'a secret of these two'
set vpn ipsec site-to-site peer 192.0.2.2 local-address 192.0.2.1
set vpn ipsec site-to-site peer 192.0.2.2 vti bind vti10
`
	for routes, want := range map[string]string{
		"set protocols static interface-route 10.0.12.0/24 next-hop-interface vti10":                                                "remote_ts = 10.0.12.0/24\n",
		"set protocols static route 10.0.12.0/24 interface vti10\nset protocols static route6 fd00::/64 interface vti10":            "remote_ts = 10.0.12.0/24, fd00::/64\n",
		"set protocols static route 10.0.12.0/24 interface vti10\nset protocols static route 10.0.13.0/24 interface vti11":          "remote_ts = 10.0.12.0/24\n",
		"set protocols static route 10.0.12.0/24 interface vti11\nset protocols static route 10.0.14.0/24 next-hop 192.0.2.9 vti10": "",
	} {
		r, err := convert.VyOS([]byte(peer + routes))
		switch {
		case err != nil:
			t.Error(err)
		case want == "" && r.Connections != 0, want != "" && !strings.Contains(r.Config, want):
			t.Errorf("%s:\n%s\n%v", routes, r.Config, r.NotCarried)
		}
		if r.Connections > 0 && !strings.Contains(r.Config, "local_ts = 0.0.0.0/0, ::/0\n") {
			t.Errorf("%s:\n%s", routes, r.Config)
		}
	}
}

func FuzzVyOS(f *testing.F) {
	for _, name := range []string{"reference-a", "old", "new"} {
		source, err := os.ReadFile(filepath.Join("testdata/vyos", name+".in"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(source)
	}
	f.Fuzz(func(t *testing.T, source []byte) {
		r, err := convert.VyOS(source)
		if err == nil {
			readable(t, r)
		}
	})
}

// readable looks whether a configuration can be read as far as the language goes, and has the connections that it should.
func readable(t *testing.T, r *convert.Result) {
	_, _, err := config.Parse("config", []byte(r.Config), config.Options{})
	for _, word := range []string{"closes no section", "this section is not closed", "was expected", "this string has no end", "a section needs a name"} {
		if err != nil && strings.Contains(err.Error(), word) {
			t.Errorf("%v\n%s", err, r.Config)
		}
	}
	for _, n := range r.NotCarried {
		if n.Line < 1 || n.Text == "" || n.Why == "" || strings.ContainsAny(n.String(), "\n\x1b\x00") {
			t.Errorf("a note: %q", n)
		}
	}
}
