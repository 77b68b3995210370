package gateway

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/culvert-vpn/culvert/explain"
	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/suite"
)

// Status is a gateway at one moment, fit for JSON. Nothing in it is secret.
type Status struct {
	Time    time.Time `json:"time"`
	Started time.Time `json:"started,omitzero"`
	// Device is the name of the TUN device, as far as the gateway knows it; MTU the longest packet it takes.
	Device string `json:"device,omitempty"`
	MTU    int    `json:"mtu,omitempty"`
	// Offloads are all fast paths there are; Queues is the number of queues of the TUN device.
	Offloads []OffloadStatus `json:"offloads,omitempty"`
	Queues   int             `json:"queues,omitempty"`
	Sockets  []SocketStatus  `json:"sockets,omitempty"`
	// AESGCM is what computes AES-GCM: "vaes-avx512", "vaes-avx2", or "library" on CPUs without these instructions.
	AESGCM string `json:"aes_gcm,omitempty"`
	// Shortages say what the host has not granted, and what to change.
	Shortages   []string           `json:"shortages,omitempty"`
	Connections []ConnectionStatus `json:"connections"`
	// Shunts are the policies without a tunnel.
	Shunts []ShuntStatus `json:"shunts,omitempty"`
	// Pools lend addresses to peers.
	Pools []PoolStatus `json:"pools,omitempty"`
	// Secrets are the pre-shared keys that there are.
	Secrets []SecretStatus `json:"secrets,omitempty"`
	// Strangers are the IKE SAs of peers that are not known yet.
	Strangers []IKEStatus `json:"strangers,omitempty"`
	// Refused are the last failures with peers that belong to no connection, the latest last.
	Refused []Failure `json:"refused,omitempty"`
	// Warnings are what is wrong with the host, each with a Diagnosis.
	Warnings []Failure `json:"warnings,omitempty"`
	// SPIs is how many inbound SPIs are lent: one for each Child SA, and for each that is being negotiated or has just gone.
	SPIs int `json:"spis"`
	// Drops counts the packets that were not passed on, by reason, IKEDrops the IKE messages that were not acted upon.
	Drops    map[string]uint64 `json:"drops"`
	IKEDrops map[string]uint64 `json:"ike_drops"`
	// Keepalives of NAT traversal.
	KeepalivesIn  uint64 `json:"keepalives_in"`
	KeepalivesOut uint64 `json:"keepalives_out"`
	ECNUnused     uint64 `json:"ecn_unused"`
}

// ConnectionStatus is a configured connection.
type ConnectionStatus struct {
	Name string `json:"name"`
	// Source is where it comes from: "file", "vici", or "program" if a program made the gateway without a file.
	Source string `json:"source"`
	// Up: an IKE SA is established.
	Up       bool        `json:"up"`
	Peer     string      `json:"peer,omitempty"` // whom we call
	LocalID  string      `json:"local_id,omitempty"`
	RemoteID string      `json:"remote_id"`
	IKE      []IKEStatus `json:"ike,omitempty"`
	// Assigned is what the peer has assigned to us.
	Assigned *AssignedStatus `json:"assigned,omitempty"`
	Children []ChildStatus   `json:"children"`
	// LastFailure is the last failure, even if all is well now.
	LastFailure *Failure `json:"last_failure,omitempty"`
	// Warnings are what is not as it should be now, although nothing has failed; each has a Diagnosis.
	Warnings []Failure `json:"warnings,omitempty"`
}

// SecretStatus says that there is a secret, and whose it is.
type SecretStatus struct {
	Name   string   `json:"name"`
	Owners []string `json:"owners"` // none: anybody
	Source string   `json:"source"` // as of a connection
}

// ShuntStatus is a policy without a tunnel.
type ShuntStatus struct {
	Connection string   `json:"connection"`
	Source     string   `json:"source"` // as of a connection
	Name       string   `json:"name"`
	Mode       string   `json:"mode"` // "pass" or "drop"
	Local      []string `json:"local"`
	Remote     []string `json:"remote"`
	// Dropped counts its packets that came to the gateway: all of mode drop, and of mode pass those that the host did not let
	// pass, which should be none.
	Dropped uint64 `json:"dropped"`
}

