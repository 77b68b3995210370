package doctor

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/culvert-vpn/culvert/explain"
	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/natt"
	"github.com/culvert-vpn/culvert/suite"
)

const (
	// maxPeers is how many peers are called if none is named, at most peersAtOnce at a time.
	maxPeers    = 32
	peersAtOnce = 8
	dnsPatience = 5 * time.Second
	// maxSingly is how many proposals are offered by themselves.
	maxSingly = 8
)

// PeerFacts is what a peer answered.
type PeerFacts struct {
	Connection string     `json:"connection"`
	Host       string     `json:"host"` // as it stands in remote_addrs
	Address    netip.Addr `json:"address,omitzero"`
	// Local is where it was called from.
	Local netip.AddrPort `json:"local,omitzero"`
	// Ports are those that it answers at: 500, 4500, or the one that is configured.
	Ports []uint16 `json:"ports,omitempty"`
	// RoundTrip is the time of the first answer in milliseconds.
	RoundTrip float64 `json:"round_trip_ms,omitempty"`
	// NAT is the situation in words; LocalNAT says that this side is behind one, RemoteNAT that the peer is or forces encapsulation.
	NAT       string `json:"nat,omitempty"`
	LocalNAT  bool   `json:"local_nat"`
	RemoteNAT bool   `json:"remote_nat"`
	// Proposal is the one that the peer has chosen of those configured; Refused the error that it answered instead; Accepts what it has
	// chosen then of all that Culvert can do.
	Proposal string `json:"proposal,omitempty"`
	Refused  string `json:"refused,omitempty"`
	Accepts  string `json:"accepts,omitempty"`
	// Offers are the answers to each proposal by itself, if that was asked for.
	Offers []OfferFacts `json:"offers,omitempty"`
	// Fragmentation: it takes messages in fragments (RFC 7383).
	Fragmentation bool `json:"fragmentation"`
	// Notifies are what else it announces, Vendors the products that it names.
	Notifies []string `json:"notifies,omitempty"`
	Vendors  []string `json:"vendors,omitempty"`
	// Arrives is the length in bytes of the longest packet that arrived whole, Lost of the shortest that did not; 0: not known, none.
	Arrives int `json:"packet_arrives,omitempty"`
	Lost    int `json:"packet_lost,omitempty"`
	// Probes is how many requests were made, repetitions not counted.
	Probes int `json:"probes"`
}

// OfferFacts is the answer to one proposal.
type OfferFacts struct {
	Proposal string `json:"proposal"`
	Accepted bool   `json:"accepted"`
	Text     string `json:"text,omitempty"`
}

// way is how packets get to a peer.
type way struct {
	local   netip.Addr
	gateway netip.Addr // invalid: the peer is in a network of ours
	device  string
	mtu     int // of the device
	pathMTU int // that the kernel knows of, or 0
}

// peers calls them.
func (x *examination) peers(ctx context.Context) {
	var call []*ike.Connection
	for _, c := range x.chosen() {
		switch {
		case c.RemoteHost == "":
			x.add(Check{ID: "peer", Group: Peer, Connection: c.Name, Result: Note, Text: "its peer has no address here: this side waits to be called, and cannot ask the peer anything"})
		case len(call) == maxPeers:
			x.add(Check{ID: "peer", Group: Peer, Connection: c.Name, Result: Unknown, Text: fmt.Sprintf("only the first %d peers are called: name this connection", maxPeers)})
		default:
			call = append(call, c)
		}
	}
	if x.Name != "" && x.conf != nil && len(x.chosen()) == 0 {
		x.add(Check{ID: "peer", Group: Peer, Connection: x.Name, Result: Failure, Text: fmt.Sprintf("there is no connection %q in %s", x.Name, x.Config)})
	}
	visits := make([]*visit, len(call))
	places := make(chan struct{}, peersAtOnce)
	var all sync.WaitGroup
	for i, c := range call {
		visits[i] = &visit{examination: x, conn: c, facts: PeerFacts{Connection: c.Name, Host: c.RemoteHost}}
		all.Go(func() {
			places <- struct{}{}
			visits[i].run(ctx)
			<-places
		})
	}
	all.Wait()
	for _, v := range visits {
		x.add(v.checks...)
		x.report.Peers = append(x.report.Peers, v.facts)
	}
}

// visit is the examination of one peer. It changes nothing of the examination that it belongs to.
type visit struct {
	*examination
	conn   *ike.Connection
	checks []Check
	facts  PeerFacts
	way    way
	inUse  bool // the port of ours is: probes come from another one
	length int  // of the last packet, in bytes
}

