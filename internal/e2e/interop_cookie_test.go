//go:build linux

package e2e

import (
	"net/netip"
	"slices"
	"testing"
)

// TestInteropCookie has B call A while A has more half-open IKE SAs than it keeps without a cookie, by the defaults of either daemon
// (RFC 7296 2.6): A asks for one, and B repeats its first message with what it got.
//
// Cases: BUG-14.
func TestInteropCookie(t *testing.T) {
	t.Parallel()
	for _, cast := range casts {
		t.Run(cast.name, func(t *testing.T) {
			t.Parallel()
			ref := NewReference(t, Plan{})
			confA := edit(referenceA, "local_addrs = 203.0.113.1", "local_addrs = 203.0.113.1\nremote_addrs = %any")
			p := cast.play(t, ref, confA, referenceB)
			wire := ref.Net.Capture(ref.A.Uplink)
			x := newAttacker(t, ref.Router)
			for n := range 200 {
				from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(n)}), uint16(1024+n))
				// With a long nonce, or Culvert would ask for a cookie because its answer would be longer than the request.
				x.udp(from, netip.AddrPortFrom(ref.A.Public, 500), firstMessage(uint64(n+1), groupX25519, x.noise(32), x.noise(200)))
			}
			c := p.calls()[1]
			Must(t, c.initiator.Initiate("net"))
			ping, err := ref.B.Client.Ping(ref.A.Client.Addr(), Ping{Count: 3})
			if err != nil || ping.Lost() != 0 {
				c.fail("%v, %v", ping, err)
			}
			Must(t, wire.Stop())
			frames, err := wire.Decode(Keys{}, "ip.src", "ip.dst", "isakmp.exchangetype", "isakmp.messageid", "isakmp.notify.msgtype")
			Must(t, err)
			const cookie = "16390"
			asked, shown := 0, 0
			for _, f := range frames {
				switch {
				case !f.Has("isakmp") || !slices.Contains(f.Fields["isakmp.notify.msgtype"], cookie):
				case f.Fields["ip.dst"][0] == ref.B.Public.String():
					asked++
				case f.Fields["ip.src"][0] == ref.B.Public.String():
					shown++
				}
			}
			if asked == 0 || shown == 0 {
				c.fail("the cookie was asked for %d times, shown %d times", asked, shown)
			}
		})
	}
}
