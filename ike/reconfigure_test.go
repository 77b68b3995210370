package ike

import (
	"slices"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/natt"
	"github.com/culvert-vpn/culvert/psk"
	"github.com/culvert-vpn/culvert/suite"
)

// reconfigure loads another configuration.
func (s *script) reconfigure(change func(*Config)) []Change {
	s.t.Helper()
	cfg := s.config(change)
	before := len(s.all)
	s.give(Reconfigure{Secrets: cfg.Secrets, Connections: cfg.Connections, Retransmit: cfg.Retransmit})
	r, ok := s.all[before].(Reconfigured)
	if !ok {
		s.t.Fatalf("the first effect is %T", s.all[before])
	}
	return r.Changes
}

// A configuration that means the same has no effect but to say so, in whatever order it is written and whatever its secrets are
// called. The objects stay as well.
func TestReconfigureSame(t *testing.T) {
	s := called(t, nil)
	conn, effects := s.sa().conn, len(s.all)
	changes := s.reconfigure(func(c *Config) {
		c.Secrets = testSecrets(t, "secret", "@peer")
		other := *c.Connections[0]
		other.Name, other.Children = "another", nil
		c.Connections = []*Connection{&other, c.Connections[0]}
	})
	if len(s.all) != effects+1 || s.sa().conn != conn || s.cfg.Connections[1] != conn {
		t.Errorf("%d effects, want 1", len(s.all)-effects)
	}
	if len(changes) != 3 || changes[0].Kind != Added || changes[1].Kind != Unchanged || changes[2].Kind != Unchanged {
		t.Errorf("%v", changes)
	}
	s.wantIdle("nothing to tell the peer")
}

// An IKE SA that is older than its new rekey_time is rekeyed at once, and has over_time for that as ever.
func TestReconfigureTimes(t *testing.T) {
	s := called(t, nil)
	s.pass(3 * time.Hour)
	s.reconfigure(func(c *Config) {
		c.Connections[0].RekeyTime, c.Connections[0].OverTime = time.Hour, time.Minute
		c.Connections[0].Children[0].Rekey.Time, c.Connections[0].Children[0].Life.Time = 2*time.Hour, 3*time.Hour
		c.Connections[0].DPDDelay = 4 * time.Hour
	})
	s.wantIdle("in place")
	s.pass(0)
	_, c := s.want("rekeys", wire.CREATE_CHILD_SA, false)
	if c.sa == nil {
		t.Fatal("no rekeying")
	}
	if sa := s.sa(); sa.timers[timerExpire] != s.now.Add(time.Minute) || sa.children[0].expireAt != s.now.Add(time.Hour) {
		t.Errorf("expires at %v, its child at %v", sa.timers[timerExpire], sa.children[0].expireAt)
	}
}

// An answer to what was offered under the former configuration is not put in place: it might carry what is forbidden now.
func TestReconfigureWhileNegotiating(t *testing.T) {
	s := called(t, nil)
	s.give(Rekey{Conn: "c", Child: "net"})
	h, _ := s.want("rekeys", wire.CREATE_CHILD_SA, false)
	s.reconfigure(func(c *Config) { c.Connections[0].Children[0].LocalTS = testSpec("10.1.1.0/24") })
	installed := s.installs()
	s.answer(wire.CREATE_CHILD_SA, h.MessageID, s.grant(make([]byte, nonceLen))...)
	if s.installs() != installed {
		t.Error("the outdated successor is installed")
	}
	h, c := s.want("closes it at the peer", wire.INFORMATIONAL, false)
	if len(c.deletes) != 1 {
		t.Errorf("no Delete")
	}
	s.answer(wire.INFORMATIONAL, h.MessageID)
	_, c = s.want("negotiates what is configured now", wire.CREATE_CHILD_SA, false)
	if c.notify(wire.REKEY_SA) != nil {
		t.Error("as a rekeying")
	}
}

// What waits for its turn when the configuration changes is asked for as it is configured now: an outdated Child SA is not rekeyed but
// replaced, and what a packet wanted of the former traffic is dropped.
func TestReconfigureWhileWaiting(t *testing.T) {
	for name, wish := range map[string]Input{
		"a rekeying": Rekey{Conn: "c", Child: "net"}, "a further Child SA": Acquire{Conn: "c", Child: "net", Packet: packetTo("10.2.9.9")},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScript(t, func(c *Config) { c.Connections[0].DPDDelay = time.Minute })
			s.give(Acquire{Conn: "c", Child: "net", Packet: packetTo("10.2.1.1")})
			s.takeCall()
			s.want("authenticates", wire.IKE_AUTH, false)
			s.answer(wire.IKE_AUTH, 1, append(s.auth(s.id, s.secret), s.childWith("10.1.0.0/16", "10.2.1.0/24", wire.ADDITIONAL_TS_POSSIBLE)...)...)
			s.pass(time.Minute)
			h, _ := s.want("asks for a sign of life", wire.INFORMATIONAL, false)
			s.give(wish)
			s.wantIdle("the window is one request")
			s.reconfigure(func(c *Config) { c.Connections[0].Children[0].LocalTS = testSpec("10.1.1.0/24") })
			s.answer(wire.INFORMATIONAL, h.MessageID)
			_, c := s.want("negotiates what is configured now", wire.CREATE_CHILD_SA, false)
			if c.notify(wire.REKEY_SA) != nil || !slices.Equal(c.tsi.Selectors, sel("10.1.1.0/24")) {
				t.Errorf("asks for %v, with %v", c.tsi.Selectors, c.notifies)
			}
		})
	}
}

