//go:build linux

package e2e

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// roadPair are a gateway A with a pool of each family and a client B, which has no network of its own.
func roadPair() (confA, confB string) {
	confA = edit(with(referenceA, "pools = four, six", ""), "remote_ts = 10.104.0.0/24", "remote_ts = dynamic",
		"local_ts = 10.103.0.0/24", "local_ts = 10.103.0.0/24, fd00:103::/64")
	confA += `
pools {
	four {
		addrs = 10.11.0.0/24
		dns = 10.103.0.53
		subnet = 10.103.0.0/24
		split_exclude = 192.168.0.0/16
	}
	six {
		addrs = fd00:11::/112
		dns = fd00:103::53
	}
}
`
	confB = edit(with(referenceB, "vips = 0.0.0.0, ::", ""), "local_ts = 10.104.0.0/24", "local_ts = dynamic",
		"remote_ts = 10.103.0.0/24", "remote_ts = 10.103.0.0/24, fd00:103::/64")
	return confA, confB
}

// TestInteropVirtualIP has a client without a network of its own behind it, which gets an inner address of each family from the
// gateway (RFC 7296 2.19, 3.15) and reaches the hosts there, and they it; after it comes back it has the same addresses.
//
// Cases: SGW.I.2.1.1.1; Ipsec.Conf.2.1.12.
func TestInteropVirtualIP(t *testing.T) {
	t.Parallel()
	for _, cast := range casts {
		t.Run(cast.name, func(t *testing.T) {
			t.Parallel()
			ref := NewReference(t, Plan{B: OneToOne})
			confA, confB := roadPair()
			p := cast.play(t, ref, confA, confB)
			c := p.calls()[1]
			vips := []netip.Addr{netip.MustParseAddr("10.11.0.1"), netip.MustParseAddr("fd00:11::1")}
			for round := range 2 {
				if err := c.initiator.Initiate("net"); err != nil {
					c.fail("%v", err)
					return
				}
				_, saB := c.agree("site", "net")
				want := []string{"10.11.0.1/32", "fd00:11::1/128"}
				if got := saB.Children[0].LocalTS; !slices.Equal(got, want) {
					c.fail("round %d: the child is for %v, want %v", round, got, want)
				}
				for _, vip := range vips {
					inside := ref.A.Client.Addr()
					if vip.Is6() {
						inside = ref.A.Client.Addr6()
					}
					out, err := ref.B.Host.Ping(inside, Ping{Count: 10, From: vip})
					if err != nil || out.Lost() != 0 {
						c.fail("round %d: %v to %v: %v, %v", round, vip, inside, out, err)
					}
					in, err := ref.A.Client.Ping(vip, Ping{Count: 10})
					if err != nil || in.Lost() != 0 {
						c.fail("round %d: %v to %v: %v, %v", round, inside, vip, in, err)
					}
				}
				c.down(c.b, "site")
			}
			if charon, ok := c.b.(*StrongSwan); ok {
				for _, want := range []string{"installing new virtual IP 10.11.0.1", "installing new virtual IP fd00:11::1"} {
					if !strings.Contains(charon.Log(), want) {
						c.fail("strongSwan's log lacks %q", want)
					}
				}
			}
		})
	}
}

// TestInteropVirtualIPFailure has nothing to lend: the client is told, in words that name the key.
func TestInteropVirtualIPFailure(t *testing.T) {
	t.Parallel()
	for _, cast := range casts {
		t.Run(cast.name, func(t *testing.T) {
			t.Parallel()
			ref := NewReference(t, Plan{})
			confA, confB := roadPair()
			confA = edit(confA, "pools = four, six\n", "")
			confA = confA[:strings.Index(confA, "pools {")]
			p := cast.play(t, ref, confA, confB)
			c := p.calls()[1]
			err := c.initiator.Initiate("net")
			if err == nil {
				c.fail("it is up without an address")
			}
			if _, ours := c.b.(*Culvert); ours && !strings.Contains(err.Error(), "give the connection pools on the peer") {
				c.fail("the client says %v", err)
			}
			if _, ours := c.a.(*Culvert); ours && !strings.Contains(c.a.Log(), "set pools in the connection") {
				c.fail("the gateway does not say what to do")
			}
		})
	}
}
