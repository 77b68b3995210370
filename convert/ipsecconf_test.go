package convert_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/culvert-vpn/culvert/convert"
)

func source(t testing.TB, name string) convert.Source {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata/ipsec", name))
	if err != nil {
		t.Fatal(err)
	}
	return convert.Source{Name: name, Text: text}
}

func TestIPsecConf(t *testing.T) {
	for _, name := range []string{"strongswan", "libreswan"} {
		t.Run(name, func(t *testing.T) {
			r, err := convert.IPsecConf(convert.IPsecConfSource{Conf: source(t, name+".conf"), Secrets: source(t, name+".secrets")})
			if err != nil {
				t.Fatal(err)
			}
			golden(t, filepath.Join("testdata/ipsec", name+".golden"), r)
		})
	}
}

// conf is a conn with a secret of its own, and what else it says.
func conf(lines ...string) convert.IPsecConfSource {
	text := "conn c\n\tauthby=secret\n\tauto=add\n\tleft=192.0.2.1\n\tright=192.0.2.2\n"
	for _, l := range lines {
		text += "\t" + l + "\n"
	}
	return convert.IPsecConfSource{Conf: convert.Source{Name: "ipsec.conf", Text: []byte(text)},
		Secrets: convert.Source{Name: "ipsec.secrets", Text: []byte("192.0.2.2 : PSK \"a secret of the two of them\"\n192.0.2.1 : PSK \"another secret\"\n")}}
}

func TestIPsecConfSettings(t *testing.T) {
	for _, test := range []struct {
		lines string
		want  string
	}{
		{"leftsubnet=10.0.0.0/8|leftprotoport=17/1701", "local_ts = 10.0.0.0/8[17/1701]"},
		{"leftprotoport=udp/%any", "local_ts = dynamic[udp/any]"},
		{"leftsubnet=%dynamic[tcp]", "local_ts = dynamic[tcp]"},
		{"ike=aes128-sha256-ecp256", "proposals = aes128-sha256-ecp256, default"},
		{"ike=aes128-sha256-ecp256!", "proposals = aes128-sha256-ecp256\n"},
		{"ikelifetime=3h", "reauth_time = 10260s"},
		{"ikelifetime=3h|reauth=no|margintime=600", "rekey_time = 10200s"},
		{"ikelifetime=10m|reauth=no", "rekey_time = 540s"},
		{"rekey=no|lifetime=1h", "life_time = 3600s"},
		{"dpdaction=hold|dpddelay=5", "dpd_action = trap"},
		{"type=transport", "mode = transport"},
		{"lifebytes=1000", "life_bytes = 1000"},
		{"tfc=%mtu", "tfc_padding = mtu"},
		{"rightid=\"C=CH, CN=x\"", `id = "C=CH, CN=x"`},
		{"leftid=@#6162", `id = "@#6162"`},
	} {
		r, err := convert.IPsecConf(conf(strings.Split(test.lines, "|")...))
		if err != nil || !strings.Contains(r.Config, test.want) || len(r.NotCarried) != 0 {
			t.Errorf("%s: %v, %v\n%s", test.lines, err, r.NotCarried, r.Config)
		}
	}
}

func TestIPsecConfSides(t *testing.T) {
	from := conf("leftsubnet=10.1.0.0/16", "rightsubnet=10.2.0.0/16")
	for _, local := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"} {
		from.Local = []netip.Addr{netip.MustParseAddr(local)}
		r, err := convert.IPsecConf(from)
		want := map[bool]string{false: "local_ts = 10.1.0.0/16", true: "local_ts = 10.2.0.0/16"}[local == "192.0.2.2"]
		if err != nil || !strings.Contains(r.Config, want) {
			t.Errorf("%s: %v\n%s", local, err, r.Config)
		}
	}
}

// Of two settings the later one counts, and the former is listed.
func TestIPsecConfTwice(t *testing.T) {
	r, err := convert.IPsecConf(conf("mobike=no", "mobike=yes"))
	if err != nil || !strings.Contains(r.Config, "mobike = yes") || len(r.NotCarried) != 1 || r.NotCarried[0].String() != "ipsec.conf:6: mobike=no: line 7 says it again, and counts" {
		t.Errorf("%v, %v", err, r)
	}
}

// Every setting is carried over, or listed once.
func TestIPsecConfEverySetting(t *testing.T) {
	for _, line := range []string{"leftcert=x", "rightupdown=x", "frobnicate=x", "leftfrobnicate=x", "mark=7", "compress=yes", "dpdtimeout=9", "also=absent",
		"forceencaps=no", "ike=3des-md5-modp1024!", "ikelifetime=soon", "installpolicy=no"} {
		r, err := convert.IPsecConf(conf(line))
		listed := 0
		for _, n := range r.NotCarried {
			if n.Line == 6 && n.File == "ipsec.conf" {
				listed++
			}
		}
		if err != nil || listed == 0 || r.Connections != 1 {
			t.Errorf("%s: %v, %v", line, err, r)
		}
	}
}

func TestIPsecConfIncludes(t *testing.T) {
	from := conf()
	from.Conf.Text = append(from.Conf.Text, "include a.conf\n"...)
	from.Secrets.Text = append(from.Secrets.Text, "include a.secrets\n"...)
	from.Include = func(from, pattern string) ([]convert.Source, error) {
		switch pattern {
		case "a.conf":
			return []convert.Source{{Name: "a.conf", Text: []byte("conn d\n\talso=c\n\trightsubnet=10.9.0.0/16\n\tauto=add\n\tx=y\ninclude a.conf\n")}}, nil
		case "a.secrets":
			return []convert.Source{{Name: "a.secrets", Text: []byte("@d : PSK \"included secret, long\"\n")}}, nil
		}
		return nil, errors.New("no file")
	}
	if _, err := convert.IPsecConf(from); err == nil || !strings.Contains(err.Error(), "100 files") {
		t.Errorf("a file that includes itself: %v", err)
	}
	from.Conf.Text = []byte(strings.Replace(string(from.Conf.Text), "include a.conf", "include b.conf", 1))
	inner := from.Include
	from.Include = func(from, pattern string) ([]convert.Source, error) {
		if pattern == "b.conf" {
			list, err := inner(from, "a.conf")
			list[0].Text = []byte(strings.Replace(string(list[0].Text), "include a.conf\n", "include none.conf\n", 1))
			return list, err
		}
		return inner(from, pattern)
	}
	r, err := convert.IPsecConf(from)
	if err != nil || !strings.Contains(r.Config, "10.9.0.0/16") || !strings.Contains(r.Config, "included secret") {
		t.Errorf("%v\n%v", err, r)
	}
	for _, want := range []string{"a.conf:5: x=y", "a.conf:6: include none.conf: no file"} {
		if !strings.Contains(fmt.Sprint(r.NotCarried), want) {
			t.Errorf("%q is not among %v", want, r.NotCarried)
		}
	}
}

func FuzzIPsecConf(f *testing.F) {
	for _, name := range []string{"strongswan", "libreswan"} {
		f.Add(source(f, name+".conf").Text, source(f, name+".secrets").Text)
	}
	f.Fuzz(func(t *testing.T, conf, secrets []byte) {
		r, err := convert.IPsecConf(convert.IPsecConfSource{Conf: convert.Source{Name: "c", Text: conf}, Secrets: convert.Source{Name: "s", Text: secrets}})
		if err == nil {
			readable(t, r)
		}
	})
}