// A call that is under way when its connection changes is begun anew, and a path that was being looked for is looked for again.
func TestReconfigureWhileCalling(t *testing.T) {
	s := newScript(t, nil)
	s.give(Initiate{Conn: "c"})
	s.want("calls", wire.IKE_SA_INIT, false)
	s.reconfigure(func(c *Config) { c.Connections[0].LocalID = testID("@us2") })
	s.want("calls again", wire.IKE_SA_INIT, false)
	s.wantIdle("once")
	if s.order.len() != 1 || !s.sa().localID.Equal(testID("@us2")) {
		t.Errorf("%d IKE SAs, as %v", s.order.len(), s.order.at(0).localID)
	}

	s = newScript(t, nil)
	s.Handle(s.now, Initiate{Conn: "c"}) // asks for a path
	s.Handle(s.now, Reconfigure{Secrets: s.cfg.Secrets, Connections: s.config(func(c *Config) { c.Connections[0].RemoteHost = "192.0.2.3" }).Connections})
	s.give(Resolved{Conn: "c", Path: natt.Path{Local: s.path.Local, Remote: s.path.Remote}})
	if n := len(s.sends); n != 1 { // give answered the second question
		t.Errorf("%d calls, want 1", n)
	}
}

// A peer that is only waited for cannot be called: it goes on until it calls again, unless it is forbidden. What waits for its
// IKE_AUTH is judged by the new configuration.
func TestReconfigureWhoWaits(t *testing.T) {
	s := called(t, func(c *Config) { c.Connections[0].RemoteHost = "" })
	s.reconfigure(func(c *Config) {
		c.Connections[0].RemoteHost = ""
		c.Secrets = testSecrets(t, "other")
	})
	s.wantIdle("it may call again")
	if list := s.Snapshot(); list[0].State != "outdated" {
		t.Errorf("is %s", list[0].State)
	}
	s.reconfigure(func(c *Config) {
		c.Connections[0].RemoteHost = ""
		c.Secrets = testSecrets(t, "secret", "@somebody")
	})
	if _, c := s.want("closes the IKE SA", wire.INFORMATIONAL, false); !c.deletesIKE() {
		t.Error("no Delete")
	}

	s = newScript(t, nil)
	s.call()
	s.reconfigure(func(c *Config) { c.Connections = nil })
	s.request(wire.IKE_AUTH, append(s.auth(s.id, s.secret), s.childPayloads(1)...)...)
	s.wantNotify("the connection is not there any more", wire.IKE_AUTH, wire.AUTHENTICATION_FAILED)
}

// What is replaced other than by rekeying is deleted when what was sent under it has arrived: peers may take it away the moment that
// they have the Delete.
func TestReconfigureSettles(t *testing.T) {
	s := called(t, nil)
	s.reconfigure(func(c *Config) { c.Connections[0].Children[0].LocalTS = testSpec("10.0.0.0/15") })
	h, c := s.want("negotiates what is configured now", wire.CREATE_CHILD_SA, false)
	if c.notify(wire.REKEY_SA) != nil {
		t.Error("it is rekeyed")
	}
	old := s.childIn
	s.childIn = []byte{0, 0, 9, s.childIn[3] + 1}
	s.answer(wire.CREATE_CHILD_SA, h.MessageID, s.grant(make([]byte, nonceLen))...)
	if n := s.installs(); n != 4 {
		t.Errorf("%d halves are installed, want 4: %v", n, s.texts())
	}
	halves := s.installs()
	rekey := &wire.Notify{Protocol: suite.ESP, SPI: old, Kind: wire.REKEY_SA}
	s.request(wire.CREATE_CHILD_SA, append([]wire.Payload{rekey}, s.newChild(suite.CURVE25519)...)...)
	s.wantNotify("does not let the peer rekey what it is about to close", wire.CREATE_CHILD_SA, wire.TEMPORARY_FAILURE)
	if s.installs() != halves {
		t.Error("there is another one")
	}
	s.pass(settleTime - 1)
	s.wantIdle("deletes the old one while packets are on their way")
	s.pass(1)
	if _, c := s.want("deletes the old one", wire.INFORMATIONAL, false); len(c.deletes) != 1 {
		t.Error("no Delete")
	}
}

// Who has proved a secret that was taken away with Spare goes on, whatever is loaded afterwards and under new keys as well, until it
// is to be set up anew for another reason.
func TestReconfigureSpare(t *testing.T) {
	for _, calls := range []string{"192.0.2.2", ""} {
		s := called(t, func(c *Config) { c.Connections[0].RemoteHost = calls })
		without := func(c *Config) { c.Connections[0].RemoteHost, c.Secrets = calls, psk.NewStore() }
		cfg := s.config(without)
		s.give(Reconfigure{Secrets: cfg.Secrets, Connections: cfg.Connections, Retransmit: cfg.Retransmit, Spare: true})
		s.reconfigure(without)
		s.pass(time.Minute)
		if list := s.Snapshot(); list[0].State != "established" {
			t.Fatalf("calls %q: is %s", calls, list[0].State)
		}
		next := s.sa().descend(false, 0xcccc, 0xdddd, s.sa().proposal, keyInput{nonceI: make([]byte, 32), nonceR: make([]byte, 32), shared: []byte{1}})
		if next == nil || !next.spared {
			t.Errorf("calls %q: its successor is not spared", calls)
		}
	}
}
