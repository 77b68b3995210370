package config

import (
	"fmt"
	"strings"
	"testing"
)

// withPools is a road warrior gateway's file; keys are those of the pool p.
func withPools(keys, more string) string {
	file := strings.Replace(conn("pools = p\nlocal_addrs = 192.0.2.1", "local_ts = 10.1.0.0/16\nremote_ts = dynamic"), "connections {", "pools { p {\n"+keys+"\n}\n"+more+"}\nconnections {", 1)
	return strings.Replace(file, "remote_ts = 10.2.0.0/16\n", "", 1)
}

func TestPoolAddrs(t *testing.T) {
	for _, c := range []struct{ addrs, want string }{
		{"10.11.0.0/24", "10.11.0.1 10.11.0.254"},
		{"10.11.0.10/24", "10.11.0.10 10.11.0.254"},
		{"10.11.0.0/30", "10.11.0.1 10.11.0.2"},
		{"10.11.0.0/31", "10.11.0.0 10.11.0.1"},
		{"10.11.0.7/32", "10.11.0.7 10.11.0.7"},
		{"0.0.0.0/0", "0.0.0.1 255.255.255.254"},
		{"10.11.0.0-10.11.0.255", "10.11.0.0 10.11.0.255"},
		{"10.11.0.5 - 10.11.0.5", "10.11.0.5 10.11.0.5"},
		{"2001:db8:11::/64", "2001:db8:11::1 2001:db8:11:0:ffff:ffff:ffff:fffe"},
		{"2001:db8:11::100/120", "2001:db8:11::101 2001:db8:11::1fe"},
		{"2001:db8::1-2001:db8::ff", "2001:db8::1 2001:db8::ff"},
	} {
		parsed, _ := mustParse(t, withPools("addrs = "+c.addrs, ""))
		p := parsed.Connections[0].Pools[0]
		if got := fmt.Sprint(p.First, p.Last); got != c.want || parsed.Pools[0] != p {
			t.Errorf("%s: %s, want %s", c.addrs, got, c.want)
		}
	}
}

func TestPool(t *testing.T) {
	c, warnings := mustParse(t, withPools(`addrs = 10.11.0.0/24
dns = 10.1.0.53, 2001:db8::53
nbns = 10.1.0.54
dhcp = 10.1.0.55
netmask = 255.255.255.0
subnet = 10.1.0.0/16
split_include = 10.3.4.5/16, 2001:db8:1::/48
split_exclude = 192.168.0.0/16
dns_domain = Corp.Example., x.test`, ""))
	if len(warnings) > 0 {
		t.Errorf("warnings: %v", warnings)
	}
	const want = "[10.1.0.53 2001:db8::53] [10.1.0.54] [10.1.0.55] 255.255.255.0 [10.1.0.0/16 10.3.0.0/16 2001:db8:1::/48] [192.168.0.0/16] [corp.example x.test]"
	p := c.Pools[0]
	if got := fmt.Sprint(p.DNS, p.NBNS, p.DHCP, p.Netmask, p.Subnets, p.Excluded, p.Domains); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	var b strings.Builder
	if err := c.Describe(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"lends addresses of", "pool p", "10.11.0.1 to 10.11.0.254", "10.1.0.53, 2001:db8::53", "corp.example, x.test"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("lacks %q:\n%s", want, b.String())
		}
	}
}

func TestPoolErrors(t *testing.T) {
	for _, c := range []struct{ keys, more, want string }{
		{"dns = 10.1.0.53", "", "pool p has no addresses"},
		{"addrs = 10.11.0.0", "", "neither a subnet nor a range"},
		{"addrs = 10.11.0.0/33", "", "is not a subnet"},
		{"addrs = ::ffff:10.11.0.0/120", "", "is not a subnet"},
		{"addrs = 10.11.0.255/24", "", "no address to lend"},
		{"addrs = 10.11.0.9-10.11.0.1", "", "not a range"},
		{"addrs = 10.11.0.9-2001:db8::1", "", "not a range"},
		{"addrs = 10.11.0.0/24\ndns = here", "", `"here" is not the address of a server`},
		{"addrs = 10.11.0.0/24\nnbns = 2001:db8::1", "", "IPv4 addresses only"},
		{"addrs = 10.11.0.0/24\nnetmask = /24", "", "is not a netmask"},
		{"addrs = 2001:db8::/64\nnetmask = 255.255.255.0", "", "netmask is for IPv4"},
		{"addrs = 10.11.0.0/24\nsubnet = 10.1", "", "is not a subnet"},
		{"addrs = 10.11.0.0/24\nsplit_exclude = 2001:db8::/32", "", "IPv4 only"},
		{"addrs = 10.11.0.0/24\ndns_domain = corp.example", "", "no server that resolves them"},
		{"addrs = 10.11.0.0/24\ndns = 10.1.0.53\ndns_domain = a b", "", "is not a domain"},
		{"addrs = 10.11.0.0/24\nserver = 10.1.0.1", "", "server is not possible"},
		{"addrs = 10.11.0.0/24\naddresses = 10.1.0.1", "", `did you mean "address"?`},
		{"addrs = 10.11.0.0/24\n28 = x", "", `unknown key "28"`},
		{"addrs = 10.11.0.0/24", "q { addrs = 10.11.0.254/31\n}", "pools p and q overlap"},
		{"addrs = 10.11.0.0/24", "key = value\n", "pools holds sections only"},
	} {
		_, _, err := Parse("f", []byte(withPools(c.keys, c.more)), Options{})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s: %v, want an error with %q", c.keys, c.more, err, c.want)
		}
	}
}

func TestPoolWarnings(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{withPools("addrs = 10.1.2.0/24", ""), "lends addresses of local_ts of child n (10.1.2.1-10.1.2.254)"},
		{withPools("addrs = 10.11.0.0/24", "q { addrs = 10.12.0.0/24\n}"), "pool q is not used"},
		{strings.Replace(withPools("addrs = 10.11.0.0/24", ""), "remote_ts = dynamic", "remote_ts = 10.11.0.0/24", 1), "each peer would have all of remote_ts to itself"},
		{conn("vips = 0.0.0.0\nremote_addrs = 192.0.2.1", "start_action = start"), "no child is for the addresses that the peer will assign"},
		{conn("vips = 0.0.0.0", "local_ts = dynamic"), "names nobody to call"},
	} {
		_, warnings := mustParse(t, c.text)
		if !strings.Contains(fmt.Sprint(warnings), c.want) {
			t.Errorf("%v, want one with %q, of\n%s", warnings, c.want, c.text)
		}
	}
}

func TestVIPs(t *testing.T) {
	c, warnings := mustParse(t, conn("vips = 0.0.0.0, ::, 10.11.0.7\nremote_addrs = 192.0.2.1\nlocal_addrs = 192.0.2.9", "local_ts = dynamic\nstart_action = start"))
	if got := fmt.Sprint(c.Connections[0].VIPs); got != "[0.0.0.0 :: 10.11.0.7]" || len(warnings) > 0 {
		t.Errorf("%s, warnings %v", got, warnings)
	}
	var b strings.Builder
	if err := c.Describe(&b); err != nil || !strings.Contains(b.String(), "an IPv4 address, an IPv6 address, the address 10.11.0.7") {
		t.Errorf("%v: %s", err, b.String())
	}
	if _, _, err := Parse("f", []byte(conn("vips = 0.0.0.0, 0.0.0.0, 0.0.0.0, 0.0.0.0, 0.0.0.0", "")), Options{}); err == nil || !strings.Contains(err.Error(), "more than 4") {
		t.Errorf("five addresses: %v", err)
	}
}
