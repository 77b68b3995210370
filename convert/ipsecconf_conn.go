package convert

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/culvert-vpn/culvert/suite"
)

// connection writes what is not about children.
func (c *ipsecConf) connection(conn *section, v *view, addrs string) {
	conn.set("version", "2")
	for _, key := range []string{"keyexchange", "ikev2", "authby", "type", "phase2"} {
		v.take(key)
	}
	for _, local := range []bool{true, false} {
		v.takeSide(local, "auth")
	}
	local := v.takeSide(true, "")
	if isAddress(local) && !strings.HasPrefix(local, "%") {
		conn.set("local_addrs", local)
	} else {
		local = ""
	}
	conn.set("remote_addrs", addrs)
	if port := v.takeSide(false, "ikeport"); port != "" {
		conn.set("remote_port", port)
	}
	conn.set("proposals", c.proposals(v, suite.IKE, "", "ike"))
	c.times(conn, v)
	if action := strings.ToLower(v.peek("dpdaction")); c.libreswan || action != "" && action != "none" {
		conn.set("dpd_delay", v.take("dpddelay"))
	}
	switch tries := v.take("keyingtries"); tries {
	case "":
	case "%forever":
		conn.set("keyingtries", "0")
	default:
		conn.set("keyingtries", tries)
	}
	conn.set("mobike", v.take("mobike"))
	conn.set("fragmentation", v.take("fragmentation"))
	if or(v.peek("forceencaps"), v.peek("encapsulation")) == "no" {
		c.tell(v, "forceencaps", "Culvert puts ESP into UDP always; the peer has to take it, as every IKEv2 daemon does")
		c.tell(v, "encapsulation", "Culvert puts ESP into UDP always; the peer has to take it, as every IKEv2 daemon does")
	}
	v.take("forceencaps")
	v.take("encapsulation")
	conn.set("unique", c.unique)
	c.inner(conn, v)
	remote := v.takeSide(false, "")
	if strings.HasPrefix(remote, "%") || isAddress(remote) && netip.MustParseAddr(remote).IsUnspecified() {
		remote = "%any"
	}
	localID := identity(or(v.takeSide(true, "id"), local))
	remoteID := identity(or(v.takeSide(false, "id"), remote))
	if strings.HasPrefix(localID, "%") {
		localID = ""
	}
	if strings.HasPrefix(remoteID, "%") && remoteID != "%any" {
		c.tell(v, v.side(false, "id"), "it is taken from a certificate, and there is none; whoever has the secret is let in")
		remoteID = "%any"
	}
	ends(conn, localID, remoteID)
}

// remoteAddrs is where the peer is; "" if that is not known.
func (c *ipsecConf) remoteAddrs(v *view) string {
	right := v.peek(v.side(false, ""))
	if strings.HasPrefix(right, "%") || right == "0.0.0.0" || right == "::" {
		return ""
	}
	return right
}

// inner is about addresses that are lent.
func (c *ipsecConf) inner(conn *section, v *view) {
	wish := v.peek(v.side(true, "sourceip"))
	switch {
	case strings.HasPrefix(wish, "%config") || strings.HasPrefix(wish, "%mode"):
		v.takeSide(true, "sourceip")
		var list []string
		if !strings.HasSuffix(wish, "6") {
			list = append(list, "0.0.0.0")
		}
		if strings.Contains(wish, "6") {
			list = append(list, "::")
		}
		conn.set("vips", strings.Join(list, ", "))
	case wish != "" && v.peek(v.side(true, "subnet")) == "" && !c.libreswan:
		conn.set("vips", v.takeSide(true, "sourceip"))
	case strings.EqualFold(v.peek(v.side(true, "modecfgclient")), "yes"):
		v.takeSide(true, "modecfgclient")
		conn.set("vips", "0.0.0.0")
	}
	c.tellUnread(v, v.side(true, "sourceip"), "the source address of this host's own packets follows its routes")

	var pools []string
	for _, key := range []string{"sourceip", "addresspool"} {
		for _, addrs := range strings.Split(v.peek(v.side(false, key)), ",") {
			if addrs = strings.TrimSpace(addrs); addrs == "" || strings.HasPrefix(addrs, "%") {
				continue
			}
			v.takeSide(false, key)
			pools = append(pools, c.pool(v, addrs))
		}
	}
	conn.set("pools", strings.Join(pools, ", "))
	c.tellUnread(v, v.side(false, "sourceip"), "where this side lends addresses from has to be written: rightsourceip=10.11.0.0/24")
}

