package sim

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"maps"
	"net/netip"

	"github.com/culvert-vpn/culvert/ident"
	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/ts"
)

// watcher checks at every step what must hold at all times. It sees what an endpoint sends, receives and returns, and nothing of
// its inside.
type watcher struct {
	sas map[saKey]*watched
	// authenticated are the IKE SAs of which an endpoint said that both ends are authenticated.
	authenticated map[saKey]bool
	// keys says where an ESP key is used to send and to receive.
	keys map[string]*keyUse
	// spis are all ESP SPIs that were ever lent.
	spis map[uint32]bool
	seed maphash.Seed
}

// saKey names an IKE SA at one end, by the SPI of that end.
type saKey struct {
	host *Host
	spi  uint64
}

// watched is what was seen of an IKE SA at one end.
type watched struct {
	// asked are the requests so far, by number; the lowest of those that are unanswered is at most a window below the next.
	asked   map[uint32]*asked
	next    uint32
	most    int // that were unanswered at once
	answers map[uint32]map[fragment][]byte
	ivs     map[string]uint64 // the message that each initialisation vector was used for
}

// asked is a request.
type asked struct {
	parts    map[fragment][]byte
	answered bool
}

// fragment is which part of a message a datagram is: number of total, both 0 for a whole message.
type fragment struct{ number, total uint16 }

func fragmentOf(m wire.Header, data []byte) fragment {
	if m.Next != wire.TypeSKF || len(data) < wire.HeaderLen+8 {
		return fragment{}
	}
	be := binary.BigEndian
	return fragment{be.Uint16(data[wire.HeaderLen+4:]), be.Uint16(data[wire.HeaderLen+6:])}
}

// differs reports whether one part of a message was sent with other bytes before, and notes it. Parts of several sizes are
// parts of different sets (RFC 7383 2.5.2).
func differs(parts map[fragment][]byte, f fragment, data []byte) bool {
	was, ok := parts[f]
	parts[f] = data
	return ok && !bytes.Equal(was, data)
}

// shrinks reports whether a set of fragments is sent after one of more fragments (RFC 7383 2.5.2).
func shrinks(parts map[fragment][]byte, f fragment) bool {
	for was := range parts {
		if was.total > f.total {
			return true
		}
	}
	return false
}

// keyUse is who sends and who receives under a key.
type keyUse struct{ sender, receiver *Host }

func newWatcher() watcher {
	return watcher{
		sas: make(map[saKey]*watched), authenticated: make(map[saKey]bool), keys: make(map[string]*keyUse),
		spis: make(map[uint32]bool), seed: maphash.MakeSeed(),
	}
}

func (w *watcher) sa(h *Host, spi uint64) *watched {
	k := saKey{h, spi}
	if w.sas[k] == nil {
		w.sas[k] = &watched{asked: make(map[uint32]*asked), answers: make(map[uint32]map[fragment][]byte), ivs: make(map[string]uint64)}
	}
	return w.sas[k]
}

// forget drops what was seen of SAs that are no more.
func (w *watcher) forget(hosts []*Host) {
	sas, keys, spis := make(map[saKey]bool), make(map[string]bool), make(map[uint32]bool)
	for _, h := range hosts {
		for _, sa := range h.Snapshot() {
			sas[saKey{h, sa.SPIi}], sas[saKey{h, sa.SPIr}] = true, true
		}
		for _, in := range h.table.in {
			keys[string(in.EncKey)] = true
		}
		for _, out := range h.table.out {
			keys[string(out.EncKey)] = true
		}
		for spi := range h.table.held {
			spis[spi] = true
		}
	}
	maps.DeleteFunc(w.sas, func(k saKey, _ *watched) bool { return !sas[k] })
	maps.DeleteFunc(w.authenticated, func(k saKey, _ bool) bool { return !sas[k] })
	maps.DeleteFunc(w.keys, func(k string, _ *keyUse) bool { return !keys[k] })
	maps.DeleteFunc(w.spis, func(spi uint32, _ bool) bool { return !spis[spi] })
	// A map never gets smaller.
	w.sas, w.authenticated, w.keys, w.spis = maps.Collect(maps.All(w.sas)), maps.Collect(maps.All(w.authenticated)),
		maps.Collect(maps.All(w.keys)), maps.Collect(maps.All(w.spis))
}

