package gateway

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-vpn/culvert/config"
	"github.com/culvert-vpn/culvert/udp/udptest"
	"github.com/culvert-vpn/culvert/vici"
	"github.com/culvert-vpn/culvert/vici/client"
)

// section makes a section of lines "key = value", and of sections.
func section(name string, settings []string, subs ...config.Section) config.Section {
	s := config.Section{Name: name, Sections: subs}
	for _, line := range settings {
		key, value, _ := strings.Cut(line, " = ")
		s.Settings = append(s.Settings, config.Setting{Name: key, Value: value})
	}
	return s
}

// toA is the connection of confB. more are lines of the child.
func toA(name string, more ...string) config.Section {
	return section(name, []string{"remote_addrs = 203.0.113.1"},
		section("local", []string{"auth = psk", "id = @foo"}), section("remote", []string{"auth = psk", "id = 203.0.113.1"}),
		section("children", nil, section("net", append([]string{"local_ts = 10.104.0.0/24", "remote_ts = 10.103.0.0/24"}, more...))))
}

// wantLoaded says what Loaded has to list.
func (s *site) wantLoaded(want string) {
	s.t.Helper()
	list, err := s.g.Loaded(context.Background())
	if got := fmt.Sprint(list.Connections, list.Secrets, list.Pools); err != nil || got != want {
		s.t.Errorf("loaded are %s, want %s; %v", got, want, err)
	}
}

// wantErr has an error hold some words.
func wantErr(t *testing.T, err error, words string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), words) {
		t.Errorf("says %v, want %q", err, words)
	}
}

// TestLoad brings a tunnel up with nothing but what is loaded piece by piece, in an odd order, loads it again without any effect on
// it, changes it, and unloads it. The secret may go while the tunnel is up.
func TestLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		net := udptest.NewNetwork()
		net.Hook((&nat{public: public}).hook)
		a := start(t, net, addrA, confA)
		b := start(t, net, addrB, "")
		defer finish(t, a, b)

		load := func(s config.Section) {
			t.Helper()
			if err := b.g.LoadConnection(ctx, s); err != nil {
				t.Fatal(err)
			}
		}
		key := func(text string) {
			t.Helper()
			if err := b.g.LoadSecret(ctx, "ike-a", []byte(text), []string{"@foo"}); err != nil {
				t.Fatal(err)
			}
		}
		load(toA("to-a", "start_action = start"))
		time.Sleep(time.Minute) // the first attempt has no secret
		key("qwerty")
		b.up()
		b.wantLoaded("[to-a] [ike-a] []")
		s := b.g.Status()
		if s.Connections[0].Source != "vici" || len(s.Secrets) != 1 || s.Secrets[0].Source != "vici" || s.Secrets[0].Owners[0] != "@foo" {
			t.Errorf("status: %+v", s)
		}

		before := b.spis()
		key("qwerty")
		load(toA("to-a", "start_action = start"))
		if err := b.g.ClearSecrets(ctx); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		key("another")
		if got := b.reload(""); got != "" {
			t.Errorf("reload of the file says %q", got)
		}
		time.Sleep(10 * time.Minute)
		if after := b.spis(); after != before {
			t.Errorf("was %s, is %s", before, after)
		}
		packet := ping(hostB, hostA, "still there")
		b.send(packet)
		a.wants(packet)

		key("qwerty")
		load(toA("to-a", "start_action = start", "replay_window = 64"))
		time.Sleep(time.Minute)
		if after := b.spis(); after == before || strings.Count(after, "up") != 1 {
			t.Errorf("after a change: %s", after)
		}
		if err := b.g.UnloadConnection(ctx, "to-a"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if s := b.g.Status(); len(s.Connections) != 0 || s.SPIs != 0 {
			t.Errorf("left: %+v", s)
		}
		wantErr(t, b.g.UnloadConnection(ctx, "to-a"), "unload: connection 'to-a' not found")
		b.wantLoaded("[] [ike-a] []")
	})
}

