package gateway

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-vpn/culvert/esp"
	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/internal/inet"
	"github.com/culvert-vpn/culvert/natt"
	"github.com/culvert-vpn/culvert/suite"
	"github.com/culvert-vpn/culvert/ts"
	"github.com/culvert-vpn/culvert/tun"
	"github.com/culvert-vpn/culvert/udp"
	"github.com/culvert-vpn/culvert/udp/udptest"
)

// ikeMessage is a header that asks for nothing.
func ikeMessage(spiI, spiR uint64, flags byte) []byte {
	b := make([]byte, 28)
	binary.BigEndian.PutUint64(b, spiI)
	binary.BigEndian.PutUint64(b[8:], spiR)
	b[17], b[18], b[19] = 0x20, 37, flags
	binary.BigEndian.PutUint32(b[24:], 28)
	return b
}

// Strangers fill their own lane only, and what waits is a copy.
func TestMailboxLanes(t *testing.T) {
	var n counters
	m := newMailbox(&n)
	const ours, theirs, initiator = 0x1111, 0x2222, 0x08
	m.spis.add(ours)
	path := natt.Path{}
	for range unknownLane + 10 {
		m.datagram(path, ikeMessage(0x9999, 0, initiator))
		m.datagram(path, []byte("not even a header, but long enough for one"))
	}
	msg := ikeMessage(theirs, ours, initiator) // they have initiated the IKE SA, so the second SPI is ours
	m.datagram(path, msg)
	clear(msg)
	m.datagram(path, ikeMessage(ours, theirs, 0))
	m.datagram(path, ikeMessage(theirs, ours, 0)) // here the first one would have to be ours
	if len(m.unknown) != unknownLane || len(m.known) != 2 {
		t.Fatalf("%d unknown and %d known messages wait", len(m.unknown), len(m.known))
	}
	if got := n.drops[DropUnknownFull].Load(); got != 2*(unknownLane+10)+1-unknownLane {
		t.Errorf("%s = %d", DropUnknownFull, got)
	}
	if d := (<-m.known).in.(ike.Datagram); !bytes.Equal(d.Data, ikeMessage(theirs, ours, initiator)) {
		t.Errorf("what waits has changed: %x", d.Data)
	}
	for m.tell(ike.Used{}) {
	}
	if got := n.drops[DropKnownFull].Load(); len(m.known) != knownLane || got != 1 {
		t.Errorf("%d known messages wait, %s = %d", len(m.known), DropKnownFull, got)
	}
	m.spis.add(ours + uint64(len(m.spis.place)))
	m.spis.remove(ours)
	if m.spis.has(ours) || !m.spis.has(ours+uint64(len(m.spis.place))) {
		t.Error("removing an SPI has removed the one that took its place")
	}
}

// A flood of strangers does not keep a tunnel from being rekeyed.
func TestFloodOfStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, _ := pair(t, confA, confB)
		b.up()
		a.up()
		var path natt.Path
		err := a.g.do(t.Context(), func(c *control) {
			path = natt.Path{Local: netip.AddrPortFrom(addrA, 500), Remote: netip.MustParseAddrPort("198.51.100.1:500")}
			for range 10 * unknownLane {
				c.mail.datagram(path, ikeMessage(1, 2, 0))
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.g.Rekey(t.Context(), "to-a", "net", nil); err != nil {
			t.Error(err)
		}
		if n := a.drops(DropUnknownFull); n != 9*unknownLane {
			t.Errorf("%s = %d", DropUnknownFull, n)
		}
		synctest.Wait() // until the strangers that were let in are heard
		if n := a.g.Status().IKEDrops; len(n) == 0 {
			t.Error("no IKE message was counted as dropped")
		}
		finish(t, b, a)
	})
}

func selectors(texts ...string) (list []ts.Selector) {
	for _, s := range texts {
		list = append(list, ts.FromPrefix(netip.MustParsePrefix(s)))
	}
	return list
}