// sends looks at an IKE message of a host.
func (w *watcher) sends(h *Host, data []byte) {
	m, err := wire.ParseHeader(data)
	if err != nil {
		h.w.fail("%s sends what is no IKE message: %v", h.Name, err)
		return
	}
	own := m.SPIr
	if m.Initiator {
		own = m.SPIi
	}
	if own == 0 || isNotice(m) {
		// A refusal, or word that an IKE SA is not known: nothing is kept of it.
		return
	}
	s := w.sa(h, own)
	switch m.Next {
	case wire.TypeSK:
		w.vector(h, s, data, wire.HeaderLen+4)
	case wire.TypeSKF:
		w.vector(h, s, data, wire.HeaderLen+8)
	}
	if m.Response {
		s.sendsAnswer(h, m, data)
		return
	}
	s.sendsRequest(h, m, data)
}

// isNotice reports whether a message is an answer in the clear from outside of an IKE SA (RFC 7296 1.5).
func isNotice(m wire.Header) bool {
	return m.Response && m.Exchange != wire.IKE_SA_INIT && m.Next != wire.TypeSK && m.Next != wire.TypeSKF
}

// vector: an initialisation vector must not serve two messages. It stands behind the headers of the message and of SK or SKF.
func (w *watcher) vector(h *Host, s *watched, data []byte, at int) {
	const n = 8
	if len(data) < at+n {
		h.w.fail("%s sends a sealed message that is too short", h.Name)
		return
	}
	iv, sum := string(data[at:at+n]), maphash.Bytes(w.seed, data)
	if was, used := s.ivs[iv]; used && was != sum {
		h.w.fail("%s uses an initialisation vector twice", h.Name)
	}
	s.ivs[iv] = sum
}

// sendsRequest: requests are numbered 0, 1, 2 ..., no more are unanswered at once than both ends agreed to, and a request has the
// same bytes when it is repeated (RFC 7296 2.1-2.3).
func (s *watched) sendsRequest(h *Host, m wire.Header, data []byte) {
	f, r := fragmentOf(m, data), s.asked[m.MessageID]
	switch {
	case r == nil && m.MessageID != s.next:
		h.w.fail("%s sends request %d, the next one is %d", h.Name, m.MessageID, s.next)
	case r == nil:
		if first := s.unanswered(); m.MessageID-first >= h.w.window() {
			h.w.fail("%s sends request %d while %d is unanswered", h.Name, m.MessageID, first)
		}
	case m.Exchange == wire.IKE_SA_INIT:
		// It may change, for a cookie or another group (RFC 7296 2.2).
	case shrinks(r.parts, f):
		h.w.fail("%s repeats request %d in fewer fragments", h.Name, m.MessageID)
	case differs(r.parts, f, data):
		h.w.fail("%s repeats request %d with other bytes", h.Name, m.MessageID)
	}
	if r == nil {
		r = &asked{parts: map[fragment][]byte{f: data}}
		s.asked[m.MessageID] = r
		s.next = m.MessageID + 1
		s.most = max(s.most, s.open())
	}
}

// unanswered is the lowest number that is not answered.
func (s *watched) unanswered() uint32 {
	first := s.next
	for id, r := range s.asked {
		if !r.answered {
			first = min(first, id)
		}
	}
	return first
}

// open counts the requests that are not answered.
func (s *watched) open() int {
	n := 0
	for _, r := range s.asked {
		if !r.answered {
			n++
		}
	}
	return n
}

// window is how many requests an end may have unanswered: the least that a host takes.
func (w *World) window() uint32 {
	n := uint32(ike.MaxWindow)
	for _, h := range w.hosts {
		for _, c := range h.cfg.Connections {
			if c.Window == 0 {
				n = min(n, ike.DefaultWindow)
			} else {
				n = min(n, uint32(c.Window))
			}
		}
	}
	return n
}

