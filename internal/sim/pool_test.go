package sim

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/ident"
	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/pool"
	"github.com/culvert-vpn/culvert/suite"
	"github.com/culvert-vpn/culvert/ts"
)

// virtual is the first address of the pool.
var virtual = netip.MustParseAddr("10.11.0.1")

// withPool lets a have an address of b, which cannot call then.
func withPool(a, b *side) {
	a.vips, a.local = []string{"0.0.0.0"}, "dynamic"
	b.pool, b.far, b.peer = &ike.Pool{Name: "p", First: virtual, Last: netip.MustParseAddr("10.11.0.9")}, "dynamic", ""
}

// wantFirstAddress checks that the one client of a pool has the address that it had at first, whatever happened since.
func (s *scene) wantFirstAddress() {
	s.t.Helper()
	s.wantAddress()
	if leases := s.b.book.Leases(); len(leases) != 1 || leases[0].Addr != virtual {
		s.t.Errorf("lent are %+v, want %v", leases, virtual)
	}
}

// wantAddress checks that the one client of a pool has one address, and that the child is for it.
func (s *scene) wantAddress() {
	s.t.Helper()
	if len(s.b.ranges) == 0 {
		return
	}
	var lent []netip.Addr
	for _, l := range s.b.book.Leases() {
		if l.Online > 0 {
			lent = append(lent, l.Addr)
		}
	}
	got := s.a.assigned[conn].Addrs
	if len(lent) != 1 || !slices.Equal(got, lent) {
		s.t.Fatalf("assigned is %v, lent is %v", got, lent)
	}
	for _, o := range s.a.table.out {
		if want := ts.FromAddr(lent[0]); len(o.Local) != 1 || o.Local[0] != want {
			s.t.Errorf("a child is for %v, want %v", o.Local, want)
		}
	}
}

// wantNothingLent checks that everything was given back.
func (s *scene) wantNothingLent() {
	s.t.Helper()
	for _, l := range s.b.book.Leases() {
		if l.Online != 0 {
			s.t.Errorf("%+v is in use after the end", l)
		}
	}
	if a := s.a.assigned[conn]; !a.IsZero() {
		s.t.Errorf("assigned is still %v", a)
	}
}

// TestAddress walks through the life of a client with an inner address: new keys, both ends rebooting, an outage, the operator.
func TestAddress(t *testing.T) {
	s := newScene(t, 1, withPool)
	s.up()
	check := func(what string) {
		t.Helper()
		s.wantUp()
		s.wantFirstAddress()
		if t.Failed() {
			t.Fatalf("after %s", what)
		}
	}
	check("the start")
	s.a.Rekey(conn, "")
	s.Run(time.Second)
	s.b.Rekey(conn, "")
	s.b.Rekey(conn, child)
	check("new keys")
	s.a.Reboot()
	check("a reboot of the client")
	s.b.Reboot()
	s.Run(time.Minute)
	check("a reboot of the gateway")
	s.a.SetDown(true)
	s.Run(20 * time.Minute)
	if a := s.a.assigned[conn]; a.IsZero() {
		t.Error("in an outage the address is given up, and with it what keeps traffic from leaving in clear")
	}
	s.a.SetDown(false)
	s.Run(2 * time.Minute)
	check("an outage")
	s.a.Terminate(conn, "")
	s.wantDown()
	s.wantNothingLent()
	s.a.Initiate(conn, child)
	s.Run(time.Minute)
	check("down and up")
	s.wantEnd()
	s.wantNothingLent()
}

// TestAddressReauth sets the IKE SA up anew every ten minutes; the address stays.
func TestAddressReauth(t *testing.T) {
	s := newScene(t, 2, func(a, b *side) { withPool(a, b); a.reauth = 10 * time.Minute })
	s.up()
	s.Run(time.Hour)
	if n := s.a.Seen(ike.Established); n < 6 {
		t.Errorf("%d IKE SAs in an hour", n)
	}
	s.wantUp()
	s.wantFirstAddress()
}

// TestFewAddresses has six clients share three addresses over a bad network: no two have the same at a time, and whoever comes when
// there is one gets one.
func TestFewAddresses(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { fewAddresses(t, seed) })
	}
}