// say adds a check.
func (v *visit) say(id string, result Result, cause explain.Cause, text string, fixes ...explain.Fix) {
	v.checks = append(v.checks, Check{id, Peer, v.conn.Name, result, text, cause, fixes})
}

// fixesOf are those of the catalogue.
func fixesOf(cause explain.Cause) []explain.Fix {
	e, err := explain.Of(cause)
	if err != nil {
		return nil
	}
	return e.Fixes
}

func (v *visit) run(ctx context.Context) {
	if !v.resolve(ctx) {
		return
	}
	first := netip.AddrPortFrom(v.facts.Address, remotePort(v.conn))
	marked := first
	o := v.call(ctx, first)
	if first.Port() == natt.Port {
		marked = netip.AddrPortFrom(first.Addr(), natt.PortNATT)
		if o.answer == nil {
			o = v.second(ctx, o, first, marked)
		} else {
			v.answered(o, first)
			v.knock(ctx, marked)
		}
	} else if o.answer != nil {
		v.answered(o, first)
	} else {
		v.silent(o, first)
	}
	if o.answer == nil {
		return
	}
	v.judge(ctx, o)
	if v.Singly {
		v.offerSingly(ctx)
	}
}

// resolve finds the peer's address and the way there.
func (v *visit) resolve(ctx context.Context) bool {
	addrs := []netip.Addr{}
	if a, err := netip.ParseAddr(v.conn.RemoteHost); err == nil {
		addrs = append(addrs, a.Unmap())
	} else {
		ctx, cancel := context.WithTimeout(ctx, dnsPatience)
		defer cancel()
		list, err := markedResolver().LookupNetIP(ctx, "ip", v.conn.RemoteHost)
		if err != nil || len(list) == 0 {
			v.say("name", Failure, explain.NameNotResolved, fmt.Sprintf("the DNS has no address for %s: %v", v.conn.RemoteHost, err), fixesOf(explain.NameNotResolved)...)
			return false
		}
		for _, a := range list {
			addrs = append(addrs, a.Unmap())
		}
		v.say("name", OK, "", fmt.Sprintf("%s is %v", v.conn.RemoteHost, addrs))
	}
	var err error
	for _, a := range addrs {
		if v.way, err = wayTo(a); err == nil {
			v.facts.Address = a
			break
		}
	}
	if err != nil {
		v.say("route", Failure, explain.NoRoute, fmt.Sprintf("this host has no route to %v: %v", addrs[0], err), fixesOf(explain.NoRoute)...)
		return false
	}
	if slices.Contains(ownAddresses(), v.facts.Address) {
		v.say("route", Failure, "", fmt.Sprintf("%v, the address of the peer, is one of this host itself", v.facts.Address),
			explain.Fix{Side: explain.Here, Text: "write the address of the other gateway in remote_addrs"})
		return false
	}
	text := fmt.Sprintf("packets to %v leave from %v", v.facts.Address, v.way.local)
	if v.way.device != "" {
		text += fmt.Sprintf(" through %s, whose MTU is %d", v.way.device, v.way.mtu)
	}
	if v.way.pathMTU > 0 {
		text += fmt.Sprintf("; the route has %d", v.way.pathMTU)
	}
	if l := v.conn.LocalAddrs; len(l) > 0 && !holds(l, v.way.local) {
		own := ownAddresses()
		i := slices.IndexFunc(own, func(a netip.Addr) bool { return a.Is4() == v.facts.Address.Is4() && holds(l, a) })
		if i < 0 {
			v.say("route", Failure, explain.NoRoute, text+", which local_addrs does not allow", explain.Fix{Side: explain.Here, Text: "leave local_addrs out, or write " + v.way.local.String(),
				Lines: explain.Lines([]string{explain.Set("local_addrs", v.way.local.String())}, "connections", v.conn.Name)})
			return false
		}
		v.way.local = own[i]
		text += fmt.Sprintf("; the connection's are sent from %v", own[i])
	}
	v.say("route", OK, "", text)
	return true
}

// open opens a socket from the port that the daemon would use, or from any if it is in use.
func (v *visit) open(remote netip.AddrPort) (line, error) {
	l, err := openLine(netip.AddrPortFrom(v.way.local, natPort(remote)), remote)
	if err != nil {
		v.inUse = true
		l, err = openLine(netip.AddrPortFrom(v.way.local, 0), remote)
	}
	return l, err
}

// call makes the first request of IKE as the daemon would.
func (v *visit) call(ctx context.Context, remote netip.AddrPort) outcome {
	return v.send(ctx, remote, v.conn.Proposals)
}