// sendsAnswer: a repeated request gets the same answer, byte by byte (RFC 7296 2.1).
func (s *watched) sendsAnswer(h *Host, m wire.Header, data []byte) {
	if s.answers[m.MessageID] == nil {
		s.answers[m.MessageID] = make(map[fragment][]byte)
	}
	f := fragmentOf(m, data)
	if differs(s.answers[m.MessageID], f, data) {
		h.w.fail("%s answers request %d in two ways", h.Name, m.MessageID)
	}
	for other := range s.answers[m.MessageID] {
		if other.total != f.total {
			h.w.fail("%s answers request %d in sets of %d and %d fragments", h.Name, m.MessageID, other.total, f.total)
		}
	}
}

// arrives notes that a request is answered.
func (w *watcher) arrives(h *Host, data []byte) {
	m, err := wire.ParseHeader(data)
	if err != nil || !m.Response || isNotice(m) {
		return
	}
	own := m.SPIi
	if m.Initiator {
		own = m.SPIr
	}
	if s := w.sas[saKey{h, own}]; s != nil && s.asked[m.MessageID] != nil {
		s.asked[m.MessageID].answered = true
	}
}

// event notes which IKE SAs are authenticated.
func (w *watcher) event(h *Host, ev ike.Event) {
	if ev.Kind == ike.Established || ev.Kind == ike.Rekeyed {
		w.authenticated[saKey{h, ev.SPIi}] = true
		w.authenticated[saKey{h, ev.SPIr}] = true
	}
}

// installs: no Child SA before AUTH was verified, no traffic outside of the policy, and no key twice.
func (w *watcher) installs(h *Host, e ike.Install) {
	if !w.authenticated[saKey{h, e.IKE}] {
		h.w.fail("%s installs %08x before the peer is authenticated", h.Name, e.SPI)
	}
	ours, theirs := []netip.Addr{e.Path.Local.Addr()}, []netip.Addr{e.Path.Remote.Addr()}
	if a := h.assigned[e.Conn.Name]; !a.IsZero() {
		ours = a.Addrs
	}
	for _, l := range h.book.Leases() {
		if l.Online > 0 {
			theirs = append(theirs, l.Addr)
		}
	}
	local, remote := ts.Resolve(e.Child.LocalTS, ours...), ts.Resolve(e.Child.RemoteTS, theirs...)
	if len(e.Local) == 0 || len(e.Remote) == 0 || !ts.Subset(e.Local, local) || !ts.Subset(e.Remote, remote) {
		h.w.fail("%s installs %v === %v, beyond its policy", h.Name, e.Local, e.Remote)
	}
	if len(e.EncKey) == 0 || bytes.Count(e.EncKey, []byte{0}) == len(e.EncKey) {
		h.w.fail("%s installs %08x without a key", h.Name, e.SPI)
	}
	use := w.keys[string(e.EncKey)]
	if use == nil {
		use = &keyUse{}
		w.keys[string(e.EncKey)] = use
	}
	place := &use.receiver
	if e.Dir == ike.Out {
		place = &use.sender
	}
	if *place != nil || use.sender == h || use.receiver == h {
		h.w.fail("%s installs %08x with a key that is in use", h.Name, e.SPI)
	}
	*place = h
}

// step looks at a host after it took an input.
func (w *watcher) step(h *Host) {
	if len(h.ranges) > 0 {
		w.loans(h)
	}
	for spi := range h.table.in {
		if !h.table.held[spi] {
			h.w.fail("%s gave SPI %08x back, but receives under it", h.Name, spi)
		}
	}
}

// loans: no two identities have the same address, and what is lent is what the IKE SAs have.
func (w *watcher) loans(h *Host) {
	has := make(map[netip.Addr]ident.ID)
	uses := make(map[netip.Addr]int)
	for _, sa := range h.Snapshot() {
		for _, a := range sa.Lent {
			if other, taken := has[a]; taken && !other.Equal(sa.RemoteID) {
				h.w.fail("%s lends %v to %v and to %v", h.Name, a, other, sa.RemoteID)
			}
			has[a] = sa.RemoteID
			uses[a]++
		}
	}
	for _, l := range h.book.Leases() {
		if l.Online != uses[l.Addr] || l.Online > 0 && !l.Owner.Equal(has[l.Addr]) {
			h.w.fail("%s counts %d uses of %v by %v, its IKE SAs have %d of %v", h.Name, l.Online, l.Addr, l.Owner, uses[l.Addr], has[l.Addr])
		}
	}
}
