package sim

import (
	"flag"
	"fmt"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/ike"
)

var (
	oneSeed   = flag.Int64("seed", -1, "run this seed of TestSeeds only, and draw it")
	allSeeds  = flag.Int("seeds", 0, "how many seeds TestSeeds runs; 0: as many as it should")
	firstSeed = flag.Int("first", 0, "the seed that TestSeeds begins with")
)

// TestSeeds lets both ends do what they like over a bad network, and checks that they agree in the end.
//
// Cases: BUG-25; crossing-streams-01..24; crossing-streams-20-peer-restarts-*; ikev2-child-rekey-06; inbound/outbound.
func TestSeeds(t *testing.T) {
	if *oneSeed >= 0 {
		if s := disorder(t, uint64(*oneSeed)); !t.Failed() {
			s.draw()
		}
		return
	}
	n := *allSeeds
	switch {
	case n > 0:
	case testing.Short():
		n = 100
	case raceDetector: // which makes everything ten times as slow, and there is one goroutine in a world
		n = 500
	default:
		n = 10_000
	}
	const shards = 8
	for shard := range shards {
		t.Run(fmt.Sprint("shard ", shard), func(t *testing.T) {
			t.Parallel()
			for seed := *firstSeed + shard; seed < *firstSeed+n; seed += shards {
				t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { disorder(t, uint64(seed)) })
			}
		})
	}
}

// disorder is ten minutes of operations by lot over a network that loses, doubles and reorders; and then rest.
func disorder(t *testing.T, seed uint64) *scene {
	s := disorderly(t, seed)
	s.Link = Link{Latency: 10 * time.Millisecond, Jitter: 500 * time.Millisecond, Loss: 0.3, Double: 0.1, MTU: 1280}
	s.Traffic(conn, child, 700*time.Millisecond, s.a, s.b)
	for range 40 {
		s.Run(time.Duration(s.Rand().IntN(30_000)) * time.Millisecond)
		s.byLot()
	}
	s.rest()
	return s
}

// worlds is how many variants of the reference case there are for disorderly.
const worlds = 256

// disorderly is the reference case, or one of the others, by the seed.
func disorderly(t *testing.T, seed uint64) *scene {
	s := newScene(t, seed, func(a, b *side) {
		switch seed % 4 {
		case 0: // both call
			b.start = ike.Start
		case 1, 2: // the caller is behind a NAT box, or both are
			a.closeAction, b.peer, b.start = ike.Start, "", ike.Trap
		case 3: // the child is for one group only, and there are limits
			a.ike, b.ike = []string{"aes128gcm16-prfsha256-x25519-ecp256"}, []string{"aes128gcm16-prfsha256-ecp256"}
			a.soft.Packets, b.soft.Time, b.hard.Time = 100, 2*time.Minute, 3*time.Minute
		}
		switch seed / 4 % 8 {
		case 0, 1, 2, 3: // two children, without a key exchange of their own
			a.second, b.second = true, true
			a.esp, b.esp = []string{"aes128gcm16"}, []string{"aes128gcm16"}
		case 4: // messages are large
			a.large, b.large = true, true
		case 5: // more children, and the usual window
			a.more, b.more = 3, 3
		case 6: // the caller has an address of the other one's pool
			withPool(a, b)
		case 7: // the IKE SA comes up without a child
			a.childless, b.childless = ike.ChildlessForce, ike.ChildlessPrefer
		}
		windows := [...][2]int{{0, 0}, {0, 1}, {2, 7}, {ike.MaxWindow, 0}}[seed/32%4]
		a.window, b.window = windows[0], windows[1]
		a.mobike, b.mobike = seed/128%2 == 0, seed/128%2 == 0
		a.noTokens, b.noTokens = seed/32%4 == 1, seed/32%4 == 3
	})
	switch seed % 4 {
	case 1:
		s.Masquerade("198.51.100.7", time.Minute, s.a)
	case 2:
		s.Masquerade("198.51.100.7", time.Minute, s.a)
		s.OneToOne(addrB, s.b)
		s.b.Addr = privateB
	}
	s.homes = [2]home{{s.a.Addr, s.a.nat}, {s.b.Addr, s.b.nat}}
	return s
}

// calm ends all mischief: everybody is at home, has the configuration that it began with, and wants the child.
func (s *scene) calm() {
	s.Lose = nil
	s.Link = Link{Latency: 20 * time.Millisecond}
	s.Run(30 * time.Second)
	s.a.SetDown(false)
	s.b.SetDown(false)
	s.a.Move(s.homes[0].nat, s.homes[0].addr)
	s.b.Move(s.homes[1].nat, s.homes[1].addr)
	s.a.Reconfigure(s.sides[0].config())
	s.b.Reconfigure(s.sides[1].config())
	if sa, ok := s.b.Current(conn); ok && sa.State == "outdated" && s.sides[1].peer == "" {
		s.a.Terminate(conn, "") // only who calls can set it up anew
		s.Run(10 * time.Second)
	}
	s.a.Initiate(conn, child)
}

// rest ends all mischief and checks what is left: one child, and after the end nothing.
func (s *scene) rest() {
	s.t.Helper()
	s.calm()
	s.StopTraffic()
	s.Run(12 * time.Minute)
	s.wantUp()
	s.wantFlow()
	s.wantAddress()
	s.wantEnd()
	s.wantNothingLent()
}
