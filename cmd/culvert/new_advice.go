package main

import (
	"fmt"
	"io"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"github.com/culvert-vpn/culvert/config"
	"github.com/culvert-vpn/culvert/draft"
)

// adviser collects what is still to be done, so that it is written at once.
type adviser struct{ strings.Builder }

func (a *adviser) say(format string, args ...any) { fmt.Fprintf(a, format+"\n", args...) }
func (a *adviser) run(format string, args ...any) { a.say("    "+format, args...) }

// sites says which file goes where, and what is to be done on both sides.
func (a *adviser) sites(s draft.SiteToSite, mine, other file, p placement, peerNAT bool) {
	a.written(mine, "the configuration of this gateway")
	a.written(other, "that of the other one, with the same secret")

	a.say("\nOn this gateway, %s, as root:", mine.gateway)
	a.installed(mine, p)
	a.start(mine, s.Here.Networks, s.There.Networks)
	a.say("\nBring the other file to %s over a channel that you trust, and delete it here:", other.gateway)
	a.transfer(other, s.There.Address)
	a.say("\nOn %s, as root:", other.gateway)
	a.install(file{gateway: other.gateway, peer: other.peer, strongSwan: other.strongSwan, path: filepath.Base(other.path)})
	a.start(other, s.There.Networks, s.Here.Networks)

	called, caller := s.There, s.Here
	if s.There.Address == "" {
		called, caller = s.Here, s.There
	}
	a.firewalls(called.Name, called.Address, caller.Name, peerNAT || called.Name == s.Here.Name)
	a.unpackaged()
}

// clients does the same for remote access.
func (a *adviser) clients(r draft.RemoteAccess, gateway file, clients []file, p placement) {
	a.written(gateway, "the configuration of this gateway")
	for _, c := range clients {
		a.written(c, "that of the client "+c.gateway)
	}
	all := append(slices.Clone(r.Gateway.Networks), r.Pool)
	a.say("\nOn this gateway, %s, as root:", gateway.gateway)
	a.installed(gateway, p)
	a.start(gateway, all, nil)
	a.say("\nBring each client its file over a channel that you trust, and delete it here:")
	for _, c := range clients {
		a.transfer(c, "")
	}
	a.say("\nOn each client, as root:")
	for _, c := range clients {
		a.install(file{gateway: c.gateway, peer: c.peer, path: filepath.Base(c.path)})
	}
	a.start(file{}, nil, nil)
	a.firewalls(r.Gateway.Name, r.Gateway.Address, "the clients", true)
	a.say("- Hosts in %s send what is for %v to %s: give them a route, if it is not their default.", words(r.Gateway.Networks), r.Pool, r.Gateway.Name)
	a.unpackaged()
}

func (a *adviser) written(f file, what string) { a.say("%s: %s, %s", f.path, what, f.gateway) }

// installed says how the file gets to its place on this machine, if it is not there.
func (a *adviser) installed(f file, p placement) {
	switch {
	case p.both != "":
		a.install(f)
	case !p.included:
		a.run("echo 'include conf.d/*.conf' >> %s", filepath.Join(p.etc, filepath.Base(defaultConfig)))
	}
}

// install says how a file gets to the place where the package looks for it: its daemon is a user of its own.
func (a *adviser) install(f file) {
	if f.strongSwan {
		a.run("install -m 600 %s /etc/swanctl/conf.d/%s.conf && rm %[1]s", f.path, f.peer)
		return
	}
	a.run("install -D -m 640 -g %s %s /etc/culvert/conf.d/%s.conf && rm %[2]s", config.Group, f.path, f.peer)
}

// transfer says how a file gets to another machine.
func (a *adviser) transfer(f file, host string) {
	switch {
	case host == "":
		host = strings.ToUpper(f.gateway)
	case strings.Contains(host, ":"):
		host = "[" + host + "]"
	}
	a.run("scp %s root@%s: && rm %[1]s", f.path, host)
}

// start says how a gateway is set going that forwards between these networks.
func (a *adviser) start(f file, local, remote []netip.Prefix) {
	all := append(slices.Clone(local), remote...)
	if has(all, false) {
		a.run("sysctl -w net.ipv4.ip_forward=1")
	}
	if has(all, true) {
		a.run("sysctl -w net.ipv6.conf.all.forwarding=1")
	}
	if f.strongSwan {
		a.run("swanctl --load-all")
		return
	}
	a.run("systemctl restart culvert     # culvert reload, if other tunnels are not to be interrupted")
	a.run("culvert status")
}

// firewalls says what has to be let through to the side that is called.
func (a *adviser) firewalls(called, address, caller string, nat bool) {
	a.say("\nFirewalls and clouds:")
	a.say("- %s is called at %s: let UDP 500 and 4500 in there.", called, address)
	if nat {
		a.say("  If it is behind a NAT, that has to forward UDP 500 and 4500 to it; the 1:1 NAT of a cloud does so by itself.")
	}
	a.say("- %s: nothing has to be let in, only UDP to these two ports out.", caller)
	a.say("- A cloud VM has to forward for others: switch off the source/destination check (AWS) or enable IP forwarding (Azure,")
	a.say("  Google Cloud), and route what is for the other network to the VM. sysctl -w lasts until the next boot: /etc/sysctl.d.")
}

// unpackaged says what is different without the package.
func (a *adviser) unpackaged() {
	a.say("\nWhere Culvert is not installed as a package: the first file of a gateway is %s, of mode 600, and the", defaultConfig)
	a.say("daemon is culvert run.")
}

func (a *adviser) writeTo(w io.Writer) error {
	_, err := io.WriteString(w, a.String())
	return err
}

func has(list []netip.Prefix, six bool) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Addr().Is6() == six })
}

func words(list []netip.Prefix) string {
	var texts []string
	for _, p := range list {
		texts = append(texts, p.String())
	}
	return strings.Join(texts, ", ")
}
