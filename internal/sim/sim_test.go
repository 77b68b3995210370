package sim

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"
	"weak"

	"github.com/culvert-vpn/culvert/ident"
	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/pool"
	"github.com/culvert-vpn/culvert/suite"
	"github.com/culvert-vpn/culvert/ts"
)

// TestMain collects garbage less often than usual: there is a lot of it, and little else.
func TestMain(m *testing.M) {
	debug.SetGCPercent(400)
	os.Exit(m.Run())
}

// The reference case: a has a public address, b is at another; their networks are 10.103.0.0/24 and 10.104.0.0/24.
const (
	addrA, addrB = "203.0.113.1", "192.0.2.10"
	netA, netB   = "10.103.0.0/24", "10.104.0.0/24"
	conn, child  = "site", "net"
	other        = "next"
)

// privateB is the address of b behind a NAT box.
var privateB = netip.MustParseAddr("172.16.0.1")

// side describes one gateway of a test; zero fields mean the usual.
type side struct {
	id, peerID  string
	peer        string // whom to call
	local, far  string
	ike, esp    []string
	secret      string
	start       ike.Action
	closeAction ike.Action
	dpd         time.Duration // -1: never
	unique      ike.Unique
	reauth      time.Duration
	breakFirst  bool
	rekey       time.Duration // of the IKE SA
	soft        ike.Lifetime
	hard        ike.Lifetime
	retransmit  ike.Retransmit
	// large adds many proposals and selectors for the child, that take several packets in requests and answers.
	large         bool
	fragmentation ike.Fragmentation
	childless     ike.Childless
	// second: there is another child, between networks next to these.
	second bool
	// more is the number of further children.
	more int
	// noTokens: a restart is not told of by tokens.
	noTokens bool
	// window is how many requests at once may be unanswered; 0 is the default.
	window int
	mobike bool
	// transport: the child is for the traffic of the two ends, in transport mode.
	transport  bool
	inactivity time.Duration
	// halves: there are two children, for a half of the local network each.
	halves bool
	// vips are asked for, and the pool is lent from; `dynamic` stands for these addresses.
	vips []string
	pool *ike.Pool
}