// TestLoadBesideFile: what the file has is the file's, and what was loaded stays when the file is read again.
func TestLoadBesideFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		net := udptest.NewNetwork()
		net.Hook((&nat{public: public}).hook)
		withPool := "pools { clients { addrs = 10.11.0.0/24 } }" + confB
		b := start(t, net, addrB, withPool)
		defer finish(t, b)

		const file = "belongs to test.conf"
		wantErr(t, b.g.LoadConnection(ctx, toA("to-a")), file)
		wantErr(t, b.g.UnloadConnection(ctx, "to-a"), file)
		wantErr(t, b.g.LoadSecret(ctx, "ike-a", []byte("another"), nil), file)
		wantErr(t, b.g.UnloadSecret(ctx, "ike-a"), file)
		wantErr(t, b.g.LoadPool(ctx, section("clients", []string{"addrs = 10.12.0.0/24"})), file)
		wantErr(t, b.g.UnloadPool(ctx, "clients"), file)
		wantErr(t, b.g.LoadPool(ctx, section("more", []string{"addrs = 10.11.0.128/25"})), "pools 'clients' and 'more' overlap")
		b.wantLoaded("[] [] []")

		ok := func(err error) {
			t.Helper()
			if err != nil {
				t.Error(err)
			}
		}
		shunt := section("shunts", nil, section("children", nil, section("s", []string{"remote_ts = 10.103.9.0/24", "mode = drop", "start_action = trap"})))
		ok(b.g.LoadConnection(ctx, toA("loaded", "priority = 7")))
		ok(b.g.LoadConnection(ctx, shunt))
		ok(b.g.LoadSecret(ctx, "ike-loaded", []byte("a secret of enough letters"), []string{"@bar"}))
		ok(b.g.LoadSecret(ctx, "", []byte("a secret without a name"), nil))
		ok(b.g.LoadPool(ctx, section("more", []string{"addrs = 10.12.0.0/24"})))
		ok(b.g.LoadPool(ctx, section("more", []string{"addrs = 10.12.0.0/25"})))
		b.wantLoaded("[loaded shunts] [ike-loaded] [more]")
		s := b.g.Status()
		from := fmt.Sprintln(s.Connections[0].Source, s.Connections[1].Source, s.Shunts[0].Source, s.Pools[0].Source, s.Pools[1].Source, s.Secrets)
		if want := "file vici vici file vici [{ike-a [foo] file} {ike-loaded [bar] vici} { [] vici}]"; strings.TrimSpace(strings.ReplaceAll(from, "@", "")) != want {
			t.Errorf("from %s\nwant %s", from, want)
		}

		if got := b.reload(replace(withPool, "start_action = start", "start_action = none")); got != "to-a/ unchanged; to-a/net changed start_action in place; shunts/s unchanged" && got != "to-a/ unchanged; to-a/net changed start_action in place" {
			t.Errorf("reload says %q", got)
		}
		if got := b.reload("charon { retransmit_tries = 2 }" + withPool); !strings.Contains(got, "to-a/ unchanged") {
			t.Errorf("reload says %q", got)
		}
		for conf, want := range map[string]string{
			replace(withPool, "to-a", "loaded"):      `connection "loaded" already: it was loaded over vici`,
			replace(withPool, "to-a", "shunts"):      `connection "shunts" already`,
			replace(withPool, "ike-a", "ike-loaded"): `secret "ike-loaded" already`,
			replace(withPool, "clients", "more"):     `pool "more" already`,
			replace(withPool, "10.11.", "10.12."):    `pool "clients" overlaps with pool "more"`,
		} {
			_, err := b.g.Reload(ctx, parse(t, conf))
			wantErr(t, err, want)
		}
		b.wantLoaded("[loaded shunts] [ike-loaded] [more]")

		ok(b.g.ClearSecrets(ctx))
		ok(b.g.UnloadPool(ctx, "more"))
		ok(b.g.UnloadConnection(ctx, "shunts"))
		ok(b.g.UnloadSecret(ctx, "unknown"))
		wantErr(t, b.g.UnloadPool(ctx, "more"), "more not found")
		if s := b.g.Status(); len(s.Secrets) != 1 || len(s.Pools) != 1 || len(s.Shunts) != 0 {
			t.Errorf("left: %+v", s)
		}
		b.wantLoaded("[loaded] [] []")
	})
}

