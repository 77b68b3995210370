package gateway

import (
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-vpn/culvert/explain"
	"github.com/culvert-vpn/culvert/udp/udptest"
)

// waiting is confB without anything that starts it.
var waiting = strings.Replace(confB, "start_action = start", "", 1)

// TestBothWait: a connection that neither calls nor is called is told of after a while, and sooner if there is traffic for it; what is
// said depends on what can be known.
func TestBothWait(t *testing.T) {
	for _, c := range []struct {
		name    string
		conf    string
		traffic bool
		local   string // of the host
		after   time.Duration
		cause   explain.Cause
		side    explain.Side // of the first fix
	}{
		{"behind a NAT, with somebody to call", waiting, false, "172.16.0.1", waitLong, explain.BothWait, explain.Here},
		{"with traffic", waiting, true, "172.16.0.1", waitShort, explain.BothWait, explain.Here},
		{"behind a NAT, with nobody to call", strings.Replace(waiting, "remote_addrs = 203.0.113.1", "", 1), true, "172.16.0.1", waitShort, explain.NotForwarded, explain.Between},
		{"public, with nobody to call", strings.Replace(waiting, "remote_addrs = 203.0.113.1", "", 1), true, "192.0.2.10", waitShort, explain.BothWait, explain.Peer},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				host := &fakeHost{local: netip.MustParseAddr(c.local), mtu: 1500}
				b := start(t, udptest.NewNetwork(), addrB, c.conf, WithHost(host))
				defer finish(t, b)
				if c.traffic {
					b.send(ping(hostB, hostA, "anybody there?"))
				}
				time.Sleep(c.after - 2*time.Second)
				if w := b.g.Status().Connections[0].Warnings; len(w) > 0 {
					t.Errorf("too soon: %+v", w)
				}
				time.Sleep(4 * time.Second)
				w := b.g.Status().Connections[0].Warnings
				if len(w) != 1 || w[0].Diagnosis.Cause != c.cause || w[0].Diagnosis.Fixes[0].Side != c.side || w[0].Remedy == "" {
					t.Fatalf("%+v", w)
				}
				time.Sleep(10 * time.Minute)
				if len(b.g.Status().Connections[0].Warnings) != 1 {
					t.Error("it is not told once")
				}
			})
		})
	}
}

// TestNothingToWarnOf: a connection that comes up, or tries to, does not wait. That the time of the test is long ago is told.
func TestNothingToWarnOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := udptest.NewNetwork()
		box := &nat{public: public}
		network.Hook(box.hook)
		a, b := start(t, network, addrA, confA), start(t, network, addrB, confB)
		defer finish(t, a, b)
		b.up()
		time.Sleep(10 * time.Minute)
		for _, s := range []*site{a, b} {
			if st := s.g.Status(); len(st.Connections[0].Warnings) > 0 || len(st.Warnings) != 1 || st.Warnings[0].Diagnosis.Cause != explain.ClockJumps {
				t.Errorf("%+v, %+v", st.Connections[0].Warnings, st.Warnings)
			}
		}
	})
}

// TestClockSet: a calendar that is set is told of once, and one that is in the past at all.
func TestClockSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		by := time.Duration(0)
		c := newClock(func() time.Duration { return time.Since(began) })
		c.calendar = func() time.Time { return time.Now().Round(0).Add(by) }
		for _, set := range []time.Duration{0, 3 * time.Second, time.Hour, -26 * time.Hour, 0} {
			by += set
			time.Sleep(time.Minute)
			want := set
			if set.Abs() < leap {
				want = 0
			}
			if got := c.jumped(); got != want {
				t.Errorf("set by %v: %v", set, got)
			}
			if got := c.jumped(); got != 0 {
				t.Errorf("set by %v: %v once more", set, got)
			}
		}
	})
	for _, d := range []*explain.Diagnosis{clockSet(-time.Hour, time.Now()), clockBehind(time.Unix(100, 0))} {
		if d.Cause != explain.ClockJumps || !strings.Contains(d.Text, "tunnels do not depend on it") || len(d.Fixes) == 0 {
			t.Errorf("%+v", d)
		}
	}
	if d := clockSet(-time.Hour, time.Now()); !strings.Contains(d.Text, "set back by 1h0m0s") {
		t.Error(d.Text)
	}
}