func orElse(text, fallback string) string {
	if text != "" {
		return text
	}
	return fallback
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func proposals(p suite.Protocol, texts []string, fallback string) []suite.Proposal {
	if texts == nil {
		texts = []string{fallback}
	}
	var list []suite.Proposal
	for _, text := range texts {
		list = append(list, must(suite.ParseProposal(p, text)))
	}
	return list
}

// config is a side as the configuration of a host. Nothing is rekeyed by time unless a test says so.
func (s side) config() Config {
	dpd := s.dpd
	if dpd == 0 {
		dpd = 30 * time.Second
	}
	locals, fars, esp := []ts.Spec{must(ts.ParseSpec(s.local))}, []ts.Spec{must(ts.ParseSpec(s.far))}, s.esp
	if s.large {
		locals, fars, esp = append(locals, beside(s.id)...), append(fars, beside(s.peerID)...), manyProposals()
	}
	c := Config{
		Secret: orElse(s.secret, "qwerty"), Retransmit: s.retransmit,
		Connections: []*ike.Connection{{
			Name: conn, RemoteHost: s.peer, LocalPort: 500, RemotePort: 500,
			LocalID: must(ident.Parse(s.id)), RemoteID: must(ident.ParsePattern(s.peerID)),
			Proposals: proposals(suite.IKE, s.ike, "aes128gcm16-prfsha256-x25519"),
			DPDDelay:  max(dpd, 0), Unique: s.unique, ReauthTime: s.reauth, BreakBeforeMake: s.breakFirst, OverTime: time.Hour, Fragmentation: s.fragmentation, Childless: s.childless, Window: s.window, MOBIKE: s.mobike, CrashDetection: !s.noTokens,
			Children: []*ike.Child{{
				Name: child, LocalTS: locals, RemoteTS: fars,
				Proposals: proposals(suite.ESP, esp, "aes128gcm16-x25519"), StartAction: s.start, CloseAction: s.closeAction,
				Rekey: s.soft, Life: s.hard,
			}},
		}},
	}
	only := c.Connections[0].Children[0]
	only.Inactivity = s.inactivity
	if s.transport {
		only.Mode = ike.Transport
		only.LocalTS = []ts.Spec{must(ts.ParseSpec("dynamic"))}
		only.RemoteTS = only.LocalTS
	}
	for _, a := range s.vips {
		c.Connections[0].VIPs = append(c.Connections[0].VIPs, netip.MustParseAddr(a))
	}
	if p := s.pool; p != nil {
		c.Connections[0].Pools = []*ike.Pool{p}
		c.Ranges = []pool.Range{{Name: p.Name, First: p.First, Last: p.Last}}
	}
	if s.halves {
		other := *only
		other.Name = otherHalf
		only.LocalTS, other.LocalTS = halves(only.LocalTS[0])
		c.Connections[0].Children = append(c.Connections[0].Children, &other)
	}
	c.Connections[0].RekeyTime = s.rekey
	if s.second {
		first := c.Connections[0].Children[0]
		another := *first
		another.Name = other
		another.LocalTS, another.RemoteTS = nextTo(first.LocalTS), nextTo(first.RemoteTS)
		c.Connections[0].Children = append(c.Connections[0].Children, &another)
	}
	for n := range s.more {
		first := c.Connections[0].Children[0]
		another := *first
		another.Name = moreName(n)
		another.LocalTS, another.RemoteTS = further(s.local, n), further(s.far, n)
		c.Connections[0].Children = append(c.Connections[0].Children, &another)
	}
	return c
}

// moreName is the name of one of the further children.
func moreName(n int) string { return fmt.Sprint("more-", n) }

// further is 10.103.1.0/24 and so on for 10.103.0.0/24.
func further(text string, n int) []ts.Spec {
	return []ts.Spec{must(ts.ParseSpec(strings.Replace(text, ".0.0/24", fmt.Sprintf(".%d.0/24", 2*n+1), 1)))}
}

// otherHalf is the second child of a side with halves.
const otherHalf = "half"

// halves are the two halves of a /24.
func halves(net ts.Spec) (first, second []ts.Spec) {
	base := strings.TrimSuffix(net.String(), "0/24")
	return []ts.Spec{must(ts.ParseSpec(base + "0/25"))}, []ts.Spec{must(ts.ParseSpec(base + "128/25"))}
}

// nextTo is 10.203.0.0/24 for 10.103.0.0/24, and so on.
func nextTo(list []ts.Spec) []ts.Spec {
	return []ts.Spec{must(ts.ParseSpec(strings.Replace(list[0].String(), "10.1", "10.2", 1)))}
}

// beside are further networks of the host with an identity: 60 of them, of which no two are neighbours.
func beside(id string) []ts.Spec {
	var list []ts.Spec
	for n := range 60 {
		list = append(list, must(ts.ParseSpec(fmt.Sprintf("10.%d.%d.0/24", 100+int(id[1]), 2*n))))
	}
	return list
}

// manyProposals are as many as a message can hold, all of them possible.
func manyProposals() []string {
	var list []string
	for n := range 30 {
		list = append(list, []string{"aes128gcm16-aes192gcm16-x25519-ecp256", "chacha20poly1305-aes256gcm16-x25519-ecp384", "aes256-aes128-sha256-sha512-x25519-ecp521"}[n%3])
	}
	return list
}

// sides are the reference case: a calls and keeps the child up, b waits.
func sides() (a, b side) {
	a = side{id: "@a", peerID: "@b", peer: addrB, local: netA, far: netB, start: ike.Start}
	b = side{id: "@b", peerID: "@a", peer: addrA, local: netB, far: netA}
	return a, b
}

// scene is a world with two gateways.
type scene struct {
	*World
	t    *testing.T
	a, b *Host
	// sides are what a and b were configured with in the beginning.
	sides [2]side
	homes [2]home
}

// home is where a host was in the beginning.
type home struct {
	addr netip.Addr
	nat  *NAT
}

// newScene builds the reference case; change may alter the sides.
func newScene(t *testing.T, seed uint64, change func(a, b *side)) *scene {
	t.Helper()
	a, b := sides()
	if change != nil {
		change(&a, &b)
	}
	w := New(seed)
	s := &scene{World: w, t: t, sides: [2]side{a, b}}
	s.a, s.b = w.Host("a", addrA, a.config()), w.Host("b", addrB, b.config())
	t.Cleanup(s.report)
	return s
}

// report fails the test if something was found, and leaves a picture of the run.
func (s *scene) report() {
	if err := s.Err(); err != nil {
		s.t.Errorf("%v", err)
	}
	if _, drawn := pictures.LoadOrStore(weak.Make(s.t), true); s.t.Failed() && !drawn {
		s.draw()
	}
}

// pictures are the tests whose last scene was looked at: of several in one test the last one is the one that failed. A test leads to
// its scenes, so thousands of them would not fit into memory if they were held here.
var pictures sync.Map

func (s *scene) draw() {
	dir := s.t.ArtifactDir()
	for name, write := range map[string]func(*os.File) error{
		"ladder.txt": func(f *os.File) error { return s.Ladder(f) },
		"ike.pcap":   func(f *os.File) error { return s.Pcap(f) },
	} {
		f, err := os.Create(filepath.Join(dir, name))
		if err == nil {
			err = write(f)
			f.Close()
		}
		if err != nil {
			s.t.Logf("no %s: %v", name, err)
		}
	}
	s.t.Logf("see ladder.txt and ike.pcap in %s (run with -artifacts to keep them)", dir)
}

// up lets the two establish.
func (s *scene) up() {
	s.t.Helper()
	if !s.RunUntil(time.Minute, func() bool { return s.a.Up(conn, child) == 1 && s.b.Up(conn, child) == 1 }) {
		s.t.Fatal("the child does not come up")
	}
	s.Run(10 * time.Second)
}

// quiet waits until nothing is under way, which takes a while after the last rekeying, and checks what must hold then.
func (s *scene) quiet() {
	s.t.Helper()
	s.Run(4 * time.Minute)
	s.RunUntil(time.Minute, s.Quiet)
	s.CheckQuiet()
}

// wantUp lets everything settle and checks that the child is up at both ends, once.
func (s *scene) wantUp() {
	s.t.Helper()
	s.quiet()
	for _, h := range []*Host{s.a, s.b} {
		if n := h.Up(conn, child); n != 1 {
			s.t.Errorf("%s has %d Child SAs, want 1", h.Name, n)
		}
	}
}

// wantDown is the same for a child that is to be down.
func (s *scene) wantDown() {
	s.t.Helper()
	s.quiet()
	for _, h := range []*Host{s.a, s.b} {
		if n := h.Up(conn, child); n != 0 {
			s.t.Errorf("%s has %d Child SAs, want none", h.Name, n)
		}
	}
}

// wantEnd shuts both down and checks that nothing is left.
func (s *scene) wantEnd() {
	s.t.Helper()
	s.a.Shutdown()
	s.b.Shutdown()
	s.Run(10 * time.Minute)
	s.CheckGone()
}

// wantNoLoss stops the traffic and checks that every packet arrived.
func (s *scene) wantNoLoss(flows []*Flow) {
	s.t.Helper()
	s.StopTraffic()
	s.Run(10 * time.Second)
	for _, f := range flows {
		if f.Sent == 0 || f.Unsent > 0 || f.Arrived != f.Sent {
			s.t.Errorf("%s sent %d packets, %d arrived, %d had no Child SA", f.From.Name, f.Sent, f.Arrived, f.Unsent)
		}
	}
}