// TestLoadPoolInUse: a pool is neither taken away nor made smaller while an address of it is in use, and it may come after the connection.
func TestLoadPoolInUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		net := udptest.NewNetwork()
		net.Hook((&nat{public: public}).hook)
		a := start(t, net, addrA, confA)
		b := start(t, net, addrB, replace(confB, "local_ts = 10.104.0.0/24", "", "remote_addrs", "vips = 0.0.0.0\n remote_addrs"))
		defer finish(t, b, a)
		if err := a.g.UnloadConnection(ctx, "to-b"); err == nil {
			t.Fatal("the file's connection is gone")
		}
		a.reload("")
		err := a.g.LoadConnection(ctx, section("road", []string{"pools = clients"},
			section("local", []string{"auth = psk", "id = 203.0.113.1"}), section("remote", []string{"auth = psk", "id = @foo"}),
			section("children", nil, section("net", []string{"local_ts = 10.103.0.0/24"}))))
		if err != nil {
			t.Fatal(err)
		}
		if err := a.g.LoadSecret(ctx, "ike-b", []byte("qwerty"), []string{"@foo"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Minute)
		if s := a.g.Status(); s.Connections[0].Children[0].Up {
			t.Fatal("it is up without an address")
		}
		pool := func(addrs string) error { return a.g.LoadPool(ctx, section("clients", []string{"addrs = " + addrs})) }
		if err := pool("10.11.0.0/24"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute) // until the next attempt
		b.up()
		wantErr(t, a.g.UnloadPool(ctx, "clients"), "clients has online leases, unable to unload")
		wantErr(t, pool("10.12.0.0/24"), "vici pool clients has online leases, unable to replace")
		if err := pool("10.11.0.0/16"); err != nil {
			t.Error(err)
		}
		if s := a.g.Status(); s.Pools[0].Online != 1 || s.Pools[0].Size != 65534 {
			t.Errorf("%+v", s.Pools)
		}
		b.stop()
		time.Sleep(time.Minute)
		if err := a.g.UnloadPool(ctx, "clients"); err != nil {
			t.Error(err)
		}
	})
}

// TestLoadErrors: what is refused changes nothing, and no secret is in what is said.
func TestLoadErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		b := start(t, udptest.NewNetwork(), addrB, "")
		defer finish(t, b)
		wantErr(t, b.g.LoadConnection(ctx, toA("x", "nonsense = 1")), "nonsense")
		key := []byte("very secret")
		wantErr(t, b.g.LoadSecret(ctx, "ike", key, []string{"10.0.0.0/99"}), "no identity")
		if strings.Trim(string(key), "\x00") != "" {
			t.Error("the key was not zeroed")
		}
		b.wantLoaded("[] [] []")
	})
}

