package convert

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// IPsecConfSource is what an ipsec.conf consists of.
type IPsecConfSource struct {
	Conf Source
	// Secrets is the ipsec.secrets; without a text there is none.
	Secrets Source
	// Include returns the files that an include statement in the file from names. If it is nil such statements are listed.
	Include func(from, pattern string) ([]Source, error)
	// Local are addresses of the gateway that the files are of. They tell which of left and right it is; otherwise it is left, unless
	// right alone is %defaultroute.
	Local []netip.Addr
}

// IPsecConf converts the ipsec.conf and ipsec.secrets of strongSwan or libreswan. An error says that a source is too large.
func IPsecConf(from IPsecConfSource) (*Result, error) {
	d := newDocument()
	p := &confParser{document: d, include: from.Include}
	if err := p.read(from.Conf); err != nil {
		return nil, err
	}
	c := &ipsecConf{document: d, parser: p, local: from.Local, merged: map[string]*section{}}
	c.setup()
	for _, conn := range p.conns {
		if conn.kind == "conn" && conn.name != "%default" {
			c.conn(p.view(conn))
		}
	}
	s := &secretsParser{document: d, include: from.Include}
	if from.Secrets.Text != nil {
		s.read(from.Secrets)
	}
	c.rest()
	return d.result(slices.Concat(p.files, s.files)), nil
}

type ipsecConf struct {
	*document
	parser    *confParser
	local     []netip.Addr
	libreswan bool
	unique    string
	merged    map[string]*section // the connections by what is in them besides children
}

// setup reads config setup, and looks which of the two daemons the file is for.
func (c *ipsecConf) setup() {
	for _, s := range c.parser.conns {
		for _, p := range s.params {
			c.libreswan = c.libreswan || onlyLibreswan[strings.TrimPrefix(strings.TrimPrefix(p.key, "left"), "right")]
			if s.kind == "config" && p.key == "uniqueids" {
				c.unique = map[string]string{"yes": "replace", "replace": "replace", "keep": "keep", "never": "never", "no": "no"}[strings.ToLower(p.value)]
				if c.unique != "" {
					p.fate = carried
				}
			}
		}
	}
}

// conn carries a conn over, or refuses it.
func (c *ipsecConf) conn(v *view) {
	auto := strings.ToLower(v.peek("auto"))
	start, known := map[string]string{"add": "none", "route": "trap", "ondemand": "trap", "start": "start", "up": "start", "keep": "start"}[auto]
	if !known {
		return // nobody loads it: it is for others to take settings from, or listed as unused
	}
	v.take("auto")
	v.swapped = c.swapped(v)
	if at, why := c.refusal(v); why != "" {
		c.refuse(v, at, why)
		return
	}
	addrs := c.remoteAddrs(v)
	if addrs == "" && start != "none" {
		c.tell(v, "auto", "the address of the peer is not known, so that it is the peer that has to call")
		start = "none"
	}
	children := c.children(v, start)
	if children == nil {
		return
	}
	conn := &section{name: v.name}
	c.connection(conn, v, addrs)
	into := c.place(v, conn)
	for _, child := range children {
		s := into.sub(child.name)
		s.settings = child.settings
	}
}

// place is the section for the children of a connection. Conns that differ in nothing but their children are one connection, as in
// strongSwan.
func (c *ipsecConf) place(v *view, conn *section) *section {
	key := fmt.Sprint(conn.settings)
	for _, s := range conn.subs {
		key += fmt.Sprint(s.name, s.settings)
	}
	if into := c.merged[key]; into != nil {
		return into
	}
	s := c.connections.sub(v.name)
	s.settings, s.subs = conn.settings, conn.subs
	into := s.sub("children")
	c.merged[key] = into
	return into
}

// swapped reports whether right is the side of this gateway.
func (c *ipsecConf) swapped(v *view) bool {
	left, right := v.peek("left"), v.peek("right")
	isOurs := func(text string) bool {
		a, err := netip.ParseAddr(text)
		return err == nil && slices.Contains(c.local, a)
	}
	switch {
	case isOurs(left):
		return false
	case isOurs(right):
		return true
	}
	return right == "%defaultroute" && left != "%defaultroute"
}