// The SA of a flow is the one installed last of those that are there; a flow of the configuration stays without.
func TestPoliciesStack(t *testing.T) {
	cfg := parse(t, confB).Connections
	d := &datapath{}
	p := newPolicies(d, cfg)
	child := cfg[0].Children[0]
	local, remote := ts.Resolve(child.LocalTS), ts.Resolve(child.RemoteTS)
	lookup := func(dst string) *outboundSA {
		t.Helper()
		packet := ts.Packet{Src: hostB, Dst: netip.MustParseAddr(dst)}
		f, ok := d.policies.Load().Lookup(&packet)
		if !ok {
			t.Fatalf("%s has no policy", dst)
		}
		return f.current.Load()
	}
	want := func(dst string, sa *outboundSA, when string) {
		t.Helper()
		changed := p.changed
		if p.publish(); changed && when == "rekeyed" {
			t.Error("the table was made anew for a rekeyed SA")
		}
		if lookup(dst) != sa {
			t.Errorf("%s: wrong SA for %s", when, dst)
		}
	}
	p.publish()
	if protect, ok := p.expose(); !ok || len(protect) != 1 || !slices.Equal(protect[0].Remote, []netip.Prefix{netip.MustParsePrefix("10.103.0.0/24")}) {
		t.Errorf("to be protected: %v", protect)
	}
	first, second, narrow, narrower := &outboundSA{}, &outboundSA{}, &outboundSA{}, &outboundSA{}
	want("10.103.0.1", nil, "before")
	p.add(child, local, remote, first)
	want("10.103.0.1", first, "installed")
	p.add(child, local, remote, second)
	want("10.103.0.1", second, "rekeyed")
	p.remove(second)
	want("10.103.0.1", first, "successor gone")
	p.add(child, local, remote, second)
	p.remove(first)
	want("10.103.0.1", second, "predecessor gone")
	p.remove(second)
	want("10.103.0.1", nil, "all gone")
	if p.up(p.children[0]) {
		t.Error("a child without an SA is up")
	}

	p.add(child, local, selectors("10.103.0.0/28"), narrow)
	want("10.103.0.1", narrow, "narrowed")
	want("10.103.0.17", nil, "outside of what was agreed upon")
	p.add(child, local, selectors("10.103.0.0/28", "10.103.0.64/28"), narrower)
	want("10.103.0.1", narrower, "narrowed otherwise")
	want("10.103.0.65", narrower, "narrowed otherwise")
	p.remove(narrower)
	want("10.103.0.1", narrow, "back")
	want("10.103.0.65", nil, "back")
	p.remove(narrow)
	want("10.103.0.1", nil, "all gone")
	if len(p.flows) != 1 || len(p.bySelectors) != 1 || len(p.agreed) > 0 {
		t.Errorf("%d flows are left", len(p.bySelectors))
	}
	p.add(&ike.Child{}, local, remote, first) // no child of ours
	want("10.103.0.1", nil, "foreign child")
}

// What dynamic stands for is protected from the start if only one address is possible.
func TestPoliciesDynamic(t *testing.T) {
	for _, c := range []struct{ local, remote, children, want string }{
		{"%any", "203.0.113.1", "local_ts = 10.104.0.0/24\nremote_ts = dynamic", "[10.104.0.0/24] [203.0.113.1/32]"},
		{"192.0.2.1", "203.0.113.1", "", "[192.0.2.1/32] [203.0.113.1/32]"},
		{"192.0.2.1", "%any", "remote_ts = 0.0.0.0/0", "[192.0.2.1/32] [0.0.0.0/0]"},
		{"192.0.2.1, 192.0.2.2", "203.0.113.1", "", ""},
		{"192.0.2.1", "203.0.113.1, 203.0.113.2", "", ""},
		{"192.0.2.1", "peer.example", "", ""},
		{"192.0.2.0/24", "203.0.113.1", "", ""},
		{"%any", "203.0.113.1", "local_ts = 10.104.0.0/24, dynamic", "[10.104.0.0/24] [203.0.113.1/32]"},
	} {
		conf := replace(confB, "remote_addrs = 203.0.113.1", "local_addrs = "+c.local+"\nremote_addrs = "+c.remote,
			"local_ts = 10.104.0.0/24", c.children, "remote_ts = 10.103.0.0/24", "", "start_action = start", "")
		protect, _ := newPolicies(&datapath{}, parse(t, conf).Connections).expose()
		got := ""
		for _, p := range protect {
			got += fmt.Sprint(p.Local, " ", p.Remote)
		}
		if got != c.want {
			t.Errorf("local_addrs = %s, remote_addrs = %s, %q: protected is %q, want %q", c.local, c.remote, c.children, got, c.want)
		}
	}
}

