package config

import (
	"math"
	"slices"
	"strings"
	"time"

	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/psk"
	"github.com/culvert-vpn/culvert/suite"
	"github.com/culvert-vpn/culvert/ts"
)

// Defaults where Culvert's differ from strongSwan's, or where a default is a number.
const (
	defaultPort      = 500
	markedPort       = 4500
	defaultDPDDelay  = 30 * time.Second
	defaultIKERekey  = 4 * time.Hour
	defaultKeyTries  = 1
	defaultESPRekey  = time.Hour
	defaultESPWindow = 0 // the default of the datapath
)

// builder turns the tree into the typed configuration.
type builder struct {
	*report
	config *Config
	places []placed // of the connections, in the same order

	pools []Pos // of their addresses, in the same order

	exposed map[string]Source   // files that others than their owner may access
	secrets map[[32]byte]string // hash of a secret -> its name

	makeFirst  bool // reauthentication is make before break where a connection does not say
	follow     bool // redirects, where a connection does not say
	badSecrets bool // some secrets were refused and are missing in the store

	alone bool // it is one connection, whose pools are elsewhere
}

// placed remembers where a connection and its parts stand, for what the checks say later.
type placed struct {
	conn              Pos
	localID, remoteID Pos
	localIDIsWritten  bool
	children          []Pos
	startAction       []Pos
	localTS, remoteTS []Pos
	proposals         Pos
	espProposals      []Pos
	vips, pools       Pos
}

func build(root *section, exposed map[string]Source, r *report) *Config {
	b := &builder{report: r, config: &Config{Secrets: psk.NewStore()}, exposed: exposed, secrets: map[[32]byte]string{}}
	res := newResolver(root, r)
	top := newSection("", root.pos)
	for _, s := range root.sections {
		top.put(res.effective(s))
	}
	b.top(root, top, res.used)
	if s := top.section("secrets"); s != nil {
		b.addSecrets(s)
	}
	b.addCharon(top.section("charon"))
	b.addCulvert(top.section("culvert"))
	if s := top.section("pools"); s != nil {
		b.addPools(s)
	}
	if s := top.section("connections"); s != nil {
		b.config.connections = s
		for _, k := range s.settings {
			r.fail(k.pos, "name { ... }", "connections holds sections only, one for each connection")
		}
		for _, c := range s.sections {
			b.addConnection(c)
		}
	}
	b.check()
	return b.config
}

// top complains of what does not belong at the top of a file. A section that a reference names is a
// template, whatever it is called.
func (b *builder) top(root, top *section, used map[*section]bool) {
	named := newSection("", root.pos)
	for _, s := range top.sections {
		if !used[root.section(s.name)] {
			named.put(s)
		}
	}
	for _, t := range root.settings {
		named.set(t)
	}
	apply(b.report, place{what: "the file", hint: "only a section that another one inherits from may stand here"}, named, []key[struct{}]{}, rootSubs, nil)
}

// addCharon reads the section charon; nil is none.
func (b *builder) addCharon(s *section) {
	b.config.Retransmit, b.makeFirst, b.follow = ike.DefaultRetransmit, true, true
	if s == nil {
		return
	}
	var c charon
	apply(b.report, place{what: "section charon", hint: "of strongswan.conf only " + strings.Join(keyNames(charonKeys), ", ") + " have a meaning here"}, s, charonKeys, nil, &c)
	b.config.Retransmit = b.schedule(s, &c.retransmission, ike.DefaultRetransmit)
	b.makeFirst, b.follow = c.makeFirst.or(true), c.follow.or(true)
	b.config.breakFirst, b.config.stayPut = !b.makeFirst, !b.follow
}

func (b *builder) addConnection(s *section) {
	c := connection{Connection: &ike.Connection{
		Name: s.name, RemotePort: defaultPort, Window: ike.DefaultWindow, CrashDetection: true,
		DPDDelay: defaultDPDDelay, KeyingTries: defaultKeyTries, MOBIKE: true,
	}}
	shuntsOnly := onlyShunts(s)
	where := placed{conn: s.pos, localID: s.pos, remoteID: s.pos, proposals: b.at(s, "proposals"), vips: b.at(s, "vips"), pools: b.at(s, "pools")}
	apply(b.report, place{what: "connection " + s.name}, s, connectionKeys, connectionSubs, &c)
	b.setLocalPort(s, &c)
	b.usePools(s, &c)
	if c.retransmission.isWritten() {
		c.Retransmit = b.schedule(s, &c.retransmission, b.config.Retransmit)
	}
	c.BreakBeforeMake, c.FollowRedirects = !c.makeFirst.or(b.makeFirst), c.follow.or(b.follow)
	c.setLifetimes()
	if c.RandTime > 0 && (c.RekeyTime > 0 && c.RandTime >= c.RekeyTime || c.ReauthTime > 0 && c.RandTime >= c.ReauthTime) {
		b.fail(b.at(s, "rand_time"), "", "rand_time is subtracted from rekey_time and reauth_time and must be smaller")
	}
	if c.Proposals == nil {
		c.Proposals = suite.Default(suite.IKE)
	}
	if shuntsOnly {
		b.addChildren(s, &c, &where)
		return
	}
	if local, at := b.round(s, "local", localKeys, localSubs); at != nil {
		c.LocalID = local.local
		where.localID, where.localIDIsWritten = b.at(at, "id"), !local.local.IsZero()
	}
	if remote, at := b.round(s, "remote", remoteKeys, remoteSubs); at != nil {
		c.RemoteID = remote.remote
		where.remoteID = b.at(at, "id")
	}
	b.addChildren(s, &c, &where)
	b.config.Connections = append(b.config.Connections, c.Connection)
	b.places = append(b.places, where)
}

