package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/culvert-vpn/culvert/config"
	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/pool"
	"github.com/culvert-vpn/culvert/psk"
)

// What is loaded piece by piece, over vici or by a program, is configuration beside that of New and Reload: as good as this as long as
// the gateway runs, and not remembered when it ends. Each piece is accepted or refused for itself, in whatever order they come. What
// New or Reload has a name for is theirs: it is neither replaced nor unloaded here.
//
// As with charon, tunnels that are up do not depend on their secret: what becomes of that matters when they are set up anew.

// errTooMany is why something is not loaded.
func errTooMany(what string, limit int) error {
	return fmt.Errorf("more than %d %s cannot be loaded", limit, what)
}

// LoadConnection loads a connection, or replaces the one that was loaded under its name: what has changed is changed as by Reload,
// and the children are started as they say. The error is of type config.Errors if the section is not accepted.
func (g *Gateway) LoadConnection(ctx context.Context, section config.Section) error {
	return g.change(ctx, func(c *control, s *sources) ([]config.Warning, error) {
		i := s.conn(section.Name)
		switch {
		case s.hasConn(section.Name):
			return nil, fmt.Errorf("connection '%s' belongs to %s: change it there", section.Name, s.owner())
		case i < 0 && len(s.conns) >= maxLoadedConns:
			return nil, errTooMany("connections", maxLoadedConns)
		}
		conn, shunts, warnings, err := s.file.Connection(section)
		if err != nil {
			return warnings, err
		}
		l := &loadedConn{text: section, conn: conn, shunts: shunts}
		if i < 0 {
			s.conns = append(s.conns, l)
		} else {
			s.conns[i] = l
		}
		return append(warnings, s.lacks(conn)...), nil
	})
}

// lacks says what a connection needs and is not there yet.
func (s *sources) lacks(conn *ike.Connection) (list []config.Warning) {
	if conn == nil {
		return nil
	}
	at := config.Pos{File: "connections." + conn.Name}
	for _, p := range conn.Pools {
		if !s.hasPool(p.Name) && s.pool(p.Name) < 0 {
			list = append(list, config.Warning{Pos: at, Msg: fmt.Sprintf("there is no pool %q yet", p.Name)})
		}
	}
	if remote, known := conn.RemoteID.ID(); known && !conn.LocalID.IsZero() && !s.hasSecretOf(conn.LocalID, remote) {
		list = append(list, config.Warning{Pos: at, Msg: fmt.Sprintf("no secret belongs to %v or %v yet, the identities of connection %s", conn.LocalID, remote, conn.Name)})
	}
	return list
}

// UnloadConnection removes a connection that was loaded, and closes what is up of it.
func (g *Gateway) UnloadConnection(ctx context.Context, name string) error {
	return g.change(ctx, func(_ *control, s *sources) ([]config.Warning, error) {
		i := s.conn(name)
		switch {
		case i >= 0:
			s.conns = slices.Delete(s.conns, i, i+1)
			return nil, nil
		case s.hasConn(name):
			return nil, fmt.Errorf("unload: connection '%s' belongs to %s: remove it there", name, s.owner())
		}
		return nil, fmt.Errorf("unload: connection '%s' not found", name)
	})
}

// LoadSecret loads a pre-shared key, or replaces the one that was loaded under its name. Without a name it is there until ClearSecrets.
// It takes key, and zeroes it whatever comes of it. owners are identities in the words of the configuration; none: anybody. The error
// is of type config.Errors if it is not accepted.
func (g *Gateway) LoadSecret(ctx context.Context, name string, key []byte, owners []string) error {
	defer clear(key)
	return g.loadSecret(ctx, name, func(s *sources) (*loadedSecret, []config.Warning, error) {
		store, entry, warnings, err := s.file.Secret(name, key, owners)
		return &loadedSecret{SecretEntry: entry, store: store}, warnings, err
	})
}

func (g *Gateway) loadSecret(ctx context.Context, name string, make func(*sources) (*loadedSecret, []config.Warning, error)) error {
	return g.change(ctx, func(_ *control, s *sources) ([]config.Warning, error) {
		i := -1
		if name != "" {
			i = s.secret(name)
		}
		switch {
		case name != "" && s.hasSecret(name):
			return nil, fmt.Errorf("secret '%s' belongs to %s: change it there", name, s.owner())
		case i < 0 && len(s.secrets) >= maxLoadedSecrets:
			return nil, errTooMany("secrets", maxLoadedSecrets)
		}
		l, warnings, err := make(s)
		if err != nil {
			return warnings, err
		}
		s.joined = nil
		if i < 0 {
			s.secrets = append(s.secrets, l)
		} else {
			s.drop(s.secrets[i])
			s.secrets[i] = l
		}
		return warnings, nil
	})
}

