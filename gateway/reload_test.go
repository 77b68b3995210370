package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-vpn/culvert/config"
	"github.com/culvert-vpn/culvert/udp/udptest"
)

// reload loads another configuration, and says what has become of it in words.
func (s *site) reload(conf string) string {
	s.t.Helper()
	cfg := config.Config{}
	if conf != "" {
		cfg = parse(s.t, conf)
	}
	r, err := s.g.Reload(context.Background(), cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	var words []string
	for _, c := range r.Changes {
		words = append(words, strings.TrimSpace(fmt.Sprint(c.Conn, "/", c.Child, " ", c.Kind, " ", strings.Join(c.Keys, " "), " ", c.How)))
	}
	return strings.Join(append(words, r.Warnings...), "; ")
}

// spis are those of all Child SAs of a site.
func (s *site) spis() string {
	var list []string
	for _, conn := range s.g.Status().Connections {
		for _, sa := range conn.IKE {
			for _, c := range sa.Children {
				list = append(list, c.SPIIn+c.State)
			}
		}
	}
	return strings.Join(list, " ")
}

// TestReload changes one end, and sends packets all the time: none is lost.
func TestReload(t *testing.T) {
	twoEnded := replace(confB, "remote_ts = 10.103.0.0/24", "remote_ts = 10.103.0.0/24\n        rekey_time = 2h")
	for _, test := range []struct {
		name, conf, want string
		same             bool
	}{
		{"nothing", confB, "to-a/ unchanged; to-a/net unchanged", true},
		{"in place", twoEnded, "to-a/ unchanged; to-a/net changed rekey_time life_time rand_time in place", true},
		{"narrower", replace(confB, "10.104.0.0/24", "10.104.0.0/25"), "to-a/ unchanged; to-a/net changed local_ts negotiated anew", false},
		{"wider", replace(confB, "10.104.0.0/24", "10.104.0.0/16"), "to-a/ unchanged; to-a/net changed local_ts negotiated anew", false},
		{"rekeyed", replace(confB, "start_action = start", "start_action = start\n        replay_window = 64"), "to-a/ unchanged; to-a/net changed replay_window rekeyed", false},
		{"set up anew", replace(confB, "remote_addrs", "fragmentation = no\n    remote_addrs"), "to-a/ changed fragmentation set up anew; to-a/net unchanged", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b, _ := pair(t, confA, confB)
				defer finish(t, a, b)
				b.up()
				before := b.spis()
				said := make(chan string, 1)
				go func() { said <- b.reload(test.conf) }()
				for i := range 100 {
					packet := ping(hostB, hostA, fmt.Sprint("there ", i))
					b.send(packet)
					a.wants(packet)
					back := ping(hostA, hostB, fmt.Sprint("back ", i))
					a.send(back)
					b.wants(back)
					time.Sleep(100 * time.Millisecond)
				}
				if got := <-said; got != test.want {
					t.Errorf("says %q\nwant %q", got, test.want)
				}
				if after := b.spis(); (before == after) != test.same || strings.Count(after, "up") != 1 {
					t.Errorf("before: %s, after: %s", before, after)
				}
			})
		})
	}
}

// TestReloadPolicies: what is removed leaves, what is added is there, and traffic follows what is configured.
func TestReloadPolicies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host := &fakeHost{local: addrB, mtu: 1500}
		box := &nat{public: public}
		net := udptest.NewNetwork()
		net.Hook(box.hook)
		a := start(t, net, addrA, confA)
		b := start(t, net, addrB, confB, WithHost(host))
		defer finish(t, a, b)
		b.up()
		if got := b.reload(""); got != "to-a/ removed" {
			t.Errorf("says %q", got)
		}
		time.Sleep(10 * time.Second)
		if s := b.g.Status(); len(s.Connections) != 0 || len(s.Strangers) != 0 {
			t.Errorf("left: %+v", s)
		}
		b.send(ping(hostB, hostA, "nowhere"))
		a.wantsNothing()
		if n := b.drops(DropNoPolicy); n != 1 {
			t.Errorf("%d packets had no policy, want 1", n)
		}
		if err := b.g.Up(context.Background(), "to-a", "", nil); err == nil || !strings.Contains(err.Error(), "no connection") {
			t.Errorf("up: %v", err)
		}
		if got := b.reload(replace(confB, "to-a", "renamed")); got != "renamed/ added" {
			t.Errorf("says %q", got)
		}
		b.up()
		packet := ping(hostB, hostA, "there")
		b.send(packet)
		a.wants(packet)
	})
}

