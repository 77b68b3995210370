//go:build linux

package e2e

import (
	"net/netip"
	"strings"
	"testing"
)

// TestInteropChildless: IKE SAs that are set up without a child (RFC 6023), from either side, as `childless` of both says. Such a
// child has a key exchange of its own, and one of IKE_AUTH has none.
//
// Cases: childless.
func TestInteropChildless(t *testing.T) {
	t.Parallel()
	for _, cast := range casts {
		for _, test := range []struct {
			a, b           string
			byA, byB       bool // the child comes after IKE_AUTH when A calls, when B does
			failsA, failsB bool
		}{
			{a: "force", b: "force", byA: true, byB: true},
			{a: "prefer", b: "allow", byA: true},
			{a: "allow", b: "prefer", byB: true},
			{a: "prefer", b: "never"},
			{a: "force", b: "never", failsA: true, failsB: true},
			{a: "never", b: "force", failsA: true, failsB: true},
			{a: "force", b: "allow", byA: true, failsB: true},
			{a: "allow", b: "force", failsA: true, byB: true},
		} {
			if strings.HasPrefix(cast.name, "strongSwan") && test.a == "prefer" || strings.HasSuffix(cast.name, "strongSwan") && test.b == "prefer" {
				continue // strongSwan 5.9.8 does not know `prefer`
			}
			t.Run(cast.name+", "+test.a+" and "+test.b, func(t *testing.T) {
				t.Parallel()
				ref := NewReference(t, Plan{})
				change := func(conf, how string) string {
					return edit(with(conf, "childless = "+how, ""), "esp_proposals = aes256gcm16", "esp_proposals = aes256gcm16-x25519")
				}
				confA := edit(change(referenceA, test.a), "local_addrs = 203.0.113.1\n", "local_addrs = 203.0.113.1\nremote_addrs = 192.0.2.10\n")
				p := cast.play(t, ref, confA, change(referenceB, test.b))
				for i, c := range p.calls() {
					if []bool{test.failsA, test.failsB}[i] {
						c.failsChildless()
						continue
					}
					saA, _ := c.up("site", "net")
					after := []bool{test.byA, test.byB}[i]
					if got := saA.Children[0].Proposal; strings.Contains(got, "x25519") != after {
						c.fail("the child is protected by %s", got)
					}
					c.ping(3)
					c.down(c.responder, "site")
				}
			})
		}
	}
}

// failsChildless checks that the call does not come to anything, and that Culvert says which key to look at, whichever side it is on.
func (c call) failsChildless() {
	c.Helper()
	err := c.initiator.Initiate("net")
	if err == nil {
		c.fail("it is up")
		return
	}
	if _, ours := c.initiator.(*Culvert); ours && !strings.Contains(c.initiator.Log(), "childless = ") {
		c.fail("the caller does not say why: %v", err)
	}
	responder, ours := c.responder.(*Culvert)
	if _, gaveUp := c.initiator.(*StrongSwan); ours && !gaveUp && strings.Contains(err.Error(), "INVALID_SYNTAX") && !strings.Contains(responder.Log(), "childless = ") {
		c.fail("the responder does not say why")
	}
	for _, p := range []Peer{c.a, c.b} {
		await(c.T, p, func(sas []SA) bool { return len(Established(sas, "site")) == 0 })
	}
}

// TestInteropChildlessVirtualIP: a client without a network of its own gets its inner address in IKE_AUTH, and the child for it
// afterwards (RFC 6023 5).
func TestInteropChildlessVirtualIP(t *testing.T) {
	t.Parallel()
	for _, cast := range casts {
		t.Run(cast.name, func(t *testing.T) {
			t.Parallel()
			ref := NewReference(t, Plan{B: OneToOne})
			confA, confB := roadPair()
			proposals := []string{"esp_proposals = aes256gcm16", "esp_proposals = aes256gcm16-x25519"}
			p := cast.play(t, ref, edit(with(confA, "childless = force", ""), proposals...), edit(with(confB, "childless = force", ""), proposals...))
			c := p.calls()[1]
			if err := c.initiator.Initiate("net"); err != nil {
				c.fail("%v", err)
				return
			}
			_, saB := c.agree("site", "net")
			if got := saB.Children[0]; len(got.LocalTS) != 2 || got.LocalTS[0] != "10.11.0.1/32" || !strings.Contains(got.Proposal, "x25519") {
				c.fail("the child is for %v, %s", got.LocalTS, got.Proposal)
			}
			out, err := ref.B.Host.Ping(ref.A.Client.Addr(), Ping{Count: 10, From: netip.MustParseAddr("10.11.0.1")})
			if err != nil || out.Lost() != 0 {
				c.fail("%v, %v", out, err)
			}
			c.down(c.b, "site")
		})
	}
}
