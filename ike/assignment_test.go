package ike

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/ident"
	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/suite"
	"github.com/culvert-vpn/culvert/ts"
)

func addrOf(text string) netip.Addr { return netip.MustParseAddr(text) }

// roadWarrior wants addresses, for all of 10.2.0.0/16.
func roadWarrior(vips ...string) func(*Config) {
	return func(c *Config) {
		conn := c.Connections[0]
		for _, v := range vips {
			conn.VIPs = append(conn.VIPs, addrOf(v))
		}
		conn.Children[0].LocalTS = testSpec("dynamic")
		conn.Children[0].StartAction = Start
	}
}

// grants is a CFG_REPLY.
func grants(attributes ...wire.Attribute) wire.Payload {
	return &wire.CP{Kind: wire.CFG_REPLY, Attributes: attributes}
}

func ip4(text string) wire.Attribute {
	return wire.AddrAttribute(wire.INTERNAL_IP4_ADDRESS, addrOf(text))
}

// tsPayloads grant the child with selectors.
func (s *script) tsPayloads(tsi string) []wire.Payload {
	p := one(testProposal(suite.ESP, testESP)[0].WithoutKE(), 0)
	return []wire.Payload{numbered([]suite.Proposal{p}, s.childIn, 1), &wire.TS{Selectors: ts.Resolve(testSpec(tsi))},
		&wire.TS{Responder: true, Selectors: ts.Resolve(testSpec("10.2.0.0/16"))}}
}

// assigned is the last Assign.
func (s *script) assigned() (a Assignment, times int) {
	for _, e := range s.all {
		if e, ok := e.(Assign); ok {
			a = e.Assignment
			times++
		}
	}
	return a, times
}

// connected lets the endpoint call, and gives it 10.9.0.5.
func connected(t *testing.T, change func(*Config)) *script {
	t.Helper()
	s := newScript(t, change)
	s.takeCall()
	s.want("authenticates", wire.IKE_AUTH, false)
	list := append(s.auth(s.id, s.secret), grants(ip4("10.9.0.5"), wire.AddrAttribute(wire.INTERNAL_IP4_DNS, addrOf("10.2.0.53"))))
	s.answer(wire.IKE_AUTH, 1, append(list, s.tsPayloads("10.9.0.5")...)...)
	if s.installs() != 2 {
		t.Fatalf("not established: %v", s.texts())
	}
	return s
}

// TestConfigRequest is what is asked for (RFC 7296 2.19, 3.15.1; RFC 8598 3.1), and with which selectors.
func TestConfigRequest(t *testing.T) {
	for _, c := range []struct {
		vips   []string
		remote string
		want   []wire.Attribute
		tsi    string
	}{
		{[]string{"0.0.0.0"}, "10.2.0.0/16", []wire.Attribute{{Type: wire.INTERNAL_IP4_ADDRESS}, {Type: wire.INTERNAL_IP4_DNS}, {Type: wire.INTERNAL_IP4_SUBNET}, {Type: wire.INTERNAL_DNS_DOMAIN}}, "[0.0.0.0/0]"},
		{[]string{"10.9.0.7", "::"}, "0.0.0.0/0", []wire.Attribute{ip4("10.9.0.7"), {Type: wire.INTERNAL_IP6_ADDRESS},
			{Type: wire.INTERNAL_IP4_DNS}, {Type: wire.INTERNAL_IP4_SUBNET}, {Type: wire.INTERNAL_IP6_DNS}}, "[0.0.0.0/0 ::/0]"},
		{[]string{"0.0.0.0", "0.0.0.0"}, "::/0", []wire.Attribute{{Type: wire.INTERNAL_IP4_ADDRESS}, {Type: wire.INTERNAL_IP4_ADDRESS},
			{Type: wire.INTERNAL_IP4_DNS}, {Type: wire.INTERNAL_IP4_SUBNET}}, "[0.0.0.0/0]"},
	} {
		s := newScript(t, func(cfg *Config) {
			roadWarrior(c.vips...)(cfg)
			cfg.Connections[0].Children[0].RemoteTS = testSpec(c.remote)
		})
		s.takeCall()
		_, got := s.want("authenticates", wire.IKE_AUTH, false)
		if got.cp == nil || got.cp.Kind != wire.CFG_REQUEST || !slices.EqualFunc(got.cp.Attributes, c.want, sameAttribute) {
			t.Errorf("%v asks for %+v, want %+v", c.vips, got.cp, c.want)
		}
		if text := listText(got.tsi.Selectors); text != c.tsi {
			t.Errorf("%v: TSi is %s, want %s", c.vips, text, c.tsi)
		}
	}
}

