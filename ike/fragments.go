package ike

import (
	"fmt"
	"slices"
	"time"

	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/natt"
)

// Limits on what a peer can make us keep of messages that are not complete (RFC 7383 5). Of those an IKE SA has no more than the
// windows of both directions allow.
const (
	// maxFragments of one message. One of maxFragmented bytes takes 140 packets of 576 bytes.
	maxFragments = 256
	// maxFragmented is the content of one message in bytes, maxPartial that of all in an IKE SA.
	maxFragmented = 64 << 10
	maxPartial    = 4 * maxFragmented
	// maxStrangers is the sum of it in all IKE SAs that wait for IKE_AUTH, whose peers may be anybody.
	maxStrangers = 4 << 20
	// fragmentTime is how long the rest of a request is waited for: longer than the peer goes on asking.
	fragmentTime = lingerTime
)

// The sizes in bytes of the IP packets that messages are made to fit in (RFC 7383 2.5.1). The smaller one is for IPv4 only:
// every path of IPv6 carries the larger.
const (
	usualPacket = 1280
	smallPacket = 576
	// probes is how often a request is sent in a size before the next smaller one is tried (RFC 7383 2.5.2).
	probes = 2
)

// fragmentation is what an IKE SA knows of messages in fragments (RFC 7383).
type fragmentation struct {
	// agreed: both ends announced in IKE_SA_INIT that they take fragments.
	agreed bool
	// small: packets of the usual size seem to get lost.
	small bool
	// asked is the length of the longest fragment of the peer's last request, 0 if that came whole.
	asked int
	// partial are messages of the peer that are not complete.
	partial []*assembly
}

// inherit is what a successor of the IKE SA takes over.
func (f *fragmentation) inherit() fragmentation {
	return fragmentation{agreed: f.agreed, small: f.small}
}

// find is what there is of a message, or nil.
func (f *fragmentation) find(h wire.Header) *assembly {
	for _, a := range f.partial {
		if a.id == h.MessageID && a.response == h.Response {
			return a
		}
	}
	return nil
}

// bytes is the content of all that is not complete.
func (f *fragmentation) bytes() int {
	sum := 0
	for _, a := range f.partial {
		sum += a.bytes
	}
	return sum
}

// assembly is a message that is not complete. All of it is authenticated.
type assembly struct {
	id       uint32
	response bool
	exchange wire.Exchange
	until    time.Time        // of a request: when the rest is late
	first    wire.PayloadType // of the first payload; known with fragment 1
	chunks   [][]byte         // by fragment number - 1; nil is missing
	missing  int
	bytes    int
	longest  int // message, in bytes
	received int // bytes of messages
	charged  int // bytes on the account of strangers
}

// refuses says why a fragment is not wanted, before anything is known of its authenticity; empty if it is (RFC 7383 2.6).
func (a *assembly) refuses(h wire.Header, f *wire.Fragment) string {
	total := int(f.Total)
	switch {
	case total > maxFragments:
		return "fragment of a message of too many"
	case a == nil:
		return ""
	case a.exchange != h.Exchange:
		return "fragment of another exchange"
	case total < len(a.chunks):
		return "fragment of a message that was sent again in smaller ones"
	case total == len(a.chunks) && a.chunks[f.Number-1] != nil:
		return "fragment that is there already"
	}
	return ""
}

// announcesFragments reports whether one of the connections, any of which a peer may belong to, allows fragments.
func announcesFragments(conns ...*Connection) bool {
	return slices.ContainsFunc(conns, func(c *Connection) bool { return c.Fragmentation != FragmentationNo })
}

// openFragment decrypts a fragment. ok is false if it is not acceptable, and was dropped.
func (sa *ikeSA) openFragment(d Datagram, m *wire.Message) (chunk []byte, ok bool) {
	if !sa.fragments.agreed {
		sa.end.drop(d, "fragment that was not negotiated")
		return nil, false
	}
	chunk, err := wire.OpenFragment(d.Data, m, sa.keys.in)
	switch {
	case err == nil:
		return chunk, true
	case isAuthentic(err):
		sa.end.drop(d, "malformed fragment")
	default:
		sa.end.drop(d, "integrity check failed")
	}
	return nil, false
}