// Two hosts whose traffic is dynamic on both sides: it is the flow of the configuration that carries it.
func TestDynamic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		outerB := netip.MustParseAddr("192.0.2.77")
		dynamic := func(conf string) string {
			return replace(conf, "local_ts = 10.103.0.0/24", "", "remote_ts = 10.104.0.0/24", "", "local_ts = 10.104.0.0/24", "", "remote_ts = 10.103.0.0/24", "",
				"to-b {", "to-b {\nlocal_addrs = 203.0.113.1\nremote_addrs = 192.0.2.77", "to-a {", "to-a {\nlocal_addrs = 192.0.2.77")
		}
		network := udptest.NewNetwork()
		a := start(t, network, addrA, dynamic(confA))
		synctest.Wait()
		b := start(t, network, outerB, dynamic(confB))
		b.up()
		a.up()
		packet := ping(outerB, addrA, "from host to host")
		b.send(packet)
		a.wants(packet)
		flows := 0
		if err := b.g.do(t.Context(), func(c *control) { flows = len(c.policies.bySelectors) }); err != nil || flows != 1 {
			t.Errorf("%d flows, %v", flows, err)
		}
		finish(t, b, a)
	})
}

// news of an SA reach the control loop although the mailbox was full at first; a new path is told once.
func TestNotices(t *testing.T) {
	m := newMailbox(new(counters))
	for m.tell(ike.Tick{}) {
	}
	var n notice
	if n.due() {
		t.Error("a notice is due before it is raised")
	}
	n.raise()
	n.sent(m.tell(ike.Used{}))
	if !n.due() {
		t.Error("a notice that nobody heard is not repeated")
	}
	<-m.known
	n.sent(m.tell(ike.Used{}))
	n.raise()
	if n.due() {
		t.Error("a notice is repeated")
	}

	sa := new(inboundSA)
	here, there := netip.MustParseAddrPort("192.0.2.1:4500"), netip.MustParseAddrPort("192.0.2.2:4500")
	local := netip.MustParseAddrPort("203.0.113.1:4500")
	sa.path.Store(&natt.Path{Local: local, Remote: here, NATT: true})
	for i, c := range []struct {
		p    natt.Path
		now  time.Duration
		want bool
	}{
		{natt.Path{Local: local, Remote: here, NATT: true}, 1, false},
		{natt.Path{Local: netip.MustParseAddrPort("0.0.0.0:4500"), Remote: here, NATT: true}, 1, false},
		{natt.Path{Local: local, Remote: there, NATT: true}, 1, true},
		{natt.Path{Local: local, Remote: there, NATT: true}, time.Second, false},
		{natt.Path{Local: local, Remote: there, NATT: true}, time.Second + 1, true},
		{natt.Path{Local: netip.MustParseAddrPort("203.0.113.2:4500"), Remote: here, NATT: true}, time.Second + 2, true},
	} {
		if got := sa.elsewhere(c.p) && sa.moved(c.p, int64(c.now)); got != c.want {
			t.Errorf("step %d: %v", i, got)
		}
	}
}

func TestDeviceMTU(t *testing.T) {
	for _, c := range []struct {
		proposals string
		want      int
	}{
		// 1500 less 40 IPv6, 8 UDP, 8 ESP header, 8 IV, 16 ICV, 2 trailer.
		{"esp_proposals = aes256gcm16", 1418},
		// 1500 less 48, 8, 16 IV, 16 ICV leaves 1412: 88 blocks of 16, less the trailer.
		{"esp_proposals = aes128-sha256", 1406},
		{"esp_proposals = aes256gcm16, aes128-sha512", 1390},
	} {
		cfg := parse(t, replace(confB, "start_action = start", c.proposals))
		if got := deviceMTU(cfg.Connections); got != c.want {
			t.Errorf("%s: %d, want %d", c.proposals, got, c.want)
		}
	}
}

