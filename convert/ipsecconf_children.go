package convert

import (
	"fmt"
	"strings"

	"github.com/culvert-vpn/culvert/suite"
)

// children are what a conn is about: one child, or with libreswan's leftsubnets one for each pair of networks. Without any there is a
// note.
func (c *ipsecConf) children(v *view, start string) []*section {
	nets := func(local bool) [][]string {
		if list := v.takeSide(local, "subnets"); list != "" {
			var each [][]string
			for _, n := range strings.FieldsFunc(strings.Trim(list, "{}"), func(r rune) bool { return r == ',' || r == ' ' || r == '\t' }) {
				each = append(each, []string{n})
			}
			return each
		}
		var all []string
		for _, n := range strings.Split(v.peek(v.side(local, "subnet")), ",") {
			if n = strings.TrimSpace(n); n != "" {
				all = append(all, n)
			}
		}
		return [][]string{all}
	}
	here, there := nets(true), nets(false)
	if len(here)*len(there) > maxDepth*maxDepth {
		c.refuse(v, v.side(true, "subnets"), "it stands for more pairs of networks than Culvert takes: write larger networks")
		return nil
	}
	if strings.HasPrefix(v.peek(v.side(false, "subnet")), "vhost:") || strings.HasPrefix(v.peek(v.side(false, "subnet")), "vnet:") {
		c.refuse(v, v.side(false, "subnet"), "virtual networks are of IKEv1: write the networks, or lend addresses by rightsourceip")
		return nil
	}
	var all []*section
	for i, local := range here {
		for j, remote := range there {
			name := v.name
			if len(here)*len(there) > 1 {
				name = fmt.Sprintf("%s-%dx%d", v.name, i+1, j+1)
			}
			child := &section{name: name}
			c.child(child, v, local, remote, start)
			all = append(all, child)
		}
	}
	return all
}

func (c *ipsecConf) child(child *section, v *view, local, remote []string, start string) {
	pfs := ""
	if c.libreswan && v.take("pfs") != "no" {
		pfs = keyExchange(fromLibreswan(strings.Split(v.peek("ike"), ",")[0]))
	}
	child.set("esp_proposals", c.proposals(v, suite.ESP, pfs, "esp", "phase2alg"))
	child.set("local_ts", c.selectors(v, true, local))
	child.set("remote_ts", c.selectors(v, false, remote))
	if v.take("type") == "transport" {
		child.set("mode", "transport")
	}
	c.lives(child, v)
	child.set("start_action", start)
	if action := map[string]string{"clear": "clear", "hold": "trap", "restart": "start"}[strings.ToLower(v.peek("dpdaction"))]; action != "" {
		v.take("dpdaction")
		child.set("dpd_action", action)
	} else if v.peek("dpdaction") == "none" {
		v.take("dpdaction")
	}
	if action := map[string]string{"clear": "none", "hold": "trap", "restart": "start"}[strings.ToLower(v.peek("closeaction"))]; action != "" {
		v.take("closeaction")
		child.set("close_action", action)
	} else if v.peek("closeaction") == "none" {
		v.take("closeaction")
	}
	child.set("inactivity", v.take("inactivity"))
	child.set("tfc_padding", strings.TrimPrefix(v.take("tfc"), "%"))
	for _, key := range []string{"replay_window", "replay-window"} {
		if window := v.peek(key); window != "" && window != "-1" {
			child.set("replay_window", v.take(key))
		}
	}
	if v.peek("compress") == "no" {
		v.take("compress")
	}
}

// lives carries over when a Child SA is rekeyed and when it is over.
func (c *ipsecConf) lives(child *section, v *view) {
	rekeys := v.peek("rekey") != "no"
	if !rekeys {
		child.set("rekey_time", "0")
	}
	for _, key := range []string{"lifetime", "keylife", "salifetime", "ipsec-lifetime"} {
		lifetime, ok := c.lifetime(v, key)
		if !ok {
			continue
		}
		child.set("life_time", seconds(lifetime))
		if rekeys {
			child.set("rekey_time", seconds(lifetime-c.early(v, lifetime)))
		}
		break
	}
	for _, unit := range []string{"bytes", "packets"} {
		life := or(v.take("life"+unit), v.take("ipsec-max-"+unit))
		child.set("life_"+unit, life)
		if life != "" && !rekeys {
			child.set("rekey_"+unit, "0")
		}
	}
}

// selectors are the networks of a side with its protocol and port.
func (c *ipsecConf) selectors(v *view, local bool, nets []string) string {
	v.takeSide(local, "subnet")
	suffix := ""
	if proto, port, _ := strings.Cut(v.takeSide(local, "protoport"), "/"); proto != "" {
		suffix = "[" + strings.TrimPrefix(proto, "%") + "]"
		if port != "" && port != "0" {
			suffix = "[" + strings.TrimPrefix(proto, "%") + "/" + strings.TrimPrefix(port, "%") + "]"
		}
	}
	if len(nets) == 0 && suffix != "" {
		nets = []string{"dynamic"}
	}
	var list []string
	for _, n := range nets {
		n = strings.Replace(n, "%dynamic", "dynamic", 1)
		if !strings.Contains(n, "[") {
			n += suffix
		}
		list = append(list, n)
	}
	return strings.Join(list, ", ")
}
