package ike

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/ike/wire"
)

// lifetimeOf is an AUTH_LIFETIME in seconds.
func lifetimeOf(seconds uint32) *wire.Notify {
	return &wire.Notify{Kind: wire.AUTH_LIFETIME, Data: binary.BigEndian.AppendUint32(nil, seconds)}
}

func withReauth(d time.Duration) func(*Config) {
	return func(c *Config) {
		c.Connections[0].ReauthTime, c.Connections[0].OverTime, c.Connections[0].DPDDelay = d, time.Minute, 0
	}
}

// TestLifetimeTold: who was called tells in IKE_AUTH how long the authentication holds, and who called does not (RFC 4478 2, 3).
func TestLifetimeTold(t *testing.T) {
	s := newScript(t, withReauth(time.Hour))
	s.call()
	s.request(wire.IKE_AUTH, append(s.auth(s.id, s.secret), s.childPayloads(1)...)...)
	_, c := s.want("answers IKE_AUTH", wire.IKE_AUTH, true)
	n := c.notify(wire.AUTH_LIFETIME)
	if n == nil || len(n.Data) != 4 || binary.BigEndian.Uint32(n.Data) != 3600 {
		t.Errorf("tells %v", n)
	}
	s = newScript(t, withReauth(time.Hour))
	s.give(Initiate{Conn: "c"})
	s.takeCall()
	if _, c := s.want("authenticates", wire.IKE_AUTH, false); c.notify(wire.AUTH_LIFETIME) != nil {
		t.Error("the initiator tells a lifetime")
	}
	s = called(t, nil)
	if list := s.sa().lifetimeNotify(); list != nil {
		t.Errorf("without reauth_time %v is told", list)
	}
}

// TestLifetimeObeyed: who called sets the IKE SA up anew before the time is over, be it told in IKE_AUTH or in INFORMATIONAL later; the
// earliest time counts (RFC 4478 2).
func TestLifetimeObeyed(t *testing.T) {
	for name, c := range map[string]struct {
		told     func(s *script)
		from, to time.Duration
	}{
		"an hour":          {func(s *script) { s.tell(lifetimeOf(3600)) }, 48 * time.Minute, time.Hour},
		"less, then more":  {func(s *script) { s.tell(lifetimeOf(600)); s.tell(lifetimeOf(3600)) }, 8 * time.Minute, 10 * time.Minute},
		"more, then less":  {func(s *script) { s.tell(lifetimeOf(3600)); s.tell(lifetimeOf(600)) }, 8 * time.Minute, 10 * time.Minute},
		"at once":          {func(s *script) { s.pass(time.Minute); s.sends = nil; s.tell(lifetimeOf(0)) }, 0, time.Second},
		"at once, at once": {func(s *script) { s.tell(lifetimeOf(0)) }, leastLifetime - time.Second, leastLifetime + time.Second},
	} {
		s := calling(t, func(c *Config) { c.Connections[0].DPDDelay = 0 })
		c.told(s)
		at := s.sa().timers[timerReauth].Sub(s.now)
		if s.sa().timers[timerReauth].IsZero() {
			at = 0
		}
		if at < c.from || at > c.to {
			t.Errorf("%s: set up anew after %v, want %v to %v", name, at, c.from, c.to)
		}
		s.sends = nil
		s.pass(c.to)
		if at > 0 {
			s.want(name, wire.IKE_SA_INIT, false)
		}
	}

	s := newScript(t, func(c *Config) { c.Connections[0].DPDDelay = 0 })
	s.give(Initiate{Conn: "c"})
	s.takeCall()
	s.want("authenticates", wire.IKE_AUTH, false)
	s.answer(wire.IKE_AUTH, 1, append(append(s.auth(s.id, s.secret), lifetimeOf(100)), s.childPayloads(1)...)...)
	s.pass(79 * time.Second)
	s.wantIdle("too early")
	s.pass(21 * time.Second)
	s.want("within the time", wire.IKE_SA_INIT, false)
}

// tell sends a notify in INFORMATIONAL.
func (s *script) tell(n *wire.Notify) {
	s.t.Helper()
	s.request(wire.INFORMATIONAL, n)
	for i, send := range s.sends {
		if h, _ := wire.ParseHeader(send.Data); h.Exchange == wire.INFORMATIONAL && h.Response {
			s.sends = append(s.sends[:i:i], s.sends[i+1:]...)
			return
		}
	}
	s.t.Fatal("no answer")
}

// TestLifetimeIgnored: the word of a peer that called counts for nothing, nor what is no lifetime (RFC 4478 2, 3).
func TestLifetimeIgnored(t *testing.T) {
	s := called(t, nil)
	s.tell(lifetimeOf(60))
	if !s.sa().timers[timerReauth].IsZero() {
		t.Error("who called tells us when to call")
	}
	s = calling(t, nil)
	s.tell(&wire.Notify{Kind: wire.AUTH_LIFETIME, Data: []byte{0, 60}})
	if !s.sa().timers[timerReauth].IsZero() {
		t.Error("two octets are a lifetime")
	}
}

// TestLifetimeInSuccessor: the limit holds for the successor of an IKE SA too (RFC 4478 2).
func TestLifetimeInSuccessor(t *testing.T) {
	s := calling(t, func(c *Config) { c.Connections[0].DPDDelay = 0 })
	s.tell(lifetimeOf(1000))
	at := s.sa().timers[timerReauth]
	s.give(Rekey{Conn: "c"})
	s.grantSuccessor()
	if next := s.order.at(1); !next.timers[timerReauth].Equal(at) {
		t.Errorf("the successor is set up anew at %v, want %v", next.timers[timerReauth], at)
	}
}