// assemble takes a fragment, as open takes a message. ok is true with the last one that was missing.
func (sa *ikeSA) assemble(d Datagram, m *wire.Message) (c *content, ok bool, err error) {
	h, f := m.Header, m.Fragment
	a := sa.fragments.find(h)
	if why := a.refuses(h, f); why != "" {
		sa.end.drop(d, why)
		return nil, false, nil
	}
	chunk, ok := sa.openFragment(d, m)
	if !ok {
		return nil, false, nil
	}
	if a != nil && int(f.Total) > len(a.chunks) {
		sa.forget(a)
		a = nil
	}
	if a == nil {
		a = sa.beginAssembly(h, f)
	}
	if a.bytes+len(chunk) > maxFragmented {
		sa.forget(a)
		sa.overrun()
		return nil, false, nil
	}
	if sa.fragments.bytes()+len(chunk) > maxPartial {
		sa.end.drop(d, "too many fragments of messages that are not complete")
		return nil, false, nil
	}
	if !sa.charge(a, len(chunk)) {
		sa.end.drop(d, "too many fragments of strangers")
		return nil, false, nil
	}
	a.add(f, chunk, len(d.Data))
	if a.missing > 0 {
		sa.end.isPart()
		return nil, false, nil
	}
	sa.forget(a)
	sa.end.isWhole(len(a.chunks), a.received)
	if !h.Response {
		sa.fragments.asked = a.longest
	}
	inner, err := wire.ParsePayloads(a.first, slices.Concat(a.chunks...))
	if err != nil {
		return nil, true, err
	}
	sa.end.contains(inner)
	c, err = collect(inner)
	return c, true, err
}

// beginAssembly starts to put a message together.
func (sa *ikeSA) beginAssembly(h wire.Header, f *wire.Fragment) *assembly {
	a := &assembly{id: h.MessageID, response: h.Response, exchange: h.Exchange, chunks: make([][]byte, f.Total), missing: int(f.Total)}
	if !h.Response {
		a.until = sa.end.now.Add(fragmentTime)
	}
	sa.fragments.partial = append(sa.fragments.partial, a)
	sa.awaitFragments()
	return a
}

// awaitFragments sets when the rest of a request is late.
func (sa *ikeSA) awaitFragments() {
	var first time.Time
	for _, a := range sa.fragments.partial {
		first = earlier(first, a.until)
	}
	sa.timers[timerFragments] = first
}

// add keeps a chunk, which may be empty.
func (a *assembly) add(f *wire.Fragment, chunk []byte, length int) {
	if f.Number == 1 {
		a.first = f.Next
	}
	a.chunks[f.Number-1] = append([]byte{}, chunk...)
	a.missing--
	a.bytes += len(chunk)
	a.longest = max(a.longest, length)
	a.received += length
}

// charge puts bytes on the account of strangers, if the IKE SA is one. It returns false if the account is full.
func (sa *ikeSA) charge(a *assembly, n int) bool {
	if sa.initiator || sa.isEstablished() {
		return true
	}
	if sa.end.strangers+n > maxStrangers {
		return false
	}
	sa.end.strangers += n
	a.charged += n
	return true
}

// forget ends the wait for the rest of a message.
func (sa *ikeSA) forget(a *assembly) {
	sa.end.strangers -= a.charged
	sa.fragments.partial = slices.DeleteFunc(sa.fragments.partial, func(other *assembly) bool { return other == a })
	sa.awaitFragments()
}

// forgetFragments ends it for all messages.
func (sa *ikeSA) forgetFragments() {
	for _, a := range slices.Clone(sa.fragments.partial) {
		sa.forget(a)
	}
}

// cameWhole ends it for a message that was sent again in one piece.
func (sa *ikeSA) cameWhole(h wire.Header) {
	if a := sa.fragments.find(h); a != nil {
		sa.forget(a)
	}
	if !h.Response {
		sa.fragments.asked = 0
	}
}

