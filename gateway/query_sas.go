package gateway

import (
	"fmt"
	"slices"
	"time"

	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/suite"
	"github.com/culvert-vpn/culvert/vici"
)

// How IKE SAs and Child SAs are told by vici, for those who ask and in events. Names and order are charon's: swanctl prints the
// header of an IKE SA when it comes to its children.

// filter says which SAs are meant. The zero value means all.
type filter struct {
	ike, child     string
	ikeID, childID uint64
}

// readFilter reads the keys by which SAs are chosen.
func readFilter(args *vici.Message) (f filter, err error) {
	f.ike, f.child = args.Text("ike"), args.Text("child")
	if f.ikeID, _, err = args.Uint("ike-id", 64); err == nil {
		f.childID, _, err = args.Uint("child-id", 64)
	}
	return f, err
}

func (f filter) isEmpty() bool { return f == filter{} }

// aboutChildren reports whether it is Child SAs that are meant.
func (f filter) aboutChildren() bool { return f.child != "" || f.childID != 0 }

func (f filter) takes(sa *ike.SAInfo) bool {
	return (f.ike == "" || f.ike == sa.Conn) && (f.ikeID == 0 || f.ikeID == sa.ID)
}

func (f filter) takesChild(c *ike.ChildInfo) bool {
	return (f.child == "" || f.child == c.Name) && (f.childID == 0 || f.childID == c.ID)
}

// unnamed is how an IKE SA is called of which the connection is not known yet.
const unnamed = "(unnamed)"

// listSAs tells of every IKE SA that is chosen.
func listSAs(c *call) (*vici.Message, error) {
	f, err := readFilter(c.args)
	if err != nil {
		return nil, err
	}
	var list []*vici.Message
	if err := c.gateway.do(c.ctx, func(k *control) {
		for _, sa := range k.endpoint.Snapshot() {
			if f.takes(&sa) {
				sa.Children = slices.DeleteFunc(sa.Children, func(c ike.ChildInfo) bool { return !f.takesChild(&c) || c.State == "draining" })
				list = append(list, new(vici.Message).Add(nameOf(&sa), k.describeSA(&sa, true)))
			}
		}
	}); err != nil {
		return nil, err
	}
	return c.streamAll("list-sa", list)
}

// streamAll tells of a list by events; the answer is empty.
func (c *call) streamAll(event string, list []*vici.Message) (*vici.Message, error) {
	for _, m := range list {
		if err := c.stream(event, m); err != nil {
			return nil, err
		}
	}
	return &vici.Message{}, nil
}

func nameOf(sa *ike.SAInfo) string {
	if sa.Conn == "" {
		return unnamed
	}
	return sa.Conn
}

// describeSA is all of an IKE SA, with or without its children.
func (c *control) describeSA(sa *ike.SAInfo, children bool) *vici.Message {
	m := &vici.Message{}
	state := charonState(sa)
	m.SetUint("uniqueid", sa.ID).Set("version", "2").Set("state", state)
	m.Set("local-host", sa.Path.Local.Addr().String()).SetUint("local-port", uint64(sa.Path.Local.Port())).Set("local-id", charonID(sa.LocalID))
	m.Set("remote-host", sa.Path.Remote.Addr().String()).SetUint("remote-port", uint64(sa.Path.Remote.Port())).Set("remote-id", charonID(sa.RemoteID))
	m.SetYes("initiator", sa.Initiator)
	m.Setf("initiator-spi", "%016x", sa.SPIi).Setf("responder-spi", "%016x", sa.SPIr)
	// Encapsulation in UDP is forced: where there is no NAT, one is pretended.
	m.SetYes("nat-local", sa.NAT.LocalNAT).SetYes("nat-remote", sa.NAT.RemoteNAT)
	m.SetYes("nat-fake", sa.NAT.Supported && !sa.NAT.LocalNAT && !sa.NAT.RemoteNAT).SetYes("nat-any", sa.NAT.Supported)
	setProposal(m, sa.Proposal, true)
	if state == "ESTABLISHED" {
		c.setAge(m, "established", sa.Established)
		c.setLeft(m, "rekey-time", sa.RekeyAt)
		c.setLeft(m, "reauth-time", sa.ReauthAt)
	}
	setList(m, "local-vips", texts(sa.Assigned))
	setList(m, "remote-vips", texts(sa.Lent))
	setList(m, "tasks-queued", charonTasks(sa.Waiting))
	setList(m, "tasks-active", charonTasks(sa.Asking))
	if !children {
		return m
	}
	section := m.Section("child-sas")
	for i := range sa.Children {
		child := &sa.Children[i]
		section.Add(fmt.Sprintf("%s-%d", child.Name, child.ID), c.describeChild(sa, child))
	}
	return m
}

