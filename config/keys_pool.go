package config

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/culvert-vpn/culvert/ike"
)

// inner is a section of pools while it is read.
type inner struct{ *ike.Pool }

const noSuchAttribute = "Culvert tells peers of addresses, name servers and networks only"

// poolKeys are the keys of pools.<name>. Those of the IKEv1 extension Unity are taken for what IKEv2 has in their place.
var poolKeys = []key[inner]{
	{name: "addrs", set: setAddrs},
	{name: "dns", set: func(p *inner, v string) error { return setServers(&p.DNS, v) }},
	{name: "nbns", set: func(p *inner, v string) error { return setServers4(&p.NBNS, v) }},
	{name: "dhcp", set: func(p *inner, v string) error { return setServers(&p.DHCP, v) }},
	{name: "netmask", set: setNetmask},
	{name: "subnet", set: func(p *inner, v string) error { return setNetworks(&p.Subnets, v) }},
	{name: "split_include", set: func(p *inner, v string) error { return setNetworks(&p.Subnets, v) }},
	{name: "split_exclude", set: setExcluded},
	{name: "dns_domain", set: setDomains},
	{name: "25", set: setDomains},

	{name: "address", refused: "addresses are lent one by one: use addrs"},
	{name: "server", refused: noSuchAttribute},
	{name: "p_cscf", refused: noSuchAttribute},
}

// setAddrs reads what a pool lends of: a subnet or a range. Of a subnet with more than two addresses the first and the last are
// left out: they are the network and the broadcast address. One that is written with an address inside of it begins there.
func setAddrs(p *inner, v string) error {
	const what = "a subnet such as 10.11.0.0/24, or a range such as 10.11.0.10-10.11.0.99"
	if from, to, ok := strings.Cut(v, "-"); ok {
		first, err1 := netip.ParseAddr(strings.TrimSpace(from))
		last, err2 := netip.ParseAddr(strings.TrimSpace(to))
		if err1 != nil || err2 != nil || first.Zone() != "" || last.Zone() != "" || first.BitLen() != last.BitLen() || last.Less(first) {
			return wrong(what, "%q is not a range of addresses", v)
		}
		p.First, p.Last = first, last
		return nil
	}
	if !strings.Contains(v, "/") {
		return wrong(what, "%q is neither a subnet nor a range; for one address write it with /32 or /128", v)
	}
	net, err := netip.ParsePrefix(v)
	if err != nil || net.Addr().Is4In6() {
		return wrong(what, "%q is not a subnet", v)
	}
	p.First, p.Last = net.Masked().Addr(), lastAddr(net)
	if net.Addr().BitLen()-net.Bits() > 1 {
		p.First, p.Last = p.First.Next(), p.Last.Prev()
	}
	if p.First.Less(net.Addr()) {
		p.First = net.Addr()
	}
	if p.Last.Less(p.First) {
		return wrong(what, "%q has no address to lend: it begins at its last one", v)
	}
	return nil
}

// lastAddr is the highest address of a prefix.
func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < 8*len(b); i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	last, _ := netip.AddrFromSlice(b)
	return last
}

func setServers(servers *[]netip.Addr, v string) error {
	for _, text := range list(v) {
		a, err := netip.ParseAddr(text)
		if err != nil || a.Zone() != "" || !a.IsGlobalUnicast() {
			return wrong("a list of addresses", "%q is not the address of a server", text)
		}
		*servers = append(*servers, a.Unmap())
	}
	return nil
}

func setServers4(servers *[]netip.Addr, v string) error {
	if err := setServers(servers, v); err != nil {
		return err
	}
	if slices.ContainsFunc(*servers, netip.Addr.Is6) {
		return wrong("an IPv4 address", "NetBIOS name servers have IPv4 addresses only")
	}
	return nil
}

func setNetmask(p *inner, v string) error {
	a, err := netip.ParseAddr(v)
	if err != nil || !a.Is4() {
		return wrong("a netmask such as 255.255.255.0", "%q is not a netmask", v)
	}
	p.Netmask = a
	return nil
}

func setNetworks(networks *[]netip.Prefix, v string) error {
	for _, text := range list(v) {
		net, err := parseNetwork(text)
		if err != nil {
			return err
		}
		*networks = append(*networks, net)
	}
	return nil
}

