package sim

import (
	"slices"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/natt"
	"github.com/culvert-vpn/culvert/suite"
)

// act is one of the exchanges of an established IKE SA, and how an operator or a timer brings it about.
type act struct {
	name  string
	start func(h *Host, child string)
}

var (
	createChild = act{"create child", func(h *Host, child string) {
		if h.Up(conn, child) > 0 {
			h.Terminate(conn, child)
		}
		h.Initiate(conn, child)
	}}
	rekeyChild  = act{"rekey child", func(h *Host, child string) { h.Rekey(conn, child) }}
	deleteChild = act{"delete child", func(h *Host, child string) { h.Terminate(conn, child) }}
	rekeyIKE    = act{"rekey IKE SA", func(h *Host, _ string) { h.Rekey(conn, "") }}
	deleteIKE   = act{"delete IKE SA", func(h *Host, _ string) { h.Terminate(conn, "") }}
	// Silence brings it about.
	liveness = act{"liveness", func(*Host, string) {}}
)

// How a request is answered, in the words of docs/collisions.md.
const (
	usual    = "as usual"
	noDelete = "no Delete"
	refused  = "TEMPORARY_FAILURE"
	unknown  = "CHILD_SA_NOT_FOUND"
)

// column is a request of the peer: about the child that our own exchange is about, or about another one.
type column struct {
	act
	child string
}

func (c column) name() string {
	switch {
	case c.act.name == rekeyIKE.name || c.act.name == deleteIKE.name || c.act.name == liveness.name:
		return c.act.name
	case c.child == child:
		return c.act.name + ", same"
	}
	return c.act.name + ", another"
}

var columns = []column{
	{createChild, child}, {createChild, other}, {rekeyChild, child}, {rekeyChild, other}, {deleteChild, child}, {deleteChild, other},
	{rekeyIKE, ""}, {deleteIKE, ""}, {liveness, ""},
}

// collisions is the matrix of RFC 7296 2.8.1, 2.8.2 and 2.25 as docs/collisions.md prints it: what is under way at our end, and how
// each request of the peer is answered meanwhile, in the order of the columns.
var collisions = []struct {
	ours    act
	answers [9]string
}{
	{createChild, [9]string{usual, usual, refused, usual, noDelete, usual, refused, usual, usual}},
	{rekeyChild, [9]string{usual, usual, usual, usual, usual, usual, refused, usual, usual}},
	{deleteChild, [9]string{usual, usual, refused, usual, noDelete, usual, refused, usual, usual}},
	{rekeyIKE, [9]string{refused, refused, refused, refused, usual, usual, usual, usual, usual}},
	{deleteIKE, [9]string{refused, refused, refused, refused, noDelete, noDelete, refused, usual, usual}},
	{liveness, [9]string{usual, usual, usual, usual, usual, usual, usual, usual, usual}},
}

// mischief is what happens to our request and its answer, once the peer's own request has left. The peer's is always on its way
// before it sees ours, or our request is answered but the answer not there.
type mischief struct {
	name string
	// late is how long our request is held back after the peer's has left: 0 lets them cross; with 30 ms it meets what the peer
	// sends next, with 1 s the peer is done.
	late time.Duration
	// lost: only the first transmission is held back, and for ever.
	lost bool
	// answerLate and answerLost are the same for the answer to our request.
	answerLate time.Duration
	answerLost bool
	// theirsLost: our answer to the peer's request is lost once.
	theirsLost bool
}

var mischiefs = []mischief{
	{name: "crossing"},
	{name: "our request late", late: 30 * time.Millisecond},
	{name: "our request very late", late: time.Second},
	{name: "our request lost", lost: true},
	{name: "the answer to us late", answerLate: 30 * time.Millisecond},
	{name: "the answer to us very late", answerLate: time.Second},
	{name: "the answer to us lost", answerLost: true},
	{name: "our answer lost", theirsLost: true},
}

// TestCollisions walks the matrix: each cell from both ends, with every mischief. Our answer is the one of the matrix, and in the
// end both ends agree.
//
// Cases: BUG-25; SGW.I.1.2.5.1; SGW.I.1.2.6.1; SGW.I.1.2.6.2; SGW.I.1.2.6.7; SGW.I.1.2.6.8; SGW.I.1.2.6.9; SGW.I.1.2.6.10;
// SGW.I.1.2.6.11; SGW.I.1.2.6.12; SGW.I.1.2.6.13; SGW.I.1.2.6.14; SGW.I.1.2.6.15; TestResponderRekeyRepeat; child_rekey collision;
// child_rekey collision_delete; child_rekey collision_delete_drop_delete; child_rekey collision_ike_rekey; child_rekey
// collision_ike_delete; ike_rekey collision; ike_rekey collision_delete; ike_rekey collision_delete_drop_delete; child_create
// collision_ike_rekey; child_delete regular; child_delete collision_ike_rekey; child_delete collision_ike_delete; ike_delete.
func TestCollisions(t *testing.T) {
	for _, row := range collisions {
		t.Run(row.ours.name, func(t *testing.T) {
			for i, theirs := range columns {
				t.Run(theirs.name(), func(t *testing.T) {
					t.Parallel()
					for _, m := range mischiefs {
						for seed := range uint64(2) {
							c := meet(t, seed, row.ours, theirs, m)
							if got := c.answer; got != row.answers[i] {
								t.Errorf("%s, seed %d: answered %q, want %q", m.name, seed, got, row.answers[i])
							}
							c.settled(row.ours, theirs)
							if t.Failed() {
								return
							}
						}
					}
				})
			}
		})
	}
}