// addChildren adds the children of a connection to it, and its shunts to the configuration.
func (b *builder) addChildren(s *section, c *connection, where *placed) {
	children := s.section("children")
	if children == nil {
		return
	}
	for _, k := range children.settings {
		b.fail(k.pos, "name { ... }", "children holds sections only, one for each child")
	}
	for _, sub := range children.sections {
		child := b.child(sub)
		if isShunt(sub) {
			b.addShunt(s.name, sub, child)
			continue
		}
		c.Children = append(c.Children, child)
		where.children = append(where.children, sub.pos)
		where.startAction = append(where.startAction, b.at(sub, "start_action"))
		where.localTS = append(where.localTS, b.at(sub, "local_ts"))
		where.remoteTS = append(where.remoteTS, b.at(sub, "remote_ts"))
		where.espProposals = append(where.espProposals, b.at(sub, "esp_proposals"))
	}
}

// at is where the value of a key stands, or where the section begins if it is not written.
func (b *builder) at(s *section, name string) Pos {
	if t, ok := s.setting(name); ok && t.value != "" {
		return t.at
	}
	return s.pos
}

// setLocalPort lets the port of this side follow from that of the peer: IKE without the non-ESP marker runs between the
// ports 500, and what goes to any other port carries the marker and leaves from 4500 (RFC 7296 2.23, 3.1).
func (b *builder) setLocalPort(s *section, c *connection) {
	c.LocalPort = defaultPort
	if c.RemotePort != defaultPort {
		c.LocalPort = markedPort
	}
	switch port := c.localPort.or(c.LocalPort); {
	case port == c.LocalPort:
	case port == markedPort:
		b.fail(b.at(s, "local_port"), "write remote_port = 4500 as well", "local_port: what is sent to port 500 has to leave from port 500")
	case port == defaultPort:
		b.fail(b.at(s, "local_port"), "remove it", "local_port: what is sent to port %d has to leave from port 4500", c.RemotePort)
	default:
		b.fail(b.at(s, "local_port"), "remove it", "local_port: Culvert listens on the ports 500 and 4500 only")
	}
}

// setLifetimes fills in the defaults: 4 h, or none if the connection is reauthenticated; a tenth of the
// longer one to close it in; as much, but no more than half of the shorter one, to scatter it.
func (c *connection) setLifetimes() {
	c.ReauthTime = c.reauth.v
	rekey := defaultIKERekey
	if c.ReauthTime > 0 {
		rekey = 0
	}
	c.RekeyTime = c.rekey.or(rekey)
	c.OverTime = c.over.or(max(c.RekeyTime, c.ReauthTime) / 10)
	shorter := max(c.RekeyTime, c.ReauthTime)
	if c.RekeyTime > 0 && c.ReauthTime > 0 {
		shorter = min(c.RekeyTime, c.ReauthTime)
	}
	c.RandTime = c.rand.or(min(c.OverTime, shorter/2))
}

// round reads the one section local or remote of a connection. The section is nil if there is none.
func (b *builder) round(s *section, side string, keys []key[round], subs []sub) (round, *section) {
	var r round
	const why = "strongSwan's default is authentication by certificate, which Culvert does not do"
	sections := slices.DeleteFunc(slices.Clone(s.sections), func(t *section) bool {
		return !strings.HasPrefix(t.name, side) || find(connectionKeys, t.name) != nil
	})
	if len(sections) == 0 {
		b.fail(s.pos, side+" { auth = psk }", "connection %s has no section %s, and %s", s.name, side, why)
		return r, nil
	}
	for _, extra := range sections[1:] {
		b.fail(extra.pos, "remove it", "a second round of authentication is not possible: %s", noRounds)
	}
	one := sections[0]
	apply(b.report, place{what: "section " + one.name + " of connection " + s.name}, one, keys, subs, &r)
	if r.auth == "" {
		b.fail(one.pos, "auth = psk", "section %s of connection %s does not say how to authenticate, and %s", one.name, s.name, why)
	}
	return r, one
}

func (b *builder) child(s *section) *ike.Child {
	dynamic := []ts.Spec{{Dynamic: true, Sel: ts.Selector{EndPort: math.MaxUint16}}}
	c := child{Child: &ike.Child{Name: s.name, LocalTS: dynamic, RemoteTS: dynamic, CopyDSCP: ike.Out, ReplayWindow: defaultESPWindow}}
	apply(b.report, place{what: "child " + s.name}, s, childKeys, nil, &c)
	if c.Proposals == nil {
		c.Proposals = suite.Default(suite.ESP)
	}
	c.Rekey.Time, c.Life.Time, c.Rand.Time = resolve(b, s, "time", c.time, defaultESPRekey)
	c.Rekey.Bytes, c.Life.Bytes, c.Rand.Bytes = resolve(b, s, "bytes", c.bytes, 0)
	c.Rekey.Packets, c.Life.Packets, c.Rand.Packets = resolve(b, s, "packets", c.packets, 0)
	return c.Child
}

// resolve completes the limits in one unit and refuses those that cannot work.
func resolve[T ~int64 | ~uint64](b *builder, s *section, unit string, l limits[T], otherwise T) (rekey, life, rand T) {
	rekey, life, rand = l.resolve(otherwise)
	if rekey > 0 && life > 0 && life <= rekey {
		b.fail(b.at(s, "life_"+unit), "", "life_%s must be larger than rekey_%s, or the Child SA is closed before it is rekeyed", unit, unit)
	} else if rekey > 0 && rand >= rekey {
		b.fail(b.at(s, "rand_"+unit), "", "rand_%s is subtracted from rekey_%s and must be smaller", unit, unit)
	}
	return rekey, life, rand
}
