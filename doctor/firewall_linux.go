package doctor

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"github.com/culvert-vpn/culvert/explain"
	"github.com/culvert-vpn/culvert/natt"
)

// deviceName is that of the tunnel's device unless the daemon was told another one.
const deviceName = "culvert0"

// Connection tracking's states of a packet, as rules see them (NF_CT_STATE_BIT).
const (
	stateEstablished = 1 << 1
	stateNew         = 1 << 3
)

// firewall looks whether the host's own rules let pass what a tunnel needs.
func (x *examination) firewall() {
	conn, err := nftables.New()
	if err != nil {
		x.add(Check{ID: "firewall", Group: Host, Result: Unknown, Text: fmt.Sprintf("nftables cannot be asked: %v", err)})
		return
	}
	rules, err := readRules(conn)
	if err != nil {
		x.add(Check{ID: "firewall", Group: Host, Result: Unknown, Text: fmt.Sprintf("the rules of nftables cannot be read: %v", err)})
		return
	}
	called := x.conf == nil
	for _, c := range x.chosen() {
		called = called || c.RemoteHost == ""
	}
	x.add(rules.judgeInput(called, x.uplink()))
	if x.forwards() {
		device := deviceName
		if x.daemon != nil && x.daemon.Device != "" {
			device = x.daemon.Device
		}
		x.add(rules.judgeForward(device))
	}
	if old, err := os.ReadFile("/proc/net/ip_tables_names"); err == nil && len(strings.TrimSpace(string(old))) > 0 {
		x.add(Check{ID: "firewall", Group: Host, Result: Note, Text: "there are rules of the old iptables as well, which cannot be read here: see `iptables-legacy -S`"})
	}
}

// readRules reads the chains that filter what comes to this host and what it forwards, and those that these jump to.
func readRules(conn *nftables.Conn) (*ruleset, error) {
	chains, err := conn.ListChains()
	if err != nil {
		return nil, err
	}
	r := &ruleset{chains: map[chainName]*chain{}, sets: map[chainName][]nftables.SetElement{}}
	for _, c := range chains {
		if f := c.Table.Family; f != nftables.TableFamilyINet && f != nftables.TableFamilyIPv4 {
			continue
		}
		if len(r.chains) == maxChains {
			return nil, fmt.Errorf("there are more than %d chains", maxChains)
		}
		list, err := conn.GetRules(c.Table, c)
		if err != nil {
			return nil, err
		}
		one := &chain{name: chainName{c.Table.Family, c.Table.Name, c.Name}, rules: list, drops: c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop}
		if c.Hooknum != nil && c.Type == nftables.ChainTypeFilter {
			hook := *c.Hooknum
			one.hook = &hook
		}
		r.chains[one.name] = one
		r.order = append(r.order, one)
	}
	tables := map[chainName]*nftables.Table{}
	for _, c := range chains {
		tables[chainName{c.Table.Family, c.Table.Name, ""}] = c.Table
	}
	for name, table := range tables {
		sets, err := conn.GetSets(table)
		if err != nil {
			continue // what looks up in them is not known then
		}
		for _, s := range sets[:min(len(sets), maxChains)] {
			if elements, err := conn.GetSetElements(s); err == nil && !s.Concatenation && len(elements) <= maxElements {
				r.sets[chainName{name.family, name.table, s.Name}] = elements
			}
		}
	}
	return r, nil
}

// Limits of what is read.
const (
	maxChains   = 1024
	maxElements = 4096
)

// uplink is the interface that peers are reached through; the zero one if none is.
func (x *examination) uplink() net.Interface {
	var to []netip.Addr
	for _, c := range x.chosen() {
		if a, err := netip.ParseAddr(c.RemoteHost); err == nil {
			to = append(to, a)
		}
	}
	to = append(to, netip.AddrFrom4([4]byte{198, 51, 100, 1})) // for documentation, hence by the default route
	for _, a := range to {
		if w, err := wayTo(a); err == nil {
			if i, err := net.InterfaceByName(w.device); err == nil && i.Flags&net.FlagLoopback == 0 {
				return *i
			}
		}
	}
	return net.Interface{}
}