// meeting is a scene in which a request of ours and one of the peer's cross.
type meeting struct {
	*scene
	us, them *Host
	mischief mischief
	// ours and theirs are the two requests; answer is ours to theirs.
	ours, theirs *letter
	answer       string
	held         []Datagram
	// before is the IKE SA that they cross in, oldChild our SPI of the child.
	before   ike.SAInfo
	oldChild uint32
	// letters are all IKE messages that were sent since, each once.
	letters []*letter
}

// letter is an IKE message with its payloads.
type letter struct {
	from     *Host
	header   wire.Header
	payloads []wire.Payload
}

// answers reports whether l is the answer to a request.
func (l *letter) answers(r *letter) bool {
	return r != nil && l.from != r.from && l.header.Response && l.header.MessageID == r.header.MessageID && l.header.SPIi == r.header.SPIi
}

func (l *letter) same(o *letter) bool {
	return o != nil && l.from == o.from && l.header.Response == o.header.Response && l.header.MessageID == o.header.MessageID && l.header.SPIi == o.header.SPIi
}

// meet lets ours and theirs meet. The end that is us changes with the seed.
func meet(t *testing.T, seed uint64, ours act, theirs column, mi mischief) *meeting {
	t.Helper()
	probes := func(a act) time.Duration {
		if a.name == liveness.name {
			return 10 * time.Second
		}
		return -1
	}
	m := &meeting{mischief: mi}
	m.scene = newScene(t, seed, func(a, b *side) {
		a.start, b.start, a.second, b.second = ike.Trap, ike.Trap, true, true
		if seed%2 == 1 {
			a, b = b, a
		}
		a.dpd, b.dpd = probes(ours), probes(theirs.act)
	})
	m.us, m.them = m.a, m.b
	if seed%2 == 1 {
		m.us, m.them = m.b, m.a
	}
	m.Run(time.Second)
	m.a.Initiate(conn, "")
	m.up()
	if ours.name == createChild.name {
		m.us.Terminate(conn, child)
	}
	if theirs.act.name == createChild.name && (theirs.child == other || ours.name == createChild.name) {
		m.them.Terminate(conn, theirs.child)
	}
	m.Run(20 * time.Second)
	m.before, _ = m.us.Current(conn)
	m.oldChild = m.us.inbound(child)
	// A child that we ask for is known to the peer only when it has answered.
	known := theirs.child == child && ours.name == createChild.name && theirs.act.name != createChild.name
	if known {
		m.mischief.late, m.mischief.lost = 0, false
		m.Lose = func(d *Datagram) bool { return m.watchAnswers(d, ours) }
		ours.start(m.us, child)
		m.Run(30 * time.Millisecond)
	} else {
		m.Lose = func(d *Datagram) bool { return m.watchRequests(d, ours) }
		ours.start(m.us, child)
		m.RunUntil(15*time.Second, func() bool { return m.ours != nil })
	}
	if m.ours == nil {
		t.Fatalf("we do not %s", ours.name)
	}
	tap := m.Lose
	m.Lose = func(d *Datagram) bool {
		if l := m.read(d); m.theirs == nil && l != nil && l.from == m.them && l.kind() == theirs.act.name {
			m.theirs = l
			if !known {
				m.release(mi.late)
			}
		}
		return tap(d)
	}
	theirs.act.start(m.them, theirs.child)
	if !m.RunUntil(30*time.Second, func() bool { return m.answer != "" }) {
		t.Fatalf("%s: %s x %s: theirs is sent: %v, and not answered", mi.name, ours.name, theirs.name(), m.theirs != nil)
	}
	return m
}

// watchRequests holds our request back until the peer's has left.
func (m *meeting) watchRequests(d *Datagram, ours act) bool {
	l := m.read(d)
	if l == nil {
		return false
	}
	if m.ours == nil && l.from == m.us && l.kind() == ours.name {
		m.ours = l
		return m.hold(d, !m.mischief.lost)
	}
	if m.theirs == nil && l.same(m.ours) {
		return m.hold(d, true)
	}
	return m.common(d, l)
}

// watchAnswers lets our request through and holds the answer back until the peer's request was answered.
func (m *meeting) watchAnswers(d *Datagram, ours act) bool {
	l := m.read(d)
	if l == nil {
		return false
	}
	if m.ours == nil && l.from == m.us && l.kind() == ours.name {
		m.ours = l
	}
	if m.answer == "" && l.answers(m.ours) {
		return m.hold(d, !m.mischief.answerLost)
	}
	return m.common(d, l)
}

