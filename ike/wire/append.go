package wire

import (
	"encoding/binary"
	"math"

	"github.com/culvert-vpn/culvert/suite"
	"github.com/culvert-vpn/culvert/ts"
)

// AppendMessage appends an unprotected message to b. Next, Length, the version and the V flag of h do not
// matter: the first two are computed, the message is version 2.0.
//
// Content that the format cannot express panics: a payload over 65535 bytes, an SPI over 255 bytes, more than
// 255 transforms or selectors. Only the caller's own choices decide that, so it is a mistake in the program.
func AppendMessage(b []byte, h Header, payloads []Payload) []byte {
	start := len(b)
	h.Next = firstType(payloads)
	b = h.append(b)
	b = appendChain(b, payloads)
	putMessageLength(b[start:])
	return b
}

// putMessageLength fills in the Length field of the message b.
func putMessageLength(b []byte) {
	binary.BigEndian.PutUint32(b[24:], uint32(len(b)))
}

func firstType(payloads []Payload) PayloadType {
	if len(payloads) == 0 {
		return TypeNone
	}
	return payloads[0].Type()
}

// appendChain appends payloads, each announcing the type of the next.
func appendChain(b []byte, payloads []Payload) []byte {
	for i, p := range payloads {
		start := len(b)
		var flags byte
		if u, ok := p.(*Unknown); ok && u.Critical {
			flags = 0x80
		}
		b = append(b, byte(firstType(payloads[i+1:])), flags, 0, 0)
		b = p.append(b)
		putLength(b[start:])
	}
	return b
}

// putLength fills in the 16-bit length at offset 2 that payloads, proposals, transforms and selectors share.
func putLength(b []byte) {
	if len(b) > math.MaxUint16 {
		panic("wire: structure longer than its length field can say")
	}
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
}

// length8 is a count or size that is sent in one byte.
func length8(n int) byte {
	if n > math.MaxUint8 {
		panic("wire: more elements than the field can count")
	}
	return byte(n)
}

func (p *KE) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, p.Group)
	return append(append(b, 0, 0), p.Data...)
}

func (p *ID) append(b []byte) []byte {
	if p.Raw != nil {
		return append(b, p.Raw...)
	}
	return p.ID.AppendWire(b)
}

func (p *Auth) append(b []byte) []byte {
	return append(append(b, byte(p.Method), 0, 0, 0), p.Data...)
}

func (p *Notify) append(b []byte) []byte {
	protocol := p.Protocol
	if len(p.SPI) == 0 && protocol != suite.IKE {
		protocol = 0 // RFC 7296 3.10
	}
	b = append(b, byte(protocol), length8(len(p.SPI)))
	b = binary.BigEndian.AppendUint16(b, uint16(p.Kind))
	return append(append(b, p.SPI...), p.Data...)
}

func (p *Delete) append(b []byte) []byte {
	size, _ := childSPISize(p.Protocol)
	if p.Protocol == suite.IKE {
		size = 0
	}
	b = append(b, byte(p.Protocol), byte(size))
	b = binary.BigEndian.AppendUint16(b, uint16(len(p.SPIs)))
	for _, spi := range p.SPIs {
		if len(spi) != size {
			panic("wire: SPI to delete does not fit the protocol")
		}
		b = append(b, spi...)
	}
	return b
}

func (p *TS) append(b []byte) []byte {
	b = append(b, length8(len(p.Selectors)), 0, 0, 0)
	for _, s := range p.Selectors {
		b = appendSelector(b, s)
	}
	return b
}

func appendSelector(b []byte, s ts.Selector) []byte {
	start := len(b)
	kind := byte(tsIPv4AddrRange)
	if s.Is6() {
		kind = tsIPv6AddrRange
	}
	b = append(b, kind, s.Protocol, 0, 0)
	b = binary.BigEndian.AppendUint16(b, s.StartPort)
	b = binary.BigEndian.AppendUint16(b, s.EndPort)
	b = append(b, s.Start.AsSlice()...)
	b = append(b, s.End.AsSlice()...)
	putLength(b[start:])
	return b
}

func (p *Cert) append(b []byte) []byte    { return append(b, p.Body...) }
func (p *CertReq) append(b []byte) []byte { return append(b, p.Body...) }
func (p *Nonce) append(b []byte) []byte   { return append(b, p.Data...) }
func (p *Vendor) append(b []byte) []byte  { return append(b, p.Data...) }
func (p *EAP) append(b []byte) []byte     { return append(b, p.Body...) }
func (p *Unknown) append(b []byte) []byte { return append(b, p.Body...) }