// udpTo is a datagram that comes from a peer.
func udpTo(port uint16, state uint32, from net.Interface) packet {
	return packet{in: from.Name, inIndex: from.Index, protocol: unix.IPPROTO_UDP, port: binary.BigEndian.AppendUint16(nil, port), state: binary.NativeEndian.AppendUint32(nil, state)}
}

// judgeInput follows datagrams of peers through the rules. called: a peer calls this host, so that not only answers come.
func (r *ruleset) judgeInput(called bool, uplink net.Interface) Check {
	c := Check{ID: "firewall", Group: Host, Result: OK, Text: "no rule of nftables drops what comes to UDP ports 500 and 4500"}
	for _, try := range []struct {
		state  uint32
		result Result
		words  string
	}{
		{stateEstablished, Failure, "even answers of peers"},
		{stateNew, map[bool]Result{true: Failure, false: Note}[called], "calls of peers"},
	} {
		worst, where := passes, (*chain)(nil)
		var ports []string
		for _, port := range []uint16{natt.Port, natt.PortNATT} {
			if f, at := r.run(nftables.ChainHookInput, udpTo(port, try.state, uplink)); f > passes {
				worst, where = max(worst, f), at
				ports = append(ports, fmt.Sprint(port))
			}
		}
		switch worst {
		case dropped:
			c.Result, c.Text = try.result, fmt.Sprintf("%v drops %s that come to UDP port %s", where.name, try.words, strings.Join(ports, " and "))
			c.Fixes = []explain.Fix{where.allow("let them pass", "udp dport { 500, 4500 }", "-p udp -m multiport --dports 500,4500")}
			if try.result == Note {
				c.Text += "; this configuration calls its peers itself, and answers pass"
				c.Fixes = nil
			}
			return c
		case perhaps:
			c.Result, c.Text = Note, fmt.Sprintf("%v may drop %s that come to UDP port %s: it depends on what cannot be told from here, such as where they come from",
				where.name, try.words, strings.Join(ports, " and "))
		}
	}
	return c
}

// judgeForward follows packets from and to the tunnel.
func (r *ruleset) judgeForward(device string) Check {
	c := Check{ID: "firewall-forward", Group: Host, Result: OK, Text: "no rule of nftables drops what is forwarded from and to " + device}
	for _, p := range []packet{{out: device}, {in: device}} {
		p.protocol, p.state = unix.IPPROTO_TCP, binary.NativeEndian.AppendUint32(nil, stateNew)
		switch f, at := r.run(nftables.ChainHookForward, p); f {
		case dropped:
			c.Result, c.Text = Warning, fmt.Sprintf("%v drops what is forwarded from or to %s", at.name, device)
			c.Fixes = []explain.Fix{at.allow("let it pass into the tunnel", fmt.Sprintf("oifname %q", device), "-o "+device),
				at.allow("let it pass out of the tunnel", fmt.Sprintf("iifname %q", device), "-i "+device)}
			return c
		case perhaps:
			c.Result, c.Text = Note, fmt.Sprintf("%v may drop what is forwarded from or to %s: it depends on what cannot be told from here, such as its addresses", at.name, device)
		}
	}
	return c
}

// allow is a rule that lets something pass, in front of the others of the chain. What belongs to iptables is changed by iptables.
func (c *chain) allow(text, nft, iptables string) explain.Fix {
	if c.name.family == nftables.TableFamilyIPv4 && slices.Contains([]string{"INPUT", "FORWARD"}, c.name.name) {
		return here(text, "iptables -I "+c.name.name+" "+iptables+" -j ACCEPT")
	}
	return here(text, "nft insert rule "+c.name.path()+" "+nft+" accept")
}
