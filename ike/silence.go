package ike

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/culvert-vpn/culvert/explain"
	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/natt"
)

// A peer that does not answer says nothing about why. What can be found out is tried while the answer is waited for: whether ICMP says
// something (Probe), whether the peer is alive at the other port, whether small messages pass where a long one does not.

// sounding is what is known of the way to a peer. Nothing of it is authenticated: it explains, and neither ends nor moves anything.
type sounding struct {
	refusals []Unreached // the last one for each port
	// elsewhere is where the answer to our first message came from, if not from where it was sent to.
	elsewhere netip.AddrPort
	// first is our IKE_SA_INIT if it was answered at port 500. passed is the length in bytes of the longest message that is known to have
	// been answered, or to have come, at port 4500.
	first  *packed
	passed int
}

const (
	// patient is how many messages without an answer are nothing special: one may get lost. After that a call is made to port 4500 as well
	// (RFC 7296 2.23: IKE may begin there), and IKE_AUTH is accompanied, firstAgain times, by the first message.
	patient    = 2
	firstAgain = 2
)

// sound tries to find out why a request is not answered, when it is repeated.
func (sa *ikeSA) sound(r *request) {
	if r.sends < 2 {
		return
	}
	sa.end.emit(Probe{IKE: sa.spi(), Path: sa.path})
	more := r.sends - min(patient, sa.schedule().Tries)
	if more <= 0 {
		return
	}
	switch s := sa.state.(type) {
	case *expectInitReply:
		s.knock(sa, r)
	case *expectAuthReply:
		if first := sa.sounding.first; first != nil && more <= firstAgain && sa.sounding.passed == 0 {
			sa.end.send(sa.connName(), sa.path, first, r.sends)
		}
	}
}

// knock makes the call to port 4500 as well: what is silent at port 500 may be reached there. The peer takes the two for different
// calls, since the addresses that the NAT detection is about differ. Which of them is answered first is the one.
func (s *expectInitReply) knock(sa *ikeSA, r *request) {
	if sa.path.NATT {
		return
	}
	p := sa.path.Float()
	if s.direct == nil {
		s.direct = s.request(sa, p)
	}
	s.knocks++
	sa.end.emit(Probe{IKE: sa.spi(), Path: p})
	sa.end.send(sa.connName(), p, s.direct, r.sends)
}

// came notes where an answer to the first message came from.
func (s *expectInitReply) came(sa *ikeSA, d Datagram) {
	if r := sa.request(0); s.direct != nil && d.Path.NATT && !sa.path.NATT {
		// The answer to the call at port 4500: the other one is forgotten.
		at500 := sa.path.Remote
		r.message, sa.path = s.direct, sa.path.Float()
		sa.tell(Warned, sa.silent500(at500, r.sends))
	}
	if from := d.Path.Remote; from.Addr().WithZone("") != sa.path.Remote.Addr().WithZone("") && !sa.sounding.elsewhere.IsValid() {
		sa.sounding.elsewhere = from
		sa.tell(Warned, sa.otherAddress())
	}
}

// overhear takes the answer to a first message that was sent once more while IKE_AUTH is unanswered: something is answered at port 4500.
func (e *Endpoint) overhear(d Datagram, h wire.Header) {
	if !h.Response || h.Exchange != wire.IKE_SA_INIT || !d.Path.NATT {
		return
	}
	if sa := e.sas[h.SPIi]; sa != nil && sa.stage() == authSent && sa.sounding.first != nil && d.Path.Remote == sa.path.Remote {
		sa.sounding.passed = max(len(sa.sounding.first.datagrams[0]), len(d.Data))
	}
}

// unreached notes what ICMP says of the peer.
func (e *Endpoint) unreached(in Unreached) {
	sa := e.sas[in.IKE]
	if sa == nil || in.Remote.Addr() != sa.path.Remote.Addr() {
		return
	}
	list := &sa.sounding.refusals
	*list = append(slices.DeleteFunc(*list, func(u Unreached) bool { return u.Remote == in.Remote || len(*list) > 4 }), in)
}