func (v *visit) send(ctx context.Context, remote netip.AddrPort, proposals []suite.Proposal) outcome {
	l, err := v.open(remote)
	if err != nil {
		return outcome{err: err}
	}
	defer l.Close()
	p, err := newProbe(v.Rand, pathOf(l.Local(), remote), proposals)
	if err != nil {
		return outcome{err: err}
	}
	p.fragments = v.conn.Fragmentation != ike.FragmentationNo
	v.length = len(p.message()) + headers(remote.Addr())
	v.facts.Probes++
	v.facts.Local = l.Local()
	return v.ask(ctx, l, p, firstWait, v.Patience)
}

// knock asks whether anything answers at a port, and leaves nothing at the peer.
func (v *visit) knock(ctx context.Context, remote netip.AddrPort) {
	rest(ctx, pause)
	o := v.send(ctx, remote, []suite.Proposal{nobodys(suite.CURVE25519)})
	if o.answer != nil {
		v.answered(o, remote)
		return
	}
	if o.asked { // as an answer
		v.facts.Ports = append(v.facts.Ports, remote.Port())
		v.say(portID(remote), OK, "", fmt.Sprintf("the peer answers at %v, with a cookie", remote))
		return
	}
	v.say("port-4500", Failure, explain.Silent4500, fmt.Sprintf("the peer does not answer at %v%s, where IKE goes on and ESP travels", remote, because(o)), fixesOf(explain.Silent4500)...)
}

// second calls at port 4500 what does not answer at port 500.
func (v *visit) second(ctx context.Context, at500 outcome, first, marked netip.AddrPort) outcome {
	o := v.call(ctx, marked)
	if o.answer == nil {
		if at500.icmp == nil {
			at500.icmp = o.icmp
		}
		at500.asked = at500.asked || o.asked
		v.silent(at500, first)
		return o
	}
	v.say("port-500", Warning, explain.Silent500, fmt.Sprintf("the peer does not answer at %v%s, and does at port 4500", first, because(at500)), fixesOf(explain.Silent500)...)
	v.answered(o, marked)
	return o
}

// because is what ICMP says of a silence.
func because(o outcome) string {
	switch {
	case o.icmp != nil:
		return " (" + o.icmp.Error() + ")"
	case o.err != nil:
		return " (" + o.err.Error() + ")"
	}
	return ""
}

// silent tells that the peer does not answer at all.
func (v *visit) silent(o outcome, remote netip.AddrPort) {
	cause, why := explain.SilentPeer, "neither at port 500 nor at port 4500"
	if remote.Port() != natt.Port {
		why = fmt.Sprintf("at port %d", remote.Port())
	}
	text := fmt.Sprintf("%v does not answer, %s, and no router says why", remote.Addr(), why)
	switch {
	case o.asked:
		v.say("peer", Unknown, "", fmt.Sprintf("%v is there and asked for a cookie, and then did not answer: it takes no more new IKE SAs from this address for the moment, perhaps "+
			"because of earlier examinations; wait a minute", remote.Addr()))
		return
	case o.icmp != nil:
		cause, text = explain.Unreachable, fmt.Sprintf("%v cannot be reached: %v", remote, o.icmp)
	case o.err != nil:
		cause, text = explain.NoRoute, fmt.Sprintf("nothing can be sent to %v: %v", remote, o.err)
	}
	v.say("peer", Failure, cause, text, fixesOf(cause)...)
}

// answered tells of an answer.
func (v *visit) answered(o outcome, remote netip.AddrPort) {
	v.facts.Ports = append(v.facts.Ports, remote.Port())
	if v.facts.RoundTrip == 0 {
		v.facts.RoundTrip = float64(o.trip.Microseconds()) / 1000
	}
	text := fmt.Sprintf("the peer answers at %v after %s", remote, trip(o.trip))
	if v.inUse {
		text += fmt.Sprintf("; asked from port %d, since that of IKE is in use here", o.answer.local.Port())
	}
	if o.other.IsValid() {
		v.say(portID(remote), Warning, explain.OtherAddress, fmt.Sprintf("what was sent to %v was answered by %v", remote, o.other), fixesOf(explain.OtherAddress)...)
		return
	}
	v.say(portID(remote), OK, "", text)
}

func portID(a netip.AddrPort) string {
	if p := a.Port(); p == natt.Port || p == natt.PortNATT {
		return fmt.Sprintf("port-%d", p)
	}
	return "port"
}

// trip is a time with as many digits as matter.
func trip(d time.Duration) string {
	if d < 10*time.Millisecond {
		return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
	}
	return fmt.Sprintf("%d ms", d.Milliseconds())
}
