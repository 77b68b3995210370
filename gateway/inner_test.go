package gateway

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/udp/udptest"
)

// roadA lends B an address, and names servers for a domain.
const roadA = `
connections {
  to-b {
    pools = clients
    local {
      auth = psk
      id = 203.0.113.1
    }
    remote {
      auth = psk
      id = @foo
    }
    children {
      net {
        local_ts = 10.103.0.0/24
      }
    }
  }
}
pools {
  clients {
    addrs = 10.11.0.0/24
    dns = 10.103.0.53
    dns_domain = corp.example
  }
}
secrets {
  ike-b {
    id-1 = @foo
    secret = "qwerty"
  }
}
`

func roadB(t *testing.T) string {
	return replace(replace(confB, "local_ts = 10.104.0.0/24", ""), "remote_addrs = 203.0.113.1", "remote_addrs = 203.0.113.1\n    vips = 0.0.0.0")
}

var virtual = netip.MustParseAddr("10.11.0.1")

func newFakeHost(local netip.Addr) *fakeHost {
	return &fakeHost{local: local, mtu: 1400, names: make(chan Names, 9)}
}

// told are the names that the host was told of next; nothing but a server 0.0.0.0 if it was not told of any.
func (h *fakeHost) told() Names {
	synctest.Wait()
	select {
	case n := <-h.names:
		return n
	default:
		return Names{Servers: []netip.Addr{netip.IPv4Unspecified()}}
	}
}

func protectedText(list []Policy) (text string) {
	for _, p := range list {
		text += fmt.Sprint(p.Local, " ", p.Remote, ";")
	}
	return text
}

// lastAssigned is what the host has now.
func (h *fakeHost) lastAssigned() string {
	if len(h.assigned) == 0 {
		return "never"
	}
	return fmt.Sprint(h.assigned[len(h.assigned)-1])
}

// TestRoadWarrior gives B an address of A's pool: the host gets it, with name servers, its traffic is protected while the peer is away,
// and nothing is left after down. A remembers the address.
func TestRoadWarrior(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "leases.json")
	synctest.Test(t, func(t *testing.T) {
		net := udptest.NewNetwork()
		hostOfA, hostOfB := newFakeHost(addrA), newFakeHost(addrB)
		a := start(t, net, addrA, roadA, WithHost(hostOfA), WithState(filepath.Dir(path)))
		synctest.Wait()
		if got := protectedText(hostOfA.protects[0]); got != "[10.103.0.0/24] [10.11.0.0/24];" {
			t.Errorf("A protects %s: what is sent to the pool must go nowhere else", got)
		}
		b := start(t, net, addrB, roadB(t), WithHost(hostOfB))
		b.up()
		if got := hostOfB.lastAssigned(); got != "[10.11.0.1]" {
			t.Errorf("B's host has %s", got)
		}
		if n := hostOfB.told(); fmt.Sprint(n) != "{[10.103.0.53] [corp.example]}" {
			t.Errorf("B's host resolves with %v", n)
		}
		wantProtected := func(when string) {
			t.Helper()
			synctest.Wait()
			last := protectedText(hostOfB.protects[len(hostOfB.protects)-1])
			if last != "[10.11.0.1/32] [10.103.0.0/24];" {
				t.Errorf("%s B protects %s", when, last)
			}
		}
		wantProtected("while it is up")
		packet := ping(virtual, hostA, "hello")
		b.send(packet)
		if got := a.received(); len(got) != 1 || !bytes.Equal(got[0][20:], packet[20:]) {
			t.Errorf("A's host got %d packets", len(got))
		}
		a.send(ping(hostA, virtual, "hello"))
		if got := b.received(); len(got) != 1 {
			t.Errorf("B's host got %d packets", len(got))
		}
		status := a.g.Status()
		if p := status.Pools; len(p) != 1 || p[0].Online != 1 || p[0].Size != 254 || p[0].Leases[0].Identity != "@foo" || p[0].Leases[0].Address != "10.11.0.1" {
			t.Errorf("A's pools: %+v", p)
		}
		if got := status.Connections[0].IKE[0].RemoteVIPs; !slices.Equal(got, []string{"10.11.0.1"}) {
			t.Errorf("A says that B has %v", got)
		}
		if s := b.g.Status().Connections[0]; s.Assigned == nil || fmt.Sprint(*s.Assigned) != "{[10.11.0.1] [10.103.0.53] [corp.example]  []}" || len(s.IKE[0].LocalVIPs) != 1 {
			t.Errorf("B says %+v", s.Assigned)
		}
		finish(t, a)
		wantProtected("while the peer is away")
		b.send(packet)
		synctest.Wait()
		if n := b.g.Status().Drops[DropNoSA.String()]; n == 0 {
			t.Error("a packet for the peer that is away is not dropped")
		}
		if got := hostOfB.lastAssigned(); got != "[10.11.0.1]" {
			t.Errorf("while the peer is away, B's host has %s", got)
		}
		if err := b.g.Down(t.Context(), "to-a", "", nil); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if got := hostOfB.lastAssigned(); got != "[]" {
			t.Errorf("after down B's host has %s", got)
		}
		if n := hostOfB.told(); len(n.Servers) != 0 {
			t.Errorf("after down B's host resolves with %v", n)
		}
		if last := hostOfB.protects[len(hostOfB.protects)-1]; len(last) != 0 {
			t.Errorf("after down B protects %v", last)
		}
		finish(t, b)
	})
	var saved struct {
		Leases []struct{ Address, Identity string }
	}
	if text, err := os.ReadFile(path); err != nil || json.Unmarshal(text, &saved) != nil || fmt.Sprint(saved.Leases) != "[{10.11.0.1 @foo}]" {
		t.Errorf("remembered is %s, %v", text, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}

// TestNamesUnused tells what was assigned and is not in use.
func TestNamesUnused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text bytes.Buffer
		net := udptest.NewNetwork()
		host := newFakeHost(addrB)
		a := start(t, net, addrA, roadA)
		b := start(t, net, addrB, roadB(t), WithHost(host), WithLogger(slog.New(slog.NewTextHandler(&text, nil))))
		if err := b.g.do(t.Context(), func(*control) { host.namesFailure = fmt.Errorf("there is nobody to tell") }); err != nil {
			t.Fatal(err)
		}
		b.up()
		host.told()
		synctest.Wait()
		if s := b.g.Status().Connections[0].Assigned; s == nil || s.Unused != "there is nobody to tell" {
			t.Errorf("assigned: %+v", s)
		}
		for _, want := range []string{"are not used: there is nobody to tell", "10.103.0.53", "corp.example", "resolv.conf"} {
			if !strings.Contains(text.String(), want) {
				t.Errorf("the log lacks %q:\n%s", want, text.String())
			}
		}
		finish(t, b)
		finish(t, a)
	})
}