// Failure is what went wrong, when, and what to change.
type Failure struct {
	Time   time.Time `json:"time"`
	Kind   string    `json:"kind"`
	Child  string    `json:"child,omitempty"`
	Peer   string    `json:"peer,omitempty"`
	Text   string    `json:"text"`
	Remedy string    `json:"remedy,omitempty"`
	// Diagnosis is the same at length, if the cause is known.
	Diagnosis *explain.Diagnosis `json:"diagnosis,omitempty"`
}

// ChildStatus is a configured child.
type ChildStatus struct {
	Name   string   `json:"name"`
	Up     bool     `json:"up"`
	Local  []string `json:"local"`
	Remote []string `json:"remote"`
	// Wanted: it is being brought up or kept up; Held: it is down by order of the operator.
	Wanted bool `json:"wanted"`
	Held   bool `json:"held,omitempty"`
	// Attempts without success so far, and when the next one is made.
	Attempts int       `json:"attempts,omitempty"`
	NextTry  time.Time `json:"next_try,omitzero"`
	// What all its Child SAs have carried, those that are gone as well.
	PacketsIn  uint64 `json:"packets_in"`
	BytesIn    uint64 `json:"bytes_in"`
	PacketsOut uint64 `json:"packets_out"`
	BytesOut   uint64 `json:"bytes_out"`
	// DroppedNoSA counts the packets that were dropped because it was not up.
	DroppedNoSA uint64 `json:"dropped_no_sa"`
}

// IKEStatus is an IKE SA.
type IKEStatus struct {
	State     string `json:"state"`
	Up        bool   `json:"up"`
	Initiator bool   `json:"initiator"`
	SPIi      string `json:"spi_i"`
	SPIr      string `json:"spi_r,omitempty"`
	Local     string `json:"local"`
	Remote    string `json:"remote"`
	// NAT says in words where a NAT was found; NATHere is one in front of us, NATThere one in front of the peer.
	NAT      string `json:"nat"`
	NATHere  bool   `json:"nat_here"`
	NATThere bool   `json:"nat_there"`
	// MOBIKE: the addresses may change without a new IKE SA. PeerAddresses are those of the peer besides Remote, as it told.
	MOBIKE        bool     `json:"mobike"`
	PeerAddresses []string `json:"peer_addresses,omitempty"`
	// RedirectedBy is the gateway that sent us to the peer, if one did (RFC 5685).
	RedirectedBy string `json:"redirected_by,omitempty"`
	LocalID      string `json:"local_id,omitempty"`
	RemoteID     string `json:"remote_id,omitempty"`
	// Secret says how the pre-shared key was found.
	Secret string `json:"secret,omitempty"`
	// LocalVIPs are our addresses on the inner network, RemoteVIPs those that the peer has of us.
	LocalVIPs   []string        `json:"local_vips,omitempty"`
	RemoteVIPs  []string        `json:"remote_vips,omitempty"`
	Proposal    string          `json:"proposal,omitempty"`
	Established time.Time       `json:"established,omitzero"`
	RekeyAt     time.Time       `json:"rekey_at,omitzero"`
	ReauthAt    time.Time       `json:"reauth_at,omitzero"`
	ExpireAt    time.Time       `json:"expire_at,omitzero"`
	Children    []ChildSAStatus `json:"children,omitempty"`
}

// AssignedStatus is what a peer has assigned to us.
type AssignedStatus struct {
	Addresses []string `json:"addresses"`
	// Servers resolve the names of Domains, or all names if there are none.
	Servers []string `json:"servers,omitempty"`
	Domains []string `json:"domains,omitempty"`
	// Unused says why the servers are not in use, if they are not.
	Unused   string   `json:"unused,omitempty"`
	Networks []string `json:"networks,omitempty"`
}

