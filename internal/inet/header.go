// Package inet reads and mends IP packets: the headers up to the next layer, checksums, the MSS of TCP, and the
// ICMP messages that tell a sender its packet is too big.
package inet

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// Protocol numbers this package looks into.
const (
	ProtoHopByHop    = 0
	ProtoICMP        = 1
	ProtoTCP         = 6
	ProtoUDP         = 17
	ProtoRouting     = 43
	ProtoFragment    = 44
	ProtoICMPv6      = 58
	ProtoDestination = 60
)

const (
	ipv4HeaderLen = 20
	ipv6HeaderLen = 40
	// MaxExtensions is how many IPv6 extension headers Parse walks over. A sender may use each kind once and
	// destination options twice (RFC 8200 4.1), which makes five; more than that is an attempt to burn time.
	MaxExtensions = 8
)

// Errors of Parse.
var (
	ErrVersion    = errors.New("neither IPv4 nor IPv6")
	ErrShort      = errors.New("packet is shorter than its headers say")
	ErrLength     = errors.New("header length is impossible")
	ErrExtensions = errors.New("too many IPv6 extension headers")
	ErrFragment   = errors.New("impossible fragment")
)

// Header is what the IP header of a packet says, extension headers included.
type Header struct {
	Src, Dst netip.Addr
	// Protocol is that of the next layer: the IPv4 protocol, or the first IPv6 next header that is not a
	// hop-by-hop, routing, fragment or destination options header (RFC 4301 4.4.1.1).
	Protocol uint8
	// TOS is the octet of DSCP and ECN.
	TOS uint8
	// Len is the offset of the next layer, Total the length of the packet: Len <= Total <= len(packet).
	Len, Total int
	// FragmentOffset is in octets; More says that fragments follow. A packet with neither is whole.
	FragmentOffset int
	More           bool
	// DontFragment is the DF bit of IPv4, and true for IPv6, which routers never fragment.
	DontFragment bool
}

// First reports whether the next layer's header is here: a whole packet or the first fragment.
func (h Header) First() bool { return h.FragmentOffset == 0 }

// Parse reads the headers of the IP packet at the start of b. Octets behind the packet's own length are let be.
// It does not check the IPv4 header checksum, which whoever forwards the packet does, and does not allocate.
func Parse(b []byte) (Header, error) {
	if len(b) == 0 {
		return Header{}, ErrShort
	}
	switch b[0] >> 4 {
	case 4:
		return parse4(b)
	case 6:
		return parse6(b)
	}
	return Header{}, ErrVersion
}

func parse4(b []byte) (Header, error) {
	if len(b) < ipv4HeaderLen {
		return Header{}, ErrShort
	}
	flags := binary.BigEndian.Uint16(b[6:])
	h := Header{
		Src:            netip.AddrFrom4([4]byte(b[12:16])),
		Dst:            netip.AddrFrom4([4]byte(b[16:20])),
		Protocol:       b[9],
		TOS:            b[1],
		Len:            int(b[0]&0x0f) * 4,
		Total:          int(binary.BigEndian.Uint16(b[2:])),
		FragmentOffset: int(flags&0x1fff) * 8,
		More:           flags&0x2000 != 0,
		DontFragment:   flags&0x4000 != 0,
	}
	switch {
	case h.Len < ipv4HeaderLen || h.Total < h.Len:
		return Header{}, ErrLength
	case h.Total > len(b):
		return Header{}, ErrShort
	}
	return h, h.checkFragment()
}

func parse6(b []byte) (Header, error) {
	if len(b) < ipv6HeaderLen {
		return Header{}, ErrShort
	}
	h := Header{
		Src:          netip.AddrFrom16([16]byte(b[8:24])),
		Dst:          netip.AddrFrom16([16]byte(b[24:40])),
		Protocol:     b[6],
		TOS:          b[0]<<4 | b[1]>>4,
		Len:          ipv6HeaderLen,
		Total:        ipv6HeaderLen + int(binary.BigEndian.Uint16(b[4:])),
		DontFragment: true,
	}
	if h.Total > len(b) {
		return Header{}, ErrShort
	}
	if err := h.walk(b[:h.Total]); err != nil {
		return Header{}, err
	}
	return h, h.checkFragment()
}

// walk moves h past the IPv6 extension headers. The first fragment must hold all of them (RFC 7112); of a later
// one the walk ends at its fragment header, as what follows is not a header but the middle of the packet.
func (h *Header) walk(b []byte) error {
	for range MaxExtensions {
		var size int
		switch h.Protocol {
		case ProtoHopByHop, ProtoRouting, ProtoDestination:
			if len(b)-h.Len < 8 {
				return ErrShort
			}
			size = 8 + int(b[h.Len+1])*8
		case ProtoFragment:
			if len(b)-h.Len < 8 {
				return ErrShort
			}
			size = 8
		default:
			return nil
		}
		if len(b)-h.Len < size {
			return ErrShort
		}
		ext := b[h.Len : h.Len+size]
		h.Len += size
		isFragment := h.Protocol == ProtoFragment
		h.Protocol = ext[0]
		if !isFragment {
			continue
		}
		if h.FragmentOffset != 0 || h.More {
			return ErrFragment // two fragment headers
		}
		field := binary.BigEndian.Uint16(ext[2:])
		h.FragmentOffset, h.More = int(field&0xfff8), field&1 != 0
		if h.FragmentOffset != 0 {
			return nil
		}
	}
	return ErrExtensions
}

// checkFragment refuses fragments that no sender makes and that serve to slip another next-layer header past a
// check of the first one: RFC 4301 7.2 asks for a minimum offset.
func (h Header) checkFragment() error {
	payload := h.Total - h.Len
	switch {
	case h.FragmentOffset == 0 && !h.More:
		return nil
	case payload == 0, h.More && payload%8 != 0: // RFC 791 3.2, RFC 8200 4.5
		return ErrFragment
	case h.FragmentOffset+payload > 65535:
		return ErrFragment
	case h.Protocol == ProtoTCP && h.FragmentOffset == 8: // would overwrite the flags of the first
		return ErrFragment
	}
	return nil
}
