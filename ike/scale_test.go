package ike

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/natt"
	"github.com/culvert-vpn/culvert/suite"
	"github.com/culvert-vpn/culvert/ts"
)

// fleet is a gateway with one connection for many peers, and endpoints that call it, with nothing between them.
type fleet struct {
	t      testing.TB
	now    time.Time
	rand   *rand.ChaCha8
	hub    *Endpoint
	spokes []*Endpoint
	spi    uint32
	up     int // Child SAs of the hub that were installed
	// rekeyed are those of them that took the place of another one.
	rekeyed int
}

func (f *fleet) AllocSPI() (uint32, bool) { f.spi++; return f.spi, true }
func (f *fleet) FreeSPI(uint32)           {}
func (f *fleet) Received(uint32) uint64   { return 0 }
func (f *fleet) Sent(uint32) uint64       { return 0 }

var hubAddr = netip.MustParseAddrPort("192.0.2.1:500")

func newFleet(t testing.TB) *fleet {
	f := &fleet{t: t, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), rand: rand.NewChaCha8([32]byte{7}), spi: 1000}
	f.hub = f.endpoint(&Connection{
		LocalID: testID("@hub"), RemoteID: testPattern("*.spoke"), MOBIKE: true,
		RekeyTime: 4 * time.Hour, OverTime: 24 * time.Minute, RandTime: 24 * time.Minute,
		Children: []*Child{{LocalTS: testSpec("10.1.0.0/16"), RemoteTS: testSpec("10.128.0.0/9"),
			Rekey: Lifetime{Time: time.Hour}, Life: Lifetime{Time: 66 * time.Minute}, Rand: Lifetime{Time: 6 * time.Minute}}},
	})
	return f
}

func (f *fleet) endpoint(c *Connection) *Endpoint {
	c.Name, c.Proposals = "c", testProposal(suite.IKE, "aes128gcm16-prfsha256-x25519")
	c.Children[0].Name, c.Children[0].Proposals = "net", testProposal(suite.ESP, "aes128gcm16")
	e := New(Config{Rand: f.rand, Datapath: f, Secrets: testSecrets(f.t, "secret"), Connections: []*Connection{c}})
	e.Handle(f.now, Tick{})
	return e
}

func spokeAddr(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 9, byte(i >> 8), byte(i)}), 500)
}

// add lets one more peer call.
func (f *fleet) add() {
	i := len(f.spokes)
	f.spokes = append(f.spokes, f.endpoint(&Connection{
		RemoteHost: "192.0.2.1", LocalID: testID(fmt.Sprintf("@s%d.spoke", i)), RemoteID: testPattern("@hub"), MOBIKE: true,
		Children: []*Child{{LocalTS: testSpec(fmt.Sprintf("10.128.%d.%d/32", i>>8, i&255)), RemoteTS: testSpec("10.1.0.0/16")}},
	}))
	f.call(i)
}

// call lets a peer set up its IKE SA.
func (f *fleet) call(i int) {
	f.spokes[i].Handle(f.now, Initiate{Conn: "c"})
	f.fromSpoke(i, f.spokes[i].Handle(f.now, Resolved{Conn: "c", Path: natt.Path{Local: spokeAddr(i), Remote: hubAddr}}))
}

// fromSpoke carries what a peer sends, and fromHub what the gateway does, and what comes of it.
func (f *fleet) fromSpoke(i int, effects []Effect) {
	for _, x := range slices.Clone(effects) {
		if m, ok := x.(Send); ok {
			f.fromHub(f.hub.Handle(f.now, Datagram{Path: natt.Path{Local: m.Path.Remote, Remote: m.Path.Local, NATT: m.Path.NATT}, Data: slices.Clone(m.Data)}))
		}
	}
}

