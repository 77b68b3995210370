//go:build linux

package e2e

import (
	"strings"
	"testing"
	"time"
)

// TestRobustRekey has both sides rekey the child and the IKE SA, in turn, while a ping goes on.
//
// Cases: SGW.I.1.2.3.2; SGW.I.1.2.4.1.
func TestRobustRekey(t *testing.T) {
	t.Parallel()
	for _, m := range matches {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			ref := NewReference(t, Plan{B: OneToOne})
			a, b := m.start(t, ref, referenceA, referenceB)
			now := settled(t, a, b, soon, nil)
			pinger, err := ref.B.Client.StartPing(ref.A.Client.Addr(), Ping{})
			Must(t, err)
			for range 3 {
				for _, p := range []Peer{a, b} {
					Must(t, p.RekeyChild("net"))
					now = settled(t, a, b, soon, func(sa SA) bool {
						return sa.Children[0].SPIIn != now.Children[0].SPIIn && sa.SPIi == now.SPIi
					})
					Must(t, p.RekeyIKE("site"))
					now = settled(t, a, b, soon, func(sa SA) bool {
						return sa.SPIi != now.SPIi && sa.Children[0].SPIIn == now.Children[0].SPIIn
					})
					answers(t, pinger, 20)
				}
			}
			if ping := pinger.Stop(); ping.Lost() != 0 || ping.Doubles != 0 || ping.Sent < 100 {
				t.Errorf("%v, %d doubles over twelve rekeyings, longest gap %d\n%s", ping, ping.Doubles, ping.LongestGap(), tails(a, b))
			}
			alone(t, a, b)
		})
	}
}

// TestRobustRekeyCrossing has both sides rekey the same at the same time (RFC 7296 2.8.1, 2.8.2). Whichever of the
// successors stays, both must come to the same, and no packet is lost.
func TestRobustRekeyCrossing(t *testing.T) {
	t.Parallel()
	for _, m := range []match{matches[0], matches[2]} {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			ref := NewReference(t, Plan{Fate: Delay(20 * time.Millisecond)}) // so that requests do cross
			a, b := m.start(t, ref, referenceA, referenceB)
			now := settled(t, a, b, soon, nil)
			pinger, err := ref.B.Client.StartPing(ref.A.Client.Addr(), Ping{})
			Must(t, err)
			both := func(rekey func(Peer) error) {
				done := make(chan error)
				go func() { done <- rekey(a) }()
				_ = rekey(b) // the one that gives way may say so
				<-done
			}
			for range 2 {
				both(func(p Peer) error { return p.RekeyChild("net") })
				now = settled(t, a, b, soon, func(sa SA) bool { return sa.Children[0].SPIIn != now.Children[0].SPIIn })
				both(func(p Peer) error { return p.RekeyIKE("site") })
				now = settled(t, a, b, soon, func(sa SA) bool { return sa.SPIi != now.SPIi })
				answers(t, pinger, 50)
			}
			if ping := pinger.Stop(); ping.Lost() != 0 || ping.Sent < 50 {
				t.Errorf("%v, longest gap %d\n%s", ping, ping.LongestGap(), tails(a, b))
			}
			// When our Delete of the predecessor overtakes our answer, strongSwan drops its own successor without a word, and
			// ours of it has nobody to say good-bye to: it goes within a minute.
			alone(t, a, b)
		})
	}
}

// TestRobustRekeyByTime lets the lifetimes of one side end while a ping goes on.
//
// Cases: FCS_IPSEC_EXT.1.7; FCS_IPSEC_EXT.1.8.
func TestRobustRekeyByTime(t *testing.T) {
	t.Parallel()
	short := func(conf string) string {
		return with(conf, "rekey_time = 4s\nover_time = 60s\nrand_time = 1s", "rekey_time = 3s\nlife_time = 60s\nrand_time = 1s")
	}
	never := func(conf string) string { return with(conf, "rekey_time = 0", "rekey_time = 0") }
	for _, test := range []struct {
		name         string
		match        match
		confA, confB string
	}{
		{"Culvert calls strongSwan, and counts", matches[0], never(referenceA), short(referenceB)},
		{"Culvert calls strongSwan, which counts", matches[0], short(referenceA), never(referenceB)},
		{"strongSwan calls Culvert, which counts", matches[1], short(referenceA), never(referenceB)},
		{"Culvert calls Culvert, both count", matches[2], short(referenceA), short(referenceB)},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ref := NewReference(t, Plan{B: OneToOne})
			a, b := test.match.start(t, ref, test.confA, test.confB)
			pinger, err := ref.B.Client.StartPing(ref.A.Client.Addr(), Ping{Interval: 20 * time.Millisecond})
			Must(t, err)
			spis, children := map[uint64]bool{}, map[uint32]bool{}
			eventually(soon, func() bool {
				sas, err := a.SAs()
				Must(t, err)
				for _, sa := range Established(sas, "site") {
					spis[sa.SPIi] = true
					for _, c := range Installed([]SA{sa}, "net") {
						children[c.SPIIn] = true
					}
				}
				return len(spis) >= 4 && len(children) >= 5
			})
			if len(spis) < 4 || len(children) < 5 {
				t.Errorf("only %d IKE SAs and %d Child SAs were seen\n%s", len(spis), len(children), tails(a, b))
			}
			if ping := pinger.Stop(); ping.Lost() != 0 || ping.Sent < 100 {
				t.Errorf("%v, longest gap %d\n%s", ping, ping.LongestGap(), tails(a, b))
			}
		})
	}
}

// TestRobustRekeyByVolume lets Culvert count packets and bytes.
//
// Cases: FCS_IPSEC_EXT.1.8.
func TestRobustRekeyByVolume(t *testing.T) {
	t.Parallel()
	const packets = "rekey_packets = 150\nlife_packets = 100000\nrand_packets = 0"
	const bytes = "rekey_bytes = 1m\nlife_bytes = 1000m\nrand_bytes = 0"
	for _, m := range matches {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			ref := NewReference(t, Plan{B: OneToOne})
			conf := func(conf string, strong bool) string {
				if strong {
					return conf
				}
				return with(conf, "", packets+"\n"+bytes)
			}
			a, b := m.start(t, ref, conf(referenceA, m.strongA), conf(referenceB, m.strongB))
			counter := b
			if m.strongB {
				counter = a
			}
			pinger, err := ref.B.Client.StartPing(ref.A.Client.Addr(), Ping{})
			Must(t, err)
			if !eventually(soon, func() bool { return logged(counter, "child-rekeyed") >= 3 }) {
				t.Errorf("rekeyed %d times in a minute of ping\n%s", logged(counter, "child-rekeyed"), tails(a, b))
			}
			if ping := pinger.Stop(); ping.Lost() != 0 || ping.Sent < 300 {
				t.Errorf("%v, longest gap %d\n%s", ping, ping.LongestGap(), tails(a, b))
			}
			before := logged(counter, "child-rekeyed")
			transfer, err := ref.A.Client.Transfer(ref.B.Client, ref.B.Client.Addr(), 4<<20)
			if err != nil || !transfer.Intact() || transfer.Bytes != 4<<20 {
				t.Errorf("%v, %v\n%s", transfer, err, tails(a, b))
			}
			if !eventually(soon, func() bool { return logged(counter, "child-rekeyed") > before }) {
				t.Errorf("not rekeyed during a transfer of 4 MiB\n%s", tails(a, b))
			}
			if strings.Contains(counter.Log(), `"msg":"child-down"`) {
				t.Errorf("a child went down without a successor\n%s", tails(a, b))
			}
			alone(t, a, b)
		})
	}
}