// overrun gives up an IKE SA whose peer sends more than any message holds (RFC 7383 5).
func (sa *ikeSA) overrun() {
	text := fmt.Sprintf("the peer sends a message of more than %d bytes in fragments", maxFragmented)
	if !sa.isEstablished() {
		sa.fail(text, "")
		return
	}
	sa.event(Failed, text, "")
	sa.close("the peer sends too much")
}

// repeats reports whether a message that has the number of the peer's last request is that request again. Of one in
// fragments only the first counts, so that each repetition is answered once (RFC 7383 2.6.1).
func (sa *ikeSA) repeats(d Datagram, m *wire.Message) bool {
	switch {
	case m.Fragment == nil || len(m.Payloads) > 0:
		_, ok, _ := sa.open(d, m)
		return ok
	case m.Fragment.Number != 1:
		sa.end.drop(d, "fragment of a request that was answered")
		return false
	}
	_, ok := sa.openFragment(d, m)
	return ok
}

// splits reports whether large messages are sent in fragments.
func (sa *ikeSA) splits() bool {
	return sa.fragments.agreed && sa.conn != nil && sa.conn.Fragmentation == FragmentationYes
}

// room is how many bytes an IKE message may have that goes along a path in an IP packet of a size.
func room(p natt.Path, packet int) int {
	const udp, ip4, ip6, marker = 8, 20, 40, 4
	n := packet - udp
	if p.Remote.Addr().Unmap().Is4() {
		n -= ip4
	} else {
		n -= ip6
	}
	if p.NATT {
		n -= marker
	}
	return n
}

// longest is how many bytes an IKE message of ours may have. An answer has fragments no longer than those of the request,
// whose sender knows more about the path (RFC 7383 2.5.1).
func (sa *ikeSA) longest(p natt.Path, response bool) int {
	n := room(p, usualPacket)
	if sa.fragments.small {
		n = room(p, smallPacket)
	}
	if asked := sa.fragments.asked; response && asked > 0 {
		n = min(n, max(asked, room(p, smallPacket)))
	}
	return n
}

// seal makes the bytes of an encrypted message, in fragments if it is large. Those of one message belong together.
func (sa *ikeSA) seal(kind wire.Exchange, id uint32, response bool, payloads []wire.Payload) *packed {
	h := sa.header(kind, id, response)
	sa.keys.iv++
	whole := wire.AppendSealed(nil, h, payloads, sa.keys.out, sa.keys.iv)
	path := sa.path
	if response {
		path = sa.asked
	}
	size := sa.longest(path, response)
	if !sa.splits() || len(whole) <= size {
		return sa.end.pack([][]byte{whole}, payloads)
	}
	list := wire.AppendFragments(nil, h, payloads, sa.keys.out, sa.keys.iv+1, size)
	sa.keys.iv += uint64(len(list))
	return sa.end.pack(list, payloads)
}

// splitSmaller makes a request anew that was not answered, in more fragments than before: the path may not carry packets as
// large as they were (RFC 7383 2.5.2). It reports whether it did. The waiting starts over.
func (sa *ikeSA) splitSmaller(r *request) bool {
	smaller := room(sa.path, smallPacket)
	switch {
	case r.sends < probes || sa.fragments.small || !sa.splits():
		return false
	case r.payloads == nil || len(r.message.datagrams[0]) <= smaller || !sa.path.Remote.Addr().Unmap().Is4():
		return false
	}
	sa.fragments.small = true
	r.message = sa.seal(r.kind, r.id, false, r.payloads)
	r.sends = 0
	return true
}

// fragmentsLate is called when the rest of a request did not come.
func (sa *ikeSA) fragmentsLate() {
	for _, a := range slices.Clone(sa.fragments.partial) {
		if !a.until.IsZero() && !a.until.After(sa.end.now) {
			sa.forget(a)
			sa.event(Dropped, "fragments of a request whose rest did not come", "")
		}
	}
	sa.awaitFragments()
}