func (f *fleet) fromHub(effects []Effect) {
	for _, x := range slices.Clone(effects) {
		switch x := x.(type) {
		case Send:
			a := x.Path.Remote.Addr().As4()
			i := int(a[2])<<8 | int(a[3])
			f.fromSpoke(i, f.spokes[i].Handle(f.now, Datagram{Path: natt.Path{Local: x.Path.Remote, Remote: x.Path.Local, NATT: x.Path.NATT}, Data: slices.Clone(x.Data)}))
		case Install:
			if x.Dir == Out {
				f.up++
			}
		case Event:
			if x.Kind == ChildRekeyed {
				f.rekeyed++
			}
			if x.Kind == Failed || x.Kind == ChildFailed || x.Kind == Dropped {
				f.t.Errorf("%v: %s %s", x.Kind, x.Text, x.Remedy)
			}
		}
	}
}

// walked is how many IKE SAs the gateway came past in all walks so far.
func (f *fleet) walked() uint64 {
	n := f.hub.order.walked
	for _, k := range f.hub.keepers {
		n += k.sas.walked
	}
	return n
}

// What happens to one IKE SA costs the same beside few others and beside many.
func TestScaleOfOneStep(t *testing.T) {
	steps := []struct {
		name string
		do   func(f *fleet)
	}{
		{"another peer calls", func(f *fleet) { f.add() }},
		{"a peer calls again, with INITIAL_CONTACT", func(f *fleet) {
			f.spokes[3] = f.endpoint(f.spokes[3].cfg.Connections[0])
			f.call(3)
		}},
		{"a peer rekeys its Child SA", func(f *fleet) { f.fromSpoke(4, f.spokes[4].Handle(f.now, Rekey{Conn: "c", Child: "net"})) }},
		{"a peer rekeys its IKE SA", func(f *fleet) { f.fromSpoke(4, f.spokes[4].Handle(f.now, Rekey{Conn: "c"})) }},
		{"the gateway rekeys a Child SA", func(f *fleet) { f.fromHub(f.hub.Handle(f.now, Expiring{SPI: f.inbound(5)})) }},
		{"the gateway closes a Child SA", func(f *fleet) { f.fromHub(f.hub.Handle(f.now, Expiring{SPI: f.inbound(5), Hard: true})) }},
		{"a peer closes its IKE SA", func(f *fleet) { f.fromSpoke(6, f.spokes[6].Handle(f.now, Terminate{Conn: "c"})) }},
		{"timers fire", func(f *fleet) {
			at, _ := f.hub.Deadline()
			f.now = at
			f.fromHub(f.hub.Handle(at, Tick{}))
		}},
		{"a peer is used", func(f *fleet) { f.fromHub(f.hub.Handle(f.now, Used{SPI: f.inbound(7)})) }},
		{"a peer moves", func(f *fleet) {
			f.fromHub(f.hub.Handle(f.now, Moved{SPI: f.inbound(7), Path: natt.Path{Local: hubAddr, Remote: spokeAddr(7), NATT: true}}))
		}},
	}
	few, many := newFleet(t), newFleet(t)
	for _, c := range []struct {
		*fleet
		n int
	}{{few, 30}, {many, 300}} {
		for range c.n {
			c.add()
		}
		if len(c.hub.children) != c.n || c.up != c.n {
			t.Fatalf("%d of %d peers have a child", c.up, c.n)
		}
	}
	for _, s := range steps {
		cost := func(f *fleet) uint64 {
			before := f.walked()
			s.do(f)
			return f.walked() - before
		}
		if a, b := cost(few), cost(many); b > a+2 {
			t.Errorf("%s: the gateway looks at %d IKE SAs if it has 30, and at %d if it has 300", s.name, a, b)
		}
	}
	for _, c := range []*fleet{few, many} {
		if n := len(c.hub.peers); n != len(c.spokes) {
			t.Errorf("%d pairs of ends for %d peers", n, len(c.spokes))
		}
	}
}

// inbound is the inbound SPI of the gateway's Child SA with a peer.
func (f *fleet) inbound(i int) uint32 {
	id := testID(fmt.Sprintf("@s%d.spoke", i))
	for spi, c := range f.hub.children {
		if c.sa.remoteID == id && c.isUp() {
			return spi
		}
	}
	f.t.Fatalf("peer %d has no child", i)
	return 0
}

