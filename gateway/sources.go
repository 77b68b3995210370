package gateway

import (
	"fmt"
	"slices"

	"github.com/culvert-vpn/culvert/config"
	"github.com/culvert-vpn/culvert/ident"
	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/psk"
)

// sources are where the configuration comes from: a file, or whoever made the gateway, and what clients have loaded over vici beside
// it. A name belongs to the one or to the other, and neither touches what is the other's. What was loaded over vici ends with the
// gateway. The control goroutine owns it.
type sources struct {
	file config.Config

	conns   []*loadedConn // in the order of loading, as all of these
	secrets []*loadedSecret
	pools   []*ike.Pool
	// authorities are accepted and mean nothing; they are remembered for who asks for what is loaded.
	authorities []string

	joined *psk.Store   // all secrets; nil if it is to be made
	gone   []*psk.Store // that are not in these sources any more, and are wiped when they are in effect
}

// loadedConn is a connection that was loaded, and what it was made of: what the file says of all connections may change.
type loadedConn struct {
	text   config.Section
	conn   *ike.Connection // nil: it has shunts only
	shunts []config.Shunt
	// merged is what came of conn in the configuration that is in effect. It is given again as long as it is the same: nothing has
	// to be compared then.
	merged *ike.Connection
}

// loadedSecret is a secret that was loaded; the store is nil if it is one that nothing here uses.
type loadedSecret struct {
	config.SecretEntry
	store *psk.Store
}

// Limits of what can be loaded over vici.
const (
	maxLoadedConns   = 10000
	maxLoadedSecrets = 10000
	maxLoadedPools   = 1000
)

// Where something comes from, in Status.
const (
	fromFile    = "file"
	fromProgram = "program"
	fromVICI    = "vici"
)

// origin is where what is not loaded over vici comes from, owner the same in words.
func (s *sources) origin() string {
	if len(s.file.Files) == 0 {
		return fromProgram
	}
	return fromFile
}

func (s *sources) owner() string {
	if len(s.file.Files) == 0 {
		return "the program that runs the gateway"
	}
	return s.file.Files[0]
}

// merged is the configuration that all sources make together.
func (s *sources) merged() config.Config {
	all := s.file
	all.Connections, all.Shunts = slices.Clone(s.file.Connections), slices.Clone(s.file.Shunts)
	all.Pools = slices.Concat(s.file.Pools, s.pools)
	byName := make(map[string]*ike.Pool, len(all.Pools))
	for _, p := range all.Pools {
		byName[p.Name] = p
	}
	for _, l := range s.conns {
		all.Shunts = append(all.Shunts, l.shunts...)
		if l.conn != nil {
			all.Connections = append(all.Connections, l.withPools(byName))
		}
	}
	all.SecretEntries = slices.Clone(s.file.SecretEntries)
	for _, l := range s.secrets {
		if l.store != nil {
			all.SecretEntries = append(all.SecretEntries, l.SecretEntry)
		}
	}
	all.Secrets = s.join()
	return all
}

// join is the store of all secrets. It is made anew when the secrets are others.
func (s *sources) join() *psk.Store {
	if s.joined != nil {
		return s.joined
	}
	stores := []*psk.Store{s.file.Secrets}
	for _, l := range s.secrets {
		if l.store != nil {
			stores = append(stores, l.store)
		}
	}
	s.joined = psk.Join(stores...)
	return s.joined
}

// withPools is a connection with the pools that it names. One that is not there has no addresses: who asks is told that none is left.
func (l *loadedConn) withPools(byName map[string]*ike.Pool) *ike.Connection {
	var pools []*ike.Pool
	for _, named := range l.conn.Pools {
		p := byName[named.Name]
		if p == nil {
			p = named
		}
		pools = append(pools, p)
	}
	if l.merged != nil && slices.Equal(l.merged.Pools, pools) {
		return l.merged
	}
	own := *l.conn
	own.Pools = pools
	return &own
}

// inEffect remembers the connections that came of the merged ones.
func (s *sources) inEffect(conns []*ike.Connection) {
	n := len(s.file.Connections)
	s.file.Connections = slices.Clone(conns[:n])
	for _, l := range s.conns {
		if l.conn != nil {
			l.merged, n = conns[n], n+1
		}
	}
}