func fewAddresses(t *testing.T, seed uint64) {
	w := New(seed)
	_, b := sides()
	b.peer, b.peerID, b.far, b.start = "", "*", "dynamic", ike.None
	b.pool = &ike.Pool{Name: "p", First: virtual, Last: netip.MustParseAddr("10.11.0.3")}
	gateway := w.Host("b", addrB, b.config())
	var clients []*Host
	for i := range 6 {
		a, _ := sides()
		a.id, a.vips, a.local, a.start = fmt.Sprintf("@client-%d", i), []string{"0.0.0.0"}, "dynamic", ike.None
		clients = append(clients, w.Host(a.id, fmt.Sprintf("203.0.113.%d", 10+i), a.config()))
	}
	w.Link = Link{Latency: 10 * time.Millisecond, Jitter: 100 * time.Millisecond, Loss: 0.1, Double: 0.1}
	up := func() (n int) {
		for _, c := range clients {
			n += c.Up(conn, child)
		}
		return n
	}
	for range 60 {
		w.Run(time.Duration(w.Rand().IntN(20_000)) * time.Millisecond)
		c := clients[w.Rand().IntN(len(clients))]
		switch w.Rand().IntN(6) {
		case 0, 1:
			c.Initiate(conn, child)
		case 2:
			c.Terminate(conn, "")
		case 3:
			c.Reboot()
		case 4:
			c.Rekey(conn, "")
		case 5:
			if w.Rand().IntN(5) == 0 {
				gateway.Reboot()
			}
		}
	}
	w.Link = Link{Latency: 10 * time.Millisecond}
	for _, c := range clients {
		c.Terminate(conn, "")
	}
	w.Run(10 * time.Minute)
	for _, c := range clients[:4] {
		c.Initiate(conn, child)
		w.Run(10 * time.Second)
	}
	if n := up(); n != 3 {
		t.Errorf("%d of 4 clients are up with 3 addresses", n)
	}
	if clients[3].Seen(ike.Failed) == 0 {
		t.Error("the fourth is not told why")
	}
	clients[0].Terminate(conn, "")
	w.Run(10 * time.Minute)
	clients[3].Initiate(conn, child)
	w.Run(time.Minute)
	if n := clients[3].Up(conn, child); n != 1 {
		t.Error("the fourth gets no address after the first one left")
	}
	for _, c := range clients {
		c.Shutdown()
	}
	w.Run(10 * time.Minute)
	for _, l := range gateway.book.Leases() {
		if l.Online != 0 {
			t.Errorf("%+v is in use after the end", l)
		}
	}
	if err := w.Err(); err != nil {
		t.Error(err)
	}
}

// TestAddressOfBothFamilies asks for two addresses, and a child carries both.
func TestAddressOfBothFamilies(t *testing.T) {
	w := New(3)
	a, b := sides()
	withPool(&a, &b)
	configA, configB := a.config(), b.config()
	six := &ike.Pool{Name: "six", First: netip.MustParseAddr("2001:db8:11::1"), Last: netip.MustParseAddr("2001:db8:11::ffff:ffff:ffff")}
	connB := configB.Connections[0]
	connB.Pools = append(connB.Pools, six)
	connB.Children[0].LocalTS = append(connB.Children[0].LocalTS, must(ts.ParseSpec("2001:db8:104::/48")))
	configB.Ranges = append(configB.Ranges, pool.Range{Name: "six", First: six.First, Last: six.Last})
	connA := configA.Connections[0]
	connA.VIPs = append(connA.VIPs, netip.IPv6Unspecified())
	connA.Children[0].RemoteTS = append(connA.Children[0].RemoteTS, must(ts.ParseSpec("2001:db8:104::/48")))
	connA.Proposals = proposals(suite.IKE, nil, "aes128gcm16-prfsha256-x25519")
	s := &scene{World: w, t: t, a: w.Host("a", addrA, configA), b: w.Host("b", addrB, configB)}
	t.Cleanup(s.report)
	s.up()
	got := s.a.assigned[conn].Addrs
	if len(got) != 2 || got[0] != virtual || got[1] != six.First {
		t.Errorf("assigned are %v", got)
	}
	for _, o := range s.a.table.out {
		if len(o.Local) != 2 || len(o.Remote) != 2 {
			t.Errorf("the child is for %v === %v", o.Local, o.Remote)
		}
	}
	for _, l := range s.b.book.Leases() {
		if !l.Owner.Equal(must(ident.Parse("@a"))) {
			t.Errorf("%+v", l)
		}
	}
}
