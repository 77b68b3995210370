//go:build linux

package e2e

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TestMain lets more scenarios run side by side than there are processors: most of their time they wait.
func TestMain(m *testing.M) {
	flag.Parse()
	asked := false
	flag.Visit(func(f *flag.Flag) { asked = asked || f.Name == "test.parallel" })
	if !asked {
		if err := flag.Set("test.parallel", "32"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// match is who plays which part in the reference case, where B calls A.
type match struct {
	name string
	a, b daemon
	// whether one of them is strongSwan
	strongA, strongB bool
}

// matches have Culvert in both roles.
var matches = []match{
	{"Culvert calls strongSwan", strongSwan, culvert, true, false},
	{"strongSwan calls Culvert", culvert, strongSwan, false, true},
	{"Culvert calls Culvert", culvert, culvert, false, false},
}

// start starts both peers, lets B call, and waits until they agree.
func (m match) start(t *testing.T, ref *Reference, confA, confB string) (a, b Peer) {
	t.Helper()
	a, b = m.a(ref.A.Host, confA), m.b(ref.B.Host, confB)
	Must(t, a.Start(), b.Start(), b.Initiate("net"))
	settled(t, a, b, soon, nil)
	return a, b
}

// with adds settings to the connection and to the child of a configuration of the reference case.
func with(conf, connection, child string) string {
	conf = strings.Replace(conf, "version = 2\n", "version = 2\n"+connection+"\n", 1)
	return strings.Replace(conf, "net {\n", "net {\n"+child+"\n", 1)
}

// How long to wait for what must come. Only a broken test run waits that long.
const (
	soon = 60 * time.Second
	// deadAfter is how long it takes at most until an unanswered request shows that the peer is dead (RFC 7296 2.1 leaves
	// it to us: 165 s), with a probe after a few seconds of silence and the way back.
	deadAfter = 240 * time.Second
)

// eventually asks until ok, or until patience is over, and returns the last answer.
func eventually(patience time.Duration, ok func() bool) bool {
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		if ok() {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
	}
}

// settled waits until the peers agree on one IKE SA that is established and one Child SA that carries traffic, for which
// wanted holds, and returns the IKE SA as A sees it. Predecessors that are on their way out may still be there.
func settled(t *testing.T, a, b Peer, patience time.Duration, wanted func(SA) bool) SA {
	t.Helper()
	var sasA, sasB []SA
	var found SA
	ok := eventually(patience, func() bool {
		var errA, errB error
		sasA, errA = a.SAs()
		sasB, errB = b.SAs()
		if errA != nil || errB != nil {
			return false // one of them is not running
		}
		var agreed bool
		found, agreed = agreement(sasA, sasB)
		return agreed && (wanted == nil || wanted(found))
	})
	if !ok {
		t.Fatalf("the peers never came to be as wanted:\n%+v\n%+v\n%s", sasA, sasB, tails(a, b))
	}
	return found
}

// agreement is the one IKE SA that both peers have, with the one Child SA in it.
func agreement(sasA, sasB []SA) (SA, bool) {
	ikeA, ikeB := Established(sasA, "site"), Established(sasB, "site")
	childA, childB := Installed(ikeA, "net"), Installed(ikeB, "net")
	if len(ikeA) != 1 || len(ikeB) != 1 || len(childA) != 1 || len(childB) != 1 {
		return SA{}, false
	}
	found := ikeA[0]
	found.Children = childA
	return found, found.SPIi == ikeB[0].SPIi && found.SPIr == ikeB[0].SPIr &&
		childA[0].SPIIn == childB[0].SPIOut && childA[0].SPIOut == childB[0].SPIIn
}

// alone waits until nothing is left at either peer but what they agree on.
func alone(t *testing.T, a, b Peer) {
	t.Helper()
	aloneWithin(t, soon, a, b)
}

func aloneWithin(t *testing.T, patience time.Duration, a, b Peer) {
	t.Helper()
	var sasA, sasB []SA
	var errA, errB error
	single := func(sas []SA) bool { return len(sas) == 1 && len(sas[0].Children) == 1 }
	ok := eventually(patience, func() bool {
		sasA, errA = a.SAs()
		sasB, errB = b.SAs()
		_, agreed := agreement(sasA, sasB)
		return errA == nil && errB == nil && agreed && single(sasA) && single(sasB)
	})
	if !ok {
		t.Errorf("something else is left, or nothing:\n%+v (%v)\n%+v (%v)\n%s", sasA, errA, sasB, errB, tails(a, b))
	}
}

// flows waits until an echo comes back through the tunnel.
func flows(t *testing.T, from, to *Host, patience time.Duration) {
	t.Helper()
	var last PingResult
	ok := eventually(patience, func() bool {
		var err error
		last, err = from.Ping(to.Addr(), Ping{Count: 3, Patience: 500 * time.Millisecond})
		Must(t, err)
		return last.Lost() == 0
	})
	if !ok {
		t.Fatalf("nothing gets through from %s to %s for %v: %v", from.Name, to.Name, patience, last)
	}
}

// answers waits until so many more echo requests were answered.
func answers(t *testing.T, p *Pinger, more int) {
	t.Helper()
	before := p.Result().Received
	if !eventually(soon, func() bool { return p.Result().Received >= before+more }) {
		t.Errorf("of %v only %d more were answered in %v", p.Result(), p.Result().Received-before, soon)
	}
}

// tails is the end of the logs, for messages.
func tails(peers ...Peer) string {
	var b strings.Builder
	for i, p := range peers {
		fmt.Fprintf(&b, "--- log of the peer %c\n%s\n", 'A'+i, tail(p.Log()))
	}
	return b.String()
}

// logged counts the lines of a culvert daemon's log with a message of this kind.
func logged(p Peer, message string) int {
	return strings.Count(p.Log(), fmt.Sprintf(`"msg":%q`, message))
}

// What the daemon calls its own in a host's routing: protocol number of routes and rules.
const ownProtocol = 145

// leftovers are the daemon's device, rules and routes on a host.
func leftovers(t *testing.T, h *Host) (found []string) {
	t.Helper()
	handle := h.Netlink()
	links, err := handle.LinkList()
	Must(t, err)
	for _, l := range links {
		if l.Type() == "tuntap" {
			found = append(found, "device "+l.Attrs().Name)
		}
	}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		rules, err := handle.RuleList(family)
		Must(t, err)
		for _, r := range rules {
			if r.Protocol == ownProtocol {
				found = append(found, "rule "+r.String())
			}
		}
		filter := &netlink.Route{Table: unix.RT_TABLE_UNSPEC, Protocol: ownProtocol}
		routes, err := handle.RouteListFiltered(family, filter, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_PROTOCOL)
		Must(t, err)
		for _, r := range routes {
			found = append(found, "route "+r.String())
		}
	}
	return found
}