func (s *sources) conn(name string) int {
	return slices.IndexFunc(s.conns, func(l *loadedConn) bool { return l.text.Name == name })
}

func (s *sources) secret(name string) int {
	return slices.IndexFunc(s.secrets, func(l *loadedSecret) bool { return l.Name == name })
}

func (s *sources) pool(name string) int {
	return slices.IndexFunc(s.pools, func(p *ike.Pool) bool { return p.Name == name })
}

// hasConn reports whether the file has a connection, or shunts, of a name; hasSecret and hasPool likewise.
func (s *sources) hasConn(name string) bool { return hasConn(&s.file, name) }

func hasConn(c *config.Config, name string) bool {
	return slices.ContainsFunc(c.Connections, func(c *ike.Connection) bool { return c.Name == name }) ||
		slices.ContainsFunc(c.Shunts, func(s config.Shunt) bool { return s.Conn == name })
}

func (s *sources) hasSecret(name string) bool {
	return slices.ContainsFunc(s.file.SecretEntries, func(e config.SecretEntry) bool { return e.Name == name })
}

// hasSecretOf reports whether there is a secret for two identities, whoever has loaded it.
func (s *sources) hasSecretOf(local, remote ident.ID) bool {
	return len(s.file.Secrets.Lookup(local, remote)) > 0 || slices.ContainsFunc(s.secrets, func(l *loadedSecret) bool {
		return l.store != nil && len(l.store.Lookup(local, remote)) > 0
	})
}

func (s *sources) hasPool(name string) bool {
	return slices.ContainsFunc(s.file.Pools, func(p *ike.Pool) bool { return p.Name == name })
}

// withFile are the sources with another file. What was loaded must not be in it.
func (s *sources) withFile(file config.Config) (*sources, error) {
	next := &sources{file: file, secrets: s.secrets, pools: s.pools, authorities: s.authorities}
	const how = "it was loaded over vici: unload it there, or give one of the two another name"
	for _, l := range s.conns {
		if next.hasConn(l.text.Name) {
			return nil, fmt.Errorf("there is a connection %q already: %s", l.text.Name, how)
		}
		again := &loadedConn{text: l.text, conn: l.conn, shunts: l.shunts}
		if conn, shunts, _, err := file.Connection(l.text); err == nil {
			again.conn, again.shunts = conn, shunts
		}
		next.conns = append(next.conns, again)
	}
	for _, l := range s.secrets {
		if l.Name != "" && next.hasSecret(l.Name) {
			return nil, fmt.Errorf("there is a secret %q already: %s", l.Name, how)
		}
	}
	for _, p := range s.pools {
		if next.hasPool(p.Name) {
			return nil, fmt.Errorf("there is a pool %q already: %s", p.Name, how)
		}
		for _, other := range file.Pools {
			if p.Overlaps(other) {
				return nil, fmt.Errorf("pool %q overlaps with pool %q, which was loaded over vici: an address would be lent twice", other.Name, p.Name)
			}
		}
	}
	return next, nil
}

// wipe zeroes the secrets that were loaded.
func (s *sources) wipe() {
	for _, l := range s.secrets {
		if l.store != nil {
			l.store.Wipe()
		}
	}
	s.secrets = nil
}

// sign says in a status where everything comes from, and which secrets there are.
func (s *sources) sign(status *Status) {
	loaded := make(map[string]bool)
	for _, l := range s.conns {
		loaded[l.text.Name] = true
	}
	origin := func(vici bool) string {
		if vici {
			return fromVICI
		}
		return s.origin()
	}
	for i := range status.Connections {
		status.Connections[i].Source = origin(loaded[status.Connections[i].Name])
	}
	for i := range status.Shunts {
		status.Shunts[i].Source = origin(loaded[status.Shunts[i].Connection])
	}
	for i := range status.Pools {
		status.Pools[i].Source = origin(s.pool(status.Pools[i].Name) >= 0)
	}
	for _, e := range s.file.SecretEntries {
		status.Secrets = append(status.Secrets, SecretStatus{Name: e.Name, Owners: texts(e.Owners), Source: s.origin()})
	}
	for _, l := range s.secrets {
		if l.store != nil {
			status.Secrets = append(status.Secrets, SecretStatus{Name: l.Name, Owners: texts(l.Owners), Source: fromVICI})
		}
	}
}
