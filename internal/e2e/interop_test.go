//go:build linux

package e2e

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// daemon makes a program that plays a gateway.
type daemon func(*Host, string) Peer

func culvert(h *Host, conf string) Peer    { return NewCulvert(h, conf) }
func strongSwan(h *Host, conf string) Peer { return NewStrongSwan(h, conf) }

// cast says who plays which gateway.
type cast struct {
	name string
	a, b daemon
}

// casts have Culvert on both sides of every scenario, against strongSwan and against itself.
var casts = []cast{
	{"culvert to strongSwan", culvert, strongSwan},
	{"strongSwan to culvert", strongSwan, culvert},
	{"culvert to culvert", culvert, culvert},
}

// pair is two gateways of the reference topology that are running.
type pair struct {
	*testing.T
	ref  *Reference
	a, b Peer
}

// play starts both gateways with their configurations.
func (c cast) play(t *testing.T, ref *Reference, confA, confB string) *pair {
	t.Helper()
	p := &pair{t, ref, c.a(ref.A.Host, confA), c.b(ref.B.Host, confB)}
	Must(t, p.a.Start(), p.b.Start())
	return p
}

// calls are who initiates and who waits: both ways round.
func (p *pair) calls() []call { return []call{{p, p.a, p.b, true}, {p, p.b, p.a, false}} }

// call is one of the two gateways initiating towards the other one.
type call struct {
	*pair
	initiator, responder Peer
	byA                  bool
}

func (c call) String() string {
	if c.byA {
		return "A calls"
	}
	return "B calls"
}

// fail reports what is wrong, with the ends of both logs.
func (c call) fail(format string, args ...any) {
	c.Helper()
	c.Errorf("%v: %s\n--- A says\n%s\n--- B says\n%s", c, fmt.Sprintf(format, args...), tail(c.a.Log()), tail(c.b.Log()))
}

// tail is the end of a log.
func tail(log string) string {
	lines := strings.Split(log, "\n")
	return strings.Join(lines[max(0, len(lines)-40):], "\n")
}

// up initiates and checks that both gateways agree on everything. It returns the IKE SA as A and as B see it.
func (c call) up(connection, child string) (saA, saB SA) {
	c.Helper()
	if err := c.initiator.Initiate(child); err != nil {
		c.fail("%v", err)
		c.FailNow()
	}
	saA, saB = c.agree(connection, child)
	if saA.Initiator != c.byA {
		c.fail("the wrong side initiated: %+v", saA)
	}
	return saA, saB
}

// agree checks that each gateway has one IKE SA with one Child SA, and that these are two views of the same thing.
func (c call) agree(connection, child string) (saA, saB SA) {
	c.Helper()
	saA, childA := c.only(c.a, connection, child)
	saB, childB := c.only(c.b, connection, child)
	switch {
	case saA.SPIi == 0 || saA.SPIr == 0 || saA.SPIi != saB.SPIi || saA.SPIr != saB.SPIr,
		saA.Initiator == saB.Initiator, !sameWords(saA.Proposal, saB.Proposal):
		c.fail("the gateways disagree on the IKE SA:\n%+v\n%+v", saA, saB)
	case childA.SPIIn == 0 || childA.SPIOut == 0 || childA.SPIIn != childB.SPIOut || childA.SPIOut != childB.SPIIn,
		!childA.UDP || !childB.UDP, !sameWords(childA.Proposal, childB.Proposal),
		!slices.Equal(childA.LocalTS, childB.RemoteTS), !slices.Equal(childA.RemoteTS, childB.LocalTS):
		c.fail("the gateways disagree on the Child SA:\n%+v\n%+v", childA, childB)
	}
	return saA, saB
}

// only is a gateway's one IKE SA of a connection, with its one Child SA that carries traffic. One that was rekeyed may
// still be there for packets that are late; it is left out.
func (c call) only(p Peer, connection, child string) (sa SA, ch Child) {
	c.Helper()
	await(c.T, p, func(sas []SA) bool {
		established, installed := Established(sas, connection), Installed(sas, child)
		if len(established) != 1 || len(installed) != 1 || len(sas) != 1 {
			return false
		}
		sa, ch = established[0], installed[0]
		sa.Children = installed
		return true
	})
	return sa, ch
}

// down lets one gateway close the connection, after which nothing is left of it on either.
func (c call) down(by Peer, connection string) {
	c.Helper()
	if err := by.Terminate(connection); err != nil {
		c.fail("%v", err)
	}
	for _, p := range []Peer{c.a, c.b} {
		await(c.T, p, func(sas []SA) bool { return len(sas) == 0 })
	}
}

// ping sends echo requests from the client of A to that of B, of which none may be lost.
func (c call) ping(count int) {
	c.Helper()
	c.pingBetween(c.ref.A.Client.Addr(), c.ref.B.Client.Addr(), count)
}

// pingBetween does so between certain addresses of theirs.
func (c call) pingBetween(from, to netip.Addr, count int) {
	c.Helper()
	ping, err := c.ref.A.Client.Ping(to, Ping{Count: count, From: from})
	Must(c.T, err)
	if ping.Sent != count || ping.Lost() != 0 {
		c.fail("%v to %v: %v", from, to, ping)
	}
}

