//go:build linux

package e2e

import (
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/vishvananda/netlink"
)

// nft runs a script of nft(8) on the host.
func (h *Host) nft(script string) {
	h.net.t.Helper()
	_, err := h.Run(Command{Path: "/usr/sbin/nft", Args: []string{"-f", "-"}, Stdin: script})
	Must(h.net.t, err)
}

// Masquerade makes the router hide everything that leaves towards the neighbour behind its own address there, with
// random ports: what a home router does. What comes from outside without being asked for is dropped.
func (h *Host) Masquerade(towards *Host) {
	h.net.t.Helper()
	h.nft(fmt.Sprintf(`
table ip nat {
	chain out { type nat hook postrouting priority srcnat; oifname %[1]q masquerade fully-random; }
}
table ip guard {
	chain in { type filter hook input priority filter; iifname %[1]q ct state new drop; }
	chain through { type filter hook forward priority filter; iifname %[1]q ct state new drop; }
}`, towards.Name))
}

// ForgetMappings makes a NAT box lose its state, as after a reboot. The next packet from behind a masquerading box
// gets a new mapping, on another port.
func (h *Host) ForgetMappings() {
	h.net.t.Helper()
	if err := h.Netlink().ConntrackTableFlush(netlink.ConntrackTable); err != nil {
		h.net.t.Fatalf("%s: forget mappings: %v", h.Name, err)
	}
}

// Filter is a rule that drops packets on a host until it is removed.
type Filter struct {
	host  *Host
	table string
}

var filters atomic.Uint64 // tells the tables of filters apart

// Drop makes the router drop forwarded packets that match; match is in the language of nft(8), for example
// "udp dport 4500", "ip saddr 192.0.2.10", and empty means all packets.
func (h *Host) Drop(match string) *Filter {
	h.net.t.Helper()
	return h.filter([]string{"forward"}, match)
}

// Lose makes the router lose one in so many forwarded packets, at random.
func (h *Host) Lose(oneIn int) *Filter {
	h.net.t.Helper()
	return h.Drop(fmt.Sprintf("numgen random mod %d == 0", oneIn))
}

// Blackhole makes the router drop everything it should forward.
func (h *Host) Blackhole() *Filter {
	h.net.t.Helper()
	return h.Drop("")
}

// DropICMP makes the router forward no ICMP and send none of its own, so that a packet too big is lost silently.
// Neighbour discovery goes on.
func (h *Host) DropICMP() *Filter {
	h.net.t.Helper()
	return h.filter([]string{"forward", "output"}, "meta l4proto icmp",
		"icmpv6 type != { nd-neighbor-solicit, nd-neighbor-advert }")
}

func (h *Host) filter(hooks []string, matches ...string) *Filter {
	h.net.t.Helper()
	f := &Filter{host: h, table: fmt.Sprintf("filter%d", filters.Add(1))}
	var b strings.Builder
	fmt.Fprintf(&b, "table inet %s {\n", f.table)
	for _, hook := range hooks {
		fmt.Fprintf(&b, "chain %[1]s {\ntype filter hook %[1]s priority filter;\n", hook)
		for _, match := range matches {
			fmt.Fprintf(&b, "%s counter drop\n", match)
		}
		b.WriteString("}\n")
	}
	b.WriteString("}\n")
	h.nft(b.String())
	return f
}

// Remove lets the packets pass again.
func (f *Filter) Remove() {
	f.host.net.t.Helper()
	f.host.nft("delete table inet " + f.table + "\n")
}
