package gateway

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-vpn/culvert/config"
	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/internal/inet"
	"github.com/culvert-vpn/culvert/offload"
	"github.com/culvert-vpn/culvert/tun"
	"github.com/culvert-vpn/culvert/tun/tuntest"
	"github.com/culvert-vpn/culvert/udp"
	"github.com/culvert-vpn/culvert/udp/udptest"
)

// The reference case: A has a public address, B is behind a 1:1 NAT and is known by a name only.
const (
	confA = `
connections {
  to-b {
    local {
      auth = psk
      id = 203.0.113.1
    }
    remote {
      auth = psk
      id = @foo
    }
    children {
      net {
        local_ts = 10.103.0.0/24
        remote_ts = 10.104.0.0/24
      }
    }
  }
}
secrets {
  ike-b {
    id-1 = @foo
    secret = "qwerty"
  }
}
`
	confB = `
connections {
  to-a {
    remote_addrs = 203.0.113.1
    local {
      auth = psk
      id = @foo
    }
    remote {
      auth = psk
      id = 203.0.113.1
    }
    children {
      net {
        local_ts = 10.104.0.0/24
        remote_ts = 10.103.0.0/24
        start_action = start
      }
    }
  }
}
secrets {
  ike-a {
    id-1 = @foo
    secret = "qwerty"
  }
}
`
)

var (
	addrA  = netip.MustParseAddr("203.0.113.1")
	addrB  = netip.MustParseAddr("172.16.0.1")
	public = netip.MustParseAddr("192.0.2.10") // of B
	hostA  = netip.MustParseAddr("10.103.0.7") // behind A
	hostB  = netip.MustParseAddr("10.104.0.9") // behind B
)

// nat is the box in front of B: it gives B's sockets a public address, and ports that lie shift above their own.
type nat struct {
	mu     sync.Mutex
	public netip.Addr
	shift  uint16
	seen   [][]byte // payloads that crossed it
}

func (n *nat) hook(p *udptest.Packet) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.seen = append(n.seen, slices.Clone(p.Data))
	if p.From.Addr() == addrB {
		p.From = netip.AddrPortFrom(n.public, p.From.Port()+n.shift)
	}
	if p.To.Addr() == n.public {
		p.To = netip.AddrPortFrom(addrB, p.To.Port()-n.shift)
	} else if p.To.Addr() == addrB {
		return false // nobody outside knows it
	}
	return true
}

// move gives B another public address and other ports, as after a reboot of the box.
func (n *nat) move(to netip.Addr, shift uint16) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.public, n.shift = to, shift
}

// crossed tells whether something that holds b crossed the box.
func (n *nat) crossed(b []byte) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.ContainsFunc(n.seen, func(seen []byte) bool { return bytes.Contains(seen, b) })
}

// site is a gateway of a test, with the host behind its TUN device.
type site struct {
	t     *testing.T
	g     *Gateway
	queue *tuntest.Queue
	stop  context.CancelFunc
	// stopFor ends it for a reason.
	stopFor context.CancelCauseFunc
	done    chan error

	mu     sync.Mutex
	events []ike.Event

	discreet discreet
}

// start runs a gateway with one address on a network.
func start(t *testing.T, net *udptest.Network, addr netip.Addr, conf string, opts ...Option) *site {
	t.Helper()
	s := &site{t: t, queue: tuntest.NewQueue(), done: make(chan error, 1)}
	host := net.Host(addr)
	listen := func(port uint16) udp.Conn {
		c, err := host.Listen(netip.AddrPortFrom(addr, port))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	opts = append([]Option{
		WithTUN(s.queue), WithDevice("tun-test", 1),
		WithConns(Conns{IKE: []udp.Conn{listen(500)}, NATT: []udp.Conn{listen(4500)}}),
		withTestClock(nil), WithoutOffload(switchedOff(t)),
		WithEvents(func(ev ike.Event) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.events = append(s.events, ev)
			s.discreet.event(ev)
		}),
	}, opts...)
	var err error
	if s.g, err = New(parse(t, conf), opts...); err != nil {
		t.Fatal(err)
	}
	s.discreet = newDiscreet(t, conf, s.g)
	ctx, stop := context.WithCancelCause(context.Background())
	s.stopFor, s.stop = stop, func() { stop(nil) } // which the test keeps to its end, without the site
	go func() { s.done <- s.g.Run(ctx) }()
	t.Cleanup(s.stop)
	return s
}

// switchedOff are the fast paths that the environment has every test do without.
func switchedOff(t *testing.T) offload.Set {
	t.Helper()
	off, err := offload.Parse(os.Getenv("CULVERT_TEST_NO_OFFLOAD"))
	if err != nil {
		t.Fatal(err)
	}
	return off
}

// withTestClock has the gateway live by the time of the test, and by how long the host slept, if that is given.
func withTestClock(slept *atomic.Int64) Option {
	began := time.Now()
	return func(o *options) {
		o.uptime = func() time.Duration {
			up := time.Since(began)
			if slept != nil {
				up += time.Duration(slept.Load())
			}
			return up
		}
	}
}

