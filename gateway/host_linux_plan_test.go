//go:build linux

package gateway

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"golang.org/x/sys/unix"
)

// fixedHost is a host with these addresses, all packets of which usually leave from the first one.
type fixedHost []netip.Addr

func (h fixedHost) own(v6 bool) (out []netip.Addr) {
	for _, a := range h {
		if a.Is6() == v6 {
			out = append(out, a)
		}
	}
	return out
}

func (h fixedHost) assigned() []netip.Addr          { return nil }
func (h fixedHost) usual(dst netip.Addr) netip.Addr { return h.own(dst.Is6())[0] }

// follow does what the kernel does with a packet: the rules by preference, in the table the longest prefix, then the
// smallest metric. src is invalid when it is not chosen yet. It returns the kind of route, 0 if no rule of ours decides.
func (s fib) follow(src, dst netip.Addr, mark uint32) (kind int, route fibRoute) {
	rules := s.sortedRules()
	slices.SortStableFunc(rules, func(a, b fibRule) int { return a.pref - b.pref })
	jump := 0
	for _, r := range rules {
		unspecified := netip.IPv4Unspecified()
		from := src
		if !src.IsValid() && !dst.Is6() {
			from = unspecified
		}
		matches := r.v6 == dst.Is6() && r.pref >= jump && (r.table != 0 || r.jump != 0) && (!r.to.IsValid() || r.to.Contains(dst)) && r.proto == 0 && mark&r.mask == r.mark &&
			(!r.from.IsValid() || from.IsValid() && r.from.Contains(from))
		switch {
		case !matches:
			continue
		case r.jump != 0:
			jump = r.jump
			continue
		}
		var best fibRoute
		for route := range s.routes {
			if route.table == r.table && route.dst.Contains(dst) && (best.kind == 0 || route.dst.Bits() > best.dst.Bits() ||
				route.dst.Bits() == best.dst.Bits() && route.metric < best.metric) {
				best = route
			}
		}
		if best.kind != 0 && best.kind != unix.RTN_THROW {
			return best.kind, best
		}
	}
	return 0, fibRoute{}
}

// randomPolicies are a few, of prefixes that meet and contain each other often.
func randomPolicies(r *rand.Rand) []Policy {
	prefix := func() netip.Prefix {
		if r.IntN(2) == 0 {
			return netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(10 + r.IntN(2)), byte(r.IntN(4))}), []int{0, 8, 15, 16, 17}[r.IntN(5)])
		}
		return netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, byte(r.IntN(2)), byte(r.IntN(4))}), []int{0, 3, 24, 31, 32}[r.IntN(5)])
	}
	policies := make([]Policy, r.IntN(4))
	for i := range policies {
		for range 1 + r.IntN(3) {
			policies[i].Local = append(policies[i].Local, prefix())
			policies[i].Remote = append(policies[i].Remote, prefix())
		}
		policies[i].Pass = r.IntN(3) == 0
	}
	return policies
}

func randomAddr(r *rand.Rand, v6 bool) netip.Addr {
	if v6 {
		return netip.AddrFrom16([16]byte{0x20, 1, byte(r.IntN(2)), byte(r.IntN(5)), 15: 1})
	}
	return netip.AddrFrom4([4]byte{byte(10 + r.IntN(2)), byte(r.IntN(5)), byte(r.IntN(2) * 128), 1})
}

// covers is what policies mean: whether a packet must be protected, which the first that covers it says. Where the destination is
// local too, it is left open (decided false).
func covers(policies []Policy, src, dst netip.Addr) (covered, decided bool) {
	found := false
	for _, p := range policies {
		local := slices.ContainsFunc(p.Local, func(l netip.Prefix) bool { return l.Masked().Contains(src) })
		remote := slices.ContainsFunc(p.Remote, func(l netip.Prefix) bool { return l.Masked().Contains(dst) })
		if !found && local && remote {
			found, covered = true, !p.Pass
		}
		if slices.ContainsFunc(p.Local, func(l netip.Prefix) bool { return l.Masked().Contains(dst) }) {
			return false, false
		}
	}
	return covered, true
}