// common is the mischief that both have in common.
func (m *meeting) common(d *Datagram, l *letter) bool {
	first := !m.heard(l)
	if first {
		m.letters = append(m.letters, l)
	}
	switch {
	case m.answer == "" && l.answers(m.theirs):
		m.answer = l.verdict(m.theirs)
		m.release(m.mischief.answerLate)
		return m.mischief.theirsLost
	case first && l.answers(m.ours) && m.mischief.answerLate > 0:
		m.hold(d, true)
		m.release(m.mischief.answerLate)
		return true
	}
	return first && l.answers(m.ours) && m.mischief.answerLost
}

func (m *meeting) heard(l *letter) bool { return slices.ContainsFunc(m.letters, l.same) }

// hold takes a datagram off the network and, with keep, for release.
func (m *meeting) hold(d *Datagram, keep bool) bool {
	if keep {
		m.held = append(m.held, *d)
	}
	return true
}

// release lets go what was held, after a while.
func (m *meeting) release(wait time.Duration) {
	held := m.held
	m.held = nil
	for _, d := range held {
		m.After(wait+m.Link.Latency, func() { m.arrive(d) })
	}
}

// read is the letter in a datagram, nil if it is no encrypted IKE message.
func (m *meeting) read(d *Datagram) *letter {
	if !d.IsIKE() {
		return nil
	}
	_, data := natt.Classify(d.Src.Port() == natt.PortNATT, d.Data)
	data = slices.Clone(data)
	parsed, err := wire.Parse(data)
	if err != nil || parsed.Encrypted == nil {
		return nil
	}
	payloads, err := m.trace.decrypt(data, parsed)
	if err != nil {
		m.fail("%s sends what nobody can read: %v", d.From.Name, err)
		return nil
	}
	return &letter{d.From, parsed.Header, payloads}
}

// kind is the name of the act that a request belongs to; empty for an answer.
func (l *letter) kind() string {
	if l.header.Response {
		return ""
	}
	if l.header.Exchange == wire.CREATE_CHILD_SA {
		for _, p := range l.payloads {
			switch p := p.(type) {
			case *wire.Notify:
				if p.Kind == wire.REKEY_SA {
					return rekeyChild.name
				}
			case *wire.SA:
				if p.Proposals[0].Protocol == suite.IKE {
					return rekeyIKE.name
				}
			}
		}
		return createChild.name
	}
	if d := payload[*wire.Delete](l); d == nil {
		return liveness.name
	} else if d.Protocol == suite.IKE {
		return deleteIKE.name
	}
	return deleteChild.name
}

// verdict says in words what an answer is.
func (l *letter) verdict(request *letter) string {
	if n := payload[*wire.Notify](l); n != nil && n.Kind.IsError() {
		return n.Kind.String()
	}
	if request.kind() == deleteChild.name && payload[*wire.Delete](l) == nil {
		return noDelete
	}
	return usual
}

// payload is the first payload of a type, or nil.
func payload[P wire.Payload](l *letter) (none P) {
	for _, p := range l.payloads {
		if p, ok := p.(P); ok {
			return p
		}
	}
	return none
}

// settled checks that in the end both ends have what was wanted, and after the end nothing.
func (m *meeting) settled(ours act, theirs column) {
	m.t.Helper()
	m.Run(3 * time.Minute)
	m.quiet()
	for _, c := range []string{child, other} {
		want := left(ours, theirs, c)
		if a, b := m.a.Up(conn, c), m.b.Up(conn, c); a != want || b != want {
			m.t.Errorf("%s: %d and %d Child SAs of %s, want %d", m.mischief.name, a, b, c, want)
		}
	}
	is := func(a act) bool { return ours.name == a.name || theirs.act.name == a.name }
	now, up := m.us.Current(conn)
	switch {
	case up && is(rekeyIKE) && now.SPIi == m.before.SPIi:
		m.t.Errorf("%s: the IKE SA has no successor", m.mischief.name)
	case up && ours.name == rekeyChild.name && m.us.inbound(child) == m.oldChild && m.oldChild != 0:
		m.t.Errorf("%s: the child has no successor", m.mischief.name)
	}
	m.wantEnd()
}

// left is how many Child SAs of a child there are in the end. What one end opens is stronger than what the other closes meanwhile,
// but for the very Child SA that was opened.
func left(ours act, theirs column, c string) int {
	opened, closed := ours.name == createChild.name && c == child, ours.name == deleteChild.name && c == child
	if theirs.child == c {
		closed = closed || theirs.act.name == deleteChild.name
		opened = opened && theirs.act.name != deleteChild.name || theirs.act.name == createChild.name
	}
	closed = closed || ours.name == deleteIKE.name || theirs.act.name == deleteIKE.name
	if closed && !opened {
		return 0
	}
	return 1
}

// inbound is the SPI under which a host receives the traffic of a child, 0 if there is none.
func (h *Host) inbound(child string) uint32 {
	for _, sa := range h.Snapshot() {
		for _, c := range sa.Children {
			if c.Name == child && c.State == "up" {
				return c.In
			}
		}
	}
	return 0
}