// noteSecret accepts a secret that nothing here uses, as of EAP: whoever loads it finds it in the list, and can unload it.
func (g *Gateway) noteSecret(ctx context.Context, name, kind string) error {
	return g.loadSecret(ctx, name, func(*sources) (*loadedSecret, []config.Warning, error) {
		unused := config.Warning{Pos: config.Pos{File: "secrets." + name}, Msg: "a secret of type " + kind + " is ignored: Culvert authenticates by pre-shared key"}
		return &loadedSecret{SecretEntry: config.SecretEntry{Name: name}}, []config.Warning{unused}, nil
	})
}

// UnloadSecret removes a secret that was loaded, if it is there.
func (g *Gateway) UnloadSecret(ctx context.Context, name string) error {
	return g.change(ctx, func(_ *control, s *sources) ([]config.Warning, error) {
		if s.hasSecret(name) {
			return nil, fmt.Errorf("secret '%s' belongs to %s: remove it there", name, s.owner())
		}
		if i := s.secret(name); i >= 0 && name != "" {
			s.drop(s.secrets[i])
			s.secrets = slices.Delete(s.secrets, i, i+1)
		}
		return nil, nil
	})
}

// ClearSecrets removes all secrets that were loaded.
func (g *Gateway) ClearSecrets(ctx context.Context) error {
	return g.change(ctx, func(_ *control, s *sources) ([]config.Warning, error) {
		for _, l := range s.secrets {
			s.drop(l)
		}
		s.secrets = nil
		return nil, nil
	})
}

// LoadPool loads a pool, or replaces the one that was loaded under its name. What is lent stays lent: a pool without the addresses in
// use is refused. The error is of type config.Errors if the section is not accepted.
func (g *Gateway) LoadPool(ctx context.Context, section config.Section) error {
	return g.change(ctx, func(c *control, s *sources) ([]config.Warning, error) {
		i := s.pool(section.Name)
		switch {
		case s.hasPool(section.Name):
			return nil, fmt.Errorf("pool '%s' belongs to %s: change it there", section.Name, s.owner())
		case i < 0 && len(s.pools) >= maxLoadedPools:
			return nil, errTooMany("pools", maxLoadedPools)
		}
		p, warnings, err := s.file.Pool(section)
		if err != nil {
			return warnings, err
		}
		for _, other := range slices.Concat(s.file.Pools, s.pools) {
			if other.Name != p.Name && p.Overlaps(other) {
				return warnings, fmt.Errorf("pools '%s' and '%s' overlap: an address would be lent twice", other.Name, p.Name)
			}
		}
		if i < 0 {
			s.pools = append(s.pools, p)
			return warnings, nil
		}
		if c.lends(p.Name, pool.Range{Name: p.Name, First: p.First, Last: p.Last}) {
			return warnings, fmt.Errorf("vici pool %s has online leases, unable to replace", p.Name)
		}
		s.pools[i] = p
		return warnings, nil
	})
}

// lends reports whether an address of a pool is in use that is not in a range.
func (c *control) lends(name string, but pool.Range) bool {
	return slices.ContainsFunc(c.leases.Leases(), func(l pool.Lease) bool { return l.Pool == name && l.Online > 0 && !but.Contains(l.Addr) })
}

// UnloadPool removes a pool that was loaded, unless an address of it is in use. Connections that name it lend no address any more.
func (g *Gateway) UnloadPool(ctx context.Context, name string) error {
	return g.change(ctx, func(c *control, s *sources) ([]config.Warning, error) {
		i := s.pool(name)
		switch {
		case s.hasPool(name):
			return nil, fmt.Errorf("pool '%s' belongs to %s: remove it there", name, s.owner())
		case i < 0:
			return nil, fmt.Errorf("%s not found", name)
		case c.lends(name, pool.Range{}):
			return nil, fmt.Errorf("%s has online leases, unable to unload", name)
		}
		s.pools = slices.Delete(s.pools, i, i+1)
		return nil, nil
	})
}

