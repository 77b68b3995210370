// Package inettest makes IP packets for tests, field by field, and cuts superpackets: the slow twin of what the datapath
// does fast. It shares no code with it.
package inettest

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
)

// Protocols of Packet.
const (
	TCP = 6
	UDP = 17
)

// Flags of TCP.
const (
	FIN = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
	ECE
	CWR
)

// Packet is a packet of TCP or UDP, of any length: a superpacket too.
type Packet struct {
	Src, Dst netip.Addr
	TOS, TTL byte
	ID       uint16 // IPv4
	Fragment uint16 // IPv4: flags and offset as on the wire; 0x4000 is DF
	Label    uint32 // IPv6: the flow label
	// Options are those of IPv4, a multiple of 4 bytes; with IPv6 the bytes of a destination options header without its first.
	Options []byte

	Protocol         byte
	SrcPort, DstPort uint16
	Seq, Ack         uint32
	Flags            byte
	Window, Urgent   uint16
	Reserved         byte // the four bits behind the data offset
	TCPOptions       []byte

	Payload []byte
}

// Sum is the Internet checksum's sum as RFC 1071 1 words it: 16-bit words, big endian, the carry added at the end.
func Sum(b []byte) uint16 {
	var total uint32
	for i, x := range b {
		if i%2 == 0 {
			total += uint32(x) << 8
		} else {
			total += uint32(x)
		}
		total = total&0xffff + total>>16
	}
	return uint16(total)
}

// pseudo is the sum of the pseudo header for n bytes.
func (p *Packet) pseudo(n int) uint16 {
	head := append(p.Src.AsSlice(), p.Dst.AsSlice()...)
	head = binary.BigEndian.AppendUint32(head, uint32(n))
	return Sum(binary.BigEndian.AppendUint32(head, uint32(p.Protocol)))
}

// transport is the transport header, its checksum zero, and the payload.
func (p *Packet) transport() []byte {
	b := binary.BigEndian.AppendUint16(nil, p.SrcPort)
	b = binary.BigEndian.AppendUint16(b, p.DstPort)
	if p.Protocol == UDP {
		b = binary.BigEndian.AppendUint16(b, uint16(8+len(p.Payload)))
		b = append(b, 0, 0)
		return append(b, p.Payload...)
	}
	b = binary.BigEndian.AppendUint32(b, p.Seq)
	b = binary.BigEndian.AppendUint32(b, p.Ack)
	b = append(b, byte(20+len(p.TCPOptions))/4<<4|p.Reserved, p.Flags)
	b = binary.BigEndian.AppendUint16(b, p.Window)
	b = append(b, 0, 0)
	b = binary.BigEndian.AppendUint16(b, p.Urgent)
	b = append(b, p.TCPOptions...)
	return append(b, p.Payload...)
}

// HeaderLen is the length of the IP header with what belongs to it.
func (p *Packet) HeaderLen() int {
	switch {
	case p.Src.Is4():
		return 20 + len(p.Options)
	case len(p.Options) > 0:
		return 40 + 1 + len(p.Options)
	}
	return 40
}

// TransportLen is the length of the transport header.
func (p *Packet) TransportLen() int {
	if p.Protocol == UDP {
		return 8
	}
	return 20 + len(p.TCPOptions)
}

// ChecksumOffset is where the checksum stands in the transport header.
func (p *Packet) ChecksumOffset() int {
	if p.Protocol == UDP {
		return 6
	}
	return 16
}

// header is the IP header in front of n bytes.
func (p *Packet) header(n int) []byte {
	if p.Src.Is4() {
		b := []byte{byte(0x40 | p.HeaderLen()/4), p.TOS}
		b = binary.BigEndian.AppendUint16(b, uint16(p.HeaderLen()+n))
		b = binary.BigEndian.AppendUint16(b, p.ID)
		b = binary.BigEndian.AppendUint16(b, p.Fragment)
		b = append(b, p.TTL, p.Protocol, 0, 0)
		b = append(append(b, p.Src.AsSlice()...), p.Dst.AsSlice()...)
		b = append(b, p.Options...)
		binary.BigEndian.PutUint16(b[10:], ^Sum(b))
		return b
	}
	b := binary.BigEndian.AppendUint32(nil, 6<<28|uint32(p.TOS)<<20|p.Label)
	b = binary.BigEndian.AppendUint16(b, uint16(p.HeaderLen()-40+n))
	next := p.Protocol
	if len(p.Options) > 0 {
		next = 60
	}
	b = append(b, next, p.TTL)
	b = append(append(b, p.Src.AsSlice()...), p.Dst.AsSlice()...)
	if len(p.Options) > 0 {
		b = append(append(b, p.Protocol), p.Options...)
	}
	return b
}