func sameAttribute(a, b wire.Attribute) bool {
	return a.Type == b.Type && a.Net == b.Net && string(a.Data) == string(b.Data)
}

func listText(list []ts.Selector) string {
	var words []string
	for _, s := range list {
		words = append(words, s.String())
	}
	return "[" + strings.Join(words, " ") + "]"
}

// TestConfigBeforeSA: the Configuration payload stands before the SA payload (RFC 7296 2.19).
func TestConfigBeforeSA(t *testing.T) {
	s := newScript(t, roadWarrior("0.0.0.0"))
	s.takeCall()
	data := slices.Clone(s.sends[0].Data)
	m, _ := wire.Parse(data)
	list, err := wire.OpenSealed(data, m, s.keys.in)
	if err != nil {
		t.Fatal(err)
	}
	place := func(want wire.PayloadType) int {
		return slices.IndexFunc(list, func(p wire.Payload) bool { return p.Type() == want })
	}
	if cp, sa := place(wire.TypeCP), place(wire.TypeSA); cp < 0 || cp > sa {
		t.Errorf("CP is payload %d, SA payload %d", cp, sa)
	}
}

// TestAssignment: what is taken of a CFG_REPLY, and what is ignored (RFC 7296 3.15.1, RFC 8598 3.2, 5).
func TestAssignment(t *testing.T) {
	domain := func(name string) wire.Attribute {
		return wire.Attribute{Type: wire.INTERNAL_DNS_DOMAIN, Data: []byte(name)}
	}
	dns := func(a string) wire.Attribute {
		kind := wire.INTERNAL_IP4_DNS
		if addrOf(a).Is6() {
			kind = wire.INTERNAL_IP6_DNS
		}
		return wire.AddrAttribute(kind, addrOf(a))
	}
	subnet := func(p string) wire.Attribute {
		return wire.Attribute{Type: wire.INTERNAL_IP4_SUBNET, Net: netip.MustParsePrefix(p)}
	}
	for _, c := range []struct {
		name   string
		remote string
		reply  []wire.Attribute
		want   string
		remedy string
	}{
		{"an address", "", []wire.Attribute{ip4("10.9.0.5")}, "the address 10.9.0.5", ""},
		{"more than was asked for", "", []wire.Attribute{ip4("10.9.0.5"), ip4("10.9.0.6")}, "the address 10.9.0.5", ""},
		{"addresses of no use", "", []wire.Attribute{ip4("0.0.0.0"), ip4("127.0.0.1"), ip4("224.0.0.1"), ip4("10.9.0.5")}, "the address 10.9.0.5", ""},
		{"servers", "", []wire.Attribute{ip4("10.9.0.5"), dns("10.2.0.53"), dns("10.2.0.53"), dns("2001:db8::53"), dns("255.255.255.255")},
			"the address 10.9.0.5, name servers 10.2.0.53, 2001:db8::53", "2001:db8::53: to reach it"},
		{"domains", "", []wire.Attribute{ip4("10.9.0.5"), dns("10.2.0.53"), domain("Corp.Example."), domain("x.test"), domain(""), domain("."),
			domain("a..b"), domain("a b"), domain("-a"), domain("a\x00"), domain("corp.example")},
			"the address 10.9.0.5, name servers 10.2.0.53 for corp.example, x.test", ""},
		{"domains without a server", "", []wire.Attribute{ip4("10.9.0.5"), domain("corp.example")}, "the address 10.9.0.5", ""},
		{"domains for all traffic", "0.0.0.0/0", []wire.Attribute{ip4("10.9.0.5"), dns("10.2.0.53"), domain("corp.example")},
			"the address 10.9.0.5, name servers 10.2.0.53", ""},
		{"networks", "", []wire.Attribute{ip4("10.9.0.5"), subnet("10.2.3.4/24"), subnet("10.3.0.0/16"), {Type: 0x7ff0, Data: []byte("?")}},
			"the address 10.9.0.5, networks 10.2.3.0/24, 10.3.0.0/16", "no child leads to 10.3.0.0/16"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScript(t, func(cfg *Config) {
				roadWarrior("0.0.0.0")(cfg)
				if c.remote != "" {
					cfg.Connections[0].Children[0].RemoteTS = testSpec(c.remote)
				}
			})
			s.takeCall()
			s.want("authenticates", wire.IKE_AUTH, false)
			list := append(s.auth(s.id, s.secret), grants(c.reply...))
			s.answer(wire.IKE_AUTH, 1, append(list, s.tsPayloads("10.9.0.5")...)...)
			got, _ := s.assigned()
			if got.String() != c.want {
				t.Errorf("assigned is %q, want %q", got, c.want)
			}
			s.wantEvent("tells", Assigned, c.want, c.remedy)
			if s.installs() != 2 || len(s.order.at(0).children) != 1 {
				t.Fatalf("no child: %v", s.texts())
			}
			if text := listText(s.order.at(0).children[0].local); text != "[10.9.0.5/32]" {
				t.Errorf("the child is for %s", text)
			}
		})
	}
}