// refusal is why a conn cannot be carried over, and the key that it is about; "" if it can.
func (c *ipsecConf) refusal(v *view) (key, why string) {
	const ikev2 = "Culvert speaks IKEv2 only: write %s here and at the other side, and import again"
	auth := func(key string) string { return or(v.peek(v.side(true, key)), v.peek(v.side(false, key))) }
	switch kind := strings.ToLower(v.peek("type")); kind {
	case "", "tunnel", "transport":
	case "passthrough", "pass", "drop", "reject":
		return "type", "it is no tunnel: write a child with mode = pass or drop, see docs/configuration.md"
	default:
		return "type", brief(kind) + " is not implemented, only tunnel and transport"
	}
	switch {
	case strings.EqualFold(v.peek("keyexchange"), "ikev1"):
		return "keyexchange", fmt.Sprintf(ikev2, "keyexchange=ikev2")
	case strings.EqualFold(v.peek("ikev2"), "no") || strings.EqualFold(v.peek("ikev2"), "never"):
		return "ikev2", fmt.Sprintf(ikev2, "ikev2=insist")
	case v.peek("ah") != "":
		return "ah", "AH protects the outer addresses and cannot cross a NAT: use esp="
	case v.peek("phase2") == "ah":
		return "phase2", "AH protects the outer addresses and cannot cross a NAT: use phase2=esp"
	}
	if by := v.peek("authby"); by != "" {
		if !strings.Contains(by, "secret") && !strings.Contains(by, "psk") {
			return "authby", "authentication by " + brief(by) + " is not possible, Culvert authenticates by pre-shared secrets: agree on one, and write authby=secret"
		}
		return "", ""
	}
	for _, local := range []bool{true, false} {
		if a := v.peek(v.side(local, "auth")); a != "" && a != "psk" && a != "secret" {
			return v.side(local, "auth"), "authentication by " + brief(a) + " is not possible, Culvert authenticates by pre-shared secrets"
		}
	}
	if auth("auth") == "" {
		return "", "without authby the two sides authenticate by certificates, and Culvert does so by pre-shared secrets: agree on one, and write authby=secret"
	}
	return "", ""
}

// refuse lists a conn with all that only it says.
func (c *ipsecConf) refuse(v *view, key, why string) {
	line := v.line
	if s := v.params[key]; s != nil {
		c.note(s.file, s.line, text(s), "conn %s is not carried over: %s", brief(v.name), why)
		s.fate, line = told, s.line
	} else {
		c.note(v.file, v.line, "conn "+brief(v.name), "%s", why)
	}
	for _, s := range v.conn.params {
		if s.fate != told {
			c.note(s.file, s.line, text(s), "conn %s is not carried over, see line %d", brief(v.name), line)
			s.fate = told
		}
	}
}

// text is a setting as it stands in the source. None of them is a secret but the one that may hold a password.
func text(s *param) string {
	if secretive(s.key) {
		return brief(s.key) + "=..."
	}
	return brief(s.key) + "=" + brief(s.value)
}

// tell lists a setting that is there.
func (c *ipsecConf) tell(v *view, key, why string, args ...any) {
	if s := v.params[key]; s != nil && s.value != "" && s.fate != told {
		c.note(s.file, s.line, text(s), why, args...)
		s.fate = told
	}
}

// tellUnread lists a setting that was not carried over.
func (c *ipsecConf) tellUnread(v *view, key, why string) {
	if s := v.params[key]; s != nil && s.fate == unread {
		c.tell(v, key, "%s", why)
	}
}

// rest lists what was not read.
func (c *ipsecConf) rest() {
	for _, s := range c.parser.conns {
		used := false
		for _, p := range s.params {
			used = used || p.fate != unread
		}
		if s.kind == "conn" && !used && s.name != "%default" {
			c.note(s.file, s.line, "conn "+brief(s.name), "nothing loads it: auto is neither add, route nor start, and no conn that was carried over takes its settings")
		}
		for _, p := range s.params {
			if p.fate == unread {
				c.note(p.file, p.line, text(p), "%s", c.why(s, p))
			}
		}
	}
}

// why says why a setting was not read.
func (c *ipsecConf) why(s *conn, p *param) string {
	key := strings.TrimPrefix(strings.TrimPrefix(p.key, "left"), "right")
	switch {
	case s.kind == "ca":
		return "certificates are not used"
	case s.kind == "config":
		return "it is for the daemon that the file was for"
	case p.key == "also":
		return "there is no conn of that name"
	case notCarried[key] != "":
		return notCarried[key]
	case key == "" || carriedKeys[key]:
		return "no connection that was carried over uses it"
	}
	return "it is not known here"
}
