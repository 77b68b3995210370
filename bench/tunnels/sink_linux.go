package main

import (
	"encoding/binary"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/culvert-vpn/culvert/internal/lab"
	"github.com/culvert-vpn/culvert/natt"
)

// sink counts and drops what comes to the peers in ESP, where it leaves the link. What a peer does with a packet is no cost of the gateway's, but
// a virtual link does it within the gateway's system call.
type sink struct {
	t      *teller
	host   *lab.Host
	chain  *nftables.Chain
	stride int // bytes of a datagram's payload
}

func newSink(t *teller, h *lab.Host, device string, stride int) *sink {
	k := &sink{t: t, host: h, stride: stride}
	k.do(func(c *nftables.Conn) error {
		table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyNetdev, Name: "sink"})
		k.chain = c.AddChain(&nftables.Chain{
			Table: table, Name: "sink", Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookIngress, Priority: nftables.ChainPriorityFilter,
			Device: device,
		})
		nonESPMarker := make([]byte, 4) // RFC 3948 2.2
		c.AddRule(&nftables.Rule{Table: table, Chain: k.chain, Exprs: []expr.Any{
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
			&expr.Cmp{Register: 1, Op: expr.CmpOpEq, Data: []byte{unix.IPPROTO_UDP}},
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
			&expr.Cmp{Register: 1, Op: expr.CmpOpEq, Data: binary.BigEndian.AppendUint16(nil, natt.PortNATT)},
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: udpHeader, Len: 4},
			&expr.Cmp{Register: 1, Op: expr.CmpOpNeq, Data: nonESPMarker},
			&expr.Counter{},
			&expr.Verdict{Kind: expr.VerdictDrop},
		}})
		return c.Flush()
	})
	return k
}

const ip4Header, udpHeader = 20, 8

// count is the number of datagrams so far. What the kernel counts as a packet is a train of any length.
func (k *sink) count() (n int) {
	k.do(func(c *nftables.Conn) error {
		rules, err := c.GetRules(k.chain.Table, k.chain)
		for _, r := range rules {
			for _, e := range r.Exprs {
				if x, ok := e.(*expr.Counter); ok {
					n = (int(x.Bytes) - int(x.Packets)*(ip4Header+udpHeader)) / k.stride
				}
			}
		}
		return err
	})
	return n
}

// do is one conversation with the host's kernel.
func (k *sink) do(f func(*nftables.Conn) error) {
	lab.Must(k.t, k.host.Do(func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		return f(c)
	}))
}
