package sim

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/psk"
)

// change is the last change of a connection (child "") or child that a host told of.
func (h *Host) change(child string) string {
	last := h.Changes[len(h.Changes)-1]
	i := slices.IndexFunc(last, func(c ike.Change) bool { return c.Conn == conn && c.Child == child })
	if i < 0 {
		return "none"
	}
	text := last[i].Kind.String()
	for _, d := range last[i].Differences {
		text += fmt.Sprintf(" %s (%v)", d.Key, d.Impact)
	}
	return text
}

// TestReload changes the configuration of one end, or of both, under traffic, and wants no packet lost: what has not changed keeps
// its SPIs, and what has is made before the old one is broken (RFC 7296 2.8).
func TestReload(t *testing.T) {
	aes256 := func(s *side) {
		s.esp = []string{"aes256gcm16-x25519", "aes128gcm16-x25519"}
		s.ike = []string{"aes256gcm16-prfsha384-x25519", "aes128gcm16-prfsha256-x25519"}
	}
	for _, test := range []struct {
		name        string
		a, b        func(*side) // nil: this end is not reloaded
		apart       time.Duration
		conn, child string // what a, or else b, says of them
		newIKE      bool
		newChild    bool
	}{
		{"nothing", func(*side) {}, func(*side) {}, 0, "unchanged", "unchanged", false, false},
		{"timers", func(s *side) { s.dpd, s.soft.Time, s.hard.Time = 5*time.Second, time.Hour, 2*time.Hour }, nil, 0,
			"changed dpd_delay (in place)", "changed rekey_time (in place) life_time (in place)", false, false},
		{"actions", func(s *side) { s.closeAction = ike.Trap }, nil, 0, "unchanged", "changed close_action (in place)", false, false},
		{"limits", func(s *side) { s.soft.Packets = 1e6 }, nil, 0, "unchanged", "changed rekey_packets (rekeyed)", false, true},
		{"limits of the called", nil, func(s *side) { s.soft.Packets = 1e6 }, 0, "unchanged", "changed rekey_packets (rekeyed)", false, true},
		{"selectors", func(s *side) { s.local = "10.103.0.0/16" }, func(s *side) { s.far = "10.103.0.0/16" }, 0,
			"unchanged", "changed local_ts (negotiated anew)", false, true},
		{"selectors, one end", nil, func(s *side) { s.local = "10.104.0.0/16" }, 0, "unchanged", "changed local_ts (negotiated anew)", false, true},
		{"algorithms", aes256, aes256, 0, "changed proposals (IKE SA rekeyed)", "changed esp_proposals (rekeyed)", true, true},
		{"fragmentation", func(s *side) { s.fragmentation = ike.FragmentationNo }, nil, 0, "changed fragmentation (set up anew)", "unchanged", true, true},
		{"identity", func(s *side) { s.id = "@a2" }, func(s *side) { s.peerID = "@a2" }, time.Second,
			"changed local.id (set up anew)", "unchanged", true, true},
		{"secret", func(s *side) { s.secret = "asdfgh" }, func(s *side) { s.secret = "asdfgh" }, 3 * time.Second,
			"changed secret (set up anew)", "unchanged", true, true},
		{"another child", func(s *side) { s.second = true }, func(s *side) { s.second = true }, 0, "unchanged", "unchanged", false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newScene(t, 1, func(a, b *side) { b.start = ike.Start })
			s.up()
			before, _ := s.a.Current(conn)
			flows := s.Traffic(conn, child, 50*time.Millisecond, s.a, s.b)
			hosts := []*Host{s.a, s.b}
			for i, change := range []func(*side){test.a, test.b} {
				if change != nil {
					change(&s.sides[i])
					hosts[i].Reconfigure(s.sides[i].config())
					s.Run(test.apart)
				}
			}
			s.Run(2 * time.Minute)
			s.wantNoLoss(flows)
			s.wantUp()
			told := s.a
			if test.a == nil {
				told = s.b
			}
			if got := told.change(""); got != test.conn {
				t.Errorf("the connection: %s", got)
			}
			if got := told.change(child); got != test.child {
				t.Errorf("the child: %s", got)
			}
			after, _ := s.a.Current(conn)
			if isNew := before.SPIi != after.SPIi; isNew != test.newIKE {
				t.Errorf("another IKE SA: %v", isNew)
			}
			if isNew := before.Children[0].In != after.Children[0].In; isNew != test.newChild {
				t.Errorf("another Child SA: %v", isNew)
			}
			if s.sides[0].second && s.a.Up(conn, other) != 1 {
				t.Error("the added child is not up")
			}
			s.wantEnd()
		})
	}
}

// TestReloadWaits: a peer whose secret can only be changed hours later is served until then under the IKE SA of the old one.
func TestReloadWaits(t *testing.T) {
	s := newScene(t, 1, nil)
	s.up()
	flows := s.Traffic(conn, child, time.Second, s.a, s.b)
	for i, h := range []*Host{s.a, s.b} {
		s.sides[i].secret = "asdfgh"
		if i == 0 {
			h.Reconfigure(s.sides[i].config())
			s.Run(3 * time.Hour)
			continue
		}
		h.Reconfigure(s.sides[i].config())
	}
	s.Run(5 * time.Minute)
	s.wantNoLoss(flows)
	s.wantUp()
}

