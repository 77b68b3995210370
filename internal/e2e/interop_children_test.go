//go:build linux

package e2e

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestInteropSeveralChildren has three children in one IKE SA, one of them between several networks, from either side. Each is
// closed by itself.
//
// Cases: SGW.I.1.2.5.1; Ipsec.Conf.2.1.2.
func TestInteropSeveralChildren(t *testing.T) {
	t.Parallel()
	child := func(name, local, remote string) string {
		return fmt.Sprintf("%s {\nlocal_ts = %s\nremote_ts = %s\nesp_proposals = aes256gcm16\n}\nnet {\n", name, local, remote)
	}
	several := func(conf string, mine, other int) string {
		two := func(number int) string { return site(number, 1) + ", " + site(number, 2) }
		return edit(conf, "net {\n", child("three", site(mine, 3), site(other, 3))+"", "net {\n", child("two", two(mine), two(other)))
	}
	for _, cast := range casts {
		t.Run(cast.name, func(t *testing.T) {
			t.Parallel()
			ref := NewReference(t, Plan{})
			ref.subnets(3)
			confA := edit(several(referenceA, 103, 104), "local_addrs = 203.0.113.1\n", "local_addrs = 203.0.113.1\nremote_addrs = 192.0.2.10\n")
			p := cast.play(t, ref, confA, several(referenceB, 104, 103))
			for _, c := range p.calls() {
				for _, name := range []string{"net", "two", "three"} {
					if err := c.initiator.Initiate(name); err != nil {
						c.fail("%v", err)
						t.FailNow()
					}
				}
				all := func(sas []SA) bool {
					return len(sas) == 1 && len(Installed(sas, "net")) == 1 && len(Installed(sas, "two")) == 1 && len(Installed(sas, "three")) == 1
				}
				await(t, c.a, all)
				await(t, c.b, all)
				client := func(number, n int) netip.Addr { return netip.MustParsePrefix(site(number, n)).Addr().Next().Next() }
				c.ping(3)
				for _, nets := range [][2]int{{1, 1}, {1, 2}, {2, 1}, {2, 2}, {3, 3}} {
					c.pingBetween(client(103, nets[0]), client(104, nets[1]), 3)
				}
				sas, err := c.a.SAs()
				Must(t, err)
				if two := Installed(sas, "two"); len(two) != 1 || len(two[0].LocalTS) != 2 || len(two[0].RemoteTS) != 2 || two[0].PacketsIn != 12 {
					c.fail("the child between several networks: %+v", two)
				}
				Must(t, closeChild(c.responder))
				left := func(sas []SA) bool { return len(Installed(sas, "net")) == 0 && len(Installed(sas, "two")) == 1 }
				await(t, c.a, left)
				await(t, c.b, left)
				c.pingBetween(client(103, 2), client(104, 1), 3)
				c.down(c.initiator, "site")
			}
		})
	}
}

// TestInteropNarrowing: who calls asks for more than the other side allows, and both come to the part that it allows.
//
// Cases: SGW.I.1.1.7.1.
func TestInteropNarrowing(t *testing.T) {
	t.Parallel()
	wide := []string{"10.103.0.0/24", "10.103.0.0/16", "10.104.0.0/24", "10.104.0.0/16"}
	for _, cast := range casts {
		t.Run(cast.name, func(t *testing.T) {
			t.Parallel()
			ref := NewReference(t, Plan{})
			// B asks for everything between the sites, A for less and for other things besides.
			confA := edit(referenceA, "local_addrs = 203.0.113.1\n", "local_addrs = 203.0.113.1\nremote_addrs = 192.0.2.10\n",
				"local_ts = 10.103.0.0/24", "local_ts = 10.103.0.0/25, 172.30.0.0/16")
			p := cast.play(t, ref, confA, edit(referenceB, wide...))
			for _, c := range p.calls() {
				saA, _ := c.up("site", "net")
				if got := saA.Children[0]; !slices.Equal(got.LocalTS, []string{"10.103.0.0/25"}) || !slices.Equal(got.RemoteTS, []string{"10.104.0.0/24"}) {
					c.fail("agreed are %v and %v", got.LocalTS, got.RemoteTS)
				}
				c.ping(3)
				c.down(c.initiator, "site")
			}
		})
	}
}

