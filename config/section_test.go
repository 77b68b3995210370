package config

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/culvert-vpn/culvert/ident"
	"github.com/culvert-vpn/culvert/ike"
)

// settings makes settings of lines "key = value".
func settings(lines ...string) (list []Setting) {
	for _, line := range lines {
		name, value, _ := strings.Cut(line, " = ")
		list = append(list, Setting{name, value})
	}
	return list
}

// office is a connection as it comes over vici. keys and child are added to it.
func office(keys, child []string) Section {
	return Section{Name: "office", Settings: settings(append([]string{"remote_addrs = 203.0.113.1"}, keys...)...), Sections: []Section{
		{Name: "local-1", Settings: settings("auth = psk", "id = @cloud")},
		{Name: "remote-1", Settings: settings("auth = psk", "id = @office")},
		{Name: "children", Sections: []Section{{Name: "net", Settings: settings(append([]string{"local_ts = 10.104.0.0/24", "remote_ts = 10.103.0.0/24,10.105.0.0/24", "start_action = start"}, child...)...)}}},
	}}
}

// TestConnection: a section means what it means in a file.
func TestConnection(t *testing.T) {
	file, _ := mustParse(t, `
charon {
	make_before_break = no
	retransmit_tries = 3
}
pools { p { addrs = 10.11.0.0/24 } }
connections { office {
	remote_addrs = 203.0.113.1
	pools = p
	retransmit_base = 2
	local-1 { auth = psk
		id = @cloud }
	remote-1 { auth = psk
		id = @office }
	children { net {
		local_ts = 10.104.0.0/24
		remote_ts = 10.103.0.0/24,10.105.0.0/24
		start_action = start
	} }
} }
secrets { ike { secret = 0123456789abcdefghij } }
`)
	conn, shunts, _, err := file.Connection(office([]string{"pools = p", "retransmit_base = 2"}, nil))
	if err != nil || len(shunts) > 0 {
		t.Fatal(shunts, err)
	}
	if conn.Pools[0].First.IsValid() || conn.Pools[0].Name != "p" {
		t.Errorf("the pool is %+v", conn.Pools[0])
	}
	want := file.Connections[0]
	conn.Pools = want.Pools
	if list := want.Differences(conn); len(list) > 0 || !conn.BreakBeforeMake || conn.Retransmit.Tries != 3 {
		t.Errorf("differs in %v: %+v", list, conn)
	}
	if list := want.Children[0].Differences(conn.Children[0]); len(list) > 0 {
		t.Errorf("the child differs in %v", list)
	}
	if conn, _, _, err = new(Config).Connection(office([]string{"retransmit_base = 2"}, nil)); err != nil || conn.BreakBeforeMake || conn.Retransmit.Tries != ike.DefaultRetransmit.Tries {
		t.Errorf("without a file: %+v, %v", conn, err)
	}
}

// TestConnectionOfShunts: who calls nobody needs no identities.
func TestConnectionOfShunts(t *testing.T) {
	conn, shunts, _, err := new(Config).Connection(Section{Name: "shunts", Sections: []Section{{Name: "children", Sections: []Section{
		{Name: "printers", Settings: settings("remote_ts = 10.103.7.0/24", "mode = pass", "start_action = trap")},
	}}}})
	if err != nil || conn != nil || len(shunts) != 1 || shunts[0].Conn != "shunts" || !shunts[0].Pass {
		t.Errorf("%v %+v %v", conn, shunts, err)
	}
}

