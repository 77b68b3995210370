package gateway

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/culvert-vpn/culvert/ts"
)

// Of two connections for the same networks the one that is up carries the traffic, and of two that are up the preferred.
func TestBackupConnection(t *testing.T) {
	second := strings.Replace(confB, "connections {", "connections { spare : connections."+parse(t, confB).Connections[0].Name+" { }", 1)
	cfg := parse(t, second).Connections
	if len(cfg) != 2 {
		t.Fatalf("%d connections", len(cfg))
	}
	d := &datapath{}
	p := newPolicies(d, cfg)
	p.publish()
	local, remote := ts.Resolve(cfg[0].Children[0].LocalTS), ts.Resolve(cfg[0].Children[0].RemoteTS)
	packet := ts.Packet{Src: hostB, Dst: netip.MustParseAddr("10.103.0.1")}
	want := func(sa *outboundSA, when string) {
		t.Helper()
		f, ok := d.policies.Load().Lookup(&packet)
		if !ok || f.carrier() != sa {
			t.Errorf("%s: wrong SA", when)
		}
	}
	preferred, spare := &outboundSA{}, &outboundSA{}
	want(nil, "both down")
	p.add(cfg[1].Children[0], local, remote, spare)
	want(spare, "the second is up")
	p.add(cfg[0].Children[0], local, remote, preferred)
	want(preferred, "both are up")
	p.remove(preferred)
	want(spare, "the first went down")
	p.remove(spare)
	want(nil, "both down again")
}