// TestInteropTrap: a packet brings the child up, whose selectors come first in what is asked for; no packet, no child.
func TestInteropTrap(t *testing.T) {
	t.Parallel()
	for _, m := range matches {
		if m.strongB {
			continue // charon has no trap policies with kernel-libipsec
		}
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			ref := NewReference(t, Plan{B: OneToOne})
			a, b := m.a(ref.A.Host, referenceA), m.b(ref.B.Host, with(referenceB, "", "start_action = trap"))
			Must(t, a.Start(), b.Start())
			stays(t, b, func(sas []SA) bool { return len(sas) == 0 })
			flows(t, ref.B.Client, ref.A.Client, soon)
			settled(t, a, b, soon, nil)
			flows(t, ref.A.Client, ref.B.Client, soon)
			alone(t, a, b)
			if log := a.Log(); m.strongA && !strings.Contains(log, "10.104.0.2/32[1] 10.104.0.0/24") {
				t.Errorf("the packet does not come first:\n%s", tail(log))
			}
			// When the peer closes it a packet brings it back as well.
			Must(t, closeChild(a))
			none := func(sas []SA) bool { return len(Installed(sas, "net")) == 0 }
			await(t, b, none)
			stays(t, b, none)
			flows(t, ref.B.Client, ref.A.Client, soon)
			settled(t, a, b, soon, nil)
		})
	}
}

// brisk makes a peer that does not answer count as dead after a few seconds.
const brisk = "charon {\nretransmit_timeout = 0.4\nretransmit_tries = 3\n}\n"

// TestInteropActions: what close_action and dpd_action say is done when strongSwan closes the child, and when it vanishes and comes
// back, whoever called.
func TestInteropActions(t *testing.T) {
	t.Parallel()
	for _, action := range []string{"none", "trap", "start"} {
		for _, byCulvert := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, Culvert called: %v", action, byCulvert), func(t *testing.T) {
				t.Parallel()
				ref := NewReference(t, Plan{})
				dpd := map[string]string{"none": "clear", "trap": "trap", "start": "restart"}[action]
				a := NewStrongSwan(ref.A.Host, with(referenceA, "remote_addrs = 192.0.2.10", ""), impatient)
				b := NewCulvert(ref.B.Host, brisk+with(referenceB, "mobike = no\ndpd_delay = 1s", "close_action = "+action+"\ndpd_action = "+dpd))
				Must(t, a.Start(), b.Start())
				up := func() {
					t.Helper()
					if byCulvert {
						Must(t, b.Initiate("net"))
					} else {
						Must(t, a.Initiate("net"))
					}
					settled(t, a, b, soon, nil)
				}
				outcome := func(what string) {
					t.Helper()
					none := func(sas []SA) bool { return len(Installed(sas, "net")) == 0 }
					if action != "start" {
						await(t, b, none)
						stays(t, b, none)
						ping, err := ref.B.Client.Ping(ref.A.Client.Addr(), Ping{Count: 3, Patience: time.Second})
						Must(t, err)
						if action == "none" && ping.Received > 0 {
							t.Errorf("after %s: %v", what, ping)
						}
					}
					if action == "none" {
						stays(t, b, none)
						return
					}
					settled(t, a, b, soon, nil)
					flows(t, ref.B.Client, ref.A.Client, soon)
				}
				up()
				spi := settled(t, a, b, soon, nil).Children[0].SPIIn
				Must(t, closeChild(a))
				if action == "start" {
					settled(t, a, b, soon, func(sa SA) bool { return sa.Children[0].SPIIn != spi })
				}
				outcome("the child was closed")
				if action == "none" {
					up()
				}
				before := settled(t, a, b, soon, nil)
				Must(t, a.Kill())
				if action == "start" { // while it is away
					await(t, b, func(sas []SA) bool { return len(Established(sas, "site")) == 0 })
				} else {
					await(t, b, func(sas []SA) bool { return len(sas) == 0 })
				}
				Must(t, a.Start())
				if action == "start" {
					settled(t, a, b, deadAfter, func(sa SA) bool { return sa.SPIi != before.SPIi })
				}
				outcome("the peer vanished")
			})
		}
	}
}