// TestManyAttributes: a reply of a hostile peer is bounded.
func TestManyAttributes(t *testing.T) {
	s := newScript(t, roadWarrior("0.0.0.0"))
	s.takeCall()
	s.want("authenticates", wire.IKE_AUTH, false)
	attributes := []wire.Attribute{ip4("10.9.0.5")}
	for i := range 80 {
		a := netip.AddrFrom4([4]byte{10, 2, 0, byte(i)})
		attributes = append(attributes, wire.AddrAttribute(wire.INTERNAL_IP4_DNS, a),
			wire.Attribute{Type: wire.INTERNAL_IP4_SUBNET, Net: netip.PrefixFrom(a, 32)},
			wire.Attribute{Type: wire.INTERNAL_DNS_DOMAIN, Data: []byte(strings.Repeat("x", i+1))})
	}
	list := append(s.auth(s.id, s.secret), grants(attributes...))
	s.answer(wire.IKE_AUTH, 1, append(list, s.tsPayloads("10.9.0.5")...)...)
	if a, _ := s.assigned(); len(a.Addrs) != 1 || len(a.DNS) != maxServers || len(a.Subnets) != maxSubnets || len(a.Domains) != 63 {
		t.Errorf("%d addresses, %d servers, %d networks, %d domains", len(a.Addrs), len(a.DNS), len(a.Subnets), len(a.Domains))
	}
}