// silent500 tells that the peer is reached at port 4500 only.
func (sa *ikeSA) silent500(at netip.AddrPort, messages int) *explain.Diagnosis {
	c := sa.conn
	return &explain.Diagnosis{
		Cause: explain.Silent500,
		Text:  fmt.Sprintf("nothing answers at %v, and the peer answers at port %d: something on the way does not let UDP port %d pass; IKE goes on at the other", at, sa.path.Remote.Port(), at.Port()),
		Compared: []explain.Compared{
			{What: fmt.Sprintf("answers from UDP port %d", at.Port()), Sent: fmt.Sprintf("none to %d messages", messages), Configured: fmt.Sprintf("remote_port = %d", c.RemotePort)},
			{What: fmt.Sprintf("answers from UDP port %d", sa.path.Remote.Port()), Sent: "the first"},
		},
		Fixes: []explain.Fix{
			{
				Side: explain.Here, Text: fmt.Sprintf("set remote_port = %d, so that the first call goes there", natt.PortNATT),
				Lines: explain.Lines([]string{fmt.Sprintf("remote_port = %d", natt.PortNATT)}, "connections", c.Name),
			},
			{Side: explain.Between, Text: fmt.Sprintf("let UDP port %d pass to %v, and back", at.Port(), at.Addr())},
		},
	}
}

// otherAddress tells that what we sent to one address was answered from another.
func (sa *ikeSA) otherAddress() *explain.Diagnosis {
	called, from, c := sa.path.Remote.Addr(), sa.sounding.elsewhere.Addr(), sa.conn
	return &explain.Diagnosis{
		Cause: explain.OtherAddress,
		Text: fmt.Sprintf("%v was called and %v answers: the peer has several addresses, or a NAT in front of it does not translate both ways alike; "+
			"what follows goes to the one that is configured", called, from),
		Compared: []explain.Compared{{What: "address of the peer", Sent: from.String(), Configured: c.RemoteHost}},
		Fixes: []explain.Fix{
			{
				Side: explain.Here, Text: fmt.Sprintf("set remote_addrs = %v, if that is an address of the peer", from),
				Lines: explain.Lines([]string{explain.Set("remote_addrs", from.String())}, "connections", c.Name),
			},
			{
				Side: explain.Peer, Text: fmt.Sprintf("have the peer answer from %v: local_addrs = %v if that is an address of its own, else the same rule in both directions at its NAT", called, called),
				Lines: explain.Lines([]string{explain.Set("local_addrs", called.String())}, "connections", c.Name),
			},
		},
	}
}

// silence explains that a call was not answered.
func (s *expectInitReply) explain(sa *ikeSA) *explain.Diagnosis {
	sent := 0
	if r := sa.request(0); r != nil {
		sent = r.sends
	}
	at := sa.path.Remote
	compared := []explain.Compared{{
		What: fmt.Sprintf("answers from UDP port %d", at.Port()), Sent: fmt.Sprintf("none to %d messages in %v", sent, sa.lasted()), Configured: "remote_addrs = " + sa.conn.RemoteHost,
	}}
	text := fmt.Sprintf("no answer from %v, UDP port %d", at.Addr(), at.Port())
	if s.knocks > 0 {
		compared = append(compared, explain.Compared{What: fmt.Sprintf("answers from UDP port %d", natt.PortNATT), Sent: fmt.Sprintf("none to %d messages", s.knocks)})
		text += fmt.Sprintf(" nor %d", natt.PortNATT)
	}
	if d := sa.refusedByICMP(text, compared); d != nil {
		return d
	}
	return &explain.Diagnosis{
		Cause: explain.SilentPeer, Compared: append(compared, explain.Compared{What: "ICMP messages", Sent: "none"}), Fixes: sa.letThrough(),
		Text: text + ", and no ICMP message says why: either our messages do not arrive, or the answers get lost, or nobody is there",
	}
}

// lasted is how long the IKE SA is being set up.
func (sa *ikeSA) lasted() time.Duration { return sa.end.now.Sub(sa.born).Round(time.Second / 10) }

// letThrough is what helps against silence, as far as can be known from here.
func (sa *ikeSA) letThrough() []explain.Fix {
	remote, c := sa.path.Remote.Addr(), sa.conn
	fixes := []explain.Fix{
		{Side: explain.Between, Text: fmt.Sprintf("let UDP ports 500 and 4500 pass to %v and back: firewalls, security groups, and a NAT in front of the peer, which must forward both", remote)},
		{Side: explain.Peer, Text: fmt.Sprintf("see that the gateway runs and has the address %v, and whether its log shows our call; if it does, the answers get lost on the way back", remote)},
	}
	if remote.IsPrivate() && !sa.path.Local.Addr().IsPrivate() {
		fixes = slices.Insert(fixes, 0, explain.Fix{Side: explain.Here, Text: fmt.Sprintf("%v is a private address: set remote_addrs to the public one of the NAT in front of the peer", remote)})
	}
	if len(c.Children) > 0 {
		fixes = append(fixes, explain.Fix{
			Side: explain.Peer, Text: "if nothing can be forwarded to the peer, have it call us: start_action = start there",
			Lines: explain.Lines([]string{"start_action = start"}, "connections", c.Name, "children", c.Children[0].Name),
		})
	}
	return fixes
}

