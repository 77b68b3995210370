//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Culvert is the daemon under test as a [Peer].
type Culvert struct{ *Program }

// NewCulvert prepares a daemon with the text of its configuration and further flags for `culvert run`.
func NewCulvert(h *Host, conf string, flags ...string) *Culvert {
	h.net.t.Helper()
	return &Culvert{NewProgram(h, conf, flags...)}
}

// Start starts the daemon and waits until it answers, hence until its device, sockets and policies are in place.
func (c *Culvert) Start() error {
	if err := c.Program.Start(); err != nil {
		return err
	}
	patience := time.After(startPatience)
	for {
		_, err := c.Status()
		if err == nil {
			return nil
		}
		select {
		case <-c.Process().Done():
			return fmt.Errorf("%s: culvert ended at start: %v: %s", c.host.Name, c.Process().Wait(), complaint(c.Log()))
		case <-patience:
			return fmt.Errorf("%s: culvert does not answer after %v: %w: %s", c.host.Name, startPatience, err, complaint(c.Log()))
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Initiate sets up a child, and its connection if need be, and returns when it is up or an attempt has failed.
func (c *Culvert) Initiate(child string) error { return c.order("up", child) }

// Terminate closes a connection and returns when it is down.
func (c *Culvert) Terminate(connection string) error {
	_, err := c.Ctl("down", connection)
	return err
}

// RekeyIKE rekeys the IKE SA of a connection and returns when that is done.
func (c *Culvert) RekeyIKE(connection string) error {
	_, err := c.Ctl("rekey", connection)
	return err
}

// RekeyChild rekeys a Child SA and returns when that is done.
func (c *Culvert) RekeyChild(child string) error { return c.order("rekey", child) }

// order runs a subcommand for a child, after finding the connection that has it.
func (c *Culvert) order(verb, child string) error {
	status, err := c.Status()
	if err != nil {
		return err
	}
	for _, conn := range status.Connections {
		if slices.ContainsFunc(conn.Children, func(k CulvertChild) bool { return k.Name == child }) {
			_, err := c.Ctl(verb, conn.Name, "--child", child)
			return err
		}
	}
	return fmt.Errorf("%s: no connection has a child %q", c.host.Name, child)
}

// CulvertStatus is what scenarios read of `culvert status --json`.
type CulvertStatus struct {
	Device      string              `json:"device"`
	MTU         int                 `json:"mtu"`
	Connections []CulvertConnection `json:"connections"`
	Strangers   []CulvertIKE        `json:"strangers"`
	Refused     []CulvertFailure    `json:"refused"`
	Offloads    []CulvertOffload    `json:"offloads"`
	Queues      int                 `json:"queues"`
	Sockets     []CulvertSocket     `json:"sockets"`
	Shortages   []string            `json:"shortages"`
	SPIs        int                 `json:"spis"`
	Drops       map[string]uint64   `json:"drops"`
	IKEDrops    map[string]uint64   `json:"ike_drops"`
}

// CulvertOffload is a fast path.
type CulvertOffload struct {
	Name  string `json:"name"`
	State string `json:"state"`
}

// CulvertSocket is a socket of the daemon.
type CulvertSocket struct {
	Address string        `json:"address"`
	Recv    CulvertBuffer `json:"recv_buffer"`
	Send    CulvertBuffer `json:"send_buffer"`
}

// CulvertBuffer is a buffer of a socket, in bytes.
type CulvertBuffer struct {
	Asked   int `json:"asked"`
	Granted int `json:"granted"`
}

// CulvertConnection is a configured connection.
type CulvertConnection struct {
	Name        string          `json:"name"`
	Up          bool            `json:"up"`
	IKE         []CulvertIKE    `json:"ike"`
	Children    []CulvertChild  `json:"children"`
	LastFailure *CulvertFailure `json:"last_failure"`
}

// CulvertFailure is what went wrong and what to change.
type CulvertFailure struct {
	Time   time.Time `json:"time"`
	Kind   string    `json:"kind"`
	Child  string    `json:"child"`
	Peer   string    `json:"peer"`
	Text   string    `json:"text"`
	Remedy string    `json:"remedy"`
}

// CulvertChild is a configured child.
type CulvertChild struct {
	Name        string `json:"name"`
	Up          bool   `json:"up"`
	DroppedNoSA uint64 `json:"dropped_no_sa"`
}

// CulvertIKE is an IKE SA.
type CulvertIKE struct {
	State     string           `json:"state"`
	Up        bool             `json:"up"`
	Initiator bool             `json:"initiator"`
	SPIi      string           `json:"spi_i"`
	SPIr      string           `json:"spi_r"`
	Local     string           `json:"local"`
	Remote    string           `json:"remote"`
	NAT       string           `json:"nat"`
	LocalID   string           `json:"local_id"`
	RemoteID  string           `json:"remote_id"`
	Secret    string           `json:"secret"`
	Proposal  string           `json:"proposal"`
	Children  []CulvertChildSA `json:"children"`
}

// CulvertChildSA is a Child SA.
type CulvertChildSA struct {
	Name       string            `json:"name"`
	State      string            `json:"state"`
	SPIIn      string            `json:"spi_in"`
	SPIOut     string            `json:"spi_out"`
	Mode       string            `json:"mode"`
	Proposal   string            `json:"proposal"`
	Local      []string          `json:"local"`
	Remote     []string          `json:"remote"`
	MTU        int               `json:"mtu"`
	PacketsIn  uint64            `json:"packets_in"`
	BytesIn    uint64            `json:"bytes_in"`
	PacketsOut uint64            `json:"packets_out"`
	BytesOut   uint64            `json:"bytes_out"`
	DropsIn    map[string]uint64 `json:"drops_in"`
}

// Status asks the daemon for its state.
func (c *Culvert) Status() (s CulvertStatus, err error) {
	text, err := c.Ctl("status", "--json")
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return s, fmt.Errorf("%s: culvert status --json: %w", c.host.Name, err)
	}
	return s, nil
}

// Connection is the state of a connection.
func (c *Culvert) Connection(name string) (CulvertConnection, error) {
	status, err := c.Status()
	if err != nil {
		return CulvertConnection{}, err
	}
	for _, conn := range status.Connections {
		if conn.Name == name {
			return conn, nil
		}
	}
	return CulvertConnection{}, fmt.Errorf("%s: culvert status has no connection %q", c.host.Name, name)
}

// SAs lists the IKE SAs in every state, in the words of [SA].
func (c *Culvert) SAs() (list []SA, err error) {
	status, err := c.Status()
	if err != nil {
		return nil, err
	}
	for _, conn := range append(status.Connections, CulvertConnection{IKE: status.Strangers}) {
		for _, s := range conn.IKE {
			sa, err := s.sa(conn.Name)
			if err != nil {
				return nil, fmt.Errorf("%s: culvert status: %w", c.host.Name, err)
			}
			list = append(list, sa)
		}
	}
	return list, nil
}

// sa translates an IKE SA. The numbers that strongSwan gives to its SAs have no counterpart: the SPIs serve.
func (s CulvertIKE) sa(connection string) (SA, error) {
	var err error
	sa := SA{
		Connection: connection, State: s.State, Initiator: s.Initiator,
		SPIi: spi(s.SPIi, 64, &err), SPIr: spi(s.SPIr, 64, &err),
		Local: addrPort(s.Local, &err), Remote: addrPort(s.Remote, &err),
		LocalID: s.LocalID, RemoteID: s.RemoteID, Proposal: s.Proposal,
	}
	sa.LocalNAT, sa.RemoteNAT = natFlags(s.NAT)
	sa.ID = sa.SPIr
	if sa.Initiator {
		sa.ID = sa.SPIi
	}
	if s.Up {
		sa.State = "ESTABLISHED"
	}
	for _, c := range s.Children {
		child := Child{
			Name: c.Name, State: c.State, UDP: true, Proposal: c.Proposal,
			SPIIn: uint32(spi(c.SPIIn, 32, &err)), SPIOut: uint32(spi(c.SPIOut, 32, &err)),
			LocalTS: c.Local, RemoteTS: c.Remote,
			BytesIn: c.BytesIn, BytesOut: c.BytesOut, PacketsIn: c.PacketsIn, PacketsOut: c.PacketsOut,
			ESN: slices.Contains(strings.Split(c.Proposal, "-"), "esn"),
		}
		child.ID = uint64(child.SPIIn)
		if c.State == "up" {
			child.State = "INSTALLED"
		}
		sa.Children = append(sa.Children, child)
	}
	return sa, err
}

// natFlags reads who is behind a NAT from the words for the user.
func natFlags(words string) (local, remote bool) {
	both := strings.HasPrefix(words, "both we and the peer are behind a NAT")
	return both || strings.HasPrefix(words, "we are behind a NAT"), both || strings.Contains(words, "the peer is behind a NAT")
}

// spi reads an SPI in hexadecimal; an absent one is 0.
func spi(text string, bits int, err *error) uint64 {
	if text == "" {
		return 0
	}
	n, e := strconv.ParseUint(strings.TrimPrefix(text, "0x"), 16, bits)
	if e != nil && *err == nil {
		*err = fmt.Errorf("an SPI %q", text)
	}
	return n
}

func addrPort(text string, err *error) netip.AddrPort {
	a, e := netip.ParseAddrPort(text)
	if e != nil && *err == nil {
		*err = fmt.Errorf("an address %q", text)
	}
	return a
}
