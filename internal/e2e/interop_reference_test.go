//go:build linux

package e2e

import (
	"testing"
)

// TestInteropReference is the reference case with a 1:1 NAT in front of either, both and none of the gateways; each of
// them calls, and each of them says good-bye.
//
// Cases: SGW.I.1.1.1.3; FCS_IPSEC_EXT.1.3; FCS_IPSEC_EXT.1.5; FCS_IPSEC_EXT.1.13; TestResponderPsk.
func TestInteropReference(t *testing.T) {
	t.Parallel()
	for _, plan := range []struct {
		name string
		Plan
	}{
		{"no NAT", Plan{}},
		{"A behind a NAT", Plan{A: OneToOne}},
		{"B behind a NAT", Plan{B: OneToOne}},
		{"both behind a NAT", Plan{A: OneToOne, B: OneToOne}},
	} {
		for _, cast := range casts {
			t.Run(plan.name+"/"+cast.name, func(t *testing.T) {
				t.Parallel()
				// So that A can call as well.
				confA := edit(referenceA, "local_addrs = 203.0.113.1", "local_addrs = %any\nremote_addrs = 192.0.2.10")
				p := cast.play(t, NewReference(t, plan.Plan), confA, referenceB)
				for _, call := range p.calls() {
					call.reference()
				}
			})
		}
	}
}

// reference sets the tunnel of the reference case up, uses it, and closes it, twice.
func (c call) reference() {
	c.Helper()
	saA, saB := c.up("site", "net")
	c.knows(saA, saB)
	c.situation(c.a, saA, c.b, c.ref.A, c.ref.B)
	c.situation(c.b, saB, c.a, c.ref.B, c.ref.A)
	const echoes = 25
	c.ping(echoes)
	c.carried("site", "net", echoes)
	for _, way := range [][2]*Gateway{{c.ref.A, c.ref.B}, {c.ref.B, c.ref.A}} {
		transfer, err := way[0].Client.Transfer(way[1].Client, way[1].Client.Addr(), 1<<20)
		if err != nil || transfer.Bytes != 1<<20 || !transfer.Intact() {
			c.fail("from %s to %s: %v, %v", way[0].Client.Name, way[1].Client.Name, transfer, err)
		}
	}
	c.carried("site", "net", 1<<20/1500)
	c.down(c.initiator, "site")

	c.up("site", "net")
	c.ping(1)
	c.down(c.responder, "site")
}

// knows checks that the gateways see what the reference case says: who is who, where, and with which algorithms.
func (c call) knows(saA, saB SA) {
	c.Helper()
	for _, sa := range []SA{saA, saB} {
		if !sameWords(sa.Proposal, "aes256gcm16-prfsha256-x25519") || !sameWords(sa.Children[0].Proposal, "aes256gcm16") {
			c.fail("not the proposals of the configuration: %+v", sa)
		}
		if sa.Local.Port() != 4500 || sa.Remote.Port() != 4500 {
			c.fail("not on port 4500: %+v", sa)
		}
	}
	if saA.LocalID != "203.0.113.1" || text(saA.RemoteID) != "foo" || saA.Initiator != c.byA ||
		saA.Local.Addr() != c.ref.A.Local || saA.Remote.Addr() != c.ref.B.Public || saA.Children[0].LocalTS[0] != "10.103.0.0/24" {
		c.fail("A sees %+v", saA)
	}
	if text(saB.LocalID) != "foo" || saB.RemoteID != "203.0.113.1" || saB.Initiator == c.byA ||
		saB.Local.Addr() != c.ref.B.Local || saB.Remote.Addr() != c.ref.A.Public || saB.Children[0].LocalTS[0] != "10.104.0.0/24" {
		c.fail("B sees %+v", saB)
	}
}

// situation checks what a gateway tells of NAT. Both daemons demand UDP encapsulation by sending a hash that cannot
// match. charon takes that for a NAT, and its own is random and hides whether there is one. Of another Culvert, Culvert
// knows it for certain.
func (c call) situation(p Peer, sa SA, peer Peer, here, there *Gateway) {
	c.Helper()
	gateway, isCulvert := p.(*Culvert)
	if !isCulvert {
		if sa.LocalNAT != (here.NAT != nil) || !sa.RemoteNAT {
			c.fail("charon's view of NAT: %+v", sa)
		}
		return
	}
	connection, err := gateway.Connection("site")
	Must(c.T, err)
	type nat struct{ certain, local, remote bool }
	_, certain := peer.(*Culvert)
	words := map[nat]string{
		{true, false, false}: "no NAT, the peer forces UDP encapsulation",
		{true, false, true}:  "the peer is behind a NAT",
		{true, true, false}:  "we are behind a NAT, the peer forces UDP encapsulation",
		{true, true, true}:   "both we and the peer are behind a NAT",
		{false, false, true}: "the peer is behind a NAT or forces UDP encapsulation",
		{false, true, true}:  "we are behind a NAT, and the peer is behind a NAT or forces UDP encapsulation",
	}[nat{certain, here.NAT != nil, there.NAT != nil || !certain}]
	if got := connection.IKE[0].NAT; got != words {
		c.fail("the NAT situation is %q, want %q", got, words)
	}
}
