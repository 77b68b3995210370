package doctor

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/culvert-vpn/culvert/config"
	"github.com/culvert-vpn/culvert/explain"
	"github.com/culvert-vpn/culvert/ident"
	"github.com/culvert-vpn/culvert/ike"
)

const cloudConf = `
connections {
	office {
		proposals = aes256gcm16-prfsha256-x25519, default
		LOCAL_ADDRS
		remote_addrs = 203.0.113.1
		local { auth = psk
			ID
		}
		remote { auth = psk
			id = "@the office"
		}
		children { net {
			local_ts = 10.104.0.0/24, 10.105.0.0/24
			remote_ts = 10.103.0.0/24
			start_action = start
		} }
	}
}
secrets { ike-office {
	OWNER
	secret = "not to be seen anywhere"
} }
`

func examined(t *testing.T, localAddrs, id, owner string) *examination {
	t.Helper()
	conf, _, err := config.Parse("x.conf", []byte(strings.NewReplacer("LOCAL_ADDRS", localAddrs, "ID", id, "OWNER", owner).Replace(cloudConf)), config.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return &examination{conf: conf}
}

// TestJudgeTranslated goes through what people configure behind a 1:1 NAT.
func TestJudgeTranslated(t *testing.T) {
	m := Mapping{addr("172.16.0.1"), addr("192.0.2.10")}
	const theirs = `id-1 = "@the office"`
	for _, c := range []struct {
		name, localAddrs, id, owner string
		result                      Result
		fixes                       int
		here, peer                  []string // lines
	}{
		{"right", "", "id = @cloud", theirs, Note, 1, nil, []string{"remote_addrs = 192.0.2.10", "id = @cloud", `id = @the office`, "local_ts = 10.103.0.0/24", "remote_ts = 10.104.0.0/24, 10.105.0.0/24", "ike-office {"}},
		{"bound to the private address", "local_addrs = 172.16.0.1", "id = @cloud", theirs, Note, 1, nil, []string{"id = @cloud"}},
		{"known by the public address", "", "id = 192.0.2.10", theirs, Note, 1, nil, []string{"id = 192.0.2.10"}},
		{"the public address as its own", "local_addrs = 192.0.2.10", "id = @cloud", theirs, Failure, 2, []string{"local_addrs = %any", "id = @cloud", "proposals = aes256gcm16-prfsha256-x25519, default"}, []string{"id = @cloud"}},
		{"no identity", "", "", theirs, Warning, 2, []string{"auth = psk", "id = @"}, []string{"id = @"}},
		{"the private address as identity", "", "id = 172.16.0.1", theirs, Warning, 2, []string{"id = @"}, []string{"id = @"}},
		{"a secret of the old identity", "", "id = 172.16.0.1", "id-1 = 172.16.0.1", Warning, 2, []string{"id-here = @"}, []string{"id-1 = @"}},
	} {
		x := examined(t, c.localAddrs, c.id, c.owner)
		got := x.judgeTranslated(x.conf.Connections[0], m)
		if got.Result != c.result || len(got.Fixes) != c.fixes {
			t.Errorf("%s: %+v, want %s and %d fixes", c.name, got, c.result, c.fixes)
			continue
		}
		peer := got.Fixes[c.fixes-1]
		if peer.Side != explain.Peer {
			t.Errorf("%s: the last fix is for %s", c.name, peer.Side)
		}
		check := func(f explain.Fix, want []string) {
			text := strings.Join(f.Lines, "\n")
			for _, line := range want {
				if !strings.Contains(text, "  "+line) {
					t.Errorf("%s: the lines for %s lack %q:\n%s", c.name, f.Side, line, text)
				}
			}
			if strings.Contains(text, "not to be seen") {
				t.Errorf("%s: the secret is in the lines", c.name)
			}
		}
		check(peer, c.peer)
		if c.here != nil {
			check(got.Fixes[0], c.here)
		}
	}
}

// TestLinesAreAccepted wants what is printed for this side to be a configuration that says what was meant.
func TestLinesAreAccepted(t *testing.T) {
	x := examined(t, "local_addrs = 192.0.2.10", "", `id-1 = "@the office"`)
	id, _ := ident.Parse("@vm-7")
	c := x.conf.Connections[0]
	text := strings.Join(append(x.fixHere(c, id, true).Lines, `secrets { ike-office { secret = "sixteen bytes or more" } }`), "\n")
	conf, _, err := config.Parse("printed", []byte(text), config.Options{})
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	got := conf.Connections[0]
	if got.LocalID != id || len(got.LocalAddrs) != 0 || got.RemoteID != c.RemoteID || len(got.Proposals) != len(c.Proposals) || len(got.Children[0].LocalTS) != 2 || !got.Children[0].KeepUp() {
		t.Errorf("%+v", got)
	}
	text = strings.Join(append(x.fixOfPeer(c, id, addr("192.0.2.10")).Lines, `secrets { ike-office { secret = "sixteen bytes or more" } }`), "\n")
	if conf, _, err = config.Parse("printed", []byte(text), config.Options{}); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	got = conf.Connections[0]
	if got.RemoteID != ident.Literal(id) || got.RemoteHost != "192.0.2.10" || got.LocalID.String() == "" || len(got.Children[0].RemoteTS) != 2 || got.Children[0].KeepUp() {
		t.Errorf("the peer's: %+v", got)
	}
}

func TestTranslated(t *testing.T) {
	f := CloudFacts{AWS, []Mapping{{Private: addr("10.0.0.1")}, {addr("10.0.0.2"), addr("192.0.2.2")}, {addr("10.0.0.3"), addr("192.0.2.3")}}}
	for bound, want := range map[string]string{"0.0.0.0/32": "192.0.2.2", "10.0.0.3/32": "192.0.2.3", "192.0.2.3/32": "192.0.2.3"} {
		if m, ok := f.translated([]netip.Prefix{netip.MustParsePrefix(bound)}); !ok || m.Public != addr(want) {
			t.Errorf("%s: %v", bound, m)
		}
	}
	if _, ok := (&CloudFacts{Google, []Mapping{{addr("192.0.2.1"), addr("192.0.2.1")}, {Private: addr("10.0.0.1")}}}).translated(nil); ok {
		t.Error("no NAT is one")
	}
	text := judgeCloud(&CloudFacts{Azure, []Mapping{{addr("10.0.0.1"), addr("192.0.2.1")}, {Private: addr("10.0.0.2")}, {addr("192.0.2.3"), addr("192.0.2.3")}}}).Text
	if text != "this host is with Azure; 10.0.0.1 is seen by others as 192.0.2.1: a 1:1 NAT; 10.0.0.2 has no public address; 192.0.2.3 is public itself" {
		t.Error(text)
	}
}

func TestNameFor(t *testing.T) {
	for _, c := range []struct{ host, peer, want string }{
		{"vm-7.example.com", "@office", "@vm-7.example.com"}, {"localhost", "@office", "@net-gateway"}, {"", "%any", "@net-gateway"}, {"büro 3", "@office", "@b-ro-3"},
		{"office", "@office", "@net-gateway"}, {strings.Repeat("x", 64), "@office", "@net-gateway"}, {"...", "@net-gateway", "@gateway"}, {"a", "*.example.com", "@a"},
	} {
		p, err := ident.ParsePattern(c.peer)
		if err != nil {
			t.Fatal(err)
		}
		if got := nameFor(c.host, &ike.Connection{Name: "net", RemoteID: p}); got.String() != c.want {
			t.Errorf("%q: %v, want %s", c.host, got, c.want)
		}
	}
}
