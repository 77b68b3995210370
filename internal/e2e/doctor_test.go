//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/doctor"
	"github.com/culvert-vpn/culvert/explain"
)

// examine runs culvert doctor on the host of a gateway, and returns its report, with what it printed for people.
func examine(t *testing.T, c *Culvert, args ...string) (doctor.Report, string) {
	t.Helper()
	var report doctor.Report
	text, err := c.Ctl(append([]string{"doctor", "--json", "--config", "/run/culvert.conf"}, args...)...)
	if jsonErr := json.Unmarshal([]byte(text), &report); jsonErr != nil {
		t.Fatalf("culvert doctor: %v, %v: %s", err, jsonErr, text)
	}
	if failed := report.Count(doctor.Failure) > 0; failed != (err != nil) || failed && !strings.Contains(err.Error(), "exit status 5") {
		t.Errorf("culvert doctor found %d failures and ended with %v", report.Count(doctor.Failure), err)
	}
	return report, text
}

// found is the check of a name, of a connection or of none.
func found(t *testing.T, r doctor.Report, id, connection string) doctor.Check {
	t.Helper()
	for _, c := range r.Checks {
		if c.ID == id && c.Connection == connection {
			return c
		}
	}
	t.Fatalf("the report has no %s of %q: %+v", id, connection, r.Checks)
	return doctor.Check{}
}

// wantCheck wants a check to have come out so, in words with these in them.
func wantCheck(t *testing.T, r doctor.Report, id, connection string, result doctor.Result, cause explain.Cause, words ...string) doctor.Check {
	t.Helper()
	c := found(t, r, id, connection)
	if c.Result != result || c.Cause != cause {
		t.Errorf("%s is %s (%s), want %s (%s): %s", id, c.Result, c.Cause, result, cause, c.Text)
	}
	for _, w := range words {
		if !strings.Contains(c.Text, w) {
			t.Errorf("%s says %q, which lacks %q", id, c.Text, w)
		}
	}
	return c
}

// clouds are the metadata services of a machine that is 172.16.0.1 and is seen as 192.0.2.10.
var clouds = map[string]http.HandlerFunc{
	"AWS": func(w http.ResponseWriter, r *http.Request) {
		const macs = "/latest/meta-data/network/interfaces/macs/"
		if r.URL.Path == "/latest/api/token" && r.Method == http.MethodPut && r.Header.Get("X-aws-ec2-metadata-token-ttl-seconds") != "" {
			fmt.Fprint(w, "a-token==")
			return
		}
		if r.Header.Get("X-aws-ec2-metadata-token") != "a-token==" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		answer, ok := map[string]string{
			macs:                                   "02:29:96:8f:6a:2d/",
			macs + "02:29:96:8f:6a:2d/local-ipv4s": "172.16.0.1",
			macs + "02:29:96:8f:6a:2d/ipv4-associations/":           "192.0.2.10",
			macs + "02:29:96:8f:6a:2d/ipv4-associations/192.0.2.10": "172.16.0.1",
		}[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
		}
		fmt.Fprint(w, answer)
	},
	"Google Cloud": func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Metadata-Flavor") != "Google" || r.URL.Path != "/computeMetadata/v1/instance/network-interfaces/" || r.URL.Query().Get("recursive") != "true" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Metadata-Flavor", "Google")
		fmt.Fprint(w, `[{"accessConfigs":[{"externalIp":"192.0.2.10","type":"ONE_TO_ONE_NAT"}],"dnsServers":["169.254.169.254"],"gateway":"172.16.0.254","ip":"172.16.0.1","mac":"42:01:0a:80:00:02","mtu":1460}]`)
	},
	// Of an address of the Standard SKU only the description of the load balancer tells.
	"Azure": func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Metadata") != "true":
			w.WriteHeader(http.StatusBadRequest)
		case r.URL.Path == "/metadata/instance/network" && r.URL.Query().Get("api-version") == "2021-02-01":
			fmt.Fprint(w, `{"interface":[{"ipv4":{"ipAddress":[{"privateIpAddress":"172.16.0.1","publicIpAddress":""}],"subnet":[{"address":"172.16.0.0","prefix":"24"}]},"ipv6":{"ipAddress":[]},"macAddress":"000D3AF806EC"}]}`)
		case r.URL.Path == "/metadata/loadbalancer" && r.URL.Query().Get("api-version") == "2020-10-01":
			fmt.Fprint(w, `{"loadbalancer":{"publicIpAddresses":[{"frontendIpAddress":"192.0.2.10","privateIpAddress":"172.16.0.1"}],"inboundRules":[],"outboundRules":[]}}`)
		default:
			http.NotFound(w, r)
		}
	},
}