// ChildSAStatus is a Child SA. Bytes are those that were encrypted or decrypted.
type ChildSAStatus struct {
	Name     string   `json:"name"`
	State    string   `json:"state"`
	SPIIn    string   `json:"spi_in"`
	SPIOut   string   `json:"spi_out"`
	Mode     string   `json:"mode"` // "tunnel" or "transport"
	Proposal string   `json:"proposal"`
	Local    []string `json:"local"`
	Remote   []string `json:"remote"`
	// MTU is the longest inner packet that crosses the path without fragments.
	MTU        int               `json:"mtu,omitempty"`
	PacketsIn  uint64            `json:"packets_in"`
	BytesIn    uint64            `json:"bytes_in"`
	PacketsOut uint64            `json:"packets_out"`
	BytesOut   uint64            `json:"bytes_out"`
	DropsIn    map[string]uint64 `json:"drops_in,omitempty"`
	Born       time.Time         `json:"born"`
	RekeyAt    time.Time         `json:"rekey_at,omitzero"`
	ExpireAt   time.Time         `json:"expire_at,omitzero"`
}

// Status takes a snapshot. Of a gateway that does not run it knows the configuration and the counters only.
func (g *Gateway) Status() Status {
	var s Status
	if g.started.Load() && g.do(context.Background(), func(c *control) { s = c.status() }) == nil {
		return s
	}
	s = Status{Time: time.Now(), Connections: []ConnectionStatus{}, Drops: g.counters.byReason(), IKEDrops: map[string]uint64{}}
	for _, conn := range g.cfg.Connections {
		s.Connections = append(s.Connections, configured(conn))
	}
	(&sources{file: g.cfg}).sign(&s)
	return s
}

// configured is what the configuration says of a connection.
func configured(conn *ike.Connection) ConnectionStatus {
	s := ConnectionStatus{
		Name: conn.Name, Peer: conn.RemoteHost, LocalID: idText(conn.LocalID), RemoteID: conn.RemoteID.String(),
		Children: []ChildStatus{},
	}
	for _, child := range conn.Children {
		s.Children = append(s.Children, ChildStatus{Name: child.Name, Local: texts(child.LocalTS), Remote: texts(child.RemoteTS)})
	}
	return s
}

// status takes a snapshot on the control goroutine.
func (c *control) status() Status {
	c.handle(ike.Tick{}) // SPIs that were taken down last are given back when the endpoint is called again
	s := Status{
		Time: time.Now(), Started: c.began, Device: c.edges.name, MTU: c.deviceMTU, Connections: []ConnectionStatus{},
		Refused: slices.Clone(c.refused), Warnings: slices.Clone([]Failure(c.warnings)), Drops: c.counters.byReason(), IKEDrops: maps.Clone(c.ikeDrops),
		KeepalivesIn: c.counters.keepalivesIn.Load(), KeepalivesOut: c.counters.keepalivesOut.Load(),
		ECNUnused: c.counters.ecnUnused.Load(), SPIs: c.slots.InUse(),
		Offloads: c.edges.offloadStatus(), Queues: len(c.edges.queues), Sockets: c.edges.socketStatus(), Shortages: c.edges.shortages(), AESGCM: suite.AESGCM(),
	}
	index := make(map[string]int)
	for i, conn := range c.order {
		index[conn.cfg.Name] = i
		s.Connections = append(s.Connections, configured(conn.cfg))
		s.Connections[i].LastFailure = conn.failure
		s.Connections[i].Warnings = slices.Clone([]Failure(conn.warnings))
		s.Connections[i].Assigned = c.inner.status(conn.cfg)
	}
	for _, shunt := range c.policies.shunts {
		s.Shunts = append(s.Shunts, shunt.status())
	}
	s.Pools = c.leases.status()
	c.sources.sign(&s)
	for _, sa := range c.endpoint.Snapshot() {
		status := c.ikeStatus(sa)
		if i, ok := index[sa.Conn]; ok {
			s.Connections[i].IKE = append(s.Connections[i].IKE, status)
			s.Connections[i].Up = s.Connections[i].Up || sa.Current
		} else {
			s.Strangers = append(s.Strangers, status)
		}
	}
	wishes := make(map[[2]string]ike.Wish)
	for _, w := range c.endpoint.Wishes() {
		wishes[[2]string{w.Conn, w.Child}] = w
	}
	for _, k := range c.policies.children {
		child := s.Connections[index[k.conn.Name]].child(k.cfg.Name)
		child.Up, child.DroppedNoSA = c.policies.up(k), k.noSA.Load()
		carried := k.account.total()
		child.PacketsIn, child.BytesIn, child.PacketsOut, child.BytesOut = carried.PacketsIn, carried.BytesIn, carried.PacketsOut, carried.BytesOut
		if w, ok := wishes[[2]string{k.conn.Name, k.cfg.Name}]; ok {
			child.Wanted, child.Held, child.Attempts, child.NextTry = w.Wanted, w.Held, w.Attempts, c.clock.wall(w.NotYet)
		}
	}
	return s
}