func TestKeyLog(t *testing.T) {
	var ikeTable, espTable bytes.Buffer
	l := keyLog{ike: &ikeTable, esp: &espTable}
	gcm := suite.Transform{Type: suite.TypeENCR, ID: suite.ENCR_AES_GCM_16, KeyBits: 256}
	cbc := suite.Transform{Type: suite.TypeENCR, ID: suite.ENCR_AES_CBC, KeyBits: 128}
	sha := suite.Transform{Type: suite.TypeINTEG, ID: suite.AUTH_HMAC_SHA2_256_128}
	k := ike.Keys{SPIi: 0x0102, SPIr: 0xa0b0, SKei: []byte{1}, SKer: []byte{2}, SKai: []byte{3}, SKar: []byte{4}, Encr: cbc, Integ: sha}
	if err := l.ikeSA(k); err != nil || k.SKei[0]|k.SKer[0]|k.SKai[0]|k.SKar[0] != 0 {
		t.Errorf("%v, keys left: %v", err, k)
	}
	path := natt.Path{Remote: netip.MustParseAddrPort("192.0.2.1:4500")}
	for _, in := range []ike.Install{
		{SPI: 0xc0ffee, Encr: gcm, EncKey: []byte{0xab, 0xcd}, Path: path},
		{SPI: 0xc0ffef, Encr: cbc, Integ: sha, EncKey: []byte{1}, IntegKey: []byte{2}, Path: natt.Path{Remote: netip.MustParseAddrPort("[2001:db8::1]:4500")}},
	} {
		if err := l.espSA(in); err != nil {
			t.Error(err)
		}
	}
	wantIKE := `0000000000000102,000000000000a0b0,01,02,"AES-CBC-128 [RFC3602]",03,04,"HMAC_SHA2_256_128 [RFC4868]"` + "\n"
	wantESP := `"IPv4","*","*","0x00c0ffee","AES-GCM with 16 octet ICV [RFC4106]","0xabcd","NULL",""` + "\n" +
		`"IPv6","*","*","0x00c0ffef","AES-CBC [RFC3602]","0x01","HMAC-SHA-256-128 [RFC4868]","0x02"` + "\n"
	if ikeTable.String() != wantIKE {
		t.Errorf("IKE table\n got %s\nwant %s", ikeTable.String(), wantIKE)
	}
	if espTable.String() != wantESP {
		t.Errorf("ESP table\n got %s\nwant %s", espTable.String(), wantESP)
	}
}

// The keys of a tunnel are logged from both ends alike.
func TestKeyLogOfTunnel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logs [4]bytes.Buffer
		box := &nat{public: public}
		net := udptest.NewNetwork()
		net.Hook(box.hook)
		a := start(t, net, addrA, confA, WithKeyLog(&logs[0], &logs[1]))
		synctest.Wait()
		b := start(t, net, addrB, confB, WithKeyLog(&logs[2], &logs[3]))
		b.up()
		finish(t, b, a)
		sorted := func(b *bytes.Buffer) string {
			lines := strings.SplitAfter(b.String(), "\n")
			slices.Sort(lines)
			return strings.Join(lines, "")
		}
		if logs[0].String() == "" || logs[0].String() != logs[2].String() {
			t.Errorf("IKE tables\nA %s\nB %s", logs[0].String(), logs[2].String())
		}
		if logs[1].String() == "" || sorted(&logs[1]) != sorted(&logs[3]) {
			t.Errorf("ESP tables\nA %s\nB %s", logs[1].String(), logs[3].String())
		}
	})
}

// Forwarding a packet costs no allocation in either direction.
func TestForwardingAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for _, mode := range []string{"tunnel", "padded", "transport"} {
		t.Run(mode, func(t *testing.T) { forwardingAllocatesNothing(t, mode) })
	}
}