// serveMetadata gives a gateway the metadata service of a cloud, which is changed by storing another one.
func serveMetadata(t *testing.T, n *Net, gateway *Host) *atomic.Value {
	t.Helper()
	service := n.Host("metadata")
	n.Link(gateway, []string{"169.254.169.1/24"}, service, []string{"169.254.169.254/24"})
	var listener net.Listener
	Must(t, service.Do(func() (err error) {
		listener, err = net.Listen("tcp", "169.254.169.254:80")
		return err
	}))
	var cloud atomic.Value
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { cloud.Load().(http.HandlerFunc)(w, r) })}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	return &cloud
}

// TestDoctorCloud has a gateway configured as if there were no NAT, on a cloud VM behind one: with the public address as its own, and no
// identity. Doctor says what is wrong, and what it prints brings the tunnel up when it is pasted on both sides. Before that, it names
// who has the ports of IKE.
func TestDoctorCloud(t *testing.T) {
	t.Parallel()
	ref := NewReference(t, Plan{B: OneToOne})
	cloud := serveMetadata(t, ref.Net, ref.B.Host)
	naive := edit(referenceB, "remote_addrs = 203.0.113.1", "remote_addrs = 203.0.113.1\nlocal_addrs = 192.0.2.10", "id = @foo", "")
	b := NewCulvert(ref.B.Host, naive)

	var fixes []explain.Fix
	for name, handler := range clouds {
		cloud.Store(handler)
		report, text := examine(t, b, "--skip", "host,peer")
		wantCheck(t, report, "cloud", "", doctor.Note, "", name, "172.16.0.1 is seen by others as 192.0.2.10: a 1:1 NAT")
		fixes = wantCheck(t, report, "behind-1-to-1-nat", "site", doctor.Failure, "", "172.16.0.1", "192.0.2.10 exists in the NAT only").Fixes
		found(t, report, "source-check", "")
		if len(fixes) != 2 || fixes[0].Side != explain.Here || fixes[1].Side != explain.Peer {
			t.Fatalf("%s: the fixes are %+v", name, fixes)
		}
		if strings.Contains(text, "qwerty") {
			t.Errorf("%s: the report has the secret", name)
		}
	}
	confA := edit(referenceA, "id = @foo", "id = 192.0.2.10", "id-1 = @foo", "id-1 = 192.0.2.10")
	confB, err := Apply(naive, fixes[0], nil)
	Must(t, err, b.Configure(confB))
	if report, _ := examine(t, b, "--skip", "host,peer"); report.Count(doctor.Failure) != 0 {
		t.Errorf("with what it printed: %+v", report.Checks)
	}
	confA, err = Apply(confA, fixes[1], map[string]string{"ike-a": "ike-foo"})
	Must(t, err)

	a := NewStrongSwan(ref.A.Host, confA)
	Must(t, a.Start(), b.Start())
	if err := b.Initiate("net"); err != nil {
		t.Fatalf("with what doctor printed:\n%s\n%s\nthe tunnel does not come up: %v\n%s", confB, confA, err, tail(a.Log()))
	}
	ping, err := ref.B.Client.Ping(ref.A.Client.Addr(), Ping{})
	if err != nil || ping.Lost() != 0 {
		t.Errorf("ping through the tunnel: %v, %v", ping, err)
	}
	// Beside the running daemon, doctor asks from another port.
	report, _ := examine(t, b)
	wantCheck(t, report, "port-500", "", doctor.OK, "", "running daemon")
	wantCheck(t, report, "daemon", "", doctor.OK, "", "1 of 1 connection up")
	wantCheck(t, report, "port-500", "site", doctor.OK, "", "203.0.113.1:500", "that of IKE is in use here")
	wantCheck(t, report, "nat", "site", doctor.OK, "", "we are behind a NAT", "the peer sees 172.16.0.1 as 192.0.2.10")
	if report.Cloud == nil || report.Cloud.Addresses[0].Public != netip.MustParseAddr("192.0.2.10") {
		t.Errorf("the cloud is %+v", report.Cloud)
	}
}