// TestConnectionRefused: what is wrong says where, and of which kind it is.
func TestConnectionRefused(t *testing.T) {
	with := func(keys ...string) Section { return office(keys, nil) }
	child := func(keys ...string) Section { return office(nil, keys) }
	sub := func(s Section) Section {
		o := office(nil, nil)
		o.Sections = append(o.Sections, s)
		return o
	}
	deep := Section{Name: "children"}
	for range 40 {
		deep = Section{Name: "children", Sections: []Section{deep}}
	}
	for _, c := range []struct {
		s     Section
		fault Fault
		key   string
		text  string
	}{
		{with("remote_adrs = 1.2.3.4"), UnknownKey, "remote_adrs", `connections.office.remote_adrs: unknown key "remote_adrs" in connection office (did you mean "remote_addrs"?)`},
		{child("foo = 1"), UnknownKey, "foo", `connections.office.children.net.foo: unknown key "foo"`},
		{child("remote_addrs = 1.2.3.4"), UnknownKey, "remote_addrs", "unknown key"},
		{child("esp_proposals = aes256-foo"), BadValue, "esp_proposals", `"foo"`},
		{child("updown = /usr/bin/x"), BadValue, "updown", "scripts are not run"},
		{with("if_id_in = 5"), BadValue, "if_id_in", "user space"},
		{with("version = 1"), BadValue, "version", "IKEv2 only"},
		{with("dpd_delay = 1\x002s"), BadValue, "dpd_delay", "is no text"},
		{with("dpd_delay = \xff"), BadValue, "dpd_delay", "is no text"},
		{sub(Section{Name: "proposals"}), BadSection, "proposals", "is a key"},
		{sub(Section{Name: "foo"}), BadSection, "foo", `unknown section "foo"`},
		{sub(Section{Name: "local-1"}), BadSection, "local-1", "two sections"},
		{sub(Section{Name: "a\nb"}), Other, "", "cannot be printed"},
		{sub(Section{Name: "local-2", Settings: settings("auth = psk")}), Other, "", "a second round"},
		{Section{Name: "x"}, Other, "", "connection x has no section local"},
		{Section{Name: "x", Sections: []Section{deep}}, Other, "", "nested more than"},
		{Section{Name: "a\x1b[31mb"}, Other, "", "cannot have this name"},
		{Section{}, Other, "", "cannot have this name"},
		{with("rekey_time = 10", "rand_time = 20"), Other, "", "must be smaller"},
	} {
		_, _, _, err := new(Config).Connection(c.s)
		var list Errors
		if !errors.As(err, &list) {
			t.Errorf("%q is accepted: %v", c.text, err)
			continue
		}
		i := 0
		for i < len(list)-1 && !strings.Contains(list[i].Error(), c.text) {
			i++
		}
		if e := list[i]; e.Fault != c.fault || e.Key != c.key || !strings.Contains(e.Error(), c.text) {
			t.Errorf("%d %q %v\nwant %d %q %s", e.Fault, e.Key, e, c.fault, c.key, c.text)
		}
	}
}

// TestConnectionWarns of what may be an accident, as the file does.
func TestConnectionWarns(t *testing.T) {
	_, _, warnings, err := new(Config).Connection(office([]string{"send_cert = always", "proposals = aes128-sha1-modp1024"}, []string{"copy_df = yes"}))
	if err != nil {
		t.Fatal(err)
	}
	all := fmt.Sprint(warnings)
	for _, want := range []string{"connections.office.send_cert: warning: send_cert is ignored", "modp1024", "copy_df is ignored"} {
		if !strings.Contains(all, want) {
			t.Errorf("lacks %q: %s", want, all)
		}
	}
}

func TestPoolSection(t *testing.T) {
	p, _, err := new(Config).Pool(Section{Name: "p", Settings: settings("addrs = 10.11.0.0/24", "dns = 10.1.0.53,10.1.0.54")})
	if err != nil || p.Name != "p" || p.First.String() != "10.11.0.1" || len(p.DNS) != 2 {
		t.Errorf("%+v %v", p, err)
	}
	for _, c := range []struct {
		s     Section
		fault Fault
		key   string
	}{
		{Section{Name: "p", Settings: settings("addrs = 10.11.0.0")}, BadValue, "addrs"},
		{Section{Name: "p", Settings: settings("addrs = 10.11.0.0/24", "dns = here")}, BadValue, "dns"},
		{Section{Name: "p", Settings: settings("addrs = 10.11.0.0/24", "p_cscf = 10.1.0.1")}, BadValue, "p_cscf"},
		{Section{Name: "p", Settings: settings("addrs = 10.11.0.0/24", "nonsense = 10.1.0.1")}, UnknownKey, "nonsense"},
		{Section{Name: "p", Sections: []Section{{Name: "x"}}}, BadSection, "x"},
		{Section{Name: "p"}, Other, ""},
		{Section{Name: "", Settings: settings("addrs = 10.11.0.0/24")}, Other, ""},
	} {
		_, _, err := new(Config).Pool(c.s)
		var list Errors
		if !errors.As(err, &list) || list[0].Fault != c.fault || list[0].Key != c.key {
			t.Errorf("%+v: %v", c.s, err)
		}
	}
}

