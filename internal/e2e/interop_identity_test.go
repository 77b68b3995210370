//go:build linux

package e2e

import (
	"strings"
	"testing"
)

// identities are one of every type, twice: for A and for B.
var identities = []struct{ name, a, b string }{
	{"ipv4", "198.51.100.1", "198.51.100.2"}, // nobody's address: an identity says nothing about the network
	{"ipv6", "2001:db8:1d::1", "2001:db8:1d::2"},
	{"fqdn", "@a.example.com", "@b.example.com"},
	{"fqdn-word", "fqdn:gateway-a", "fqdn:gateway-b"},
	{"rfc822", "a@example.com", "b@example.com"},
	{"rfc822-mark", "@@a", "@@b"},
	{"keyid-hex", "@#00ff61", "@#00ff62"},
	{"keyid-text", "keyid:this is a", "keyid:this is b"},
	{"dn", "C=CH, O=Example, CN=gateway a", "C=CH, O=Example, CN=gateway b"},
}

// TestInteropIdentity has one connection for every type of identity on the same pair of gateways, each with a secret of
// its own. The gateway that is called finds connection and secret by the identity.
//
// Cases: FCS_IPSEC_EXT.1.14.
func TestInteropIdentity(t *testing.T) {
	t.Parallel()
	var pacts []pact
	for i, id := range identities {
		p := numbered(i+1, id.name)
		p.a.id, p.b.id = id.a, id.b
		pacts = append(pacts, p)
	}
	confA, confB := confs(pacts...)
	for _, cast := range casts {
		t.Run(cast.name, func(t *testing.T) {
			t.Parallel()
			ref := NewReference(t, Plan{B: OneToOne})
			ref.subnets(len(pacts))
			p := cast.play(t, ref, confA, confB)
			for _, call := range p.calls() {
				for _, pact := range pacts {
					saA, saB := call.up(pact.name, pact.name)
					call.named(call.a, saA, pact.a.id, pact.b.id)
					call.named(call.b, saB, pact.b.id, pact.a.id)
					call.use(pact, 3)
					call.down(call.initiator, pact.name)
				}
			}
		})
	}
}

// named checks the identities of an IKE SA against the configuration.
func (c call) named(p Peer, sa SA, local, remote string) {
	c.Helper()
	printed := printedByCharon
	if _, ok := p.(*Culvert); ok {
		printed = printedByCulvert
	}
	if sa.LocalID != printed(local) || sa.RemoteID != printed(remote) {
		c.fail("the identities are %q and %q, want %q and %q", sa.LocalID, sa.RemoteID, printed(local), printed(remote))
	}
}

// printedByCharon is how charon prints an identity that is written so in the configuration: without its type.
func printedByCharon(id string) string {
	switch {
	case strings.HasPrefix(id, "@#"):
		var octets []string
		for i := 2; i < len(id); i += 2 {
			octets = append(octets, id[i:i+2])
		}
		return strings.Join(octets, ":")
	case strings.HasPrefix(id, "@@"):
		return id[2:]
	case strings.HasPrefix(id, "@"):
		return id[1:]
	}
	for _, prefix := range []string{"fqdn:", "keyid:"} {
		id = strings.TrimPrefix(id, prefix)
	}
	return id
}

// printedByCulvert is how Culvert prints it: in a form that it reads back.
func printedByCulvert(id string) string {
	switch {
	case strings.HasPrefix(id, "fqdn:"):
		return "@" + strings.TrimPrefix(id, "fqdn:")
	case strings.HasPrefix(id, "@#00ff"), strings.HasPrefix(id, "@@"):
		return id
	}
	return id
}