// firewalls loads rules as people write them, and wants doctor to know what they do. The rules that it prints help.
func firewalls(t *testing.T, h *Host, c *Culvert) {
	t.Helper()
	const input = "table inet filter {\nchain input {\ntype filter hook input priority filter; policy drop;\n%s\n}\n}"
	waits := edit(referenceB, "remote_addrs = 203.0.113.1", "") // for its peer, so that calls must pass
	for _, f := range []struct {
		name, rules, conf string
		input, forward    doctor.Result
	}{
		{"nothing", "", waits, doctor.OK, doctor.OK},
		{"all is dropped", fmt.Sprintf(input, ""), referenceB, doctor.Failure, doctor.OK},
		{"answers pass", fmt.Sprintf(input, "iif lo accept\nct state established,related accept\nct state invalid drop\ntcp dport 22 accept"), waits, doctor.Failure, doctor.OK},
		{"answers pass, and are enough", fmt.Sprintf(input, "ct state vmap { established : accept, related : accept }\ntcp dport { 22, 80 } accept"), referenceB, doctor.Note, doctor.OK},
		{"a set", fmt.Sprintf(input, "udp dport { 53, 500, 4500 } accept"), waits, doctor.OK, doctor.OK},
		{"a range", fmt.Sprintf(input, "udp dport 400-5000 accept"), waits, doctor.OK, doctor.OK},
		{"a set of ranges", fmt.Sprintf(input, "udp dport { 1-600, 4000-5000 } accept"), waits, doctor.OK, doctor.OK},
		{"one port of two", fmt.Sprintf(input, "udp dport 500 accept"), waits, doctor.Failure, doctor.OK},
		{"of one source", fmt.Sprintf(input, "ip saddr 203.0.113.1 udp dport { 500, 4500 } accept"), waits, doctor.Note, doctor.OK},
		{"another interface", fmt.Sprintf(input, "iifname \"eth9\" accept\nreject"), waits, doctor.Failure, doctor.OK},
		{"the interface", fmt.Sprintf(input, "iifname \"other\" meta l4proto udp accept"), waits, doctor.OK, doctor.OK},
		{"a jump", "table inet filter {\nchain ike {\nudp dport != { 500, 4500 } return\naccept\n}\nchain input {\ntype filter hook input priority filter;\njump ike\ndrop\n}\n}", waits, doctor.OK, doctor.OK},
		{"a map that jumps", "table inet filter {\nchain ike {\naccept\n}\nchain input {\ntype filter hook input priority filter; policy drop;\nudp dport vmap { 53 : drop, 500 : jump ike, 4500 : goto ike }\n}\n}", waits, doctor.OK, doctor.OK},
		{"two chains", fmt.Sprintf(input, "accept") + "\ntable ip other {\nchain late {\ntype filter hook input priority 10;\nudp dport 500 drop\n}\n}", waits, doctor.Failure, doctor.OK},
		{"a limit", fmt.Sprintf(input, "udp dport { 500, 4500 } limit rate 10/second accept"), waits, doctor.Note, doctor.OK},
		{"forwarding is dropped", "table ip filter {\nchain FORWARD {\ntype filter hook forward priority filter; policy drop;\nct state established accept\niifname \"docker0\" accept\n}\n}", waits, doctor.OK, doctor.Warning},
		{"forwarding for the tunnel", "table ip filter {\nchain FORWARD {\ntype filter hook forward priority filter; policy drop;\noifname \"culvert*\" accept\niifname \"culvert*\" accept\n}\n}", waits, doctor.OK, doctor.OK},
	} {
		h.nft("flush ruleset\n" + f.rules + "\n")
		Must(t, c.Configure(f.conf))
		report, _ := examine(t, c, "--skip", "cloud,peer")
		if check := found(t, report, "firewall", ""); check.Result != f.input {
			t.Errorf("%s: %s (%s), want %s", f.name, check.Result, check.Text, f.input)
		} else if check.Result == doctor.Failure {
			h.nft(strings.TrimPrefix(strings.TrimPrefix(check.Fixes[0].Lines[0], "# nft "), "# ") + "\n")
			report, _ := examine(t, c, "--skip", "cloud,peer")
			if check := found(t, report, "firewall", ""); check.Result != doctor.OK {
				t.Errorf("%s, after what it said: %s", f.name, check.Text)
			}
		}
		if check := found(t, report, "firewall-forward", ""); check.Result != f.forward {
			t.Errorf("%s: forwarding is %s (%s), want %s", f.name, check.Result, check.Text, f.forward)
		} else if f.forward == doctor.Warning && check.Fixes[0].Lines[0] != "# iptables -I FORWARD -o culvert0 -j ACCEPT" {
			t.Errorf("%s: %+v", f.name, check.Fixes)
		}
	}
	h.nft("flush ruleset\n")
	Must(t, c.Configure(referenceB))
}