// noteAuthority accepts an authority, which means nothing here, and forgetAuthority removes it.
func (g *Gateway) noteAuthority(ctx context.Context, name string) error {
	return g.change(ctx, func(_ *control, s *sources) ([]config.Warning, error) {
		if !slices.Contains(s.authorities, name) {
			if len(s.authorities) >= maxLoadedPools {
				return nil, errTooMany("authorities", maxLoadedPools)
			}
			s.authorities = append(s.authorities, name)
		}
		return []config.Warning{{Pos: config.Pos{File: "authorities"}, Msg: "an authority is ignored: Culvert uses no certificates"}}, nil
	})
}

func (g *Gateway) forgetAuthority(ctx context.Context, name string) error {
	return g.change(ctx, func(_ *control, s *sources) ([]config.Warning, error) {
		i := slices.Index(s.authorities, name)
		if i < 0 {
			return nil, fmt.Errorf("unload: authority '%s' not found", name)
		}
		s.authorities = slices.Delete(s.authorities, i, i+1)
		return nil, nil
	})
}

// change puts into effect what f makes of the sources, which are f's to change. After an error nothing has changed.
func (g *Gateway) change(ctx context.Context, f func(*control, *sources) ([]config.Warning, error)) error {
	var refused error
	err := g.do(ctx, func(c *control) {
		next := c.sources.clone()
		warnings, err := f(c, next)
		for _, w := range warnings {
			c.options.log.Warn(w.Msg, "at", w.Pos.String(), "hint", w.Hint)
		}
		if err == nil {
			err = c.adopt(g, next)
		}
		if refused = err; err != nil {
			next.forsake(c.sources)
		}
	})
	return errors.Join(err, refused)
}

// adopt puts other sources into effect, and wipes the secrets that are in them no more.
func (c *control) adopt(g *Gateway, next *sources) error {
	merged := next.merged()
	r, err := c.reload(merged, true)
	if err != nil {
		return err
	}
	g.cfg, g.cfg.Connections = merged, c.configured()
	next.inEffect(g.cfg.Connections)
	for _, store := range next.gone {
		store.Wipe()
	}
	next.gone, c.sources = nil, next
	for _, change := range r.Changes {
		if change.Kind != ike.Unchanged.String() {
			c.options.log.LogAttrs(context.Background(), slog.LevelInfo, "loaded over vici", changeAttrs(change)...)
		}
	}
	for _, text := range r.Warnings {
		c.options.log.Warn(text)
	}
	return nil
}

// changeAttrs puts a change in the words of the log.
func changeAttrs(change ChangeInfo) []slog.Attr {
	attrs := []slog.Attr{slog.String("connection", change.Conn)}
	if change.Child != "" {
		attrs = append(attrs, slog.String("child", change.Child))
	}
	attrs = append(attrs, slog.String("change", change.Kind))
	if len(change.Keys) > 0 {
		attrs = append(attrs, slog.Any("keys", change.Keys), slog.String("how", change.How))
	}
	return attrs
}

// clone copies the lists, so that the copy can be changed.
func (s *sources) clone() *sources {
	next := *s
	next.conns, next.secrets, next.pools = slices.Clone(s.conns), slices.Clone(s.secrets), slices.Clone(s.pools)
	next.authorities = slices.Clone(s.authorities)
	return &next
}

// drop has a secret wiped once the sources without it are in effect.
func (s *sources) drop(l *loadedSecret) {
	if s.joined = nil; l.store != nil {
		s.gone = append(s.gone, l.store)
	}
}

// forsake wipes the secrets that were to be loaded beside those of the sources that stay.
func (s *sources) forsake(stay *sources) {
	for _, l := range s.secrets {
		if l.store != nil && !slices.Contains(stay.secrets, l) {
			l.store.Wipe()
		}
	}
}

// Loaded are the names of what was loaded piece by piece, in the order of loading.
type Loaded struct {
	Connections, Secrets, Pools, Authorities []string
}

// Loaded lists what was loaded piece by piece.
func (g *Gateway) Loaded(ctx context.Context) (list Loaded, err error) {
	err = g.do(ctx, func(c *control) {
		for _, l := range c.sources.conns {
			list.Connections = append(list.Connections, l.text.Name)
		}
		for _, l := range c.sources.secrets {
			if l.Name != "" {
				list.Secrets = append(list.Secrets, l.Name)
			}
		}
		for _, p := range c.sources.pools {
			list.Pools = append(list.Pools, p.Name)
		}
		list.Authorities = slices.Clone(c.sources.authorities)
	})
	return list, err
}

// orEmpty is a store, or an empty one in place of none.
func orEmpty(s *psk.Store) *psk.Store {
	if s == nil {
		return psk.NewStore()
	}
	return s
}