// refusedByICMP explains silence by what ICMP says, if it says anything. text and compared are what else is known.
func (sa *ikeSA) refusedByICMP(text string, compared []explain.Compared) *explain.Diagnosis {
	if len(sa.sounding.refusals) == 0 {
		return nil
	}
	u := sa.sounding.refusals[len(sa.sounding.refusals)-1]
	for _, u := range sa.sounding.refusals {
		compared = append(compared, explain.Compared{What: fmt.Sprintf("ICMP about %v", u.Remote), Sent: u.String()})
	}
	d := &explain.Diagnosis{Cause: explain.Unreachable, Text: text + ": " + u.String(), Compared: compared}
	remote := u.Remote.Addr()
	switch u.Why {
	case PortClosed:
		d.Fixes = []explain.Fix{
			{Side: explain.Peer, Text: fmt.Sprintf("start the gateway at %v: the host is there, and no program listens at UDP port %d", remote, u.Remote.Port())},
			{Side: explain.Between, Text: fmt.Sprintf("or remove the firewall rule that rejects UDP port %d, or forward it to the gateway, if %v is a NAT", u.Remote.Port(), remote)},
		}
	case Prohibited:
		d.Fixes = []explain.Fix{{Side: explain.Between, Text: fmt.Sprintf("allow UDP ports 500 and 4500 to %v at the firewall %v", remote, u.By)}}
	default:
		d.Fixes = []explain.Fix{
			{Side: explain.Here, Text: fmt.Sprintf("correct remote_addrs, if %v is not the address of the peer", remote)},
			{Side: explain.Between, Text: fmt.Sprintf("give %v a way to %v, or switch that on", u.By, remote)},
		}
	}
	return d
}

// explain tells why IKE_AUTH was not answered, although the first message was.
func (s *expectAuthReply) explain(sa *ikeSA) *explain.Diagnosis {
	long, sent := sa.longestUnanswered()
	at, passed := sa.path.Remote, sa.sounding.passed
	text := fmt.Sprintf("no answer to IKE_AUTH from %v, UDP port %d", at.Addr(), at.Port())
	compared := []explain.Compared{{What: "answers to IKE_AUTH", Sent: fmt.Sprintf("none to %d messages of %d bytes to %v", sent, long, at)}}
	if sa.sounding.first != nil {
		answer := "none"
		if passed > 0 {
			answer = fmt.Sprintf("yes, to messages of up to %d bytes", passed)
		}
		compared = append(compared, explain.Compared{What: fmt.Sprintf("answers to IKE_SA_INIT from UDP port %d", natt.Port), Sent: "yes"},
			explain.Compared{What: fmt.Sprintf("answers to IKE_SA_INIT from UDP port %d", at.Port()), Sent: answer})
	}
	if d := sa.refusedByICMP(text, compared); d != nil {
		return d
	}
	switch {
	case passed > 0 && long > passed:
		return sa.blackHole(fmt.Sprintf("%s: none to %d bytes, while messages of %d bytes are answered there", text, long, passed), compared)
	case sa.sounding.elsewhere.IsValid():
		d := sa.otherAddress()
		d.Text, d.Compared = text+"; "+d.Text, append(d.Compared, compared...)
		return d
	case sa.sounding.first == nil || passed > 0: // the first message was answered at this port too
		return &explain.Diagnosis{
			Cause: explain.SilentPeer, Text: text + ", which has answered IKE_SA_INIT there: the peer keeps silent about IKE_AUTH", Compared: compared,
			Fixes: []explain.Fix{{Side: explain.Peer, Text: "see in its log what it does with our IKE_AUTH"}},
		}
	}
	return &explain.Diagnosis{
		Cause: explain.Silent4500, Compared: compared,
		Text: text + fmt.Sprintf(", which answered at port %d: something on the way lets only that port pass, or the peer does not do NAT traversal", natt.Port),
		Fixes: []explain.Fix{
			{Side: explain.Between, Text: fmt.Sprintf("let UDP port %d pass to %v and back: firewalls, security groups, and a NAT in front of the peer, which must forward it", at.Port(), at.Addr())},
			{Side: explain.Peer, Text: "enable NAT traversal, so that the gateway listens at UDP port 4500"},
		},
	}
}

// isSpare reports whether the peer has called at both ports, and gone on with the other call.
func (sa *ikeSA) isSpare() bool {
	for _, port := range [...]uint16{natt.Port, natt.PortNATT} {
		from := netip.AddrPortFrom(sa.initial.from.Addr(), port)
		if twin := sa.end.initial[initialKey{sa.initial.spiI, from}]; twin != nil && twin != sa {
			return true
		}
	}
	return false
}

