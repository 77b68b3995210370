package doctor

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/culvert-vpn/culvert/config"
	"github.com/culvert-vpn/culvert/explain"
	"github.com/culvert-vpn/culvert/ident"
	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/internal/conftext"
)

// fixHere is the whole section of a connection with another identity, and without an address that this host has not.
func (x *examination) fixHere(c *ike.Connection, id ident.ID, unbind bool) explain.Fix {
	s, _ := x.conf.Written(c.Name)
	if unbind {
		s.Set("local_addrs", "%any")
	}
	round(&s, "local").Set("id", id.String())
	lines := inside("connections", s)
	if owner := x.disowned(c, id); owner != "" {
		lines = append(lines, explain.Lines([]string{explain.Set("id-here", id.String())}, "secrets", owner)...)
	}
	return explain.Fix{
		Side:  explain.Here,
		Text:  fmt.Sprintf("let connection %s say that it is %v, a name that does not depend on addresses and need not exist in the DNS", c.Name, id),
		Lines: lines,
	}
}

// disowned is the name of the secret that would not belong to a connection any more if this side had another identity; "" if one would.
func (x *examination) disowned(c *ike.Connection, id ident.ID) string {
	remote, ok := c.RemoteID.ID()
	if !ok || len(x.conf.Secrets.Lookup(id, remote)) > 0 {
		return ""
	}
	if had := x.conf.Secrets.Lookup(c.LocalID, remote); len(had) > 0 {
		return had[0].Name()
	}
	return ""
}

// fixOfPeer is the section of a connection as the other side needs it. public is where this side is reached; invalid: it is not known.
func (x *examination) fixOfPeer(c *ike.Connection, id ident.ID, public netip.Addr) explain.Fix {
	ours, _ := x.conf.Written(c.Name)
	s := config.Section{Name: c.Name}
	if public.IsValid() {
		s.Set("remote_addrs", public.String())
	}
	if p := ours.Value("proposals"); p != "" {
		s.Set("proposals", p)
	}
	local := s.Inner("local")
	local.Set("auth", "psk")
	if their, ok := c.RemoteID.ID(); ok {
		local.Set("id", their.String())
	}
	remote := s.Inner("remote")
	remote.Set("auth", "psk")
	remote.Set("id", id.String())
	for _, child := range ours.Inner("children").Sections {
		mirrored := s.Inner("children").Inner(child.Name)
		for _, key := range [][2]string{{"local_ts", "remote_ts"}, {"remote_ts", "local_ts"}, {"esp_proposals", "esp_proposals"}, {"mode", "mode"}} {
			if v := child.Value(key[1]); v != "" {
				mirrored.Set(key[0], v)
			}
		}
		if c.RemoteHost == "" {
			mirrored.Set("start_action", "start") // this side waits
		}
	}
	where := ", at whatever address"
	if public.IsValid() {
		where = " at " + public.String()
	}
	lines := inside("connections", s)
	lines = append(lines, explain.Lines([]string{explain.Set("id-1", id.String())}, "secrets", x.secretName(c))...)
	return explain.Fix{Side: explain.Peer, Text: fmt.Sprintf("expect %v%s, and let the secret belong to it", id, where), Lines: lines}
}

// secretName is the name of the secret that a connection uses here.
func (x *examination) secretName(c *ike.Connection) string {
	if remote, ok := c.RemoteID.ID(); ok {
		if list := x.conf.Secrets.Lookup(c.LocalID, remote); len(list) > 0 {
			return list[0].Name()
		}
	}
	return "ike-" + c.Name
}

// round is the section local or remote of a connection, whatever follows the word in its name.
func round(s *config.Section, side string) *config.Section {
	for i := range s.Sections {
		if strings.HasPrefix(s.Sections[i].Name, side) {
			return &s.Sections[i]
		}
	}
	return s.Inner(side)
}

// inside writes a section with another one around it.
func inside(outer string, s config.Section) []string {
	var w conftext.Writer
	write(&w, config.Section{Name: outer, Sections: []config.Section{s}})
	return strings.Split(strings.TrimSuffix(w.String(), "\n"), "\n")
}

func write(w *conftext.Writer, s config.Section) {
	w.Open(s.Name)
	for _, t := range s.Settings {
		w.Set(t.Name, t.Value)
	}
	for _, sub := range s.Sections {
		write(w, sub)
	}
	w.Close()
}
