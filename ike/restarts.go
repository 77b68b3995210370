package ike

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/culvert-vpn/culvert/explain"
	"github.com/culvert-vpn/culvert/ident"
)

const (
	// shortLife is how long an IKE SA lasts at least if all is well. loopCount of them with one peer that did not, within loopTime, are a
	// loop. It is told of again after loopAgain, if it goes on.
	shortLife = time.Minute
	loopCount = 4
	loopTime  = 5 * time.Minute
	loopAgain = time.Minute
	// maxLives bounds what is remembered for a connection, which may have many peers.
	maxLives = 32
)

// life is an IKE SA that was up and came to a sudden end.
type life struct {
	peer   ident.ID
	addr   netip.Addr
	began  time.Time
	lasted time.Duration
	end    ending
}

// ending is who ended an IKE SA that was up.
type ending uint8

const (
	peerDeleted   ending = iota // the peer deleted it
	peerRestarted               // the peer proved that it had lost it
	startedAnew                 // the peer called again, and said that it has no other (INITIAL_CONTACT)
	replacedByUs                // the peer called again, and unique = replace
)

func (e ending) String() string {
	return [...]string{"the peer deleted it", "the peer lost it: it has restarted", "replaced, as the same identity called again and said that it has no other (INITIAL_CONTACT)",
		"deleted by us, as the same identity called again and unique = replace"}[e]
}

// lived remembers the end of an IKE SA, and tells if such ends come again and again.
func (k *keeper) lived(sa *ikeSA, end ending) {
	now := k.end.now
	l := life{peer: sa.remoteID, addr: sa.path.Remote.Addr(), began: sa.origin.authenticated, lasted: now.Sub(sa.origin.authenticated), end: end}
	k.recent = slices.DeleteFunc(k.recent, func(l life) bool { return now.Sub(l.began) > loopTime })
	if l.lasted > shortLife || k.leaving {
		return
	}
	if len(k.recent) >= maxLives {
		k.recent = slices.Delete(k.recent, 0, 1)
	}
	k.recent = append(k.recent, l)
	var same []life
	for _, o := range k.recent {
		if o.peer.Equal(l.peer) {
			same = append(same, o)
		}
	}
	if len(same) < loopCount || now.Before(k.nextLoop) {
		return
	}
	k.nextLoop = now.Add(loopAgain)
	sa.tell(Warned, restartLoop(k.conn, same, now))
}

// restartLoop explains a row of short lives of one peer.
func restartLoop(c *Connection, lives []life, now time.Time) *explain.Diagnosis {
	d := &explain.Diagnosis{Cause: explain.RestartLoop}
	var longest time.Duration
	var addrs []string
	ends := make(map[ending]int)
	for _, l := range lives {
		longest = max(longest, l.lasted)
		ends[l.end]++
		if a := l.addr.String(); !slices.Contains(addrs, a) {
			addrs = append(addrs, a)
		}
	}
	for _, l := range lives[max(0, len(lives)-loopCount):] {
		d.Compared = append(d.Compared, explain.Compared{
			What: fmt.Sprintf("IKE SA with %v at %v, set up %v ago", l.peer, l.addr, now.Sub(l.began).Round(time.Second/10)), Sent: fmt.Sprintf("lasted %v: %v", l.lasted.Round(time.Second/10), l.end),
		})
	}
	last := lives[len(lives)-1]
	d.Text = fmt.Sprintf("%d IKE SAs with %v came up and went within %v, none of which lasted longer than %v", len(lives), last.peer, now.Sub(lives[0].began).Round(time.Second/10), longest.Round(time.Second/10))
	never := explain.Fix{
		Side: explain.Here, Text: "if several gateways are to have the same identity: unique = never, so that they stand side by side", Lines: explain.Lines([]string{"unique = never"}, "connections", c.Name),
	}
	own := explain.Fix{Side: explain.Peer, Text: fmt.Sprintf("give each gateway an identity of its own, instead of %v for all", last.peer)}
	switch replaced := ends[startedAnew] + ends[replacedByUs]; {
	case replaced > len(lives)/2 && len(addrs) > 1:
		d.Text += fmt.Sprintf(": each was replaced by the next, from %s in turn; several gateways have the same identity", strings.Join(addrs, " and "))
		d.Fixes = []explain.Fix{own, never}
	case replaced > len(lives)/2:
		d.Text += fmt.Sprintf(": %v calls anew each time, without having closed the last one; several gateways behind one NAT have the same identity, or one restarts again and again", last.addr)
		d.Fixes = []explain.Fix{own, never, {Side: explain.Peer, Text: "see in its log why it starts anew"}}
	case ends[peerRestarted] > len(lives)/2:
		d.Text += fmt.Sprintf(": the peer at %v restarts again and again", last.addr)
		d.Fixes = []explain.Fix{{Side: explain.Peer, Text: "see in its log, and that of its service manager, why the daemon ends"}}
	default:
		d.Text += fmt.Sprintf(": the peer at %v deletes each of them", last.addr)
		d.Fixes = []explain.Fix{
			{Side: explain.Peer, Text: "see in its log why it deletes the IKE SA right after it is up"},
			{Side: explain.Peer, Text: "if another gateway calls it with the same identity as this one, give each of them its own: the peer keeps only the one that called last"},
		}
	}
	return d
}