// Whatever the policies are, and at every step from one set to another: what both cover never leaves in clear, what none
// covers goes its usual way, and so do the tunnel's own datagrams.
//
// Cases: FCS_IPSEC_EXT.1.1 T2; VPNGW FPF_RUL_EXT.1.6.
func TestPlanNeverLeaks(t *testing.T) {
	host := fixedHost{
		netip.MustParseAddr("192.0.2.5"), netip.MustParseAddr("10.0.0.1"),
		netip.MustParseAddr("2a00::5"), netip.MustParseAddr("2001:1::1"),
	}
	const device = 7
	seed := uint64(1)
	if !testing.Short() {
		seed = rand.Uint64()
	}
	r := rand.New(rand.NewPCG(seed, 0))
	defer func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	}()
	now, before := newFIB(), []Policy(nil)
	for step := range 100 {
		after := randomPolicies(r)
		want, err := planFIB(host, device, now, after)
		if err != nil {
			t.Fatal(err)
		}
		check := func(when string, old []Policy) {
			for range 3 {
				v6 := r.IntN(2) == 0
				src, dst := randomAddr(r, v6), randomAddr(r, v6)
				wasCovered, wasDecided := covers(old, src, dst)
				isCovered, isDecided := covers(after, src, dst)
				kind, _ := now.follow(src, dst, 0)
				text := func() string {
					return fmt.Sprintf("step %d %s: %v to %v: route of kind %d\nold %v\nnew %v\n%v", step, when, src, dst, kind, old, after, now)
				}
				if wasDecided && isDecided && wasCovered && isCovered && kind == 0 {
					t.Fatalf("leaves in clear, %s", text())
				}
				// What passes because of a rule may be kept back for the moment until the rule is there.
				passes := policyFor(after, src, dst).Pass || policyFor(old, src, dst).Pass
				if wasDecided && isDecided && !wasCovered && !isCovered && kind != 0 && (when == "at the end" || !passes) {
					t.Fatalf("is kept from leaving, %s", text())
				}
				if kind, _ := now.follow(src, dst, Mark|r.Uint32()&0xffffcf00); kind != 0 { // whatever others add
					t.Fatalf("loops with the tunnel's mark, %s", text())
				}
			}
		}
		add, remove := want.without(now), now.without(want)
		for route := range add.routes { // in any order; the kernel has one route for each destination and metric
			for old := range now.routes {
				if old.table == route.table && old.dst == route.dst && old.metric == route.metric {
					delete(now.routes, old)
				}
			}
			now.routes[route] = true
			check("adding routes", before)
		}
		for _, rule := range add.sortedRules() {
			now.rules[rule] = true
			check("adding rules", before)
		}
		rules := remove.sortedRules()
		slices.Reverse(rules)
		for _, rule := range rules {
			delete(now.rules, rule)
			check("removing rules", before)
		}
		for route := range remove.routes {
			delete(now.routes, route)
			check("removing routes", before)
		}
		for range 10 {
			check("at the end", after)
		}
		checkSourceless(t, r, host, now, after)
		before = after
	}
}

// checkSourceless: a packet without a source address gets one by which the policy covers it, or goes its usual way.
func checkSourceless(t *testing.T, r *rand.Rand, host fixedHost, now fib, policies []Policy) {
	for range 20 {
		v6 := r.IntN(2) == 0
		dst := randomAddr(r, v6)
		usual := host.usual(dst)
		kind, route := now.follow(netip.Addr{}, dst, 0)
		src := usual
		if kind != 0 && route.src.IsValid() {
			src = route.src
		}
		covered, decided := covers(policies, src, dst)
		if passes := policyFor(policies, src, dst).Pass; passes && kind != 0 {
			continue // the host chose another source than it usually does, to no avail: the gateway drops it
		}
		if decided && covered != (kind != 0) {
			t.Fatalf("without a source to %v: route of kind %d %v, but from %v covered is %v\n%v\n%v", dst, kind, route, src, covered, policies, now)
		}
	}
}

// policyFor is the first of the policies that covers a packet.
func policyFor(policies []Policy, src, dst netip.Addr) Policy {
	for _, p := range policies {
		if covered, _ := covers([]Policy{{Local: p.Local, Remote: p.Remote}}, src, dst); covered {
			return p
		}
	}
	return Policy{}
}

func TestPlanKeepsTables(t *testing.T) {
	host := fixedHost{netip.MustParseAddr("192.0.2.5")}
	first, err := planFIB(host, 7, newFIB(), []Policy{policyOf("10.1.0.0/16", "10.9.0.0/16"), policyOf("10.2.0.0/16", "10.9.0.0/16")})
	if err != nil {
		t.Fatal(err)
	}
	second, err := planFIB(host, 7, first, []Policy{policyOf("10.3.0.0/16", "10.9.0.0/16"), policyOf("10.2.0.0/16", "10.9.0.0/16")})
	if err != nil {
		t.Fatal(err)
	}
	for r := range second.rules {
		had := first.rules[r]
		switch {
		case r.from == netip.MustParsePrefix("10.2.0.0/16") && !had:
			t.Errorf("prefix got another table: %v", r)
		case r.from == netip.MustParsePrefix("10.3.0.0/16") && r.table != firstTable+3:
			t.Errorf("new prefix got table %d, of another prefix", r.table)
		}
	}
}

