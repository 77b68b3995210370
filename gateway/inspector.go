package gateway

import (
	"encoding/binary"

	"github.com/culvert-vpn/culvert/internal/inet"
	"github.com/culvert-vpn/culvert/ts"
)

// inspector reads what came out of an SA, and holds it against the SA's selectors (RFC 4301 5.2 step 4). It remembers the
// packet before, because most are of the same flow, and then all that can be told of them is told but for the length and the
// TOS.
type inspector struct {
	sa     *inboundSA // nil: nothing is remembered
	header int        // 20 or 40
	packet ts.Packet
	// flow is what told the packet before apart: protocol, addresses and ports.
	protocol  byte
	addresses [2 * 16]byte
	ports     [4]byte
}

// inspect is for a packet of esp.Opened; ok is false if it is for the given reason not to be delivered. The result is the
// inspector's until the next call.
func (i *inspector) inspect(sa *inboundSA, b []byte) (p *ts.Packet, why Drop, ok bool) {
	if i.sa == sa && i.same(b) {
		return &i.packet, 0, true
	}
	i.sa = nil
	var err error
	if i.packet, err = ts.ParsePacket(b); err != nil {
		return nil, DropInnerMalformed, false
	}
	if !ts.Match(sa.local, sa.remote, i.packet, false) {
		return nil, DropSelectors, false
	}
	i.remember(sa, b)
	return &i.packet, 0, true
}

// same reports whether a packet is of the flow of the one before, and without options, extension headers and fragments, as that
// was. Then it brings packet up to date.
func (i *inspector) same(b []byte) bool {
	if len(b) < i.header+len(i.ports) || [4]byte(b[i.header:]) != i.ports {
		return false
	}
	p := &i.packet
	if i.header == ip4Header {
		if b[0] != 0x45 || b[9] != i.protocol || [8]byte(b[12:]) != [8]byte(i.addresses[:]) ||
			binary.BigEndian.Uint16(b[6:])&0x3fff != 0 || int(binary.BigEndian.Uint16(b[2:])) != len(b) {
			return false
		}
		p.TOS = b[1]
	} else {
		if b[0]>>4 != 6 || b[6] != i.protocol || [32]byte(b[8:]) != i.addresses || ip6Header+int(binary.BigEndian.Uint16(b[4:])) != len(b) {
			return false
		}
		p.TOS = b[0]<<4 | b[1]>>4
	}
	p.TotalLen = len(b)
	return true
}

// remember keeps what packet was made of, if it is of the kind that same is about.
func (i *inspector) remember(sa *inboundSA, b []byte) {
	p := &i.packet
	if p.Protocol != inet.ProtoTCP && p.Protocol != inet.ProtoUDP || !p.HasPorts {
		return
	}
	i.protocol = p.Protocol
	switch {
	case b[0] == 0x45 && binary.BigEndian.Uint16(b[6:])&0x3fff == 0:
		i.header = ip4Header
		copy(i.addresses[:], b[12:ip4Header])
	case b[0]>>4 == 6 && p.HeaderLen == ip6Header:
		i.header = ip6Header
		copy(i.addresses[:], b[8:ip6Header])
	default:
		return
	}
	i.sa, i.ports = sa, [4]byte(b[i.header:])
}
