package gateway_test

import (
	"context"
	"fmt"
	"log"
	"net/netip"

	"github.com/culvert-vpn/culvert/config"
	"github.com/culvert-vpn/culvert/gateway"
	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/tun/tuntest"
	"github.com/culvert-vpn/culvert/udp"
	"github.com/culvert-vpn/culvert/udp/udptest"
)

// A program embeds two gateways and connects them over a network in memory. With udp.Listen and tun.Open, or without
// WithConns and WithTUN, the same program is a gateway on a real network.
func Example() {
	network := udptest.NewNetwork()
	responder := embed(network, "192.0.2.1", `
		connections {
			east {
				local {
					auth = psk
					id = @west
				}
				remote {
					auth = psk
					id = @east
				}
				children {
					all {
						local_ts = 10.1.0.0/16
						remote_ts = 10.2.0.0/16
					}
				}
			}
		}
		secrets {
			ike-east {
				id-1 = @east
				secret = "a long random string"
			}
		}`)
	initiator := embed(network, "192.0.2.2", `
		connections {
			west {
				remote_addrs = 192.0.2.1
				local {
					auth = psk
					id = @east
				}
				remote {
					auth = psk
					id = @west
				}
				children {
					all {
						local_ts = 10.2.0.0/16
						remote_ts = 10.1.0.0/16
					}
				}
			}
		}
		secrets {
			ike-west {
				id-1 = @west
				secret = "a long random string"
			}
		}`)

	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	for _, g := range []*gateway.Gateway{responder, initiator} {
		go func() { ended <- g.Run(ctx) }()
	}
	err := initiator.Up(ctx, "west", "all", func(ev ike.Event) { fmt.Println(ev.Kind) })
	if err != nil {
		log.Fatal(err)
	}
	sa := initiator.Status().Connections[0].IKE[0]
	fmt.Println(sa.LocalID, "is connected with", sa.RemoteID)
	stop()
	fmt.Println(<-ended, <-ended)
	// Output:
	// initiating
	// established
	// child-up
	// @east is connected with @west
	// <nil> <nil>
}

// embed makes a gateway with one address on a network in memory.
func embed(network *udptest.Network, address, text string) *gateway.Gateway {
	cfg, _, err := config.Parse("example", []byte(text), config.Options{})
	if err != nil {
		log.Fatal(err)
	}
	var conns gateway.Conns
	host := network.Host(netip.MustParseAddr(address))
	for port, list := range map[uint16]*[]udp.Conn{500: &conns.IKE, 4500: &conns.NATT} {
		conn, err := host.Listen(netip.AddrPortFrom(netip.MustParseAddr(address), port))
		if err != nil {
			log.Fatal(err)
		}
		*list = append(*list, conn)
	}
	g, err := gateway.New(*cfg, gateway.WithTUN(tuntest.NewQueue()), gateway.WithConns(conns))
	if err != nil {
		log.Fatal(err)
	}
	return g
}