// TestNamesOfSeveral: a peer's name servers are not asked for the names of another peer's network (RFC 8598 8).
func TestNamesOfSeveral(t *testing.T) {
	in := newInner(nil)
	assigned := func(addr, dns string, domains ...string) ike.Assignment {
		a := ike.Assignment{Addrs: []netip.Addr{netip.MustParseAddr(addr)}, Domains: domains}
		if dns != "" {
			a.DNS = []netip.Addr{netip.MustParseAddr(dns)}
		}
		return a
	}
	want := func(why, addrs, servers, domains string) {
		t.Helper()
		got, n := in.all()
		if fmt.Sprint(got) != addrs || fmt.Sprint(n.Servers) != servers || fmt.Sprint(n.Domains) != domains {
			t.Errorf("%s: %v, %v for %v; want %s, %s for %s", why, got, n.Servers, n.Domains, addrs, servers, domains)
		}
	}
	unused := func(conn string) string {
		if s := in.status(&ike.Connection{Name: conn}); s != nil {
			return s.Unused
		}
		return ""
	}
	want("nothing", "[]", "[]", "[]")
	in.put("none", assigned("10.9.0.1", ""))
	in.put("corp", assigned("10.11.0.1", "10.103.0.53", "corp.example"))
	want("one", "[10.9.0.1 10.11.0.1]", "[10.103.0.53]", "[corp.example]")
	in.put("twin", assigned("10.11.0.2", "10.103.0.53", "corp.example", "lab.example"))
	want("another one of the same gateway", "[10.9.0.1 10.11.0.1 10.11.0.2]", "[10.103.0.53]", "[corp.example lab.example]")
	in.put("club", assigned("10.12.0.1", "10.12.0.53", "corp.example"))
	want("another gateway", "[10.9.0.1 10.11.0.1 10.11.0.2 10.12.0.1]", "[10.103.0.53]", "[corp.example lab.example]")
	if !strings.Contains(unused("club"), `connection "corp"`) || unused("twin")+unused("corp")+unused("none") != "" {
		t.Errorf("not in use: %q, but %q %q %q", unused("club"), unused("corp"), unused("twin"), unused("none"))
	}
	in.put("corp", assigned("10.11.0.9", "10.103.0.53", "corp.example"))
	want("who was first stays first", "[10.9.0.1 10.11.0.9 10.11.0.2 10.12.0.1]", "[10.103.0.53]", "[corp.example lab.example]")
	in.put("twin", assigned("10.11.0.2", "10.103.0.53"))
	want("one of them for all names", "[10.9.0.1 10.11.0.9 10.11.0.2 10.12.0.1]", "[10.103.0.53]", "[]")
	in.put("corp", ike.Assignment{})
	in.put("twin", ike.Assignment{})
	want("the next gateway's turn", "[10.9.0.1 10.12.0.1]", "[10.12.0.53]", "[corp.example]")
	if unused("club") != "" {
		t.Errorf("in use now, but %q", unused("club"))
	}
}

