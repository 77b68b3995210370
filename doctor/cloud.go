package doctor

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/culvert-vpn/culvert/explain"
	"github.com/culvert-vpn/culvert/ident"
	"github.com/culvert-vpn/culvert/ike"
)

// cloud asks for the addresses of this host, and says what they mean for the connections.
func (x *examination) cloud(ctx context.Context) {
	facts := askClouds(ctx, cmp.Or(x.Metadata, defaultMetadata), markedDialer().DialContext)
	x.report.Cloud = facts
	if facts == nil {
		x.add(Check{ID: "cloud", Group: Cloud, Result: Note, Text: "no metadata service of AWS, Google Cloud or Azure answers: this host is not with them, or may not ask"})
		return
	}
	x.add(judgeCloud(facts))
	m, ok := facts.translated(nil)
	if !ok {
		return
	}
	for _, c := range x.chosen() {
		if m, ok := facts.translated(c.LocalAddrs); ok {
			x.add(x.judgeTranslated(c, m))
		}
	}
	if facts.Provider != "" && x.forwardsForOthers(m.Private) {
		x.add(judgeSourceCheck(facts.Provider))
	}
}

// translated is the address that is seen as another one, for a connection that may be bound to addresses.
func (f *CloudFacts) translated(bound []netip.Prefix) (found Mapping, ok bool) {
	for _, m := range f.Addresses {
		if !m.Public.IsValid() || m.Public == m.Private {
			continue
		}
		if holds(bound, m.Private) || holds(bound, m.Public) {
			return m, true
		}
		if !ok {
			found, ok = m, true
		}
	}
	return found, ok
}

func holds(list []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
}

// judgeCloud puts the addresses in words.
func judgeCloud(f *CloudFacts) Check {
	c := Check{ID: "cloud", Group: Cloud, Result: Note}
	var words []string
	for _, m := range f.Addresses {
		switch {
		case !m.Public.IsValid():
			words = append(words, fmt.Sprintf("%v has no public address", m.Private))
		case m.Public == m.Private:
			words = append(words, fmt.Sprintf("%v is public itself", m.Private))
		default:
			words = append(words, fmt.Sprintf("%v is seen by others as %v: a 1:1 NAT", m.Private, m.Public))
		}
	}
	if words == nil {
		words = []string{"it tells of no IPv4 address"}
	}
	c.Text = fmt.Sprintf("this host is with %v; %s", f.Provider, strings.Join(words, "; "))
	return c
}

// judgeTranslated says whether a connection fits a 1:1 NAT in front of this host, and prints what does.
func (x *examination) judgeTranslated(c *ike.Connection, m Mapping) Check {
	id, problem := x.identityBehindNAT(c, m.Private)
	check := Check{ID: "behind-1-to-1-nat", Group: Cloud, Connection: c.Name, Result: Note}
	peer := x.fixOfPeer(c, id, m.Public)
	bound := len(c.LocalAddrs) > 0 && !holds(c.LocalAddrs, m.Private)
	switch {
	case bound:
		check.Result = Failure
		check.Text = fmt.Sprintf("local_addrs are not those of this host, which is %v behind a 1:1 NAT: the public address %v exists in the NAT only, and nothing "+
			"can be sent from it", m.Private, m.Public)
	case problem != "":
		check.Result, check.Cause = Warning, explain.UnknownIdentity
		check.Text = fmt.Sprintf("this host is %v behind a 1:1 NAT that shows it as %v, and %s", m.Private, m.Public, problem)
	default:
		check.Text = fmt.Sprintf("it fits the 1:1 NAT: this host is known as %v whatever address it has; the peer reaches it at %v", id, m.Public)
		check.Fixes = []explain.Fix{peer}
		return check
	}
	check.Fixes = []explain.Fix{x.fixHere(c, id, bound), peer}
	return check
}

// identityBehindNAT is the identity by which this side should be known behind a NAT, and what is wrong with the one that is configured.
func (x *examination) identityBehindNAT(c *ike.Connection, private netip.Addr) (id ident.ID, problem string) {
	addr, isAddr := c.LocalID.Addr()
	switch {
	case c.LocalID.IsZero():
		problem = fmt.Sprintf("the connection has no local id: it would say that it is %v, and the peer knows nobody of this name", private)
	case isAddr && (addr == private || addr.IsPrivate()):
		problem = fmt.Sprintf("the connection's local id is %v, a private address, which the peer is not likely to know", addr)
	default:
		return c.LocalID, ""
	}
	host, _ := os.Hostname()
	return nameFor(host, c), problem
}

// nameFor makes an identity of the host's name, or of the connection's. It need not exist in the DNS; it must not be that of the peer.
func nameFor(host string, c *ike.Connection) ident.ID {
	for _, text := range []string{host, c.Name + "-gateway", "gateway"} {
		text = strings.Map(func(r rune) rune {
			if r == '-' || r == '.' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
				return r
			}
			return '-'
		}, text)
		text = strings.Trim(text, "-.")
		id, err := ident.Parse("@" + text)
		if text == "" || strings.HasPrefix(text, "localhost") || err != nil || len(text) > 63 || c.RemoteID.Match(id) != 0 && !c.RemoteID.IsAny() {
			continue
		}
		return id
	}
	id, _ := ident.Parse("@this-" + c.Name)
	return id
}

// forwardsForOthers reports whether connections are about packets of other machines, which a cloud lets a machine send and receive by
// permission only.
func (x *examination) forwardsForOthers(own netip.Addr) bool {
	for _, c := range x.chosen() {
		for _, child := range c.Children {
			for _, s := range child.LocalTS {
				if !s.Dynamic && (s.Sel.Start != own || s.Sel.End != own) {
					return true
				}
			}
		}
	}
	return false
}

// judgeSourceCheck reminds of the permission, which no machine can see from inside.
func judgeSourceCheck(p Provider) Check {
	c := Check{ID: "source-check", Group: Cloud, Result: Note}
	switch p {
	case AWS:
		c.Text = "packets of other machines pass this one only if its source/destination check is off"
		c.Fixes = []explain.Fix{{Side: explain.Between, Text: "switch it off, and route the peer's networks to this instance in the route table of the subnet", Lines: []string{
			"# aws ec2 modify-instance-attribute --no-source-dest-check --instance-id <of this instance>",
		}}}
	case Google:
		c.Text = "packets of other machines pass this one only if IP forwarding was allowed when it was made"
		c.Fixes = []explain.Fix{{Side: explain.Between, Text: "make the instance with it, and a route for the peer's networks to this instance", Lines: []string{
			"# gcloud compute instances create <name> --can-ip-forward",
		}}}
	default:
		c.Text = "packets of other machines pass this one only if IP forwarding is enabled on its network interface"
		c.Fixes = []explain.Fix{{Side: explain.Between, Text: "enable it, and route the peer's networks to this machine in the route table of the subnet", Lines: []string{
			"# az network nic update --resource-group <its group> --name <its interface> --ip-forwarding true",
		}}}
	}
	return c
}