// TestOverlap: a network that is in two places is told of; the usual stars, neighbours and policies for everything are not.
func TestOverlap(t *testing.T) {
	for _, c := range []struct {
		name          string
		local, remote string
		networks      string
		want          string // in the text; "" for nothing
	}{
		{"containers", "10.104.0.0/24", "172.17.0.0/16", "docker0 172.17.0.1/16", "the interface docker0 of this host has it, too"},
		{"inside of it", "10.104.0.0/24", "172.16.0.0/12", "docker0 172.17.0.1/16", "172.17.0.0/16 is at the peer's"},
		{"a part of a site", "10.104.0.0/24", "10.104.128.0/24", "lan 10.104.0.1/16", "10.104.128.0/24 is at the peer's"},
		{"a part of something else", "10.104.0.0/24", "10.1.128.0/24", "wan 10.1.0.1/16", ""},
		{"a neighbour", "10.104.0.0/24", "10.1.0.9/32", "wan 10.1.0.1/24", ""},
		{"everything", "10.104.0.0/24", "0.0.0.0/0", "wan 10.1.0.1/24, docker0 172.17.0.1/16", ""},
		{"a star", "10.104.0.0/24", "10.0.0.0/8", "lan 10.104.0.1/24", ""},
		{"the own device", "10.104.0.0/24", "10.103.0.0/24", "culvert0 10.103.0.7/32", ""},
		{"both ends", "192.168.1.0/24", "192.168.1.0/24", "", "is in local_ts and in remote_ts"},
		{"neither", "10.104.0.0/24", "10.103.0.0/24", "lan 10.104.0.1/24, wan 172.16.0.1/24", ""},
	} {
		conf := strings.NewReplacer("10.104.0.0/24", c.local, "10.103.0.0/24", c.remote).Replace(confB)
		conn := parse(t, conf).Connections[0]
		var networks []hostNetwork
		for _, n := range strings.Split(c.networks, ", ") {
			if device, prefix, ok := strings.Cut(n, " "); ok {
				networks = append(networks, hostNetwork{device, netip.MustParsePrefix(prefix)})
			}
		}
		list := atBothEnds(conn, conn.Children[0], networks, "culvert0")
		if d := sameNetworks(conn.Children[0]); d != nil {
			list = append(list, d)
		}
		switch {
		case c.want == "" && len(list) > 0:
			t.Errorf("%s: %q", c.name, list[0].Text)
		case c.want != "" && (len(list) != 1 || !strings.Contains(list[0].Text, c.want) || list[0].Cause != explain.OverlappingNets || len(list[0].Fixes) == 0):
			t.Errorf("%s: %+v", c.name, list)
		}
		if c.want != "" && len(list) > 0 && (len(list[0].Fixes[0].Lines) > 0) != strings.HasPrefix(c.networks, "docker") {
			t.Errorf("%s: pastes %q", c.name, list[0].Fixes[0].Lines)
		}
	}
}

// TestOverlapComesAndGoes: what a change of addresses brings is told, and goes with it; two connections are compared, too.
func TestOverlapComesAndGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		twin := strings.Replace(confB, "connections {", "connections { spare : connections.to-a { }", 1)
		b := start(t, udptest.NewNetwork(), addrB, twin)
		defer finish(t, b)
		warned := func(networks ...hostNetwork) (list []string) {
			lab := make(chan bool)
			go func() {
				b.g.answer(func(c *control) { c.networks = networks; c.reviewNetworks() })
				close(lab)
			}()
			<-lab
			for _, conn := range b.g.Status().Connections {
				for _, w := range conn.Warnings {
					list = append(list, conn.Name+": "+w.Text)
				}
			}
			return list
		}
		docker := hostNetwork{"docker0", netip.MustParsePrefix("10.103.0.1/24")}
		if list := warned(); len(list) != 1 || !strings.Contains(list[0], "claims the same traffic") {
			t.Errorf("%q", list)
		}
		if list := warned(docker); len(list) != 3 {
			t.Errorf("%q", list)
		}
		if list := warned(); len(list) != 1 {
			t.Errorf("%q", list)
		}
	})
}
