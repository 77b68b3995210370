package gateway

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/natt"
	"github.com/culvert-vpn/culvert/ts"
)

// network is the i-th of the networks that peers have.
func network(i int) []ts.Selector {
	return []ts.Selector{ts.FromPrefix(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 128, byte(i >> 8), byte(i)}), 32))}
}

// A flow more or less costs the same beside few others and beside many, and the host, which protects all of the policy, is not told
// of each peer.
func TestPoliciesOfMany(t *testing.T) {
	conns := parse(t, replace(confA, "remote_ts = 10.104.0.0/24", "remote_ts = 10.128.0.0/9")).Connections
	child, local := conns[0].Children[0], selectors("10.103.0.0/24")
	d := &datapath{}
	p := newPolicies(d, conns)
	if list, ok := p.expose(); !ok || len(list) != 1 {
		t.Fatalf("to be protected: %v", list)
	}
	cost := func(n int) float64 {
		for i := len(p.agreed); i < n; i++ {
			p.add(child, local, network(i), &outboundSA{})
			p.publish()
		}
		return testing.AllocsPerRun(20, func() {
			sa := &outboundSA{}
			p.add(child, local, network(40000), sa)
			p.publish()
			p.remove(sa)
			p.publish()
		})
	}
	few, many := cost(100), cost(3000)
	if many > few+20 && !raceEnabled {
		t.Errorf("a flow more and less allocates %v times beside 100 others, and %v times beside 3000", few, many)
	}
	if list, ok := p.expose(); ok {
		t.Errorf("the host is told again: %d policies", len(list))
	}
	for _, i := range []int{0, 7, 255, 256, 2999} {
		packet := ts.Packet{Src: netip.MustParseAddr("10.103.0.9"), Dst: network(i)[0].Start}
		if f, ok := d.policies.Load().Lookup(&packet); !ok || f.current.Load() == nil || f.remote[0] != network(i)[0] {
			t.Errorf("the packets of peer %d go elsewhere", i)
		}
	}
}

// Who was answered is finished before another one is begun, and who is known comes before both.
func TestMailboxBegun(t *testing.T) {
	m := newMailbox(new(counters))
	const theirs, ours, initiator, response = 0x2222, 0x1111, 0x08, 0x20
	answer := ikeMessage(theirs, ours, response)
	answer[18] = 34 // IKE_SA_INIT
	m.answer(answer)
	m.answer(ikeMessage(theirs, 0x3333, response)) // of another exchange
	m.datagram(natt.Path{}, ikeMessage(0x9999, 0, initiator))
	m.datagram(natt.Path{}, ikeMessage(theirs, 0x3333, initiator))
	m.datagram(natt.Path{}, ikeMessage(theirs, ours, initiator))
	m.tell(ike.Used{})
	for _, want := range []struct{ known, begun, unknown int }{{1, 1, 2}, {0, 1, 2}, {0, 0, 2}} {
		if len(m.known) != want.known || len(m.begun) != want.begun || len(m.unknown) != want.unknown {
			t.Fatalf("%d, %d and %d wait, want %v", len(m.known), len(m.begun), len(m.unknown), want)
		}
		known, begun, unknown := m.next()
		switch {
		case want.known > 0 && (begun != nil || unknown != nil), want.begun > 0 && unknown != nil:
			t.Error("somebody overtakes")
		case want.known > 0:
			<-known
		case want.begun > 0:
			if d := (<-begun).in.(ike.Datagram); binary.BigEndian.Uint64(d.Data[8:]) != ours {
				t.Error("another message is in the lane")
			}
		case unknown == nil:
			t.Error("strangers are never heard")
		}
	}
}
