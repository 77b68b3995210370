package natt

import (
	"testing"
	"time"
)

func TestMustFloat(t *testing.T) {
	for _, c := range []struct {
		s      Situation
		forced bool
		want   bool
	}{
		{Situation{}, true, false}, // the peer could not read it
		{Situation{LocalNAT: true}, true, false},
		{Situation{Supported: true}, false, false},
		{Situation{Supported: true}, true, true},
		{Situation{Supported: true, LocalNAT: true}, false, true},
		{Situation{Supported: true, RemoteNAT: true}, false, true},
		{Situation{Supported: true, RemoteForces: true}, false, true},
	} {
		if got := MustFloat(c.s, c.forced); got != c.want {
			t.Errorf("MustFloat(%+v, %v) = %v", c.s, c.forced, got)
		}
	}
}

// Cases: BUG-29.
func TestMayFollow(t *testing.T) {
	cur := Path{ap("203.0.113.1:4500"), ap("198.51.100.1:4500"), true}
	plain := Path{ap("203.0.113.1:500"), ap("198.51.100.1:500"), false}
	newPort := Path{cur.Local, ap("198.51.100.1:1024"), true}
	newAddr := Path{cur.Local, ap("198.51.100.9:4500"), true}
	newLocal := Path{ap("203.0.113.2:4500"), cur.Remote, true}
	down := Path{plain.Local, ap("198.51.100.9:500"), false}
	none, us, peer := Situation{Supported: true}, Situation{Supported: true, LocalNAT: true}, Situation{Supported: true, RemoteNAT: true}
	both := Situation{Supported: true, LocalNAT: true, RemoteNAT: true}
	for _, c := range []struct {
		name     string
		cur, got Path
		s        Situation
		want     bool
	}{
		{"same path", cur, cur, peer, false},
		{"new port of a peer behind a NAT", cur, newPort, peer, true},
		{"new address of a peer behind a NAT", cur, newAddr, peer, true},
		{"new address, no NAT", cur, newAddr, none, true},
		{"we are behind a NAT", cur, newAddr, us, false},
		{"both are", cur, newAddr, both, true},
		{"our own address is another", cur, newLocal, peer, true},
		{"back to port 500", cur, down, peer, false},
		{"on to port 4500", plain, cur, none, true},
		{"on port 500", plain, down, none, true},
		{"nowhere", cur, Path{NATT: true}, peer, false},
		{"port 0", cur, Path{cur.Local, ap("198.51.100.9:0"), true}, peer, false},
		{"other family", cur, Path{cur.Local, ap("[2001:db8::1]:4500"), true}, peer, false},
	} {
		if got := MayFollow(c.cur, c.got, c.s); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestKeepalives(t *testing.T) {
	natt := Path{ap("172.16.0.1:4500"), ap("203.0.113.1:4500"), true}
	plain := Path{ap("172.16.0.1:500"), ap("203.0.113.1:500"), false}
	us := Situation{Supported: true, LocalNAT: true}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

	var k Keepalives
	if at, ok := k.Due(natt, us); !ok || !at.IsZero() {
		t.Errorf("before anything was sent: %v, %v", at, ok)
	}
	k.Sent(now)
	for _, c := range []struct {
		name string
		p    Path
		s    Situation
		want bool
	}{
		{"we are behind a NAT", natt, us, true},
		{"both are", natt, Situation{Supported: true, LocalNAT: true, RemoteNAT: true}, true},
		{"only the peer is", natt, Situation{Supported: true, RemoteNAT: true}, false},
		{"no NAT", natt, Situation{Supported: true}, false},
		{"still on port 500", plain, us, false},
	} {
		at, ok := k.Due(c.p, c.s)
		if ok != c.want || ok && !at.Equal(now.Add(20*time.Second)) {
			t.Errorf("%s: %v, %v", c.name, at, ok)
		}
	}
	// Traffic puts it off; news of an older packet does not bring it nearer.
	k.Sent(now.Add(7 * time.Second))
	k.Sent(now.Add(3 * time.Second))
	if at, _ := k.Due(natt, us); !at.Equal(now.Add(27 * time.Second)) {
		t.Errorf("after traffic: %v", at)
	}
}