// TestDoctorPorts has others hold the ports of IKE: a charon, and a program that is no IKE daemon.
func TestDoctorPorts(t *testing.T) {
	t.Parallel()
	n := NewNet(t)
	h := n.Host("gw")
	n.Link(h, []string{"192.0.2.1/24"}, n.Host("other"), []string{"192.0.2.2/24"})
	h.Route("default", "192.0.2.2")
	c := NewCulvert(h, referenceB)
	holder := listenUDP(t, h, netip.MustParseAddrPort("192.0.2.1:500"))
	report, _ := examine(t, c, "--skip", "cloud,peer")
	wantCheck(t, report, "port-500", "", doctor.Failure, explain.PortInUse, fmt.Sprintf("(process %d", os.Getpid()))
	wantCheck(t, report, "port-4500", "", doctor.OK, "")
	Must(t, holder.Close())
	firewalls(t, h, c)

	Must(t, NewStrongSwan(h, referenceA).Start())
	report, _ = examine(t, c, "--skip", "cloud,peer")
	for _, id := range []string{"port-500", "port-4500"} {
		if check := wantCheck(t, report, id, "", doctor.Failure, explain.PortInUse, `"charon" (process`, "which is strongSwan"); len(check.Fixes) != 1 || check.Fixes[0].Lines == nil {
			t.Errorf("%s: the fixes are %+v", id, check.Fixes)
		}
	}
}