// describeChild is all of a Child SA.
func (c *control) describeChild(sa *ike.SAInfo, child *ike.ChildInfo) *vici.Message {
	m := &vici.Message{}
	m.Set("name", child.Name).SetUint("uniqueid", child.ID).SetUint("reqid", c.reqid(sa.Conn, child.Name))
	m.Set("state", charonChildState(child)).Set("mode", charonMode(child.Mode)).Set("protocol", "ESP").Set("encap", "yes")
	m.Setf("spi-in", "%08x", child.In).Setf("spi-out", "%08x", child.Out)
	setProposal(m, child.Proposal, false)
	now := time.Now()
	var in, out use
	if ch := c.children[child.In]; ch != nil {
		ch.seeUse(now)
		in, out = ch.usedIn, ch.usedOut
	}
	in.tell(m, "in", now)
	out.tell(m, "out", now)
	c.setLeft(m, "rekey-time", child.RekeyAt)
	c.setLeft(m, "life-time", child.ExpireAt)
	c.setAge(m, "install-time", child.Born)
	return m.SetList("local-ts", charonSelectors(child.Local)...).SetList("remote-ts", charonSelectors(child.Remote)...)
}

// use is what one direction of a Child SA carried, and when it was seen to last.
type use struct {
	packets, bytes uint64
	at             time.Time
}

func (u *use) see(packets, bytes uint64, now time.Time) {
	if packets != u.packets {
		u.at = now
	}
	u.packets, u.bytes = packets, bytes
}

func (u *use) tell(m *vici.Message, direction string, now time.Time) {
	m.SetUint("bytes-"+direction, u.bytes).SetUint("packets-"+direction, u.packets)
	if !u.at.IsZero() {
		m.Set("use-"+direction, seconds(now.Sub(u.at)))
	}
}

// seeUse looks at what was carried. The datapath only counts; that it is looked at each second tells when it last did.
func (ch *child) seeUse(now time.Time) {
	if ch.in != nil {
		packets, bytes := ch.in.esp.Stats()
		ch.usedIn.see(packets, bytes, now)
	}
	if ch.out != nil {
		packets, bytes := ch.out.esp.Stats()
		ch.usedOut.see(packets, bytes, now)
	}
}

// setProposal names the algorithms that were agreed upon. The key exchange of a Child SA is named if it had one of its own.
func setProposal(m *vici.Message, p suite.Proposal, isIKE bool) {
	if t, ok := p.Get(suite.TypeENCR); ok {
		m.Set("encr-alg", charonAlgorithm(t))
		if t.KeyBits != 0 {
			m.SetUint("encr-keysize", uint64(t.KeyBits))
		}
	}
	if t, ok := p.Get(suite.TypeINTEG); ok && t.ID != suite.AUTH_NONE {
		m.Set("integ-alg", charonAlgorithm(t))
	}
	if t, ok := p.Get(suite.TypePRF); ok && isIKE {
		m.Set("prf-alg", charonAlgorithm(t))
	}
	if t, ok := p.Get(suite.TypeKE); ok && t.ID != suite.KE_NONE {
		m.Set("dh-group", charonAlgorithm(t))
	}
	if t, ok := p.Get(suite.TypeESN); ok && t.ID == suite.ESN {
		m.Set("esn", "1")
	}
}

// setAge tells how many seconds ago something was, setLeft in how many it will be, if there is such a time.
func (c *control) setAge(m *vici.Message, name string, at time.Time) {
	m.Set(name, seconds(c.clock.now().Sub(at)))
}

func (c *control) setLeft(m *vici.Message, name string, at time.Time) {
	if !at.IsZero() {
		m.Set(name, seconds(at.Sub(c.clock.now())))
	}
}

// setList tells a list, unless it is empty.
func setList(m *vici.Message, name string, items []string) {
	if len(items) > 0 {
		m.SetList(name, items...)
	}
}

// reqid is a number for a configured child, which all its Child SAs have in common.
func (c *control) reqid(conn, child string) uint64 {
	key := [2]string{conn, child}
	if c.reqids[key] == 0 {
		c.reqids[key] = uint64(len(c.reqids) + 1)
	}
	return c.reqids[key]
}