// Nothing is left of IKE SAs that are gone.
func TestScaleLeavesNothing(t *testing.T) {
	f := newFleet(t)
	for range 100 {
		f.add()
	}
	for i := range f.spokes {
		f.fromSpoke(i, f.spokes[i].Handle(f.now, Terminate{Conn: "c"}))
	}
	for f.hub.order.len() > 0 {
		at, ok := f.hub.Deadline()
		if !ok {
			break
		}
		f.now = at
		f.fromHub(f.hub.Handle(at, Tick{}))
	}
	k := f.hub.keepers[0]
	kept := 0
	for _, c := range k.children {
		c.isUp()
		kept += len(c.carriers)
	}
	if n := f.hub.order.len() + len(f.hub.order.places) + len(f.hub.peers) + len(f.hub.sas) + len(f.hub.children) + k.sas.len() + kept; n > 0 {
		t.Errorf("%d places are taken still: %d IKE SAs, %d ends, %d children", n, f.hub.order.len(), len(f.hub.peers), len(f.hub.children))
	}
	for c := range f.hub.carried.Overlapping([]ts.Selector{k.conn.Children[0].RemoteTS[0].Sel}) {
		t.Errorf("the traffic of %08x is taken still", c.in)
	}
}

// Connections that are loaded at once do not call at once, and each of them does call.
func TestScaleCallsArePaced(t *testing.T) {
	f := newFleet(t)
	var conns []*Connection
	for i := range 1000 {
		conns = append(conns, &Connection{
			Name: fmt.Sprint("c", i), RemoteHost: "192.0.2.1", LocalID: testID("@us"), RemoteID: testPattern("@hub"), Proposals: testProposal(suite.IKE, testIKE),
			Children: []*Child{{Name: "net", LocalTS: testSpec("10.1.0.0/16"), RemoteTS: testSpec("10.2.0.0/16"), Proposals: testProposal(suite.ESP, testESP), StartAction: Start}},
		})
	}
	e := New(Config{Rand: f.rand, Datapath: f, Secrets: testSecrets(t, "secret"), Connections: conns})
	began, called := f.now, map[string]int{}
	take := func(effects []Effect) (n int) {
		for _, x := range effects {
			if d, ok := x.(Dial); ok {
				called[d.Conn.Name]++
				n++
			}
		}
		return n
	}
	if n := take(e.Handle(f.now, Tick{})); n != callBurst {
		t.Errorf("%d calls at once, want %d", n, callBurst)
	}
	for len(called) < len(conns) {
		at, ok := e.Deadline()
		if !ok {
			break
		}
		take(e.Handle(at, Tick{}))
		if most := callBurst + int(at.Sub(began)/callInterval); len(called) > most {
			t.Fatalf("%d calls after %v, want %d at most", len(called), at.Sub(began), most)
		}
		f.now = at
	}
	if took := f.now.Sub(began); len(called) != len(conns) || took > time.Duration(len(conns))*callInterval {
		t.Errorf("%d of %d connections have called after %v", len(called), len(conns), took)
	}
	for name, n := range called {
		if n != 1 {
			t.Errorf("%s has called %d times", name, n)
		}
	}
}

// Child SAs that came up together are not rekeyed together: rand_time spreads them.
func TestScaleRekeysAreSpread(t *testing.T) {
	const n, slot = 500, 20 * time.Second
	f := newFleet(t)
	for range n {
		f.add()
	}
	born, per := f.now, map[int]int{}
	for f.rekeyed < n {
		at, ok := f.hub.Deadline()
		if !ok || at.After(born.Add(time.Hour+time.Minute)) {
			t.Fatalf("%d of %d Child SAs were rekeyed after %v", f.rekeyed, n, f.now.Sub(born))
		}
		f.now = at
		before := f.rekeyed
		f.fromHub(f.hub.Handle(at, Tick{}))
		per[int(at.Sub(born)/slot)] += f.rekeyed - before
	}
	if first := slices.Min(slices.Collect(maps.Keys(per))); time.Duration(first)*slot < 54*time.Minute-slot {
		t.Errorf("the first is rekeyed after %v", time.Duration(first)*slot)
	}
	// Six minutes are 18 slots.
	if most := slices.Max(slices.Collect(maps.Values(per))); most > 2*n/18 {
		t.Errorf("%d of %d are rekeyed within %v", most, n, slot)
	}
}