// TestNoAddress: without an address there is no use for the IKE SA; it is closed, and tried again when that is worth it (RFC 7296
// 3.15.4).
func TestNoAddress(t *testing.T) {
	for name, c := range map[string]struct {
		answer []wire.Payload
		child  bool
		words  []string
	}{
		"INTERNAL_ADDRESS_FAILURE": {notifyOf(wire.INTERNAL_ADDRESS_FAILURE), false, []string{"INTERNAL_ADDRESS_FAILURE", "pools on the peer"}},
		"no CFG_REPLY":             {nil, true, []string{"no CFG_REPLY", "pools", "remove vips"}},
		"an empty one":             {[]wire.Payload{grants()}, true, []string{"no address of the kind"}},
		"the other family":         {[]wire.Payload{grants(wire.AddrAttribute(wire.INTERNAL_IP6_ADDRESS, addrOf("2001:db8::5")))}, true, []string{"of the kind"}},
		"no reply but a request":   {[]wire.Payload{&wire.CP{Kind: wire.CFG_REQUEST, Attributes: []wire.Attribute{ip4("10.9.0.5")}}}, true, []string{"of the kind"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScript(t, roadWarrior("0.0.0.0"))
			s.takeCall()
			s.want("authenticates", wire.IKE_AUTH, false)
			list := append(s.auth(s.id, s.secret), c.answer...)
			if c.child {
				list = append(list, s.tsPayloads("10.1.0.0/16")...)
			}
			s.answer(wire.IKE_AUTH, 1, list...)
			s.wantEvent("explains", Failed, c.words...)
			h, got := s.want("closes", wire.INFORMATIONAL, false)
			if !got.deletesIKE() {
				t.Error("the IKE SA is not deleted")
			}
			s.answer(wire.INFORMATIONAL, h.MessageID)
			if s.installs() != 0 || len(s.Snapshot()) != 0 || len(s.held) != 0 {
				t.Errorf("something is left: %v, %v", s.Snapshot(), s.held)
			}
			if _, times := s.assigned(); times != 0 {
				t.Error("something is assigned")
			}
			s.path.NATT, s.path.Local, s.path.Remote = false, netip.MustParseAddrPort("192.0.2.1:500"), netip.MustParseAddrPort("192.0.2.2:500")
			s.sends = nil
			s.pass(addressRetry - time.Second)
			s.wantIdle("waits for minutes")
			s.pass(addressRetry/2 + 2*time.Second)
			s.want("calls again", wire.IKE_SA_INIT, false)
		})
	}
}

// TestOneFamily: of two families one is enough, and the operator is told (RFC 7296 3.15.4).
func TestOneFamily(t *testing.T) {
	s := connected(t, roadWarrior("0.0.0.0", "::"))
	s.wantEvent("tells", Warned, "no address for ::", "pool of this family")
	if a, _ := s.assigned(); listOf(a.Addrs) != "10.9.0.5" {
		t.Errorf("assigned: %v", a)
	}
}

// TestSelectorsWithoutAddress: a child that does not fit the address is given back.
func TestSelectorsWithoutAddress(t *testing.T) {
	s := newScript(t, roadWarrior("0.0.0.0"))
	s.takeCall()
	s.want("authenticates", wire.IKE_AUTH, false)
	list := append(s.auth(s.id, s.secret), grants(ip4("10.9.0.5")))
	s.answer(wire.IKE_AUTH, 1, append(list, s.tsPayloads("10.9.0.6")...)...)
	s.wantEvent("explains", ChildFailed, "without the address that it assigned")
	if s.installs() != 0 {
		t.Error("it is installed")
	}
	_, c := s.want("closes the child", wire.INFORMATIONAL, false)
	if len(c.deletes) != 1 || c.deletes[0].Protocol != suite.ESP {
		t.Errorf("%v", c.deletes)
	}
}

// TestAddressStays: new keys leave the address as it is (RFC 7296 3.15.1: valid for the IKE SA and its successors), and what comes
// later is for it.
func TestAddressStays(t *testing.T) {
	s := connected(t, roadWarrior("0.0.0.0"))
	s.give(Rekey{Conn: "c", Child: "net"})
	h, c := s.want("rekeys the child", wire.CREATE_CHILD_SA, false)
	if c.cp != nil || listText(c.tsi.Selectors) != "[10.9.0.5/32]" {
		t.Errorf("asks for %v with %+v", listText(c.tsi.Selectors), c.cp)
	}
	s.answer(wire.CREATE_CHILD_SA, h.MessageID, notifyOf(wire.NO_ADDITIONAL_SAS)...)
	next := s.order.at(0).descend(false, 0xcccc, 0xdddd, s.order.at(0).proposal, keyInput{nonceI: make([]byte, 32), nonceR: make([]byte, 32), shared: []byte{1}})
	if next == nil || listOf(next.origin.assigned) != "10.9.0.5" {
		t.Errorf("the successor has %v", next.origin.assigned)
	}
	if _, times := s.assigned(); times != 1 {
		t.Errorf("assigned %d times", times)
	}
	if got := s.Snapshot()[0]; listOf(got.Assigned) != "10.9.0.5" || len(got.Lent) != 0 {
		t.Errorf("the snapshot says %v and %v", got.Assigned, got.Lent)
	}
}