// TestReloadRefuses: an error leaves everything as it was.
func TestReloadRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, _ := pair(t, confA, confB)
		b.up()
		before := b.spis()
		twice := parse(t, confB)
		twice.Connections = append(twice.Connections, twice.Connections[0])
		if _, err := b.g.Reload(context.Background(), twice); err == nil || !strings.Contains(err.Error(), "two connections") {
			t.Errorf("two connections of a name: %v", err)
		}
		children := parse(t, confB)
		children.Connections[0].Children = append(children.Connections[0].Children, children.Connections[0].Children[0])
		if _, err := b.g.Reload(context.Background(), children); err == nil || !strings.Contains(err.Error(), "two children") {
			t.Errorf("two children of a name: %v", err)
		}
		if after := b.spis(); after != before {
			t.Errorf("before: %s, after: %s", before, after)
		}
		finish(t, a, b)
		if _, err := b.g.Reload(context.Background(), parse(t, confB)); !errors.Is(err, ErrStopped) {
			t.Errorf("after the end: %v", err)
		}
	})
}

// TestReloadEndsWaiting: who waits for a connection that is removed is told.
func TestReloadEndsWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, udptest.NewNetwork(), addrB, confB) // nobody answers
		defer finish(t, b)
		over := make(chan error, 1)
		go func() { over <- b.g.Up(context.Background(), "to-a", "", nil) }()
		time.Sleep(time.Second)
		b.reload("")
		if err := <-over; err == nil || !strings.Contains(err.Error(), "not configured any more") {
			t.Errorf("up: %v", err)
		}
	})
}

// names is a name server of a test.
type names struct {
	mu     sync.Mutex
	addrs  map[string]netip.Addr // of names that are answered; others take their time
	asking int                   // at the moment
	most   int
}

func (n *names) lookup(ctx context.Context, _, host string) ([]netip.Addr, error) {
	n.mu.Lock()
	addr, ok := n.addrs[host]
	n.asking++
	n.most = max(n.most, n.asking)
	n.mu.Unlock()
	if !ok {
		<-ctx.Done()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asking--
	if !ok {
		return nil, ctx.Err()
	}
	return []netip.Addr{addr}, nil
}

func (n *names) set(host string, addr netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.addrs[host] = addr
}

// TestNameChanges: the name of a peer is resolved at each attempt, so a peer that is dead is found where its name leads now.
func TestNameChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dns := &names{addrs: map[string]netip.Addr{"a.example": addrA}}
		moved := netip.MustParseAddr("203.0.113.99")
		net := udptest.NewNetwork()
		a := start(t, net, addrA, confA)
		b := start(t, net, addrB, replace(confB, "remote_addrs = 203.0.113.1", "remote_addrs = a.example"),
			func(o *options) { o.lookup = dns.lookup })
		b.up()
		// a dies: nothing is said
		net.Hook(func(p *udptest.Packet) bool { return p.From.Addr() != addrA && p.To.Addr() != addrA })
		elsewhere := start(t, net, moved, confA)
		dns.set("a.example", moved)
		time.Sleep(4 * time.Minute) // 30 s until the probe, and all its repetitions
		b.up()
		if remote := b.g.Status().Connections[0].IKE[0].Remote; remote != netip.AddrPortFrom(moved, 4500).String() {
			t.Errorf("the peer is at %s", remote)
		}
		finish(t, a, b, elsewhere)
	})
}

// TestNamesTogether: names that are not answered do not hold up those that are, and only so many are asked for at a time.
func TestNamesTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dns := &names{addrs: map[string]netip.Addr{"a.example": addrA}}
		var conf strings.Builder
		for i := range dnsQuestions - 1 {
			name := fmt.Sprintf("dead%d", i)
			conf.WriteString(strings.Split(replace(confB, "to-a", name, "203.0.113.1", name+".example", "10.103", fmt.Sprint("10.", i), "id = dead", "id = @dead"), "secrets {")[0])
		}
		conf.WriteString(replace(confB, "remote_addrs = 203.0.113.1", "remote_addrs = a.example"))
		net := udptest.NewNetwork()
		a := start(t, net, addrA, confA)
		b := start(t, net, addrB, conf.String(), func(o *options) { o.lookup = dns.lookup })
		defer finish(t, a, b)
		time.Sleep(time.Second)
		s := b.g.Status()
		if last := s.Connections[len(s.Connections)-1]; !last.Up {
			t.Errorf("%s is not up: %+v", last.Name, last)
		}
		if dns.most > dnsQuestions {
			t.Errorf("%d names at a time", dns.most)
		}
	})
}
