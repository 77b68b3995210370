//go:build linux

package lab

import (
	"encoding/binary"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Census counts the IPv4 packets that a router forwards.
type Census struct {
	host  *Host
	conn  *nftables.Conn
	chain *nftables.Chain
	ports []uint16
}

// Census begins to count: UDP datagrams by the port they are sent to, of those given, and all other packets together.
// There can be one on a host.
func (h *Host) Census(ports ...uint16) *Census {
	h.t.Helper()
	conn, err := nftables.New(nftables.WithNetNSFd(int(h.ns)))
	Must(h.t, err)
	table := conn.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "census"})
	c := &Census{host: h, conn: conn, ports: ports, chain: conn.AddChain(&nftables.Chain{
		Table: table, Name: "forward", Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter,
	})}
	for _, port := range ports {
		conn.AddRule(&nftables.Rule{Table: table, Chain: c.chain, Exprs: []expr.Any{
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
			&expr.Cmp{Register: 1, Op: expr.CmpOpEq, Data: []byte{unix.IPPROTO_UDP}},
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}, // the destination port
			&expr.Cmp{Register: 1, Op: expr.CmpOpEq, Data: binary.BigEndian.AppendUint16(nil, port)},
			&expr.Counter{},
			&expr.Verdict{Kind: expr.VerdictAccept}, // and no further rule sees it
		}})
	}
	conn.AddRule(&nftables.Rule{Table: table, Chain: c.chain, Exprs: []expr.Any{&expr.Counter{}}})
	if err := conn.Flush(); err != nil {
		h.t.Fatalf("%s: counting packets: %v", h.Name, err)
	}
	return c
}

// Read returns the numbers so far, in the order of the ports, and that of all other packets. A train of segments that
// the kernel carries as one packet counts as one.
func (c *Census) Read() (byPort []uint64, others uint64, err error) {
	rules, err := c.conn.GetRules(c.chain.Table, c.chain)
	if err != nil {
		return nil, 0, fmt.Errorf("%s: counting packets: %w", c.host.Name, err)
	}
	var counts []uint64
	for _, rule := range rules {
		for _, e := range rule.Exprs {
			if counter, ok := e.(*expr.Counter); ok {
				counts = append(counts, counter.Packets)
			}
		}
	}
	if len(counts) != len(c.ports)+1 {
		return nil, 0, fmt.Errorf("%s: counting packets: %d counters of %d are there", c.host.Name, len(counts), len(c.ports)+1)
	}
	return counts[:len(c.ports)], counts[len(c.ports)], nil
}
