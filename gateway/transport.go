package gateway

import (
	"encoding/binary"
	"net/netip"

	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/internal/inet"
	"github.com/culvert-vpn/culvert/ts"
	"github.com/culvert-vpn/culvert/udp"
)

// ends are the two hosts of a Child SA in transport mode, and how the peer's packets are made to be from one to the other.
type ends struct {
	local, remote netip.Addr
	mend          inet.Readdressing
}

// endsOf are the ends of an Install, nil in tunnel mode. In transport mode all selectors are about one address (RFC 7296 2.23.1).
func endsOf(in ike.Install) *ends {
	if in.Mode != ike.Transport {
		return nil
	}
	local, remote := in.Local[0].Start, in.Remote[0].Start
	return &ends{local, remote, inet.NewReaddressing(in.Original.Src, in.Original.Dst, remote, local)}
}

// bareHeader is the length of the IP header that transport mode leaves away, 0 in tunnel mode.
func bareHeader(in ike.Install) int {
	switch {
	case in.Mode != ike.Transport:
		return 0
	case in.Local[0].Is6():
		return ip6Header
	}
	return ip4Header
}

// Protocols of IPv6 extension headers that stand in front of ESP (RFC 4303 3.1.1).
func isOuterHeader(next byte) bool {
	return next == inet.ProtoHopByHop || next == inet.ProtoRouting || next == inet.ProtoFragment
}

// transportProtocol is the protocol of what transport mode carries of a packet: all behind its IP header. ok is false if the packet
// is not for transport mode.
func transportProtocol(b []byte, p *ts.Packet) (next byte, why Drop, ok bool) {
	if p.Dst.Is4() {
		switch {
		case binary.BigEndian.Uint16(b[6:])&0x3fff != 0: // more fragments, or an offset
			return 0, DropFragment, false
		case p.HeaderLen != ip4Header:
			return 0, DropHeader, false
		}
		return b[9], 0, true
	}
	switch next = b[6]; {
	case next == inet.ProtoFragment:
		return 0, DropFragment, false
	case isOuterHeader(next):
		return 0, DropHeader, false
	}
	return next, 0, true
}

// rebuilder puts IP headers in front of what came in transport mode.
type rebuilder struct {
	// buf holds the packets of one train.
	buf []byte
}

// maxRebuilt is what the packets of one train can come to: each gets a header, of which ESP has brought the room for a part.
const maxRebuilt = udp.MaxTrain + 2*maxTrain*ip6Header

// used reports whether there may be no room for another train before reset.
func (r *rebuilder) used() bool { return len(r.buf) > 0 }

func (r *rebuilder) reset() { r.buf = r.buf[:0] }

// rebuild makes the packet that was sealed; nil if nobody may seal such a one. It is good until reset.
func (r *rebuilder) rebuild(e *ends, payload []byte, next, tos byte) []byte {
	header := ip4Header
	if e.local.Is6() {
		header = ip6Header
	}
	if e.local.Is6() && isOuterHeader(next) || len(r.buf)+header+len(payload) > cap(r.buf) {
		return nil
	}
	e.mend.Mend(next, payload)
	start := len(r.buf)
	r.buf = inet.AppendHeader(r.buf, e.remote, e.local, next, tos, len(payload))
	r.buf = append(r.buf, payload...)
	return r.buf[start:len(r.buf):len(r.buf)]
}