func parse(t *testing.T, conf string) config.Config {
	t.Helper()
	cfg, _, err := config.Parse("test.conf", []byte(conf), config.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return *cfg
}

// end stops the gateway and returns what Run did.
func (s *site) end() error {
	s.discreet.status(s.g.Status())
	s.stop()
	return <-s.done
}

// send has the host behind the gateway send a packet.
func (s *site) send(packet []byte) {
	s.t.Helper()
	if err := s.queue.Send(tun.Super{Packet: packet}); err != nil {
		s.t.Fatal(err)
	}
}

// received are the packets that the host behind the gateway got so far, which it will not be told again.
func (s *site) received() (packets [][]byte) {
	synctest.Wait()
	for {
		select {
		case p := <-s.queue.Received():
			packets = append(packets, p)
		default:
			return packets
		}
	}
}

// wants checks that the host behind the gateway got this packet and nothing else.
func (s *site) wants(packet []byte) {
	s.t.Helper()
	got := s.received()
	if len(got) != 1 || !bytes.Equal(got[0], packet) {
		s.t.Fatalf("received %d packets %x\nwant %x", len(got), got, packet)
	}
}

// wantsNothing checks that the host behind the gateway got no packet.
func (s *site) wantsNothing() {
	s.t.Helper()
	if got := s.received(); len(got) > 0 {
		s.t.Fatalf("received %d packets %x, want none", len(got), got)
	}
}

// saw returns the first event of a kind.
func (s *site) saw(kind ike.EventKind) (ike.Event, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ev := range s.events {
		if ev.Kind == kind {
			return ev, true
		}
	}
	return ike.Event{}, false
}

// drops is the counter of a reason.
func (s *site) drops(d Drop) uint64 { return s.g.counters.drops[d].Load() }

// up waits until the site's only child is up.
func (s *site) up() {
	s.t.Helper()
	for range 20 {
		synctest.Wait()
		if s.g.Status().Connections[0].Children[0].Up {
			return
		}
		time.Sleep(time.Second)
	}
	s.t.Fatalf("the child is not up: %+v\n%+v", s.g.Status(), s.events)
}

// pair runs both ends of the reference case.
func pair(t *testing.T, confA, confB string) (a, b *site, box *nat) {
	t.Helper()
	box = &nat{public: public}
	net := udptest.NewNetwork()
	net.Hook(box.hook)
	a = start(t, net, addrA, confA)
	synctest.Wait()
	b = start(t, net, addrB, confB)
	return a, b, box
}

// finish ends gateways and checks that they end well.
func finish(t *testing.T, sites ...*site) {
	t.Helper()
	for _, s := range sites {
		if err := s.end(); err != nil {
			t.Errorf("Run: %v", err)
		}
	}
}

// ping is a UDP packet from one host to another.
func ping(from, to netip.Addr, text string) []byte {
	payload := append(make([]byte, 8, 8+len(text)), text...)
	binary.BigEndian.PutUint16(payload, 5000)
	binary.BigEndian.PutUint16(payload[2:], 7)
	binary.BigEndian.PutUint16(payload[4:], uint16(len(payload)))
	return ipPacket(from, to, inet.ProtoUDP, payload)
}

// ipPacket is an IP packet with DF. The checksum of TCP and UDP over IPv4 is filled in.
func ipPacket(from, to netip.Addr, protocol byte, payload []byte) []byte {
	var h []byte
	if from.Is4() {
		h = []byte{0x45, 0, 0, 0, 0, 1, 0x40, 0, 63, protocol, 0, 0}
		h = append(append(h, from.AsSlice()...), to.AsSlice()...)
		binary.BigEndian.PutUint16(h[2:], uint16(len(h)+len(payload)))
		binary.BigEndian.PutUint16(h[10:], inet.Checksum(h))
	} else {
		h = []byte{0x60, 0, 0, 0, 0, 0, protocol, 63}
		h = append(append(h, from.AsSlice()...), to.AsSlice()...)
		binary.BigEndian.PutUint16(h[4:], uint16(len(payload)))
	}
	if at := map[byte]int{inet.ProtoTCP: 16, inet.ProtoUDP: 6}[protocol]; at != 0 {
		payload[at], payload[at+1] = 0, 0
		sum := inet.Add(inet.AddPseudo(0, from, to, protocol, len(payload)), payload)
		binary.BigEndian.PutUint16(payload[at:], ^inet.Fold(sum))
	}
	return append(h, payload...)
}

// tcp is a TCP segment with an MSS option if mss is not 0.
func tcp(flags byte, seq uint32, mss uint16, data []byte) []byte {
	h := make([]byte, 20)
	binary.BigEndian.PutUint16(h, 40000)
	binary.BigEndian.PutUint16(h[2:], 80)
	binary.BigEndian.PutUint32(h[4:], seq)
	h[13] = flags
	binary.BigEndian.PutUint16(h[14:], 0xffff)
	if mss != 0 {
		h = append(h, 2, 4, byte(mss>>8), byte(mss))
	}
	h[12] = byte(len(h)/4) << 4
	return append(h, data...)
}

// replace changes a configuration.
func replace(conf string, oldnew ...string) string {
	changed := strings.NewReplacer(oldnew...).Replace(conf)
	if changed == conf {
		panic(fmt.Sprint("nothing to replace: ", oldnew))
	}
	return changed
}
