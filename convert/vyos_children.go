package convert

import (
	"strings"
)

// actions are the words for what is done with a child, in all versions.
var actions = map[string]string{"none": "none", "clear": "none", "hold": "trap", "trap": "trap", "restart": "start", "start": "start"}

// children carries the tunnels of a peer over.
func (v *vyos) children(c *section, p, ike *node, addrs string) {
	all := c.sub("children")
	start := v.startAction(p, addrs)
	esp := p.take("default-esp-group")
	window := p.take("replay-window")
	tunnels := p.tags("tunnel")
	for _, t := range tunnels {
		if t.get("disable") != nil {
			v.drop(t, "tunnel %s is disabled", brief(t.word))
			continue
		}
		if strings.HasPrefix(t.peek("protocol"), "!") {
			v.drop(t, "selectors cannot leave a protocol out: name those that are to enter the tunnel")
			continue
		}
		child := all.sub(c.name + "-tunnel-" + t.word)
		v.tunnel(child, p, t, ike, esp, addrs)
		v.actions(child, ike, start)
		child.set("replay_window", window)
		v.passthrough(all, child, t)
	}
	if vti := p.get("vti"); vti != nil && tunnels == nil {
		child := all.sub(c.name + "-vti")
		group := or(vti.take("esp-group"), esp)
		v.esp(child, vti, ike, group)
		local, remote := anything(vti.list("traffic-selector", "local", "prefix")), anything(vti.list("traffic-selector", "remote", "prefix"))
		if local == nil && remote == nil {
			local, remote = []string{"0.0.0.0/0", "::/0"}, v.routes(vti.peek("bind"))
			v.drop(vti.get("bind"), "there are no interfaces to route through: what static routes lead into this one is remote_ts; the other side may go on with all traffic as its selectors")
		}
		child.set("local_ts", strings.Join(local, ", "))
		child.set("remote_ts", strings.Join(remote, ", "))
		v.actions(child, ike, start)
		child.set("replay_window", window)
	}
	v.drop(unreadOf(p.get("vti", "bind")), "there are no interfaces to route through: the selectors alone say what enters the tunnel")
}

// routes are the networks that static routes lead to through an interface, in the words of all versions.
func (v *vyos) routes(device string) (list []string) {
	if device == "" {
		return nil
	}
	static := v.root.get("protocols", "static")
	for _, kind := range []string{"interface-route", "interface-route6", "route", "route6"} {
		for _, network := range static.tags(kind) {
			if network.get("next-hop-interface", device) != nil || network.get("interface", device) != nil {
				list = append(list, network.word)
			}
		}
	}
	return list
}

// startAction is what the tunnels of a peer do at the beginning.
func (v *vyos) startAction(p *node, addrs string) string {
	kind := p.peek("connection-type")
	if addrs == "" && kind != "" && kind != "none" && kind != "respond" {
		v.drop(p.get("connection-type"), "the address of the peer is not known, so that it is the peer that has to call")
		return "none"
	}
	p.take("connection-type")
	switch {
	case addrs == "" || kind == "none":
		return "none"
	case kind == "respond":
		return "trap"
	}
	return "start"
}

func (v *vyos) actions(child *section, ike *node, start string) {
	child.set("start_action", start)
	if dpd := actions[ike.take("dead-peer-detection", "action")]; dpd != "" {
		child.set("dpd_action", strings.Replace(dpd, "none", "clear", 1))
	}
	if closed := actions[ike.take("close-action")]; closed != "" && closed != "none" {
		child.set("close_action", closed)
	}
}

// tunnel carries one tunnel over.
func (v *vyos) tunnel(child *section, p, t, ike *node, esp, addrs string) {
	t.mark()
	transport := v.esp(child, t, ike, or(t.take("esp-group"), esp))
	if transport {
		child.set("mode", "transport")
	}
	proto := t.take("protocol")
	local := suffix(proto, t.take("local", "port"))
	remote := suffix(proto, t.take("remote", "port"))
	if transport {
		// Selectors are the two addresses, which dynamic means.
		child.set("local_ts", ifAny(local, "dynamic"+local))
		child.set("remote_ts", ifAny(remote, "dynamic"+remote))
	} else {
		child.set("local_ts", with(local, append(t.list("local", "prefix"), t.list("local-subnet")...)))
		child.set("remote_ts", with(remote, append(t.list("remote", "prefix"), t.list("remote-subnet")...)))
	}
	child.set("priority", t.take("priority"))
	for _, key := range []string{"allow-nat-networks", "allow-public-networks"} {
		if t.peek(key) == "disable" {
			t.take(key)
		}
		v.drop(unreadOf(t.get(key)), "selectors are what is written as prefix")
	}
}

// suffix limits a selector to a protocol and a port.
func suffix(proto, port string) string {
	if proto == "all" {
		proto = ""
	}
	if proto == "" && port == "" {
		return ""
	}
	if port == "" {
		return "[" + proto + "]"
	}
	return "[" + proto + "/" + port + "]"
}

func ifAny(condition, text string) string {
	if condition == "" {
		return ""
	}
	return text
}

// with adds a suffix to all selectors. None at all is dynamic.
func with(suffix string, prefixes []string) string {
	var list []string
	for _, p := range anything(prefixes) {
		list = append(list, p+suffix)
	}
	if list == nil && suffix != "" {
		return "dynamic" + suffix
	}
	return strings.Join(list, ", ")
}

// anything spells the prefix any out.
func anything(prefixes []string) []string {
	if contains(prefixes, "any") {
		return []string{"0.0.0.0/0", "::/0"}
	}
	return prefixes
}

// passthrough keeps traffic between networks out of the tunnel.
func (v *vyos) passthrough(all, child *section, t *node) {
	nets := strings.Join(t.list("passthrough"), ", ")
	if nets == "" {
		return
	}
	s := all.sub(child.name + "-passthrough")
	s.set("local_ts", nets)
	s.set("remote_ts", nets)
	s.set("mode", "pass")
	s.set("start_action", "trap")
}
