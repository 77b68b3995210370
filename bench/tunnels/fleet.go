// Command tunnels sets up thousands of IKE SAs with one gateway, and measures what they cost: how many come up in a second, the
// processor time of either side, memory for each, packets through one of them or through all, and their rekeying.
//
//	go run ./bench/tunnels -n 10000
//
// docs/performance.md has the figures and how to repeat them.
package main

import (
	"crypto/rand"
	"fmt"
	"net/netip"
	"time"

	"github.com/culvert-vpn/culvert/config"
	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/natt"
)

// hubText is the configuration of the gateway: one connection for all, whose peers take a network each out of a large one.
const hubText = `
connections {
    fleet {
        local_addrs = %%any
        remote_addrs = %%any
        proposals = aes128gcm16-prfsha256-x25519
        dpd_delay = 0
        local { auth = psk
            id = hub.example }
        remote { auth = psk
            id = *.fleet.example }
        children { net {
            local_ts = 10.1.0.0/16
            remote_ts = 10.128.0.0/9
            esp_proposals = aes128gcm16
            %s
        } }
    }
}
secrets { ike-fleet { secret = "a secret of a whole fleet" } }
`

// hubConfig is the configuration of the gateway, which rekeys its children after a time, or never.
func hubConfig(rekey time.Duration) string {
	if rekey == 0 {
		return fmt.Sprintf(hubText, "")
	}
	return fmt.Sprintf(hubText, fmt.Sprintf("rekey_time = %d\n            rand_time = %d", int(rekey.Seconds()), int(rekey.Seconds()/2)))
}

// spokeText is that of one of its peers.
const spokeText = `
connections {
    hub {
        local_addrs = %s
        remote_addrs = %s
        proposals = aes128gcm16-prfsha256-x25519
        dpd_delay = 0
        mobike = no
        local { auth = psk
            id = s%d.fleet.example }
        remote { auth = psk
            id = hub.example }
        children { net {
            local_ts = %v
            remote_ts = 10.1.0.0/16
            esp_proposals = aes128gcm16
            start_action = none
            rekey_time = 0
        } }
    }
}
secrets { ike-fleet { secret = "a secret of a whole fleet" } }
`

// outer is where a spoke is, inner the network behind it.
func outer(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 64, byte(i >> 8), byte(i)}) }

func inner(i int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 128 | byte(i>>16), byte(i >> 8), byte(i)}), 32)
}

// spoke is an initiator with an endpoint of its own, as if it were a machine of its own.
type spoke struct {
	*ike.Endpoint
	path  natt.Path
	conn  string
	child ike.Install // the outbound half, once it is up
}

// spis stands for the datapath of a spoke: it lends numbers, and carries nothing.
type spis struct{ next *uint32 }

func (s spis) AllocSPI() (uint32, bool) { *s.next++; return *s.next, true }
func (spis) FreeSPI(uint32)             {}
func (spis) Received(uint32) uint64     { return 0 }
func (spis) Sent(uint32) uint64         { return 0 }

// parse reads a configuration that is right.
func parse(text string) *config.Config {
	c, _, err := config.Parse("bench", []byte(text), config.Options{})
	if err != nil {
		panic(err)
	}
	return c
}

// newSpoke makes the i-th initiator, which calls the hub from an address. next counts the SPIs of the fleet.
func newSpoke(i int, local, hub netip.AddrPort, next *uint32) *spoke {
	c := parse(fmt.Sprintf(spokeText, local.Addr(), hub.Addr(), i, inner(i)))
	return &spoke{
		Endpoint: ike.New(ike.Config{Rand: rand.Reader, Datapath: spis{next}, Secrets: c.Secrets, Connections: c.Connections}),
		path:     natt.Path{Local: local, Remote: hub},
		conn:     c.Connections[0].Name,
	}
}

// call begins to set up the IKE SA. The effects are what came of it.
func (s *spoke) call(now time.Time) []ike.Effect {
	s.Handle(now, ike.Initiate{Conn: s.conn})
	return s.Handle(now, ike.Resolved{Conn: s.conn, Path: s.path})
}