// TestNamesTakenBack: when the gateway ends, its servers are not asked any more.
func TestNamesTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := udptest.NewNetwork()
		host := newFakeHost(addrB)
		a := start(t, net, addrA, roadA)
		b := start(t, net, addrB, roadB(t), WithHost(host))
		b.up()
		host.told()
		finish(t, b)
		if n := host.told(); len(n.Servers) != 0 {
			t.Errorf("in the end %v", n)
		}
		finish(t, a)
	})
}

// TestLeasesFile reads what is remembered, and puts aside what cannot be read.
func TestLeasesFile(t *testing.T) {
	cfg := parse(t, roadA)
	path := filepath.Join(t.TempDir(), "leases.json")
	var text bytes.Buffer
	log := slog.New(slog.NewTextHandler(&text, nil))
	open := func() *leases { return openLeases(cfg.Pools, filepath.Dir(path), log) }
	lend := func(l *leases) string {
		_, a, _ := l.Lend(time.Now(), []string{"clients"}, cfg.Connections[0].LocalID, netip.IPv4Unspecified())
		return a.String()
	}
	if l := open(); text.Len() > 0 || len(l.Leases()) != 0 {
		t.Errorf("without a file: %s", text.String())
	}
	const remembered = `{"version":1,"leases":[{"pool":"clients","address":"10.11.0.77","identity":"203.0.113.1","since":"2026-01-01T00:00:00Z"}]}`
	if err := os.WriteFile(path, []byte(remembered), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := lend(open()); got != "10.11.0.77" {
		t.Errorf("remembered is 10.11.0.77, lent is %s", got)
	}
	if err := os.WriteFile(path, []byte(remembered[:40]), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := lend(open()); got != "10.11.0.1" {
		t.Errorf("with half a file, lent is %s", got)
	}
	if !strings.Contains(text.String(), "put aside") || !strings.Contains(text.String(), path) {
		t.Errorf("the log says %s", text.String())
	}
	if aside, err := os.ReadFile(path + ".unreadable"); err != nil || string(aside) != remembered[:40] {
		t.Errorf("put aside is %s, %v", aside, err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the file is still there: %v", err)
	}
}

// TestLeasesUnwritable: a full disk is told once, and the gateway goes on.
func TestLeasesUnwritable(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file", "leases.json")
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		var text bytes.Buffer
		net := udptest.NewNetwork()
		a := start(t, net, addrA, roadA, WithState(filepath.Dir(path)), WithLogger(slog.New(slog.NewTextHandler(&text, nil))))
		b := start(t, net, addrB, roadB(t))
		b.up()
		finish(t, b)
		synctest.Wait()
		finish(t, a)
		if n := strings.Count(text.String(), "cannot be remembered"); n != 1 {
			t.Errorf("told %d times:\n%s", n, text.String())
		}
	})
}

func TestSurround(t *testing.T) {
	for _, c := range []struct{ first, last, want string }{
		{"10.11.0.1", "10.11.0.254", "10.11.0.0 10.11.0.255"},
		{"10.11.0.0", "10.11.0.255", "10.11.0.0 10.11.0.255"},
		{"10.11.0.10", "10.11.0.99", "10.11.0.10 10.11.0.99"},
		{"10.11.0.7", "10.11.0.7", "10.11.0.7 10.11.0.7"},
		{"0.0.0.1", "255.255.255.254", "0.0.0.0 255.255.255.255"},
		{"2001:db8::1", "2001:db8::ffff:ffff:ffff:fffe", "2001:db8:: 2001:db8::ffff:ffff:ffff:ffff"},
	} {
		first, last := surround(netip.MustParseAddr(c.first), netip.MustParseAddr(c.last))
		if got := fmt.Sprint(first, last); got != c.want {
			t.Errorf("%s to %s: %s, want %s", c.first, c.last, got, c.want)
		}
	}
}
