//go:build linux

package demo

import (
	"context"
	"fmt"
	"strings"

	"github.com/culvert-vpn/culvert/gateway"
)

// view is how a gateway sees its tunnel.
type view struct {
	local, remote     string // addresses and ports
	localID, remoteID string
	nat               string // how the sentence begins
	secret            string
}

// tunnel is what a gateway says of its only tunnel.
type tunnel struct {
	ike   gateway.IKEStatus
	child gateway.ChildSAStatus
}

// see asks the gateway for its tunnel, and checks it against what must be.
func (s *side) see(ctx context.Context) (t tunnel, err error) {
	status, err := s.client().Status(ctx)
	if err != nil {
		return t, err
	}
	if len(status.Connections) != 1 || len(status.Connections[0].IKE) != 1 || len(status.Connections[0].IKE[0].Children) != 1 {
		return t, fmt.Errorf("gateway %s does not have exactly one tunnel: %+v", s.name, status.Connections)
	}
	t.ike = status.Connections[0].IKE[0]
	t.child = t.ike.Children[0]
	for _, fact := range []struct{ name, got, want string }{
		{"local address", t.ike.Local, s.want.local},
		{"address of the peer", t.ike.Remote, s.want.remote},
		{"own identity", t.ike.LocalID, s.want.localID},
		{"identity of the peer", t.ike.RemoteID, s.want.remoteID},
		{"way of finding the secret", t.ike.Secret, s.want.secret},
		{"NAT situation", t.ike.NAT[:min(len(t.ike.NAT), len(s.want.nat))], s.want.nat},
	} {
		if fact.got != fact.want {
			return t, fmt.Errorf("gateway %s: the %s is %q, should be %q", s.name, fact.name, fact.got, fact.want)
		}
	}
	return t, nil
}

// agree checks that both gateways speak of the same tunnel.
func agree(a, b tunnel) error {
	if a.ike.SPIi != b.ike.SPIi || a.ike.SPIr != b.ike.SPIr || a.ike.Initiator == b.ike.Initiator {
		return fmt.Errorf("the gateways speak of different IKE SAs: %+v, %+v", a.ike, b.ike)
	}
	if a.child.SPIIn != b.child.SPIOut || a.child.SPIOut != b.child.SPIIn {
		return fmt.Errorf("the gateways speak of different Child SAs: %+v, %+v", a.child, b.child)
	}
	return nil
}

// tell prints what the gateways know of their tunnel.
func (n *narrator) tell(a, b tunnel) {
	n.fact("NAT", "gateway A found out: %s", a.ike.NAT)
	n.fact("", "gateway B found out: %s", b.ike.NAT)
	n.fact("identities", "%s <-> %s", a.ike.LocalID, b.ike.LocalID)
	n.fact("secret", "gateway A: %s", a.ike.Secret)
	n.fact("", "gateway B: %s", b.ike.Secret)
	n.fact("addresses", "gateway A sees %s <-> %s", a.ike.Local, a.ike.Remote)
	n.fact("", "gateway B sees %s <-> %s", b.ike.Local, b.ike.Remote)
	n.fact("IKE SA", "%s_%s, %s", a.ike.SPIi, a.ike.SPIr, a.ike.Proposal)
	n.fact("ESP SAs", "A -> B %s, B -> A %s, %s, in UDP", b.child.SPIIn, a.child.SPIIn, a.child.Proposal)
	n.fact("traffic", "%s <-> %s", strings.Join(a.child.Local, ", "), strings.Join(a.child.Remote, ", "))
}
