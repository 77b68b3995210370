package gateway

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/culvert-vpn/culvert/ike"
)

// shunts adds children without a tunnel to the only connection of a configuration.
func shunts(conf, children string) string {
	return replace(conf, "children {", "children {\n"+children)
}

// What is to be dropped is dropped and counted, although a tunnel covers it; and what is more specific than that is not.
//
// Cases: Ipsec.Conf.2.1.8; FCS_IPSEC_EXT.1.1 T1.
func TestDropShunt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, _ := pair(t, confA, shunts(confB, `
			no-mail {
				local_ts = 10.104.0.0/24
				remote_ts = 10.103.0.0/28
				mode = drop
				start_action = trap
			}`))
		b.up()
		a.up()
		b.send(ping(hostB, hostA, "no"))
		a.wantsNothing()
		outside := ping(hostB, netip.MustParseAddr("10.103.0.77"), "yes")
		b.send(outside)
		a.wants(outside)
		s := b.g.Status()
		if n := b.drops(DropShunt); n != 1 || len(s.Shunts) != 1 || s.Shunts[0].Dropped != 1 || s.Shunts[0].Mode != "drop" || s.Shunts[0].Name != "no-mail" {
			t.Errorf("%s = %d, %+v", DropShunt, n, s.Shunts)
		}
		if _, asked := b.saw(ike.ChildFailed); asked {
			t.Error("a child was asked for")
		}
		finish(t, b, a)
	})
}

// What may pass and comes to the device all the same is not sent through the tunnel: it would arrive where it does not belong.
//
// Cases: Ipsec.Conf.2.1.7; FCS_IPSEC_EXT.1.2.
func TestPassShunt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, _ := pair(t, confA, shunts(confB, `
			near {
				local_ts = 10.104.0.0/24
				remote_ts = 10.103.0.0/28
				mode = pass
				start_action = trap
			}`))
		b.up()
		a.up()
		b.send(ping(hostB, hostA, "no"))
		a.wantsNothing()
		if n := b.drops(DropPass); n != 1 {
			t.Errorf("%s = %d", DropPass, n)
		}
		finish(t, b, a)
	})
}

// The host is told what passes in the order in which the table decides: the most specific selectors first, then the priority.
func TestPassOrder(t *testing.T) {
	conf := parse(t, shunts(confB, `
		wide {
			local_ts = 10.0.0.0/8
			remote_ts = 10.0.0.0/8
			mode = pass
			start_action = trap
		}
		narrow {
			local_ts = 10.104.0.0/24
			remote_ts = 10.103.0.7[tcp/22]
			mode = pass
			start_action = trap
		}
		same {
			local_ts = 10.104.0.0/24
			remote_ts = 10.103.0.0/24
			mode = drop
			start_action = trap
			priority = 1
		}`))
	p := newPolicies(&datapath{}, conf.Connections, conf.Shunts...)
	list, _ := p.expose()
	var got []string
	for _, policy := range list {
		got = append(got, fmt.Sprintf("%v %v %d %v %v", policy.Local, policy.Remote, policy.Protocol, policy.RemotePorts, policy.Pass))
	}
	want := []string{
		"[10.104.0.0/24] [10.103.0.7/32] 6 {22 22} true",
		"[10.104.0.0/24] [10.103.0.0/24] 0 {0 0} false", // dropped, because of its priority
		"[10.104.0.0/24] [10.103.0.0/24] 0 {0 0} false", // the tunnel
		"[10.0.0.0/8] [10.0.0.0/8] 0 {0 0} true",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	// Of this, the advice for the user is about what is protected.
	if advice := Policies(&conf); len(advice) != 2 {
		t.Errorf("%v", advice)
	}
	// Without anything that passes, nothing is told twice.
	conf.Shunts = conf.Shunts[2:]
	if list, _ := newPolicies(&datapath{}, conf.Connections, conf.Shunts...).expose(); len(list) != 2 {
		t.Errorf("%v", list)
	}
}