func forwardingAllocatesNothing(t *testing.T, mode string) {
	enc := make([]byte, 36)
	gcm := suite.Transform{Type: suite.TypeENCR, ID: suite.ENCR_AES_GCM_16, KeyBits: 256}
	cipher, err := suite.NewCipher(gcm, suite.Transform{}, enc, nil)
	if err != nil {
		t.Fatal(err)
	}
	var n counters
	d := &datapath{mail: newMailbox(&n), counters: &n, start: time.Now(), deviceMTU: 1418}
	p := newPolicies(d, parse(t, confB).Connections)
	wire := &wireConn{}
	path := natt.Path{Local: netip.AddrPortFrom(addrB, 4500), Remote: netip.AddrPortFrom(addrA, 4500), NATT: true}
	r := &route{path: path, conn: wire}
	r.room.Store(1472)
	const spi = 0xc0ffee
	out := &outboundSA{pair: spi}
	out.esp.Init(esp.OutboundConfig{SPI: spi, Cipher: cipher})
	switch mode {
	case "padded":
		out.tfc = ike.TFCPathMTU
	case "transport":
		out.bare = ip4Header
	}
	out.route.Store(r)
	child := p.children[0].cfg
	p.add(child, ts.Resolve(child.LocalTS), ts.Resolve(child.RemoteTS), out)
	p.publish()
	in := &inboundSA{
		local: ts.Resolve(child.RemoteTS), remote: ts.Resolve(child.LocalTS),
	}
	in.esp.Init(esp.InboundConfig{SPI: spi, Cipher: cipher, Transport: mode == "transport"})
	if mode == "transport" {
		in.ends = &ends{hostA, hostB, inet.NewReaddressing(public, hostA, hostB, hostA)}
	}
	in.path.Store(&natt.Path{Local: path.Remote, Remote: path.Local, NATT: true})
	d.place(spi).Store(in)

	queue := &nullQueue{}
	sender := newOutboundLoop(d, queue)
	receiver := newInboundLoop(d, wire, true, &writer{queues: []tun.Queue{queue}, counters: &n, merge: true})
	packet := ping(hostB, hostA, string(make([]byte, 1000)))
	segments := ipPacket(hostB, hostA, inet.ProtoTCP, tcp(flagACK, 1, 0, make([]byte, 13000)))
	buf, trains := make([]byte, udp.MaxTrain), [1]udp.Datagrams{}
	forward := func(super tun.Super) func() {
		return func() {
			s := super
			s.Packet = sender.buf[:copy(sender.buf, super.Packet)]
			sender.take(&s)
			sender.forwardAll()
			sender.out.flush()
			train := wire.sent
			train.Buf = buf[:copy(buf, train.Buf)]
			train.Local, train.Remote = train.Remote, train.Local
			trains[0] = train
			receiver.receiveAll(trains[:])
		}
	}
	super := tun.Super{Packet: segments, GSO: tun.GSOTCP4, HdrLen: 40, SegmentSize: 1300, NeedsChecksum: true, ChecksumStart: 20, ChecksumOffset: tcpChecksum}
	binary.BigEndian.PutUint16(segments[20+tcpChecksum:], inet.Fold(inet.AddPseudo(0, hostB, hostA, inet.ProtoTCP, len(segments)-20)))
	for name, f := range map[string]func(){"packet": forward(tun.Super{Packet: packet}), "superpacket": forward(super)} {
		f() // the first packet is news
		before := queue.bytes
		if allocs := testing.AllocsPerRun(100, f); allocs != 0 {
			t.Errorf("forwarding a %s there and back allocates %v times", name, allocs)
		}
		if queue.bytes == before {
			t.Errorf("no %s arrived: %v", name, n.byReason())
		}
	}
	if drops := n.byReason(); len(drops) != 0 {
		t.Errorf("drops: %v", drops)
	}
}

// wireConn keeps the train that was sent last.
type wireConn struct{ sent udp.Datagrams }

func (c *wireConn) Read([]udp.Datagrams) (int, error) { return 0, errors.ErrUnsupported }
func (c *wireConn) Write(d udp.Datagrams) error       { c.sent = d; return nil }
func (c *wireConn) WriteBatch(d []udp.Datagrams) (int, error) {
	c.sent = d[len(d)-1]
	return len(d), nil
}
func (c *wireConn) LocalAddr() netip.AddrPort { return netip.AddrPort{} }
func (c *wireConn) Close() error              { return nil }

// nullQueue counts what is written.
type nullQueue struct{ bytes int }

func (q *nullQueue) Read([]byte) (tun.Super, error)          { return tun.Super{}, errors.ErrUnsupported }
func (q *nullQueue) TryRead([]byte) (tun.Super, bool, error) { return tun.Super{}, false, nil }
func (q *nullQueue) Write(s tun.Super, more [][]byte) error {
	q.bytes += len(s.Packet)
	for _, m := range more {
		q.bytes += len(m)
	}
	return nil
}
func (q *nullQueue) Close() error { return nil }
