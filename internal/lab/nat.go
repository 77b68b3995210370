//go:build linux

package lab

import (
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// NAT1to1 makes the router translate one inside address to one outside address and back, ports untouched, in both
// directions: what a cloud does for a machine with a public address. Both are IPv4.
func (h *Host) NAT1to1(inside, outside netip.Addr) {
	h.t.Helper()
	conn, err := nftables.New(nftables.WithNetNSFd(int(h.ns)))
	Must(h.t, err)
	table := conn.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "nat1to1"})
	chain := func(name string, hook *nftables.ChainHook, priority *nftables.ChainPriority) *nftables.Chain {
		return conn.AddChain(&nftables.Chain{Table: table, Name: name, Type: nftables.ChainTypeNAT, Hooknum: hook, Priority: priority})
	}
	in := chain("in", nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest)
	out := chain("out", nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource)
	const sourceOffset, destinationOffset = 12, 16 // in the IPv4 header
	conn.AddRule(&nftables.Rule{Table: table, Chain: in, Exprs: translate(destinationOffset, outside, inside, expr.NATTypeDestNAT)})
	conn.AddRule(&nftables.Rule{Table: table, Chain: out, Exprs: translate(sourceOffset, inside, outside, expr.NATTypeSourceNAT)})
	if err := conn.Flush(); err != nil {
		h.t.Fatalf("%s: NAT (has this kernel the modules nf_tables and nft_nat?): %v", h.Name, err)
	}
}

// translate is a rule: if the address at the offset in the IP header is from, it becomes to.
func translate(offset uint32, from, to netip.Addr, kind expr.NATType) []expr.Any {
	const nfprotoIPv4 = 2
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4},
		&expr.Cmp{Register: 1, Op: expr.CmpOpEq, Data: from.AsSlice()},
		&expr.Immediate{Register: 1, Data: to.AsSlice()},
		&expr.NAT{Type: kind, Family: nfprotoIPv4, RegAddrMin: 1},
	}
}