// TestDoctorPeer asks a strongSwan behind routers that lose this and that.
func TestDoctorPeer(t *testing.T) {
	t.Parallel()
	ref := NewReference(t, Plan{B: OneToOne})
	a := NewStrongSwan(ref.A.Host, referenceA, "block_threshold = 100") // every examination leaves a half-open IKE SA
	Must(t, a.Start())
	b := NewCulvert(ref.B.Host, referenceB)
	asked := 0
	// ask waits for a result of a check: on a busy machine a peer may take longer to answer than doctor waits.
	ask := func(t *testing.T, id string, want doctor.Result, args ...string) (report doctor.Report, facts doctor.PeerFacts) {
		t.Helper()
		for patience := 700 * time.Millisecond; patience < sure; patience *= 2 {
			asked++
			report, _ = examine(t, b, append([]string{"site", "--skip", "host,cloud", "--timeout", patience.String()}, args...)...)
			if len(report.Peers) != 1 || report.Peers[0].Probes > 8+len(report.Peers[0].Offers) {
				t.Fatalf("the peers are %+v", report.Peers)
			}
			if slices.ContainsFunc(report.Checks, func(c doctor.Check) bool { return c.ID == id && c.Group == doctor.Peer && c.Result == want }) {
				break
			}
		}
		return report, report.Peers[0]
	}

	report, facts := ask(t, "packet-size", doctor.OK)
	wantCheck(t, report, "port-500", "site", doctor.OK, "", "203.0.113.1:500 after")
	wantCheck(t, report, "port-4500", "site", doctor.OK, "", "203.0.113.1:4500 after")
	wantCheck(t, report, "proposal", "site", doctor.OK, "", "aes256gcm16-prfsha256-x25519")
	wantCheck(t, report, "nat", "site", doctor.OK, "", "we are behind a NAT", "@foo")
	wantCheck(t, report, "fragmentation", "site", doctor.OK, "")
	wantCheck(t, report, "packet-size", "site", doctor.OK, "", "1500 bytes")
	wantCheck(t, report, "product", "site", doctor.Note, "", "RFC 6023")
	if facts.Local != netip.MustParseAddrPort("172.16.0.1:4500") && facts.Local != netip.MustParseAddrPort("172.16.0.1:500") {
		t.Errorf("with the ports of IKE free, the peer was called from %v", facts.Local)
	}

	over6 := func(t *testing.T) {
		// Routers ask for their neighbours' addresses only when they are sure of their own: a second or two after they came up.
		for try := 0; ; try++ {
			ping, err := ref.B.Host.Ping(netip.MustParseAddr("2001:db8:a::1"), Ping{Patience: 200 * time.Millisecond})
			if err == nil && ping.Lost() == 0 {
				break
			}
			if try == 100 {
				t.Fatalf("no way over IPv6: %v, %v", ping, err)
			}
		}
		Must(t, b.Configure(edit(referenceB, "remote_addrs = 203.0.113.1", "remote_addrs = 2001:db8:a::1")))
		report, facts := ask(t, "packet-size", doctor.OK)
		wantCheck(t, report, "port-500", "site", doctor.OK, "", "[2001:db8:a::1]:500 after")
		wantCheck(t, report, "port-4500", "site", doctor.OK, "", "[2001:db8:a::1]:4500 after")
		wantCheck(t, report, "packet-size", "site", doctor.OK, "", "1500 bytes")
		if facts.LocalNAT {
			t.Errorf("IPv6 is not translated: %+v", facts)
		}
		Must(t, b.Configure(edit(referenceB, "remote_addrs = 203.0.113.1", "remote_addrs = 172.16.0.1")))
		report, _ = examine(t, b, "--skip", "host,cloud")
		wantCheck(t, report, "route", "site", doctor.Failure, "", "is one of this host itself")
		Must(t, b.Configure(referenceB))
	}
	refused := func(t *testing.T) {
		Must(t, b.Configure(edit(referenceB, "aes256gcm16-prfsha256-x25519", "aes128-sha256-x25519, aes256gcm16-prfsha384-x25519")))
		report, facts := ask(t, "proposal", doctor.Failure)
		c := wantCheck(t, report, "proposal", "site", doctor.Failure, explain.NoProposal, "it accepts aes256gcm16-prfsha256-x25519",
			"the nearest offer, aes256gcm16-prfsha384-x25519, in pseudorandom function")
		if facts.Accepts != "aes256gcm16-prfsha256-x25519" || len(c.Fixes) != 2 {
			t.Fatalf("%+v %+v", facts, c)
		}
		conf, err := Apply(referenceB, c.Fixes[0], nil)
		Must(t, err, b.Configure(conf))
		report, facts = ask(t, "proposal", doctor.OK, "--each-proposal")
		wantCheck(t, report, "proposal", "site", doctor.OK, "")
		if want := []bool{false, false, true}; len(facts.Offers) != 3 || facts.Offers[0].Accepted != want[0] || facts.Offers[1].Accepted != want[1] || facts.Offers[2].Accepted != want[2] {
			t.Errorf("each by itself: %+v", facts.Offers)
		}
		Must(t, b.Configure(referenceB))
	}
	lossy := func(match, id string, want doctor.Result, check func(*testing.T, doctor.Report)) func(*testing.T) {
		return func(t *testing.T) {
			filter := ref.Router.Drop(match)
			defer filter.Remove()
			report, _ := ask(t, id, want)
			check(t, report)
		}
	}
	sas, err := a.SAs()
	Must(t, err)
	if len(sas) > asked {
		t.Errorf("%d examinations left %d half-open IKE SAs at the peer", asked, len(sas))
	}
	for _, s := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"IPv6, and nobody else", over6},
		{"wrong proposals", refused},
		{"500 is lost", lossy("udp dport 500", "proposal", doctor.OK, func(t *testing.T, r doctor.Report) {
			wantCheck(t, r, "port-500", "site", doctor.Warning, explain.Silent500, "does at port 4500")
			wantCheck(t, r, "proposal", "site", doctor.OK, "")
		})},
		{"4500 is lost", lossy("udp dport 4500", "port-500", doctor.OK, func(t *testing.T, r doctor.Report) {
			wantCheck(t, r, "port-500", "site", doctor.OK, "")
			wantCheck(t, r, "port-4500", "site", doctor.Failure, explain.Silent4500)
		})},
		{"silence", lossy("meta l4proto udp", "peer", doctor.Failure, func(t *testing.T, r doctor.Report) {
			wantCheck(t, r, "peer", "site", doctor.Failure, explain.SilentPeer, "neither at port 500 nor at port 4500")
		})},
		{"long packets vanish", lossy("ip daddr 203.0.113.1 udp length > 1400", "packet-size", doctor.Warning, func(t *testing.T, r doctor.Report) {
			c := wantCheck(t, r, "packet-size", "site", doctor.Warning, explain.MTUBlackHole, "1420 bytes arrive", "1440 bytes do not", "no router says so")
			if want := "# ip route replace 203.0.113.1 via 172.16.0.254 dev natB mtu 1420"; c.Fixes[0].Lines[0] != want {
				t.Errorf("the fix is %q, want %q", c.Fixes[0].Lines, want)
			}
		})},
		{"a link has a smaller MTU", func(t *testing.T) {
			ref.A.Uplink.SetMTU(1390)
			report, _ := ask(t, "packet-size", doctor.Note)
			wantCheck(t, report, "packet-size", "site", doctor.Note, "", "1390 bytes arrive", "192.0.2.254 says that a packet may have 1390 bytes")
		}},
		{"no connection for us", func(t *testing.T) {
			ref.A.Uplink.SetMTU(1500)
			Must(t, a.Configure(edit(referenceA, "local_addrs = 203.0.113.1", "local_addrs = 203.0.113.1\nremote_addrs = 198.51.100.1")))
			report, _ := ask(t, "proposal", doctor.Failure)
			wantCheck(t, report, "proposal", "site", doctor.Failure, explain.NoConnection, "no connection for calls from here")
		}},
		{"nobody listens", func(t *testing.T) {
			Must(t, a.Kill())
			report, _ := ask(t, "peer", doctor.Failure)
			wantCheck(t, report, "peer", "site", doctor.Failure, explain.Unreachable, "203.0.113.1 says that nobody listens at the port")
		}},
	} {
		t.Run(s.name, s.run)
	}
}
