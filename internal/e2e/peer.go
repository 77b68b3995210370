//go:build linux

package e2e

import (
	"net/netip"
	"slices"
)

// Peer is an IKEv2 gateway running on a host. Names of connections and children are those of its configuration.
type Peer interface {
	Start() error // returns when the configuration is loaded
	Stop() error  // says good-bye to its peers
	Kill() error  // vanishes, as in a power cut; Start begins anew
	Initiate(child string) error
	Terminate(connection string) error
	RekeyIKE(connection string) error
	RekeyChild(child string) error
	SAs() ([]SA, error)
	Log() string // everything it has said so far
}

// SA is an IKE SA as a peer reports it.
type SA struct {
	Connection    string
	ID            uint64 // the peer's own number for it
	State         string // "ESTABLISHED" when it is
	Initiator     bool   // this peer initiated it
	SPIi, SPIr    uint64
	Local, Remote netip.AddrPort
	LocalID       string
	RemoteID      string
	LocalNAT      bool // this peer is behind a NAT
	RemoteNAT     bool
	Proposal      string // what was agreed upon, in the language of swanctl.conf
	Children      []Child
}

// Child is a Child SA as a peer reports it.
type Child struct {
	Name                  string
	ID                    uint64 // the peer's own number for it
	State                 string // "INSTALLED" when it carries traffic
	UDP                   bool   // ESP is encapsulated in UDP
	SPIIn, SPIOut         uint32
	LocalTS, RemoteTS     []string
	BytesIn, BytesOut     uint64
	PacketsIn, PacketsOut uint64
	ESN                   bool
	Proposal              string // with a key exchange only if the child has one of its own
}

// Established picks the IKE SAs of a connection that are established.
func Established(sas []SA, connection string) []SA {
	return slices.DeleteFunc(slices.Clone(sas), func(sa SA) bool {
		return sa.Connection != connection || sa.State != "ESTABLISHED"
	})
}

// Installed picks the Child SAs of a name that carry traffic.
func Installed(sas []SA, child string) (found []Child) {
	for _, sa := range sas {
		for _, c := range sa.Children {
			if c.Name == child && c.State == "INSTALLED" {
				found = append(found, c)
			}
		}
	}
	return found
}
