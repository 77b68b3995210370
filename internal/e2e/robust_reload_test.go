//go:build linux

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestRobustReload changes the configuration of a Culvert while a ping goes on. Nothing is lost, whatever is changed.
func TestRobustReload(t *testing.T) {
	t.Parallel()
	for _, m := range matches {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			ref := NewReference(t, Plan{B: OneToOne})
			a, b := m.start(t, ref, referenceA, referenceB)
			now := settled(t, a, b, soon, nil)
			under, conf := b, referenceB // the Culvert under test, the caller if there are two
			if m.strongB {
				under, conf = a, referenceA
			}
			daemon := under.(*Culvert)
			pinger, err := ref.B.Client.StartPing(ref.A.Client.Addr(), Ping{})
			Must(t, err)
			reload := func(conf string, says ...string) {
				t.Helper()
				Must(t, daemon.Configure(conf))
				out, err := daemon.Ctl("reload")
				if err != nil {
					t.Fatalf("%v\n%s", err, tails(a, b))
				}
				for _, line := range says {
					if !slices.Contains(strings.Split(out, "\n"), line) {
						t.Errorf("reload says\n%swithout %q", out, line)
					}
				}
			}
			stays := func(why string) {
				t.Helper()
				answers(t, pinger, 20)
				if after := settled(t, a, b, soon, nil); after.SPIi != now.SPIi || after.Children[0].SPIIn != now.Children[0].SPIIn {
					t.Errorf("%s: was %+v, is %+v", why, now, after)
				}
			}
			newChild := func(sa SA) bool { return sa.SPIi == now.SPIi && sa.Children[0].SPIIn != now.Children[0].SPIIn }

			reload("# the same\n"+conf, "site: unchanged", "site, child net: unchanged")
			stays("nothing changed")

			Must(t, daemon.Configure("connections {\n site {\n nonsense = 1\n }\n}\n"))
			if out, err := daemon.Ctl("reload"); err == nil || !strings.Contains(err.Error(), "in the configuration; the former one stays in effect") {
				t.Errorf("a broken file: %v\n%s", err, out)
			}
			stays("a broken file")

			conf = with(conf, "dpd_delay = 20s", "rekey_time = 2h")
			reload(conf, "site: changed (dpd_delay), in place", "site, child net: changed (rekey_time, life_time, rand_time), in place")
			stays("in place")

			conf = with(conf, "", "replay_window = 64")
			reload(conf, "site, child net: changed (replay_window), rekeyed")
			now = settled(t, a, b, soon, newChild)
			answers(t, pinger, 20)

			// Narrower, with the same peers and clients in it; a peer narrows as well (RFC 7296 2.9).
			conf = strings.Replace(strings.Replace(conf, "10.104.0.0/24", "10.104.0.0/25", 1), "10.103.0.0/24", "10.103.0.0/25", 1)
			reload(conf, "site, child net: changed (local_ts, remote_ts), negotiated anew")
			now = settled(t, a, b, soon, func(sa SA) bool {
				return newChild(sa) && slices.Equal(sa.Children[0].LocalTS, []string{"10.103.0.0/25"})
			})
			answers(t, pinger, 20)

			id := "203.0.113.1" // for which there is a secret
			if m.strongB {
				id = "@foo"
			}
			another := strings.Replace(conf, "connections {\n", "connections {\n"+fmt.Sprintf(another, id), 1)
			reload(another, "site: unchanged", "another: added")
			reload(conf, "site: unchanged", "another: removed")
			stays("another connection comes and goes")

			// A change that sets the IKE SA up anew. Who cannot call waits until the peer does.
			conf = with(conf, "fragmentation = no", "")
			reload(conf, "site: changed (fragmentation), set up anew")
			if !m.strongB {
				now = settled(t, a, b, soon, func(sa SA) bool { return sa.SPIi != now.SPIi })
			}
			answers(t, pinger, 20)
			if ping := pinger.Stop(); ping.Lost() != 0 || ping.Doubles != 0 || ping.Sent < 50 {
				t.Errorf("%v, longest gap %d\n%s", ping, ping.LongestGap(), tails(a, b))
			}
			if m.strongB {
				Must(t, b.Terminate("site"), b.Initiate("net"))
			}
			alone(t, a, b)
		})
	}
}

// another is a connection to nobody.
const another = `
	another {
		remote_addrs = 192.0.2.77
		local {
			auth = psk
			id = @somebody
		}
		remote {
			auth = psk
			id = %s
		}
		children {
			elsewhere {
				local_ts = 10.104.0.0/24
				remote_ts = 10.199.0.0/24
			}
		}
	}
`

// TestRobustReloadSecret changes the secret at both ends, the caller's first: it tries until the other end has it too. The old
// IKE SA serves until then.
func TestRobustReloadSecret(t *testing.T) {
	t.Parallel()
	change := func(conf string) string { return strings.Replace(conf, "qwerty", "asdfgh", 1) }
	configure := func(t *testing.T, p Peer, conf string) {
		switch p := p.(type) {
		case *Culvert:
			Must(t, p.Configure(conf))
			_, err := p.Ctl("reload")
			Must(t, err)
		case *StrongSwan:
			Must(t, p.Configure(conf))
		}
	}
	for _, m := range matches {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			ref := NewReference(t, Plan{B: OneToOne})
			caller := referenceB
			if !m.strongB {
				caller = with(referenceB, "", "start_action = start")
			}
			a, b := m.start(t, ref, referenceA, caller)
			now := settled(t, a, b, soon, nil)
			pinger, err := ref.B.Client.StartPing(ref.A.Client.Addr(), Ping{})
			Must(t, err)
			if m.strongB {
				// strongSwan keeps what is up, and calls when it is told to.
				configure(t, a, change(referenceA))
				answers(t, pinger, 50)
				configure(t, b, change(caller))
				answers(t, pinger, 20)
			} else {
				configure(t, b, change(caller))
				answers(t, pinger, 100)
				if !eventually(soon, func() bool { return strings.Contains(b.Log(), "AUTHENTICATION_FAILED") }) {
					t.Errorf("the first attempt is not refused\n%s", tails(a, b))
				}
				configure(t, a, change(referenceA))
				settled(t, a, b, soon, func(sa SA) bool { return sa.SPIi != now.SPIi })
				answers(t, pinger, 20)
			}
			if ping := pinger.Stop(); ping.Lost() != 0 || ping.Sent < 50 {
				t.Errorf("%v, longest gap %d\n%s", ping, ping.LongestGap(), tails(a, b))
			}
			if m.strongB {
				Must(t, b.Terminate("site"), b.Initiate("net"))
				settled(t, a, b, soon, nil)
				flows(t, ref.B.Client, ref.A.Client, soon)
				return
			}
			alone(t, a, b)
		})
	}
}