// TestAddressAgain: a connection that comes back asks for the address that it had (RFC 7296 3.15.1), and keeps it meanwhile, so
// that its traffic does not leave another way. The operator's down takes it away.
func TestAddressAgain(t *testing.T) {
	s := connected(t, roadWarrior("0.0.0.0"))
	s.request(wire.INFORMATIONAL, &wire.Delete{Protocol: suite.IKE})
	s.sends = nil
	if a, times := s.assigned(); times != 1 || a.IsZero() {
		t.Errorf("the address is given up: %v, %d times", a, times)
	}
	s.path.NATT, s.path.Local, s.path.Remote = false, netip.MustParseAddrPort("192.0.2.1:500"), netip.MustParseAddrPort("192.0.2.2:500")
	s.pass(2 * backoffMin)
	s.sends = s.sends[:1]
	s.nextID = 0
	s.takeCall()
	_, c := s.want("authenticates", wire.IKE_AUTH, false)
	if c.cp == nil || !sameAttribute(c.cp.Attributes[0], ip4("10.9.0.5")) {
		t.Fatalf("asks for %+v", c.cp)
	}
	list := append(s.auth(s.id, s.secret), grants(ip4("10.9.0.8")))
	s.answer(wire.IKE_AUTH, 1, append(list, s.tsPayloads("10.9.0.8")...)...)
	if a, times := s.assigned(); times != 2 || listOf(a.Addrs) != "10.9.0.8" {
		t.Errorf("assigned is %v, %d times", a, times)
	}
	s.give(Terminate{Conn: "c"})
	if a, times := s.assigned(); times != 3 || !a.IsZero() {
		t.Errorf("after down: %v, %d times", a, times)
	}
	s.give(Initiate{Conn: "c"})
	s.sends = s.sends[len(s.sends)-1:]
	s.takeCall()
	if _, c := s.want("authenticates", wire.IKE_AUTH, false); !sameAttribute(c.cp.Attributes[0], ip4("10.9.0.8")) {
		t.Errorf("after up: asks for %+v", c.cp)
	}
}

// TestShutdownUnassigns: nothing is left at the end.
func TestShutdownUnassigns(t *testing.T) {
	s := connected(t, roadWarrior("0.0.0.0"))
	s.give(Shutdown{})
	if a, times := s.assigned(); times != 2 || !a.IsZero() {
		t.Errorf("assigned is %v", a)
	}
}

// TestNobodyAsked: a Configuration payload that was not asked for changes nothing.
func TestNobodyAsked(t *testing.T) {
	s := newScript(t, nil)
	s.give(Initiate{Conn: "c"})
	s.takeCall()
	_, c := s.want("authenticates", wire.IKE_AUTH, false)
	if c.cp != nil {
		t.Errorf("asks for %+v", c.cp)
	}
	list := append(s.auth(s.id, s.secret), grants(ip4("10.9.0.5")))
	s.answer(wire.IKE_AUTH, 1, append(list, s.childPayloads(1)...)...)
	if _, times := s.assigned(); times != 0 || s.installs() != 2 {
		t.Errorf("assigned %d times, %d installed", times, s.installs())
	}
}