// Bytes is the packet as it is on the wire, with all checksums.
func (p *Packet) Bytes() []byte {
	b := p.transport()
	head := append(p.Src.AsSlice(), p.Dst.AsSlice()...)
	head = binary.BigEndian.AppendUint32(head, uint32(len(b)))
	head = binary.BigEndian.AppendUint32(head, uint32(p.Protocol))
	sum := ^Sum(append(head, b...))
	if sum == 0 && p.Protocol == UDP {
		sum = 0xffff // RFC 768
	}
	binary.BigEndian.PutUint16(b[p.ChecksumOffset():], sum)
	return append(p.header(len(b)), b...)
}

// Partial is the packet with the sum of the pseudo header for its checksum, as the kernel leaves it.
func (p *Packet) Partial() []byte {
	b := p.transport()
	binary.BigEndian.PutUint16(b[p.ChecksumOffset():], p.pseudo(len(b)))
	return append(p.header(len(b)), b...)
}

// Cut are the packets that a superpacket stands for, each with at most size bytes of payload: what Linux makes of it.
func (p *Packet) Cut(size int) (list []Packet) {
	rest := p.Payload
	for i := 0; ; i++ {
		segment := *p
		segment.Payload = rest[:min(size, len(rest))]
		rest = rest[len(segment.Payload):]
		segment.ID += uint16(i)
		segment.Seq += uint32(i * size)
		if len(rest) > 0 {
			segment.Flags &^= FIN | PSH
		}
		if i > 0 {
			segment.Flags &^= CWR // RFC 3168 6.1.2: said once
		}
		list = append(list, segment)
		if len(rest) == 0 {
			return list
		}
	}
}

// Parse reads what Bytes and Partial write. It is strict, and the checksum of the transport header is returned as it stands.
func Parse(b []byte) (p Packet, checksum uint16, err error) {
	if len(b) < 20 {
		return p, 0, fmt.Errorf("%d bytes", len(b))
	}
	var header int
	if b[0]>>4 == 4 {
		header = int(b[0]&15) * 4
		if header < 20 || header > len(b) || Sum(b[:header]) != 0xffff || int(binary.BigEndian.Uint16(b[2:])) != len(b) {
			return p, 0, fmt.Errorf("IPv4 header %x of a packet of %d bytes", b[:20], len(b))
		}
		p.Src, p.Dst = netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:]))
		p.TOS, p.TTL, p.Protocol = b[1], b[8], b[9]
		p.ID, p.Fragment = binary.BigEndian.Uint16(b[4:]), binary.BigEndian.Uint16(b[6:])
		p.Options = slices.Clone(b[20:header])
	} else {
		header = 40
		if b[0]>>4 != 6 || len(b) < header || int(binary.BigEndian.Uint16(b[4:])) != len(b)-40 {
			return p, 0, fmt.Errorf("IPv6 header %x of a packet of %d bytes", b[:20], len(b))
		}
		p.Src, p.Dst = netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:]))
		first := binary.BigEndian.Uint32(b)
		p.TOS, p.Label, p.TTL, p.Protocol = byte(first>>20), first&0xfffff, b[7], b[6]
		if p.Protocol == 60 {
			if len(b) < 48 || len(b) < 40+(int(b[41])+1)*8 {
				return p, 0, fmt.Errorf("destination options %x", b[40:])
			}
			header = 40 + (int(b[41])+1)*8
			p.Protocol, p.Options = b[40], slices.Clone(b[41:header])
		}
	}
	t := b[header:]
	switch {
	case p.Protocol == UDP && len(t) >= 8:
		checksum = binary.BigEndian.Uint16(t[6:])
		if int(binary.BigEndian.Uint16(t[4:])) != len(t) {
			return p, 0, fmt.Errorf("UDP header %x of %d bytes", t[:8], len(t))
		}
		p.Payload = slices.Clone(t[8:])
	case p.Protocol == TCP && len(t) >= 20 && int(t[12]>>4)*4 >= 20 && int(t[12]>>4)*4 <= len(t):
		checksum = binary.BigEndian.Uint16(t[16:])
		n := int(t[12]>>4) * 4
		p.Seq, p.Ack = binary.BigEndian.Uint32(t[4:]), binary.BigEndian.Uint32(t[8:])
		p.Reserved, p.Flags, p.Window, p.Urgent = t[12]&15, t[13], binary.BigEndian.Uint16(t[14:]), binary.BigEndian.Uint16(t[18:])
		p.TCPOptions, p.Payload = slices.Clone(t[20:n]), slices.Clone(t[n:])
	default:
		return p, 0, fmt.Errorf("no whole header of protocol %d: %x", p.Protocol, t)
	}
	p.SrcPort, p.DstPort = binary.BigEndian.Uint16(t), binary.BigEndian.Uint16(t[2:])
	return p, checksum, nil
}
