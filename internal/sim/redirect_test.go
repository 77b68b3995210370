package sim

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/natt"

	"net/netip"
)

const addrC = "198.51.100.20"

// balance puts something in front of a gateway that sends all who can be redirected to another one, by the answer to IKE_SA_INIT, as a gateway
// without any state would (RFC 5685 3). Who cannot is served.
func (s *scene) balance(at *Host, to string) {
	before := s.Lose
	s.Lose = func(d *Datagram) bool {
		if before != nil && before(d) {
			return true
		}
		if d.IKE.Exchange != wire.IKE_SA_INIT || d.IKE.Response || d.Dst.Addr() != at.Addr {
			return false
		}
		m, err := wire.Parse(d.Data)
		if err != nil {
			return false
		}
		var nonce []byte
		willing := false
		for _, p := range m.Payloads {
			switch p := p.(type) {
			case *wire.Nonce:
				nonce = p.Data
			case *wire.Notify:
				willing = willing || p.Kind == wire.REDIRECT_SUPPORTED || p.Kind == wire.REDIRECTED_FROM
			}
		}
		if !willing {
			return false
		}
		data := append(wire.AppendGateway(nil, wire.Gateway{Addr: netip.MustParseAddr(to)}), nonce...)
		h := wire.Header{SPIi: m.Header.SPIi, Major: 2, Exchange: wire.IKE_SA_INIT, Response: true}
		answer := wire.AppendMessage(nil, h, []wire.Payload{&wire.Notify{Kind: wire.REDIRECT, Data: data}})
		at.transmit(natt.Path{Local: d.Dst, Remote: d.Src}, slices.Clone(answer), nil)
		return true
	}
}

// redirected is the reference case with a third gateway, which has what b has.
func redirected(t *testing.T, seed uint64) (s *scene, c *Host) {
	follow := func(c Config) Config {
		c.Connections[0].FollowRedirects = true
		return c
	}
	s = newScene(t, seed, nil)
	s.a.Reconfigure(follow(s.sides[0].config()))
	waits := s.sides[1]
	waits.peer = ""
	c = s.Host("c", addrC, waits.config())
	return s, c
}

// TestRedirect: of two gateways the first sends its clients to the second. They come up there, are rekeyed and set up anew there, over a bad link
// too, and nothing is left at the first.
func TestRedirect(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			s, c := redirected(t, seed)
			s.Link.Loss, s.Link.Double, s.Link.Jitter = 0.1, 0.1, 50*time.Millisecond
			s.balance(s.b, addrC)
			at := func() bool { return s.a.Up(conn, child) == 1 && c.Up(conn, child) == 1 && s.b.Up(conn, child) == 0 }
			if !s.RunUntil(10*time.Minute, at) {
				t.Fatal("the child does not come up at the second gateway")
			}
			s.Run(time.Minute)
			s.a.Rekey(conn, "")
			s.Run(time.Minute)
			s.a.Give(ike.Reauth{Conn: conn})
			s.Run(3 * time.Minute)
			if !s.RunUntil(10*time.Minute, at) {
				t.Error("it is not there any more")
			}
			s.Link.Loss = 0
			s.quiet()
			if s.a.Seen(ike.Redirected) == 0 {
				t.Error("nobody was redirected")
			}
			c.Shutdown()
			s.wantEnd()
		})
	}
}

// TestRedirectLoop: two gateways send their clients to each other. The first one, which is not told after a few redirects that this client can be
// redirected, serves it (RFC 5685 3, 7).
//
// Cases: ikev2-redirect-03-*-loop.
func TestRedirectLoop(t *testing.T) {
	s, c := redirected(t, 1)
	s.balance(s.b, addrC)
	s.balance(c, addrB)
	if !s.RunUntil(time.Minute, func() bool { return s.a.Up(conn, child) == 1 && s.b.Up(conn, child) == 1 }) {
		t.Fatal("the child does not come up")
	}
	if n := s.a.Seen(ike.Redirected); n != 5 {
		t.Errorf("%d redirects were followed, want 5", n)
	}
	s.wantUp()
	c.Shutdown()
	s.wantEnd()
}