// shelf is a Lender with as many as are on it, in order.
type shelf struct {
	t     *testing.T
	free  []netip.Addr
	lent  map[netip.Addr]int
	wish  []netip.Addr
	owner ident.ID
}

func (f *shelf) Lend(_ time.Time, pools []string, owner ident.ID, wish netip.Addr) (string, netip.Addr, bool) {
	f.wish, f.owner = append(f.wish, wish), owner
	for i, a := range f.free {
		if a.BitLen() == wish.BitLen() && slices.Contains(pools, "p") {
			f.free = slices.Delete(f.free, i, i+1)
			f.lent[a]++
			return "p", a, true
		}
	}
	return "", netip.Addr{}, false
}

func (f *shelf) Return(_ time.Time, _ string, a netip.Addr) {
	if f.lent[a]--; f.lent[a] < 0 {
		f.t.Errorf("%v is returned twice", a)
	}
	f.free = append(f.free, a)
}

// gives is the connection of a gateway with a pool, and what is on the shelf.
func gives(t *testing.T, addrs ...string) (*shelf, func(*Config)) {
	f := &shelf{t: t, lent: make(map[netip.Addr]int)}
	for _, a := range addrs {
		f.free = append(f.free, addrOf(a))
	}
	return f, func(c *Config) {
		c.Lender = f
		conn := c.Connections[0]
		conn.Children[0].RemoteTS = testSpec("dynamic")
		conn.Pools = []*Pool{{
			Name: "p", First: addrOf("10.9.0.1"), Last: addrOf("10.9.0.99"), Netmask: addrOf("255.255.255.0"),
			DNS:  []netip.Addr{addrOf("10.1.0.53"), addrOf("2001:db8::53")},
			NBNS: []netip.Addr{addrOf("10.1.0.54")}, DHCP: []netip.Addr{addrOf("10.1.0.55")}, Domains: []string{"corp.example"},
			Subnets: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("2001:db8:1::/48")},
		}}
	}
}

// asks is a CFG_REQUEST and a child for everything.
func (s *script) asks(attributes ...wire.Attribute) []wire.Payload {
	list := s.auth(s.id, s.secret)
	if attributes != nil {
		list = append(list, &wire.CP{Kind: wire.CFG_REQUEST, Attributes: attributes})
	}
	p := one(testProposal(suite.ESP, testESP)[0].WithoutKE(), 0)
	all := ts.Resolve(append(testSpec("0.0.0.0/0"), testSpec("::/0")...))
	return append(list, numbered([]suite.Proposal{p}, s.childIn, 1), &wire.TS{Selectors: all}, &wire.TS{Responder: true, Selectors: all})
}

var (
	any4 = wire.Attribute{Type: wire.INTERNAL_IP4_ADDRESS}
	any6 = wire.Attribute{Type: wire.INTERNAL_IP6_ADDRESS}
)