// TestInteropUnique: a gateway that is set up anew, with or without INITIAL_CONTACT, meets every policy for a second IKE SA of the same
// peer, in both roles.
func TestInteropUnique(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		server, client string // unique
		want           int    // IKE SAs in the end
		refused        bool
	}{
		// With `never` the client does not say INITIAL_CONTACT.
		{"no", "no", 1, false}, {"no", "never", 2, false},
		{"never", "no", 2, false},
		// From where it was before a peer may always be set up anew.
		{"keep", "no", 1, false}, {"keep", "never", 2, false},
		{"replace", "no", 1, false}, {"replace", "never", 1, false},
	} {
		t.Run(test.server+" and "+test.client, func(t *testing.T) {
			t.Parallel()
			ref := NewReference(t, Plan{})
			a := NewCulvert(ref.A.Host, with(referenceA, "dpd_delay = 0\nunique = "+test.server, ""))
			b := NewStrongSwan(ref.B.Host, with(referenceB, "unique = "+test.client, ""))
			again(t, a, b, test.want, test.refused)
		})
	}
	for _, server := range []string{"no", "never", "keep", "replace"} {
		t.Run("strongSwan, "+server, func(t *testing.T) {
			t.Parallel()
			ref := NewReference(t, Plan{})
			a := NewStrongSwan(ref.A.Host, with(referenceA, "unique = "+server, ""))
			b := NewCulvert(ref.B.Host, with(referenceB, "", ""))
			want := 1
			if server == "never" {
				want = 2
			}
			again(t, a, b, want, false)
		})
	}
}

// again has B call A, vanish, and call once more; A has so many IKE SAs then.
func again(t *testing.T, a, b Peer, want int, refused bool) {
	t.Helper()
	Must(t, a.Start(), b.Start(), b.Initiate("net"))
	first := settled(t, a, b, soon, nil)
	Must(t, b.Kill(), b.Start())
	err := b.Initiate("net")
	if (err != nil) != refused {
		t.Errorf("the second call: %v\n%s", err, tails(a, b))
	}
	// With `replace` the first one may go on for half a minute: the second could be a reauthentication.
	awaitFor(t, a, time.Minute, func(sas []SA) bool { return len(Established(sas, "site")) == want })
	sas, err := a.SAs()
	Must(t, err)
	isFirst := func(sa SA) bool { return sa.SPIi == first.SPIi }
	if kept := slices.ContainsFunc(Established(sas, "site"), isFirst); kept != (want == 2 || refused) {
		t.Errorf("the first IKE SA is kept: %v\n%+v", kept, sas)
	}
}

// TestInteropInactivity: a child that nobody uses is closed at both ends, the IKE SA stays, and a packet brings the child back.
//
// Cases: VPNGW FTA_SSL.3.
func TestInteropInactivity(t *testing.T) {
	t.Parallel()
	for _, m := range matches {
		if m.strongB {
			continue
		}
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			ref := NewReference(t, Plan{})
			a, b := m.start(t, ref, referenceA, with(referenceB, "", "inactivity = 4s\nstart_action = trap"))
			before := settled(t, a, b, soon, nil)
			pinger, err := ref.A.Client.StartPing(ref.B.Client.Addr(), Ping{Interval: 500 * time.Millisecond})
			Must(t, err)
			answers(t, pinger, 16) // twice the time
			pinger.Stop()
			if sa := settled(t, a, b, soon, nil); sa.Children[0].SPIIn != before.Children[0].SPIIn {
				t.Error("a child in use was closed")
			}
			idle := func(sas []SA) bool {
				return len(sas) == 1 && len(Established(sas, "site")) == 1 && len(sas[0].Children) == 0
			}
			await(t, b, idle)
			await(t, a, idle)
			flows(t, ref.B.Client, ref.A.Client, soon)
			if sa := settled(t, a, b, soon, nil); sa.SPIi != before.SPIi {
				t.Error("the IKE SA did not stay")
			}
		})
	}
}

// TestInteropTFC: packets that are padded to the MTU of the path arrive, at strongSwan too, and are all of one length on the wire.
func TestInteropTFC(t *testing.T) {
	t.Parallel()
	for _, m := range matches {
		if m.strongB {
			continue
		}
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			ref := NewReference(t, Plan{})
			wire := ref.Net.Capture(ref.B.Uplink)
			a, b := m.start(t, ref, referenceA, with(referenceB, "", "tfc_padding = mtu"))
			for _, size := range []int{84, 500, 1200} {
				ping, err := ref.B.Client.Ping(ref.A.Client.Addr(), Ping{Count: 5, Size: size})
				Must(t, err)
				if ping.Lost() != 0 {
					t.Errorf("%d bytes: %v\n%s", size, ping, tails(a, b))
				}
			}
			Must(t, wire.Stop())
			frames, err := wire.Decode(Keys{}, "ip.src", "ip.len")
			Must(t, err)
			lengths, n := map[string]bool{}, 0
			for _, f := range frames {
				if f.Has("esp") && f.Fields["ip.src"][0] == "192.0.2.10" {
					lengths[f.Fields["ip.len"][0]] = true
					n++
				}
			}
			if len(lengths) != 1 || n != 15 {
				t.Errorf("%d packets of lengths %v", n, lengths)
			}
		})
	}
}