// carried checks that both gateways have counted at least so many packets in each direction of their Child SA.
func (c call) carried(connection, child string, packets uint64) {
	c.Helper()
	for _, p := range []Peer{c.a, c.b} {
		_, ch := c.only(p, connection, child)
		if ch.PacketsIn < packets || ch.PacketsOut < packets || ch.BytesIn == 0 || ch.BytesOut == 0 {
			c.fail("the Child SA has carried %+v, want %d packets each way", ch, packets)
		}
	}
}

// sameWords tells whether two proposals name the same algorithms. No order is meant among different types.
func sameWords(a, b string) bool {
	words := func(s string) []string {
		list := strings.Split(s, "-")
		slices.Sort(list)
		return list
	}
	return slices.Equal(words(a), words(b))
}

// text is an identity without the mark of an FQDN, which charon does not print.
func text(id string) string { return strings.TrimPrefix(id, "@") }

// edit replaces text of a configuration, in pairs of old and new, each of which must be there.
func edit(conf string, pairs ...string) string {
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(conf, pairs[i]) {
			panic(fmt.Sprintf("the configuration has no %q", pairs[i]))
		}
		conf = strings.ReplaceAll(conf, pairs[i], pairs[i+1])
	}
	return conf
}

// pact is a connection that two gateways may have with each other. The Child SA has the name of the connection.
type pact struct {
	name     string
	a, b     end
	ike, esp string // proposals; the reference case's if empty
	secret   string
}

// end is what a gateway is known by in a pact.
type end struct {
	addr, id, nets string
}

// numbered is a pact about the nth of the networks that subnets adds to the sites.
func numbered(n int, name string) pact {
	return pact{
		name:   name,
		a:      end{"203.0.113.1", "@a-" + name, site(103, n)},
		b:      end{"192.0.2.10", "@b-" + name, site(104, n)},
		secret: "the secret of " + name,
	}
}

// site and site6 are the nth further network of the site with this number: 103 is A's, 104 B's.
func site(number, n int) string  { return fmt.Sprintf("10.%d.%d.0/24", number, n) }
func site6(number, n int) string { return fmt.Sprintf("fd00:%d:0:%x::/64", number, n) }

// subnets adds networks to both sites. The first address is the gateway's, the second the client's.
func (r *Reference) subnets(count int) {
	for n := 1; n <= count; n++ {
		for number, g := range map[int]*Gateway{103: r.A, 104: r.B} {
			var ofGateway, ofClient []string
			for _, network := range []string{site(number, n), site6(number, n)} {
				prefix := netip.MustParsePrefix(network)
				first := prefix.Addr().Next()
				ofGateway = append(ofGateway, netip.PrefixFrom(first, prefix.Bits()).String())
				ofClient = append(ofClient, netip.PrefixFrom(first.Next(), prefix.Bits()).String())
			}
			g.Host.Configure(g.Client.Name, ofGateway)
			g.Client.Configure(g.Host.Name, ofClient)
		}
	}
}

// use sends echo requests between all networks of a pact, and checks that they were counted.
func (c call) use(p pact, count int) {
	c.Helper()
	netsA, netsB := strings.Split(p.a.nets, ","), strings.Split(p.b.nets, ",")
	client := func(network string) netip.Addr { return netip.MustParsePrefix(network).Addr().Next().Next() }
	for i := range netsA {
		c.pingBetween(client(netsA[i]), client(netsB[i]), count)
	}
	c.carried(p.name, p.name, uint64(count*len(netsA)))
}

// confs are the configurations of A and of B with these connections.
func confs(pacts ...pact) (confA, confB string) {
	var connsA, connsB, secrets strings.Builder
	for _, p := range pacts {
		connsA.WriteString(p.conf(p.a, p.b))
		connsB.WriteString(p.conf(p.b, p.a))
		fmt.Fprintf(&secrets, "ike-%s {\n id-1 = %q\n id-2 = %q\n secret = %q\n}\n", p.name, p.a.id, p.b.id, p.secret)
	}
	file := func(conns string) string {
		return "connections {\n" + conns + "}\nsecrets {\n" + secrets.String() + "}\n"
	}
	return file(connsA.String()), file(connsB.String())
}

func (p pact) conf(local, remote end) string {
	ike, esp := p.ike, p.esp
	if ike == "" {
		ike = "aes256gcm16-prfsha256-x25519"
	}
	if esp == "" {
		esp = "aes256gcm16"
	}
	return fmt.Sprintf(`
	%[1]s {
		version = 2
		proposals = %[2]s
		remote_addrs = %[3]s
		local {
			auth = psk
			id = %[4]q
		}
		remote {
			auth = psk
			id = %[5]q
		}
		children {
			%[1]s {
				local_ts = %[6]s
				remote_ts = %[7]s
				esp_proposals = %[8]s
			}
		}
	}
`, p.name, ike, remote.addr, local.id, remote.id, local.nets, remote.nets, esp)
}