// TestLend is the answer to a CFG_REQUEST (RFC 7296 2.19, 3.15).
func TestLend(t *testing.T) {
	for _, c := range []struct {
		name  string
		shelf []string
		asks  []wire.Attribute
		tsi   string
		reply string // types and values
	}{
		{"one address", []string{"10.9.0.1", "2001:db8::1"}, []wire.Attribute{any4}, "[10.9.0.1/32]",
			"1:10.9.0.1 2:255.255.255.0 3:10.1.0.53 10:2001:db8::53 4:10.1.0.54 6:10.1.0.55 13:10.1.0.0/16 15:2001:db8:1::/48"},
		{"two families and the domains", []string{"10.9.0.1", "2001:db8::1"}, []wire.Attribute{any6, {Type: wire.INTERNAL_DNS_DOMAIN}, any4}, "[10.9.0.1/32 2001:db8::1/128]",
			"8:2001:db8::1 1:10.9.0.1 2:255.255.255.0 3:10.1.0.53 10:2001:db8::53 4:10.1.0.54 6:10.1.0.55 13:10.1.0.0/16 15:2001:db8:1::/48 25:corp.example"},
		{"a family that we do not have", []string{"10.9.0.1"}, []wire.Attribute{any6, any4}, "[10.9.0.1/32]",
			"1:10.9.0.1 2:255.255.255.0 3:10.1.0.53 10:2001:db8::53 4:10.1.0.54 6:10.1.0.55 13:10.1.0.0/16 15:2001:db8:1::/48"},
	} {
		t.Run(c.name, func(t *testing.T) {
			shelf, change := gives(t, c.shelf...)
			s := newScript(t, change)
			s.call()
			s.request(wire.IKE_AUTH, s.asks(c.asks...)...)
			_, got := s.want("answers", wire.IKE_AUTH, true)
			if got.cp == nil || got.cp.Kind != wire.CFG_REPLY || attributesText(got.cp) != c.reply {
				t.Fatalf("replies %s, want %s; events: %v", attributesText(got.cp), c.reply, s.texts())
			}
			if shelf.owner != testID("@peer") {
				t.Errorf("lent to %v", shelf.owner)
			}
			if got.tsi == nil || listText(got.tsi.Selectors) != c.tsi {
				t.Errorf("the child is for %+v, want %s", got.tsi, c.tsi)
			}
			s.wantEvent("tells", Assigned, "@peer has ", "10.9.0.1 of pool p")
			s.request(wire.INFORMATIONAL, &wire.Delete{Protocol: suite.IKE})
			if len(shelf.free) != len(c.shelf) {
				t.Errorf("%d of %d addresses are back", len(shelf.free), len(c.shelf))
			}
		})
	}
}

func attributesText(cp *wire.CP) string {
	if cp == nil {
		return "nothing"
	}
	var words []string
	for _, a := range cp.Attributes {
		text := string(a.Data)
		if a.Net.IsValid() {
			text = a.Net.String()
			if a.Net.IsSingleIP() {
				text = a.Net.Addr().String()
			}
		}
		words = append(words, fmt.Sprintf("%d:%s", a.Type, text))
	}
	return strings.Join(words, " ")
}

// TestNothingToLend: the IKE SA stays up without a child (RFC 7296 3.15.4), and more addresses than anybody needs are not given.
func TestNothingToLend(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Config)
		words  []string
	}{
		"the pool is empty": {func(*Config) {}, []string{"no address is left for @peer", "pools"}},
		"no pools":          {func(c *Config) { c.Connections[0].Pools = nil }, []string{"has no pools", "set pools"}},
		"no addresses":      {func(c *Config) { c.Lender = nil }, []string{"no address is left"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, with := gives(t)
			s := newScript(t, func(cfg *Config) { with(cfg); c.change(cfg) })
			s.call()
			s.request(wire.IKE_AUTH, s.asks(any4)...)
			_, got := s.want("answers", wire.IKE_AUTH, true)
			if got.auth == nil || got.notify(wire.INTERNAL_ADDRESS_FAILURE) == nil || got.sa != nil || got.cp != nil {
				t.Errorf("answers %+v", got)
			}
			s.wantEvent("explains", ChildFailed, c.words...)
			if !s.sa().isCurrent() || s.installs() != 0 {
				t.Error("the IKE SA is not up, or something is installed")
			}
		})
	}
	shelf, change := gives(t, "10.9.0.1", "10.9.0.2", "10.9.0.3", "10.9.0.4", "10.9.0.5", "10.9.0.6")
	s := newScript(t, change)
	s.call()
	s.request(wire.IKE_AUTH, s.asks(any4, any4, any4, any4, any4, any4)...)
	s.want("answers", wire.IKE_AUTH, true)
	if len(shelf.free) != 2 {
		t.Errorf("%d addresses are lent", 6-len(shelf.free))
	}
}