func (s *shunt) status() ShuntStatus {
	return ShuntStatus{
		Connection: s.cfg.Conn, Name: s.cfg.Name, Mode: s.cfg.Mode(), Local: texts(s.cfg.Local), Remote: texts(s.cfg.Remote), Dropped: s.dropped.Load(),
	}
}

func (s *ConnectionStatus) child(name string) *ChildStatus {
	return &s.Children[slices.IndexFunc(s.Children, func(c ChildStatus) bool { return c.Name == name })]
}

func (c *control) ikeStatus(sa ike.SAInfo) IKEStatus {
	s := IKEStatus{
		State: sa.State, Up: sa.Current, Initiator: sa.Initiator, SPIi: ikeSPI(sa.SPIi), SPIr: ikeSPI(sa.SPIr),
		Local: sa.Path.Local.String(), Remote: sa.Path.Remote.String(), NAT: sa.NAT.String(), NATHere: sa.NAT.LocalNAT, NATThere: sa.NAT.RemoteNAT, MOBIKE: sa.MOBIKE,
		LocalID: idText(sa.LocalID), RemoteID: idText(sa.RemoteID), Secret: sa.Secret,
		LocalVIPs: texts(sa.Assigned), RemoteVIPs: texts(sa.Lent),
		Proposal: sa.Proposal.String(), Established: c.clock.wall(sa.Established), RekeyAt: c.clock.wall(sa.RekeyAt),
		ReauthAt: c.clock.wall(sa.ReauthAt), ExpireAt: c.clock.wall(sa.ExpireAt),
	}
	if sa.RedirectedBy.IsValid() {
		s.RedirectedBy = sa.RedirectedBy.String()
	}
	for _, a := range sa.PeerAddrs {
		s.PeerAddresses = append(s.PeerAddresses, a.String())
	}
	for _, info := range sa.Children {
		s.Children = append(s.Children, c.childSAStatus(info))
	}
	return s
}

func (c *control) childSAStatus(info ike.ChildInfo) ChildSAStatus {
	s := ChildSAStatus{
		Name: info.Name, State: info.State, SPIIn: espSPI(info.In), SPIOut: espSPI(info.Out), Mode: info.Mode.String(),
		Proposal: info.Proposal.String(), Local: texts(info.Local), Remote: texts(info.Remote),
		Born: c.clock.wall(info.Born), RekeyAt: c.clock.wall(info.RekeyAt), ExpireAt: c.clock.wall(info.ExpireAt),
	}
	ch := c.children[info.In]
	if ch == nil {
		return s
	}
	if ch.in != nil {
		s.PacketsIn, s.BytesIn = ch.in.esp.Stats()
		for reason, n := range ch.in.esp.Drops() {
			if s.DropsIn == nil {
				s.DropsIn = make(map[string]uint64)
			}
			s.DropsIn[reason.String()] = n
		}
	}
	if ch.out != nil {
		s.PacketsOut, s.BytesOut = ch.out.esp.Stats()
		s.MTU = ch.out.maxPacket(int(ch.out.route.Load().room.Load()))
	}
	return s
}

// texts are selectors in words.
func texts[T fmt.Stringer](list []T) []string {
	words := []string{}
	for _, s := range list {
		words = append(words, s.String())
	}
	return words
}
