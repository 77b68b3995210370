package ike_test

import (
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/ident"
	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/natt"
	"github.com/culvert-vpn/culvert/psk"
	"github.com/culvert-vpn/culvert/suite"
	"github.com/culvert-vpn/culvert/ts"
)

// stream is a deterministic source of bytes.
type stream struct {
	seed uint64
	n    uint64
	rest []byte
}

func (s *stream) Read(p []byte) (int, error) {
	for i := range p {
		if len(s.rest) == 0 {
			var b [16]byte
			binary.BigEndian.PutUint64(b[:], s.seed)
			binary.BigEndian.PutUint64(b[8:], s.n)
			s.n++
			h := sha256.Sum256(b[:])
			s.rest = h[:]
		}
		p[i], s.rest = s.rest[0], s.rest[1:]
	}
	return len(p), nil
}

// spis is a Datapath that carries nothing.
type spis struct {
	next uint32
	held map[uint32]bool
}

func (s *spis) AllocSPI() (uint32, bool) {
	s.next++
	s.held[s.next+1000] = true
	return s.next + 1000, true
}
func (s *spis) FreeSPI(spi uint32)     { delete(s.held, spi) }
func (s *spis) Received(uint32) uint64 { return 0 }

type node struct {
	*ike.Endpoint
	addr   netip.AddrPort
	spis   *spis
	events []ike.Event
	in     map[uint32]ike.Install
	out    map[uint32]ike.Install
}

// pair is two endpoints and a wire without loss.
type pair struct {
	t    *testing.T
	now  time.Time
	a, b *node
	line []flight
}

type flight struct {
	to *node
	d  ike.Datagram
}

func newNode(seed uint64, addr string, conns []*ike.Connection, secret string) *node {
	store := psk.NewStore()
	if err := store.Add("ike-test", []byte(secret), nil); err != nil {
		panic(err)
	}
	n := &node{addr: netip.MustParseAddrPort(addr + ":500"), spis: &spis{held: map[uint32]bool{}}, in: map[uint32]ike.Install{}, out: map[uint32]ike.Install{}}
	n.Endpoint = ike.New(ike.Config{Rand: &stream{seed: seed}, Datapath: n.spis, Secrets: store, Connections: conns})
	return n
}

func spec(s string) []ts.Spec {
	v, err := ts.ParseSpec(s)
	if err != nil {
		panic(err)
	}
	return []ts.Spec{v}
}

func connection(remote, localID, remoteID, local, far string, start ike.Action) *ike.Connection {
	id, err := ident.Parse(localID)
	if err != nil {
		panic(err)
	}
	p, err := ident.ParsePattern(remoteID)
	if err != nil {
		panic(err)
	}
	return &ike.Connection{
		Name: "c", RemoteHost: remote, LocalPort: 500, RemotePort: 500, LocalID: id, RemoteID: p,
		Proposals: suite.Default(suite.IKE), RekeyTime: 4 * time.Hour, OverTime: time.Hour, DPDDelay: 30 * time.Second,
		Children: []*ike.Child{{
			Name: "net", LocalTS: spec(local), RemoteTS: spec(far), Proposals: suite.Default(suite.ESP), StartAction: start,
			Rekey: ike.Lifetime{Time: time.Hour}, Life: ike.Lifetime{Time: 66 * time.Minute},
		}},
	}
}

func newPair(t *testing.T) *pair {
	p := &pair{t: t, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	p.a = newNode(1, "192.0.2.1", []*ike.Connection{connection("192.0.2.2", "@a", "@b", "10.1.0.0/16", "10.2.0.0/16", ike.Start)}, "secret")
	p.b = newNode(2, "192.0.2.2", []*ike.Connection{connection("", "@b", "@a", "10.2.0.0/16", "10.1.0.0/16", ike.None)}, "secret")
	return p
}

func (p *pair) give(n *node, in ike.Input) {
	other := p.a
	if n == p.a {
		other = p.b
	}
	for _, e := range n.Handle(p.now, in) {
		switch e := e.(type) {
		case ike.Send:
			back := natt.Path{Local: e.Path.Remote, Remote: e.Path.Local, NATT: e.Path.NATT}
			p.line = append(p.line, flight{other, ike.Datagram{Path: back, Data: append([]byte(nil), e.Data...)}})
		case ike.Dial:
			path := natt.Path{Local: n.addr, Remote: other.addr}
			p.give(n, ike.Resolved{Conn: e.Conn.Name, Path: path})
		case ike.Install:
			if e.Dir == ike.In {
				n.in[e.SPI] = e
			} else {
				n.out[e.SPI] = e
			}
		case ike.Remove:
			if e.Dir == ike.In {
				delete(n.in, e.SPI)
			} else {
				delete(n.out, e.SPI)
			}
		case ike.Event:
			n.events = append(n.events, e)
			p.t.Logf("%v %v %v %s %s %s", p.now.Format(time.TimeOnly), n.addr, e.Kind, e.Child, e.Text, e.Remedy)
		}
	}
}

func (p *pair) drain() {
	for len(p.line) > 0 {
		f := p.line[0]
		p.line = p.line[1:]
		p.give(f.to, f.d)
	}
}

// run lets both go on for a time.
func (p *pair) run(d time.Duration) {
	end := p.now.Add(d)
	p.give(p.a, ike.Tick{})
	p.give(p.b, ike.Tick{})
	p.drain()
	for {
		at, n := end, (*node)(nil)
		for _, x := range []*node{p.a, p.b} {
			if t, ok := x.Deadline(); ok && t.Before(at) {
				at, n = t, x
			}
		}
		if n == nil {
			p.now = end
			return
		}
		if at.After(p.now) {
			p.now = at
		}
		p.give(n, ike.Tick{})
		p.drain()
	}
}

// wantPaired checks that what one sends the other receives, with the same keys.
func (p *pair) wantPaired(n int) {
	p.t.Helper()
	for _, d := range [][2]*node{{p.a, p.b}, {p.b, p.a}} {
		if len(d[0].out) != n {
			p.t.Errorf("%v has %d outbound, want %d", d[0].addr, len(d[0].out), n)
		}
		for spi, out := range d[0].out {
			in, ok := d[1].in[spi]
			if !ok {
				p.t.Errorf("outbound %x of %v is not inbound at the other", spi, d[0].addr)
				continue
			}
			if string(in.EncKey) != string(out.EncKey) || string(in.IntegKey) != string(out.IntegKey) {
				p.t.Errorf("keys of %x differ", spi)
			}
		}
	}
}

func TestPair(t *testing.T) {
	p := newPair(t)
	p.run(time.Second)
	p.wantPaired(1)
	p.run(90 * time.Minute)
	p.wantPaired(1)
	p.give(p.b, ike.Rekey{Conn: "c", Child: "net"})
	p.drain()
	p.wantPaired(1)
	p.give(p.b, ike.Rekey{Conn: "c"})
	p.drain()
	p.wantPaired(1)
	p.run(10 * time.Hour)
	p.wantPaired(1)
	p.give(p.a, ike.Shutdown{})
	p.drain()
	p.wantPaired(0)
	if !p.a.Idle() || !p.b.Idle() {
		t.Error("not idle after shutdown")
	}
	if len(p.a.spis.held)+len(p.b.spis.held) > 0 {
		t.Error("SPIs are held after shutdown")
	}
}