// parseNetwork reads a subnet, or an address for itself alone.
func parseNetwork(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), nil
	}
	net, err := netip.ParsePrefix(text)
	if err != nil || net.Addr().Is4In6() {
		return net, wrong("a list of subnets such as 10.0.0.0/8", "%q is not a subnet", text)
	}
	return net.Masked(), nil
}

func setExcluded(p *inner, v string) error {
	if err := setNetworks(&p.Excluded, v); err != nil {
		return err
	}
	if slices.ContainsFunc(p.Excluded, func(n netip.Prefix) bool { return n.Addr().Is6() }) {
		return wrong("IPv4 subnets", "networks to exclude can be told to peers for IPv4 only")
	}
	return nil
}

func setDomains(p *inner, v string) error {
	for _, text := range list(v) {
		name := strings.ToLower(strings.TrimSuffix(text, "."))
		if !isHostname(name) {
			return wrong("a list of names such as corp.example; of names with other letters the form that begins with xn--", "%q is not a domain", text)
		}
		p.Domains = append(p.Domains, name)
	}
	return nil
}

// maxVIPs is how many addresses a connection may ask for.
const maxVIPs = 4

func setVIPs(c *connection, v string) error {
	for _, text := range list(v) {
		a, err := netip.ParseAddr(text)
		switch {
		case err != nil || a.Zone() != "" || a.Is4In6():
			return wrong("0.0.0.0 for any IPv4 address, :: for any IPv6 address, or the wished address", "%q is not an address", text)
		case !a.IsUnspecified() && !a.IsGlobalUnicast():
			return wrong("0.0.0.0 or ::", "%v cannot be the address of this side", a)
		}
		c.VIPs = append(c.VIPs, a)
	}
	if len(c.VIPs) > maxVIPs {
		return wrong("", "more than %d addresses cannot be asked for", maxVIPs)
	}
	return nil
}

// addPools reads the section pools.
func (b *builder) addPools(s *section) {
	for _, k := range s.settings {
		b.fail(k.pos, "name { addrs = ... }", "pools holds sections only, one for each pool")
	}
	for _, sub := range s.sections {
		b.addPool(sub)
	}
	for i, p := range b.config.Pools {
		for j, other := range b.config.Pools[:i] {
			if p.First.IsValid() && other.First.IsValid() && p.Overlaps(other) {
				b.fail(b.pools[i], "", "pools %s and %s overlap: an address would be lent twice (%s)", other.Name, p.Name, b.pools[j])
			}
		}
	}
}

func (b *builder) addPool(s *section) {
	p := inner{&ike.Pool{Name: s.name}}
	apply(b.report, place{what: "pool " + s.name}, s, poolKeys, nil, &p)
	switch written, ok := s.setting("addrs"); {
	case !ok || written.value == "":
		b.fail(s.pos, "addrs = 10.11.0.0/24", "pool %s has no addresses", s.name)
	case !p.First.IsValid(): // said already
	case p.Netmask.IsValid() && p.First.Is6():
		b.fail(b.at(s, "netmask"), "remove it", "pool %s: netmask is for IPv4", s.name)
	}
	if len(p.Domains) > 0 && len(p.DNS) == 0 {
		b.fail(b.at(s, "dns_domain"), "dns = ADDRESS", "pool %s names domains, and no server that resolves them (RFC 8598 3.2)", s.name)
	}
	b.config.Pools = append(b.config.Pools, p.Pool)
	b.pools = append(b.pools, b.at(s, "addrs"))
}

// usePools finds the pools of a connection.
func (b *builder) usePools(s *section, c *connection) {
	for _, name := range c.pools {
		if b.alone {
			c.Pools = append(c.Pools, &ike.Pool{Name: name})
			continue
		}
		i := slices.IndexFunc(b.config.Pools, func(p *ike.Pool) bool { return p.Name == name })
		if i < 0 {
			var known []string
			for _, p := range b.config.Pools {
				known = append(known, p.Name)
			}
			hint := didYouMean(name, known)
			if hint == "" {
				hint = "pools { " + name + " { addrs = 10.11.0.0/24 } } at the top of the file"
			}
			b.fail(b.at(s, "pools"), hint, "there is no pool %q", name)
			continue
		}
		if !slices.Contains(c.Pools, b.config.Pools[i]) {
			c.Pools = append(c.Pools, b.config.Pools[i])
		}
	}
}