// TestNoRequest: who does not ask gets no CFG_REPLY, and no child that is only for those with an address (RFC 7296 2.19).
func TestNoRequest(t *testing.T) {
	shelf, change := gives(t, "10.9.0.1")
	s := newScript(t, change)
	s.call()
	list := s.asks()
	for _, p := range list {
		if p, ok := p.(*wire.TS); ok && !p.Responder {
			p.Selectors = ts.Resolve(testSpec("10.2.0.0/16"))
		}
	}
	s.request(wire.IKE_AUTH, list...)
	_, got := s.want("answers", wire.IKE_AUTH, true)
	if got.cp != nil || got.notify(wire.FAILED_CP_REQUIRED) == nil || got.auth == nil {
		t.Errorf("answers %+v", got)
	}
	s.wantEvent("explains", ChildFailed, "did not ask for an address", "vips")
	if len(shelf.wish) != 0 {
		t.Error("an address was lent")
	}
}

// TestLoanMoves: the address goes to the successor of the IKE SA, and back when that is gone.
func TestLoanMoves(t *testing.T) {
	shelf, change := gives(t, "10.9.0.1")
	s := newScript(t, change)
	s.call()
	s.request(wire.IKE_AUTH, s.asks(any4)...)
	s.want("answers", wire.IKE_AUTH, true)
	old := s.order.at(0)
	next := old.descend(false, 0xcccc, 0xdddd, old.proposal, keyInput{nonceI: make([]byte, 32), nonceR: make([]byte, 32), shared: []byte{1}})
	old.succeed(next)
	old.remove()
	if len(shelf.free) != 0 || listOf(s.Snapshot()[0].Lent) != "10.9.0.1" {
		t.Errorf("the address is lost: %v", s.Snapshot())
	}
	next.remove()
	if len(shelf.free) != 1 {
		t.Error("the address is kept")
	}
}

// TestReplacedKeepsAddress: with unique = replace the new IKE SA gets the address of the old one, whose address is not free yet.
func TestReplacedKeepsAddress(t *testing.T) {
	shelf, change := gives(t, "10.9.0.1", "10.9.0.2")
	s := newScript(t, func(c *Config) { change(c); c.Connections[0].Unique = UniqueReplace })
	s.call()
	s.request(wire.IKE_AUTH, s.asks(any4)...)
	s.want("answers", wire.IKE_AUTH, true)
	s.path.NATT, s.path.Local, s.path.Remote = false, netip.MustParseAddrPort("192.0.2.1:500"), netip.MustParseAddrPort("192.0.2.2:501")
	s.call()
	s.request(wire.IKE_AUTH, s.asks(any4)...)
	if want := addrOf("10.9.0.1"); shelf.wish[1] != want {
		t.Errorf("wishes for %v, want %v", shelf.wish[1], want)
	}
}

// TestVersionRequest: what may be asked of an established IKE SA (RFC 7296 2.20). Our version is not told, and CFG_SET is ignored.
func TestVersionRequest(t *testing.T) {
	s := called(t, nil)
	s.request(wire.INFORMATIONAL, &wire.CP{Kind: wire.CFG_REQUEST, Attributes: []wire.Attribute{
		{Type: wire.APPLICATION_VERSION}, {Type: wire.SUPPORTED_ATTRIBUTES}, any4, {Type: 0x7abc}}})
	_, c := s.want("answers", wire.INFORMATIONAL, true)
	if c.cp == nil || len(c.cp.Attributes) != 2 || c.cp.Attributes[0].Type != wire.APPLICATION_VERSION || len(c.cp.Attributes[0].Data) != 0 ||
		len(c.cp.Attributes[1].Data) != 2*len(supported) {
		t.Errorf("answers %+v", c.cp)
	}
	s.request(wire.INFORMATIONAL, &wire.CP{Kind: wire.CFG_SET, Attributes: []wire.Attribute{ip4("10.9.0.5")}})
	if _, c := s.want("answers", wire.INFORMATIONAL, true); c.cp != nil {
		t.Errorf("answers %+v", c.cp)
	}
}
