//go:build linux

package demo

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/culvert-vpn/culvert/internal/lab"
)

// network is the network of the reference case.
type network struct {
	hostA, gwA, internet, nat, gwB, hostB *lab.Host
	publicB                               netip.Addr // what the internet sees of gwB
}

func newNetwork(t lab.T) *network {
	n := lab.New(t)
	net := &network{
		hostA: n.Host("hostA"), gwA: n.Router("gwA"), internet: n.Router("internet"), nat: n.Router("nat"),
		gwB: n.Router("gwB"), hostB: n.Host("hostB"), publicB: netip.MustParseAddr("192.0.2.10"),
	}
	// The first address that a host is given is the one it is known by.
	n.Link(net.gwA, []string{"203.0.113.1/24"}, net.internet, []string{"203.0.113.254/24"})
	n.Link(net.hostA, []string{"10.103.0.2/24"}, net.gwA, []string{"10.103.0.1/24"})
	n.Link(net.nat, []string{net.publicB.String() + "/24"}, net.internet, []string{"192.0.2.254/24"})
	n.Link(net.gwB, []string{"172.16.0.1/24"}, net.nat, []string{"172.16.0.254/24"})
	n.Link(net.hostB, []string{"10.104.0.2/24"}, net.gwB, []string{"10.104.0.1/24"})
	net.hostA.Route("default", "10.103.0.1")
	net.gwA.Route("default", "203.0.113.254")
	net.nat.Route("default", "192.0.2.254")
	net.gwB.Route("default", "172.16.0.254")
	net.hostB.Route("default", "10.104.0.1")
	net.nat.NAT1to1(net.gwB.Addr(), net.publicB)
	return net
}

// draw is the picture of the network, with the addresses that its hosts have.
func (n *network) draw() string {
	return fmt.Sprintf(`
   10.103.0.0/24                                                            10.104.0.0/24
      host A        gateway A                     1:1 NAT       gateway B       host B
    %-11s --- %-11s === internet === %-10s --- %-10s --- %s
                  public address             it stands for    private address
`, n.hostA.Addr(), n.gwA.Addr(), n.publicB, n.gwB.Addr(), n.hostB.Addr())
}

// apart checks that the sites do not reach each other without a tunnel: else the rest would prove nothing.
func (n *network) apart() error {
	ping, err := n.hostA.Ping(n.hostB.Addr(), lab.Ping{Count: 3, Patience: 100 * time.Millisecond})
	if err != nil {
		return err
	}
	if ping.Received != 0 {
		return fmt.Errorf("host B answers host A although no tunnel is up")
	}
	return nil
}