// pool is the pool of these addresses, which several conns may name.
func (c *ipsecConf) pool(v *view, addrs string) string {
	for _, p := range c.pools.subs {
		if p.settings[0][1] == addrs {
			return p.name
		}
	}
	p := c.pools.sub(v.name)
	p.set("addrs", addrs)
	p.set("dns", strings.Join(strings.FieldsFunc(or(v.takeSide(false, "dns"), v.take("modecfgdns")), func(r rune) bool { return r == ',' || r == ' ' }), ", "))
	return p.name
}

// times carries over when the IKE SA is renewed: that is a margin before it is over, in an ipsec.conf.
func (c *ipsecConf) times(conn *section, v *view) {
	if v.peek("rekey") == "no" {
		v.take("rekey")
		conn.set("rekey_time", "0")
		c.tell(v, "ikelifetime", "the IKE SA is not renewed, as rekey=no says, and lives on")
		v.take("reauth")
		return
	}
	v.take("rekey")
	lifetime, ok := c.lifetime(v, "ikelifetime")
	reauth := v.take("reauth")
	if !ok {
		if reauth == "yes" {
			conn.set("reauth_time", seconds(3*time.Hour-defaultMargin)) // of strongSwan's default
		}
		return
	}
	key := "rekey_time"
	if reauth == "yes" || reauth == "" && !c.libreswan { // strongSwan's default
		key = "reauth_time"
	}
	early := c.early(v, lifetime)
	conn.set(key, seconds(lifetime-early))
	conn.set("over_time", seconds(early))
}

// defaultMargin is how long before its end an SA is renewed if the file does not say it.
const defaultMargin = 9 * time.Minute

// early is how long before the end of a lifetime an SA is renewed.
func (c *ipsecConf) early(v *view, lifetime time.Duration) time.Duration {
	margin := defaultMargin
	for _, key := range []string{"margintime", "rekeymargin"} {
		if written, ok := c.lifetime(v, key); ok {
			margin = written
		}
	}
	if 2*margin >= lifetime {
		return lifetime / 10
	}
	return margin
}

// lifetime reads a time: seconds, or with a unit.
func (c *ipsecConf) lifetime(v *view, key string) (time.Duration, bool) {
	text := v.peek(key)
	if text == "" {
		return 0, false
	}
	unit, ok := map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour}[text[len(text)-1]]
	digits := text[:len(text)-1]
	if !ok {
		unit, digits = time.Second, text
	}
	n, err := strconv.ParseUint(digits, 10, 32)
	if err != nil || n == 0 || time.Duration(n) > 10*365*24*time.Hour/unit {
		c.tell(v, key, "it is no time: Culvert's default is used")
		return 0, false
	}
	v.take(key)
	return time.Duration(n) * unit, true
}

func seconds(d time.Duration) string { return fmt.Sprintf("%ds", d/time.Second) }

// proposals carries algorithms over. A list that does not end in "!" is followed by strongSwan's default proposals. pfs is the key
// exchange that libreswan adds to an esp proposal without one.
func (c *ipsecConf) proposals(v *view, proto suite.Protocol, pfs string, keys ...string) string {
	value := v.peek(keys...)
	if value == "" {
		return ""
	}
	at := keys[0]
	for _, key := range keys {
		if v.peek(key) == value {
			at = key
		}
	}
	value, strict := strings.CutSuffix(strings.ReplaceAll(value, " ", ""), "!")
	var list []string
	for _, text := range strings.Split(value, ",") {
		if text == "" {
			continue
		}
		if c.libreswan {
			text = fromLibreswan(text)
			if pfs != "" && keyExchange(text) == "" {
				text += "-" + pfs
			}
		}
		if _, err := suite.ParseProposal(proto, text); err != nil {
			if s := v.params[at]; s.fate != told {
				c.note(s.file, s.line, fmt.Sprintf("%s=%s", at, brief(text)), "this proposal is left out: %s", strings.ReplaceAll(err.Error(), "\n", "; "))
			}
			continue
		}
		list = append(list, text)
	}
	if list == nil {
		c.tell(v, at, "Culvert knows none of these proposals, and uses its default ones: the other side needs one of aes256, sha256 and modp2048, or stronger")
		return ""
	}
	v.take(at)
	if !strict && !c.libreswan {
		list = append(list, "default")
	}
	return strings.Join(list, ", ")
}