func TestSecret(t *testing.T) {
	const text = "a long enough secret of ours"
	key := []byte(text)
	store, entry, warnings, err := new(Config).Secret("ike-1", key, []string{"@office", "%any"})
	if err != nil || len(warnings) > 0 || len(entry.Owners) != 2 {
		t.Fatal(entry, warnings, err)
	}
	if strings.Trim(string(key), "\x00") != "" {
		t.Error("the key was not zeroed")
	}
	foo, _ := ident.Parse("@office")
	if found := store.Lookup(ident.ID{}, foo); len(found) != 1 || found[0].Name() != "ike-1" {
		t.Errorf("found %v", found)
	}
	if _, _, warnings, err = new(Config).Secret("ike-2", []byte("short"), nil); err != nil || len(warnings) != 1 || !strings.Contains(warnings[0].String(), "secrets.ike-2: warning: the secret has less than") {
		t.Errorf("%v %v", warnings, err)
	}
	for _, c := range []struct {
		name, key string
		owners    []string
	}{
		{"ike", "", nil},
		{"ike", text, []string{"10.0.0.0/99"}},
		{"ike", text, []string{"@a\x00"}},
		{"a\nb", text, nil},
	} {
		key := []byte(c.key)
		if _, _, _, err := new(Config).Secret(c.name, key, c.owners); err == nil || strings.Contains(err.Error(), "long enough") || strings.Trim(string(key), "\x00") != "" {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// FuzzSection: whatever comes over vici is accepted or refused with a reason that fits on a line.
func FuzzSection(f *testing.F) {
	f.Add("office", "remote_addrs", "203.0.113.1,%any", "local", "auth", "psk", "net", "esp_proposals", "aes128-sha256-x25519,default")
	f.Add("o", "pools", "p", "remote-x", "id", "*@example.org", "c", "local_ts", "10.0.0.0/8[tcp/80],dynamic[gre]")
	f.Add("", "addrs", "10.0.0.0-10.0.0.9", "children", "", "\x00", "\xff", "mode", "pass")
	f.Fuzz(func(t *testing.T, name, key, value, sub, subKey, subValue, child, childKey, childValue string) {
		s := Section{Name: name, Settings: []Setting{{key, value}}, Sections: []Section{
			{Name: sub, Settings: []Setting{{subKey, subValue}}},
			{Name: "remote", Settings: []Setting{{"auth", "psk"}}},
			{Name: "children", Sections: []Section{{Name: child, Settings: []Setting{{childKey, childValue}}}}},
		}}
		c := new(Config)
		conn, shunts, _, err := c.Connection(s)
		if err == nil && conn == nil && len(shunts) == 0 && childValue != "pass" && childValue != "drop" {
			t.Fatal("accepted, and nothing made")
		}
		fine(t, err)
		_, _, err = c.Pool(Section{Name: name, Settings: s.Settings})
		fine(t, err)
		_, _, _, err = c.Secret(name, []byte(value), []string{subValue})
		fine(t, err)
	})
}

func fine(t *testing.T, err error) {
	t.Helper()
	var list Errors
	if err != nil && (!errors.As(err, &list) || len(list) == 0) {
		t.Fatalf("refused with %#v", err)
	}
	for _, e := range list {
		if !isPlain(e.Error()) {
			t.Fatalf("says %q", e.Error())
		}
	}
}