// TestLoadCommands asks as swanctl does.
func TestLoadCommands(t *testing.T) {
	a, b, c := controlled(t, confB)
	defer finish(t, b, a)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	conn, err := client.Dial(ctx, c.Socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	msg := func() *vici.Message { return new(vici.Message) }
	office := func(name string, fill func(conn, child *vici.Message)) *vici.Message {
		m := msg()
		conn := m.Section(name).SetList("remote_addrs", "203.0.113.9", "%any")
		conn.Section("local").Set("auth", "psk").Set("id", "@foo")
		conn.Section("remote").Set("auth", "psk").Set("id", "@bar")
		child := conn.Section("children").Section("net").SetList("local_ts", "10.104.0.0/24").SetList("remote_ts", "10.105.0.0/24", "10.106.0.0/24")
		fill(conn, child)
		return m
	}
	plain := func(_, _ *vici.Message) {}
	secret := func() *vici.Message {
		return msg().Set("id", "ike-bar").Set("type", "IKE").Set("data", "twenty letters or more").SetList("owners", "@bar")
	}
	for _, ask := range []struct {
		command string
		args    *vici.Message
		want    string // the beginning of errmsg; "": success
	}{
		{"load-shared", secret(), ""},
		{"load-shared", msg().Set("id", "eap-x").Set("type", "eap").Set("data", "x"), ""},
		{"load-shared", msg().Set("id", "a").Set("data", "x"), "shared key type missing"},
		{"load-shared", msg().Set("id", "a").Set("type", "foo").Set("data", "x"), "invalid shared key type: "},
		{"load-shared", msg().Set("id", "a").Set("type", "ike"), "shared key data missing"},
		{"load-shared", msg().Set("id", "a").Set("type", "ike").Set("data", "x").SetList("owners", "10.0.0.0/77"), "parsing shared key owners failed"},
		{"load-shared", msg().Set("id", "ike-a").Set("type", "ike").Set("data", "x"), "secret 'ike-a' belongs to test.conf"},
		{"load-pool", sectioned("p", "addrs", "10.11.0.0/24"), ""},
		{"load-pool", sectioned("p", "dns", "10.11.0.1"), "missing addrs for pool 'p'"},
		{"load-pool", sectioned("q", "addrs", "here"), "invalid addrs value: "},
		{"load-pool", sectioned("q", "addrs", "10.12.0.0/24", "foo", "1"), "invalid attribute: foo"},
		{"load-pool", sectioned("q", "addrs", "10.12.0.0/24", "dns", "here"), "invalid attribute value for dns"},
		{"load-conn", office("office", plain), ""},
		{"load-conn", office("bad", func(c, _ *vici.Message) { c.Set("remote_adrs", "x") }), "unknown option: remote_adrs, config discarded: "},
		{"load-conn", office("bad", func(_, c *vici.Message) { c.SetList("esp_proposals", "aes256-nonsense") }), "invalid value for: esp_proposals, config discarded: "},
		{"load-conn", office("bad", func(_, c *vici.Message) { c.Set("updown", "/bin/true") }), "invalid value for: updown, config discarded: "},
		{"load-conn", office("bad", func(c, _ *vici.Message) { c.Section("nonsense") }), "invalid section: nonsense"},
		{"load-conn", office("to-a", plain), "connection 'to-a' belongs to test.conf"},
		{"load-cert", msg().Set("type", "X509").Set("flag", "CA").Set("data", "x"), "no certificates"},
		{"load-key", msg().Set("type", "any").Set("data", "x"), "no certificates"},
		{"load-token", msg().Set("handle", "00"), "no certificates"},
		{"unload-key", msg().Set("id", "00"), "key not found"},
		{"load-authority", sectioned("ca", "cacert", "x"), ""},
		{"flush-certs", msg(), ""},
		{"reload-settings", msg(), ""},
	} {
		answer, err := conn.Call(ctx, ask.command, ask.args)
		if err == nil {
			err = client.Failed(answer)
		}
		switch {
		case ask.want == "" && err != nil:
			t.Errorf("%s: %v", ask.command, err)
		case ask.want != "" && (err == nil || !strings.HasPrefix(answer.Text("errmsg"), ask.want)):
			t.Errorf("%s: %v, %q, want %q", ask.command, err, answer.Text("errmsg"), ask.want)
		}
	}
	lists := func(want string) {
		t.Helper()
		var all []string
		for _, ask := range [][2]string{{"get-conns", "conns"}, {"get-shared", "keys"}, {"get-keys", "keys"}, {"get-authorities", "authorities"}} {
			answer, err := conn.Call(ctx, ask[0], nil)
			items, ok := answer.Items(ask[1])
			if err != nil || !ok {
				t.Errorf("%s: %v", ask[0], err)
			}
			all = append(all, fmt.Sprint(items))
		}
		if got := strings.Join(all, " "); got != want {
			t.Errorf("lists %s, want %s", got, want)
		}
	}
	lists("[office] [ike-bar eap-x] [] [ca]")
	for _, ask := range []struct{ command, key, value, want string }{
		{"unload-conn", "name", "office", ""},
		{"unload-conn", "name", "office", "unload: connection 'office' not found"},
		{"unload-conn", "", "", "unload: missing connection name"},
		{"unload-shared", "id", "ike-bar", ""},
		{"unload-shared", "", "", "unique identifier missing"},
		{"unload-pool", "name", "p", ""},
		{"unload-pool", "name", "p", "p not found"},
		{"unload-pool", "", "", "missing pool name to unload"},
		{"unload-authority", "name", "ca", ""},
		{"unload-authority", "name", "ca", "unload: authority 'ca' not found"},
		{"clear-creds", "", "", ""},
	} {
		args := msg()
		if ask.key != "" {
			args.Set(ask.key, ask.value)
		}
		answer, err := conn.Call(ctx, ask.command, args)
		if got := answer.Text("errmsg"); err != nil || got != ask.want {
			t.Errorf("%s: %v, %q, want %q", ask.command, err, got, ask.want)
		}
	}
	lists("[] [] [] []")
}

// sectioned is a message with one section of values.
func sectioned(name string, pairs ...string) *vici.Message {
	m := new(vici.Message)
	s := m.Section(name)
	for i := 0; i < len(pairs); i += 2 {
		s.Set(pairs[i], pairs[i+1])
	}
	return m
}
