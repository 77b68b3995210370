package ike

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/explain"
	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/suite"
)

// loops counts the warnings of restart loops.
func (s *script) loops() (n int) {
	for _, ev := range s.events {
		if ev.Kind == Warned && ev.Diagnosis != nil && ev.Diagnosis.Cause == explain.RestartLoop {
			n++
		}
	}
	return n
}

// TestPeerDeletesAgainAndAgain: a peer that deletes each IKE SA right after it is up is told of at the fourth, and not at every one that
// follows.
func TestPeerDeletesAgainAndAgain(t *testing.T) {
	s := newScript(t, func(c *Config) { c.Connections[0].Children[0].StartAction = Start })
	for n := range 12 {
		s.path.Remote, s.path.Local, s.path.NATT = netip.MustParseAddrPort("192.0.2.2:500"), netip.MustParseAddrPort("192.0.2.1:500"), false
		s.sends = s.sends[:1] // it may have been repeated
		s.takeCall()
		_, c := s.want("authenticates", wire.IKE_AUTH, false)
		s.childOut = c.sa.Proposals[0].SPI
		s.answer(wire.IKE_AUTH, 1, append(s.auth(s.id, s.secret), s.childPayloads(1)...)...)
		s.nextID = 0
		s.request(wire.INFORMATIONAL, &wire.Delete{Protocol: suite.IKE})
		s.want("confirms", wire.INFORMATIONAL, true)
		if want := min(1, n/(loopCount-1)); s.loops() != want {
			t.Fatalf("after %d: told %d times: %v", n+1, s.loops(), s.texts())
		}
		s.pass(2 * time.Second)
	}
	d := s.wantCause("explains", Warned, explain.RestartLoop, "the peer at 192.0.2.2 deletes each of them", "@peer")
	if len(d.Compared) != loopCount || !strings.Contains(d.Compared[0].Sent, "the peer deleted it") {
		t.Errorf("%+v", d.Compared)
	}
}

// TestLongLives: IKE SAs that lasted for a while are no loop, nor are those that a peer sets up anew before it closes the old ones.
func TestLongLives(t *testing.T) {
	k := &keeper{end: &Endpoint{}, conn: &Connection{Name: "c"}}
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for range 2 * maxLives {
		at = at.Add(2 * time.Minute)
		k.end.now = at
		sa := &ikeSA{end: k.end, conn: k.conn, remoteID: testID("@peer"), state: &established{}}
		sa.origin.authenticated = at.Add(-shortLife - 1)
		k.lived(sa, peerDeleted)
		sa.origin.authenticated = at.Add(-time.Second)
		k.lived(sa, peerDeleted)
	}
	if len(k.end.effects) > 0 || len(k.recent) > 4 {
		t.Errorf("%v, %d are remembered", k.end.effects, len(k.recent))
	}
}

// TestSharedIdentity: two gateways with one identity, which replace each other.
func TestSharedIdentity(t *testing.T) {
	k := &keeper{end: &Endpoint{}, conn: &Connection{Name: "c"}}
	k.end.now = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for n := range loopCount {
		k.end.now = k.end.now.Add(time.Second)
		sa := &ikeSA{end: k.end, conn: k.conn, remoteID: testID("@peer"), state: &established{}}
		sa.path.Remote = netip.MustParseAddrPort([]string{"192.0.2.1:500", "192.0.2.2:500"}[n%2])
		sa.origin.authenticated = k.end.now.Add(-time.Second)
		k.lived(sa, []ending{startedAnew, replacedByUs}[n%2])
	}
	if len(k.end.effects) != 1 {
		t.Fatal(k.end.effects)
	}
	ev := k.end.effects[0].(Event)
	if !strings.Contains(ev.Text, "from 192.0.2.1 and 192.0.2.2 in turn") || !strings.Contains(ev.Remedy, "identity of its own") || !strings.Contains(ev.Remedy, "unique = never") {
		t.Errorf("%s / %s", ev.Text, ev.Remedy)
	}
}
