package ts

import (
	"encoding/binary"
	"net/netip"

	"github.com/culvert-vpn/culvert/internal/inet"
)

// Packet holds the fields of an IP packet that selectors look at, and a few that tunnelling needs.
type Packet struct {
	Src, Dst netip.Addr
	// Protocol is that of the next layer, behind the IPv6 extension headers.
	Protocol uint8
	// SrcPort and DstPort mean something if HasPorts is set. ICMP's type and code, and the type of a
	// Mobility Header, stand in both of them (RFC 4301 4.4.1.1).
	SrcPort, DstPort uint16
	// HasPorts: the protocol has ports, and they can be seen.
	HasPorts bool
	// Fragment: a fragment that is not the first, so that ports cannot be seen.
	Fragment bool
	// HeaderLen is the length of the IP header with its options and extension headers, TotalLen that of the
	// packet: HeaderLen <= TotalLen <= len(b).
	HeaderLen, TotalLen int
	// TOS is the octet of DSCP (upper six bits) and ECN (lower two).
	TOS uint8
}

// ParsePacket reads the IPv4 or IPv6 packet at the start of b; what follows its TotalLen is not looked at. Its
// errors are those of a packet that is cut short or that no sender makes. It does not allocate and keeps nothing
// of b. The checksum of the IPv4 header is not verified.
func ParsePacket(b []byte) (Packet, error) {
	h, err := inet.Parse(b)
	if err != nil {
		return Packet{}, err
	}
	p := Packet{
		Src: h.Src, Dst: h.Dst,
		Protocol:  h.Protocol,
		Fragment:  !h.First(),
		HeaderLen: h.Len, TotalLen: h.Total,
		TOS: h.TOS,
	}
	if h.First() {
		p.SrcPort, p.DstPort, p.HasPorts = ports(h.Protocol, b[h.Len:h.Total])
	}
	return p, nil
}

// ports takes the ports out of the next layer's header.
func ports(protocol uint8, b []byte) (src, dst uint16, ok bool) {
	switch protocol {
	case protoTCP, protoUDP, protoUDPLite, protoDCCP, protoSCTP:
		if len(b) < 4 {
			return 0, 0, false
		}
		return binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:]), true
	case protoICMP, protoICMPv6:
		if len(b) < 2 {
			return 0, 0, false
		}
		src = binary.BigEndian.Uint16(b) // type, code
		return src, src, true
	case protoMobility:
		if len(b) < 3 {
			return 0, 0, false
		}
		src = uint16(b[2]) << 8 // RFC 6275 6.1.1: the MH Type is the third octet
		return src, src, true
	}
	return 0, 0, false
}

// Selectors are the narrowest selectors of the flow that p belongs to, from its source and to its destination, as an initiator tells them
// for the packet that asks for an SA (RFC 7296 2.9). Where one field stands in place of ports it is left open: the answer to an
// ICMP message has another type.
func (p *Packet) Selectors() (src, dst Selector) {
	src, dst = FromAddr(p.Src), FromAddr(p.Dst)
	src.Protocol, dst.Protocol = p.Protocol, p.Protocol
	if p.HasPorts && !oneField(p.Protocol) {
		src.StartPort, src.EndPort = p.SrcPort, p.SrcPort
		dst.StartPort, dst.EndPort = p.DstPort, p.DstPort
	}
	return src, dst
}

// oneField reports whether a protocol has one thing in place of two ports.
func oneField(protocol uint8) bool { return isICMP(protocol) || protocol == protoMobility }

// Match reports whether a Child SA with the given selectors carries p: going out, from local to remote, or coming
// in. It does not allocate. The selectors must be valid.
//
// A fragment that is not the first has no ports to see and matches only selectors with ANY or OPAQUE ports
// (RFC 4301 7).
func Match(local, remote []Selector, p Packet, outbound bool) bool {
	src, dst := local, remote
	if !outbound {
		src, dst = remote, local
	}
	for i := range src {
		if src[i].matchSrc(&p) {
			for j := range dst {
				if dst[j].matchDst(&p) {
					return true
				}
			}
			return false
		}
	}
	return false
}

func (s *Selector) matchSrc(p *Packet) bool {
	return s.hasAddr(p.Src) && s.matchProtocol(p.Protocol) && s.matchSrcPort(p)
}

func (s *Selector) matchDst(p *Packet) bool {
	return s.hasAddr(p.Dst) && s.matchProtocol(p.Protocol) && s.matchDstPort(p)
}

func (s *Selector) matchProtocol(protocol uint8) bool {
	return s.Protocol == 0 || s.Protocol == protocol
}

func (s *Selector) matchSrcPort(p *Packet) bool { return s.matchPort(p.SrcPort, p.HasPorts) }

// matchDstPort is like matchSrcPort, save that what ICMP and Mobility Headers have is the sender's: if the
// receiving side's selector is OPAQUE it says nothing of what may be sent to it, only that it does not send such
// packets itself (RFC 4301 4.4.1.3).
func (s *Selector) matchDstPort(p *Packet) bool {
	return s.matchPort(p.DstPort, p.HasPorts && !(s.opaque() && oneField(p.Protocol)))
}

func (s *Selector) matchPort(port uint16, seen bool) bool {
	switch {
	case s.anyPort():
		return true
	case s.opaque() || !seen:
		return s.opaque() && !seen
	}
	return s.StartPort <= port && port <= s.EndPort
}
