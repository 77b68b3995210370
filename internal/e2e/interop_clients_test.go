//go:build linux

package e2e

import (
	"fmt"
	"sync"
	"testing"
)

// TestInteropClients has two gateways behind one masquerading NAT call a third: from one address, told apart by their
// identities, each with a secret of its own.
//
// Cases: Ipsec.Conf.2.1.1.
func TestInteropClients(t *testing.T) {
	t.Parallel()
	server := end{"203.0.113.1", "@a", "10.103.0.0/24"}
	toB := pact{name: "b", a: server, b: end{"192.0.2.10", "@b", "10.104.0.0/24"}, secret: "the secret of client b"}
	toC := pact{name: "c", a: server, b: end{"192.0.2.10", "@c", "10.105.0.0/24"}, secret: "the secret of client c"}
	confA, _ := confs(toB, toC)
	_, confB := confs(toB)
	_, confC := confs(toC)
	for _, test := range []struct {
		name    string
		a, b, c daemon
	}{
		{"culvert serves strongSwan", culvert, strongSwan, strongSwan},
		{"strongSwan serves culvert", strongSwan, culvert, culvert},
		{"culvert serves both", culvert, culvert, strongSwan},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ref := NewReference(t, Plan{B: Masquerade, C: true})
			a, b, c := test.a(ref.A.Host, confA), test.b(ref.B.Host, confB), test.c(ref.C.Host, confC)
			Must(t, a.Start(), b.Start(), c.Start())
			Must(t, b.Initiate("b"), c.Initiate("c"))
			seenB, seenC := theirs(t, a, b, "b"), theirs(t, a, c, "c")
			if seenB.Remote.Addr() != ref.B.Public || seenC.Remote.Addr() != ref.B.Public || seenB.Remote == seenC.Remote {
				t.Errorf("A sees the clients at %v and %v, want two ports of %v", seenB.Remote, seenC.Remote, ref.B.Public)
			}

			const echoes = 30
			var group sync.WaitGroup
			for _, site := range []*Gateway{ref.B, ref.C} {
				for _, way := range [][2]*Host{{site.Client, ref.A.Client}, {ref.A.Client, site.Client}} {
					group.Go(func() {
						ping, err := way[0].Ping(way[1].Addr(), Ping{Count: echoes})
						if err != nil || ping.Sent != echoes || ping.Lost() != 0 {
							t.Errorf("%s to %s: %v, %v", way[0].Name, way[1].Name, ping, err)
						}
					})
				}
			}
			group.Wait()
			for _, sa := range []SA{theirs(t, a, b, "b"), theirs(t, a, c, "c")} {
				if ch := sa.Children[0]; ch.PacketsIn != 2*echoes || ch.PacketsOut != 2*echoes {
					t.Errorf("A counts %+v, want %d packets each way", ch, 2*echoes)
				}
			}

			// The end of one is not the end of the other.
			Must(t, b.Terminate("b"))
			await(t, a, func(sas []SA) bool { return len(sas) == 1 && sas[0].Connection == "c" })
			ping, err := ref.C.Client.Ping(ref.A.Client.Addr(), Ping{Count: 5})
			if err != nil || ping.Lost() != 0 {
				t.Errorf("after the other client went: %v, %v", ping, err)
			}
		})
	}
}

// theirs is the server's IKE SA with a client, on which both agree.
func theirs(t *testing.T, server, client Peer, name string) SA {
	t.Helper()
	sas, err := server.SAs()
	Must(t, err)
	mine, err := client.SAs()
	Must(t, err)
	found := Established(sas, name)
	if len(found) != 1 || len(found[0].Children) != 1 || len(mine) != 1 || len(mine[0].Children) != 1 {
		t.Fatalf("%s: the server has %+v, the client %+v\n%s", name, sas, mine, tail(server.Log()))
	}
	sa, here, there := found[0], found[0].Children[0], mine[0].Children[0]
	if sa.SPIi != mine[0].SPIi || sa.SPIr != mine[0].SPIr || here.SPIIn != there.SPIOut || here.SPIOut != there.SPIIn ||
		text(sa.RemoteID) != name || fmt.Sprint(here.RemoteTS) != fmt.Sprint(there.LocalTS) {
		t.Errorf("%s: server and client disagree:\n%+v\n%+v", name, sa, mine[0])
	}
	return sa
}