// explain tells why a peer that has called did not go on.
func (s *expectAuth) explain(sa *ikeSA) *explain.Diagnosis {
	from := sa.path.Remote
	d := &explain.Diagnosis{
		Cause: explain.Silent4500, Connections: namesOf(s.candidates),
		Text: fmt.Sprintf("the peer %v began but did not go on to IKE_AUTH: our answer does not reach it, or its next message, to UDP port %d, does not reach us", from, natt.PortNATT),
		Compared: []explain.Compared{
			{What: fmt.Sprintf("IKE_SA_INIT, to UDP port %d", sa.path.Local.Port()), Sent: "came, and was answered"},
			{What: fmt.Sprintf("IKE_AUTH, to UDP port %d", natt.PortNATT), Sent: fmt.Sprintf("did not come within %v", halfOpenTime)},
		},
		Fixes: []explain.Fix{
			{Side: explain.Between, Text: fmt.Sprintf("let UDP port %d pass to %v, and our answers to %v: firewalls, security groups, and a NAT in front of us, which must forward it", natt.PortNATT, sa.path.Local.Addr(), from.Addr())},
			{Side: explain.Peer, Text: "see in its log whether it got our answer; once is no matter: it may have given up"},
		},
	}
	if sa.path.NATT {
		d.Cause = explain.SilentPeer
		d.Fixes = d.Fixes[1:]
		d.Fixes = append(d.Fixes, explain.Fix{Side: explain.Between, Text: fmt.Sprintf("let our answers from UDP port %d pass to %v", natt.PortNATT, from.Addr())})
	}
	return d
}

// fellSilent explains that the peer of an IKE SA that was up does not answer any more.
func (sa *ikeSA) fellSilent() *explain.Diagnosis {
	const text = "the peer does not answer any more"
	long, sends := sa.longestUnanswered()
	at := sa.path.Remote
	compared := []explain.Compared{
		{What: fmt.Sprintf("answers from %v", at), Sent: fmt.Sprintf("none to %d messages of %d bytes", sends, long)},
		{What: "the last authentic IKE message", Sent: fmt.Sprintf("%v ago", sa.end.now.Sub(sa.heard).Round(time.Second))},
	}
	if d := sa.refusedByICMP(text, compared); d != nil {
		return d
	}
	if long > usualPacket && !sa.fragments.agreed {
		return sa.blackHole(fmt.Sprintf("%s: %d bytes got no answer, and shorter messages did before", text, long), compared)
	}
	return &explain.Diagnosis{Cause: explain.SilentPeer, Text: text, Compared: compared, Fixes: sa.letThrough()}
}

// longestUnanswered is the length of the longest datagram of what is unanswered, in bytes, and how often it was sent.
func (sa *ikeSA) longestUnanswered() (length, sends int) {
	for _, r := range sa.win.out {
		for _, b := range r.message.datagrams {
			if len(b) > length {
				length, sends = len(b), r.sends
			}
		}
	}
	return length, sends
}

// blackHole tells of long messages that vanish.
func (sa *ikeSA) blackHole(text string, compared []explain.Compared) *explain.Diagnosis {
	c := sa.conn
	value := [...]string{"yes", "accept", "no"}[c.Fragmentation]
	d := &explain.Diagnosis{
		Cause: explain.MTUBlackHole, Text: text + "; long packets get lost on the way, or the fragments that they are cut into",
		Compared: append(compared, explain.Compared{What: "fragmentation of IKE messages (RFC 7383)", Configured: "fragmentation = " + value}),
	}
	lines := explain.Lines([]string{"fragmentation = yes"}, "connections", c.Name)
	if c.Fragmentation != FragmentationYes {
		d.Fixes = append(d.Fixes, explain.Fix{Side: explain.Here, Text: "set fragmentation = yes, so that IKE cuts its messages itself", Lines: lines})
	}
	if c.Fragmentation == FragmentationYes && !sa.fragments.agreed {
		d.Fixes = append(d.Fixes, explain.Fix{Side: explain.Peer, Text: "enable IKE fragmentation, which the peer did not announce: fragmentation = yes", Lines: lines})
	}
	remote := sa.path.Remote.Addr()
	return addFixes(d,
		explain.Fix{Side: explain.Between, Text: fmt.Sprintf("let IP fragments pass between %v and %v, or give the way the MTU that its ends have", sa.path.Local.Addr(), remote)})
}

func addFixes(d *explain.Diagnosis, fixes ...explain.Fix) *explain.Diagnosis {
	d.Fixes = append(d.Fixes, fixes...)
	return d
}