func TestPlanTooManyLocals(t *testing.T) {
	var p Policy
	for i := range lastTable - firstTable + 1 {
		p.Local = append(p.Local, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i)}), 24))
	}
	p.Remote = []netip.Prefix{netip.MustParsePrefix("192.168.0.0/16")}
	_, err := planFIB(fixedHost{netip.MustParseAddr("192.0.2.5")}, 7, newFIB(), []Policy{p})
	if err == nil || !strings.Contains(err.Error(), "summarize") {
		t.Errorf("error %v", err)
	}
	p.Local = p.Local[1:]
	if _, err := planFIB(fixedHost{netip.MustParseAddr("192.0.2.5")}, 7, newFIB(), []Policy{p}); err != nil {
		t.Error(err)
	}
}

func TestAdvice(t *testing.T) {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s + "\n")} }
	good := fstest.MapFS{
		"proc/sys/net/ipv4/ip_forward":             file("1"),
		"proc/sys/net/ipv6/conf/all/forwarding":    file("1"),
		"proc/sys/net/ipv4/conf/all/rp_filter":     file("0"),
		"proc/sys/net/ipv4/conf/eth0/rp_filter":    file("2"),
		"run/systemd/netif/state":                  file("OPER_STATE=routable"),
		"etc/systemd/networkd.conf":                file("[Network]\n#ManageForeignRoutingPolicyRules=yes"),
		"etc/systemd/networkd.conf.d/culvert.conf": file("[Network]\nManageForeignRoutingPolicyRules = no"),
	}
	eth0 := hostInterface{name: "eth0", addrs: []netip.Addr{netip.MustParseAddr("192.0.2.5"), netip.MustParseAddr("fe80::1")}}
	host4, host6 := policyOf("192.0.2.5/32", "0.0.0.0/0"), policyOf("2001:db8::5/128", "::/0")
	for _, c := range []struct {
		name     string
		change   fstest.MapFS
		policies []Policy
		addr     string // of eth0 besides
		want     string // part of the only sentence; empty: none
	}{
		{name: "all is well", policies: []Policy{host4, host6}},
		{"forwarding off", fstest.MapFS{"proc/sys/net/ipv4/ip_forward": file("0")}, nil, "", "sysctl -w net.ipv4.ip_forward=1"},
		{"forwarding off, of the other family", fstest.MapFS{"proc/sys/net/ipv4/ip_forward": file("0")}, []Policy{host6}, "", ""},
		{"IPv6 forwarding off", fstest.MapFS{"proc/sys/net/ipv6/conf/all/forwarding": file("0")}, []Policy{host6}, "", "sysctl -w net.ipv6.conf.all.forwarding=1"},
		{"IPv6 forwarding off, IPv6 in use", fstest.MapFS{"proc/sys/net/ipv6/conf/all/forwarding": file("0")}, nil, "2001:db8::1", "net.ipv6.conf.all.forwarding=1"},
		{"IPv6 forwarding off, IPv6 not in use", fstest.MapFS{"proc/sys/net/ipv6/conf/all/forwarding": file("0")}, nil, "", ""},
		{"strict for all, loose for the device", fstest.MapFS{"proc/sys/net/ipv4/conf/all/rp_filter": file("1")}, []Policy{host4}, "", ""},
		{"strict", fstest.MapFS{"proc/sys/net/ipv4/conf/eth0/rp_filter": file("1")}, []Policy{host4}, "", "net.ipv4.conf.eth0.rp_filter=2"},
		{"strict for all", fstest.MapFS{"proc/sys/net/ipv4/conf/all/rp_filter": file("1"), "proc/sys/net/ipv4/conf/eth0/rp_filter": file("0")}, []Policy{host4}, "", "net.ipv4.conf.eth0.rp_filter=2"},
		{"strict, policy for one network", fstest.MapFS{"proc/sys/net/ipv4/conf/eth0/rp_filter": file("1")}, []Policy{policyOf("192.0.2.5/32", "10.0.0.0/8")}, "", ""},
		{"networkd", fstest.MapFS{"etc/systemd/networkd.conf.d/culvert.conf": file("[Network]\nManageForeignRoutingPolicyRules=yes")}, nil, "", "ManageForeignRoutingPolicyRules=no"},
	} {
		root := fstest.MapFS{}
		for _, m := range []fstest.MapFS{good, c.change} {
			for name, f := range m {
				root[name] = f
			}
		}
		i := eth0
		if c.addr != "" {
			i.addrs = append(slices.Clone(i.addrs), netip.MustParseAddr(c.addr))
		}
		got := advise(root, []hostInterface{i}, c.policies)
		if c.want == "" && len(got) != 0 || c.want != "" && (len(got) != 1 || !strings.Contains(got[0].String(), c.want)) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	if got := advise(fstest.MapFS{}, nil, nil); len(got) != 0 {
		t.Errorf("of a host that tells nothing: %q", got)
	}
}
