package draft_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/culvert-vpn/culvert/config"
	"github.com/culvert-vpn/culvert/draft"
)

const key = "0sMDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="

func prefixes(list ...string) (out []netip.Prefix) {
	for _, p := range list {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

func tunnel() draft.SiteToSite {
	return draft.SiteToSite{
		Here:   draft.Gateway{Name: "cloud", Networks: prefixes("10.104.0.0/24")},
		There:  draft.Gateway{Name: "office", Networks: prefixes("10.103.0.0/24"), Address: "203.0.113.1"},
		Secret: key,
	}
}

// accepted has the configuration read, which must draw no warning but those that are expected.
func accepted(t *testing.T, text string, expected ...string) *config.Config {
	t.Helper()
	conf, warnings, err := config.Parse("new.conf", []byte(text), config.Options{})
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	t.Cleanup(conf.Secrets.Wipe)
	for _, w := range warnings {
		ok := false
		for _, e := range expected {
			ok = ok || strings.Contains(w.Msg, e)
		}
		if !ok {
			t.Errorf("%v\n%s", w, text)
		}
	}
	return conf
}

func TestSiteToSite(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*draft.SiteToSite)
		caller int // which of the two starts
	}{
		{"we call", func(*draft.SiteToSite) {}, 0},
		{"they call", func(s *draft.SiteToSite) { s.Here.Address, s.There.Address = "vpn.example.org", "" }, 1},
		{"both can be called", func(s *draft.SiteToSite) { s.Here.Address = "192.0.2.10" }, 0},
		{"strongSwan calls", func(s *draft.SiteToSite) {
			s.Here.Address, s.There.Address, s.There.StrongSwan = "192.0.2.10", "", true
		}, 1},
		{"both families", func(s *draft.SiteToSite) {
			s.Here.Networks, s.There.Networks = prefixes("10.104.0.0/24", "fd00:104::/64"), prefixes("0.0.0.0/0", "::/0")
		}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := tunnel()
			test.change(&s)
			if err := s.Check(); err != nil {
				t.Fatal(err)
			}
			here, there := s.Files()
			a, b := accepted(t, here, "covers"), accepted(t, there, "covers")
			ca, cb := a.Connections[0], b.Connections[0]
			if ca.Name != "office" || cb.Name != "cloud" || ca.LocalID.String() != "@cloud" || ca.RemoteID.String() != cb.LocalID.String() {
				t.Errorf("who is who:\n%s\n%s", here, there)
			}
			for i, c := range []*config.Config{a, b} {
				conn := c.Connections[0]
				if starts := conn.Children[0].KeepUp(); starts != (i == test.caller) || (conn.RemoteHost != "") != starts {
					t.Errorf("file %d starts: %v, calls %q", i, starts, conn.RemoteHost)
				}
			}
		})
	}
}

func TestSiteToSiteRefuses(t *testing.T) {
	for _, test := range []struct {
		change func(*draft.SiteToSite)
		want   string
	}{
		{func(s *draft.SiteToSite) { s.Here.Name = "Office" }, "each needs a name of its own"},
		{func(s *draft.SiteToSite) { s.Here.Name = "" }, "needs a name"},
		{func(s *draft.SiteToSite) { s.Here.Name = "a.b" }, "other characters"},
		{func(s *draft.SiteToSite) { s.Here.Name = "-a" }, "does not begin"},
		{func(s *draft.SiteToSite) { s.Here.Name = strings.Repeat("a", 64) }, "more than 63"},
		{func(s *draft.SiteToSite) { s.There.Address = "" }, "say where"},
		{func(s *draft.SiteToSite) { s.There.Networks = prefixes("10.0.0.0/8") }, "overlap"},
		{func(s *draft.SiteToSite) { s.There.Networks = prefixes("fd00::/64") }, "same families"},
	} {
		s := tunnel()
		test.change(&s)
		if err := s.Check(); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v, want %q", s, err, test.want)
		} else if strings.Contains(err.Error(), key) {
			t.Errorf("the secret is in %v", err)
		}
	}
}

func TestRemoteAccess(t *testing.T) {
	r := draft.RemoteAccess{
		Gateway: draft.Gateway{Name: "office", Networks: prefixes("10.103.0.0/24"), Address: "vpn.example.org"},
		Pool:    netip.MustParsePrefix("10.11.0.0/24"),
		DNS:     []netip.Addr{netip.MustParseAddr("10.103.0.53")},
		Clients: []draft.Client{{"laptop", key}, {"phone", "0sZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA="}},
	}
	if err := r.Check(); err != nil {
		t.Fatal(err)
	}
	gw := accepted(t, r.File())
	if len(gw.Pools) != 1 || len(gw.SecretEntries) != 2 {
		t.Errorf("the gateway:\n%s", r.File())
	}
	for _, c := range r.Clients {
		conn := accepted(t, r.ClientFile(c)).Connections[0]
		if len(conn.VIPs) != 1 || !conn.Children[0].KeepUp() || gw.Connections[0].RemoteID.Match(conn.LocalID) == 0 {
			t.Errorf("client %s:\n%s", c.Name, r.ClientFile(c))
		}
	}
	bad := r
	bad.Pool = netip.MustParsePrefix("10.103.0.128/25")
	bad.Clients = []draft.Client{{"a", key}, {"a", key}}
	bad.Gateway.Address = ""
	for _, want := range []string{"lend other addresses", "two clients", "to call"} {
		if err := bad.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