// TestReloadRemoves: what is not configured any more is closed at both ends, and what comes back is set up.
func TestReloadRemoves(t *testing.T) {
	for _, of := range []string{"a child", "the connection"} {
		t.Run(of, func(t *testing.T) {
			s := newScene(t, 1, func(a, b *side) { a.second, b.second = true, true })
			s.up()
			flows := s.Traffic(conn, child, 100*time.Millisecond, s.a, s.b)
			if of == "a child" {
				s.sides[0].second = false
				s.a.Reconfigure(s.sides[0].config())
				s.Run(time.Minute)
				s.wantNoLoss(flows)
				s.wantUp()
				if s.a.Up(conn, other)+s.b.Up(conn, other) != 0 || s.a.change(other) != "removed" {
					t.Errorf("the child is not gone: %s", s.a.change(other))
				}
				return
			}
			s.StopTraffic()
			s.a.Reconfigure(Config{Secrets: psk.NewStore()})
			if got := s.a.change(""); got != "removed" {
				t.Errorf("%s", got)
			}
			s.Run(10 * time.Millisecond) // the Delete is on its way when it comes back
			s.a.Reconfigure(s.sides[0].config())
			s.Run(time.Minute)
			s.wantUp()
			s.a.Reconfigure(Config{Secrets: psk.NewStore()})
			s.wantDown()
			s.wantEnd()
		})
	}
}

// TestReloadRefused: when the peer does not agree to a change, what goes beyond the new policy is closed, and the rest stays.
func TestReloadRefused(t *testing.T) {
	for _, test := range []struct {
		local string
		up    int
	}{{"10.103.0.0/23", 1}, {"10.99.0.0/24", 0}} {
		s := newScene(t, 1, nil)
		s.up()
		// The peer refuses every child from now on.
		s.sides[1].esp = []string{"chacha20poly1305"}
		s.b.Reconfigure(s.sides[1].config())
		s.sides[0].local = test.local
		s.a.Reconfigure(s.sides[0].config())
		s.Run(time.Minute)
		n := 0
		for _, sa := range s.a.Snapshot() {
			for _, c := range sa.Children {
				if strings.Contains("up outdated", c.State) {
					n++
				}
			}
		}
		if n != test.up || s.a.Seen(ike.ChildFailed) == 0 {
			t.Errorf("%s: %d Child SAs are left, want %d", test.local, n, test.up)
		}
	}
}

// TestReloadRevoked: a peer for which there is no secret any more is shut out; what cannot be set up anew does not stay.
//
// Cases: BUG-08.
func TestReloadRevoked(t *testing.T) {
	for _, revokes := range []string{"who calls", "who is called"} {
		s := newScene(t, 1, func(a, b *side) { a.start, b.peer = ike.Trap, "" })
		s.a.Initiate(conn, child)
		s.up()
		h, c := s.a, s.sides[0].config()
		if revokes == "who is called" {
			h, c = s.b, s.sides[1].config()
		}
		c.Secrets = psk.NewStore()
		h.Reconfigure(c)
		s.Run(time.Minute)
		s.wantDown()
	}
}

// TestReloadMany: a connection that waits for many peers is changed for each of them, and none takes another's place.
func TestReloadMany(t *testing.T) {
	w := New(1)
	server := side{id: "@a", peerID: "*.example", local: netA, far: "10.104.0.0/16"}
	a := w.Host("a", addrA, server.config())
	var callers []*Host
	sides := make([]side, 3)
	for i := range sides {
		sides[i] = side{id: fmt.Sprintf("@b%d.example", i), peerID: "@a", peer: addrA, local: fmt.Sprintf("10.104.%d.0/24", i), far: netA, start: ike.Start}
		callers = append(callers, w.Host(fmt.Sprint("b", i), fmt.Sprintf("192.0.2.%d", i+1), sides[i].config()))
	}
	w.Run(10 * time.Second)
	if n := a.Up(conn, child); n != len(sides) {
		t.Fatalf("%d peers are connected", n)
	}
	var flows []*Flow
	for _, b := range callers {
		flows = append(flows, w.Traffic(conn, child, 100*time.Millisecond, b)...)
	}
	server.local = "10.103.0.0/16"
	a.Reconfigure(server.config())
	w.Run(time.Minute)
	if n := a.Up(conn, child); n != len(sides) {
		t.Errorf("%d peers have the new selectors", n)
	}
	server.secret = "asdfgh"
	a.Reconfigure(server.config())
	for i, b := range callers {
		w.Run(time.Minute)
		if n := a.Up(conn, child); n != i {
			t.Errorf("%d peers have the new secret, want %d", n, i)
		}
		sides[i].secret = server.secret
		b.Reconfigure(sides[i].config())
	}
	w.Run(time.Minute)
	if n := a.Up(conn, child); n != len(sides) || !w.Quiet() {
		t.Errorf("%d peers are left, quiet: %v", n, w.Quiet())
	}
	w.StopTraffic()
	w.Run(10 * time.Second)
	for _, f := range flows {
		if f.Sent == 0 || f.Arrived != f.Sent {
			t.Errorf("%s: %d of %d packets arrived", f.From.Name, f.Arrived, f.Sent)
		}
	}
	if err := w.Err(); err != nil {
		t.Error(err)
	}
}
